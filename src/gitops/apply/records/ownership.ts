import type { InventoryEntry } from '../../../api/kustomize/v1/kustomization.ts';
import { deepEqual } from '../../../machinery/object.ts';
import { inventoryEntriesOf, type ObjectId } from '../objects/object-id.ts';
import type { ObjectNotes } from './drifts.ts';
import { type HookRecord, hooksOf, noHooks, type SucceededHook, withoutCleaning, withSuccess } from './hook-record.ts';
import { createObjectSets, type DoomedObject, type ObjectSets } from './object-sets.ts';

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
    /** `Ownership.completed` of the object. */
    readonly completed?: string;
  }[];
  readonly hooks?: { readonly digest: string; readonly complete: boolean; readonly succeeded: readonly string[] };
  readonly healthy?: HealthyRevision;
  readonly autoReverted?: string;
}

/**
 * The objects that an app owns, has sent or is to delete, and the hooks that it ran. The inventory Secret is made of this record
 * alone. An object leaves it only when it is gone or another app's.
 */
export interface Ownership extends ObjectSets {
  /** False until the inventory was read after a start. */
  readonly isLoaded: boolean;
  readonly hooks: HookRecord;
  readonly healthy: HealthyRevision | undefined;
  /** The revision that was reverted by itself, which is done once for each. */
  readonly autoReverted: string;
  /** The inventory Secret may not hold what this record says. */
  readonly isDirty: boolean;
  /** Digest of what the inventory Secret holds; empty when that is not known. */
  readonly written: string;
  /** Jobs with a time to live that completed, with the digest of their manifest. The same manifest makes none again. */
  readonly completed: ReadonlyMap<ObjectId, string>;
  /** The inventory Secret may not hold all of `completed`. */
  readonly hasNewCompletions: boolean;
  /** The inventory as the status has it. When `written`, of the status, is equal, that is given back: the next comparison is free. */
  entriesFor(written: readonly InventoryEntry[] | undefined): readonly InventoryEntry[];

  /** Takes over what an earlier process wrote: all objects are doomed until a revision names them. */
  load(
    record: Omit<InventoryRecord, 'revision' | 'entries'>,
    known: { readonly entries: Iterable<readonly [ObjectId, DoomedObject]>; readonly completed: ReadonlyMap<ObjectId, string> },
  ): void;
  /** The inventory Secret is about to hold something else, and holds `digest` once that is answered. */
  wrote(digest: string): void;
  /** The Secret is up to date, but for what a sync intends; `completed` is the map that it was made of. */
  settle(left: { readonly isDirty: boolean; readonly completed: ReadonlyMap<ObjectId, string> }): void;
  /** Objects came to the app or left it. */
  touch(): void;

  noteCompleted(id: ObjectId, digest: string): void;
  /** Another manifest of the object was applied: it has its own work to do. */
  forgetCompleted(id: ObjectId): void;

  /** Begins the hooks of a digest, unless they have begun. */
  beginHooks(digest: string): void;
  succeed(hook: SucceededHook): void;
  cleaned(id: ObjectId): void;
  completeHooks(digest: string): void;

  rememberHealthy(revision: HealthyRevision): void;
  rememberReverted(sha: string): void;
}

export function createOwnership(): Ownership {
  let hooks = noHooks;
  let isLoaded = false;
  let healthy: HealthyRevision | undefined;
  let autoReverted = '';
  let isDirty = true;
  let written = '';
  let entries: readonly InventoryEntry[] | undefined;
  let completed: ReadonlyMap<ObjectId, string> = new Map();
  let writtenCompleted = completed;

  const touch = (): void => {
    isDirty = true;
    entries = undefined;
  };
  const sets = createObjectSets({ onChange: touch });
  const { applied, doomed, pending, hookObjects } = sets;
  const forgetCompleted = (id: ObjectId): void => {
    if (completed.has(id)) completed = new Map([...completed].filter(([each]) => each !== id));
  };

  return {
    ...sets,
    forget(id) {
      forgetCompleted(id);
      sets.forget(id);
    },
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
    get completed() {
      return completed;
    },
    get hasNewCompletions() {
      return completed !== writtenCompleted;
    },
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
      writtenCompleted = known.completed;
      completed = completed.size === 0 ? known.completed : new Map([...known.completed, ...completed]);
      for (const [id, each] of known.entries) if (!applied.has(id)) sets.locate(id, each);
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
      writtenCompleted = left.completed;
    },
    touch,

    noteCompleted(id, digest) {
      if (completed.get(id) !== digest) completed = new Map([...completed, [id, digest]]);
    },
    forgetCompleted,

    beginHooks(digest) {
      hooks = hooksOf(hooks, digest);
    },
    succeed(hook) {
      hooks = withSuccess(hooks, hook);
      touch();
    },
    cleaned(id) {
      hooks = withoutCleaning(hooks, id);
    },
    completeHooks(digest) {
      hooks = { ...hooksOf(hooks, digest), complete: true };
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
