import type { Pod, PodCondition } from '../api/core/v1/pod.ts';

export const readyConditionOf = (pod: Pod): PodCondition | undefined => pod.status?.conditions?.find(({ type }) => type === 'Ready');

export const isPodReady = (pod: Pod): boolean => readyConditionOf(pod)?.status === 'True';

/** Succeeded or failed: none of its containers will run again. */
export const isPodFinished = (pod: Pod): boolean => pod.status?.phase === 'Succeeded' || pod.status?.phase === 'Failed';

export const isPodTerminating = (pod: Pod): boolean => pod.metadata.deletionTimestamp !== undefined;

/** Counts towards the number of pods its owner should have. */
export const isPodActive = (pod: Pod): boolean => !isPodTerminating(pod) && !isPodFinished(pod);

/** When a ready pod has been ready for `minReadySeconds`, in milliseconds since the epoch; undefined while it is not ready. */
function availableAt(pod: Pod, minReadySeconds: number): number | undefined {
  const ready = readyConditionOf(pod);
  if (ready?.status !== 'True') return undefined;
  if (minReadySeconds === 0) return 0;
  return Date.parse(ready.lastTransitionTime ?? '') + minReadySeconds * 1000;
}

/** Ready for at least `minReadySeconds` at `now`, in milliseconds since the epoch. */
export const isPodAvailable = (pod: Pod, minReadySeconds: number, now: number): boolean =>
  (availableAt(pod, minReadySeconds) ?? Number.POSITIVE_INFINITY) <= now;

/** Milliseconds until the next ready pod has been ready for long enough; undefined when none waits for that. */
export function untilPodAvailable(pods: readonly Pod[], minReadySeconds: number, now: number): number | undefined {
  let soonest: number | undefined;
  for (const pod of pods) {
    const wait = (availableAt(pod, minReadySeconds) ?? 0) - now;
    if (wait > 0 && wait < (soonest ?? Number.POSITIVE_INFINITY)) soonest = wait;
  }
  return soonest;
}
