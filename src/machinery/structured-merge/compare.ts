import { deepEqual } from '../object.ts';
import { type FieldSet, fieldElement, leaf, type MaybeFieldSet, nodeOf, union } from './field-set.ts';
import { elementOfItem, ItemError, isMap, type JsonMap } from './item.ts';
import type { Field, ListType, MapType, Type } from './type.ts';

/** Differences between two values of one type. */
export interface Comparison {
  /** Fields that are new or have another value. */
  readonly changed: MaybeFieldSet;
  readonly removed: MaybeFieldSet;
}

const same: Comparison = { changed: undefined, removed: undefined };
const emptyMap: JsonMap = Object.freeze({});

/**
 * Compares two objects and skips parts that are the same reference in both. Undefined is an object that does not exist,
 * as on creation.
 */
export function compareObjects(before: unknown, after: unknown, type: Type): Comparison {
  if (type.map === undefined) return same;
  return compareMembers({ before: isMap(before) ? before : emptyMap, after: isMap(after) ? after : emptyMap, map: type.map });
}

/** At most one of both is undefined. Null is a value: an empty map or list, or no scalar. */
function compareValues(before: unknown, after: unknown, type: Type): Comparison {
  if (before === after) return same;
  if (before === undefined) return { changed: wholeSetOf(after, type), removed: undefined };
  if (after === undefined) return { changed: undefined, removed: wholeSetOf(before, type) };
  const form = formOf(after, type) ?? formOf(before, type);
  if (form === 'scalar' || form === undefined) return leafComparison(before, after, type);
  const old = formOf(before, type);
  const other = old !== undefined && old !== form ? leafComparison(before, after, type) : same;
  const compared =
    form === 'map' && type.map !== undefined
      ? compareMaps({ before, after, map: type.map })
      : type.list === undefined
        ? same
        : compareLists({ before, after, list: type.list });
  return other === same ? compared : { changed: union(other.changed, compared.changed), removed: union(other.removed, compared.removed) };
}

/** A value that is a leaf on one side. Fields that it had before it became a scalar count as removed. */
function leafComparison(before: unknown, after: unknown, type: Type): Comparison {
  if (deepEqual(before, after)) return same;
  const below = formOf(after, type) === 'scalar' ? childrenOf(wholeSetOf(before, type)) : undefined;
  return { changed: leaf, removed: below };
}

const childrenOf = (set: FieldSet): MaybeFieldSet =>
  nodeOf(
    false,
    Object.entries(set).filter(([element]) => element !== '.'),
  );

/** The form of a value of this type; undefined for null, which fits every form. */
function formOf(value: unknown, type: Type): 'map' | 'list' | 'scalar' | undefined {
  if (value === null || value === undefined) return type.map !== undefined ? 'map' : type.list !== undefined ? 'list' : 'scalar';
  if (Array.isArray(value)) return type.list === undefined ? 'scalar' : 'list';
  if (typeof value === 'object') return type.map === undefined ? 'scalar' : 'map';
  return 'scalar';
}

interface Maps {
  readonly before: unknown;
  readonly after: unknown;
  readonly map: MapType;
}

function compareMaps({ before, after, map }: Maps): Comparison {
  const old = isMap(before) ? before : emptyMap;
  const now = isMap(after) ? after : emptyMap;
  if (map.isAtomic || (isEmpty(old) && isEmpty(now))) return deepEqual(before, after) ? same : { changed: leaf, removed: undefined };
  if (old !== emptyMap || !Object.isFrozen(now)) return compareMembers({ before: old, after: now, map });
  // A pod's spec on creation: many pods share it.
  let members = map.memberSets.get(now);
  if (members === undefined) {
    members = { set: compareMembers({ before: old, after: now, map }).changed };
    map.memberSets.set(now, members);
  }
  return { changed: members.set, removed: undefined };
}

function compareMembers({ before, after, map }: { before: JsonMap; after: JsonMap; map: MapType }): Comparison {
  const found: Found = { changed: undefined, removed: undefined };
  for (const name of Object.keys(after)) {
    const now = after[name];
    let old = before[name];
    // Not the first question, since hardly any name is one that objects inherit.
    if (old === now || now === undefined) continue;
    const field = map.fields.get(name);
    if (old === undefined || !Object.hasOwn(before, name)) old = implicitValue(field);
    const type = field?.type ?? map.element;
    if (type !== undefined && field?.isIgnored !== true) add(found, field?.element ?? fieldElement(name), compareValues(old, now, type));
  }
  if (before === emptyMap) return resultOf(found);
  for (const name of Object.keys(before)) {
    if (before[name] === undefined || (after[name] !== undefined && Object.hasOwn(after, name))) continue;
    const field = map.fields.get(name);
    const type = field?.type ?? map.element;
    if (type === undefined || field?.isIgnored === true) continue;
    add(found, field?.element ?? fieldElement(name), compareValues(before[name], implicitValue(field), type));
  }
  return resultOf(found);
}

interface Found {
  changed: [string, FieldSet][] | undefined;
  removed: [string, FieldSet][] | undefined;
}

function add(found: Found, element: string, { changed, removed }: Comparison): void {
  if (changed !== undefined) {
    found.changed ??= [];
    found.changed.push([element, changed]);
  }
  if (removed !== undefined) {
    found.removed ??= [];
    found.removed.push([element, removed]);
  }
}

function resultOf({ changed, removed }: Found): Comparison {
  if (changed === undefined && removed === undefined) return same;
  return {
    changed: changed === undefined ? undefined : nodeOf(false, changed),
    removed: removed === undefined ? undefined : nodeOf(false, removed),
  };
}

function implicitValue(field: Field | undefined): unknown {
  if (field?.implicit === undefined) return undefined;
  return field.implicit === 'struct' ? emptyMap : null;
}

function compareLists({ before, after, list }: { before: unknown; after: unknown; list: ListType }): Comparison {
  const old = Array.isArray(before) ? before : [];
  const now = Array.isArray(after) ? after : [];
  if (list.relation === 'atomic' || (old.length === 0 && now.length === 0)) {
    return deepEqual(before, after) ? same : { changed: leaf, removed: undefined };
  }
  const oldElements = distinctElements(list, old);
  const newElements = distinctElements(list, now);
  if (oldElements !== undefined && newElements !== undefined) {
    return compareDistinct({ before: old, oldElements, after: now, newElements, type: list.element });
  }
  const oldItems = itemsByElement(list, old);
  const newItems = itemsByElement(list, now);
  const found: Found = { changed: undefined, removed: undefined };
  for (const [element, items] of newItems) {
    add(found, element, compareItems({ before: oldItems.get(element) ?? none, after: items, type: list.element }));
  }
  for (const [element, items] of oldItems) {
    if (!newItems.has(element)) add(found, element, compareItems({ before: items, after: none, type: list.element }));
  }
  return resultOf(found);
}

const none: readonly unknown[] = [];
/** Longer lists are indexed. */
const maxScanned = 16;

/** The elements of a short list in which each is there once, as the conditions of a status mostly are. */
function distinctElements(list: ListType, items: readonly unknown[]): readonly string[] | undefined {
  if (items.length > maxScanned) return undefined;
  const elements: string[] = [];
  for (const item of items) {
    const element = tryElementOfItem(list, item);
    if (element === undefined || elements.includes(element)) return undefined;
    elements.push(element);
  }
  return elements;
}

interface DistinctItems {
  readonly before: readonly unknown[];
  readonly oldElements: readonly string[];
  readonly after: readonly unknown[];
  readonly newElements: readonly string[];
  readonly type: Type;
}

function compareDistinct({ before, oldElements, after, newElements, type }: DistinctItems): Comparison {
  const found: Found = { changed: undefined, removed: undefined };
  for (let index = 0; index < newElements.length; index += 1) {
    const element = newElements[index] ?? '';
    // Mostly in the same place.
    const place = oldElements[index] === element ? index : oldElements.indexOf(element);
    add(found, element, compareValues(place < 0 ? undefined : before[place], after[index], type));
  }
  for (let index = 0; index < oldElements.length; index += 1) {
    const element = oldElements[index] ?? '';
    if (newElements[index] !== element && !newElements.includes(element))
      add(found, element, compareValues(before[index], undefined, type));
  }
  return resultOf(found);
}

/** All items with one element: more than one are duplicates, which count as one value. */
function compareItems({ before, after, type }: { before: readonly unknown[]; after: readonly unknown[]; type: Type }): Comparison {
  const [old] = before;
  const [now] = after;
  if (before.length <= 1 && after.length <= 1) return compareValues(old, now, type);
  if (before.length > 1 && after.length > 1) return deepEqual(before, after) ? same : { changed: leaf, removed: undefined };
  if (before.length > 1) return { changed: now === undefined ? undefined : wholeSetOf(now, type), removed: leaf };
  return { changed: leaf, removed: old === undefined ? undefined : wholeSetOf(old, type) };
}

function itemsByElement(list: ListType, items: readonly unknown[]): ReadonlyMap<string, readonly unknown[]> {
  const result = new Map<string, unknown[]>();
  for (const item of items) {
    const element = tryElementOfItem(list, item);
    if (element === undefined) continue;
    const others = result.get(element);
    if (others === undefined) result.set(element, [item]);
    else others.push(item);
  }
  return result;
}

/** Items that cannot be named are owned by nobody; validation refuses them elsewhere. */
function tryElementOfItem(list: ListType, item: unknown): string | undefined {
  try {
    return elementOfItem(list, item);
  } catch (err) {
    if (err instanceof ItemError) return undefined;
    throw err;
  }
}

/** Every field of a value that appears or disappears as a whole, and the value itself. Remembered for frozen values. */
function wholeSetOf(value: unknown, type: Type): FieldSet {
  if (typeof value !== 'object' || value === null) return leaf;
  const known = type.wholeSets.get(value);
  if (known !== undefined) return known;
  const set = Array.isArray(value) ? wholeListOf(value, type.list) : wholeMapOf(value as JsonMap, type.map);
  if (set !== leaf && Object.isFrozen(value)) type.wholeSets.set(value, set);
  return set;
}

function wholeMapOf(value: JsonMap, map: MapType | undefined): FieldSet {
  if (map === undefined || map.isAtomic) return leaf;
  const children: [string, FieldSet][] = [];
  for (const name of Object.keys(value)) {
    const member = value[name];
    const field = map.fields.get(name);
    const type = field?.type ?? map.element;
    if (member === undefined || type === undefined || field?.isIgnored === true) continue;
    children.push([field?.element ?? fieldElement(name), wholeSetOf(member, type)]);
  }
  return nodeOf(true, children) ?? leaf;
}

function wholeListOf(value: readonly unknown[], list: ListType | undefined): FieldSet {
  if (list === undefined || list.relation === 'atomic') return leaf;
  const elements = distinctElements(list, value);
  const children: [string, FieldSet][] = [];
  if (elements !== undefined) {
    for (let index = 0; index < elements.length; index += 1) children.push([elements[index] ?? '', wholeSetOf(value[index], list.element)]);
    return nodeOf(true, children) ?? leaf;
  }
  for (const [element, items] of itemsByElement(list, value)) {
    children.push([element, items.length === 1 ? wholeSetOf(items[0], list.element) : leaf]);
  }
  return nodeOf(true, children) ?? leaf;
}

function isEmpty(map: JsonMap): boolean {
  for (const _ in map) return false;
  return true;
}
