import { compilePattern, PatternError } from '../pattern.ts';
import { CelCompileError, CelCostError, CelEvaluationError, type Complaint, noSuchOverload, reportOf } from './errors.ts';
import type { BinaryOperator, CelNode, Comprehension } from './syntax.ts';
import { CelDuration, CelTimestamp } from './time.ts';
import {
  boolType,
  type CelType,
  dynType,
  intType,
  isAssignable,
  joinTypes,
  listOf,
  mapOf,
  optionalOf,
  stringType,
  substitute,
  typeName,
} from './types.ts';
import {
  CelList,
  CelMessage,
  CelOpaque,
  CelOptional,
  CelTypeValue,
  CelUint,
  isEqual,
  isMap,
  LiteralMap,
  maxInt64,
  minInt64,
  tryCompare,
  typeOfValue,
} from './values.ts';

/** A way to call a function. The types of the arguments decide between several, if need be at run time. */
export interface CelFunction {
  readonly name: string;
  /** The first argument is before the dot: `text.startsWith(prefix)`. */
  readonly member: boolean;
  readonly args: readonly CelType[];
  readonly result: CelType;
  /** @throws CelEvaluationError */
  run(args: readonly unknown[], run: Evaluation): unknown;
}

/** Functions by name. */
export type CelFunctions = ReadonlyMap<string, readonly CelFunction[]>;

/** One evaluation under way: its variables, and how many steps it may still take. */
export class Evaluation {
  readonly slots: unknown[];
  #left: number;

  constructor(slots: unknown[], maxSteps: number) {
    this.slots = slots;
    this.#left = maxSteps;
  }

  get stepsLeft(): number {
    return this.#left;
  }

  /** @throws CelCostError when the steps are used up */
  spend = (steps: number): void => {
    this.#left -= steps;
    if (this.#left < 0) throw new CelCostError();
  };
}

/** A part of an expression, ready to run. */
interface Compiled {
  readonly type: CelType;
  readonly run: (run: Evaluation) => unknown;
}

export interface CompiledExpression extends Compiled {
  /** Declared variables that are named somewhere. */
  readonly variables: ReadonlySet<string>;
  /** Number of variables in an evaluation; the declared ones come first, in their order. */
  readonly slots: number;
}

export interface CompilerOptions {
  readonly source: string;
  readonly variables: ReadonlyMap<string, CelType>;
  readonly functions: CelFunctions;
  readonly messages?: CelMessages | undefined;
}

/** Messages that may be written down: the type of a field, undefined where the message has none of that name. */
export type CelMessages = (name: string) => ((field: string) => CelType | undefined) | undefined;

/** @throws CelCompileError with everything that was found */
export function compileTree(root: CelNode, { source, variables, functions, messages }: CompilerOptions): CompiledExpression {
  const compiler = new Compiler(functions, messages);
  const scope: Scope = new Map([...variables].map(([name, type], slot) => [name, { type, slot }]));
  compiler.slots = variables.size;
  const compiled = compiler.compile(root, scope);
  if (compiler.complaints.length > 0) throw new CelCompileError(reportOf(source, compiler.complaints));
  const used = [...variables.keys()].filter((_, slot) => compiler.usedSlots.has(slot));
  return { ...compiled, slots: compiler.slots, variables: new Set(used) };
}

type Scope = ReadonlyMap<string, { readonly type: CelType; readonly slot: number }>;

/** Largest number of reported errors; the rest is dropped. */
const maxComplaints = 10;

const typeNames: ReadonlySet<string> = new Set(['bool', 'int', 'uint', 'double', 'string', 'bytes', 'list', 'map', 'null_type', 'type']);

class Compiler {
  readonly complaints: Complaint[] = [];
  readonly usedSlots = new Set<number>();
  slots = 0;
  readonly #functions: CelFunctions;
  readonly #messages: CelMessages | undefined;

  constructor(functions: CelFunctions, messages: CelMessages | undefined) {
    this.#functions = functions;
    this.#messages = messages;
  }

  compile(node: CelNode, scope: Scope): Compiled {
    switch (node.op) {
      case 'literal':
        return literal(node.value);
      case 'identifier':
        return this.#identifier(node, scope);
      case 'select':
        return this.#select(node, scope);
      case 'index':
        return this.#index(node, scope);
      case 'call':
        return this.#call(node, scope);
      case 'message':
        return this.#message(node, scope);
      case 'list':
        return this.#list(node, scope);
      case 'map':
        return this.#map(node, scope);
      case 'conditional':
        return this.#conditional(node, scope);
      case 'and':
      case 'or':
        return this.#logical(node, scope);
      case 'binary':
        return this.#binary(node, scope);
      case 'not':
      case 'negate':
        return this.#unary(node, scope);
      case 'has':
        return this.#has(node, scope);
      case 'bind': {
        const value = this.compile(node.value, scope);
        const { slot, inner } = this.#declare(scope, node.variable, value.type);
        const body = this.compile(node.body, inner);
        return {
          type: body.type,
          run(run) {
            run.slots[slot] = value.run(run);
            return body.run(run);
          },
        };
      }
      case 'optional-map':
        return this.#optionalMap(node, scope);
      case 'comprehension':
        return this.#comprehension(node, scope);
      default:
        return node satisfies never;
    }
  }

  #complain(at: number, text: string): Compiled {
    if (this.complaints.length < maxComplaints) this.complaints.push({ at, text });
    return unknownValue;
  }

  #noOverload(at: number, name: string, types: readonly CelType[], member = false): Compiled {
    const shown = types.map(typeName);
    const applied = member ? `${shown[0]}.(${shown.slice(1).join(', ')})` : `(${shown.join(', ')})`;
    return this.#complain(at, `found no matching overload for '${name}' applied to '${applied}'`);
  }

  #declare(scope: Scope, name: string, type: CelType): { readonly slot: number; readonly inner: Scope } {
    const slot = this.slots;
    this.slots += 1;
    return { slot, inner: new Map(scope).set(name, { type, slot }) };
  }

  #identifier({ name, at }: CelNode & { op: 'identifier' }, scope: Scope): Compiled {
    const variable = scope.get(name);
    if (variable !== undefined) {
      const { slot, type } = variable;
      this.usedSlots.add(slot);
      return {
        type,
        run(run) {
          run.spend(1);
          const value = run.slots[slot];
          if (value === undefined) throw new CelEvaluationError(`no such attribute(s): ${name}`);
          return value;
        },
      };
    }
    if (typeNames.has(name)) return literal(new CelTypeValue(name));
    return this.#complain(at, `undeclared reference to '${name}' (in container '')`);
  }

  /** `google.protobuf.Timestamp` and the like name types. */
  #select({ target, field, at, optional }: CelNode & { op: 'select' }, scope: Scope): Compiled {
    const of = this.compile(target, scope);
    const isOptional = optional || of.type.kind === 'optional';
    const base = of.type.kind === 'optional' ? of.type.value : of.type;
    const type = this.#fieldType(base, field, at);
    if (!isOptional) return { type, run: (run) => selected(of.run(run), field, run) };
    return {
      type: type.kind === 'optional' ? type : optionalOf(type),
      run(run) {
        run.spend(1);
        const value = of.run(run);
        const held = value instanceof CelOptional ? value.value : value;
        if (held === undefined) return CelOptional.none;
        if (!isMap(held)) throw noSuchOverload();
        return optionalIf(held.get(field));
      },
    };
  }

  #fieldType(base: CelType, field: string, at: number): CelType {
    switch (base.kind) {
      case 'object': {
        const known = base.fields.get(field);
        return known === undefined ? this.#complain(at, `undefined field '${field}'`).type : known.type;
      }
      case 'map':
        return base.values;
      case 'dyn':
        return dynType;
      default:
        return this.#complain(at, `type '${typeName(base)}' does not support field selection`).type;
    }
  }

  #has({ target, field, at }: CelNode & { op: 'has' }, scope: Scope): Compiled {
    const of = this.compile(target, scope);
    this.#fieldType(of.type.kind === 'optional' ? of.type.value : of.type, field, at);
    return {
      type: boolType,
      run(run) {
        run.spend(1);
        const value = of.run(run);
        const held = value instanceof CelOptional ? value.value : value;
        if (held === undefined) return false;
        if (!isMap(held)) throw noSuchOverload();
        return held.has(field);
      },
    };
  }

  #index({ target, key, at, optional }: CelNode & { op: 'index' }, scope: Scope): Compiled {
    const of = this.compile(target, scope);
    const by = this.compile(key, scope);
    const base = of.type.kind === 'optional' ? of.type.value : of.type;
    let type: CelType = dynType;
    if (base.kind === 'list' && isAssignable(intType, by.type)) type = base.items;
    else if (base.kind === 'map' && isAssignable(base.keys, by.type)) type = base.values;
    else if (base.kind !== 'dyn') return this.#noOverload(at, '_[_]', [base, by.type]);
    if (!optional && of.type.kind !== 'optional') return { type, run: (run) => indexed(of.run(run), by.run(run), run) };
    return {
      type: optionalOf(type),
      run(run) {
        run.spend(1);
        const value = of.run(run);
        const held = value instanceof CelOptional ? value.value : value;
        return held === undefined ? CelOptional.none : optionalIf(tryIndexed(held, by.run(run)));
      },
    };
  }

  #list({ items }: CelNode & { op: 'list' }, scope: Scope): Compiled {
    const compiled = items.map((item) => this.compile(item, scope));
    const type = listOf(compiled.length === 0 ? dynType : compiled.map((item) => item.type).reduce(joinTypes));
    return {
      type,
      run(run) {
        run.spend(1 + compiled.length);
        return new CelList(compiled.map((item) => item.run(run)));
      },
    };
  }

  #message({ at, name, fields }: CelNode & { op: 'message' }, scope: Scope): Compiled {
    const fieldType = this.#messages?.(name);
    if (fieldType === undefined) return this.#complain(at, `undeclared reference to '${name}' (in container '')`);
    const compiled = fields.map(({ at: fieldAt, name: field, value }) => {
      const wanted = fieldType(field);
      const { type, run } = this.compile(value, scope);
      if (wanted === undefined) this.#complain(fieldAt, `undefined field '${field}'`);
      else if (!isAssignable(wanted, type)) {
        this.#complain(fieldAt, `expected type of field '${field}' is '${typeName(wanted)}' but provided type is '${typeName(type)}'`);
      }
      return { field, run };
    });
    return {
      type: { kind: 'object', name, fields: new Map() },
      run(run) {
        run.spend(1 + compiled.length);
        const message = new CelMessage(name);
        for (const { field, run: value } of compiled) message.insert(field, value(run));
        return message;
      },
    };
  }

  #map({ entries }: CelNode & { op: 'map' }, scope: Scope): Compiled {
    const compiled = entries.map(([key, value]) => [this.compile(key, scope), this.compile(value, scope)] as const);
    const keys = compiled.length === 0 ? dynType : compiled.map(([key]) => key.type).reduce(joinTypes);
    const values = compiled.length === 0 ? dynType : compiled.map(([, value]) => value.type).reduce(joinTypes);
    return {
      type: mapOf(keys, values),
      run(run) {
        run.spend(1 + compiled.length);
        const map = new LiteralMap();
        for (const [key, value] of compiled) map.insert(key.run(run), value.run(run));
        return map;
      },
    };
  }

  #conditional({ at, test, yes, no }: CelNode & { op: 'conditional' }, scope: Scope): Compiled {
    const decides = this.compile(test, scope);
    const first = this.compile(yes, scope);
    const second = this.compile(no, scope);
    const agree = isAssignable(first.type, second.type) || isAssignable(second.type, first.type);
    if (!isAssignable(boolType, decides.type) || !agree) return this.#noOverload(at, '_?_:_', [decides.type, first.type, second.type]);
    return {
      type: joinTypes(first.type, second.type),
      run(run) {
        run.spend(1);
        const answer = decides.run(run);
        if (typeof answer !== 'boolean') throw noSuchOverload();
        return answer ? first.run(run) : second.run(run);
      },
    };
  }

  /** One side that settles the answer makes an error of the other side not matter. */
  #logical({ op, at, left, right }: CelNode & { op: 'and' | 'or' }, scope: Scope): Compiled {
    const first = this.compile(left, scope);
    const second = this.compile(right, scope);
    if (!isAssignable(boolType, first.type) || !isAssignable(boolType, second.type)) {
      return this.#noOverload(at, op === 'and' ? '_&&_' : '_||_', [first.type, second.type]);
    }
    const settles = op === 'or';
    return {
      type: boolType,
      run(run) {
        run.spend(1);
        const answer = attempt(first, run);
        if (answer === settles) return settles;
        if (typeof answer === 'boolean') return asBoolean(second.run(run));
        if (attempt(second, run) === settles) return settles;
        throw answer instanceof CelEvaluationError ? answer : noSuchOverload();
      },
    };
  }

  #unary({ op, at, operand }: CelNode & { op: 'not' | 'negate' }, scope: Scope): Compiled {
    const of = this.compile(operand, scope);
    const { kind } = of.type;
    if (op === 'not') {
      if (!isAssignable(boolType, of.type)) return this.#noOverload(at, '!_', [of.type]);
      return { type: boolType, run: (run) => !asBoolean(of.run(run)) };
    }
    if (kind !== 'dyn' && kind !== 'int' && kind !== 'double' && kind !== 'duration') return this.#noOverload(at, '-_', [of.type]);
    return {
      type: of.type,
      run(run) {
        const value = of.run(run);
        if (typeof value === 'bigint') return checkedInt(-value);
        if (typeof value === 'number') return -value;
        throw noSuchOverload();
      },
    };
  }

  #binary({ operator, at, left, right }: CelNode & { op: 'binary' }, scope: Scope): Compiled {
    const first = this.compile(left, scope);
    const second = this.compile(right, scope);
    const type = resultType(operator, first.type, second.type);
    if (type === undefined) return this.#noOverload(at, operator === 'in' ? '@in' : `_${operator}_`, [first.type, second.type]);
    const compute = operations[operator];
    return {
      type,
      run(run) {
        run.spend(1);
        return compute(first.run(run), second.run(run), run);
      },
    };
  }

  #call(node: CelNode & { op: 'call' }, scope: Scope): Compiled {
    const { target, at, args } = node;
    // `sets.contains(a, b)`: a name in front that is no variable is part of the function's.
    const namespaced = target?.op === 'identifier' && !scope.has(target.name) && this.#functions.has(`${target.name}.${node.name}`);
    const name = namespaced ? `${target.name}.${node.name}` : node.name;
    const member = target !== undefined && !namespaced;
    const compiled = [...(member ? [target] : []), ...args].map((arg) => this.compile(arg, scope));
    const declared = this.#functions.get(name)?.filter((overload) => overload.member === member) ?? [];
    if (declared.length === 0) return this.#complain(at, `undeclared reference to '${name}' (in container '')`);
    const types = compiled.map(({ type }) => type);
    const candidates: { readonly overload: CelFunction; readonly type: CelType }[] = [];
    for (const overload of declared) {
      if (overload.args.length !== types.length) continue;
      const bindings = new Map<string, CelType>();
      if (!overload.args.every((wanted, index) => isAssignable(wanted, types[index] ?? dynType, bindings))) continue;
      candidates.push({ overload, type: substitute(overload.result, bindings) });
    }
    const [best] = candidates;
    if (best === undefined) return this.#noOverload(at, name, types, member);
    const pattern = args.at(-1);
    if (name === 'matches' && pattern?.op === 'literal' && typeof pattern.value === 'string' && !isPattern(pattern.value)) {
      return this.#complain(pattern.at, 'invalid matches argument');
    }
    return {
      type: candidates.map(({ type }) => type).reduce(joinTypes),
      run(run) {
        run.spend(1);
        const values = compiled.map((arg) => arg.run(run));
        for (const value of values) if (typeof value === 'string') run.spend(Math.ceil(value.length / 100));
        const match = candidates.find(({ overload }) => overload.args.every((wanted, index) => accepts(wanted, values[index])));
        if (match === undefined) throw noSuchOverload();
        return match.overload.run(values, run);
      },
    };
  }

  #optionalMap({ at, target, variable, body, flat }: CelNode & { op: 'optional-map' }, scope: Scope): Compiled {
    const of = this.compile(target, scope);
    if (of.type.kind !== 'optional' && of.type.kind !== 'dyn') return this.#noOverload(at, flat ? 'optFlatMap' : 'optMap', [of.type], true);
    const { slot, inner } = this.#declare(scope, variable, of.type.kind === 'optional' ? of.type.value : dynType);
    const then = this.compile(body, inner);
    return {
      type: flat ? then.type : optionalOf(then.type),
      run(run) {
        run.spend(1);
        const value = of.run(run);
        if (!(value instanceof CelOptional)) throw noSuchOverload();
        if (!value.hasValue) return value;
        run.slots[slot] = value.value;
        const result = then.run(run);
        return flat ? result : new CelOptional(result);
      },
    };
  }

  #comprehension(node: Comprehension, scope: Scope): Compiled {
    const range = this.compile(node.range, scope);
    const { kind } = range.type;
    if (kind !== 'list' && kind !== 'map' && kind !== 'dyn' && kind !== 'object') {
      return this.#complain(
        node.range.at,
        `expression of type '${typeName(range.type)}' cannot be range of a comprehension (must be list, map, or dynamic)`,
      );
    }
    const keys =
      range.type.kind === 'list' ? intType : range.type.kind === 'map' ? range.type.keys : kind === 'object' ? stringType : dynType;
    const values = range.type.kind === 'list' ? range.type.items : range.type.kind === 'map' ? range.type.values : dynType;
    // With one variable it is the item of a list, but the key of a map.
    const firstType = node.second === undefined && kind === 'list' ? values : keys;
    const first = this.#declare(scope, node.first, firstType);
    const second = node.second === undefined ? undefined : this.#declare(first.inner, node.second, values);
    const inner = second?.inner ?? first.inner;
    const filter = node.filter === undefined ? undefined : this.compile(node.filter, inner);
    const body = this.compile(node.body, inner);
    const isPredicate = node.macro === 'all' || node.macro === 'exists' || node.macro === 'exists_one' || node.macro === 'filter';
    if (isPredicate && !isAssignable(boolType, body.type)) return this.#noOverload(node.body.at, '_&&_', [boolType, body.type]);
    if (filter !== undefined && !isAssignable(boolType, filter.type)) return this.#noOverload(node.at, '_?_:_', [filter.type, body.type]);
    const loop = { range, first: first.slot, second: second?.slot, filter, body };
    switch (node.macro) {
      case 'all':
        return { type: boolType, run: (run) => quantified(loop, run, false) };
      case 'exists':
        return { type: boolType, run: (run) => quantified(loop, run, true) };
      case 'exists_one':
        return {
          type: boolType,
          run(run) {
            let found = 0;
            for (const _ of turns(loop, run)) if (asBoolean(body.run(run))) found += 1;
            return found === 1;
          },
        };
      case 'filter':
        return {
          type: listOf(firstType),
          run(run) {
            const kept: unknown[] = [];
            for (const item of turns(loop, run)) if (asBoolean(body.run(run))) kept.push(item);
            return new CelList(kept);
          },
        };
      case 'map':
      case 'transformList':
        return {
          type: listOf(body.type),
          run(run) {
            const made: unknown[] = [];
            for (const _ of turns(loop, run)) made.push(body.run(run));
            return new CelList(made);
          },
        };
      case 'transformMap':
        return {
          type: mapOf(keys, body.type),
          run(run) {
            const made = new LiteralMap();
            for (const key of turns(loop, run)) made.insert(key, body.run(run));
            return made;
          },
        };
      case 'transformMapEntry':
        return {
          type: body.type.kind === 'map' ? body.type : mapOf(dynType, dynType),
          run(run) {
            const made = new LiteralMap();
            for (const _ of turns(loop, run)) {
              const entries = body.run(run);
              if (!isMap(entries)) throw noSuchOverload();
              for (const key of entries.keys()) made.insert(key, entries.get(key));
            }
            return made;
          },
        };
      default:
        return node.macro satisfies never;
    }
  }
}

function isPattern(source: string): boolean {
  try {
    compilePattern(source);
    return true;
  } catch (err) {
    if (err instanceof PatternError) return false;
    throw err;
  }
}

// --------------------------------------------------------------------------------------------------------------------------- evaluation

const unknownValue: Compiled = { type: dynType, run: () => null };

function literal(value: unknown): Compiled {
  const type: CelType =
    value === null
      ? { kind: 'null' }
      : typeof value === 'string'
        ? stringType
        : typeof value === 'bigint'
          ? intType
          : typeof value === 'number'
            ? { kind: 'double' }
            : typeof value === 'boolean'
              ? boolType
              : value instanceof CelUint
                ? { kind: 'uint' }
                : value instanceof CelTypeValue
                  ? { kind: 'type' }
                  : { kind: 'bytes' };
  return { type, run: () => value };
}

function selected(target: unknown, field: string, run: Evaluation): unknown {
  run.spend(1);
  if (!isMap(target)) throw noSuchOverload();
  const value = target.get(field);
  if (value === undefined) throw new CelEvaluationError(`no such key: ${field}`);
  return value;
}

function indexed(target: unknown, key: unknown, run: Evaluation): unknown {
  run.spend(1);
  const value = tryIndexed(target, key);
  if (value !== undefined) return value;
  throw new CelEvaluationError(target instanceof CelList ? `index out of bounds: ${String(key)}` : `no such key: ${String(key)}`);
}

function tryIndexed(target: unknown, key: unknown): unknown {
  if (target instanceof CelList) {
    const index = key instanceof CelUint ? key.value : key;
    if (typeof index === 'number' && !Number.isInteger(index)) throw noSuchOverload();
    if (typeof index !== 'bigint' && typeof index !== 'number') throw noSuchOverload();
    const at = Number(index);
    return at >= 0 && at < target.size ? target.at(at) : undefined;
  }
  if (!isMap(target)) throw noSuchOverload();
  return target.get(key);
}

const optionalIf = (value: unknown): CelOptional => (value === undefined ? CelOptional.none : new CelOptional(value));

/** The value, or the error that came instead. */
function attempt({ run: evaluate }: Compiled, run: Evaluation): unknown {
  try {
    return evaluate(run);
  } catch (err) {
    if (err instanceof CelEvaluationError) return err;
    throw err;
  }
}

function asBoolean(value: unknown): boolean {
  if (typeof value === 'boolean') return value;
  throw noSuchOverload();
}

interface Loop {
  readonly range: Compiled;
  readonly first: number;
  readonly second: number | undefined;
  readonly filter: Compiled | undefined;
  readonly body: Compiled;
}

/** Sets the variables for each turn whose filter lets it pass, and gives what the first variable holds. */
function* turns({ range, first, second, filter }: Loop, run: Evaluation): Iterable<unknown> {
  const collection = range.run(run);
  const isList = collection instanceof CelList;
  if (!isList && !isMap(collection)) throw noSuchOverload();
  const keys = isList ? undefined : collection.keys();
  const size = isList ? collection.size : (keys?.length ?? 0);
  for (let index = 0; index < size; index += 1) {
    run.spend(2);
    const key = keys === undefined ? BigInt(index) : keys[index];
    const value = isList ? collection.at(index) : second === undefined ? undefined : collection.get(key);
    const held = second === undefined && isList ? value : key;
    run.slots[first] = held;
    if (second !== undefined) run.slots[second] = value;
    if (filter === undefined || asBoolean(filter.run(run))) yield held;
  }
}

/** `exists` (true settles) and `all` (false settles): an error counts only when nothing settles the answer. */
function quantified(loop: Loop, run: Evaluation, settles: boolean): boolean {
  let failure: CelEvaluationError | undefined;
  for (const _ of turns(loop, run)) {
    const answer = attempt(loop.body, run);
    if (answer === settles) return settles;
    if (typeof answer !== 'boolean') failure ??= answer instanceof CelEvaluationError ? answer : noSuchOverload();
  }
  if (failure !== undefined) throw failure;
  return !settles;
}

/** True when a value may be passed for an argument of type `wanted`. */
function accepts(wanted: CelType, value: unknown): boolean {
  switch (wanted.kind) {
    case 'dyn':
    case 'parameter':
      return true;
    case 'string':
      return typeof value === 'string';
    case 'int':
      return typeof value === 'bigint';
    case 'double':
      return typeof value === 'number';
    case 'bool':
      return typeof value === 'boolean';
    case 'list':
      return (
        value instanceof CelList &&
        (wanted.items.kind === 'dyn' || wanted.items.kind === 'parameter' || value.size === 0 || accepts(wanted.items, value.at(0)))
      );
    case 'map':
      return isMap(value);
    case 'object':
      return isMap(value) || value instanceof CelOpaque;
    default:
      return typeOfValue(value).kind === wanted.kind;
  }
}

// --------------------------------------------------------------------------------------------------------------------------- operators

const numeric: ReadonlySet<string> = new Set(['int', 'uint', 'double']);
const ordered: ReadonlySet<string> = new Set(['bool', 'string', 'bytes', 'timestamp', 'duration']);

/** Undefined when the operator does not go with the two types. */
function resultType(operator: BinaryOperator, a: CelType, b: CelType): CelType | undefined {
  const dynamic = a.kind === 'dyn' || b.kind === 'dyn';
  switch (operator) {
    case '==':
    case '!=':
      return isAssignable(a, b) || isAssignable(b, a) ? boolType : undefined;
    case '<':
    case '<=':
    case '>':
    case '>=':
      return dynamic || (numeric.has(a.kind) && numeric.has(b.kind)) || (a.kind === b.kind && ordered.has(a.kind)) ? boolType : undefined;
    case 'in':
      if (b.kind === 'list') return isAssignable(b.items, a) ? boolType : undefined;
      if (b.kind === 'map') return isAssignable(b.keys, a) ? boolType : undefined;
      return b.kind === 'dyn' ? boolType : undefined;
    default:
      return arithmeticType(operator, a, b);
  }
}

function arithmeticType(operator: BinaryOperator, a: CelType, b: CelType): CelType | undefined {
  if (a.kind === 'dyn' || b.kind === 'dyn') {
    const known = a.kind === 'dyn' ? b : a;
    return numeric.has(known.kind) || known.kind === 'string' || known.kind === 'bytes' || known.kind === 'list' ? known : dynType;
  }
  if (a.kind === b.kind && numeric.has(a.kind)) return operator === '%' && a.kind === 'double' ? undefined : a;
  if (operator === '+') {
    if (a.kind === 'list' && b.kind === 'list') return listOf(joinTypes(a.items, b.items));
    if (a.kind === b.kind && (a.kind === 'string' || a.kind === 'bytes' || a.kind === 'duration')) return a;
    if (a.kind === 'timestamp' && b.kind === 'duration') return a;
    if (a.kind === 'duration' && b.kind === 'timestamp') return b;
  }
  if (operator === '-') {
    if (a.kind === 'timestamp' && b.kind === 'timestamp') return { kind: 'duration' };
    if ((a.kind === 'timestamp' || a.kind === 'duration') && b.kind === 'duration') return a;
  }
  return undefined;
}

function checkedInt(value: bigint): bigint {
  if (value > maxInt64 || value < minInt64) throw new CelEvaluationError('integer overflow');
  return value;
}

type Operation = (a: unknown, b: unknown, run: Evaluation) => unknown;

const comparing =
  (answer: (order: number) => boolean): Operation =>
  (a, b, run) => {
    const order = tryCompare(a, b);
    if (order === undefined) throw noSuchOverload();
    if (typeof a === 'string') run.spend(Math.ceil(a.length / 100));
    return answer(order);
  };

interface Arithmetic {
  readonly int: (a: bigint, b: bigint) => bigint;
  readonly double: ((a: number, b: number) => number) | undefined;
  readonly other?: Operation;
}

const arithmetic =
  ({ int, double, other }: Arithmetic): Operation =>
  (a, b, run) => {
    if (typeof a === 'bigint' && typeof b === 'bigint') return checkedInt(int(a, b));
    if (double !== undefined && typeof a === 'number' && typeof b === 'number') return double(a, b);
    if (a instanceof CelUint && b instanceof CelUint) return new CelUint(int(a.value, b.value));
    if (other !== undefined) return other(a, b, run);
    throw noSuchOverload();
  };

/** The longest text or list that is put together. */
const maxJoinedLength = 4 * 1024 * 1024;

const plus: Operation = (a, b, run) => {
  if (typeof a === 'string' && typeof b === 'string') {
    run.spend(Math.ceil((a.length + b.length) / 10));
    if (a.length + b.length > maxJoinedLength) throw new CelCostError();
    return a + b;
  }
  if (a instanceof CelList && b instanceof CelList) {
    run.spend(a.size + b.size);
    return new CelList([...a.values(), ...b.values()]);
  }
  if (a instanceof Uint8Array && b instanceof Uint8Array) {
    run.spend(Math.ceil((a.length + b.length) / 10));
    return new Uint8Array(Buffer.concat([a, b]));
  }
  if (a instanceof CelDuration && b instanceof CelDuration) return new CelDuration(a.nanos + b.nanos);
  if (a instanceof CelTimestamp && b instanceof CelDuration) return new CelTimestamp(a.nanos + b.nanos);
  if (a instanceof CelDuration && b instanceof CelTimestamp) return new CelTimestamp(a.nanos + b.nanos);
  throw noSuchOverload();
};

const minus: Operation = (a, b) => {
  if (a instanceof CelTimestamp && b instanceof CelTimestamp) return new CelDuration(a.nanos - b.nanos);
  if (a instanceof CelTimestamp && b instanceof CelDuration) return new CelTimestamp(a.nanos - b.nanos);
  if (a instanceof CelDuration && b instanceof CelDuration) return new CelDuration(a.nanos - b.nanos);
  throw noSuchOverload();
};

function nonZero(divisor: bigint, complaint: string): bigint {
  if (divisor === 0n) throw new CelEvaluationError(complaint);
  return divisor;
}

const contained: Operation = (a, b, run) => {
  if (b instanceof CelList) {
    for (let index = 0; index < b.size; index += 1) {
      run.spend(1);
      if (isEqual(a, b.at(index), run.spend)) return true;
    }
    return false;
  }
  if (isMap(b)) return b.has(a);
  throw noSuchOverload();
};

const operations: Readonly<Record<BinaryOperator, Operation>> = {
  '==': (a, b, run) => isEqual(a, b, run.spend),
  '!=': (a, b, run) => !isEqual(a, b, run.spend),
  '<': comparing((order) => order < 0),
  '<=': comparing((order) => order <= 0),
  '>': comparing((order) => order > 0),
  '>=': comparing((order) => order >= 0),
  in: contained,
  '+': arithmetic({ int: (a, b) => a + b, double: (a, b) => a + b, other: plus }),
  '-': arithmetic({ int: (a, b) => a - b, double: (a, b) => a - b, other: minus }),
  '*': arithmetic({ int: (a, b) => a * b, double: (a, b) => a * b }),
  '/': arithmetic({ int: (a, b) => a / nonZero(b, 'division by zero'), double: (a, b) => a / b }),
  '%': arithmetic({ int: (a, b) => a % nonZero(b, 'modulus by zero'), double: undefined }),
};
