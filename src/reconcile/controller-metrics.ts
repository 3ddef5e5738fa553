import type { Clock } from '../base/clock.ts';
import { buckets, type Metrics } from '../base/metrics.ts';
import { familyHead } from '../base/series.ts';
import type { ControllerObserver } from './controller.ts';

/** The `workqueue_*` and `controller_runtime_*` families of a process. */
export interface ControllerMetrics {
  /** For the families that one controller alone has. */
  readonly registry: Metrics;
  /** Counters of one controller; each name is used once. Its series exist from then on. */
  observerOf(controller: string): ControllerObserver;
}

export interface ControllerMetricsOptions {
  readonly metrics: Metrics;
  readonly clock: Clock;
}

export function createControllerMetrics({ metrics, clock }: ControllerMetricsOptions): ControllerMetrics {
  const queueNames = ['name'] as const;
  const adds = metrics.counter({ name: 'workqueue_adds_total', help: 'Keys added to the queue.', labelNames: queueNames });
  const retries = metrics.counter({ name: 'workqueue_retries_total', help: 'Keys added again after a failure.', labelNames: queueNames });
  const waited = metrics.histogram({
    name: 'workqueue_queue_duration_seconds',
    help: 'Time a key waited in the queue.',
    labelNames: queueNames,
    buckets: [...buckets.queue],
  });
  const worked = metrics.histogram({
    name: 'workqueue_work_duration_seconds',
    help: 'Time it took to work on a key.',
    labelNames: queueNames,
    buckets: [...buckets.queue],
  });
  const reconciles = metrics.counter({
    name: 'controller_runtime_reconcile_total',
    help: 'Reconciles, by how they ended.',
    labelNames: ['controller', 'result'],
  });
  const errors = metrics.counter({
    name: 'controller_runtime_reconcile_errors_total',
    help: 'Reconciles that failed.',
    labelNames: ['controller'],
  });
  const durations = metrics.histogram({
    name: 'controller_runtime_reconcile_time_seconds',
    help: 'Time of a reconcile.',
    labelNames: ['controller'],
    buckets: [...buckets.sync],
  });
  const queues = new Map<string, { depth: number; readonly startedAt: number[] }>();
  metrics.addCollector(queueLines);

  return {
    registry: metrics,
    observerOf(controller) {
      const name = { name: controller };
      const queue = { depth: 0, startedAt: [] as number[] };
      queues.set(controller, queue);
      const added = adds.labels(name);
      const retried = retries.labels(name);
      const waitedFor = waited.labels(name);
      const workedFor = worked.labels(name);
      const failed = errors.labels({ controller });
      const took = durations.labels({ controller });
      const results = {
        success: reconciles.labels({ controller, result: 'success' }),
        error: reconciles.labels({ controller, result: 'error' }),
        requeue: reconciles.labels({ controller, result: 'requeue' }),
        requeue_after: reconciles.labels({ controller, result: 'requeue_after' }),
      };
      for (const counter of [added, retried, failed, ...Object.values(results)]) counter.inc(0);
      return {
        added() {
          queue.depth += 1;
          added.inc();
        },
        retried: () => retried.inc(),
        taken(waitedMs) {
          queue.depth -= 1;
          queue.startedAt.push(clock.monotonicMs());
          waitedFor.observe(waitedMs / 1000);
        },
        finished(workedMs) {
          removeNearest(queue.startedAt, clock.monotonicMs() - workedMs);
          workedFor.observe(workedMs / 1000);
        },
        reconciled(result, durationMs) {
          results[result].inc();
          if (result === 'error') failed.inc();
          took.observe(durationMs / 1000);
        },
      };
    },
  };

  function* queueLines(): Iterable<string> {
    const now = clock.monotonicMs();
    const rows = [...queues].map(([name, { depth, startedAt }]) => ({ name, depth, ages: startedAt.map((at) => (now - at) / 1000) }));
    yield familyHead('workqueue_depth', 'Keys that wait.', 'gauge');
    for (const { name, depth } of rows) yield `workqueue_depth{name="${name}"} ${depth}\n`;
    yield familyHead('workqueue_unfinished_work_seconds', 'Time spent so far on keys in work.', 'gauge');
    for (const { name, ages } of rows) {
      yield `workqueue_unfinished_work_seconds{name="${name}"} ${ages.reduce((sum, age) => sum + age, 0)}\n`;
    }
    yield familyHead('workqueue_longest_running_processor_seconds', 'Age of the oldest work.', 'gauge');
    for (const { name, ages } of rows) yield `workqueue_longest_running_processor_seconds{name="${name}"} ${Math.max(0, ...ages)}\n`;
  }
}

/** The observer tells how long a key was worked on, not which key: its start is the nearest one. There are only as many as workers. */
function removeNearest(times: number[], time: number): void {
  let nearest = 0;
  for (const [index, at] of times.entries()) {
    if (Math.abs(at - time) < Math.abs((times[nearest] ?? 0) - time)) nearest = index;
  }
  times.splice(nearest, 1);
}
