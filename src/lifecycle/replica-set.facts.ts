import type { ReplicaSetCondition, ReplicaSetStatus } from '../api/apps/v1/replica-set.ts';
import type { PodTemplateSpec } from '../api/core/v1/pod.ts';
import type { KubeObject } from '../machinery/object.ts';
import { positive } from './counters.ts';
import type { ReplicaSetEvent, replicaSetMachine } from './replica-set.machine.ts';
import type { StateValueOf } from './step.ts';

export type ReplicaSetState = StateValueOf<typeof replicaSetMachine>;

/** A ReplicaSet or a ReplicationController: they differ in how they select pods. */
export interface Replicated extends KubeObject {
  readonly spec: {
    readonly replicas?: number;
    readonly minReadySeconds?: number;
    readonly selector?: unknown;
    readonly template?: PodTemplateSpec;
  };
  readonly status?: ReplicaSetStatus;
}

/** Pods of one ReplicaSet, counted. Finished and terminating pods count as `terminating` or not at all. */
export interface PodCounts {
  /** Neither finished nor being deleted. */
  readonly active: number;
  /** Active pods that carry all labels of the template. */
  readonly fullyLabeled: number;
  readonly ready: number;
  /** Ready for at least `minReadySeconds`. */
  readonly available: number;
  readonly terminating: number;
}

/** Observations of one pass besides the object itself. */
export interface ReplicaSetWorld {
  readonly counts: PodCounts;
  /** Pods were asked for that the cache does not show yet: nothing more may be asked for. */
  readonly expecting: boolean;
}

/** Reason why pods could not be created or deleted. */
export interface Refusal {
  readonly reason: 'FailedCreate' | 'FailedDelete';
  readonly message: string;
}

type ReplicaSetStatusFields = ReplicaSetStatus & { readonly terminatingReplicas?: number };

export function stateOf(replicaSet: Replicated): ReplicaSetState {
  const { metadata, status } = replicaSet;
  if (metadata.deletionTimestamp !== undefined) return 'Deleting';
  if (failureOf(status) !== undefined) return { Live: 'Failing' };
  const desired = desiredReplicas(replicaSet);
  if (status === undefined || (status.observedGeneration ?? 0) < (metadata.generation ?? 0) || status.replicas !== desired) {
    return { Live: 'Scaling' };
  }
  return { Live: (status.availableReplicas ?? 0) < desired ? 'Starting' : 'Available' };
}

export function eventsOf(replicaSet: Replicated, { counts, expecting }: ReplicaSetWorld): readonly ReplicaSetEvent[] {
  if (replicaSet.metadata.deletionTimestamp !== undefined) return [{ type: 'DELETED' }];
  const missing = desiredReplicas(replicaSet) - counts.active;
  if (missing === 0) return [{ type: counts.available < counts.active ? 'PODS_UNAVAILABLE' : 'PODS_AVAILABLE' }];
  if (expecting) return [];
  return [{ type: missing > 0 ? 'PODS_MISSING' : 'PODS_SURPLUS' }];
}

/** The status of a state. `refusal` tells why the state is `Failing`; without one the condition that is there stays. */
export function statusOf(
  state: ReplicaSetState,
  replicaSet: Replicated,
  { counts, refusal, timestamp }: { readonly counts: PodCounts; readonly refusal?: Refusal | undefined; readonly timestamp: string },
): ReplicaSetStatusFields {
  const others = (replicaSet.status?.conditions ?? []).filter(({ type }) => type !== replicaFailure);
  const failing = typeof state === 'object' && state.Live === 'Failing';
  const failure = failing ? failureCondition(failureOf(replicaSet.status), refusal, timestamp) : undefined;
  const conditions = failure === undefined ? others : [...others, failure];
  return {
    replicas: counts.active,
    ...positive('fullyLabeledReplicas', counts.fullyLabeled),
    ...positive('readyReplicas', counts.ready),
    ...positive('availableReplicas', counts.available),
    // A ReplicationController has no field for them.
    ...(replicaSet.kind === 'ReplicationController' ? {} : { terminatingReplicas: counts.terminating }),
    ...(replicaSet.metadata.generation === undefined ? {} : { observedGeneration: replicaSet.metadata.generation }),
    ...(conditions.length === 0 ? {} : { conditions }),
  };
}

/** `spec.replicas`, which defaulting has filled in. */
export const desiredReplicas = (replicaSet: Replicated): number => replicaSet.spec.replicas ?? 1;

const replicaFailure = 'ReplicaFailure';

const failureOf = (status: ReplicaSetStatus | undefined): ReplicaSetCondition | undefined =>
  status?.conditions?.find(({ type, status: value }) => type === replicaFailure && value === 'True');

function failureCondition(
  before: ReplicaSetCondition | undefined,
  refusal: Refusal | undefined,
  timestamp: string,
): ReplicaSetCondition | undefined {
  if (refusal === undefined) return before;
  // The first words stay, as upstream: those of the next try name another pod, and a status that changes brings the next try at once.
  if (before?.reason === refusal.reason) return before;
  return { type: replicaFailure, status: 'True', lastTransitionTime: before?.lastTransitionTime ?? timestamp, ...refusal };
}
