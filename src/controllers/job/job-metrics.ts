import type { Job } from '../../api/batch/v1/job.ts';
import type { Pod } from '../../api/core/v1/pod.ts';
import type { Metrics } from '../../base/metrics.ts';
import { sizeOf } from '../../machinery/index-set.ts';
import { isPodFinished } from '../pod-conditions.ts';
import type { Account } from './pod-accounting.ts';
import { isTracked } from './pod-facts.ts';
import { readSet } from './pod-indexes.ts';

/** The kind of work that a pass did, in upstream's words. */
export type SyncAction = 'reconciling' | 'tracking' | 'pods_created' | 'pods_deleted';

/** Counters of the Job controller, by upstream's names. */
export interface JobMetrics {
  synced(job: Job, sync: { readonly action: SyncAction; readonly result: 'success' | 'error'; readonly durationMs: number }): void;
  /** Pods that the status took up in this pass. */
  podsFinished(job: Job, fresh: Account['fresh']): void;
  podsCreated(job: Job, counts: { readonly succeeded: number; readonly failed: number }): void;
  finished(job: Job, result: 'succeeded' | 'failed', reason: string): void;
  /** Indexes that the status named first now. */
  indexesFinished(before: Job, after: Job): void;
  /** Counts a pod that ended while its Job still has to count it, and such a pod that was counted. */
  podTracked(before: Pod | undefined, after: Pod | undefined): void;
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
  const finishedIndexes = metrics.counter({
    name: 'job_controller_job_finished_indexes_total',
    help: 'Indexes of Indexed Jobs that ended.',
    labelNames: ['status', 'backoffLimit'],
  });
  const trackedEnds = metrics.counter({
    name: 'job_controller_terminated_pods_tracking_finalizer_total',
    help: 'Pods that ended with the finalizer of their Job (add), and those of them that lost it or went (delete).',
    labelNames: ['event'],
  });
  for (const status of ['succeeded', 'failed'])
    for (const backoffLimit of ['global', 'perIndex']) finishedIndexes.inc({ status, backoffLimit }, 0);
  for (const event of ['add', 'delete']) trackedEnds.inc({ event }, 0);
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
    indexesFinished(before, after) {
      const backoffLimit = after.spec.backoffLimitPerIndex === undefined ? 'global' : 'perIndex';
      const fields = [
        ['succeeded', 'completedIndexes'],
        ['failed', 'failedIndexes'],
      ] as const;
      for (const [status, field] of fields) {
        const more = countIn(after.status?.[field]) - countIn(before.status?.[field]);
        if (more > 0) finishedIndexes.inc({ status, backoffLimit }, more);
      }
    },
    podTracked(before, after) {
      const [was, is] = [isTrackedEnd(before), isTrackedEnd(after)];
      if (was !== is) trackedEnds.inc({ event: is ? 'add' : 'delete' });
    },
    leftToAnother(controller) {
      if (controllers.size < maxControllers) controllers.add(controller);
      elsewhere.inc({ controller_name: controllers.has(controller) ? controller : 'other' });
    },
  };
}

const countIn = (text: string | undefined): number => sizeOf(readSet(text, Number.MAX_SAFE_INTEGER));

const isTrackedEnd = (pod: Pod | undefined): boolean => pod !== undefined && isPodFinished(pod) && isTracked(pod);

const modeOf = ({ spec }: Job): string => (spec.completionMode === 'Indexed' ? 'Indexed' : 'NonIndexed');
