import type { Job } from '../../api/batch/v1/job.ts';
import type { Metrics } from '../../base/metrics.ts';
import type { Account } from './pod-accounting.ts';

/** The kind of work that a pass did, in upstream's words. */
export type SyncAction = 'reconciling' | 'tracking' | 'pods_created' | 'pods_deleted';

/** Counters of the Job controller, by upstream's names. */
export interface JobMetrics {
  synced(job: Job, sync: { readonly action: SyncAction; readonly result: 'success' | 'error'; readonly durationMs: number }): void;
  /** Pods that the status took up in this pass. */
  podsFinished(job: Job, fresh: Account['fresh']): void;
  podsCreated(job: Job, counts: { readonly succeeded: number; readonly failed: number }): void;
  finished(job: Job, result: 'succeeded' | 'failed', reason: string): void;
  leftToAnother(controller: string): void;
}

/** From 4 ms on, each bound twice the one before. */
const durations = Array.from({ length: 15 }, (_, power) => 0.004 * 2 ** power);

/** Names of foreign controllers that get a series of their own; a field of users must not make endless ones. */
const maxControllers = 20;

export function createJobMetrics(metrics: Metrics): JobMetrics {
  const syncLabels = ['completion_mode', 'result', 'action'] as const;
  const syncs = metrics.counter({ name: 'job_controller_job_syncs_total', help: 'Passes over Jobs.', labelNames: syncLabels });
  const syncTimes = metrics.histogram({
    name: 'job_controller_job_sync_duration_seconds',
    help: 'Time of a pass over a Job.',
    labelNames: syncLabels,
    buckets: durations,
  });
  const finished = metrics.counter({
    name: 'job_controller_jobs_finished_total',
    help: 'Jobs that ended, by outcome and reason.',
    labelNames: ['completion_mode', 'result', 'reason'],
  });
  const podsFinished = metrics.counter({
    name: 'job_controller_job_pods_finished_total',
    help: 'Pods of Jobs that ended and were counted.',
    labelNames: ['completion_mode', 'result'],
  });
  const podsCreated = metrics.counter({
    name: 'job_controller_job_pods_creation_total',
    help: 'Pods that Jobs asked for.',
    labelNames: ['reason', 'status'],
  });
  const failuresHandled = metrics.counter({
    name: 'job_controller_pod_failures_handled_by_failure_policy_total',
    help: 'Failed pods that a rule of a pod failure policy matched, by action.',
    labelNames: ['action'],
  });
  const elsewhere = metrics.counter({
    name: 'job_controller_jobs_by_external_controller_total',
    help: 'Jobs that name another controller in managedBy.',
    labelNames: ['controller_name'],
  });
  for (const action of ['Count', 'FailIndex', 'FailJob', 'Ignore']) failuresHandled.inc({ action }, 0);
  const controllers = new Set<string>();

  return {
    synced(job, { action, result, durationMs }) {
      const labels = { completion_mode: modeOf(job), result, action };
      syncs.inc(labels);
      syncTimes.observe(labels, durationMs / 1_000);
    },
    podsFinished(job, { succeeded, failures }) {
      const mode = modeOf(job);
      if (succeeded > 0) podsFinished.inc({ completion_mode: mode, result: 'succeeded' }, succeeded);
      const counted = failures.filter(({ counts }) => counts).length;
      if (counted > 0) podsFinished.inc({ completion_mode: mode, result: 'failed' }, counted);
      for (const { action } of failures) if (action !== undefined) failuresHandled.inc({ action });
    },
    podsCreated(job, { succeeded, failed }) {
      const reason = job.spec.podReplacementPolicy === 'Failed' ? 'recreate_failed' : 'new';
      if (succeeded > 0) podsCreated.inc({ reason, status: 'succeeded' }, succeeded);
      if (failed > 0) podsCreated.inc({ reason, status: 'failed' }, failed);
    },
    finished: (job, result, reason) => finished.inc({ completion_mode: modeOf(job), result, reason }),
    leftToAnother(controller) {
      if (controllers.size < maxControllers) controllers.add(controller);
      elsewhere.inc({ controller_name: controllers.has(controller) ? controller : 'other' });
    },
  };
}

const modeOf = ({ spec }: Job): string => (spec.completionMode === 'Indexed' ? 'Indexed' : 'NonIndexed');
