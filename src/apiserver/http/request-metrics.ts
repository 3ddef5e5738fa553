import { buckets, type Metrics } from '../../base/metrics.ts';
import type { KindDefinition } from '../../machinery/kind.ts';

/**
 * The `apiserver_*` families that dashboards of Kubernetes read, under their names and labels there.
 *
 * Labels come from what is served: a path that leads nowhere counts with an empty resource, a method that does not exist as `OTHER`.
 */
export interface RequestMetrics {
  /** A request began; the function that is returned is called once when its answer is over. */
  started(request: RequestLabels): (answer: { readonly code: number; readonly bytes: number }) => void;
  readonly inFlight: Readonly<Record<RequestKind, number>>;
  watchEvents(kind: KindDefinition, count: number): void;
  /** It was found out who makes a request, or that the credentials are not good. */
  authenticated(isKnown: boolean): void;
}

type RequestKind = 'readOnly' | 'mutating';

export interface RequestLabels {
  readonly verb: ApiVerb;
  readonly dryRun: boolean;
  readonly kind: KindDefinition | undefined;
  readonly subresource: string;
  readonly scope: '' | 'resource' | 'namespace' | 'cluster';
}

export type ApiVerb = 'GET' | 'LIST' | 'WATCH' | 'POST' | 'PUT' | 'PATCH' | 'APPLY' | 'DELETE' | 'DELETECOLLECTION' | 'CONNECT' | 'OTHER';

const readOnlyVerbs = new Set<ApiVerb>(['GET', 'LIST', 'WATCH', 'CONNECT']);
/** Their duration is the client's choice, so it goes into no histogram. */
const longRunningVerbs = new Set<ApiVerb>(['WATCH', 'CONNECT']);

const targetLabels = ['verb', 'group', 'version', 'resource', 'subresource', 'scope', 'component'] as const;

export function createRequestMetrics(metrics: Metrics, clock: { monotonicMs(): number }): RequestMetrics {
  const requests = metrics.counter({
    name: 'apiserver_request_total',
    help: 'Requests by verb, resource and HTTP status code.',
    labelNames: [...targetLabels, 'dry_run', 'code'],
  });
  const durations = metrics.histogram({
    name: 'apiserver_request_duration_seconds',
    help: 'Time from the arrival of a request to the end of its answer.',
    labelNames: [...targetLabels, 'dry_run'],
    buckets: [...buckets.request],
  });
  const sliDurations = metrics.histogram({
    name: 'apiserver_request_sli_duration_seconds',
    help: 'Time from the arrival of a request to the end of its answer, without what the server did not cause.',
    labelNames: [...targetLabels],
    buckets: [...buckets.request],
  });
  const sizes = metrics.histogram({
    name: 'apiserver_response_sizes',
    help: 'Size of answers in bytes.',
    labelNames: [...targetLabels],
    buckets: [1e3, 1e4, 1e5, 1e6, 1e7],
  });
  const inFlightGauge = metrics.gauge({
    name: 'apiserver_current_inflight_requests',
    help: 'Requests that are being worked on, long-running ones left out.',
    labelNames: ['request_kind'],
  });
  const longRunning = metrics.gauge({
    name: 'apiserver_longrunning_requests',
    help: 'Watches and relayed streams that are open.',
    labelNames: [...targetLabels],
  });
  const events = metrics.counter({
    name: 'apiserver_watch_events_total',
    help: 'Events sent to watching clients.',
    labelNames: ['group', 'version', 'kind'],
  });

  const deprecated = metrics.gauge({
    name: 'apiserver_requested_deprecated_apis',
    help: 'Deprecated APIs that were asked for since the start.',
    labelNames: ['group', 'version', 'resource', 'subresource', 'removed_release'],
  });
  const authentications = metrics.counter({
    name: 'authentication_attempts',
    help: 'Requests by whether it was found out who makes them.',
    labelNames: ['result'],
  });
  const known = authentications.labels({ result: 'success' });
  const unknown = authentications.labels({ result: 'failure' });

  const inFlight: Record<RequestKind, number> = { readOnly: 0, mutating: 0 };
  for (const kind of ['readOnly', 'mutating'] as const) inFlightGauge.set({ request_kind: kind }, 0);
  const count = (kind: RequestKind, by: 1 | -1): void => {
    inFlight[kind] += by;
    inFlightGauge.set({ request_kind: kind }, inFlight[kind]);
  };

  return {
    inFlight,
    started({ verb, dryRun, kind, subresource, scope }) {
      const labels = {
        verb,
        group: kind?.group ?? '',
        version: kind?.version ?? '',
        resource: kind?.resource ?? '',
        subresource,
        scope,
        component: 'apiserver',
      };
      if (kind?.deprecation !== undefined) {
        const { group, version, resource } = kind;
        deprecated.set({ group, version, resource, subresource, removed_release: '' }, 1);
      }
      const isLong = longRunningVerbs.has(verb);
      const requestKind = readOnlyVerbs.has(verb) ? 'readOnly' : 'mutating';
      const startedAt = clock.monotonicMs();
      if (isLong) longRunning.inc(labels);
      else count(requestKind, 1);
      return ({ code, bytes }) => {
        const dryRunLabel = dryRun ? 'All' : '';
        requests.inc({ ...labels, dry_run: dryRunLabel, code: String(code) });
        if (isLong) {
          longRunning.dec(labels);
          return;
        }
        count(requestKind, -1);
        const seconds = (clock.monotonicMs() - startedAt) / 1_000;
        durations.observe({ ...labels, dry_run: dryRunLabel }, seconds);
        sliDurations.observe(labels, seconds);
        sizes.observe(labels, bytes);
      };
    },
    authenticated: (isKnown) => (isKnown ? known : unknown).inc(),
    watchEvents({ group, version, kind }, sent) {
      events.inc({ group, version, kind }, sent);
    },
  };
}
