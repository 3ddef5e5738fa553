import type { CelNode, Comprehension } from './syntax.ts';

/**
 * Estimates the worst cost of an expression before it runs, in upstream's units, from the most that lists, maps and texts can hold. The
 * numbers are those of cel-go's estimator and of Kubernetes' libraries, so that what other clusters refuse is refused here.
 *
 * Costs are counted without types: a value of which nothing is known counts as a single one, where upstream would take it for endless.
 *
 * @see https://kubernetes.io/docs/reference/using-api/cel/, "Resource constraints"
 */
export interface Extent {
  readonly kind: 'text' | 'list' | 'map' | 'object' | 'single';
  /** Letters, items or members at most. */
  readonly most: number;
  readonly items?: Extent | undefined;
  /** By the name that expressions use. */
  readonly fields?: ReadonlyMap<string, Extent> | undefined;
}

const single: Extent = { kind: 'single', most: 1 };
const textOf = (most: number): Extent => ({ kind: 'text', most });
/** Keys of maps, and texts that are made of something else: as long as a request can be. */
const maxRequestBytes = 3 * 1024 * 1024;
const anyText = textOf(maxRequestBytes);

const traversal = 0.1;
const regexFactor = 0.25;
const listCost = 10;
const mapCost = 30;
const structCost = 40;

interface Estimate {
  readonly cost: number;
  readonly value: Extent;
}

/** Variables by name. */
type Scope = ReadonlyMap<string, Extent>;

/** @param variables  what the expression may name; others count as single values */
export const worstCostOf = (node: CelNode, variables: Scope): number => estimate(node, variables).cost;

const priced = (cost: number, value: Extent = single): Estimate => ({ cost, value });

const traversed = ({ most }: Extent): number => Math.ceil(most * traversal);

function estimate(node: CelNode, scope: Scope): Estimate {
  switch (node.op) {
    case 'literal':
      return priced(0, typeof node.value === 'string' ? textOf(node.value.length) : single);
    case 'identifier':
      return priced(1, scope.get(node.name) ?? single);
    case 'select': {
      const { cost, value } = estimate(node.target, scope);
      return priced(cost + 1, memberOf(value, node.field));
    }
    case 'has':
      return priced(estimate(node.target, scope).cost);
    case 'index': {
      const { cost, value } = estimate(node.target, scope);
      return priced(cost + estimate(node.key, scope).cost + 1, value.items ?? single);
    }
    case 'list': {
      const items = node.items.map((item) => estimate(item, scope));
      return priced(listCost + sumOf(items), { kind: 'list', most: items.length, items: largest(items.map(({ value }) => value)) });
    }
    case 'map': {
      const entries = node.entries.flatMap(([key, value]) => [estimate(key, scope), estimate(value, scope)]);
      return priced(mapCost + sumOf(entries), { kind: 'map', most: node.entries.length });
    }
    case 'message': {
      const fields = node.fields.map(({ value }) => estimate(value, scope));
      return priced(structCost + sumOf(fields), { kind: 'object', most: 0 });
    }
    case 'conditional': {
      const [yes, no] = [estimate(node.yes, scope), estimate(node.no, scope)];
      return priced(estimate(node.test, scope).cost + Math.max(yes.cost, no.cost), largest([yes.value, no.value]));
    }
    case 'and':
    case 'or':
      return priced(estimate(node.left, scope).cost + estimate(node.right, scope).cost);
    case 'not':
    case 'negate':
      return priced(estimate(node.operand, scope).cost + 1);
    case 'binary':
      return binary(node, estimate(node.left, scope), estimate(node.right, scope));
    case 'bind': {
      const bound = estimate(node.value, scope);
      const body = estimate(node.body, new Map(scope).set(node.variable, bound.value));
      return priced(bound.cost + body.cost + 1, body.value);
    }
    case 'optional-map': {
      const target = estimate(node.target, scope);
      const body = estimate(node.body, new Map(scope).set(node.variable, target.value));
      return priced(target.cost + body.cost + 3, body.value);
    }
    case 'call':
      return call(node, scope);
    case 'comprehension':
      return comprehension(node, scope);
    default:
      return node satisfies never;
  }
}

const sumOf = (estimates: readonly Estimate[]): number => estimates.reduce((sum, { cost }) => sum + cost, 0);

/** The largest of several values of which one is used. */
function largest(values: readonly Extent[]): Extent {
  return values.reduce((most, value) => (value.most > most.most ? value : most), values[0] ?? single);
}

function memberOf(value: Extent, field: string): Extent {
  if (value.kind === 'map') return value.items ?? single;
  return value.fields?.get(field) ?? single;
}

function binary({ operator }: CelNode & { op: 'binary' }, left: Estimate, right: Estimate): Estimate {
  const cost = left.cost + right.cost;
  const [a, b] = [left.value, right.value];
  switch (operator) {
    case '==':
    case '!=':
    case '<':
    case '<=':
    case '>':
    case '>=':
      return priced(cost + Math.ceil(Math.min(a.most, b.most) * traversal));
    case 'in':
      return priced(cost + (b.kind === 'map' ? 1 : b.most));
    case '+':
      if (a.kind === 'text' && b.kind === 'text') return priced(cost + Math.ceil((a.most + b.most) * traversal), textOf(a.most + b.most));
      if (a.kind === 'list' && b.kind === 'list') {
        return priced(cost + 1, { kind: 'list', most: a.most + b.most, items: largest([a, b].flatMap(({ items }) => items ?? [])) });
      }
      return priced(cost + 1);
    default:
      return priced(cost + 1);
  }
}

/**
 * Turns around the items of a list or the keys of a map. The cost of a turn beside its expressions follows from upstream's way to write the
 * loops.
 */
function comprehension(node: Comprehension, scope: Scope): Estimate {
  const range = estimate(node.range, scope);
  const { most, kind, items = single } = range.value;
  const keys = kind === 'map' ? anyText : single;
  const inner = new Map(scope).set(node.first, node.second === undefined && kind === 'list' ? items : keys);
  if (node.second !== undefined) inner.set(node.second, items);
  const body = estimate(node.body, inner);
  const filter = node.filter === undefined ? 0 : estimate(node.filter, inner).cost;
  const total = (turn: number, start: number): number => range.cost + start + 1 + times(most, turn);
  switch (node.macro) {
    case 'all':
      return priced(total(body.cost + 1 + 2, 0));
    case 'exists':
      return priced(total(body.cost + 1 + 3, 0));
    case 'exists_one':
      return priced(total(body.cost + 2, 0) + 1);
    case 'filter':
      return priced(
        total(body.cost + listCost + 3, listCost),
        range.value.kind === 'list' ? range.value : { kind: 'list', most, items: keys },
      );
    case 'map':
    case 'transformList':
      return priced(total(filter + body.cost + listCost + 2, listCost), { kind: 'list', most, items: body.value });
    case 'transformMap':
    case 'transformMapEntry':
      return priced(total(filter + body.cost + mapCost + 2, mapCost), { kind: 'map', most, items: body.value });
    default:
      return node.macro satisfies never;
  }
}

/** Nothing is nothing, also of what has no end. */
const times = (a: number, b: number): number => (a === 0 || b === 0 ? 0 : a * b);

function call(node: CelNode & { op: 'call' }, scope: Scope): Estimate {
  // A namespace in front of a function's name is no value.
  const isNamed = node.target !== undefined && !(node.target.op === 'identifier' && !scope.has(node.target.name));
  const prefix = node.target?.op === 'identifier' && !isNamed ? `${node.target.name}.` : '';
  const given = [...(isNamed && node.target !== undefined ? [node.target] : []), ...node.args].map((arg) => estimate(arg, scope));
  const [first = priced(0), second = priced(0), third = priced(0)] = given;
  const { cost, value } = priceOf(`${prefix}${node.name}`, [first.value, second.value, third.value], given.length);
  return priced(sumOf(given) + cost, value);
}

function priceOf(name: string, [a, b, c]: readonly [Extent, Extent, Extent], count: number): Estimate {
  switch (name) {
    case 'startsWith':
    case 'endsWith':
      return priced(traversed(b));
    case 'contains':
      return a.kind === 'text' ? priced(Math.ceil(traversed(a) * traversed(b))) : priced(1);
    case 'matches':
    case 'find':
    case 'findAll': {
      const cost = Math.ceil((a.most + 1) * traversal) * Math.ceil(b.most * regexFactor);
      return priced(cost, name === 'find' ? a : name === 'findAll' ? { kind: 'list', most: a.most, items: a } : single);
    }
    case 'isSorted':
    case 'sum':
    case 'max':
    case 'min':
    case 'indexOf':
    case 'lastIndexOf':
    case 'sort':
    case 'distinct': {
      if (a.kind === 'text') return priced(traversed(a));
      const each = a.items?.kind === 'text' ? 1 + traversed(a.items) : 1;
      return priced(times(a.most, each), name === 'sort' || name === 'distinct' ? a : (a.items ?? single));
    }
    case 'lowerAscii':
    case 'upperAscii':
    case 'trim':
    case 'substring':
    case 'reverse':
      return priced(traversed(a), a);
    case 'replace': {
      // At worst each text that is replaced is as short as it can be; only a literal is known to have a length.
      const grown = b.most === 0 ? a.most + (a.most + 1) * c.most : Math.max(a.most, Math.ceil(a.most / Math.max(1, b.most)) * c.most);
      return priced(traversed(a), textOf(grown));
    }
    case 'split':
      return priced(traversed(a), { kind: 'list', most: a.most, items: a.kind === 'text' ? a : single });
    case 'join': {
      const separators = count > 1 ? b.most : 0;
      const length = times(a.most, (a.items?.most ?? 1) + separators);
      return priced(Math.ceil(length * traversal), textOf(length));
    }
    case 'format': {
      // The values to put in may be endless, and then the text is, too.
      const length = a.most + times(b.most, b.items?.most ?? 1);
      return length >= maxRequestBytes - 2
        ? priced(Number.POSITIVE_INFINITY, anyText)
        : priced(Math.ceil(length * traversal), textOf(length));
    }
    case 'url':
    case 'isURL':
    case 'quantity':
    case 'isQuantity':
    case 'ip':
    case 'isIP':
    case 'cidr':
    case 'isCIDR':
    case 'semver':
    case 'isSemver':
      return priced(Math.max(1, traversed(a)));
    case 'sets.contains':
    case 'sets.intersects':
    case 'sets.equivalent':
      return priced(times(a.most, b.most) + 1);
    case 'string':
      return priced(1, a.kind === 'text' ? a : textOf(32));
    case 'optional.of':
    case 'optional.ofNonZeroValue':
    case 'value':
      return priced(1, a);
    case 'orValue':
    case 'or':
      return priced(1, largest([a, b]));
    default:
      return priced(1);
  }
}
