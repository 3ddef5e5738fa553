import type { InventoryEntry } from '../../../api/kustomize/v1/kustomization.ts';
import { type DynamicObject, deepEqual, type ObjectRef } from '../../../machinery/object.ts';
import type { Resource } from '../../../machinery/resource.ts';
import type { FieldSet } from '../../../machinery/structured-merge/field-set.ts';
import type { FieldTree } from '../objects/fields.ts';
import { inventoryEntriesOf, type ObjectId } from '../objects/object-id.ts';
import type { DesiredObject, Plan } from '../plan/plan.ts';
import type { ObjectNotes } from './drifts.ts';

/** An object that is in force: what was sent, and what we owned of it right after. */
export interface AppliedObject {
  readonly desired: DesiredObject;
  readonly ownFields: FieldTree | undefined;
  readonly uid: string | undefined;
  /** Version of our own write. */
  readonly resourceVersion: number;
  /** It was not written: its annotations say that it is left alone for now, or that it is only to be there. */
  readonly skipped?: 'suspended' | 'exists';
  /** Fields of others that the server did not let go when they were taken over: they stay until Git changes the object. */
  readonly refused?: FieldSet;
  /** A later write was not answered with success: the server may hold what that one said, and its event is one of our own. */
  readonly inDoubt?: true;
}

/** An object of the inventory that the newest revision no longer names. */
export interface DoomedObject {
  readonly version: string;
  readonly uid: string | undefined;
  /** Known once discovery was asked. */
  readonly resource?: Resource<DynamicObject>;
  readonly ref?: ObjectRef;
}

/** Results of the hooks of one digest: a hook runs once for each. */
export interface HookRecord {
  readonly digest: string;
  /** Nothing of them is left to run. */
  readonly complete: boolean;
  /** `PHASE id` */
  readonly succeeded: ReadonlySet<string>;
  /** Succeeded, and to be deleted once that is written down. */
  readonly cleaning: ReadonlyMap<ObjectId, { readonly hook: DesiredObject; readonly live: DynamicObject }>;
}

/** The newest revision at which an app was healthy; where an automatic revert goes. */
export interface HealthyRevision {
  readonly sha: string;
  readonly digest: string;
}

/** The write-ahead inventory as its Secret has it. */
export interface InventoryRecord {
  readonly revision: string;
  readonly entries: readonly {
    readonly id: ObjectId;
    readonly v: string;
    readonly uid?: string;
    readonly state: 'pending' | 'applied' | 'pruning';
    /** `ObjectNotes.leftOver`: only the apply that took the fields out of Git could tell. */
    readonly leftOver?: ObjectNotes['leftOver'];
  }[];
  readonly hooks?: { readonly digest: string; readonly complete: boolean; readonly succeeded: readonly string[] };
  readonly healthy?: HealthyRevision;
  readonly autoReverted?: string;
}

/**
 * The objects that an app owns, has sent or is to delete, and the hooks that it ran. The inventory Secret is made of this record
 * alone. An object leaves it only when it is gone or another app's.
 */
export interface Ownership {
  /** False until the inventory was read after a start. */
  readonly isLoaded: boolean;
  readonly applied: ReadonlyMap<ObjectId, AppliedObject>;
  readonly doomed: ReadonlyMap<ObjectId, DoomedObject>;
  /** Objects that were to be applied and of which no answer came that they are: they may still be there. */
  readonly pending: ReadonlyMap<ObjectId, DesiredObject>;
  /** Objects that the inventory lists because a hook made them. */
  readonly hookObjects: ReadonlyMap<ObjectId, DesiredObject>;
  readonly hooks: HookRecord;
  readonly healthy: HealthyRevision | undefined;
  /** The revision that was reverted by itself, which is done once for each. */
  readonly autoReverted: string;
  /** The inventory Secret may not hold what this record says. */
  readonly isDirty: boolean;
  /** Digest of what the inventory Secret holds; empty when that is not known. */
  readonly written: string;
  /** True while the apply of the object is under way: its events are our own writes. */
  isWriting(id: ObjectId): boolean;
  /** The inventory as the status has it. When `written`, of the status, is equal, that is given back: the next comparison is free. */
  entriesFor(written: readonly InventoryEntry[] | undefined): readonly InventoryEntry[];

  /** Takes over what an earlier process wrote: all objects are doomed until a revision names them. */
  load(record: Omit<InventoryRecord, 'revision' | 'entries'>, entries: Iterable<readonly [ObjectId, DoomedObject]>): void;
  /** The inventory Secret is about to hold something else, and holds `digest` once that is answered. */
  wrote(digest: string): void;
  /** The Secret is up to date, but for what a sync intends. */
  settle(left: { readonly isDirty: boolean }): void;
  /** Objects came to the app or left it. */
  touch(): void;

  /** Dooms what a plan does not name. An object that it names again and that is applied is not doomed any more. */
  compare(plan: Pick<Plan, 'objects' | 'hooks'>): void;
  /** Before the first write: whatever happens from here on, every object of the plan is known to be the app's. */
  intend(plan: Pick<Plan, 'objects' | 'hooks'>): void;
  /** A whole plan is in force: the doomed objects do not count as applied, and manifests that only moved are taken over. */
  complete(plan: Pick<Plan, 'objects'>): void;
  beginWrite(id: ObjectId): void;
  endWrite(id: ObjectId): void;
  /** The server has the object. */
  apply(id: ObjectId, applied: AppliedObject): void;
  /** Notes more of an object that is applied. */
  amend(id: ObjectId, change: Partial<AppliedObject>): void;
  /** An object that was made a moment ago is deleted again, and may take a moment to go. */
  unmake(id: ObjectId, desired: DesiredObject): void;
  /** Dooms everything: the app goes, or has to be compared as a whole. */
  doomAll(options: { readonly except: ObjectId | undefined }): void;
  /** Notes more of an object that is to go. */
  locate(id: ObjectId, doomed: DoomedObject): void;
  /** The object stays where it is and is not doomed. */
  spare(id: ObjectId): void;
  /** The object is gone or another app's. */
  forget(id: ObjectId): void;

  /** Begins the hooks of a digest, unless they have begun. */
  beginHooks(digest: string): void;
  succeed(hook: {
    readonly id: ObjectId;
    readonly name: string;
    readonly clean: { hook: DesiredObject; live: DynamicObject } | undefined;
  }): void;
  cleaned(id: ObjectId): void;
  completeHooks(digest: string): void;

  rememberHealthy(revision: HealthyRevision): void;
  rememberReverted(sha: string): void;
}

const noHooks: HookRecord = { digest: '', complete: false, succeeded: new Set(), cleaning: new Map() };

export function createOwnership(): Ownership {
  const applied = new Map<ObjectId, AppliedObject>();
  const doomed = new Map<ObjectId, DoomedObject>();
  const pending = new Map<ObjectId, DesiredObject>();
  const hookObjects = new Map<ObjectId, DesiredObject>();
  const writing = new Set<ObjectId>();
  let hooks = noHooks;
  let isLoaded = false;
  let healthy: HealthyRevision | undefined;
  let autoReverted = '';
  let isDirty = true;
  let written = '';
  let entries: readonly InventoryEntry[] | undefined;

  const touch = (): void => {
    isDirty = true;
    entries = undefined;
  };
  const doom = (id: ObjectId, { resource, ref }: DesiredObject, uid: string | undefined): void => {
    doomed.set(id, { version: resource.version, uid, resource, ref });
  };

  return {
    applied,
    doomed,
    pending,
    hookObjects,
    get isLoaded() {
      return isLoaded;
    },
    get hooks() {
      return hooks;
    },
    get healthy() {
      return healthy;
    },
    get autoReverted() {
      return autoReverted;
    },
    get isDirty() {
      return isDirty;
    },
    get written() {
      return written;
    },
    isWriting: (id) => writing.has(id),
    entriesFor(inStatus) {
      if (entries === undefined) {
        const versions = new Map<ObjectId, { readonly version: string }>(doomed);
        for (const [id, { resource }] of [...pending, ...hookObjects]) versions.set(id, resource);
        for (const [id, { desired }] of applied) versions.set(id, desired.resource);
        entries = inventoryEntriesOf(versions);
      }
      if (inStatus !== undefined && inStatus !== entries && deepEqual(inStatus, entries)) entries = inStatus;
      return entries;
    },

    load(record, known) {
      for (const [id, each] of known) if (!applied.has(id)) doomed.set(id, each);
      if (record.hooks !== undefined) hooks = { ...record.hooks, succeeded: new Set(record.hooks.succeeded), cleaning: new Map() };
      healthy = record.healthy;
      autoReverted = record.autoReverted ?? '';
      touch();
      isLoaded = true;
    },
    wrote(digest) {
      written = digest;
    },
    settle(left) {
      isDirty = left.isDirty;
    },
    touch,

    compare(plan) {
      const isNamed = (id: ObjectId): boolean => plan.objects.has(id) || plan.hooks.has(id);
      for (const [id, desired] of [...hookObjects, ...pending]) if (!isNamed(id)) doom(id, desired, undefined);
      for (const [id, { desired, uid }] of applied) if (!isNamed(id)) doom(id, desired, uid);
      // Until the inventory intends an object that is not applied, the note that it is doomed is the only one.
      for (const id of doomed.keys()) if (isNamed(id) && applied.has(id)) doomed.delete(id);
    },
    intend(plan) {
      for (const [id, desired] of plan.objects) if (!applied.has(id)) pending.set(id, desired);
      for (const [id, hook] of plan.hooks) hookObjects.set(id, hook);
      for (const id of doomed.keys()) if (plan.objects.has(id) || plan.hooks.has(id)) doomed.delete(id);
    },
    complete(plan) {
      for (const id of doomed.keys()) {
        applied.delete(id);
        hookObjects.delete(id);
        pending.delete(id);
      }
      for (const [id, desired] of plan.objects) {
        const known = applied.get(id);
        if (known !== undefined && known.desired !== desired) applied.set(id, { ...known, desired });
      }
    },
    beginWrite: (id) => void writing.add(id),
    endWrite: (id) => void writing.delete(id),
    apply(id, object) {
      applied.set(id, object);
      pending.delete(id);
    },
    amend(id, change) {
      const known = applied.get(id);
      if (known !== undefined) applied.set(id, { ...known, ...change });
    },
    unmake(id, desired) {
      applied.delete(id);
      pending.set(id, desired);
      touch();
    },
    doomAll({ except }) {
      for (const [id, { desired, uid }] of applied) doom(id, desired, uid);
      for (const [id, desired] of [...pending, ...hookObjects]) if (!doomed.has(id)) doom(id, desired, undefined);
      for (const map of [pending, hookObjects, applied]) map.clear();
      if (except !== undefined) doomed.delete(except);
      touch();
    },
    locate(id, object) {
      doomed.set(id, object);
    },
    spare(id) {
      doomed.delete(id);
      touch();
    },
    forget(id) {
      for (const map of [doomed, applied, pending, hookObjects]) map.delete(id);
      touch();
    },

    beginHooks(digest) {
      if (hooks.digest !== digest) hooks = { ...noHooks, digest };
    },
    succeed({ id, name, clean }) {
      const cleaning = clean === undefined ? hooks.cleaning : new Map([...hooks.cleaning, [id, clean] as const]);
      hooks = { ...hooks, succeeded: new Set([...hooks.succeeded, name]), cleaning };
      touch();
    },
    cleaned(id) {
      hooks = { ...hooks, cleaning: new Map([...hooks.cleaning].filter(([each]) => each !== id)) };
    },
    completeHooks(digest) {
      hooks = { ...(hooks.digest === digest ? hooks : { ...noHooks, digest }), complete: true };
      touch();
    },

    rememberHealthy(revision) {
      healthy = revision;
      touch();
    },
    rememberReverted(sha) {
      autoReverted = sha;
      touch();
    },
  };
}
