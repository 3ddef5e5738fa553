import type { Job } from '../../api/batch/v1/job.ts';
import type { Pod } from '../../api/core/v1/pod.ts';
import { isPodTerminating, readyConditionOf } from '../pod-conditions.ts';
import { isTracked } from './pod-facts.ts';
import { hasPodFailed } from './pod-failure-policy.ts';

const baseMs = 10_000;
const maxMs = 600_000;

/** 10 s after the first failure, then twice as long each time, up to 10 min. */
export const backoffAfter = (failures: number): number => (failures === 0 ? 0 : Math.min(maxMs, baseMs * 2 ** Math.min(failures - 1, 20)));

/** Milliseconds until the Job may replace a failed pod, from the last failure; a success ends the row of failures. */
export function untilReplacement(job: Job, pods: readonly Pod[], now: number): number {
  let lastSuccess = Number.NEGATIVE_INFINITY;
  for (const pod of pods) if (pod.status?.phase === 'Succeeded') lastSuccess = Math.max(lastSuccess, endOf(pod));
  let failures = 0;
  let lastFailure = Number.NEGATIVE_INFINITY;
  for (const pod of pods) {
    // Pods that the controller deleted itself have lost their finalizer before.
    if (!hasPodFailed(job, pod) || (isPodTerminating(pod) && !isTracked(pod))) continue;
    const at = endOf(pod);
    if (at <= lastSuccess) continue;
    failures += 1;
    lastFailure = Math.max(lastFailure, at);
  }
  return failures === 0 ? 0 : Math.max(0, lastFailure + backoffAfter(failures) - now);
}

/** Milliseconds since the epoch; 0 when nothing says when. */
export function endOf(pod: Pod): number {
  const times = (pod.status?.containerStatuses ?? [])
    .map(({ state }) => state?.terminated?.finishedAt)
    .filter((time) => time !== undefined);
  if (times.length > 0) return Math.max(...times.map((time) => Date.parse(time)));
  const { deletionTimestamp, creationTimestamp } = pod.metadata;
  return Date.parse(readyConditionOf(pod)?.lastTransitionTime ?? deletionTimestamp ?? creationTimestamp ?? '') || 0;
}
