import { type CelFunction, type CelFunctions, type CelMessages, compileTree, Evaluation } from './compiler.ts';
import { CelCompileError, CelEvaluationError } from './errors.ts';
import { kubernetesFunctions } from './kubernetes-functions.ts';
import { standardFunctions } from './standard-functions.ts';
import { parseCel } from './syntax.ts';
import { type CelType, typeName } from './types.ts';
import { toCel, typeOfValue } from './values.ts';

/**
 * The Common Expression Language as Kubernetes uses it in custom resources, admission policies and match conditions. Its libraries are
 * strings, lists, sets, regular expressions, quantities, URLs, addresses, formats, versions, optionals and two-variable macros.
 *
 * @see Kubernetes reference, "Common Expression Language in Kubernetes"
 */
export interface CelProgram {
  readonly type: CelType;
  /** Those of the declared variables that the expression names. */
  readonly variables: ReadonlySet<string>;
  /** All that were declared, with their types. */
  readonly declared: Readonly<Record<string, CelType>>;
  /**
   * @param variables  JSON, or values that other expressions came to; what is missing is an error only where it is used
   * @returns a value as `values.ts` describes them; `toJson` and `toText` turn it into something else
   * @throws CelEvaluationError; CelCostError when the steps are used up
   */
  evaluate(variables: Readonly<Record<string, unknown>>, budget?: CelBudget): unknown;
}

export interface CelOptions {
  /**
   * Variables that an expression may name. `dynType` is JSON of an unknown type; a misspelt field of an `objectOf` does
   * not compile.
   */
  readonly variables: Readonly<Record<string, CelType>>;
  /** Type of the result. */
  readonly result?: CelType['kind'];
  /** Functions besides the standard and Kubernetes' own. */
  readonly functions?: readonly CelFunction[];
  /** Messages that it may write down; absent: none. */
  readonly messages?: CelMessages | undefined;
}

/** Steps of one evaluation, upstream's limit for a call; a step takes about a tenth of a microsecond. */
export const maxStepsPerEvaluation = 1_000_000;

/** Steps that several evaluations share: all rules of one object. */
export class CelBudget {
  #left: number;

  constructor(steps: number) {
    this.#left = steps;
  }

  get left(): number {
    return this.#left;
  }

  spend(steps: number): void {
    this.#left -= steps;
  }
}

const libraries: CelFunctions = tableOf([...standardFunctions, ...kubernetesFunctions]);

function tableOf(functions: readonly CelFunction[], base?: CelFunctions): CelFunctions {
  const table = new Map(base);
  for (const overload of functions) table.set(overload.name, [...(table.get(overload.name) ?? []), overload]);
  return table;
}

/** @throws CelCompileError as upstream words it: `ERROR: <input>:1:6: undefined field 'x'` and the source with a mark */
export function compileCel(source: string, { variables, result, functions, messages }: CelOptions): CelProgram {
  const names = Object.keys(variables);
  const program = compileTree(parseCel(source), {
    source,
    variables: new Map(Object.entries(variables)),
    functions: functions === undefined ? libraries : tableOf(functions, libraries),
    messages,
  });
  if (result !== undefined && program.type.kind !== result && program.type.kind !== 'dyn') {
    throw new CelCompileError(`must evaluate to ${result}`);
  }
  return {
    type: program.type,
    variables: program.variables,
    declared: variables,
    evaluate(values, budget) {
      const slots: unknown[] = new Array(program.slots).fill(undefined);
      names.forEach((name, slot) => {
        const value = values[name];
        if (value !== undefined) slots[slot] = toCel(value, variables[name] ?? { kind: 'dyn' });
      });
      const most = Math.min(maxStepsPerEvaluation, budget?.left ?? maxStepsPerEvaluation);
      const run = new Evaluation(slots, most);
      try {
        const value = program.run(run);
        if (result !== undefined && program.type.kind === 'dyn' && typeOfValue(value).kind !== result) {
          throw new CelEvaluationError(`cel expression must evaluate to ${result}, but came to ${typeName(typeOfValue(value))}`);
        }
        return value;
      } catch (err) {
        // Lists within lists without end: the depth of JSON is bounded, that of the stack is not known.
        if (err instanceof RangeError) throw new CelEvaluationError('evaluation nests too deeply');
        throw err;
      } finally {
        budget?.spend(most - run.stepsLeft);
      }
    },
  };
}
