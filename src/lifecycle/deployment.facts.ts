import type { Deployment, DeploymentCondition, DeploymentStatus } from '../api/apps/v1/deployment.ts';
import type { ReplicaSet } from '../api/apps/v1/replica-set.ts';
import { transitionTimeOf } from '../machinery/conditions.ts';
import { scaledValueOf } from '../machinery/int-or-string.ts';
import { positive } from './counters.ts';
import type { DeploymentEvent, deploymentMachine } from './deployment.machine.ts';
import type { StateValueOf } from './step.ts';

export type DeploymentState = StateValueOf<typeof deploymentMachine>;

type DeploymentStatusFields = DeploymentStatus & { readonly terminatingReplicas?: number };

/** Observations of one pass besides the object itself. */
export interface DeploymentWorld {
  /** The ReplicaSet whose template is the Deployment's. */
  readonly newReplicaSet: ReplicaSet | undefined;
  readonly oldReplicaSets: readonly ReplicaSet[];
  /** The strategy is Recreate, and old ReplicaSets still want pods or have pods that have not ended. */
  readonly oldPodsMustGo: boolean;
  /** ReplicaSets have to follow a change of `spec.replicas`. */
  readonly resized: boolean;
  /** The strategy asks for another size of the new ReplicaSet. */
  readonly newReplicasDue: boolean;
  /** The strategy lets old ReplicaSets shrink. */
  readonly oldReplicasDispensable: boolean;
  readonly historyTooLong: boolean;
  /** Milliseconds since the epoch. */
  readonly now: number;
}

/** Results of this pass that the condition `Progressing` reports. */
export interface RolloutNews {
  readonly createdReplicaSet?: string | undefined;
  /** Reason why the ReplicaSet could not be created. */
  readonly refusal?: string | undefined;
  readonly collided?: boolean | undefined;
}

export function stateOf({ metadata, status }: Deployment): DeploymentState {
  if (metadata.deletionTimestamp !== undefined) return 'Deleting';
  const progressing = conditionOf(status, 'Progressing');
  if (progressing?.reason === reasons.paused) return 'Paused';
  if (progressing?.status === 'False') return { Active: 'Stalled' };
  return { Active: progressing?.reason === reasons.complete ? 'Complete' : 'Progressing' };
}

/**
 * At most one event that changes ReplicaSets: each change is seen before the next one is decided. Counters are compared with the status
 * that was last written.
 */
export function eventsOf(deployment: Deployment, world: DeploymentWorld): readonly DeploymentEvent[] {
  if (deployment.metadata.deletionTimestamp !== undefined) return [{ type: 'DELETED' }];
  const events: DeploymentEvent[] = [];
  const state = stateOf(deployment);
  const paused = deployment.spec.paused === true;
  if (paused && state !== 'Paused') events.push({ type: 'PAUSED' });
  if (!paused && state === 'Paused') events.push({ type: 'RESUMED' });

  const { oldPodsMustGo } = world;
  if (world.resized) events.push({ type: 'RESIZED' });
  else if (!paused) {
    if (oldPodsMustGo && world.oldReplicasDispensable) events.push({ type: 'OLD_REPLICAS_DISPENSABLE' });
    else if (world.newReplicaSet === undefined) events.push({ type: 'NEW_REPLICA_SET_MISSING', oldPodsMustGo });
    else if (world.newReplicasDue) events.push({ type: 'NEW_REPLICAS_DUE', oldPodsMustGo });
    else if (world.oldReplicasDispensable) events.push({ type: 'OLD_REPLICAS_DISPENSABLE' });
  }

  const counters = countersOf(world);
  const settled = typeof state === 'object' && state.Active === 'Complete' && counters.replicas === counters.updatedReplicas;
  if (!paused && !settled) {
    if (isRolledOut(deployment, world, counters)) events.push({ type: 'ROLLED_OUT' });
    else if (hasProgressed(deployment.status, counters)) events.push({ type: 'PROGRESSED' });
    else if (isOverdue(deployment, world.now)) events.push({ type: 'DEADLINE_EXCEEDED' });
  }
  if (world.historyTooLong && (paused || isRolledOut(deployment, world, counters))) events.push({ type: 'HISTORY_TOO_LONG' });
  return events;
}

/** The status of a state. The conditions keep their times as long as they say the same. */
export function statusOf(
  state: DeploymentState,
  deployment: Deployment,
  { world, news = {}, timestamp }: { readonly world: DeploymentWorld; readonly news?: RolloutNews; readonly timestamp: string },
): DeploymentStatusFields {
  const counters = countersOf(world);
  const before = deployment.status;
  let conditions = (before?.conditions ?? []) as readonly DeploymentCondition[];
  conditions = withCondition(conditions, availableCondition(deployment, counters), timestamp);
  const progressing = progressingCondition(state, deployment, world, news);
  if (progressing === 'unchanged') {
    // Says what it said.
  } else if (progressing === undefined) conditions = conditions.filter(({ type }) => type !== 'Progressing');
  else conditions = withCondition(conditions, progressing, timestamp, hasProgressed(before, counters));
  const failure = replicaFailureOf(world);
  if (failure === undefined) conditions = conditions.filter(({ type }) => type !== 'ReplicaFailure');
  else conditions = withCondition(conditions, failure, timestamp);
  const collisionCount = (before?.collisionCount ?? 0) + (news.collided === true ? 1 : 0);
  return {
    ...(deployment.metadata.generation === undefined ? {} : { observedGeneration: deployment.metadata.generation }),
    ...positive('replicas', counters.replicas),
    ...positive('updatedReplicas', counters.updatedReplicas),
    ...positive('readyReplicas', counters.readyReplicas),
    ...positive('availableReplicas', counters.availableReplicas),
    ...positive('unavailableReplicas', counters.unavailableReplicas),
    terminatingReplicas: counters.terminatingReplicas,
    ...(conditions.length === 0 ? {} : { conditions }),
    ...positive('collisionCount', collisionCount),
  };
}

/** When the progress deadline runs out, in milliseconds since the epoch; undefined while none is running. */
export function deadlineOf({ spec, status }: Deployment): number | undefined {
  const progressing = conditionOf(status, 'Progressing');
  if (!hasDeadline(spec.progressDeadlineSeconds) || progressing === undefined || spec.paused === true) return undefined;
  if (progressing.reason === reasons.complete || progressing.reason === reasons.deadlineExceeded) return undefined;
  return Date.parse(progressing.lastUpdateTime ?? progressing.lastTransitionTime ?? '') + (spec.progressDeadlineSeconds ?? 600) * 1000;
}

/** `spec.replicas`, which defaulting has filled in. */
export const desiredReplicas = (deployment: Deployment): number => deployment.spec.replicas ?? 1;

/**
 * Pods that a rolling update may have beyond the wanted number, and below it. Percentages are of the wanted number,
 * surge rounded up.
 */
export function fencepostsOf(deployment: Deployment): { readonly maxSurge: number; readonly maxUnavailable: number } {
  const { strategy } = deployment.spec;
  const total = desiredReplicas(deployment);
  if (strategy?.type === 'Recreate' || total === 0) return { maxSurge: 0, maxUnavailable: 0 };
  const maxSurge = scaledValueOf(strategy?.rollingUpdate?.maxSurge ?? '25%', { total, round: 'up' });
  const maxUnavailable = scaledValueOf(strategy?.rollingUpdate?.maxUnavailable ?? '25%', { total, round: 'down' });
  // Both zero, by rounding, would be a rollout that cannot take a step.
  if (maxSurge === 0 && maxUnavailable === 0) return { maxSurge, maxUnavailable: 1 };
  return { maxSurge, maxUnavailable: Math.min(maxUnavailable, total) };
}

/** All of its pods are of the new template and serve. */
export function isRolledOut(deployment: Deployment, world: DeploymentWorld, counters = countersOf(world)): boolean {
  const desired = desiredReplicas(deployment);
  return (
    world.newReplicaSet !== undefined &&
    counters.updatedReplicas === desired &&
    counters.replicas === desired &&
    counters.availableReplicas === desired
  );
}

interface Counters {
  readonly replicas: number;
  readonly updatedReplicas: number;
  readonly readyReplicas: number;
  readonly availableReplicas: number;
  readonly unavailableReplicas: number;
  readonly terminatingReplicas: number;
}

function countersOf({ newReplicaSet, oldReplicaSets }: DeploymentWorld): Counters {
  const all = newReplicaSet === undefined ? oldReplicaSets : [...oldReplicaSets, newReplicaSet];
  let asked = 0;
  let replicas = 0;
  let readyReplicas = 0;
  let availableReplicas = 0;
  let terminatingReplicas = 0;
  for (const { spec, status } of all) {
    asked += spec.replicas ?? 0;
    replicas += status?.replicas ?? 0;
    readyReplicas += status?.readyReplicas ?? 0;
    availableReplicas += status?.availableReplicas ?? 0;
    terminatingReplicas += (status as { readonly terminatingReplicas?: number } | undefined)?.terminatingReplicas ?? 0;
  }
  return {
    replicas,
    updatedReplicas: newReplicaSet?.status?.replicas ?? 0,
    readyReplicas,
    availableReplicas,
    // By what was asked for: a pod that is not there yet is unavailable too.
    unavailableReplicas: Math.max(0, asked - availableReplicas),
    terminatingReplicas,
  };
}

function hasProgressed(before: DeploymentStatus | undefined, counters: Counters): boolean {
  const old = (before?.replicas ?? 0) - (before?.updatedReplicas ?? 0);
  return (
    counters.updatedReplicas > (before?.updatedReplicas ?? 0) ||
    counters.replicas - counters.updatedReplicas < old ||
    counters.readyReplicas > (before?.readyReplicas ?? 0) ||
    counters.availableReplicas > (before?.availableReplicas ?? 0)
  );
}

function isOverdue(deployment: Deployment, now: number): boolean {
  const deadline = deadlineOf(deployment);
  return deadline !== undefined && deadline < now;
}

/** Upstream's way to say "no deadline". */
const noDeadline = 2_147_483_647;
const hasDeadline = (seconds: number | undefined): boolean => seconds !== noDeadline;

const reasons = {
  created: 'NewReplicaSetCreated',
  found: 'FoundNewReplicaSet',
  updated: 'ReplicaSetUpdated',
  complete: 'NewReplicaSetAvailable',
  deadlineExceeded: 'ProgressDeadlineExceeded',
  createError: 'ReplicaSetCreateError',
  paused: 'DeploymentPaused',
  resumed: 'DeploymentResumed',
  available: 'MinimumReplicasAvailable',
  unavailable: 'MinimumReplicasUnavailable',
} as const;

interface ConditionFields {
  readonly type: string;
  readonly status: 'True' | 'False' | 'Unknown';
  readonly reason: string;
  readonly message: string;
}

function progressingCondition(
  state: DeploymentState,
  deployment: Deployment,
  world: DeploymentWorld,
  news: RolloutNews,
): ConditionFields | 'unchanged' | undefined {
  if (!hasDeadline(deployment.spec.progressDeadlineSeconds)) return undefined;
  const before = conditionOf(deployment.status, 'Progressing');
  const name = world.newReplicaSet?.metadata.name;
  const subject = name === undefined ? `Deployment "${deployment.metadata.name}"` : `ReplicaSet "${name}"`;
  const progressing = (status: ConditionFields['status'], reason: string, message: string): ConditionFields => ({
    type: 'Progressing',
    status,
    reason,
    message,
  });
  if (state === 'Deleting') return 'unchanged';
  if (state === 'Paused') return progressing('Unknown', reasons.paused, 'Deployment is paused');
  switch (state.Active) {
    case 'Complete':
      return before?.reason === reasons.complete
        ? 'unchanged'
        : progressing('True', reasons.complete, `${subject} has successfully progressed.`);
    case 'Stalled':
      if (news.refusal !== undefined) return progressing('False', reasons.createError, news.refusal);
      return before?.status === 'False'
        ? 'unchanged'
        : progressing('False', reasons.deadlineExceeded, `${subject} has timed out progressing.`);
    case 'Progressing':
      if (news.createdReplicaSet !== undefined) {
        return progressing('True', reasons.created, `Created new replica set "${news.createdReplicaSet}"`);
      }
      if (before?.reason === reasons.paused) return progressing('Unknown', reasons.resumed, 'Deployment is resumed');
      if (before === undefined) {
        return name === undefined ? undefined : progressing('True', reasons.found, `Found new replica set "${name}"`);
      }
      if (hasProgressed(deployment.status, countersOf(world)) || before.status === 'False' || before.reason === reasons.complete) {
        return progressing('True', reasons.updated, `${subject} is progressing.`);
      }
      return 'unchanged';
    default:
      return state.Active satisfies never;
  }
}

function availableCondition(deployment: Deployment, counters: Counters): ConditionFields {
  const type = 'Available';
  return counters.availableReplicas >= desiredReplicas(deployment) - fencepostsOf(deployment).maxUnavailable
    ? { type, status: 'True', reason: reasons.available, message: 'Deployment has minimum availability.' }
    : { type, status: 'False', reason: reasons.unavailable, message: 'Deployment does not have minimum availability.' };
}

/** The failure of the new ReplicaSet, else of an old one. */
function replicaFailureOf({ newReplicaSet, oldReplicaSets }: DeploymentWorld): ConditionFields | undefined {
  for (const replicaSet of newReplicaSet === undefined ? oldReplicaSets : [newReplicaSet, ...oldReplicaSets]) {
    const failure = replicaSet.status?.conditions?.find(({ type, status }) => type === 'ReplicaFailure' && status === 'True');
    if (failure !== undefined) {
      return { type: 'ReplicaFailure', status: 'True', reason: failure.reason ?? '', message: failure.message ?? '' };
    }
  }
  return undefined;
}

/** `refresh` renews `lastUpdateTime` although the condition says the same: the deadline runs from the last progress. */
function withCondition(
  conditions: readonly DeploymentCondition[],
  fields: ConditionFields,
  timestamp: string,
  refresh = false,
): readonly DeploymentCondition[] {
  const index = conditions.findIndex(({ type }) => type === fields.type);
  const before = conditions[index];
  if (before !== undefined && before.status === fields.status && before.reason === fields.reason && !refresh) {
    if (before.message === fields.message) return conditions;
  }
  const condition: DeploymentCondition = {
    type: fields.type,
    status: fields.status,
    lastUpdateTime: timestamp,
    lastTransitionTime: transitionTimeOf(before, fields.status, timestamp),
    reason: fields.reason,
    message: fields.message,
  };
  return before === undefined ? [...conditions, condition] : conditions.with(index, condition);
}

const conditionOf = (status: DeploymentStatus | undefined, type: string): DeploymentCondition | undefined =>
  status?.conditions?.find((condition) => condition.type === type);
