import { CelBudget } from '../cel/cel.ts';
import { CelCostError, CelEvaluationError } from '../cel/errors.ts';
import { CelOptional, toCel } from '../cel/values.ts';
import { deepEqual } from '../object.ts';
import type { FieldError } from '../status-error.ts';
import type { CompiledRule, Structure } from './structure.ts';
import { previousItems, typeNameOf } from './validate.ts';

type JsonObject = Readonly<Record<string, unknown>>;

const isObject = (value: unknown): value is JsonObject => typeof value === 'object' && value !== null && !Array.isArray(value);

/**
 * Steps that all rules of one object may take together. Upstream allows ten million of its units; here everybody waits meanwhile, so it
 * is what takes about a quarter of a second.
 */
const maxSteps = 2_500_000;

const maxMessageLength = 5 * 1024;

/** Complaints that keep the rules from being looked at: an object of another form would only confuse them. */
const blocking: ReadonlySet<FieldError['type']> = new Set([
  'FieldValueNotSupported',
  'FieldValueRequired',
  'FieldValueTooLong',
  'FieldValueTooMany',
  'FieldValueTypeInvalid',
]);

const notChecked: FieldError = {
  type: 'FieldValueInvalid',
  field: '<nil>',
  message:
    'Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing errors to complete validation',
};

/**
 * Evaluates the rules in CEL for `value`; returns nothing when there are none.
 *
 * @param found   errors of the schema
 * @param before  the stored value; rules that do not use it are skipped for unchanged parts
 */
export function ruleErrors(root: Structure, value: unknown, found: readonly FieldError[], before?: unknown): readonly FieldError[] {
  if (!root.hasRules) return [];
  if (found.some(({ type }) => blocking.has(type))) return [notChecked];
  const checker = new RuleChecker();
  checker.check(root, value, before, '');
  return checker.errors;
}

class RuleChecker {
  readonly errors: FieldError[] = [];
  readonly #budget = new CelBudget(maxSteps);
  #stopped = false;

  check(node: Structure, value: unknown, before: unknown, path: string): void {
    if (!node.hasRules || this.#stopped || value === null || value === undefined) return;
    for (const rule of node.rules) {
      this.#apply(rule, node, { value, before, path });
      if (this.#stopped) return;
    }
    for (const alternative of node.allOf) this.check(alternative, value, before, path);
    if (Array.isArray(value)) {
      const { items } = node;
      if (items?.hasRules !== true) return;
      const previous = Array.isArray(before) ? previousItems(node, before) : undefined;
      for (const [index, item] of value.entries()) this.check(items, item, previous?.(item, index), `${path}[${index}]`);
      return;
    }
    if (!isObject(value)) return;
    const old = isObject(before) && !node.isAtomicMap ? before : undefined;
    for (const key of Object.keys(value)) {
      const property = node.properties.get(key);
      const at = property === undefined ? `${path}[${key}]` : path === '' ? key : `${path}.${key}`;
      const below = property ?? node.values;
      if (below !== undefined) this.check(below, value[key], old !== undefined && Object.hasOwn(old, key) ? old[key] : undefined, at);
    }
  }

  #apply(rule: CompiledRule, node: Structure, { value, before, path }: { value: unknown; before: unknown; path: string }): void {
    const { source, program, usesOldSelf } = rule;
    const isOptional = source.optionalOldSelf === true;
    // Rules about a change need something to compare with.
    if (usesOldSelf && before === undefined && !isOptional) return;
    if (!usesOldSelf && before !== undefined && deepEqual(value, before)) return;
    const variables = { self: value, oldSelf: oldSelfOf(rule, before) };
    let holds: unknown;
    try {
      holds = program.evaluate(variables, this.#budget);
    } catch (err) {
      this.#fail(err, rule, { node, value, path });
      return;
    }
    if (holds === true) return;
    const detail = this.#message(rule, variables) ?? messageOf(rule);
    const field = fieldBelow(path, source.fieldPath);
    this.errors.push(errorFor(source.reason, field, node.type === 'object' || node.type === 'array' ? undefined : value, detail));
  }

  #fail(err: unknown, { source }: CompiledRule, { node, value, path }: { node: Structure; value: unknown; path: string }): void {
    const named = (source.message ?? '') === '' ? source.rule.trim() : (source.message ?? '').trim();
    const shown = JSON.stringify(node.type ?? typeNameOf(value));
    const add = (text: string): void => {
      this.errors.push({ type: 'FieldValueInvalid', field: path === '' ? '<nil>' : path, message: `Invalid value: ${shown}: ${text}` });
    };
    if (err instanceof CelCostError) {
      this.#stopped = true;
      add(
        this.#budget.left <= 0
          ? 'validation failed due to running out of cost budget, no further validation rules will be run'
          : `'${err.message}': no further validation rules will be run due to call cost exceeds limit for rule: ${named}`,
      );
    } else if (err instanceof CelEvaluationError) {
      add(
        err.message.startsWith('no such overload')
          ? `'${err.message}': call arguments did not match a supported operator, function or macro signature for rule: ${named}`
          : `${err.message} evaluating rule: ${named}`,
      );
    } else throw err;
  }

  /** Undefined when the expression has no printable result: the plain message is used then. */
  #message({ message }: CompiledRule, variables: Readonly<Record<string, unknown>>): string | undefined {
    if (message === undefined) return undefined;
    try {
      const text = message.evaluate(variables, this.#budget);
      const trimmed = typeof text === 'string' ? text.trim() : '';
      return trimmed === '' || trimmed.length > maxMessageLength || trimmed.includes('\n') ? undefined : trimmed;
    } catch (err) {
      if (err instanceof CelEvaluationError || err instanceof CelCostError) return undefined;
      throw err;
    }
  }
}

/** The old value as the rule sees it. */
function oldSelfOf({ source, program, usesOldSelf }: CompiledRule, before: unknown): unknown {
  if (!usesOldSelf) return undefined;
  if (source.optionalOldSelf !== true) return before;
  if (before === undefined) return CelOptional.none;
  const type = program.declared.oldSelf;
  return new CelOptional(toCel(before, type?.kind === 'optional' ? type.value : { kind: 'dyn' }));
}

function messageOf({ source }: CompiledRule): string {
  const message = (source.message ?? '').trim();
  return message === '' ? `failed rule: ${source.rule.trim()}` : message;
}

/** `.spec.name`, `.labels['a']` below `path`. */
function fieldBelow(path: string, fieldPath = ''): string {
  const below = fieldPath.trim().replace(/\['((?:[^'\\]|\\.)*)'\]/g, (_, key: string) => `[${key.replace(/\\(.)/g, '$1')}]`);
  const joined = `${path}${below}`.replace(/^\./, '');
  return joined === '' ? '<nil>' : joined;
}

function errorFor(reason: string | undefined, field: string, value: unknown, detail: string): FieldError {
  switch (reason) {
    case 'FieldValueForbidden':
      return { type: reason, field, message: `Forbidden: ${detail}` };
    case 'FieldValueRequired':
      return { type: reason, field, message: `Required value: ${detail}` };
    case 'FieldValueDuplicate':
      return { type: reason, field, message: `Duplicate value${value === undefined ? '' : `: ${JSON.stringify(value)}`}` };
    default:
      return {
        type: 'FieldValueInvalid',
        field,
        message: `Invalid value: ${value === undefined ? '' : `${JSON.stringify(value)}: `}${detail}`,
      };
  }
}
