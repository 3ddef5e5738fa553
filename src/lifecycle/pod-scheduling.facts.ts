import type { Pod } from '../api/core/v1/pod.ts';
import type { PodSchedulingEvent, podSchedulingMachine } from './pod-scheduling.machine.ts';
import type { StateValueOf } from './step.ts';

export type PodSchedulingState = StateValueOf<typeof podSchedulingMachine>;

/**
 * The scheduler's queue for a pod without a node: the part of the state that is not on the object. `gated` also holds
 * new pods until the scheduler has looked at their gates.
 */
export type SchedulerHold = 'gated' | 'active' | 'backoff' | 'unschedulable' | 'assumed';

/** Reasons of the condition `PodScheduled`, as upstream has them. */
export const podScheduledReasons = {
  gated: 'SchedulingGated',
  unschedulable: 'Unschedulable',
  error: 'SchedulerError',
} as const;

/** The message that the API server or the scheduler puts on a gated pod. */
export const gatedMessage = 'Scheduling is blocked due to non-empty scheduling gates';

/** A pod that needs no scheduler any more: it ended or is going. */
export function isPodLeaving(pod: Pod): boolean {
  const phase = pod.status?.phase;
  return pod.metadata.deletionTimestamp !== undefined || phase === 'Succeeded' || phase === 'Failed';
}

/** The node a pod is bound to. */
export function nodeNameOf(pod: Pod): string | undefined {
  const name = pod.spec.nodeName;
  return name === undefined || name === '' ? undefined : name;
}

/** Gates that someone else has to take away before the pod may be tried. */
export const isGated = (pod: Pod): boolean => (pod.spec.schedulingGates?.length ?? 0) > 0;

/**
 * The state of a pod: `pod` is absent once it is deleted, `hold` is where the scheduler keeps it.
 *
 * A terminating pod without a node counts as gone here; one that has a node stays bound, whichever scheduler bound it.
 */
export function stateOf(pod: Pod | undefined, hold: SchedulerHold | undefined): PodSchedulingState {
  if (pod === undefined) return 'Gone';
  if (nodeNameOf(pod) !== undefined) return 'Bound';
  if (isPodLeaving(pod)) return 'Gone';
  switch (hold) {
    case 'assumed':
      return 'Assumed';
    case 'backoff':
      return 'Backoff';
    case 'unschedulable':
      return 'Unschedulable';
    case 'active':
      return 'Pending';
    case 'gated':
      return 'Gated';
    case undefined:
      return isGated(pod) ? 'Gated' : 'Pending';
    default:
      return hold satisfies never;
  }
}

/** Facts on the object that differ from the hold. The outcome of an attempt is the scheduler's own event. */
export function eventsOf(pod: Pod | undefined, hold: SchedulerHold | undefined): readonly PodSchedulingEvent[] {
  if (pod === undefined) return [{ type: 'DELETED' }];
  if (nodeNameOf(pod) !== undefined) return [{ type: 'BOUND' }];
  if (isPodLeaving(pod)) return [{ type: 'DELETED' }];
  return hold === 'gated' && !isGated(pod) ? [{ type: 'GATES_LIFTED' }] : [];
}

/** Queue of a pod in `state`; undefined for a pod that the scheduler is done with. */
export function statusOf(state: PodSchedulingState): SchedulerHold | undefined {
  switch (state) {
    case 'Pending':
      return 'active';
    case 'Unschedulable':
      return 'unschedulable';
    case 'Backoff':
      return 'backoff';
    case 'Assumed':
      return 'assumed';
    case 'Gated':
      return 'gated';
    case 'Bound':
    case 'Gone':
      return undefined;
    default:
      return state satisfies never;
  }
}
