import type { Condition } from '../api/flux.ts';
import type { Kustomization } from '../api/kustomize/v1/kustomization.ts';
import { type ConditionFacts, conditionSteps, type Finding } from './flux-conditions.ts';
import type { KustomizationEvent, kustomizationMachine } from './kustomization.machine.ts';
import type { Health } from './reasons.ts';
import type { StateValueOf } from './step.ts';

export type KustomizationState = StateValueOf<typeof kustomizationMachine>;

/** Reasons of the condition `Ready`, as Flux's kustomize-controller has them. */
export const kustomizationReasons = {
  succeeded: 'ReconciliationSucceeded',
  failed: 'ReconciliationFailed',
  buildFailed: 'BuildFailed',
  artifactFailed: 'ArtifactFailed',
  /** Not Flux's: it says `ArtifactFailed` of a source that comes in a moment and of one that nobody has made alike. */
  sourceNotFound: 'SourceNotFound',
  dependencyNotReady: 'DependencyNotReady',
  healthCheckFailed: 'HealthCheckFailed',
  pruneFailed: 'PruneFailed',
  progressing: 'Progressing',
  notSupported: 'NotSupported',
  invalidExpression: 'InvalidCELExpression',
} as const;

const waitingReasons: readonly string[] = [
  kustomizationReasons.artifactFailed,
  kustomizationReasons.sourceNotFound,
  kustomizationReasons.dependencyNotReady,
];

export function stateOf(app: Kustomization): KustomizationState {
  if (app.metadata.deletionTimestamp !== undefined) return 'Deleting';
  if (app.spec.suspend === true) return 'Suspended';
  const conditions = app.status?.conditions ?? [];
  if (conditions.some(({ type, status }) => type === 'Stalled' && status === 'True')) return 'Stalled';
  const ready = conditions.find(({ type }) => type === 'Ready');
  if (ready === undefined) return 'New';
  if (ready.status === 'True') return 'Ready';
  if (ready.status === 'Unknown') return 'Progressing';
  return waitingReasons.includes(ready.reason ?? '') ? 'Waiting' : 'Failed';
}

/** True when what keeps the app from ready is the health of what was applied, and nothing else. */
export function hasFailedOnHealth(app: Kustomization): boolean {
  const ready = app.status?.conditions?.find(({ type }) => type === 'Ready');
  return ready?.status === 'False' && ready.reason === kustomizationReasons.healthCheckFailed;
}

/** True when an app is ready only with healthy objects. */
export const waitsForHealth = ({ spec }: Kustomization): boolean => spec.wait === true || (spec.healthChecks?.length ?? 0) > 0;

/** An app as a pass finds it, before it acts. */
export interface AppObservation {
  /** A person has to change the spec before the app can be applied. */
  readonly rejection: Finding | undefined;
  /** The source has a commit that can be read. */
  readonly hasRevision: boolean;
  /** A dependency is not ready. */
  readonly dependency: Finding | undefined;
  /** True when the state in force differs from commit and spec, or has to be checked again. */
  readonly isOutOfDate: boolean;
  readonly hasDrifted: boolean;
}

/** Differences between an app and its spec and commit, in the order of the actions. */
export function* eventsOf(app: Kustomization, seen: AppObservation): Iterable<KustomizationEvent> {
  if (app.metadata.deletionTimestamp !== undefined) {
    yield { type: 'DELETED' };
    return;
  }
  if (app.spec.suspend === true) {
    yield { type: 'SUSPENDED' };
    return;
  }
  yield { type: 'RESUMED' };
  if (seen.rejection !== undefined) yield { type: 'SPEC_REJECTED' };
  else if (!seen.hasRevision) yield { type: 'SOURCE_MISSING' };
  else if (seen.dependency !== undefined) yield { type: 'DEPENDENCY_NOT_READY' };
  else if (seen.isOutOfDate) yield { type: 'OUT_OF_DATE' };
  else if (seen.hasDrifted) yield { type: 'DRIFTED' };
}

/** An app after the acts of a pass. */
export interface HealthObservation {
  /** Events that the acts of this pass gave. */
  readonly learned: readonly KustomizationEvent[];
  /** A revision is in force up to a wave, which the next one waits for. */
  readonly isRollingOut: boolean;
  /** The last try of the revision ended with errors. */
  readonly hasErrors: boolean;
  /** The health that readiness depends on. */
  readonly readiness: Health['status'];
  /** The app has waited for health for longer than its timeout. */
  readonly isLate: boolean;
}

/** The sync of this pass failed, or waits for another app. */
export const isSyncLost = (learned: readonly KustomizationEvent[]): boolean =>
  learned.some(({ type }) => type === 'SYNC_FAILED' || type === 'DEPENDENCY_NOT_READY');

/** True when the health of the objects decides about an app in state `from`. */
export function awaitsHealth(
  app: Kustomization,
  from: KustomizationState,
  { learned, isRollingOut, hasErrors }: Pick<HealthObservation, 'learned' | 'isRollingOut' | 'hasErrors'>,
): boolean {
  if (isRollingOut || isSyncLost(learned)) return false;
  return isWaiting(app, from, learned) || (from === 'Failed' && hasFailedOnHealth(app) && !hasErrors);
}

/** Events after the acts of a pass and the health of the objects. */
export function* healthEventsOf(app: Kustomization, from: KustomizationState, seen: HealthObservation): Iterable<KustomizationEvent> {
  yield* seen.learned;
  if (!awaitsHealth(app, from, seen)) return;
  if (seen.readiness === 'Healthy') yield { type: 'BECAME_HEALTHY' };
  else if (isWaiting(app, from, seen.learned) && seen.readiness === 'NoController') yield { type: 'CANNOT_BECOME_HEALTHY' };
  else if (from === 'Progressing' && seen.isLate) yield { type: 'HEALTH_DEADLINE_PASSED' };
}

const isWaiting = (app: Kustomization, from: KustomizationState, learned: readonly KustomizationEvent[]): boolean =>
  from === 'Progressing' || (waitsForHealth(app) && learned.some(({ type }) => type === 'APPLIED'));

/** The conditions of a state, as Flux's kustomize-controller writes them. */
export function statusOf({ state, ...facts }: ConditionFacts & { readonly state: KustomizationState }): readonly Condition[] {
  const { set, without } = conditionSteps(facts);
  switch (state) {
    case 'Ready':
      return set(without('Stalled', 'Reconciling'), 'Ready', 'True');
    case 'Waiting':
    case 'Failed':
      return set(without('Stalled', 'Reconciling'), 'Ready', 'False');
    case 'Progressing':
      return set(set(without('Stalled'), 'Reconciling', 'True'), 'Ready', 'Unknown');
    case 'Stalled':
      return set(set(without('Reconciling'), 'Stalled', 'True'), 'Ready', 'False');
    case 'Deleting':
      return set(
        without('Stalled', 'Reconciling'),
        'Ready',
        facts.finding.reason === kustomizationReasons.pruneFailed ? 'False' : 'Unknown',
      );
    case 'New':
    case 'Suspended':
      return facts.before;
    default:
      return state satisfies never;
  }
}
