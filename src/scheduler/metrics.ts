import { buckets, type Metrics } from '../base/metrics.ts';
import { familyHead } from '../base/series.ts';
import type { SchedulerCache } from './cache.ts';
import type { SchedulingQueue } from './queue.ts';

type AttemptResult = 'scheduled' | 'unschedulable' | 'error';

/** The `scheduler_*` families. */
export interface SchedulerMetrics {
  attempted(result: AttemptResult, durationMs: number): void;
  algorithmTook(durationMs: number): void;
  extensionPointTook(point: 'Filter' | 'Score' | 'Bind', ok: boolean, durationMs: number): void;
  /** From the first time the pod could be tried to its binding. */
  scheduled(attempts: number, durationMs: number): void;
}

export interface SchedulerMetricsOptions {
  readonly metrics: Metrics;
  readonly profile: string;
  readonly queue: SchedulingQueue;
  readonly cache: SchedulerCache;
  /** Choices that a sample scored for another pod served. */
  readonly reusedSamples: () => number;
}

const sliBuckets = Array.from({ length: 16 }, (_, power) => round(0.01 * 2 ** power));
const pointBuckets = Array.from({ length: 12 }, (_, power) => round(0.0001 * 2 ** power));
const maxAttemptsLabel = 16;

export function createSchedulerMetrics({ metrics, profile, queue, cache, reusedSamples }: SchedulerMetricsOptions): SchedulerMetrics {
  const attempts = metrics.counter({
    name: 'scheduler_schedule_attempts_total',
    help: 'Attempts to schedule a pod, by how they ended.',
    labelNames: ['result', 'profile'],
  });
  const attemptDuration = metrics.histogram({
    name: 'scheduler_scheduling_attempt_duration_seconds',
    help: 'Time of an attempt, with its binding.',
    labelNames: ['result', 'profile'],
    buckets: [...buckets.schedule],
  });
  const algorithmDuration = metrics.histogram({
    name: 'scheduler_scheduling_algorithm_duration_seconds',
    help: 'Time it took to choose a node.',
    buckets: [...buckets.schedule],
  });
  const sli = metrics.histogram({
    name: 'scheduler_pod_scheduling_sli_duration_seconds',
    help: 'Time from the first time a pod could be tried to its binding, by attempts.',
    labelNames: ['attempts'],
    buckets: sliBuckets,
  });
  const points = metrics.histogram({
    name: 'scheduler_framework_extension_point_duration_seconds',
    help: 'Time of one extension point, measured for every tenth pod.',
    labelNames: ['extension_point', 'status', 'profile'],
    buckets: pointBuckets,
  });
  metrics.gauge({
    name: 'scheduler_pending_pods',
    help: 'Pods without a node, by queue.',
    labelNames: ['queue'],
    collect() {
      for (const hold of ['active', 'backoff', 'unschedulable', 'gated'] as const) this.set({ queue: hold }, queue.count(hold));
    },
  });
  metrics.gauge({
    name: 'scheduler_unschedulable_pods',
    help: 'Pods that wait for a change of the cluster, by the plugins that rejected them.',
    labelNames: ['plugin', 'profile'],
    collect() {
      this.reset();
      const counts = new Map<string, number>();
      for (const { rejectedBy } of queue.parked()) for (const plugin of rejectedBy) counts.set(plugin, (counts.get(plugin) ?? 0) + 1);
      for (const [plugin, count] of counts) this.set({ plugin, profile }, count);
    },
  });
  metrics.gauge({
    name: 'scheduler_cache_size',
    help: 'Nodes, pods and promised pods that the scheduler knows of.',
    labelNames: ['type'],
    collect() {
      this.set({ type: 'nodes' }, cache.nodes.length);
      this.set({ type: 'pods' }, cache.placedPods);
      this.set({ type: 'assumed_pods' }, cache.assumedPods);
    },
  });
  metrics.addCollector(function* () {
    yield familyHead('midship_scheduler_sample_reuses_total', 'Pods that took a node of a sample scored for a pod like them.', 'counter');
    yield `midship_scheduler_sample_reuses_total ${reusedSamples()}\n`;
  });

  // Labels are looked up once, not for each pod.
  const ofResult = (result: AttemptResult) => {
    const counter = attempts.labels({ result, profile });
    counter.inc(0);
    return { counter, duration: attemptDuration.labels({ result, profile }) };
  };
  const results = { scheduled: ofResult('scheduled'), unschedulable: ofResult('unschedulable'), error: ofResult('error') };
  const ofPoint = (point: string) => ({
    ok: points.labels({ extension_point: point, status: 'Success', profile }),
    failed: points.labels({ extension_point: point, status: 'Error', profile }),
  });
  const byPoint = { Filter: ofPoint('Filter'), Score: ofPoint('Score'), Bind: ofPoint('Bind') };
  const byAttempts = Array.from({ length: maxAttemptsLabel + 1 }, (_, count) =>
    sli.labels({ attempts: count < maxAttemptsLabel ? String(count) : `${maxAttemptsLabel}+` }),
  );

  return {
    attempted(result, durationMs) {
      results[result].counter.inc();
      results[result].duration.observe(durationMs / 1000);
    },
    algorithmTook: (durationMs) => algorithmDuration.observe(durationMs / 1000),
    extensionPointTook(point, ok, durationMs) {
      byPoint[point][ok ? 'ok' : 'failed'].observe(durationMs / 1000);
    },
    scheduled: (count, durationMs) => byAttempts[Math.min(count, maxAttemptsLabel)]?.observe(durationMs / 1000),
  };
}

/** Powers of two of a decimal fraction without the digits binary adds: they become label values. */
function round(value: number): number {
  return Number(value.toPrecision(6));
}
