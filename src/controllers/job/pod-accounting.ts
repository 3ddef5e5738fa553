import type { Job } from '../../api/batch/v1/job.ts';
import type { Pod } from '../../api/core/v1/pod.ts';
import { finalizers } from '../../api/well-known.ts';
import { type JobWorld, replacesOnlyFailed } from '../../lifecycle/job.facts.ts';
import { isPodActive, isPodFinished, isPodReady, isPodTerminating, readyConditionOf } from '../pod-conditions.ts';

/** Finished pods taken into account in one pass, so that a status stays small; upstream's bound. */
const maxUncounted = 500;

const baseBackoffMs = 10_000;
const maxBackoffMs = 600_000;

export const isTracked = (pod: Pod): boolean => pod.metadata.finalizers?.includes(finalizers.jobTracking) === true;

/**
 * Counts the pods of a Job.
 *
 * A finished pod goes through three steps, so that it counts exactly once despite crashes and deletions. First its uid
 * is noted in `uncountedTerminatedPods`; then its finalizer is removed; then the note becomes a count. Until then the
 * finalizer keeps the pod.
 */
export function accountPods(job: Job, pods: readonly Pod[], now: number): Omit<JobWorld, 'expecting'> {
  const tracked = new Map(pods.filter(isTracked).map((pod) => [pod.metadata.uid ?? '', pod]));
  const noted = job.status?.uncountedTerminatedPods;
  const succeeded = settle(job.status?.succeeded ?? 0, noted?.succeeded ?? [], tracked);
  const failed = settle(job.status?.failed ?? 0, noted?.failed ?? [], tracked);
  const known = new Set([...succeeded.uncounted, ...failed.uncounted]);
  for (const [uid, pod] of tracked) {
    if (succeeded.uncounted.length + failed.uncounted.length >= maxUncounted) break;
    if (known.has(uid)) continue;
    if (pod.status?.phase === 'Succeeded') succeeded.uncounted.push(uid);
    else if (hasFailed(job, pod)) failed.uncounted.push(uid);
  }
  const active = pods.filter(isPodActive);
  return {
    active: active.length,
    ready: active.filter(isPodReady).length,
    terminating: pods.filter((pod) => isPodTerminating(pod) && !isPodFinished(pod)).length,
    succeeded: succeeded.counted + succeeded.uncounted.length,
    failed: failed.counted + failed.uncounted.length,
    uncounted: { succeeded: succeeded.uncounted, failed: failed.uncounted },
    restarts: active.reduce((sum, pod) => sum + restartsOf(pod), 0),
    backoffMs: backoffMs(job, pods, now),
    now,
  };
}

/** Notes whose pod has lost its finalizer become counts. */
function settle(counted: number, noted: readonly string[], tracked: ReadonlyMap<string, Pod>) {
  const uncounted = noted.filter((uid) => tracked.has(uid));
  return { counted: counted + noted.length - uncounted.length, uncounted };
}

/** A pod that someone deletes has failed as far as the Job is concerned, unless its replacement waits for its end anyway. */
const hasFailed = (job: Job, pod: Pod): boolean =>
  pod.status?.phase === 'Failed' || (isPodTerminating(pod) && pod.status?.phase !== 'Succeeded' && !replacesOnlyFailed(job.spec));

/** 10 s after the first failure in a row, then twice as long each time, up to 10 min; a success ends the row. */
function backoffMs(job: Job, pods: readonly Pod[], now: number): number {
  let lastSuccess = Number.NEGATIVE_INFINITY;
  for (const pod of pods) if (pod.status?.phase === 'Succeeded') lastSuccess = Math.max(lastSuccess, finishedAt(pod));
  let failures = 0;
  let lastFailure = Number.NEGATIVE_INFINITY;
  for (const pod of pods) {
    // Pods that the controller deleted itself have lost their finalizer before.
    if (!hasFailed(job, pod) || (isPodTerminating(pod) && !isTracked(pod))) continue;
    const at = finishedAt(pod);
    if (at <= lastSuccess) continue;
    failures += 1;
    lastFailure = Math.max(lastFailure, at);
  }
  if (failures === 0) return 0;
  return Math.max(0, lastFailure + Math.min(maxBackoffMs, baseBackoffMs * 2 ** Math.min(failures - 1, 20)) - now);
}

function finishedAt(pod: Pod): number {
  const times = (pod.status?.containerStatuses ?? [])
    .map(({ state }) => state?.terminated?.finishedAt)
    .filter((time) => time !== undefined);
  if (times.length > 0) return Math.max(...times.map((time) => Date.parse(time)));
  const { deletionTimestamp, creationTimestamp } = pod.metadata;
  return Date.parse(readyConditionOf(pod)?.lastTransitionTime ?? deletionTimestamp ?? creationTimestamp ?? '') || 0;
}

const restartsOf = (pod: Pod): number =>
  [...(pod.status?.initContainerStatuses ?? []), ...(pod.status?.containerStatuses ?? [])].reduce(
    (sum, { restartCount }) => sum + (restartCount ?? 0),
    0,
  );
