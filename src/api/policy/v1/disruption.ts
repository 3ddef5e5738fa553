import { setCondition } from '../../../machinery/conditions.ts';
import type { PodDisruptionBudgetStatus } from './pod-disruption-budget.ts';

type Condition = NonNullable<PodDisruptionBudgetStatus['conditions']>[number];

/** How long an eviction that was granted may take; after that it is taken not to happen. */
export const disruptionTimeoutMs = 120_000;

/** Whether a budget allows an eviction, said as its condition says it: the API server takes one away, the controller counts again. */
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
