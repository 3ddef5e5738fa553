import { BoundedMap } from '../base/bounded-map.ts';
import { goJsonOf } from './go-text.ts';
import { type DynamicObject, deepEqual, type KubeObject, type ManagedFieldsEntry, type ObjectMeta } from './object.ts';
import type { Schema, SchemaSet } from './schema.ts';
import { badRequest, internalError, StatusError } from './status-error.ts';
import { type Comparison, compareObjects } from './structured-merge/compare.ts';
import {
  cut,
  difference,
  type FieldSet,
  fieldSetFrom,
  intersection,
  isSameSet,
  type MaybeFieldSet,
  pathsOf,
  union,
} from './structured-merge/field-set.ts';
import { ItemError, isMap, type JsonMap } from './structured-merge/item.ts';
import { mergeApplied } from './structured-merge/merge.ts';
import { objectTypeOf, type Type } from './structured-merge/type.ts';
import {
  appliedSetOf,
  fitTo,
  presentSetOf,
  typeErrors,
  withNamedFields,
  withoutEmptied,
  withoutFields,
} from './structured-merge/typed-value.ts';

/**
 * A version of a kind beside the one that is written. Objects go over to it and back; neither direction may drop a field that the other
 * version does not know.
 */
export interface OtherVersion {
  readonly schema: Schema;
  /** True for built-in kinds: the real server keeps fields that a manager applied in one version and then leaves out in another. */
  readonly keepsAbandoned: boolean;
  from(written: DynamicObject): DynamicObject;
  back(object: DynamicObject): DynamicObject;
}

/**
 * Keeps the owners of fields (`metadata.managedFields`), on which server-side apply rests. Behaves as upstream's field managers do. An
 * entry is compared in the version that it names. One whose version is gone goes with the next write.
 *
 * @see https://kubernetes.io/docs/reference/using-api/server-side-apply/
 */
interface WriteOptions {
  /** At most 128 characters; empty counts as `unknown`. */
  readonly manager: string;
  /** Version of the write, and of the objects that it is about: `apps/v1`. */
  readonly apiVersion: string;
  /** The kind in another version; undefined for one that is not there. Absent: there is no other. */
  readonly otherVersion?: ((apiVersion: string) => OtherVersion | undefined) | undefined;
  /** RFC 3339, seconds. */
  readonly time: string;
  /** `status`, `scale`, …; undefined for the object itself. */
  readonly subresource?: string | undefined;
  /** Version of the kind. */
  readonly schema: Schema;
  readonly set: SchemaSet;
  /**
   * Fields that are null in a new object, and that have no owner while they are null. In built-in kinds these are all
   * null fields. Upstream compares with an empty object of its own type, whose lists without omitempty are null.
   */
  readonly isNullBlank?: boolean | undefined;
  /** Fields that this way of writing does not reach, in the form of `fieldsV1`: `{ 'f:status': {} }` for the object itself. */
  readonly resetFields?: object | undefined;
}

export interface UpdateOptions<T extends KubeObject> extends WriteOptions {
  /** The stored object; undefined on creation. */
  readonly before: T | undefined;
  readonly after: T;
}

export interface ApplyOptions extends WriteOptions {
  readonly kind: string;
  /** The stored object; undefined when applying creates it. */
  readonly live: DynamicObject | undefined;
  readonly patch: unknown;
  /** Take over fields that others own instead of failing. */
  readonly force: boolean;
}

/** Most entries of operation Update; the oldest beyond it are merged into one. */
const maxUpdateManagers = 10;
const mergedManager = 'ancient-changes';
const beforeFirstApply = 'before-first-apply';
const lastApplied = 'kubectl.kubernetes.io/last-applied-configuration';
const maxAnnotationsSize = 256 * 1024;

interface Managed {
  readonly id: string;
  readonly entry: ManagedFieldsEntry;
  /** The same fields as in the entry, in their shared form. */
  readonly set: MaybeFieldSet;
}

/** Compares objects of one version, and makes them from those of the write. */
interface View {
  readonly type: Type;
  /** Absent for the version of the write itself. */
  readonly other?: OtherVersion;
}

/** The view of each version of the kind; undefined for a version that is not there. */
type Views = (apiVersion: string) => View | undefined;

function viewsOf({ apiVersion: written, otherVersion, set }: WriteOptions, type: Type): Views {
  const own: View = { type };
  return (apiVersion) => {
    if (apiVersion === written) return own;
    const other = otherVersion?.(apiVersion);
    return other === undefined ? undefined : { type: objectTypeOf(set, other.schema), other };
  };
}

const shownIn = ({ other }: View, written: unknown): unknown =>
  other === undefined || !isMap(written) ? written : other.from(written as DynamicObject);

const broughtBack = ({ other }: View, shown: unknown): unknown =>
  other === undefined || !isMap(shown) ? shown : other.back(shown as DynamicObject);

interface Differing {
  readonly before: JsonMap | undefined;
  readonly after: unknown;
  readonly views: Views;
  readonly ignored: MaybeFieldSet;
}

/** Gives the differences in the version that is asked for; compares once for each. */
function differencesOf({ before, after, views, ignored }: Differing): (apiVersion: string) => Comparison {
  const known = new Map<string, Comparison>();
  return (apiVersion) => {
    const same = known.get(apiVersion);
    if (same !== undefined) return same;
    const view = views(apiVersion);
    if (view === undefined) return { changed: undefined, removed: undefined };
    const { changed, removed } = compareObjects(shownIn(view, before), shownIn(view, after), view.type);
    const found = { changed: cut(changed, ignored), removed: cut(removed, ignored) };
    known.set(apiVersion, found);
    return found;
  };
}

/** The fields that an owner loses when the write takes all that differs. */
type Taken = (apiVersion: string) => MaybeFieldSet;

const takenBy =
  (differences: (apiVersion: string) => Comparison): Taken =>
  (apiVersion) => {
    const { changed, removed } = differences(apiVersion);
    return union(changed, removed);
  };

/**
 * Returns `after` with the owners of its fields brought up to date: changes against `before` belong to `manager`. For
 * every write but apply. Parts that are one reference in both objects are skipped. When no field changes its owner,
 * `managedFields` keeps its reference.
 *
 * A client may set `managedFields` itself; `[]` and `[{}]` remove all owners, and the next apply starts new ones.
 * Unreadable entries, and those that come through a subresource, are taken from `before`.
 */
export function updateManagedFields<T extends KubeObject>(options: UpdateOptions<T>): T {
  const { before, after, schema, set, resetFields } = options;
  const type = objectTypeOf(set, schema);
  const views = viewsOf(options, type);
  const managed = ownersOf(options, type, views);
  if (managed.length === 0 && before !== undefined) return withEntries(after, undefined);
  const differences = differencesOf({
    before: (before as JsonMap | undefined) ?? blankOf(after, options),
    after,
    views,
    ignored: fieldSetFrom(resetFields),
  });
  const taken = takenBy(differences);
  const { changed } = differences(options.apiVersion);
  const owners = changed === undefined ? withoutTaken(managed, taken) : capped(withOwner({ managed, taken, changed, options }));
  return withEntries(after, arrayOf(owners, before));
}

function blankOf(object: KubeObject, { isNullBlank }: WriteOptions): JsonMap | undefined {
  if (isNullBlank !== true) return undefined;
  const blank = Object.entries(object).filter(([, value]) => value === null);
  return blank.length === 0 ? undefined : Object.fromEntries(blank);
}

/** The owners that a write starts from, with their sets. */
function ownersOf<T extends KubeObject>({ before, after, subresource }: UpdateOptions<T>, type: Type, views: Views): readonly Managed[] {
  const stored = before?.metadata.managedFields;
  const given = after.metadata.managedFields;
  if (given !== stored && subresource === undefined && Array.isArray(given)) {
    if (given.length === 0 || (given.length === 1 && deepEqual(given[0], {}))) return [];
    const managed = tryDecode(given, type, views);
    // Entries whose fields nobody can read own nothing, and still take the place of those that are stored.
    if (managed !== undefined && managed.length > 0) return managed.filter(({ set }) => set !== undefined);
  }
  return tryDecode(stored, type, views) ?? [];
}

/** Owners by the array of entries they were read from, for each type; entries are shared by many objects. */
const decoded = new WeakMap<Type, WeakMap<readonly ManagedFieldsEntry[], readonly Managed[]>>();

/**
 * Undefined when an entry is not one that the server could have written.
 *
 * @param type  of the write, whose schema changes with those of the other versions
 */
function tryDecode(entries: readonly ManagedFieldsEntry[] | undefined, type: Type, views: Views): readonly Managed[] | undefined {
  if (entries === undefined) return [];
  let known = decoded.get(type);
  if (known === undefined) {
    known = new WeakMap();
    decoded.set(type, known);
  }
  const same = known.get(entries);
  if (same !== undefined) return same;
  const managed: Managed[] = [];
  for (const entry of entries) {
    const { operation, apiVersion, fieldsType, fieldsV1 } = entry;
    if ((operation !== 'Apply' && operation !== 'Update') || !apiVersion || fieldsType !== 'FieldsV1') return undefined;
    if (fieldsV1 !== undefined && !isMap(fieldsV1)) return undefined;
    const view = views(apiVersion);
    if (view === undefined) continue;
    const stored = fieldSetFrom(fieldsV1);
    const set = stored === undefined ? undefined : fitted(stored, view.type);
    // Fields that no longer fit the schema get a new entry. An entry without fields disappears with the next write.
    managed.push(set === undefined || set === stored ? { id: idOf(entry), entry, set } : managedBy(entry, set));
  }
  // A copy has no room for more, which an array that grew keeps.
  if (Object.isFrozen(entries)) known.set(entries, managed.slice());
  return managed;
}

const fittedSets = new WeakMap<Type, WeakMap<object, { readonly set: MaybeFieldSet }>>();

function fitted(set: FieldSet, type: Type): MaybeFieldSet {
  let sets = fittedSets.get(type);
  if (sets === undefined) {
    sets = new WeakMap();
    fittedSets.set(type, sets);
  }
  let known = sets.get(set);
  if (known === undefined) {
    known = { set: fitTo(set, type) };
    sets.set(set, known);
  }
  return known.set;
}

/** The owners that are left once these fields are taken from all of them; the same array when nobody loses any. */
function withoutTaken(managed: readonly Managed[], taken: Taken): readonly Managed[] {
  const left: Managed[] = [];
  let isChanged = false;
  for (const owner of managed) {
    const rest = difference(owner.set, taken(owner.entry.apiVersion ?? ''));
    if (rest === owner.set) {
      left.push(owner);
      continue;
    }
    isChanged = true;
    if (rest !== undefined) left.push(managedBy(owner.entry, rest));
  }
  return isChanged ? left : managed;
}

interface Change {
  readonly managed: readonly Managed[];
  readonly taken: Taken;
  readonly changed: FieldSet;
  readonly options: WriteOptions;
}

/** The owners once the fields are taken from all others and those that changed added to what the writing manager owns by updates. */
function withOwner({ managed, taken, changed, options }: Change): readonly Managed[] {
  const { manager, apiVersion, time, subresource } = options;
  const owner: Owner = { manager: manager === '' ? 'unknown' : manager, operation: 'Update', apiVersion, time, subresource };
  const id = idOf(owner);
  const previous = managed.find((candidate) => candidate.id === id);
  const others = previous === undefined ? managed : managed.filter((candidate) => candidate !== previous);
  const set = union(difference(previous?.set, taken(apiVersion)), changed) ?? changed;
  const isSame = previous !== undefined && previous.set === set && previous.entry.time === time;
  return [...withoutTaken(others, taken), isSame ? previous : managedBy(owner, set, id)];
}

interface Owner {
  readonly manager?: string | undefined;
  readonly operation?: 'Apply' | 'Update' | undefined;
  readonly apiVersion?: string | undefined;
  readonly time?: string | undefined;
  readonly subresource?: string | undefined;
}

/** The latest entry of each owner: objects written in one second by one manager share it. */
const maxRecentEntries = 1_000;
const recentEntries = new BoundedMap<string, ManagedFieldsEntry>(maxRecentEntries);

function managedBy(owner: Owner, set: FieldSet, id = idOf(owner)): Managed {
  const recent = recentEntries.get(id);
  if (recent !== undefined && recent.fieldsV1 === set && recent.time === owner.time && recent.apiVersion === owner.apiVersion) {
    return { id, entry: recent, set };
  }
  const entry = entryOf(owner, set);
  recentEntries.set(id, entry);
  return { id, entry, set };
}

/** In the order of fields that the wire has. */
function entryOf({ manager, operation, apiVersion, time, subresource }: Owner, set: FieldSet): ManagedFieldsEntry {
  const entry: { -readonly [K in keyof ManagedFieldsEntry]: ManagedFieldsEntry[K] } = {};
  if (manager !== undefined) entry.manager = manager;
  if (operation !== undefined) entry.operation = operation;
  if (apiVersion !== undefined) entry.apiVersion = apiVersion;
  if (time !== undefined) entry.time = time;
  entry.fieldsType = 'FieldsV1';
  entry.fieldsV1 = set;
  if (subresource !== undefined) entry.subresource = subresource;
  return Object.freeze(entry);
}

/** Entries with the same id are one owner. An applier is the same in every version. */
const idOf = ({ manager = '', operation, apiVersion, subresource = '' }: Owner): string =>
  `${manager}\n${operation}\n${operation === 'Apply' ? '' : apiVersion}\n${subresource}`;

function capped(managed: readonly Managed[]): readonly Managed[] {
  const updaters = managed.filter(({ entry }) => entry.operation === 'Update');
  let excess = updaters.length - maxUpdateManagers;
  if (excess <= 0) return managed;
  const oldest = [...updaters].sort((a, b) => compareTimes(a.entry, b.entry) || compareText(a.id, b.id));
  const gone = new Set<Managed>();
  const buckets = new Map<string, Managed>();
  const firsts = new Map<string, Managed>();
  for (const owner of oldest) {
    if (excess <= 0) break;
    const version = owner.entry.apiVersion ?? '';
    const first = firsts.get(version);
    if (first === undefined) {
      firsts.set(version, owner);
      continue;
    }
    const bucket = buckets.get(version) ?? first;
    gone.add(first);
    gone.add(owner);
    const bucketOwner: Owner = { manager: mergedManager, operation: 'Update', apiVersion: version, time: owner.entry.time };
    const set = union(bucket.set, owner.set);
    if (set !== undefined) buckets.set(version, managedBy(bucketOwner, set));
    excess -= 1;
  }
  return [...managed.filter((owner) => !gone.has(owner)), ...buckets.values()];
}

/** `2026-01-01T00:00:00Z`, the form the server writes, is in the order of its text. */
const ownTimeLength = 20;

function compareTimes({ time: a }: ManagedFieldsEntry, { time: b }: ManagedFieldsEntry): number {
  if (a === b) return 0;
  if (a?.length === ownTimeLength && b?.length === ownTimeLength) return compareText(a, b);
  return secondsOf(a) - secondsOf(b);
}

const secondsOf = (time: string | undefined): number => (time === undefined ? 0 : Math.floor(Date.parse(time) / 1_000));

/** The latest array that ends with an entry of a manager, shared like the entries. */
const recentArrays = new BoundedMap<string | undefined, readonly ManagedFieldsEntry[]>(maxRecentEntries);

/** The entries as they are stored, in upstream's order; the stored array itself when it says the same. */
function arrayOf(managed: readonly Managed[], before: KubeObject | undefined): readonly ManagedFieldsEntry[] | undefined {
  const entries = managed.map(({ entry }) => entry);
  if (entries.length > 1) entries.sort(compareEntries);
  const last = entries[entries.length - 1];
  if (last === undefined) return undefined;
  const stored = before?.metadata.managedFields;
  if (stored !== undefined && isSameList(entries, stored)) return stored;
  const recent = recentArrays.get(last.manager);
  if (recent !== undefined && isSameList(entries, recent)) return recent;
  recentArrays.set(last.manager, Object.freeze(entries));
  return entries;
}

function isSameList(a: readonly ManagedFieldsEntry[], b: readonly ManagedFieldsEntry[]): boolean {
  if (a.length !== b.length) return false;
  for (let index = 0; index < a.length; index += 1) if (a[index] !== b[index]) return false;
  return true;
}

function compareEntries(a: ManagedFieldsEntry, b: ManagedFieldsEntry): number {
  return (
    compareText(a.operation, b.operation) ||
    compareTimes(a, b) ||
    compareText(a.manager, b.manager) ||
    compareText(a.apiVersion, b.apiVersion) ||
    compareText(a.subresource, b.subresource)
  );
}

function compareText(a = '', b = ''): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function withEntries<T extends KubeObject>(object: T, entries: readonly ManagedFieldsEntry[] | undefined): T {
  if (object.metadata.managedFields === entries) return object;
  if (entries !== undefined) return { ...object, metadata: { ...object.metadata, managedFields: entries } };
  const { managedFields: _, ...metadata } = object.metadata;
  return { ...object, metadata };
}

/**
 * Server-side apply. Sets the fields of `patch` in `live`. Removes the fields that `manager` applied the last time,
 * omits now and shares with no other manager. Returns `live` itself when neither a field nor an owner changes.
 *
 * Callers do defaults, validation and `resetFields`; they may check `patch` against the URL before.
 *
 * @throws StatusError `Conflict` with a cause for each field that another manager owns with another value, unless `force`. `BadRequest` for
 * another kind or given managedFields, 500 when the patch does not fit the schema
 */
export function applyPatch(options: ApplyOptions): DynamicObject {
  const { live, patch, apiVersion, kind, schema, set, resetFields } = options;
  const type = objectTypeOf(set, schema);
  const ignored = fieldSetFrom(resetFields);
  const config = checkedPatch(patch, { apiVersion, kind }, type);
  const reachable = withoutFields(config, ignored, type);
  const views = viewsOf(options, type);
  const managed = appliersBase(options, { type, views, ignored });
  const state: ApplyState = { options, type, views, ignored, managed, config: isMap(reachable) ? reachable : {} };
  try {
    const result = options.manager === 'kubectl' ? appliedByKubectl(state) : applied(state, options.force);
    return live !== undefined && isUnchanged(live, result) ? live : result;
  } catch (err) {
    if (err instanceof ItemError) throw internalError(`failed to merge config: ${err.message}`, err);
    throw err;
  }
}

interface ApplyState {
  readonly options: ApplyOptions;
  readonly type: Type;
  readonly views: Views;
  readonly ignored: MaybeFieldSet;
  readonly managed: readonly Managed[];
  readonly config: JsonMap;
}

function checkedPatch(patch: unknown, { apiVersion, kind }: { readonly apiVersion: string; readonly kind: string }, type: Type): JsonMap {
  if (!isMap(patch)) throw badRequest('invalid object type: /, Kind=');
  if (patch.apiVersion !== apiVersion || patch.kind !== kind) {
    throw badRequest(`invalid object type: ${kindText(textOr(patch.apiVersion), textOr(patch.kind))}`);
  }
  const metadata = isMap(patch.metadata) ? patch.metadata : {};
  if (metadata.managedFields !== undefined && metadata.managedFields !== null) throw badRequest('metadata.managedFields must be nil');
  const errors = typeErrors(patch, type, apiVersion === 'v1' && kind === 'Secret');
  if (errors.length > 0) {
    const [first = ''] = errors;
    const texts = errors.length === 1 ? first.replace(/^: /, '') : `errors:${errors.map((error) => `\n  ${error}`).join('')}`;
    const name = `${textOr(metadata.namespace)}/${textOr(metadata.name)}; ${kindText(apiVersion, kind)}`;
    throw new StatusError({ code: 500, reason: '', message: `failed to create typed patch object (${name}): ${texts}` });
  }
  return patch;
}

const textOr = (value: unknown): string => (typeof value === 'string' ? value : '');

/** As Go prints a GroupVersionKind. */
function kindText(apiVersion: string, kind: string): string {
  return `${apiVersion.includes('/') ? apiVersion : `/${apiVersion}`}, Kind=${kind}`;
}

/**
 * The owners before the apply. An object without owners gets one for all of its fields, so that the first applier can
 * conflict with it.
 */
function appliersBase(
  { live, ...options }: ApplyOptions,
  { type, views, ignored }: Pick<ApplyState, 'type' | 'views' | 'ignored'>,
): readonly Managed[] {
  if (live === undefined) return [];
  const managed = tryDecode(live.metadata.managedFields, type, views);
  if (managed === undefined) throw internalError('failed to decode managed fields');
  if (managed.length > 0) return managed;
  const changed = cut(compareObjects(blankOf(live, options), live, type).changed, ignored);
  return changed === undefined
    ? []
    : withOwner({ managed: [], taken: () => undefined, changed, options: { ...options, manager: beforeFirstApply } });
}

function applied(state: ApplyState, force: boolean): DynamicObject {
  const { options, type, views, ignored, managed, config } = state;
  const { live, manager, apiVersion, subresource, time } = options;
  const owner: Owner = { manager, operation: 'Apply', apiVersion, time: undefined, subresource };
  const id = idOf(owner);
  const last = managed.find((candidate) => candidate.id === id);
  const others = managed.filter((other) => other !== last);
  const own = cut(appliedSetOf(config, type), ignored);
  const merged = mergeApplied(live ?? {}, config, type);
  // With the fields nobody can own, so that what they are in is not taken for abandoned.
  const named = cut(presentSetOf(config, type), ignored);
  const owned = new Map([[apiVersion, named]]);
  for (const { entry, set } of others) owned.set(entry.apiVersion ?? '', union(owned.get(entry.apiVersion ?? ''), set));
  const next = pruned({ merged, last, owned, views });
  const differences = differencesOf({ before: live, after: next, views, ignored });
  if (!force) checkConflicts(others, differences);
  const kept = withoutTaken(others, takenBy(differences));
  const result = withoutEmptied(next, merged, { owned: owned.get(apiVersion), type });
  const isNew = live === undefined || !isSameBut(live, result);
  const when = isNew ? time : last?.entry.time;
  const isKept = last !== undefined && when === last.entry.time && apiVersion === last.entry.apiVersion && isSameSet(own, last.set);
  const owners = own === undefined ? kept : [...kept, isKept ? last : managedBy({ ...owner, time: when }, own)];
  // A patch for an object that is not there may have no metadata.
  const whole = { ...(result as DynamicObject), metadata: (result as DynamicObject).metadata ?? {} };
  return withEntries(live === undefined ? whole : (result as DynamicObject), arrayOf(owners, live));
}

/** True when two objects are equal except for their owners. */
function isSameBut(live: JsonMap, next: unknown): boolean {
  if (live === next) return true;
  if (!isMap(next)) return false;
  const bare = (object: JsonMap): JsonMap => {
    const { managedFields: _, ...metadata } = object.metadata as ObjectMeta;
    return { ...object, metadata };
  };
  return deepEqual(bare(live), bare(next));
}

const isUnchanged = (live: DynamicObject, result: DynamicObject): boolean =>
  live === result || (isSameBut(live, result) && deepEqual(live.metadata.managedFields, result.metadata.managedFields));

interface Pruning {
  readonly merged: unknown;
  readonly last: Managed | undefined;
  /** By all appliers and updaters, with what is applied now; by version. */
  readonly owned: ReadonlyMap<string, MaybeFieldSet>;
  readonly views: Views;
}

/** The merged object without what was applied the last time, is not now, and is owned by nobody. */
function pruned({ merged, last, owned, views }: Pruning): unknown {
  const lastVersion = last?.entry.apiVersion ?? '';
  const view = views(lastVersion);
  if (last?.set === undefined || view === undefined || view.other?.keepsAbandoned === true) return merged;
  const { type } = view;
  const shown = shownIn(view, merged);
  const whole = withNamedFields(presentSetOf(shown, type), type);
  const named = withNamedFields(last.set, type);
  // Fields of other owners come back, together with their parents.
  let backed = withOwned({ whole: shown, bare: withoutFields(shown, named, type), owned: owned.get(lastVersion), type });
  for (const [version, set] of owned) {
    const other = version === lastVersion || set === undefined ? undefined : views(version);
    if (other === undefined) continue;
    const bare = shownIn(other, broughtBack(view, backed));
    const there = withOwned({ whole: shownIn(other, merged), bare, owned: set, type: other.type });
    backed = shownIn(view, broughtBack(other, there));
  }
  // So does what fell with its container and was never applied by this manager.
  const gone = intersection(difference(whole, withNamedFields(presentSetOf(backed, type), type)), named);
  return gone === undefined ? merged : broughtBack(view, withoutFields(shown, gone, type));
}

interface Backing {
  readonly whole: unknown;
  readonly bare: unknown;
  readonly owned: MaybeFieldSet;
  readonly type: Type;
}

/** Returns the part of `whole` that `bare` has, with the owned fields in it. */
function withOwned({ whole, bare, owned, type }: Backing): unknown {
  const all = withNamedFields(presentSetOf(whole, type), type);
  const kept = union(withNamedFields(presentSetOf(bare, type), type), withNamedFields(owned, type));
  return withoutFields(whole, difference(all, kept), type);
}

interface Conflict {
  readonly owner: ManagedFieldsEntry;
  readonly path: string;
}

class ConflictError extends StatusError {
  readonly set: MaybeFieldSet;
  readonly conflicts: readonly Conflict[];

  constructor(conflicts: readonly Conflict[], set: MaybeFieldSet) {
    super({
      code: 409,
      reason: 'Conflict',
      message: conflictMessage(conflicts),
      details: {
        causes: conflicts.map(({ owner, path }) => ({
          reason: 'FieldManagerConflict',
          message: `conflict with ${managerText(owner)}`,
          field: path,
        })),
      },
    });
    this.set = set;
    this.conflicts = conflicts;
  }
}

function checkConflicts(others: readonly Managed[], differences: (apiVersion: string) => Comparison): void {
  const conflicting = others
    .map(({ id, entry, set }) => ({ id, entry, set: intersection(set, differences(entry.apiVersion ?? '').changed) }))
    .filter(({ set }) => set !== undefined)
    .sort((a, b) => compareText(a.id, b.id));
  if (conflicting.length === 0) return;
  throw new ConflictError(
    conflicting.flatMap(({ entry, set }) => pathsOf(set).map((path) => ({ owner: entry, path }))),
    conflicting.reduce<MaybeFieldSet>((all, { set }) => union(all, set), undefined),
  );
}

function conflictMessage(conflicts: readonly Conflict[]): string {
  const [first] = conflicts;
  if (first !== undefined && conflicts.length === 1) {
    return `Apply failed with 1 conflict: conflict with ${managerText(first.owner)}: ${first.path}`;
  }
  const lines: string[] = [];
  let owner: ManagedFieldsEntry | undefined;
  for (const conflict of conflicts) {
    if (conflict.owner !== owner) lines.push(`conflicts with ${managerText(conflict.owner)}:`);
    owner = conflict.owner;
    lines.push(`- ${conflict.path}`);
  }
  return `Apply failed with ${conflicts.length} conflicts: ${lines.join('\n')}`;
}

function managerText({ manager = '', operation, apiVersion, subresource }: ManagedFieldsEntry): string {
  const name = `${JSON.stringify(manager)}${subresource === undefined ? '' : ` with subresource ${JSON.stringify(subresource)}`}`;
  return operation === 'Update' ? `${name} using ${apiVersion}` : name;
}

/**
 * `kubectl apply --server-side` on an object that `kubectl apply` made: fields that the old annotation tells of are no conflicts. The
 * annotation is kept up to date, so that going back works too.
 */
function appliedByKubectl(state: ApplyState): DynamicObject {
  let result: DynamicObject;
  try {
    result = applied(state, state.options.force);
  } catch (err) {
    if (!(err instanceof ConflictError)) throw err;
    const allowed = setOfLastApplied(state);
    if (allowed === undefined) throw err;
    const paths = new Set(pathsOf(difference(err.set, allowed)));
    if (paths.size > 0)
      throw new ConflictError(
        err.conflicts.filter(({ path }) => paths.has(path)),
        difference(err.set, allowed),
      );
    result = applied(state, true);
  }
  const { annotations = {} } = result.metadata;
  if (!annotations[lastApplied]) return result;
  const text = `${goJsonOf(withoutLastApplied(state.config))}\n`;
  if (text === annotations[lastApplied]) return result;
  const { [lastApplied]: _, ...rest } = annotations;
  const next = { ...rest, [lastApplied]: text };
  const size = Object.entries(next).reduce((sum, [name, value]) => sum + name.length + value.length, 0);
  return { ...result, metadata: { ...result.metadata, annotations: size > maxAnnotationsSize ? rest : next } };
}

function withoutLastApplied(config: JsonMap): JsonMap {
  const { metadata } = config;
  if (!isMap(metadata) || !isMap(metadata.annotations)) return config;
  const { [lastApplied]: _, ...annotations } = metadata.annotations;
  return { ...config, metadata: { ...metadata, annotations } };
}

/** The fields that the annotation of client-side apply names and that still have its values. */
function setOfLastApplied({ options: { live, apiVersion }, type }: ApplyState): MaybeFieldSet {
  const text = live?.metadata.annotations?.[lastApplied];
  if (!text) return undefined;
  let config: unknown;
  try {
    config = JSON.parse(text);
  } catch {
    // Anyone can write the annotation; one that is no object allows nothing.
    return undefined;
  }
  if (!isMap(config) || config.apiVersion !== apiVersion || typeErrors(config, type).length > 0) return undefined;
  const { changed, removed } = compareObjects(config, live, type);
  return difference(difference(appliedSetOf(config, type), changed), removed);
}
