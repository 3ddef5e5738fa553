import { loadSchemas } from '../../../api/schemas.ts';
import { nameOfRef, type Schema, type SchemaSet } from '../../../machinery/schema.ts';
import { assignMember, cloneJson, isMap, type JsonMap, setOwn } from './resource.ts';
import { resolveScalar } from './scalar.ts';
import { spend } from './work.ts';

/**
 * Strategic merge as kustomize does it, which differs from the API server's. Lists are keyed by all of
 * `x-kubernetes-list-map-keys`, and new items go to the front. An item whose merge leaves nothing disappears, and kinds
 * without a schema have their lists replaced.
 *
 * The target is changed in place; the patch is not. Undefined means that the patch deletes the whole object.
 *
 * @throws MergeError for an unknown `$patch` directive and where types of the two differ
 */
export function mergeStrategic(target: JsonMap, patch: JsonMap, schemas?: MergeSchemas): JsonMap | undefined {
  const { set, byKind } = schemas ?? builtInSchemas();
  const merged = new Merger(set).merge(target, cloneJson(patch), byKind.get(kindKey(target)) ?? byKind.get(kindKey(patch)), '');
  return isMap(merged) ? merged : undefined;
}

export class MergeError extends Error {}

const directive = '$patch';

/** Schemas with the keys of list items. */
export interface MergeSchemas {
  readonly set: SchemaSet;
  readonly byKind: ReadonlyMap<string, Schema>;
}

let known: MergeSchemas | undefined;

function builtInSchemas(): MergeSchemas {
  known ??= indexSchemas(loadSchemas());
  return known;
}

function indexSchemas(set: SchemaSet): MergeSchemas {
  const byKind = new Map<string, Schema>();
  for (const schema of Object.values(set)) {
    for (const { group, version, kind } of schema['x-kubernetes-group-version-kind'] ?? []) {
      byKind.set(`${group === '' ? '' : `${group}/`}${version}|${kind}`, schema);
    }
  }
  return { set, byKind };
}

/** The `definitions` of an OpenAPI document. The document is untrusted: malformed parts are ignored. */
export function mergeSchemasIn(document: unknown): MergeSchemas {
  const definitions = isMap(document) && isMap(document.definitions) ? document.definitions : {};
  return indexSchemas(Object.fromEntries(Object.entries(definitions).map(([name, value]) => [name, schemaOf(value)])));
}

function schemaOf(value: unknown): Schema {
  if (!isMap(value)) return {};
  spend(1);
  const text = (key: string): Schema => (typeof value[key] === 'string' ? { [key]: value[key] } : {});
  const below = (key: string): Schema => (isMap(value[key]) ? { [key]: schemaOf(value[key]) } : {});
  const kinds = value['x-kubernetes-group-version-kind'];
  const keys = value['x-kubernetes-list-map-keys'];
  return {
    ...(typeof value.$ref === 'string' ? { $ref: value.$ref.replace('#/definitions/', '#/components/schemas/') } : {}),
    ...text('x-kubernetes-patch-strategy'),
    ...text('x-kubernetes-patch-merge-key'),
    ...below('items'),
    ...below('additionalProperties'),
    ...(isMap(value.properties)
      ? { properties: Object.fromEntries(Object.entries(value.properties).map(([name, property]) => [name, schemaOf(property)])) }
      : {}),
    ...(Array.isArray(keys) ? { 'x-kubernetes-list-map-keys': keys.map(String) } : {}),
    ...(Array.isArray(kinds)
      ? {
          'x-kubernetes-group-version-kind': kinds.filter(isMap).map(({ group = '', version = '', kind = '' }) => ({
            group: String(group),
            version: String(version),
            kind: String(kind),
          })),
        }
      : {}),
  };
}

const kindKey = ({ apiVersion, kind }: JsonMap): string => `${String(apiVersion)}|${String(kind)}`;

function ownSchema(set: SchemaSet, ref: string): Schema | undefined {
  const name = nameOfRef(ref);
  return Object.hasOwn(set, name) ? set[name] : undefined;
}

type List = unknown[];

/** `undefined` is a missing part or, as a result, a part to delete. */
class Merger {
  readonly #set: SchemaSet;

  constructor(set: SchemaSet) {
    this.#set = set;
  }

  /** A reference to a missing definition is ignored. */
  #resolve(schema: Schema): Schema {
    return schema.$ref === undefined ? schema : (ownSchema(this.#set, schema.$ref) ?? {});
  }

  merge(target: unknown, patch: unknown, schema: Schema | undefined, path: string): unknown {
    spend(1);
    const shape = target === undefined || target === null ? patch : target;
    for (const value of [target, patch]) {
      if (value !== undefined && value !== null && shapeOf(value) !== shapeOf(shape)) {
        throw new MergeError(`the patch has a ${shapeOf(patch)} where the object has a ${shapeOf(target)}: ${path || 'the object itself'}`);
      }
    }
    if (Array.isArray(shape)) return this.#mergeList(target as List | undefined | null, patch as List | undefined | null, schema, path);
    if (isMap(shape)) return this.#mergeMap(target as JsonMap | undefined | null, patch as JsonMap | undefined | null, schema, path);
    if (patch === undefined) return target;
    if (patch === null) return undefined;
    // The quotation marks of the object stay around what the patch brings; a text that would mean something else without them has some.
    if (typeof target === 'string' && typeof patch !== 'string' && resolveScalar(target) !== target) return String(patch);
    return patch;
  }

  #mergeMap(target: JsonMap | undefined | null, patch: JsonMap | undefined | null, schema: Schema | undefined, path: string): unknown {
    if (patch === null) return undefined;
    if (patch === undefined) {
      if (isMap(target)) this.#revisit(target, { schema, path });
      return target;
    }
    const order = takeDirective(patch, path);
    if (order === 'delete') return undefined;
    // For a missing part the patch is merged with itself, so that nulls and directives further down take effect.
    const result = order === 'replace' || target === undefined || target === null ? patch : target;
    const resolved = schema === undefined ? undefined : this.#resolve(schema);
    if (result !== patch) this.#revisit(result, { schema, path, except: patch });
    for (const key of Object.keys(patch).sort()) {
      const field = resolved === undefined ? undefined : fieldOf(resolved, key);
      const before = Object.hasOwn(result, key) ? result[key] : undefined;
      const merged = this.merge(before, patch[key], field, path === '' ? key : `${path}.${key}`);
      if (merged === undefined) delete result[key];
      else if (typeof merged === 'object') setOwn(result, key, merged);
      else assignMember(result, key, merged);
    }
    return result;
  }

  /** Parts that a patch does not name stay, but their lists are normalized as well: items with equal keys become one. */
  #revisit(target: JsonMap, { schema, path, except = {} }: { schema: Schema | undefined; path: string; except?: JsonMap }): void {
    if (schema === undefined) return;
    const resolved = this.#resolve(schema);
    for (const [key, value] of Object.entries(target)) {
      if (typeof value !== 'object' || value === null || Object.hasOwn(except, key)) continue;
      const field = fieldOf(resolved, key);
      if (field !== undefined) setOwn(target, key, this.merge(value, undefined, field, `${path}.${key}`));
    }
  }

  #mergeList(target: List | undefined | null, patch: List | undefined | null, schema: Schema | undefined, path: string): unknown {
    const strategy = this.#strategyOf(schema);
    if (patch === null) return undefined;
    if (strategy === undefined) return patch ?? target;
    if (patch === undefined) {
      return target === undefined || target === null || strategy.keys.length === 0 ? target : this.#mergeItems(target, [], strategy, path);
    }
    let result = target;
    let other: List = patch;
    const { order, rest } = takeListDirective(patch, path);
    other = rest;
    if (result !== undefined && result !== null && order === 'delete') return undefined;
    if (result === undefined || result === null || order === 'replace') result = other;
    return strategy.keys.length === 0 ? mergeScalars(result, other) : this.#mergeItems(result, other, strategy, path);
  }

  /** Step by step as kustomize does it: with several keys, items that leave one out fare in their own way. */
  #mergeItems(target: List, patch: List, { keys, items }: Strategy, path: string): List {
    let tuples = tuplesOf([...patch, ...target], keys);
    if (keys.length > 1) tuples = unify(tuples);
    const used = keys.filter((_, index) => tuples.some((tuple) => tuple[index] !== ''));
    const validKeys = used.length === 0 ? keys : used;
    let merged: List = [];
    let left = target;
    for (const tuple of tuples) {
      const values = validKeys.map((key) => tuple[keys.indexOf(key)] ?? '');
      const given = { keys: validKeys.filter((_, index) => values[index] !== ''), values: values.filter((value) => value !== '') };
      const item = this.merge(find(left, given), find(patch, given), items, `${path}[${given.values.join(',')}]`);
      if (isMap(item) && Object.keys(item).length > 0) merged = setItem(merged, item, { keys: validKeys, values });
      else left = setItem(left, undefined, { keys: validKeys, values });
    }
    for (const item of left) {
      if (!isMap(item)) continue;
      const present = validKeys.filter((key) => Object.hasOwn(item, key) && item[key] !== null);
      const match = { keys: validKeys, values: present.map((key) => keyText(item[key])) };
      if (present.length < validKeys.length) merged = [...merged, item];
      if (validKeys.length > 1) merged = setItem(merged, undefined, match);
      merged = setItem(merged, item, match);
    }
    return merged;
  }

  #strategyOf(schema: Schema | undefined): Strategy | undefined {
    if (schema === undefined) return undefined;
    const resolved = this.#resolve(schema);
    const of = <K extends keyof Schema>(key: K): Schema[K] | undefined => schema[key] ?? resolved[key];
    if (!(of('x-kubernetes-patch-strategy') ?? '').split(',').includes('merge')) return undefined;
    const mergeKey = of('x-kubernetes-patch-merge-key');
    const keys = of('x-kubernetes-list-map-keys') ?? (mergeKey === undefined ? [] : [mergeKey]);
    return { keys, items: resolved.items };
  }
}

const fieldOf = ({ properties, additionalProperties }: Schema, key: string): Schema | undefined =>
  properties !== undefined && Object.hasOwn(properties, key) ? properties[key] : additionalProperties;

interface Strategy {
  readonly keys: readonly string[];
  readonly items: Schema | undefined;
}

const shapeOf = (value: unknown): string => (Array.isArray(value) ? 'list' : isMap(value) ? 'map' : 'scalar');

const keyText = (value: unknown): string => (value === undefined || value === null ? '' : String(value));

/** The `$patch` of a map, which is taken out of it. */
function takeDirective(patch: JsonMap, path: string): 'merge' | 'replace' | 'delete' {
  if (!Object.hasOwn(patch, directive)) return 'merge';
  const order = directiveOf(patch[directive], path);
  delete patch[directive];
  return order;
}

/** A list's `$patch` is an item of its own. */
function takeListDirective(patch: List, path: string): { readonly order: 'merge' | 'replace' | 'delete'; readonly rest: List } {
  const item = patch.find((value) => isMap(value) && Object.hasOwn(value, directive)) as JsonMap | undefined;
  if (item === undefined || Object.keys(item).length > 1) return { order: 'merge', rest: patch };
  return { order: directiveOf(item[directive], path), rest: patch.filter((value) => value !== item) };
}

function directiveOf(value: unknown, path: string): 'merge' | 'replace' | 'delete' {
  if (value === 'merge' || value === 'replace' || value === 'delete') return value;
  throw new MergeError(`unknown patch strategy '${String(value)}'${path === '' ? '' : ` at ${path}`}`);
}

function mergeScalars(target: List, patch: List): List {
  if ([...patch, ...target].some((item) => typeof item === 'object' && item !== null)) {
    throw new MergeError('a list that is merged without a merge key has items that are no scalars');
  }
  return [...new Set([...patch, ...target])];
}

/** The values of the keys of each item, those of equal items once. */
function tuplesOf(items: List, keys: readonly string[]): string[][] {
  const seen = new Set<string>();
  const tuples: string[][] = [];
  for (const item of items) {
    const tuple = keys.map((key) => (isMap(item) ? keyText(item[key]) : ''));
    const text = JSON.stringify(tuple);
    if (seen.has(text)) continue;
    seen.add(text);
    tuples.push(tuple);
  }
  return tuples;
}

/** An item that leaves a key out means the item that agrees with it in the others: `containerPort: 80` is `80/TCP`. */
function unify(tuples: string[][]): string[][] {
  spend(tuples.length ** 2);
  const result = [...tuples];
  for (let i = 0; i < result.length; i += 1) {
    for (let j = 0; j < result.length; j += 1) {
      const both = unifyPair(result[i] ?? [], result[j] ?? []);
      if (both === undefined) continue;
      result[i] = both;
      result[j] = both;
    }
  }
  return result;
}

function unifyPair(a: readonly string[], b: readonly string[]): string[] | undefined {
  const both: string[] = [];
  let common = false;
  for (const [index, value] of a.entries()) {
    const other = b[index] ?? '';
    if (value === other) common = true;
    else if (value !== '' && other !== '') return undefined;
    both.push(value === '' ? other : value);
  }
  return common ? both : undefined;
}

interface Match {
  readonly keys: readonly string[];
  readonly values: readonly string[];
}

function find(items: List, { keys, values }: Match): JsonMap | undefined {
  spend(items.length);
  return items.find((item): item is JsonMap => isMap(item) && keys.every((key, index) => keyText(item[key]) === values[index]));
}

/** Puts an item in the place of all that match, or behind the others; without an item what matches goes. */
function setItem(list: List, item: JsonMap | undefined, { keys, values }: Match): List {
  spend(list.length);
  const result: List = [];
  let found = false;
  for (const other of list) {
    if (isMap(other) && Object.keys(other).length === 0) continue;
    if (!isMap(other)) result.push(other);
    else if (values.length === 0 || !keys.every((key, index) => fits(other, key, values[index]))) {
      if (values.length > 0) result.push(other);
    } else {
      found = true;
      if (item !== undefined) result.push(item);
    }
  }
  if (item !== undefined && !found) result.push(item);
  return result;
}

/** An empty value fits any; a key for which no value is given says nothing. */
const fits = (item: JsonMap, key: string, value: string | undefined): boolean =>
  value === undefined || (Object.hasOwn(item, key) && (value === '' || keyText(item[key]) === value));
