import type { StatefulSet } from '../api/apps/v1/stateful-set.ts';
import { positive } from './counters.ts';
import { phaseEventOf, type RolloutPhase, rolloutPhaseOf } from './rollout-phases.ts';
import type { StatefulSetEvent, statefulSetMachine } from './stateful-set.machine.ts';
import type { StateValueOf } from './step.ts';

export type StatefulSetState = StateValueOf<typeof statefulSetMachine>;
export type StatefulSetStatus = NonNullable<StatefulSet['status']>;

/** Pods of one StatefulSet, counted as its status shows them. */
export interface StatefulPodCounts {
  readonly replicas: number;
  readonly ready: number;
  /** Ready for at least `minReadySeconds`. */
  readonly available: number;
  /** Pods of the revision from which an update starts. */
  readonly current: number;
  /** Pods of the revision that an update goes to; the same pods as `current` while there is no update. */
  readonly updated: number;
}

/** Observations of one pass besides the object itself. */
export interface StatefulSetWorld {
  readonly counts: StatefulPodCounts;
  /** Names of the ControllerRevisions from which and to which an update goes. */
  readonly currentRevision: string;
  readonly updateRevision: string;
  readonly collisionCount: number;
  /** Pods that the plan of this pass wants to be changed; none while the cache is behind. */
  readonly due: {
    readonly finished: boolean;
    readonly missing: boolean;
    readonly damaged: boolean;
    readonly surplus: boolean;
    readonly outdated: boolean;
  };
  readonly historyTooLong: boolean;
}

export function stateOf(set: StatefulSet): StatefulSetState {
  const { metadata, status } = set;
  if (metadata.deletionTimestamp !== undefined) return 'Deleting';
  if (status === undefined || (status.observedGeneration ?? 0) < (metadata.generation ?? 0)) return { Live: 'Scaling' };
  return {
    Live: phaseOf(set, {
      replicas: status.replicas,
      available: status.availableReplicas ?? 0,
      updated: status.updatedReplicas ?? 0,
    }),
  };
}

export function eventsOf(set: StatefulSet, world: StatefulSetWorld): readonly StatefulSetEvent[] {
  if (set.metadata.deletionTimestamp !== undefined) return [{ type: 'DELETED' }];
  const events: StatefulSetEvent[] = [];
  const { due } = world;
  if (due.finished) events.push({ type: 'PODS_FINISHED' });
  if (due.missing) events.push({ type: 'PODS_MISSING' });
  if (due.damaged) events.push({ type: 'PODS_DAMAGED' });
  if (due.surplus) events.push({ type: 'PODS_SURPLUS' });
  if (due.outdated) events.push({ type: 'PODS_OUTDATED' });
  if (world.historyTooLong) events.push({ type: 'HISTORY_TOO_LONG' });
  events.push(phaseEventOf(phaseOf(set, world.counts)));
  return events;
}

function phaseOf(
  set: StatefulSet,
  { replicas, available, updated }: Pick<StatefulPodCounts, 'replicas' | 'available' | 'updated'>,
): RolloutPhase {
  const desired = desiredReplicas(set);
  return rolloutPhaseOf({
    isComplete: replicas === desired,
    isUpdated: updated >= updatedReplicasWanted(set),
    isAvailable: available >= desired,
  });
}

/**
 * The status of a pass. An update is complete when all pods are of its revision and ready; then it becomes the current revision. A set
 * that is being deleted keeps its counters.
 */
export function statusOf(state: StatefulSetState, set: StatefulSet, world: StatefulSetWorld): StatefulSetStatus {
  const { counts, updateRevision, collisionCount } = world;
  const desired = desiredReplicas(set);
  const isComplete =
    isRollingUpdate(set) && counts.updated === desired && counts.ready === desired && counts.replicas === desired && state !== 'Deleting';
  const { generation } = set.metadata;
  return {
    ...(generation === undefined ? {} : { observedGeneration: generation }),
    replicas: counts.replicas,
    ...positive('readyReplicas', counts.ready),
    ...positive('currentReplicas', isComplete ? counts.updated : counts.current),
    ...positive('updatedReplicas', counts.updated),
    currentRevision: isComplete ? updateRevision : world.currentRevision,
    updateRevision,
    collisionCount,
    availableReplicas: counts.available,
  };
}

/** `spec.replicas`, which defaulting has filled in. */
export const desiredReplicas = ({ spec }: StatefulSet): number => spec.replicas ?? 1;

export const isRollingUpdate = ({ spec }: StatefulSet): boolean => spec.updateStrategy?.type !== 'OnDelete';

/** Pods below it keep the revision that they have, counted from the first ordinal. */
export const partitionOf = ({ spec }: StatefulSet): number => spec.updateStrategy?.rollingUpdate?.partition ?? 0;

/** Pods that the strategy itself brings to the newest revision. */
export const updatedReplicasWanted = (set: StatefulSet): number =>
  isRollingUpdate(set) ? Math.max(0, desiredReplicas(set) - partitionOf(set)) : 0;
