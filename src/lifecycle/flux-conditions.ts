import type { Condition } from '../api/flux.ts';
import { setCondition } from '../machinery/conditions.ts';

/** Findings of a pass for the conditions that it sets. */
export interface Finding {
  readonly reason: string;
  readonly message: string;
}

/** Input for the conditions of Flux's kinds. */
export interface ConditionFacts {
  readonly before: readonly Condition[];
  readonly finding: Finding;
  readonly generation: number;
  /** RFC 3339, seconds. */
  readonly now: string;
}

/** The two steps that a state's conditions are put together from; both give the same reference when nothing changes. */
export function conditionSteps({ before, finding, generation, now }: ConditionFacts) {
  return {
    set: (conditions: readonly Condition[], type: string, status: 'True' | 'False' | 'Unknown'): readonly Condition[] =>
      setCondition(conditions, { type, status, ...finding, observedGeneration: generation }, now),
    without(...types: string[]): readonly Condition[] {
      const kept = before.filter(({ type }) => !types.includes(type));
      return kept.length === before.length ? before : kept;
    },
  };
}
