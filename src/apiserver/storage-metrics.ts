import type { Clock } from '../base/clock.ts';
import { buckets, type Metrics } from '../base/metrics.ts';
import type { BoundCounter, BoundHistogram } from '../base/series.ts';
import type { Storage } from '../storage/storage.ts';
import { splitStoreKey } from './registry/keys.ts';

/** Series of one operation on one resource. */
interface Series {
  readonly durations: BoundHistogram;
  readonly requests: BoundCounter;
  readonly errors: BoundCounter;
}

/**
 * Counts and times what is asked of the store, under the names by which dashboards know etcd: `etcd_request_duration_seconds`,
 * `etcd_requests_total` and `etcd_request_errors_total`. A lost compare-and-set is an answer and no error.
 *
 * There is one series for each operation and served resource, so as many as there are kinds.
 */
export function measureStorage(storage: Storage, { metrics, clock }: { readonly metrics: Metrics; readonly clock: Clock }): Storage {
  const labelNames = ['operation', 'group', 'resource'] as const;
  const durations = metrics.histogram({
    name: 'etcd_request_duration_seconds',
    help: 'Time until the store has answered, by operation and resource.',
    labelNames,
    buckets: buckets.request,
  });
  const requests = metrics.counter({ name: 'etcd_requests_total', help: 'Requests to the store, by operation and resource.', labelNames });
  const errors = metrics.counter({
    name: 'etcd_request_errors_total',
    help: 'Requests to the store that failed, by operation and resource.',
    labelNames,
  });
  const series = new Map<string, Series>();

  function seriesOf(operation: string, prefix: string): Series {
    const id = `${operation} ${prefix}`;
    let found = series.get(id);
    if (found === undefined) {
      const [group = '', resource = ''] = prefix.split('/');
      const labels = { operation, group: group === 'core' ? '' : group, resource };
      found = { durations: durations.labels(labels), requests: requests.labels(labels), errors: errors.labels(labels) };
      series.set(id, found);
    }
    return found;
  }

  function measured<T>(operation: string, key: string, answer: Promise<T>): Promise<T> {
    const startedAt = clock.monotonicMs();
    const { durations: times, requests: count, errors: failures } = seriesOf(operation, splitStoreKey(key).prefix);
    const settle = (): void => {
      times.observe((clock.monotonicMs() - startedAt) / 1_000);
      count.inc();
    };
    return answer.then(
      (value) => {
        settle();
        return value;
      },
      (err) => {
        settle();
        failures.inc();
        throw err;
      },
    );
  }

  return {
    isShared: storage.isShared,
    get currentRevision() {
      return storage.currentRevision;
    },
    get compactedRevision() {
      return storage.compactedRevision;
    },
    get failure() {
      return storage.failure;
    },
    get damage() {
      return storage.damage;
    },
    latest: () => measured('latest', '', storage.latest()),
    get: (key) => measured('get', key, storage.get(key)),
    range: (options) => measured('list', options.prefix, storage.range(options)),
    create: (key, value) => measured('create', key, storage.create(key, value)),
    update: (key, value, expectedRevision) => measured('update', key, storage.update(key, value, expectedRevision)),
    delete: (key, expectedRevision) => measured('delete', key, storage.delete(key, expectedRevision)),
    watch: (options) => storage.watch(options),
    history: (options) => storage.history(options),
    revisionKeeping: (bytes) => storage.revisionKeeping(bytes),
    compact: (revision) => storage.compact(revision),
    purge: () => storage.purge(),
    close: () => storage.close(),
  };
}
