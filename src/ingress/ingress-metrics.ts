import { buckets, type Metrics } from '../base/metrics.ts';

/** The two ports, under the names that they have in k3s. */
export type EntryPoint = 'web' | 'websecure';

export interface ServedRequest {
  readonly entrypoint: EntryPoint;
  readonly method: string;
  readonly protocol: 'http' | 'websocket';
  /** 499 when the client went away first, as nginx counts it. */
  readonly code: number;
  readonly durationMs: number;
}

export interface IngressMetrics {
  served(request: ServedRequest): void;
}

const methods: ReadonlySet<string> = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'CONNECT', 'TRACE']);

/** Counters under Traefik's names, so that dashboards of k3s clusters work. */
export function createIngressMetrics(metrics: Metrics, openConnections: () => ReadonlyMap<EntryPoint, number>): IngressMetrics {
  const labelNames = ['code', 'entrypoint', 'method', 'protocol'] as const;
  const requests = metrics.counter({
    name: 'traefik_entrypoint_requests_total',
    help: 'Requests to Ingresses, by port, method and status code.',
    labelNames,
  });
  const durations = metrics.histogram({
    name: 'traefik_entrypoint_request_duration_seconds',
    help: 'Time from the head of a request to the end of its answer.',
    labelNames,
    buckets: buckets.request,
  });
  metrics.gauge({
    name: 'traefik_open_connections',
    help: 'Open connections of clients to Ingresses, by port.',
    labelNames: ['entrypoint'],
    collect() {
      for (const [entrypoint, count] of openConnections()) this.set({ entrypoint }, count);
    },
  });
  return {
    served({ entrypoint, method, protocol, code, durationMs }) {
      const labels = { code: String(code), entrypoint, method: methods.has(method) ? method : 'EXTENSION_METHOD', protocol };
      requests.inc(labels);
      durations.observe(labels, durationMs / 1_000);
    },
  };
}
