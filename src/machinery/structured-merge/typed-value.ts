import { childOf, elementsOf, type FieldSet, fieldElement, isMember, leaf, type MaybeFieldSet, nodeOf, textOf } from './field-set.ts';
import { elementOfItem, ItemError, isMap, type JsonMap } from './item.ts';
import { type ListType, type MapType, memberType, type Type } from './type.ts';

/**
 * Validates a value before it is applied. Returns one text with a path for each error, in upstream's words: fields
 * without a type, values of another type, items that cannot be distinguished.
 *
 * @param isConfidential  the texts name types in place of values: errors are recorded and shown to more people than may read the object
 */
export function typeErrors(value: unknown, type: Type, isConfidential = false): readonly string[] {
  const shown = (given: unknown): string => (isConfidential ? goTypeOf(given) : String(given));
  if (value === null || value === undefined) return [];
  if (Array.isArray(value)) {
    if (type.list !== undefined) return listErrors(value, type.list, isConfidential);
    return [expectedOf(type, value, shown)];
  }
  if (isMap(value)) {
    if (type.map !== undefined) return mapErrors(value, type.map, isConfidential);
    return [expectedOf(type, value, shown)];
  }
  switch (type.scalar) {
    case undefined:
      return [expectedOf(type, value, shown)];
    case 'untyped':
      return [];
    case 'string':
      if (typeof value === 'string') return [];
      return [`: expected string, got ${isConfidential ? goTypeOf(value) : `&value.valueUnstructured{Value:${String(value)}}`}`];
    case 'numeric':
      return typeof value === 'number' ? [] : [`: expected numeric (int or float), got ${goTypeOf(value)}`];
    case 'boolean':
      return typeof value === 'boolean' ? [] : [`: expected boolean, got &{${shown(value)}}`];
    default:
      return type.scalar satisfies never;
  }
}

function expectedOf(type: Type, value: unknown, shown: (value: unknown) => string): string {
  if (type.map !== undefined) return `: expected map, got &{${shown(value)}}`;
  if (type.list !== undefined) return `: expected list, got &{${shown(value)}}`;
  if (type.scalar === 'numeric') return `: expected numeric (int or float), got ${goTypeOf(value)}`;
  return `: expected ${type.scalar ?? 'nothing'}, got ${goTypeOf(value)}`;
}

const goTypeOf = (value: unknown): string =>
  Array.isArray(value)
    ? '[]interface {}'
    : typeof value === 'object'
      ? 'map[string]interface {}'
      : typeof value === 'boolean'
        ? 'bool'
        : typeof value === 'number'
          ? 'number'
          : 'string';

function mapErrors(value: JsonMap, map: MapType, isConfidential: boolean): readonly string[] {
  const errors: string[] = [];
  for (const [name, member] of Object.entries(value)) {
    if (member === undefined) continue;
    const type = memberType(map, name);
    if (type === undefined) errors.push(`.${name}: field not declared in schema`);
    else for (const error of typeErrors(member, type, isConfidential)) errors.push(`.${name}${error}`);
  }
  return errors;
}

function listErrors(value: readonly unknown[], list: ListType, isConfidential: boolean): readonly string[] {
  const errors: string[] = [];
  const seen = new Set<string>();
  for (const [index, item] of value.entries()) {
    let element = `i:${index}`;
    if (list.relation !== 'atomic') {
      try {
        element = elementOfItem(list, item);
      } catch (err) {
        if (!(err instanceof ItemError)) throw err;
        errors.push(`: element ${index}: ${err.message}`);
        return errors;
      }
      if (seen.has(element)) errors.push(`: duplicate entries for key ${textOf(element)}`);
      seen.add(element);
    }
    for (const error of typeErrors(item, list.element, isConfidential)) errors.push(`${textOf(element)}${error}`);
  }
  return errors;
}

/** The fields that applying this value claims: leaves, items of lists and members of maps, not the structs they are in. */
export function appliedSetOf(value: unknown, type: Type): MaybeFieldSet {
  return isMap(value) && type.map !== undefined ? nodeOf(false, appliedMembers(value, type.map, false)) : undefined;
}

/** The same with the fields that nobody can own: all that is there. */
export function presentSetOf(value: unknown, type: Type): MaybeFieldSet {
  return isMap(value) && type.map !== undefined ? nodeOf(false, appliedMembers(value, type.map, true)) : undefined;
}

function appliedNode(value: unknown, type: Type, isOwnMember: boolean, withIgnored: boolean): MaybeFieldSet {
  if (Array.isArray(value) && type.list !== undefined) {
    if (type.list.relation === 'atomic') return leaf;
    return nodeOf(isOwnMember, appliedItems(value, type.list, withIgnored));
  }
  if (isMap(value) && type.map !== undefined) {
    if (type.map.isAtomic) return leaf;
    return nodeOf(isOwnMember || Object.keys(value).length === 0, appliedMembers(value, type.map, withIgnored));
  }
  return leaf;
}

function appliedMembers(value: JsonMap, map: MapType, withIgnored: boolean): [string, FieldSet][] {
  const children: [string, FieldSet][] = [];
  for (const [name, member] of Object.entries(value)) {
    const field = map.fields.get(name);
    const type = field?.type ?? map.element;
    if (member === undefined || type === undefined || (field?.isIgnored === true && !withIgnored)) continue;
    const child = appliedNode(member, type, field === undefined, withIgnored);
    if (child !== undefined) children.push([field?.element ?? fieldElement(name), child]);
  }
  return children;
}

function appliedItems(items: readonly unknown[], list: ListType, withIgnored: boolean): [string, FieldSet][] {
  const children = new Map<string, FieldSet>();
  for (const item of items) {
    const element = tryElement(list, item);
    if (element === undefined) continue;
    // Duplicates, which only stored objects have, are owned as one.
    children.set(element, children.has(element) ? leaf : (appliedNode(item, list.element, true, withIgnored) ?? leaf));
  }
  return [...children];
}

function tryElement(list: ListType, item: unknown): string | undefined {
  try {
    return elementOfItem(list, item);
  } catch (err) {
    if (err instanceof ItemError) return undefined;
    throw err;
  }
}

/**
 * The value without the members of `set` and what lies below them. Parts that lose nothing keep their reference. Maps and lists that
 * lose everything without being members themselves become null, which still counts as there (`withoutEmptied` takes it away).
 */
export function withoutFields(value: unknown, set: MaybeFieldSet, type: Type): unknown {
  if (set === undefined) return value;
  if (Array.isArray(value) && type.list !== undefined) {
    return type.list.relation === 'atomic' || value.length === 0 ? null : withoutItems(value, set, type.list);
  }
  if (isMap(value) && type.map !== undefined) {
    return type.map.isAtomic || Object.keys(value).length === 0 ? null : withoutMembers(value, set, type.map);
  }
  return value;
}

function withoutMembers(value: JsonMap, set: FieldSet, map: MapType): unknown {
  const kept: [string, unknown][] = [];
  let isChanged = false;
  for (const [name, member] of Object.entries(value)) {
    const below = childOf(set, fieldElement(name));
    const rest = removedWhole(below) ? undefined : withoutFields(member, belowOf(below), memberType(map, name) ?? unknownType);
    if (rest !== member) isChanged = true;
    if (rest !== undefined) kept.push([name, rest]);
  }
  if (!isChanged) return value;
  return kept.length === 0 ? null : Object.fromEntries(kept);
}

function withoutItems(value: readonly unknown[], set: FieldSet, list: ListType): unknown {
  const kept: unknown[] = [];
  let isChanged = false;
  for (const item of value) {
    const element = tryElement(list, item);
    const below = element === undefined ? undefined : childOf(set, element);
    const rest = removedWhole(below) ? undefined : withoutFields(item, belowOf(below), list.element);
    if (rest !== item) isChanged = true;
    if (rest !== undefined) kept.push(rest);
  }
  if (!isChanged) return value;
  return kept.length === 0 ? null : kept;
}

/**
 * Returns `value`, which `withoutFields` made of `original`, without the nulls in the place of emptied maps and lists.
 * Members of `owned` become empty instead, since a manager applies them as empty.
 */
export function withoutEmptied(value: unknown, original: unknown, { owned, type }: { owned: MaybeFieldSet; type: Type }): unknown {
  if (value === original || typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) {
    const untouched = new Set(Array.isArray(original) ? original : []);
    return value.flatMap((item) => {
      if (untouched.has(item)) return [item];
      if (item === null || type.list === undefined) return [];
      const element = tryElement(type.list, item);
      const below = element === undefined ? undefined : childOf(owned, element);
      return [withoutEmptied(item, undefined, { owned: below, type: type.list.element })];
    });
  }
  const before = isMap(original) ? original : {};
  const kept: [string, unknown][] = [];
  for (const [name, member] of Object.entries(value)) {
    const below = childOf(owned, fieldElement(name));
    const memberOf = (type.map === undefined ? undefined : memberType(type.map, name)) ?? unknownType;
    if (member !== null || (Object.hasOwn(before, name) && before[name] === null)) {
      kept.push([name, withoutEmptied(member, before[name], { owned: below, type: memberOf })]);
    } else if (isMember(below)) kept.push([name, memberOf.map === undefined ? [] : {}]);
  }
  return Object.fromEntries(kept);
}

const removedWhole = (node: MaybeFieldSet): boolean => isMember(node);

/** Members below a node; a leaf has none. */
const belowOf = (node: MaybeFieldSet): MaybeFieldSet => (node === leaf ? undefined : node);

const unknownType: Type = { scalar: 'untyped', list: undefined, map: undefined, wholeSets: new WeakMap() };

/** The set with every struct field on the way to a member, which sets leave out: needed before sets are taken apart level by level. */
export function withNamedFields(set: MaybeFieldSet, type: Type): MaybeFieldSet {
  return set === undefined ? undefined : namedNode(set, type, false);
}

function namedNode(node: FieldSet, type: Type | undefined, isOwnMember: boolean): MaybeFieldSet {
  const children: [string, FieldSet][] = [];
  for (const element of elementsOf(node)) {
    const child = node[element];
    if (child === undefined) continue;
    if (child === leaf) {
      children.push([element, leaf]);
      continue;
    }
    const isField = element.startsWith('f:');
    const field = isField ? type?.map?.fields.get(element.slice(2)) : undefined;
    const below = isField ? (field?.type ?? type?.map?.element) : element.startsWith('k:') ? type?.list?.element : undefined;
    const named = namedNode(child, below, field !== undefined || isMember(child));
    if (named !== undefined) children.push([element, named]);
  }
  return nodeOf(isOwnMember, children);
}

/** The set with what is granular in it and atomic in the type owned as a whole. The schema may have changed since it was recorded. */
export function fitTo(set: MaybeFieldSet, type: Type): MaybeFieldSet {
  return set === undefined ? undefined : fittedNode(set, type, false);
}

function fittedNode(node: FieldSet, type: Type | undefined, isOwnMember: boolean): MaybeFieldSet {
  if (node === leaf) return leaf;
  const children: [string, FieldSet][] = [];
  let isChanged = false;
  for (const element of elementsOf(node)) {
    const child = node[element];
    if (child === undefined) continue;
    const isField = element.startsWith('f:');
    const below = isField ? (type?.map?.fields.get(element.slice(2))?.type ?? type?.map?.element) : type?.list?.element;
    const fitted = isAtomic(below) ? leaf : fittedNode(child, below, isMember(child));
    if (fitted !== child) isChanged = true;
    if (fitted !== undefined) children.push([element, fitted]);
  }
  return isChanged ? nodeOf(isOwnMember, children) : node;
}

const isAtomic = (type: Type | undefined): boolean =>
  type !== undefined &&
  type.scalar === undefined &&
  (type.map === undefined ? type.list !== undefined && type.list.relation === 'atomic' : type.map.isAtomic && type.list === undefined);
