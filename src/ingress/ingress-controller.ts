import { type Node, nodes } from '../api/core/v1/node.ts';
import { secrets } from '../api/core/v1/secret.ts';
import { services } from '../api/core/v1/service.ts';
import { type Ingress, ingresses } from '../api/networking/v1/ingress.ts';
import { type IngressClass, ingressClasses } from '../api/networking/v1/ingress-class.ts';
import { classOf, isServedHere, namedClassOf, ownIngressClass } from '../api/networking/v1/ingress-ownership.ts';
import { tryAddress } from '../machinery/addresses.ts';
import { isConditionTrue } from '../machinery/conditions.ts';
import { deepEqual, keyOf, refOf } from '../machinery/object.ts';
import { isNotFound } from '../machinery/status-error.ts';
import type { Controller } from '../reconcile/controller.ts';
import type { ControllerDependencies } from '../reconcile/dependencies.ts';
import { createInformedController } from '../reconcile/informed-controller.ts';
import { resolveBackend } from './backend-endpoints.ts';
import { type CertificateReader, createCertificateReader } from './certificates.ts';
import { ingressCondition } from './node-report.ts';
import { type Backend, buildRoutingTable, type IngressProblem } from './routing-table.ts';

/** The one pass works on all Ingresses, since each may be in the way of another. */
const everything = 'ingresses';

/** Settings of the Ingress controller of a cluster. */
export interface IngressControllerOptions extends ControllerDependencies {
  /** False: no machine serves Ingresses any more, and the addresses go from those that had some. Absent: true. */
  readonly isServed?: boolean;
}

/**
 * Writes the addresses of the nodes that serve into the status of each Ingress of the class, and tells of problems in Events. The
 * proxies themselves write nothing about Ingresses, so that each has one writer.
 */
export function createIngressController({ isServed = true, ...dependencies }: IngressControllerOptions): Controller {
  const { client, informers, clock, recorder } = dependencies;
  const ingressInformer = informers.get(ingresses);
  const classInformer = informers.get(ingressClasses);
  const nodeInformer = informers.get(nodes);
  const serviceInformer = informers.get(services);
  const secretInformer = informers.get(secrets);
  const readCertificate = createCertificateReader();
  /** By UID: the generation of the last Sync Event, and the problems that Events name. */
  const reported = new Map<string, { readonly generation: number | undefined; readonly problems: string }>();

  function problemsOf(ingress: Ingress, found: readonly IngressProblem[]): readonly Omit<IngressProblem, 'ingress'>[] {
    return [
      ...found.filter((problem) => problem.ingress === ingress),
      ...backendsOf(ingress).flatMap((backend) => {
        const resolved = resolveBackend(backend, serviceInformer.getByKey(backend.service), []);
        return 'reason' in resolved ? [resolved] : [];
      }),
      ...certificateProblems(ingress, (key) => readCertificate(key, secretInformer.getByKey(key)), clock.now()),
    ];
  }

  function tell(ingress: Ingress, problems: readonly Omit<IngressProblem, 'ingress'>[], isWritten: boolean): void {
    const { uid = '', generation } = ingress.metadata;
    const before = reported.get(uid);
    const text = problems.map(({ message }) => message).join('\n');
    if (isWritten || (before !== undefined && before.generation !== generation))
      recorder.record(ingress, { type: 'Normal', reason: 'Sync', message: 'Scheduled for sync' });
    if (text !== (before?.problems ?? ''))
      for (const { reason, message } of problems) recorder.record(ingress, { type: 'Warning', reason, message });
    reported.set(uid, { generation, problems: text });
  }

  const controller = createInformedController(dependencies, {
    name: 'ingress',
    workers: 1,
    async reconcile(_, { signal }) {
      const classes = [...classInformer.list()];
      if (!isServed) return release(classes, signal);
      const served = [...ingressInformer.list()].filter(
        (ingress) => ingress.metadata.deletionTimestamp === undefined && isServedHere(ingress, classes),
      );
      const { problems } = buildRoutingTable(served, classes);
      const addresses = servingAddresses(nodeInformer.list()).map((ip) => ({ ip }));
      for (const ingress of served) {
        const isDifferent = !deepEqual(ingress.status?.loadBalancer?.ingress ?? [], addresses);
        if (isDifferent) await writeStatus(ingress, addresses, signal);
        tell(ingress, problemsOf(ingress, problems), isDifferent);
      }
      const known = new Set(served.map(({ metadata }) => metadata.uid ?? ''));
      for (const uid of reported.keys()) if (!known.has(uid)) reported.delete(uid);
      return undefined;
    },
  });

  /** The class went with the machines that served it, so its name alone says whose an Ingress was. */
  async function release(classes: readonly IngressClass[], signal: AbortSignal): Promise<undefined> {
    for (const ingress of ingressInformer.list()) {
      const wasOurs =
        isServedHere(ingress, classes) || (classOf(ingress, classes) === undefined && namedClassOf(ingress) === ownIngressClass);
      if (wasOurs && (ingress.status?.loadBalancer?.ingress ?? []).length > 0) await writeStatus(ingress, [], signal);
    }
  }

  async function writeStatus(ingress: Ingress, addresses: readonly { readonly ip: string }[], signal: AbortSignal): Promise<void> {
    const body = { status: { loadBalancer: { ingress: addresses } } };
    try {
      await client.patch(ingresses, refOf(keyOf(ingress)), { type: 'merge', body }, { subresource: 'status', signal });
    } catch (err) {
      if (!isNotFound(err)) throw err;
    }
  }

  const enqueue = (): void => controller.enqueue(everything);
  ingressInformer.addHandler(enqueue);
  classInformer.addHandler(enqueue);
  serviceInformer.addHandler(({ before, after }) => {
    if (before?.spec !== after?.spec) enqueue();
  });
  secretInformer.addHandler(({ before, after }) => {
    if ((after ?? before)?.type === 'kubernetes.io/tls' || before?.type !== after?.type) enqueue();
  });
  // Heartbeats change Nodes all the time.
  nodeInformer.addHandler(({ before, after }) => {
    if (!deepEqual(before === undefined ? [] : servingAddresses([before]), after === undefined ? [] : servingAddresses([after]))) enqueue();
  });
  return controller;
}

/** External addresses of the nodes that are ready and serve, or their internal ones, as k3s has them. In order of numbers. */
function servingAddresses(all: Iterable<Node>): readonly string[] {
  const found = new Set<string>();
  for (const { status, metadata } of all) {
    if (metadata.deletionTimestamp !== undefined) continue;
    if (!isConditionTrue(status?.conditions, 'Ready') || !isConditionTrue(status?.conditions, ingressCondition)) continue;
    const ofType = (type: string) => (status?.addresses ?? []).filter((each) => each.type === type).map(({ address }) => address);
    const external = ofType('ExternalIP');
    for (const address of external.length > 0 ? external : ofType('InternalIP')) found.add(address);
  }
  return [...found].sort((a, b) => (tryAddress(a) ?? 0) - (tryAddress(b) ?? 0));
}

function backendsOf({ metadata, spec }: Ingress): readonly Backend[] {
  const all = [spec.defaultBackend, ...(spec.rules ?? []).flatMap(({ http }) => (http?.paths ?? []).map(({ backend }) => backend))];
  const backends = new Map<string, Backend>();
  for (const each of all) {
    const { name, port } = each?.service ?? {};
    if (name === undefined) continue;
    const backend = { service: `${metadata.namespace}/${name}`, port: port?.name || (port?.number ?? 0) };
    backends.set(`${backend.service}:${backend.port}`, backend);
  }
  return [...backends.values()];
}

function certificateProblems(
  { metadata, spec }: Ingress,
  judge: (key: string) => ReturnType<CertificateReader>,
  now: number,
): readonly Omit<IngressProblem, 'ingress'>[] {
  return (spec.tls ?? []).flatMap(({ hosts = [], secretName = '' }) => {
    if (secretName === '') return [];
    const key = `${metadata.namespace}/${secretName}`;
    const judged = judge(key);
    if ('reason' in judged) return [judged];
    const uncovered = hosts.filter((host) => !judged.covers(host.toLowerCase()));
    return [
      ...(uncovered.length > 0
        ? [{ reason: 'BadCertificate', message: `the certificate of Secret ${key} is not for ${uncovered.join(', ')}` }]
        : []),
      ...(judged.validTo < now ? [{ reason: 'BadCertificate', message: `the certificate of Secret ${key} has ended` }] : []),
    ];
  });
}
