import { type ASTNode, Environment, ParseError } from '@marcbachmann/cel-js';
import { CelCompileError, reportOf } from './errors.ts';
import { withoutMessages } from './message-syntax.ts';
import { CelUint } from './values.ts';

/** An expression as a tree, macros resolved. `at` is where upstream's errors point: the operator, the dot, the opening parenthesis. */
export type CelNode =
  | { readonly op: 'literal'; readonly at: number; readonly value: unknown }
  | { readonly op: 'identifier'; readonly at: number; readonly name: string }
  | { readonly op: 'select'; readonly at: number; readonly target: CelNode; readonly field: string; readonly optional: boolean }
  | { readonly op: 'index'; readonly at: number; readonly target: CelNode; readonly key: CelNode; readonly optional: boolean }
  | {
      readonly op: 'call';
      readonly at: number;
      readonly name: string;
      /** Undefined for a function that is called without a receiver. */
      readonly target: CelNode | undefined;
      readonly args: readonly CelNode[];
    }
  | {
      /** `Object.spec{replicas: 3}` */
      readonly op: 'message';
      readonly at: number;
      readonly name: string;
      readonly fields: readonly { readonly at: number; readonly name: string; readonly value: CelNode }[];
    }
  | { readonly op: 'list'; readonly at: number; readonly items: readonly CelNode[] }
  | { readonly op: 'map'; readonly at: number; readonly entries: readonly (readonly [key: CelNode, value: CelNode])[] }
  | { readonly op: 'conditional'; readonly at: number; readonly test: CelNode; readonly yes: CelNode; readonly no: CelNode }
  | { readonly op: 'and' | 'or'; readonly at: number; readonly left: CelNode; readonly right: CelNode }
  | { readonly op: 'binary'; readonly at: number; readonly operator: BinaryOperator; readonly left: CelNode; readonly right: CelNode }
  | { readonly op: 'not' | 'negate'; readonly at: number; readonly operand: CelNode }
  | { readonly op: 'has'; readonly at: number; readonly target: CelNode; readonly field: string }
  | { readonly op: 'bind'; readonly at: number; readonly variable: string; readonly value: CelNode; readonly body: CelNode }
  | {
      /** `x.optMap(v, e)`, `x.optFlatMap(v, e)` */
      readonly op: 'optional-map';
      readonly at: number;
      readonly target: CelNode;
      readonly variable: string;
      readonly body: CelNode;
      readonly flat: boolean;
    }
  | Comprehension;

export interface Comprehension {
  readonly op: 'comprehension';
  readonly at: number;
  readonly macro: ComprehensionMacro;
  readonly range: CelNode;
  /** Item of a list or key of a map; with `second`: index or key. */
  readonly first: string;
  /** Value that goes with `first`. */
  readonly second: string | undefined;
  readonly filter: CelNode | undefined;
  readonly body: CelNode;
}

export type ComprehensionMacro =
  | 'all'
  | 'exists'
  | 'exists_one'
  | 'map'
  | 'filter'
  | 'transformList'
  | 'transformMap'
  | 'transformMapEntry';

export type BinaryOperator = '==' | '!=' | '<' | '<=' | '>' | '>=' | 'in' | '+' | '-' | '*' | '/' | '%';

/** The longest expression that is read. */
const maxExpressionLength = 16_384;
/** Levels of nesting, upstream's number. */
const maxDepth = 250;

/** A message is a call with two arguments a field. */
const limits = { maxAstNodes: 10_000, maxDepth, maxListElements: 1_000, maxMapEntries: 1_000, maxCallArguments: 256 };
const parser = new Environment({ unlistedVariablesAreDyn: true, homogeneousAggregateLiterals: false, enableOptionalTypes: true, limits });

/** @throws CelCompileError */
export function parseCel(source: string): CelNode {
  if (source.length > maxExpressionLength) {
    throw new CelCompileError(`expression code point size exceeds limit: size: ${source.length}, limit ${maxExpressionLength}`);
  }
  const { source: parsed, openings } = withoutMessages(source);
  let ast: ASTNode;
  try {
    ast = parser.parse(parsed).ast;
  } catch (err) {
    if (err instanceof ParseError || (err instanceof Error && err.name === 'ParseError')) {
      const { summary = err.message, range } = err as ParseError;
      throw new CelCompileError(reportOf(source, [{ at: Math.min(range?.start ?? 0, source.length), text: `Syntax error: ${summary}` }]));
    }
    // A run of `!` or `-` is a level of the parser each.
    if (err instanceof RangeError) throw tooDeep();
    throw err;
  }
  return new Reader(source, openings).read(ast, 0);
}

const tooDeep = (): CelCompileError => new CelCompileError(`expression recursion limit exceeded: ${maxDepth}`);

const binaryOperators: ReadonlySet<string> = new Set<BinaryOperator>(['==', '!=', '<', '<=', '>', '>=', 'in', '+', '-', '*', '/', '%']);

class Reader {
  readonly #source: string;
  /** Positions at which the calls that replace messages open. */
  readonly #messages: ReadonlySet<number>;

  constructor(source: string, messages: ReadonlySet<number>) {
    this.#source = source;
    this.#messages = messages;
  }

  read(ast: ASTNode, depth: number): CelNode {
    if (depth > maxDepth) throw tooDeep();
    const read = (node: ASTNode): CelNode => this.read(node, depth + 1);
    const at = ast.start;
    switch (ast.op) {
      case 'value':
        // Only unsigned integers come as objects of the parser's own.
        return {
          op: 'literal',
          at,
          value:
            typeof ast.args === 'object' && ast.args !== null && !(ast.args instanceof Uint8Array)
              ? new CelUint(ast.args.valueOf())
              : ast.args,
        };
      case 'id':
        return { op: 'identifier', at, name: ast.args };
      case '.':
      case '.?':
        return {
          op: 'select',
          at: this.#after(ast.args[0], '.'),
          target: read(ast.args[0]),
          field: ast.args[1],
          optional: ast.op === '.?',
        };
      case '[]':
      case '[?]':
        return {
          op: 'index',
          at: this.#after(ast.args[0], '['),
          target: read(ast.args[0]),
          key: read(ast.args[1]),
          optional: ast.op === '[?]',
        };
      case 'call': {
        const [name, args] = ast.args;
        const open = this.#opening(at);
        if (this.#messages.has(open)) return this.#message(name, args, open, depth);
        if (name === 'has') return this.#has(args, open, depth);
        return { op: 'call', at: open, name, target: undefined, args: args.map(read) };
      }
      case 'rcall':
        return this.#method(ast.args, depth);
      case 'list':
        return { op: 'list', at, items: ast.args.map(read) };
      case 'map':
        return { op: 'map', at, entries: ast.args.map(([key, value]) => [read(key), read(value)] as const) };
      case '?:': {
        const [test, yes, no] = ast.args;
        return { op: 'conditional', at: this.#after(test, '?'), test: read(test), yes: read(yes), no: read(no) };
      }
      case '&&':
      case '||': {
        const [left, right] = ast.args;
        return { op: ast.op === '&&' ? 'and' : 'or', at: this.#after(left, ast.op), left: read(left), right: read(right) };
      }
      case '!_':
        return { op: 'not', at, operand: read(ast.args) };
      case '-_': {
        const operand = read(ast.args);
        // The smallest integer has no positive counterpart.
        if (operand.op === 'literal' && typeof operand.value === 'bigint') return { ...operand, at, value: -operand.value };
        return { op: 'negate', at, operand };
      }
      default: {
        if (!binaryOperators.has(ast.op)) throw this.#error(at, `unsupported syntax ${ast.op}`);
        const [left, right] = ast.args as [ASTNode, ASTNode];
        const operator = ast.op as BinaryOperator;
        return { op: 'binary', at: this.#after(left, operator), operator, left: read(left), right: read(right) };
      }
    }
  }

  #error(at: number, text: string): CelCompileError {
    return new CelCompileError(reportOf(this.#source, [{ at, text }]));
  }

  /** Position of `mark` after `node`. */
  #after(node: ASTNode, mark: string): number {
    const found = this.#source.indexOf(mark, node.end);
    return found === -1 ? node.start : found;
  }

  /** The parenthesis, or the brace of a message, from `at` on. */
  #opening(at: number): number {
    const pattern = /[({]/g;
    pattern.lastIndex = at;
    return pattern.exec(this.#source)?.index ?? -1;
  }

  #message(name: string, args: readonly ASTNode[], at: number, depth: number): CelNode {
    if (args.length % 2 !== 0) throw this.#error(at, 'Syntax error: a field without a value');
    const fields: { at: number; name: string; value: CelNode }[] = [];
    for (let index = 0; index < args.length; index += 2) {
      const [field, value] = args.slice(index, index + 2);
      if (field === undefined || value === undefined) continue;
      if (field.op !== 'id') throw this.#error(field.start, 'Syntax error: the name of a field is no identifier');
      fields.push({ at: field.start, name: field.args, value: this.read(value, depth + 1) });
    }
    return { op: 'message', at, name, fields };
  }

  /** `Object.spec.template` */
  #path(node: ASTNode): string {
    if (node.op === 'id') return node.args;
    if (node.op === '.') return `${this.#path(node.args[0])}.${node.args[1]}`;
    throw this.#error(node.start, 'Syntax error: not the name of a message');
  }

  #has(args: readonly ASTNode[], at: number, depth: number): CelNode {
    const [argument] = args;
    if (argument === undefined || args.length !== 1 || argument.op !== '.') throw this.#error(at, 'invalid argument to has() macro');
    return { op: 'has', at, target: this.read(argument.args[0], depth + 1), field: argument.args[1] };
  }

  #variable(node: ASTNode): string {
    if (node.op === 'id') return node.args;
    throw this.#error(node.start, 'argument is not an identifier');
  }

  #method([name, receiver, args]: readonly [string, ASTNode, readonly ASTNode[]], depth: number): CelNode {
    const read = (node: ASTNode): CelNode => this.read(node, depth + 1);
    const at = this.#opening(this.#source.indexOf(name, receiver.end));
    if (this.#messages.has(at)) return this.#message(`${this.#path(receiver)}.${name}`, args, at, depth);
    if (name === 'bind' && receiver.op === 'id' && receiver.args === 'cel') {
      const [variable, value, body] = args;
      if (variable === undefined || value === undefined || body === undefined) throw this.#error(at, 'cel.bind takes three arguments');
      return { op: 'bind', at, variable: this.#variable(variable), value: read(value), body: read(body) };
    }
    if (name === 'optMap' || name === 'optFlatMap') {
      const [variable, body] = args;
      if (variable !== undefined && body !== undefined && args.length === 2) {
        const flat = name === 'optFlatMap';
        return { op: 'optional-map', at, target: read(receiver), variable: this.#variable(variable), body: read(body), flat };
      }
    }
    const macro = macroOf(name, args.length);
    if (macro !== undefined) {
      const [first, ...others] = args;
      const second = macro.variables === 2 ? others.shift() : undefined;
      const body = others.pop();
      const [filter] = others;
      if (first !== undefined && body !== undefined) {
        return {
          op: 'comprehension',
          at,
          macro: macro.name,
          range: read(receiver),
          first: this.#variable(first),
          second: second === undefined ? undefined : this.#variable(second),
          filter: filter === undefined ? undefined : read(filter),
          body: read(body),
        };
      }
    }
    return { op: 'call', at, name, target: read(receiver), args: args.map(read) };
  }
}

function macroOf(name: string, count: number): { readonly name: ComprehensionMacro; readonly variables: 1 | 2 } | undefined {
  switch (name) {
    case 'all':
    case 'exists':
    case 'exists_one':
      return count === 2 ? { name, variables: 1 } : count === 3 ? { name, variables: 2 } : undefined;
    case 'existsOne':
      return count === 2 ? { name: 'exists_one', variables: 1 } : count === 3 ? { name: 'exists_one', variables: 2 } : undefined;
    case 'filter':
      return count === 2 ? { name, variables: 1 } : undefined;
    case 'map':
      return count === 2 || count === 3 ? { name, variables: 1 } : undefined;
    case 'transformList':
    case 'transformMap':
    case 'transformMapEntry':
      return count === 3 || count === 4 ? { name, variables: 2 } : undefined;
    default:
      return undefined;
  }
}
