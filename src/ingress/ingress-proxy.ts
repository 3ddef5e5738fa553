import type { Secret } from '../api/core/v1/secret.ts';
import { services } from '../api/core/v1/service.ts';
import { endpointSlices } from '../api/discovery/v1/endpoint-slice.ts';
import { slicesByService } from '../api/discovery/v1/slices-by-service.ts';
import { ingresses } from '../api/networking/v1/ingress.ts';
import { ingressClasses } from '../api/networking/v1/ingress-class.ts';
import { isOwnClass } from '../api/networking/v1/ingress-ownership.ts';
import type { Clock } from '../base/clock.ts';
import type { Component } from '../base/component.ts';
import type { Log } from '../base/log.ts';
import type { Metrics } from '../base/metrics.ts';
import type { KeyPair } from '../base/pki/key-pair.ts';
import { makeSelfSigned, rsaSigning } from '../base/pki/self-signed.ts';
import type { InformerSet } from '../client/informer.ts';
import type { EventRecorder } from '../reconcile/event-recorder.ts';
import { type ResolvedBackend, resolveBackend } from './backend-endpoints.ts';
import { createCertificateReader } from './certificates.ts';
import { createIngressMetrics, type EntryPoint } from './ingress-metrics.ts';
import { defaultLimits, type Limits } from './limits.ts';
import { createNodeReport, type ReportedNode, type ServingState } from './node-report.ts';
import { openPort, type ProxyPort } from './proxy-server.ts';
import { createRequestHandler } from './request-handler.ts';
import { type Backend, buildRoutingTable, lookUpHost, type RoutingTable } from './routing-table.ts';

/** Secrets with certificates, as far as this machine may read them. */
export interface SecretSource {
  /** Follows these and no others. @param keys  `NAMESPACE/NAME` */
  follow(keys: ReadonlySet<string>): void;
  get(key: string): Secret | undefined;
}

export interface IngressProxyOptions {
  readonly informers: InformerSet;
  readonly secrets: SecretSource;
  /** Addresses of this machine on which the ports are opened. */
  readonly addresses: readonly string[];
  readonly httpPort: number;
  /** Absent: no TLS, and no redirects to it. */
  readonly httpsPort: number | undefined;
  readonly nodes: readonly ReportedNode[];
  /** Called once for each reason why the ports cannot be opened. */
  onTrouble(trouble: PortTrouble): void;
  readonly recorder: EventRecorder;
  readonly metrics: Metrics;
  readonly clock: Clock;
  readonly log: Log;
  readonly limits?: Limits;
}

/** A reason why the machine serves no Ingresses, for a person. */
export interface PortTrouble {
  readonly what: string;
  readonly why: string;
  readonly fix: string;
}

/** The proxy of a machine; `ports` are for people and tests. */
export interface IngressProxy extends Component {
  readonly ports: Readonly<Partial<Record<EntryPoint, number>>>;
}

const retryMs = 10_000;
const reportMs = 30_000;
const lastReportMs = 2_000;
const noRoutes: RoutingTable = { hosts: new Map(), fallback: undefined, certificates: new Map() };

/**
 * Serves the Ingresses of the class on this machine. It follows them by the caches and swaps whole tables, so that a request sees one
 * state. The ports are open as long as there is an IngressClass of this controller. The node goes on without a port that is taken, and
 * tries it again.
 */
export function createIngressProxy(options: IngressProxyOptions): IngressProxy {
  const { informers, secrets, addresses, httpPort, httpsPort, clock, limits = defaultLimits, onTrouble } = options;
  const log = options.log.child({ component: 'ingress-proxy' });
  const ingressInformer = informers.get(ingresses);
  const classInformer = informers.get(ingressClasses);
  const serviceInformer = informers.get(services);
  const sliceInformer = informers.get(endpointSlices);
  const readCertificate = createCertificateReader();
  const report = createNodeReport({ ...options, log });
  const ports = new Map<EntryPoint, ProxyPort>();
  const resolved = new Map<string, ResolvedBackend>();
  const unsubscribe: (() => void)[] = [];
  const abort = new AbortController();
  let table = noRoutes;
  let fallback: KeyPair | undefined;
  let scheduled = false;
  let stopped = false;
  let reported = '';
  let cancelRetry: (() => void) | undefined;
  let cancelReport: (() => void) | undefined;
  let state: ServingState = { status: 'False', reason: 'NoIngressClass', message: 'there is no IngressClass of midship.dev/ingress' };
  /** Changes of the ports, one after the other. */
  let turn: Promise<void> = Promise.resolve();

  const portOf = (entrypoint: EntryPoint): number => ports.get(entrypoint)?.port ?? 0;
  const handler = createRequestHandler({
    table: () => table,
    resolve,
    tlsPort: () => ports.get('websecure')?.port,
    limits,
    metrics: createIngressMetrics(options.metrics, () => new Map([...ports].map(([name, port]) => [name, port.openConnections]))),
    clock,
    log,
  });

  /** Remembered until one of the Service's objects changes. */
  function resolve(backend: Backend): ResolvedBackend {
    const key = `${backend.service}:${backend.port}`;
    let found = resolved.get(key);
    if (found === undefined) {
      found = resolveBackend(
        backend,
        serviceInformer.getByKey(backend.service),
        sliceInformer.byIndex(slicesByService.name, backend.service),
      );
      resolved.set(key, found);
    }
    return found;
  }

  function contextFor(host: string) {
    const key = lookUpHost(table.certificates, host)?.secret;
    if (key === undefined) return undefined;
    const judged = readCertificate(key, secrets.get(key));
    return 'context' in judged && judged.covers(host) ? judged.context : undefined;
  }

  function schedule(): void {
    if (scheduled) return;
    scheduled = true;
    // A change of many objects is worked on once.
    setImmediate(() => {
      scheduled = false;
      if (!stopped) rebuild();
    });
  }

  function rebuild(): void {
    ({ table } = buildRoutingTable(ingressInformer.list(), classInformer.list()));
    resolved.clear();
    secrets.follow(new Set([...table.certificates.values()].flatMap(({ secret }) => secret ?? [])));
    turn = turn.then(adjustPorts);
  }

  async function adjustPorts(): Promise<void> {
    const isWanted = !stopped && [...classInformer.list()].some(isOwnClass);
    if (isWanted && ports.size === 0) await openPorts();
    else if (!isWanted && ports.size > 0) {
      await closePorts();
      state = { status: 'False', reason: 'NoIngressClass', message: 'there is no IngressClass of midship.dev/ingress' };
      await report.write(state, abort.signal);
    }
  }

  async function openPorts(): Promise<void> {
    cancelRetry?.();
    const wanted: [EntryPoint, number][] = [
      ['web', httpPort],
      ...(httpsPort === undefined ? [] : [['websecure', httpsPort] as [EntryPoint, number]]),
    ];
    for (const [entrypoint, port] of wanted) {
      try {
        const tls = entrypoint === 'web' ? {} : { tls: { fallback: await ownCertificate(), contextFor } };
        const handlers = handler.handlersOf(entrypoint, () => portOf(entrypoint));
        ports.set(entrypoint, await openPort({ addresses, port, limits, handlers, ...tls }));
      } catch (err) {
        await closePorts();
        await giveUp(port, err as NodeJS.ErrnoException);
        return;
      }
    }
    reported = '';
    const message = `serves Ingresses at ${[...ports.values()].map(({ port }) => `port ${port}`).join(' and ')}`;
    state = { status: 'True', reason: 'Serving', message };
    log.info({ web: portOf('web'), websecure: portOf('websecure') }, 'Opened the ports of Ingresses');
    await report.write(state, abort.signal);
  }

  async function ownCertificate(): Promise<KeyPair> {
    // Node adds the certificate of a host to this one, and replaces it where both keys are of one type. See `preferEcdsa`.
    fallback ??= await makeSelfSigned('Midship Ingress Default Certificate', clock.now(), rsaSigning);
    return fallback;
  }

  async function giveUp(port: number, err: NodeJS.ErrnoException): Promise<void> {
    const trouble = troubleOf(port, err);
    const message = `${trouble.what}. ${trouble.why} ${trouble.fix}`;
    state = { status: 'False', reason: 'PortNotBindable', message };
    if (reported !== message) {
      reported = message;
      log.warn({ port, err }, 'Could not open a port of Ingresses');
      onTrouble(trouble);
    }
    await report.write(state, abort.signal);
    if (!stopped) cancelRetry = clock.after(retryMs, () => (turn = turn.then(adjustPorts)));
  }

  async function closePorts(): Promise<void> {
    const open = [...ports.values()];
    ports.clear();
    await Promise.all(open.map((port) => port.close()));
  }

  /** A Node that was deleted and registered again has lost the condition. */
  function keepReporting(): void {
    if (stopped) return;
    cancelReport = clock.after(reportMs, () => {
      turn = turn.then(() => (stopped ? undefined : report.write(state, abort.signal)));
      void turn.then(keepReporting);
    });
  }

  return {
    name: 'ingress-proxy',
    get ports() {
      return Object.fromEntries([...ports].map(([name, { port }]) => [name, port]));
    },
    async start({ signal }) {
      sliceInformer.addIndex(slicesByService.name, slicesByService.keysOf);
      await informers.waitForSync({ signal });
      const forget = (key: string): void => {
        for (const known of resolved.keys()) if (known.startsWith(`${key}:`)) resolved.delete(known);
      };
      unsubscribe.push(
        ingressInformer.addHandler(schedule),
        classInformer.addHandler(schedule),
        serviceInformer.addHandler(({ before, after }) => {
          const { namespace, name } = (after ?? before)?.metadata ?? {};
          forget(`${namespace}/${name}`);
        }),
        sliceInformer.addHandler(({ before, after }) => {
          for (const slice of [before, after]) for (const key of slice === undefined ? [] : slicesByService.keysOf(slice)) forget(key);
        }),
      );
      rebuild();
      await turn;
      if (ports.size === 0) await report.write(state, signal);
      keepReporting();
    },
    async stop() {
      if (stopped) return;
      stopped = true;
      for (const remove of unsubscribe) remove();
      cancelRetry?.();
      cancelReport?.();
      await turn;
      const wasServing = ports.size > 0;
      // First, so that nobody is sent here any more.
      if (wasServing)
        await report.write(
          { status: 'False', reason: 'Stopped', message: 'the proxy of the machine was stopped' },
          AbortSignal.timeout(lastReportMs),
        );
      await closePorts();
      handler.close();
      abort.abort(new Error('the proxy stops'));
    },
  };
}

function troubleOf(port: number, err: NodeJS.ErrnoException): PortTrouble {
  const what = `this node serves no Ingresses: port ${port} cannot be opened`;
  switch (err.code) {
    case 'EADDRINUSE':
      return {
        what,
        why: 'Another program of this machine has it.',
        fix: 'Stop that program, choose other ports (--ingress-http-port, --ingress-https-port), or go without: --disable ingress.',
      };
    case 'EACCES':
      return {
        what,
        why: 'Ports below net.ipv4.ip_unprivileged_port_start need privileges.',
        fix: 'Choose higher ports (--ingress-http-port, --ingress-https-port), or run as root.',
      };
    default:
      return { what, why: err.message, fix: 'Choose other ports: --ingress-http-port, --ingress-https-port.' };
  }
}
