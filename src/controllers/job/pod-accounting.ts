import type { Job } from '../../api/batch/v1/job.ts';
import type { Pod } from '../../api/core/v1/pod.ts';
import { isOver, type JobWorld } from '../../lifecycle/job.facts.ts';
import { sizeOf } from '../../machinery/index-set.ts';
import { isPodActive, isPodFinished, isPodReady, isPodTerminating } from '../pod-conditions.ts';
import { untilReplacement } from './pod-backoff.ts';
import { indexOf, isTracked } from './pod-facts.ts';
import { hasPodFailed, judgeFailure, type PodFailure } from './pod-failure-policy.ts';
import { type PodIndexes, readIndexes } from './pod-indexes.ts';

/** Finished pods taken into account in one pass, so that a status stays small; upstream's bound. */
const maxUncounted = 500;

/** The counts of a Job's pods, and those that the status then accounts for. */
export interface Account {
  readonly world: Omit<JobWorld, 'expecting'>;
  /** Absent unless the Job is Indexed. */
  readonly indexes: PodIndexes | undefined;
  /** Pods that may lose the finalizer once the status is written. */
  readonly settled: readonly Pod[];
  /** Outcomes that this pass saw first, for the metrics. */
  readonly fresh: { readonly succeeded: number; readonly failures: readonly PodFailure[] };
}

/**
 * Counts the pods of a Job.
 *
 * A finished pod goes through three steps, so that it counts exactly once despite crashes and deletions. First its uid
 * is noted in `uncountedTerminatedPods`; then its finalizer is removed; then the note becomes a count. Until then the
 * finalizer keeps the pod. The success of an index needs no note: `completedIndexes` has it once, however often it is added.
 */
export function accountPods(job: Job, pods: readonly Pod[], now: number): Account {
  const isEnding = isOver(job);
  const indexes = job.spec.completionMode === 'Indexed' ? readIndexes(job, pods, { now, isOver: isEnding }) : undefined;
  const tracked = new Map(pods.filter(isTracked).map((pod) => [pod.metadata.uid ?? '', pod]));
  const noted = job.status?.uncountedTerminatedPods;
  const succeeded = settle(job.status?.succeeded ?? 0, noted?.succeeded ?? [], tracked);
  const failed = settle(job.status?.failed ?? 0, noted?.failed ?? [], tracked);
  const known = new Set([...succeeded.uncounted, ...failed.uncounted]);
  const settled = [...known].flatMap((uid) => tracked.get(uid) ?? []);
  const delayed = new Set([...(indexes?.predecessors.values() ?? [])]);
  const fresh = { succeeded: 0, failures: [] as PodFailure[] };
  const { completions = 0 } = job.spec;
  let delayedFailures = 0;

  for (const [uid, pod] of tracked) {
    if (settled.length >= maxUncounted) break;
    if (known.has(uid)) continue;
    const isValid = indexes === undefined || (indexOf(pod) ?? completions) < completions;
    if (pod.status?.phase === 'Succeeded') {
      if (indexes === undefined) succeeded.uncounted.push(uid);
      fresh.succeeded += 1;
      settled.push(pod);
    } else if (hasPodFailed(job, pod)) {
      const failure = judgeFailure(job, pod);
      if (delayed.has(pod)) {
        delayedFailures += failure.counts ? 1 : 0;
        continue;
      }
      if (failure.counts && isValid) failed.uncounted.push(uid);
      fresh.failures.push(failure);
      settled.push(pod);
    }
  }
  const active = pods.filter(isPodActive);
  const backoffMs = untilNextPod(job, pods, { now, indexes });
  return {
    indexes,
    settled,
    fresh,
    world: {
      active: active.length,
      ready: active.filter(isPodReady).length,
      terminating: pods.filter((pod) => isPodTerminating(pod) && !isPodFinished(pod)).length,
      succeeded: indexes === undefined ? succeeded.counted + succeeded.uncounted.length : sizeOf(indexes.succeeded),
      failed: failed.counted + failed.uncounted.length + delayedFailures,
      delayedFailures,
      uncounted: { succeeded: succeeded.uncounted, failed: failed.uncounted },
      indexes,
      failJobMessage: failJobMessage(job, pods),
      restarts: active.reduce((sum, pod) => sum + restartsOf(pod), 0),
      backoffMs,
      retryMs: indexes === undefined ? backoffMs : Math.max(backoffMs, indexes.retryMs),
      now,
    },
  };
}

/** With a limit for each index, each index waits alone; otherwise all wait for the last failure. */
function untilNextPod(
  job: Job,
  pods: readonly Pod[],
  { now, indexes }: { readonly now: number; readonly indexes: PodIndexes | undefined },
): number {
  if (indexes?.failed === undefined) return untilReplacement(job, pods, now);
  return indexes.pending.length > 0 ? 0 : indexes.retryMs;
}

function failJobMessage(job: Job, pods: readonly Pod[]): string | undefined {
  if (job.spec.podFailurePolicy === undefined) return undefined;
  for (const pod of pods) {
    if (!hasPodFailed(job, pod)) continue;
    const { action, message } = judgeFailure(job, pod);
    if (action === 'FailJob') return message;
  }
  return undefined;
}

/** Notes whose pod has lost its finalizer become counts. */
function settle(counted: number, noted: readonly string[], tracked: ReadonlyMap<string, Pod>) {
  const uncounted = noted.filter((uid) => tracked.has(uid));
  return { counted: counted + noted.length - uncounted.length, uncounted };
}

const restartsOf = (pod: Pod): number =>
  [...(pod.status?.initContainerStatuses ?? []), ...(pod.status?.containerStatuses ?? [])].reduce(
    (sum, { restartCount }) => sum + (restartCount ?? 0),
    0,
  );
