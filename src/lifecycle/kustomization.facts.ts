import type { Condition } from '../api/flux.ts';
import type { Kustomization } from '../api/kustomize/v1/kustomization.ts';
import { type ConditionFacts, conditionSteps } from './flux-conditions.ts';
import type { kustomizationMachine } from './kustomization.machine.ts';
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
export function failedOnHealth(app: Kustomization): boolean {
  const ready = app.status?.conditions?.find(({ type }) => type === 'Ready');
  return ready?.status === 'False' && ready.reason === kustomizationReasons.healthCheckFailed;
}

/** The conditions of a state, as Flux's kustomize-controller writes them. */
export function conditionsOf({ state, ...facts }: ConditionFacts & { readonly state: KustomizationState }): readonly Condition[] {
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
