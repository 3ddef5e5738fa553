import { secrets } from '../../api/core/v1/secret.ts';
import { type IngressClass, ingressClasses } from '../../api/networking/v1/ingress-class.ts';
import { defaultClassAnnotation, ingressController, isOwnClass, ownIngressClass } from '../../api/networking/v1/ingress-ownership.ts';
import { ensure } from '../../apiserver/ensure.ts';
import type { Log } from '../../base/log.ts';
import type { Metrics } from '../../base/metrics.ts';
import type { Client } from '../../client/client.ts';
import type { InformerSet } from '../../client/informer.ts';
import { tryGet } from '../../client/try-get.ts';
import type { PortTrouble, SecretSource } from '../../ingress/ingress-proxy.ts';
import { clearIngressCondition, type ReportedNode } from '../../ingress/node-report.ts';
import { isNotFound } from '../../machinery/status-error.ts';
import { type ConfigSource, configReference } from '../../node-agent/config-source.ts';
import type { EventQueue } from '../../reconcile/event-recorder.ts';
import type { Configuration, IngressSettings } from '../configuration.ts';
import type { Network } from '../data-directory.ts';
import { type Running, type Surroundings, startPart } from './part.ts';

export interface IngressOptions extends Surroundings {
  /** Undefined: the machine serves none. */
  readonly settings: IngressSettings | undefined;
  readonly network: Network;
  /** The nodes of this machine, and clients that may write their status. */
  readonly nodes: readonly ReportedNode[];
  readonly informers: InformerSet;
  readonly secrets: SecretSource;
  readonly events: EventQueue;
  readonly metrics: Metrics;
  onStep(name: string, text: string): void;
  onWarning(text: string, details?: readonly string[]): void;
}

/** True when the cluster has the class, and so a proxy on its machines. */
export const servesIngresses = ({ ingress, runtime, machines }: Pick<Configuration, 'ingress' | 'runtime' | 'machines'>): boolean =>
  ingress !== undefined && (runtime !== 'simulated' || machines !== undefined);

/** Makes the default IngressClass, or takes it away when no machine serves Ingresses any more. Those of others stay. */
export async function keepIngressClass(client: Client, isServed: boolean): Promise<void> {
  if (isServed) {
    const wanted: IngressClass = {
      apiVersion: 'networking.k8s.io/v1',
      kind: 'IngressClass',
      metadata: { name: ownIngressClass, annotations: { [defaultClassAnnotation]: 'true' } },
      spec: { controller: ingressController },
    };
    await ensure(client, ingressClasses, { object: wanted });
    return;
  }
  const stored = await tryGet(client, ingressClasses, { name: ownIngressClass });
  if (!isOwnClass(stored)) return;
  await client.delete(ingressClasses, { name: ownIngressClass }).catch((err: unknown) => {
    if (!isNotFound(err)) throw err;
  });
}

/** Starts the proxy for Ingresses on this machine. A port that is taken stops nothing else. */
export function startIngress(options: IngressOptions): Promise<Running> {
  const { settings, network, nodes, signal, events, onStep, onWarning } = options;
  return startPart(options, async ({ start }) => {
    if (settings === undefined || nodes.length === 0) {
      for (const node of nodes) await clearIngressCondition(node, signal);
      return {};
    }
    const addresses = network.kind === 'machines' ? ['0.0.0.0'] : [...nodes.map((_, index) => network.nodeAddress(index)), '127.0.0.1'];
    // Only a machine that serves Ingresses needs HTTP/2 and the code behind it.
    const { createIngressProxy } = await import('../../ingress/ingress-proxy.ts');
    const proxy = createIngressProxy({
      ...options,
      ...settings,
      addresses,
      recorder: events.recorder('midship-ingress-controller'),
      onTrouble: ({ what, why, fix }: PortTrouble) => onWarning(what, [why, fix]),
    });
    await start([proxy]);
    const { web, websecure } = proxy.ports;
    const host = network.kind === 'machines' ? network.nodeAddress(0) : '127.0.0.1';
    const urls = [
      ...(web === undefined ? [] : [`http://${host}:${web}`]),
      ...(websecure === undefined ? [] : [`https://${host}:${websecure}`]),
    ];
    if (urls.length > 0) onStep('Ingress', urls.join('   '));
    return {};
  });
}

/** Secrets out of the cache that the process of the control plane has anyway. */
export function cachedSecrets(informers: InformerSet): SecretSource {
  const cache = informers.get(secrets);
  return { follow: () => undefined, get: (key) => cache.getByKey(key) };
}

/** Secrets that a joined machine watches one by one: it may read no others. */
export function watchedSecrets(source: ConfigSource, signal: AbortSignal, log: Log): SecretSource {
  let followed: ReadonlySet<string> = new Set();
  const referenceOf = (key: string): string => {
    const slash = key.indexOf('/');
    return configReference('Secret', key.slice(0, slash), key.slice(slash + 1));
  };
  return {
    follow(keys) {
      const wanted = new Set([...keys].map(referenceOf));
      const added = new Set([...wanted].filter((reference) => !followed.has(reference)));
      followed = wanted;
      source.releaseUnused((reference) => wanted.has(reference));
      if (added.size === 0) return;
      // It goes on being followed; until it is read, clients get the proxy's own certificate.
      source.ready({ kinds: new Set(['Secret']), objects: added }, signal).catch((err: unknown) => {
        if (!signal.aborted) log.debug({ err }, 'Gave up waiting for Secrets of Ingresses');
      });
    },
    get(key) {
      const slash = key.indexOf('/');
      return source.secret(key.slice(0, slash), key.slice(slash + 1));
    },
  };
}
