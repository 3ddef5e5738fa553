import { goTextOf } from './go-text.ts';
import { resolveSchema, type Schema, type SchemaSet } from './schema.ts';
import { badRequest, StatusError } from './status-error.ts';

export interface StrategicMergePatchOptions {
  readonly object: unknown;
  readonly patch: unknown;
  /** Schema of `object`; lists are merged by its merge keys. */
  readonly schema: Schema;
  /** Targets of the schema's references. */
  readonly set: SchemaSet;
}

type JsonMap = Readonly<Record<string, unknown>>;

const directive = '$patch';
const retainKeys = '$retainKeys';
const deleteFromPrimitiveList = '$deleteFromPrimitiveList/';
const setElementOrder = '$setElementOrder/';

/**
 * Applies a strategic merge patch to the object. Maps are merged and null removes, as in a JSON merge patch. Lists with
 * a merge key in the schema are merged item by item. The directives `$patch`, `$retainKeys`, `$setElementOrder/LIST`
 * and `$deleteFromPrimitiveList/LIST` are supported. New items go to the front of a list unless the patch orders them.
 * Parts without a schema merge like JSON. The inputs stay unchanged, and unpatched parts keep their reference.
 *
 * @throws StatusError 500 when an item lacks the merge key or has an unknown directive, `BadRequest` for a malformed directive, 422 for
 * lists of lists. Texts are those of the real server
 * @see Kubernetes community, "Strategic Merge Patch"; "Preserve order in strategic merge patch"
 */
export function applyStrategicMergePatch({ object, patch, schema, set }: StrategicMergePatchOptions): unknown {
  if (!isMap(patch)) {
    throw badRequest(
      `error decoding patch: json: cannot unmarshal ${Array.isArray(patch) ? 'array' : typeof patch} into Go value of type map[string]interface {}`,
    );
  }
  return new Merger(set).mergeMap(isMap(object) ? object : {}, patch, resolveSchema(set, schema));
}

class Merger {
  readonly #set: SchemaSet;

  constructor(set: SchemaSet) {
    this.#set = set;
  }

  mergeMap(original: JsonMap, patch: JsonMap, schema: Schema | undefined): JsonMap {
    if (Object.hasOwn(patch, directive)) return mapOfDirective(patch);
    const draft = new MapDraft(original);
    if (Object.hasOwn(patch, retainKeys)) dropAllBut(draft, patch);
    const ordered = this.#mergeOrderedLists(draft, patch, schema);
    for (const [key, value] of Object.entries(patch)) {
      if (key === retainKeys || key.startsWith(setElementOrder) || ordered.has(key)) continue;
      if (key.startsWith(deleteFromPrimitiveList)) this.#deleteFromList(draft, key.slice(deleteFromPrimitiveList.length), value);
      else if (value === null) draft.delete(key);
      else this.#mergeMember({ draft, key, value, schema });
    }
    return draft.result;
  }

  #mergeMember({ draft, key, value, schema }: { draft: MapDraft; key: string; value: unknown; schema: Schema | undefined }): void {
    const before = draft.get(key);
    const field = this.#fieldOf(schema, key);
    if (isMap(before) && isMap(value)) {
      const merged = field.strategies.includes('replace') ? withoutDirectives(value) : this.mergeMap(before, value, field.schema);
      draft.set(key, merged);
    } else if (Array.isArray(before) && Array.isArray(value)) {
      draft.set(key, field.strategies.includes('merge') ? this.#mergeList(before, value, field) : withoutDirectives(value));
    } else {
      const after = withoutDirectives(value);
      if (after === undefined) draft.delete(key);
      else draft.set(key, after);
    }
  }

  #deleteFromList(draft: MapDraft, key: string, doomed: unknown): void {
    if (!Array.isArray(doomed)) throw malformed('primitive list');
    const before = draft.get(key);
    if (!Array.isArray(before)) return;
    const kept = before.filter((item) => !doomed.includes(item));
    if (kept.length < before.length) draft.set(key, kept);
  }

  /** Lists with a `$setElementOrder`, merged and put in order. Returns the members of the patch that are dealt with. */
  #mergeOrderedLists(draft: MapDraft, patch: JsonMap, schema: Schema | undefined): ReadonlySet<string> {
    const done = new Set<string>();
    for (const [name, order] of Object.entries(patch)) {
      if (!name.startsWith(setElementOrder)) continue;
      const key = name.slice(setElementOrder.length);
      const before = draft.get(key);
      const items = Object.hasOwn(patch, key) ? patch[key] : undefined;
      if (!Array.isArray(order) || (items !== undefined && items !== null && !Array.isArray(items)))
        throw malformed('setElementOrder list');
      const field = this.#fieldOf(schema, key);
      checkOrder(items ?? [], order, field.mergeKey);
      if (items === null || (before !== undefined && !Array.isArray(before))) continue;
      if (before === undefined && items === undefined) continue;
      let merged: readonly unknown[] = before ?? [];
      if (items !== undefined) {
        const strategic = field.strategies.includes('merge');
        merged = before !== undefined && strategic ? this.#mergeList(before, items, field) : (withoutDirectives(items) as unknown[]);
      }
      draft.set(key, inOrder({ merged, order, before: before ?? [], mergeKey: field.mergeKey }));
      done.add(key);
    }
    return done;
  }

  #mergeList(before: readonly unknown[], patch: readonly unknown[], { mergeKey, items }: Field): readonly unknown[] {
    const [sample] = [...before, ...patch];
    if (sample === undefined) return before;
    for (const item of [...before, ...patch]) {
      if (Array.isArray(item)) throw unprocessable('lists of lists are not supported');
      if (typeof item !== typeof sample || (item === null) !== (sample === null)) {
        throw failed(`list element types are not identical: ${goTextOf([before, patch])}`);
      }
    }
    if (!isMap(sample)) {
      const merged = [...new Set([...before, ...patch])];
      return inOrder({ merged, order: patch, before, mergeKey: undefined });
    }
    if (mergeKey === undefined) throw failed('cannot merge lists without merge key for struct');
    return this.#mergeListOfMaps({ before: before as readonly JsonMap[], patch: patch as readonly JsonMap[], mergeKey, items });
  }

  #mergeListOfMaps({ before, patch, mergeKey, items }: ListOfMaps): readonly JsonMap[] {
    const { kept, plain } = withSpecialItems(before, patch, mergeKey);
    const position = new Map<unknown, number>();
    kept.forEach((item, index) => {
      const key = item[mergeKey];
      if (!position.has(key)) position.set(key, index);
    });
    const merged = [...kept];
    for (const item of plain) {
      const key = keyOfItem(item, mergeKey);
      const at = position.get(key);
      const target = at === undefined ? undefined : merged[at];
      if (at !== undefined && target !== undefined) merged[at] = this.mergeMap(target, item, items);
      else {
        position.set(key, merged.length);
        merged.push(withoutDirectives(item) as JsonMap);
      }
    }
    return inOrder({ merged, order: plain, before, mergeKey }) as readonly JsonMap[];
  }

  #fieldOf(schema: Schema | undefined, key: string): Field {
    const properties = schema?.properties;
    const field = properties !== undefined && Object.hasOwn(properties, key) ? properties[key] : schema?.additionalProperties;
    if (field === undefined) return { schema: undefined, items: undefined, strategies: [], mergeKey: undefined };
    const resolved = resolveSchema(this.#set, field);
    return {
      schema: resolved,
      items: resolved.items === undefined ? undefined : resolveSchema(this.#set, resolved.items),
      strategies: (field['x-kubernetes-patch-strategy'] ?? resolved['x-kubernetes-patch-strategy'] ?? '').split(','),
      mergeKey: field['x-kubernetes-patch-merge-key'] ?? resolved['x-kubernetes-patch-merge-key'],
    };
  }
}

interface Field {
  readonly schema: Schema | undefined;
  readonly items: Schema | undefined;
  readonly strategies: readonly string[];
  readonly mergeKey: string | undefined;
}

interface ListOfMaps {
  readonly before: readonly JsonMap[];
  readonly patch: readonly JsonMap[];
  readonly mergeKey: string;
  readonly items: Schema | undefined;
}

/** `$patch` in a map: `replace` takes the rest of the patch as it is, `delete` leaves nothing. */
function mapOfDirective(patch: JsonMap): JsonMap {
  const { [directive]: kind, ...rest } = patch;
  if (kind === 'replace') return withoutDirectives(rest) as JsonMap;
  if (kind === 'delete') return {};
  throw failed(`unknown patch type: ${goTextOf(kind)} in map: ${goTextOf(patch)}`);
}

function dropAllBut(draft: MapDraft, patch: JsonMap): void {
  const kept = patch[retainKeys];
  if (!Array.isArray(kept)) throw malformed('retainKeys');
  for (const [key, value] of Object.entries(patch)) {
    const isDirective = key === retainKeys || key.startsWith(deleteFromPrimitiveList) || key.startsWith(setElementOrder);
    if (value !== null && !isDirective && !kept.includes(key)) throw malformed('retainKeys');
  }
  for (const key of draft.keys()) if (!kept.includes(key)) draft.delete(key);
}

/** Items of a patch that are directives: what stays of the list, and the items that are to be merged. */
function withSpecialItems(before: readonly JsonMap[], patch: readonly JsonMap[], mergeKey: string) {
  const plain: JsonMap[] = [];
  const deleted = new Set<unknown>();
  let replaces = false;
  for (const item of patch) {
    if (!Object.hasOwn(item, directive)) {
      plain.push(item);
      continue;
    }
    switch (item[directive]) {
      case 'delete':
        deleted.add(keyOfItem(item, mergeKey));
        break;
      case 'replace':
        replaces = true;
        break;
      case 'merge':
        throw failed('merging lists cannot yet be specified in the patch');
      default:
        throw failed(`unknown patch type: ${goTextOf(item[directive])} in map: ${goTextOf(item)}`);
    }
  }
  return { kept: replaces ? [] : before.filter((item) => !deleted.has(item[mergeKey])), plain };
}

/** The items of a patch must be in the order that `$setElementOrder` gives, which may name more. */
function checkOrder(items: readonly unknown[], order: readonly unknown[], mergeKey: string | undefined): void {
  if (items.length === 0 || order.length === 0) return;
  const present = items.filter((item) => !(isMap(item) && Object.hasOwn(item, directive)));
  let next = 0;
  for (const place of order) {
    const item = present[next];
    if (next < present.length && identityOf(item, mergeKey) === identityOf(place, mergeKey)) next += 1;
  }
  if (next < present.length) {
    throw failed(`The order in patch list:\n${goTextOf(items)}\n doesn't match $setElementOrder list:\n${goTextOf(order)}\n`);
  }
}

interface Ordering {
  readonly merged: readonly unknown[];
  /** Wins over the order of `before`. */
  readonly order: readonly unknown[];
  readonly before: readonly unknown[];
  readonly mergeKey: string | undefined;
}

/**
 * Items named in `order` come in that order, others keep theirs. If the old places of two items are comparable, the
 * others come first, else last; new items therefore come first.
 */
function inOrder({ merged, order, before, mergeKey }: Ordering): readonly unknown[] {
  const placeIn = (list: readonly unknown[]): ReadonlyMap<unknown, number> => {
    const places = new Map<unknown, number>();
    list.forEach((item, index) => {
      const identity = identityOf(item, mergeKey);
      if (!places.has(identity)) places.set(identity, index);
    });
    return places;
  };
  const wanted = placeIn(order);
  const old = placeIn(before);
  const place = (places: ReadonlyMap<unknown, number>, item: unknown): number => places.get(identityOf(item, mergeKey)) ?? 0;
  const named = merged.filter((item) => wanted.has(identityOf(item, mergeKey))).sort((a, b) => place(wanted, a) - place(wanted, b));
  const others = merged.filter((item) => !wanted.has(identityOf(item, mergeKey))).sort((a, b) => place(old, a) - place(old, b));
  const result: unknown[] = [];
  let next = 0;
  for (const item of named) {
    const at = old.get(identityOf(item, mergeKey));
    while (at !== undefined && next < others.length && place(old, others[next]) < at) {
      result.push(others[next]);
      next += 1;
    }
    result.push(item);
  }
  result.push(...others.slice(next));
  return result.length === before.length && result.every((item, index) => item === before[index]) ? before : result;
}

/** Identity of list items: the value of the merge key, or the item itself. */
const identityOf = (item: unknown, mergeKey: string | undefined): unknown =>
  mergeKey !== undefined && isMap(item) ? keyOfItem(item, mergeKey) : item;

function keyOfItem(item: JsonMap, mergeKey: string): unknown {
  if (!Object.hasOwn(item, mergeKey)) throw failed(`map: ${goTextOf(item)} does not contain declared merge key: ${mergeKey}`);
  return item[mergeKey];
}

/** A new value without nulls and directives; undefined when it is a directive itself. Lists keep their order. */
function withoutDirectives(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutDirectives).filter((item) => item !== undefined);
  if (!isMap(value)) return value;
  if (Object.hasOwn(value, directive)) return undefined;
  return Object.fromEntries(
    Object.entries(value).flatMap(([key, member]) => {
      if (member === null || isParallelDirective(key)) return [];
      const kept = withoutDirectives(member);
      return kept === undefined ? [] : [[key, kept]];
    }),
  );
}

const isParallelDirective = (key: string): boolean =>
  key === retainKeys || key.startsWith(deleteFromPrimitiveList) || key.startsWith(setElementOrder);

/** A map that is copied at the first change. */
class MapDraft {
  result: JsonMap;
  #copied = false;

  constructor(original: JsonMap) {
    this.result = original;
  }

  get(key: string): unknown {
    return Object.hasOwn(this.result, key) ? this.result[key] : undefined;
  }

  keys(): readonly string[] {
    return Object.keys(this.result);
  }

  set(key: string, value: unknown): void {
    if (Object.hasOwn(this.result, key) && Object.is(this.result[key], value)) return;
    // A computed member is an own one even for the name `__proto__`, which an assignment would not make.
    if (this.#copied && key !== '__proto__') (this.result as Record<string, unknown>)[key] = value;
    else this.result = { ...this.result, [key]: value };
    this.#copied = true;
  }

  delete(key: string): void {
    if (!Object.hasOwn(this.result, key)) return;
    if (!this.#copied) this.result = { ...this.result };
    this.#copied = true;
    delete (this.result as Record<string, unknown>)[key];
  }
}

const isMap = (value: unknown): value is JsonMap => typeof value === 'object' && value !== null && !Array.isArray(value);

const malformed = (of: string) => badRequest(`invalid patch format of ${of}`);
const failed = (message: string) => new StatusError({ code: 500, reason: '', message });
const unprocessable = (why: string) =>
  new StatusError({
    code: 422,
    reason: 'Invalid',
    message: 'the server rejected our request due to an error in our request',
    details: {},
    cause: new Error(why),
  });
