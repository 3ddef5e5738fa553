import type { Authorizer } from '../authorizer.ts';
import type { AdmissionRequest } from './admission.ts';
import { commonValues, compileExpression, type Expression, evaluateExpression } from './expressions.ts';
import type { Match } from './match.ts';

export interface MatchCondition {
  readonly name: string;
  readonly expression: string;
}

/** `error` means that a condition could not be evaluated. */
export type MatchResult = { readonly matches: boolean; readonly error?: undefined } | { readonly error: string };

/** The `matchConditions` of webhooks: all have to hold, and one that does not is enough whatever errors the others came to. */
export interface MatchConditions {
  evaluate(conditions: readonly MatchCondition[], request: AdmissionRequest, match: Match): MatchResult;
}

export function createMatchConditions(authorizer: Pick<Authorizer, 'decide'>): MatchConditions {
  // By the frozen list of a configuration.
  const compiled = new WeakMap<readonly MatchCondition[], readonly Expression[]>();

  return {
    evaluate(conditions, request, match) {
      let expressions = compiled.get(conditions);
      if (expressions === undefined) {
        expressions = conditions.map(({ expression }) => compileExpression(expression, { result: 'bool' }));
        compiled.set(conditions, expressions);
      }
      return conditionsHold(expressions, commonValues(authorizer, request, match));
    },
  };
}

export function conditionsHold(expressions: readonly Expression[], values: Readonly<Record<string, unknown>>): MatchResult {
  const errors: string[] = [];
  for (const expression of expressions) {
    const outcome = evaluateExpression(expression, values);
    if ('error' in outcome) errors.push(outcome.error);
    else if (outcome.value === false) return { matches: false };
  }
  if (errors.length === 0) return { matches: true };
  return { error: errors.length === 1 ? (errors[0] ?? '') : `[${errors.join(', ')}]` };
}
