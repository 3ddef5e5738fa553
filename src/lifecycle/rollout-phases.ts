/** The part of their lives that StatefulSets and DaemonSets share: their pods come from revisions of a template. */

export type RolloutPhase = 'Scaling' | 'Updating' | 'Starting' | 'Available';

export type RolloutPhaseEvent =
  /** Not as many pods as wanted, or not where they are wanted. */
  | { readonly type: 'NUMBER_WRONG' }
  /** The number is right, but the strategy wants pods of the new revision that are not there. */
  | { readonly type: 'UPDATE_UNFINISHED' }
  /** The pods are the right ones, but not all of them serve yet (or any more). */
  | { readonly type: 'PODS_UNAVAILABLE' }
  | { readonly type: 'PODS_AVAILABLE' };

/** For a state with the states below. Observation wins: every phase leads to every other. */
export const phaseTargets = {
  NUMBER_WRONG: '.Scaling',
  UPDATE_UNFINISHED: '.Updating',
  PODS_UNAVAILABLE: '.Starting',
  PODS_AVAILABLE: '.Available',
} as const;

export const phaseStates = { Scaling: {}, Updating: {}, Starting: {}, Available: {} };

const events: Readonly<Record<RolloutPhase, RolloutPhaseEvent>> = {
  Scaling: { type: 'NUMBER_WRONG' },
  Updating: { type: 'UPDATE_UNFINISHED' },
  Starting: { type: 'PODS_UNAVAILABLE' },
  Available: { type: 'PODS_AVAILABLE' },
};

export const phaseEventOf = (phase: RolloutPhase): RolloutPhaseEvent => events[phase];

/** The phase that counts amount to. */
export function rolloutPhaseOf(counts: {
  readonly isComplete: boolean;
  readonly isUpdated: boolean;
  readonly isAvailable: boolean;
}): RolloutPhase {
  if (!counts.isComplete) return 'Scaling';
  if (!counts.isUpdated) return 'Updating';
  return counts.isAvailable ? 'Available' : 'Starting';
}
