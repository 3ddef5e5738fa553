import type { DaemonSet, DaemonSetStatus } from '../api/apps/v1/daemon-set.ts';
import { positive } from './counters.ts';
import type { DaemonSetEvent, daemonSetMachine } from './daemon-set.machine.ts';
import { phaseEventOf, type RolloutPhase, rolloutPhaseOf } from './rollout-phases.ts';
import type { StateValueOf } from './step.ts';

export type DaemonSetState = StateValueOf<typeof daemonSetMachine>;

/** Nodes of one DaemonSet, counted as its status shows them. */
export interface DaemonCounts {
  /** Nodes that should have a pod. */
  readonly desired: number;
  /** Those of them that have one. */
  readonly current: number;
  /** Nodes that should have none and have one. */
  readonly misscheduled: number;
  readonly ready: number;
  /** Ready for at least `minReadySeconds`. */
  readonly available: number;
  /** Nodes whose oldest pod is of the newest revision. */
  readonly updated: number;
}

/** Observations of one pass besides the object itself. */
export interface DaemonSetWorld {
  readonly counts: DaemonCounts;
  readonly collisionCount: number;
  /** Pods were asked for that the cache does not show yet: nothing more may be asked for. */
  readonly expecting: boolean;
  /** Pods that the plan of this pass wants to be changed. */
  readonly due: {
    readonly missing: boolean;
    readonly finished: boolean;
    readonly surplus: boolean;
    readonly outdated: boolean;
    readonly surge: boolean;
  };
  readonly historyTooLong: boolean;
}

export function stateOf(set: DaemonSet): DaemonSetState {
  const { metadata, status } = set;
  if (metadata.deletionTimestamp !== undefined) return 'Deleting';
  if (status === undefined || (status.observedGeneration ?? 0) < (metadata.generation ?? 0)) return { Live: 'Scaling' };
  return {
    Live: phaseOf(set, {
      desired: status.desiredNumberScheduled,
      current: status.currentNumberScheduled,
      misscheduled: status.numberMisscheduled,
      available: status.numberAvailable ?? 0,
      updated: status.updatedNumberScheduled ?? 0,
    }),
  };
}

export function eventsOf(set: DaemonSet, world: DaemonSetWorld): readonly DaemonSetEvent[] {
  if (set.metadata.deletionTimestamp !== undefined) return [{ type: 'DELETED' }];
  const events: DaemonSetEvent[] = [];
  const { due } = world;
  if (!world.expecting) {
    if (due.missing) events.push({ type: 'PODS_MISSING' });
    if (due.finished) events.push({ type: 'PODS_FINISHED' });
    if (due.surplus) events.push({ type: 'PODS_SURPLUS' });
    // The rollout waits until each node has its one pod in the cache.
    if (events.length === 0 && due.surge) events.push({ type: 'SURGE_DUE' });
    if (events.length === 0 && due.outdated) events.push({ type: 'PODS_OUTDATED' });
    if (world.historyTooLong) events.push({ type: 'HISTORY_TOO_LONG' });
  }
  events.push(phaseEventOf(phaseOf(set, world.counts)));
  return events;
}

function phaseOf(set: DaemonSet, { desired, current, misscheduled, available, updated }: Omit<DaemonCounts, 'ready'>): RolloutPhase {
  return rolloutPhaseOf({
    isComplete: current >= desired && misscheduled === 0,
    isUpdated: !isRollingUpdate(set) || updated >= desired,
    isAvailable: available >= desired,
  });
}

/** The status of a pass. The generation counts as observed only when the pass could act on it. */
export function statusOf(state: DaemonSetState, set: DaemonSet, world: DaemonSetWorld): DaemonSetStatus {
  const { counts, collisionCount, expecting } = world;
  const observed = state === 'Deleting' || expecting ? set.status?.observedGeneration : set.metadata.generation;
  return {
    currentNumberScheduled: counts.current,
    numberMisscheduled: counts.misscheduled,
    desiredNumberScheduled: counts.desired,
    numberReady: counts.ready,
    ...(observed === undefined ? {} : { observedGeneration: observed }),
    ...positive('updatedNumberScheduled', counts.updated),
    ...positive('numberAvailable', counts.available),
    ...positive('numberUnavailable', counts.desired - counts.available),
    ...positive('collisionCount', collisionCount),
  };
}

export const isRollingUpdate = ({ spec }: DaemonSet): boolean => spec.updateStrategy?.type !== 'OnDelete';
