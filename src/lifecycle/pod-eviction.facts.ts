import type { Taint } from '../api/core/v1/node.ts';
import type { Pod } from '../api/core/v1/pod.ts';
import type { PodEvictionEvent, podEvictionMachine } from './pod-eviction.machine.ts';
import type { StateValueOf } from './step.ts';
import { covers } from './tolerations.ts';

export type PodEvictionState = StateValueOf<typeof podEvictionMachine>;

/** `hasDeadline`: the controller waits for the pod's time to be over. It knows that from memory, and finds it again after a restart. */
export function stateOf(pod: Pod | undefined, hasDeadline: boolean): PodEvictionState {
  if (pod === undefined || pod.metadata.deletionTimestamp !== undefined) return 'Leaving';
  return hasDeadline ? 'Waiting' : 'Staying';
}

/** Until when a pod may stay, in milliseconds since the epoch. `forever` without NoExecute taints, or when all are tolerated forever. */
export type Stay = { readonly until: number } | 'forever' | 'not at all';

/**
 * Time that a pod may stay on a node with these NoExecute taints. The time of a toleration runs from the moment at
 * which the taint met the pod, if that is recorded. A restart of the controller then does not begin it again.
 * A pod that names its node has no record of its binding, and was bound when it was made.
 */
export function stayOf(pod: Pod, noExecute: readonly Taint[], now: number): Stay {
  if (noExecute.length === 0) return 'forever';
  const tolerations = pod.spec.tolerations ?? [];
  const boundAt = timeOf(
    pod.status?.conditions?.find(({ type, status }) => type === 'PodScheduled' && status === 'True')?.lastTransitionTime ??
      pod.metadata.creationTimestamp,
  );
  let until: number | undefined;
  for (const taint of noExecute) {
    const covering = tolerations.filter((toleration) => covers(toleration, taint));
    if (covering.length === 0) return 'not at all';
    const limits = covering.flatMap(({ tolerationSeconds }) => (tolerationSeconds === undefined ? [] : [tolerationSeconds]));
    if (limits.length === 0) continue;
    const end = Math.max(timeOf(taint.timeAdded) ?? now, boundAt ?? 0) + Math.max(0, Math.min(...limits)) * 1_000;
    until = until === undefined ? end : Math.min(until, end);
  }
  return until === undefined ? 'forever' : { until };
}

/** The controller's own record of a pod in `state`, which has no field for it. */
export const statusOf = (state: PodEvictionState): { readonly hasDeadline: boolean } => ({ hasDeadline: state === 'Waiting' });

/** The one event that a look at the pod gives. */
export function eventsOf(pod: Pod | undefined, stay: Stay, now: number): readonly PodEvictionEvent[] {
  return [eventOf(pod, stay, now)];
}

function eventOf(pod: Pod | undefined, stay: Stay, now: number): PodEvictionEvent {
  if (pod === undefined || pod.metadata.deletionTimestamp !== undefined) return { type: 'DELETED' };
  if (stay === 'forever') return { type: 'TAINTS_TOLERATED' };
  if (stay === 'not at all') return { type: 'TAINTS_NOT_TOLERATED' };
  return stay.until <= now ? { type: 'TOLERATION_EXPIRED' } : { type: 'TAINTS_TOLERATED_FOR_A_WHILE' };
}

function timeOf(timestamp: string | null | undefined): number | undefined {
  const time = Date.parse(timestamp ?? '');
  return Number.isNaN(time) ? undefined : time;
}
