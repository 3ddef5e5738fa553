import { buckets, type Metrics } from '../base/metrics.ts';
import { familyHead } from '../base/series.ts';
import type { SchedulerCache } from './cache.ts';
import { defaultSchedulerName } from './pod-record.ts';
import type { SchedulingQueue } from './queue.ts';

type AttemptResult = 'scheduled' | 'unschedulable' | 'error';

/** The `scheduler_*` families. */
export interface SchedulerMetrics {
  attempted(result: AttemptResult, durationMs: number): void;
  algorithmTook(durationMs: number): void;
  extensionPointTook(point: 'Filter' | 'Score' | 'Bind', ok: boolean, durationMs: number): void;
  /** From the first time the pod could be tried to its binding. */
  scheduled(attempts: number, durationMs: number): void;
  /** So many pods are removed for one. */
  preempted(victims: number): void;
}

export interface SchedulerMetricsOptions {
  readonly metrics: Metrics;
  readonly queue: SchedulingQueue;
  readonly cache: SchedulerCache;
  /** Choices that a sample scored for another pod served. */
  readonly reusedSamples: () => number;
}

const sliBuckets = Array.from({ length: 16 }, (_, power) => round(0.01 * 2 ** power));
const pointBuckets = Array.from({ length: 12 }, (_, power) => round(0.0001 * 2 ** power));
const maxAttemptsLabel = 16;

/** Registers the families, and gives the measures of a profile by its name. */
export function createSchedulerMetrics(options: SchedulerMetricsOptions): (profile: string) => SchedulerMetrics {
  const { metrics } = options;
  registerGauges(options);
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
  const preemptions = metrics.counter({
    name: 'scheduler_preemption_attempts_total',
    help: 'Times that pods were removed to make room for another one.',
  });
  const victims = metrics.histogram({
    name: 'scheduler_preemption_victims',
    help: 'Pods removed for one pod.',
    buckets: [1, 2, 4, 8, 16, 32, 64],
  });
  // Labels are looked up once, not for each pod.
  const ofResult = (profile: string, result: AttemptResult) => {
    const counter = attempts.labels({ result, profile });
    counter.inc(0);
    return { counter, duration: attemptDuration.labels({ result, profile }) };
  };
  const ofPoint = (profile: string, point: string) => ({
    ok: points.labels({ extension_point: point, status: 'Success', profile }),
    failed: points.labels({ extension_point: point, status: 'Error', profile }),
  });
  const byAttempts = Array.from({ length: maxAttemptsLabel + 1 }, (_, count) =>
    sli.labels({ attempts: count < maxAttemptsLabel ? String(count) : `${maxAttemptsLabel}+` }),
  );

  return (profile) => {
    const results = {
      scheduled: ofResult(profile, 'scheduled'),
      unschedulable: ofResult(profile, 'unschedulable'),
      error: ofResult(profile, 'error'),
    };
    const byPoint = { Filter: ofPoint(profile, 'Filter'), Score: ofPoint(profile, 'Score'), Bind: ofPoint(profile, 'Bind') };
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
      preempted(count) {
        preemptions.inc();
        victims.observe(count);
      },
    };
  };
}

function registerGauges({ metrics, queue, cache, reusedSamples }: SchedulerMetricsOptions): void {
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
      for (const { record, rejectedBy } of queue.parked()) {
        const profile = record.pod.spec.schedulerName ?? defaultSchedulerName;
        for (const plugin of rejectedBy) this.inc({ plugin, profile });
      }
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
}

/** Powers of two of a decimal fraction without the digits binary adds: they become label values. */
function round(value: number): number {
  return Number(value.toPrecision(6));
}
