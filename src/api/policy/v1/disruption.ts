import { setCondition } from '../../../machinery/conditions.ts';
import type { PodDisruptionBudgetStatus } from './pod-disruption-budget.ts';

type Condition = NonNullable<PodDisruptionBudgetStatus['conditions']>[number];

/** Longest time that a granted eviction may take; after that the budget assumes that it did not happen. */
export const disruptionTimeoutMs = 120_000;

/**
 * Decides if a budget allows an eviction, as its condition says it. The API server subtracts a granted one; the
 * controller counts again.
 */
export function disruptionConditions(
  { conditions, disruptionsAllowed = 0 }: Pick<PodDisruptionBudgetStatus, 'conditions' | 'disruptionsAllowed'>,
  generation: number | undefined,
  now: string,
): readonly Condition[] {
  const isAllowed = disruptionsAllowed > 0;
  return setCondition<Condition>(
    conditions,
    {
      type: 'DisruptionAllowed',
      status: isAllowed ? 'True' : 'False',
      ...(generation === undefined ? {} : { observedGeneration: generation }),
      reason: isAllowed ? 'SufficientPods' : 'InsufficientPods',
      message: '',
    } as Omit<Condition, 'lastTransitionTime'>,
    now,
  );
}
