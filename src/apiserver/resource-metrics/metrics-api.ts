import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { TLSSocket } from 'node:tls';
import { nodes } from '../../api/core/v1/node.ts';
import { pods } from '../../api/core/v1/pod.ts';
import { type Clock, timestampOf } from '../../base/clock.ts';
import type { Component } from '../../base/component.ts';
import { closeAtOnce, listen } from '../../base/listening.ts';
import type { LiveKeyPair } from '../../base/pki.ts';
import type { InformerSet } from '../../client/informer.ts';
import type { KubeObject } from '../../machinery/object.ts';
import { parseLabelSelector } from '../../machinery/selector.ts';
import { badRequest, methodNotAllowed, notFound } from '../../machinery/status-error.ts';
import { resourceNotFound } from '../http/api-request.ts';
import { sendError, sendValue } from '../http/respond.ts';
import type { UsageCollector } from './collector.ts';
import { type ContainerUsage, quantitiesOf } from './usage.ts';

/** `metrics.k8s.io`, as an extension server: what `kubectl top` and autoscalers read. */
export interface MetricsApi extends Component {
  /** Once started. */
  readonly port: number;
}

export interface MetricsApiOptions {
  readonly collector: Pick<UsageCollector, 'usage'>;
  readonly informers: InformerSet;
  readonly address: string;
  readonly tls: LiveKeyPair;
  /**
   * The caller needs a certificate of this authority and this name. It has already authorized the user whose request it
   * passes on.
   */
  readonly frontProxyCa: string;
  readonly frontProxyName: string;
  readonly clock: Clock;
}

const group = 'metrics.k8s.io';
const apiVersion = `${group}/v1beta1`;
const base = `/apis/${apiVersion}`;
const json = { encoding: 'json', pretty: false } as const;
const verbs = ['get', 'list'];
const resourceList = {
  kind: 'APIResourceList',
  apiVersion: 'v1',
  groupVersion: apiVersion,
  resources: [
    { name: 'nodes', singularName: '', namespaced: false, kind: 'NodeMetrics', verbs },
    { name: 'pods', singularName: '', namespaced: true, kind: 'PodMetrics', verbs },
  ],
};

export function createMetricsApi(options: MetricsApiOptions): MetricsApi {
  const { collector, informers, address, tls, frontProxyName } = options;
  const nodeInformer = informers.get(nodes);
  const podInformer = informers.get(pods);
  let server: Server | undefined;
  let port = 0;

  function nodeMetrics(): readonly unknown[] {
    return [...collector.usage()].flatMap(([name, usage]) => {
      const node = nodeInformer.getByKey(name);
      if (node === undefined) return [];
      const used = quantitiesOf(usage.machine ?? sumOf(usage.containers));
      return [{ kind: 'NodeMetrics', apiVersion, metadata: metadataOf(node), ...timesOf([usage]), usage: used }];
    });
  }

  function podMetrics(namespace: string | undefined): readonly unknown[] {
    const byPod = new Map<string, ContainerUsage[]>();
    for (const usage of [...collector.usage().values()].flatMap(({ containers }) => containers)) {
      if (namespace !== undefined && usage.namespace !== namespace) continue;
      const key = `${usage.namespace}/${usage.pod}`;
      byPod.set(key, [...(byPod.get(key) ?? []), usage]);
    }
    return [...byPod].flatMap(([key, usage]) => {
      const pod = podInformer.getByKey(key);
      if (pod === undefined) return [];
      const containers = usage.map((each) => ({ name: each.container, usage: quantitiesOf(each) }));
      return [{ kind: 'PodMetrics', apiVersion, metadata: metadataOf(pod), ...timesOf(usage), containers }];
    });
  }

  function handle(request: IncomingMessage, response: ServerResponse): void {
    try {
      const { subject } = (request.socket as TLSSocket).getPeerCertificate();
      if (subject?.CN !== frontProxyName) {
        response.writeHead(401, { 'content-length': 0 }).end();
        return;
      }
      sendValue(response, { code: 200, value: answerOf(new URL(request.url ?? '/', 'https://metrics'), request.method ?? '') }, json);
    } catch (err) {
      sendError(response, err);
    }
  }

  function answerOf({ pathname, searchParams }: URL, method: string): unknown {
    if (method !== 'GET') throw methodNotAllowed();
    if (pathname === base || pathname === `${base}/`) return resourceList;
    const parts = pathname.startsWith(`${base}/`)
      ? pathname
          .slice(base.length + 1)
          .split('/')
          .map(decodeURIComponent)
      : [];
    const [first, second, third, fourth] = parts;
    if (first === 'nodes' && parts.length <= 2) return select({ kind: 'NodeMetrics', all: nodeMetrics() }, second, searchParams);
    if (first === 'pods' && parts.length === 1) return select({ kind: 'PodMetrics', all: podMetrics(undefined) }, undefined, searchParams);
    if (first === 'namespaces' && third === 'pods' && parts.length <= 4) {
      return select({ kind: 'PodMetrics', all: podMetrics(second) }, fourth, searchParams);
    }
    throw resourceNotFound();
  }

  return {
    name: 'resource-metrics-api',
    get port() {
      return port;
    },
    async start() {
      const created = createServer({ ...contextOf(options), headersTimeout: 10_000, requestCert: true, rejectUnauthorized: true }, handle);
      tls.onRenewed(() => server?.setSecureContext(contextOf(options)));
      server = created;
      created.on('tlsClientError', () => undefined);
      port = await listen(created, 0, address);
    },
    async stop() {
      const stopping = server;
      server = undefined;
      if (stopping !== undefined) await closeAtOnce(stopping);
    },
  };
}

const contextOf = ({ tls, frontProxyCa }: Pick<MetricsApiOptions, 'tls' | 'frontProxyCa'>) => ({
  cert: tls.certificate,
  key: tls.key,
  ca: frontProxyCa,
  minVersion: 'TLSv1.2' as const,
});

interface Item {
  readonly metadata: { readonly name: string; readonly labels?: Readonly<Record<string, string>> };
}

interface Measured {
  readonly kind: 'NodeMetrics' | 'PodMetrics';
  readonly all: readonly unknown[];
}

/** One object by its name, or those that the selector leaves. */
function select({ kind, all }: Measured, name: string | undefined, query: URLSearchParams): unknown {
  const items = all as readonly Item[];
  if (name !== undefined) {
    const found = items.find(({ metadata }) => metadata.name === name);
    if (found === undefined) throw notFound({ group, resource: kind === 'NodeMetrics' ? 'nodes' : 'pods' }, name);
    return found;
  }
  if ((query.get('fieldSelector') ?? '') !== '') throw badRequest('field selectors are not supported for metrics');
  const selector = query.get('labelSelector') ?? '';
  const labels = selector === '' ? undefined : parseLabelSelector(selector);
  const chosen = labels === undefined ? items : items.filter(({ metadata }) => labels.matches(metadata.labels));
  return { kind: `${kind}List`, apiVersion, metadata: {}, items: chosen };
}

const metadataOf = ({ metadata: { name, namespace, labels, creationTimestamp } }: KubeObject) => ({
  name,
  ...(namespace === undefined ? {} : { namespace }),
  ...(creationTimestamp === undefined ? {} : { creationTimestamp }),
  ...(labels === undefined ? {} : { labels }),
});

function timesOf(usage: readonly Pick<ContainerUsage, 'at' | 'windowMs'>[]): { readonly timestamp: string; readonly window: string } {
  const at = Math.max(...usage.map((each) => each.at));
  return { timestamp: timestampOf(at), window: `${Math.max(...usage.map(({ windowMs }) => windowMs)) / 1_000}s` };
}

const sumOf = (usage: readonly ContainerUsage[]): Pick<ContainerUsage, 'nanocores' | 'memoryBytes'> => ({
  nanocores: usage.reduce((sum, { nanocores }) => sum + nanocores, 0),
  memoryBytes: usage.reduce((sum, { memoryBytes }) => sum + memoryBytes, 0),
});
