import type { Clock } from '../../base/clock.ts';
import type { KubeObject } from '../../machinery/object.ts';
import { isExpired } from '../../machinery/status-error.ts';
import type { Storage, StoredChange } from '../../storage/storage.ts';
import { decode, memoryOf } from './encoding.ts';
import { changeOf } from './event-window.ts';
import { splitStoreKey } from './keys.ts';
import type { ResourceState } from './resource-state.ts';

/**
 * Fills windows with what the log says of the time before this process. Watches that an earlier process served then go on where they
 * broke off, instead of all listing again.
 */
export interface Past {
  /** Fills the window of a resource that is served later than at the start; called once the objects are those of `state.since`. */
  restore(prefix: string, state: ResourceState): void;
  /** An event of a resource that is not served yet: what the log said of it ends before now. */
  forget(prefix: string, revision: number): void;
  close(): void;
}

/**
 * Changes that are read and decoded at a start: about 0.3 s of a processor. A resource whose changes are older than
 * this has its window from there on.
 */
const maxChanges = 20_000;
/**
 * A shared store sends every change with its values, also those that would be dropped here, and other servers write on. Watches that are
 * some thousand revisions behind list again; pages of that time are read from the store.
 */
const maxSharedRevisions = 5_000;
const maxSize = 16 * 1024 * 1024;
/** Bytes that a character of text counts for in memory, about; more than the windows hold need not be read. */
const memoryPerChar = 2;
/** Kinds that come from the store, custom ones, are served within the first seconds; what nobody asks for by then is dropped. */
const keepForLaterMs = 60_000;
/** Reads of a past that is compacted meanwhile. */
const maxTries = 5;

interface ResourcePast {
  /** Changes after it are all here. */
  completeAfter: number;
  changes: StoredChange[];
}

/** The past of a resource that was served already: its changes from that time are not here. */
const nothing: ResourcePast = { completeAfter: Number.POSITIVE_INFINITY, changes: [] };

export async function readPast({
  storage,
  states,
  upTo,
  clock,
  windowBytes,
}: {
  readonly storage: Storage;
  /** With the objects of `upTo`. */
  readonly states: ReadonlyMap<string, ResourceState>;
  /** Later changes come by the watch of the store, whether this process has seen them by now or not. */
  readonly upTo: number;
  readonly clock: Clock;
  /** Memory that windows may take. */
  readonly windowBytes: number;
}): Promise<Past> {
  const later = new Map<string, ResourcePast>();
  const latest = new Map<string, Version>();
  let start = 0;
  let isKept = true;

  async function read(): Promise<void> {
    start = Math.max(storage.compactedRevision, storage.isShared ? upTo - maxSharedRevisions : 0);
    for (const state of states.values()) state.window.startAt(start);
    await storage.history({
      afterRevision: start,
      upTo,
      maxChanges,
      maxSize: Math.min(maxSize, windowBytes / memoryPerChar),
      async onChanges(changes) {
        for (const change of changes) {
          const { prefix } = splitStoreKey(change.key);
          const state = states.get(prefix);
          if (state !== undefined) {
            if (change.values === undefined) state.window.startAt(change.revision);
            else addChange(state, change, latest);
            continue;
          }
          const past = pastOf(prefix);
          if (change.values === undefined) past.completeAfter = change.revision;
          else past.changes.push(change);
        }
        await new Promise((resolve) => setImmediate(resolve));
      },
    });
  }

  for (let tries = 1; ; tries += 1) {
    try {
      await read();
      break;
    } catch (err) {
      // Somebody else has compacted a shared store: what is left of the past begins there, and only starts of windows were noted so far.
      if (!isExpired(err) || tries === maxTries) throw err;
      later.clear();
    }
  }
  latest.clear();
  for (const prefix of states.keys()) later.set(prefix, nothing);

  function pastOf(prefix: string): ResourcePast {
    let past = later.get(prefix);
    if (past === undefined) {
      past = { completeAfter: start, changes: [] };
      later.set(prefix, past);
    }
    return past;
  }

  const close = clock.after(keepForLaterMs, () => {
    isKept = false;
    later.clear();
  });

  return {
    restore(prefix, state) {
      if (!isKept) return;
      const { completeAfter, changes } = pastOf(prefix);
      if (completeAfter >= state.since) return;
      state.window.startAt(completeAfter);
      const latest = new Map<string, Version>();
      for (const change of changes) addChange(state, change, latest);
      later.set(prefix, nothing);
    },
    forget(prefix, revision) {
      if (isKept && later.get(prefix) !== nothing) later.set(prefix, { completeAfter: revision, changes: [] });
    },
    close,
  };
}

interface Version {
  readonly object: KubeObject | undefined;
  readonly bytes: number;
}

/** `latest` has what the last change of each key left. */
function addChange(state: ResourceState, { revision, key: storeKey, values }: StoredChange, latest: Map<string, Version>): void {
  const { key } = splitStoreKey(storeKey);
  const current = state.get(key);
  const versionOf = (text: string | undefined, at: number): Version => {
    if (text === undefined) return { object: undefined, bytes: 0 };
    return {
      object: current?.metadata.resourceVersion === String(at) ? current : state.seen(decode(text, at)),
      bytes: memoryOf(text),
    };
  };
  const before = latest.get(storeKey) ?? versionOf(values?.before?.text, values?.before?.revision ?? 0);
  const after = versionOf(values?.after, revision);
  latest.set(storeKey, after);
  // A value that could not be decrypted came or went: nobody saw it.
  if (before.object === undefined && after.object === undefined) return;
  state.window.add(
    changeOf({ revision, key, before: before.object, after: after.object, beforeBytes: before.bytes, afterBytes: after.bytes }),
  );
}
