import { BoundedMap } from '../../base/bounded-map.ts';

/**
 * Sets of field paths, in the very form in which `managedFields` carries them (FieldsV1). It is a tree of objects with path elements as
 * keys (`f:name` a field, `k:{…}` one of a keyed list, `v:…` one of a set). A node is in the set when it is empty or has the key `.`. The
 * empty set is undefined, since an empty node means something else.
 *
 * Nodes are frozen and shared. Equal sets are nearly always one object, so thousands of pods from one template carry one set. Results for a
 * pair of sets are remembered.
 *
 * @see https://kubernetes.io/docs/reference/using-api/server-side-apply/
 */
export interface FieldSet {
  readonly [element: string]: FieldSet;
}

/** The empty set is undefined. */
export type MaybeFieldSet = FieldSet | undefined;

/** A member without members below it. */
export const leaf: FieldSet = Object.freeze({});

/** Key of a node that is a member itself and has members below it. */
const self = '.';

/** Nodes that are kept to be shared, in two generations of this size. */
const sharedNodes = 8_192;
/** Nodes from this width on are hash tables to the engine. */
const tableWidth = 8;
/** Wider nodes (a ConfigMap's keys) are rarely alike and not worth the key. */
const maxSharedWidth = 64;

const ids = new WeakMap<FieldSet, number>([[leaf, 0]]);
let nextId = 1;
let young = new Map<string, FieldSet>();
let old = new Map<string, FieldSet>();

/** A node with these children, in any order; the empty set when there are none and it is no member itself. */
export function nodeOf(isMember: boolean, children: [string, FieldSet][]): MaybeFieldSet {
  if (children.length === 0) return isMember ? leaf : undefined;
  if (children.length > maxSharedWidth) return created(isMember, sorted(children));
  // Objects of one shape come with their fields in one order, so that hardly any node is put in order twice.
  const key = keyOf(isMember, children);
  const known = young.get(key) ?? promoted(key);
  if (known !== undefined) return known;
  const ordered = sorted(children);
  const orderedKey = ordered === children ? key : keyOf(isMember, ordered);
  const node = young.get(orderedKey) ?? promoted(orderedKey) ?? created(isMember, ordered);
  keep(orderedKey, node);
  if (orderedKey !== key) keep(key, node);
  return node;
}

/** A node that was not asked for since the generations changed. */
function promoted(key: string): MaybeFieldSet {
  const node = old.get(key);
  if (node !== undefined) keep(key, node);
  return node;
}

function keep(key: string, node: FieldSet): void {
  if (young.size >= sharedNodes) {
    old = young;
    young = new Map();
  }
  young.set(key, node);
}

/** Joined, not added piece by piece: that is quicker, and what a map keeps is then the text and not the tree of its pieces. */
function keyOf(isMember: boolean, children: readonly [string, FieldSet][]): string {
  const parts = isMember ? [self] : [];
  for (const [element, child] of children) parts.push(child === leaf ? element : `${element}\u0002${ids.get(child) ?? 0}`);
  return parts.join('\u0001');
}

function created(isMember: boolean, children: readonly [string, FieldSet][]): FieldSet {
  // Wide nodes, and those named by values, have no prototype. The engine then makes no hidden class of each key (1 instead of 6 us for a
  // dozen of them). The others stay as they are since they are quicker to read.
  const isTable = children.length >= tableWidth || children[0]?.[0].charCodeAt(0) === k;
  const node: Record<string, FieldSet> = isTable ? Object.create(null) : {};
  if (isMember) node[self] = leaf;
  for (const [element, child] of children) node[element] = child;
  Object.freeze(node);
  ids.set(node, nextId++);
  return node;
}

const isShared = (set: FieldSet): boolean => ids.has(set);

const sharedForms = new WeakMap<object, { readonly set: MaybeFieldSet }>();

/** The shared form of a set that came from the store or a client: in order, without elements that nobody can read. */
export function fieldSetFrom(fieldsV1: object | undefined): MaybeFieldSet {
  if (fieldsV1 === undefined) return undefined;
  if (isShared(fieldsV1 as FieldSet) && fieldsV1 !== leaf) return fieldsV1 as FieldSet;
  const known = sharedForms.get(fieldsV1);
  if (known !== undefined) return known.set;
  // An empty object at the root means no fields at all.
  const set = Object.keys(fieldsV1).length === 0 ? undefined : sharedNode(fieldsV1, true);
  if (Object.isFrozen(fieldsV1)) sharedForms.set(fieldsV1, { set });
  return set;
}

function sharedNode(node: object, isRoot: boolean): MaybeFieldSet {
  const children: [string, FieldSet][] = [];
  let isMember = false;
  for (const [key, value] of Object.entries(node)) {
    if (key === self) {
      isMember = !isRoot;
      continue;
    }
    const element = tryElement(key);
    if (element === undefined || typeof value !== 'object' || value === null) continue;
    const child = sharedNode(value, false);
    if (child !== undefined) children.push([element, child]);
  }
  return nodeOf(isMember || (!isRoot && children.length === 0), children);
}

/** Longer elements are rare, and a client can make them as long as an object. */
const maxReadElement = 256;
/** Elements named by values, as they were read and as they are written here. */
const readElements = new BoundedMap<string, string | undefined>(sharedNodes);

/** An element as it is written here, or undefined when it is none. */
function tryElement(key: string): string | undefined {
  if (key.startsWith('f:')) return key;
  if (readElements.has(key)) return readElements.get(key);
  const element = readElement(key);
  if (key.length <= maxReadElement) readElements.set(key, element);
  return element;
}

function readElement(key: string): string | undefined {
  const content = key.slice(2);
  try {
    switch (key.slice(0, 2)) {
      case 'i:':
        return /^\d+$/.test(content) ? key : undefined;
      case 'v:':
        return valueElement(JSON.parse(content));
      case 'k:':
        return keyElement(Object.entries(JSON.parse(content) as Record<string, unknown>));
      default:
        return undefined;
    }
  } catch {
    // Upstream drops elements it cannot read too: a later version may have written them.
    return undefined;
  }
}

export const fieldElement = (name: string): string => `f:${name}`;

export const valueElement = (value: unknown): string => `v:${jsonOf(value)}`;

/** The element of an item with these values of its keys, in any order. */
export function keyElement(fields: readonly (readonly [string, unknown])[]): string {
  const sorted = fields.length > 1 ? [...fields].sort(([a], [b]) => (a < b ? -1 : 1)) : fields;
  return `k:{${sorted.map(([name, value]) => `${JSON.stringify(name)}:${jsonOf(value)}`).join(',')}}`;
}

/** JSON as Go writes it, which escapes what HTML could take for a tag. */
function jsonOf(value: unknown): string {
  const text = JSON.stringify(value);
  return /[<>&\u2028\u2029]/.test(text)
    ? text.replace(/[<>&\u2028\u2029]/g, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`)
    : text;
}

function sorted(children: [string, FieldSet][]): [string, FieldSet][] {
  for (let index = 1; index < children.length; index += 1) {
    const before = children[index - 1];
    const after = children[index];
    if (before !== undefined && after !== undefined && compareElements(before[0], after[0]) > 0) {
      return children.toSorted(([a], [b]) => compareElements(a, b));
    }
  }
  return children;
}

const order = 'fkvi';
const f = 'f'.charCodeAt(0);
const k = 'k'.charCodeAt(0);

/** Fields by name, then items by the values of their keys, numbers as numbers. */
function compareElements(a: string, b: string): number {
  if (a.charCodeAt(0) === f && b.charCodeAt(0) === f) return a < b ? -1 : a > b ? 1 : 0;
  const kind = a.charAt(0);
  const difference = order.indexOf(kind) - order.indexOf(b.charAt(0));
  if (difference !== 0) return difference;
  if (a === b) return 0;
  return kind === 'k' ? compareKeys(a, b) : compareValues(JSON.parse(a.slice(2)), JSON.parse(b.slice(2)));
}

const textKey = /^k:\{"[^"\\]*":"[^"\\]*"\}$/;

function compareKeys(a: string, b: string): number {
  // One key with a text, the common case, is in the order of its JSON.
  if (textKey.test(a) && textKey.test(b)) return a < b ? -1 : 1;
  const left = Object.entries(JSON.parse(a.slice(2)) as Record<string, unknown>);
  const right = Object.entries(JSON.parse(b.slice(2)) as Record<string, unknown>);
  for (const [index, [name, value]] of left.entries()) {
    const other = right[index];
    if (other === undefined) return 1;
    if (name !== other[0]) return name < other[0] ? -1 : 1;
    const difference = compareValues(value, other[1]);
    if (difference !== 0) return difference;
  }
  return left.length - right.length;
}

function compareValues(a: unknown, b: unknown): number {
  if (typeof a === 'number' && typeof b === 'number') return a - b;
  const rank = (value: unknown): number => ['number', 'string', 'boolean'].indexOf(typeof value);
  if (rank(a) !== rank(b)) return rank(a) - rank(b);
  return String(a) < String(b) ? -1 : String(a) > String(b) ? 1 : 0;
}

export const isMember = (node: MaybeFieldSet): boolean => node !== undefined && (node === leaf || Object.hasOwn(node, self));

/** The elements below a node that lead to members. */
export const elementsOf = (node: FieldSet): readonly string[] => Object.keys(node).filter((element) => element !== self);

/** The set below one element. */
export const childOf = (node: MaybeFieldSet, element: string): MaybeFieldSet =>
  node !== undefined && Object.hasOwn(node, element) ? node[element] : undefined;

type Operation = (a: FieldSet, b: FieldSet, atRoot: boolean) => MaybeFieldSet;

/** Remembers results as long as both sets live. The function gets the roots of two sets, neither of them empty. */
function remembered(operation: Operation): (a: FieldSet, b: FieldSet) => MaybeFieldSet {
  const results = new WeakMap<FieldSet, WeakMap<FieldSet, { readonly set: MaybeFieldSet }>>();
  return (a, b) => {
    let row = results.get(a);
    if (row === undefined) {
      row = new WeakMap();
      results.set(a, row);
    }
    const known = row.get(b);
    if (known !== undefined) return known.set;
    const set = operation(a, b, true);
    row.set(b, { set });
    return set;
  };
}

const rememberedUnion = remembered(unionOf);
const rememberedIntersection = remembered(intersectionOf);
const rememberedDifference = remembered(differenceOf);
const rememberedCut = remembered(cutOf);

/** Members of either. */
export function union(a: MaybeFieldSet, b: MaybeFieldSet): MaybeFieldSet {
  if (a === undefined || a === b) return b;
  return b === undefined ? a : rememberedUnion(a, b);
}

/** True when anything can be in both: a status and a spec have nothing in common, so this pair needs no cache entry. */
function mayOverlap(a: FieldSet, b: FieldSet): boolean {
  if (isMember(a)) return true;
  for (const element in b) if (element !== self && Object.hasOwn(a, element)) return true;
  return false;
}

/** Members of both. */
export function intersection(a: MaybeFieldSet, b: MaybeFieldSet): MaybeFieldSet {
  if (a === undefined || b === undefined) return undefined;
  return a === b ? a : rememberedIntersection(a, b);
}

/** Members of `a` that are none of `b`; what lies below a member of `b` stays. */
export function difference(a: MaybeFieldSet, b: MaybeFieldSet): MaybeFieldSet {
  if (a === undefined || a === b) return undefined;
  return b === undefined || !mayOverlap(a, b) ? a : rememberedDifference(a, b);
}

/** Members of `a` that are none of `b` and lie below none. */
export function cut(a: MaybeFieldSet, b: MaybeFieldSet): MaybeFieldSet {
  return a === undefined || b === undefined || !mayOverlap(a, b) ? a : rememberedCut(a, b);
}

function unionOf(a: FieldSet, b: FieldSet): MaybeFieldSet {
  if (a === b) return a;
  const children: [string, FieldSet][] = [];
  for (const element of elementsOf(a)) {
    const mine = a[element];
    const other = childOf(b, element);
    const both = mine === undefined || other === undefined ? mine : unionOf(mine, other);
    if (both !== undefined) children.push([element, both]);
  }
  for (const element of elementsOf(b)) {
    const other = b[element];
    if (other !== undefined && !Object.hasOwn(a, element)) children.push([element, other]);
  }
  return nodeOf(isMember(a) || isMember(b), children);
}

function intersectionOf(a: FieldSet, b: FieldSet, atRoot: boolean): MaybeFieldSet {
  if (a === b) return a;
  const children: [string, FieldSet][] = [];
  for (const element of elementsOf(a)) {
    const mine = a[element];
    const other = childOf(b, element);
    const both = mine === undefined || other === undefined ? undefined : intersectionOf(mine, other, false);
    if (both !== undefined) children.push([element, both]);
  }
  return nodeOf(!atRoot && isMember(a) && isMember(b), children);
}

function differenceOf(a: FieldSet, b: FieldSet, atRoot: boolean): MaybeFieldSet {
  if (a === b) return undefined;
  const children: [string, FieldSet][] = [];
  for (const element of elementsOf(a)) {
    const mine = a[element];
    const other = childOf(b, element);
    const rest = mine === undefined || other === undefined ? mine : differenceOf(mine, other, false);
    if (rest !== undefined) children.push([element, rest]);
  }
  return nodeOf(!atRoot && isMember(a) && !isMember(b), children);
}

function cutOf(a: FieldSet, b: FieldSet, atRoot: boolean): MaybeFieldSet {
  const children: [string, FieldSet][] = [];
  for (const element of elementsOf(a)) {
    const mine = a[element];
    const other = childOf(b, element);
    const rest = mine === undefined || other === undefined ? mine : isMember(other) ? undefined : cutOf(mine, other, false);
    if (rest !== undefined) children.push([element, rest]);
  }
  return nodeOf(!atRoot && isMember(a), children);
}

/** True when both have the same members. */
export function isSameSet(a: MaybeFieldSet, b: MaybeFieldSet): boolean {
  if (a === b) return true;
  if (a === undefined || b === undefined) return false;
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length && keys.every((key) => Object.hasOwn(b, key) && isSameSet(a[key], b[key]));
}

/** All members as conflicts print them, `.spec.containers[name="c"].image`: at each level the members, then what lies below. */
export function pathsOf(set: MaybeFieldSet, prefix = ''): readonly string[] {
  if (set === undefined) return [];
  const elements = elementsOf(set);
  return [
    ...elements.filter((element) => isMember(set[element])).map((element) => prefix + textOf(element)),
    ...elements.flatMap((element) => pathsOf(set[element], prefix + textOf(element))),
  ];
}

/** One element as error messages print it: `.image`, `[name="c"]`, `[="x"]`. */
export function textOf(element: string): string {
  const content = element.slice(2);
  switch (element.charAt(0)) {
    case 'f':
      return `.${content}`;
    case 'k':
      return `[${Object.entries(JSON.parse(content) as Record<string, unknown>)
        .map(([name, value]) => `${name}=${JSON.stringify(value)}`)
        .join(',')}]`;
    case 'v':
      return `[=${JSON.stringify(JSON.parse(content))}]`;
    default:
      return `[${content}]`;
  }
}
