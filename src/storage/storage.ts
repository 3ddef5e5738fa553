/**
 * A revisioned key/value store. The API server is its only user; the backends (`memory/`, `sqlite/`) pass one conformance suite,
 * `test/conformance/storage.test.ts`.
 *
 * Revisions are one increasing sequence for the whole store, below 2^53. A write that was acknowledged survives a crash of the process
 * and of the machine (sqlite); watchers and callers learn about it only then. Compare-and-set is decided against the newest *staged*
 * write, so that writers queued behind one commit cannot both win; reads and watches see only *committed* ones.
 *
 * @see etcd v3 API guarantees, https://etcd.io/docs/v3.5/learning/api_guarantees/
 */
export interface Storage {
  /** True when other processes write to it, too: what this one has seen may not be the newest. */
  readonly isShared: boolean;
  /** Newest committed revision that this process has seen; 0 when nothing was ever written. */
  readonly currentRevision: number;
  /** Watches must start at or after it; 0 when nothing was compacted. */
  readonly compactedRevision: number;
  /**
   * Reason why writes fail: the newest commit failed, until one succeeds, or the disk is nearly full. Reads still work.
   */
  readonly failure: Error | undefined;
  /**
   * Damage to what an earlier process wrote, so that this one cannot read it; found at the start and the same from then on. A key
   * whose newest row is damaged is absent: an older value is never given out as the current one. Revisions go on far above all earlier
   * ones then, and a watch that started before has to start again.
   */
  readonly damage: readonly Damage[];

  /**
   * A revision that is at least as new as every write acknowledged before this call, by whichever process. A store that is not shared
   * answers `currentRevision`.
   */
  latest(): Promise<number>;

  get(key: string): Promise<StoredEntry | undefined>;

  /**
   * Committed entries whose key starts with `prefix`, in key order, at most `limit` (default: all), keys after `after`.
   *
   * @throws StatusError `Expired` (410) when the state of `revision` is gone: an embedded store has the newest alone
   */
  range(options: RangeOptions): Promise<RangeResult>;

  /**
   * Succeeds when the key does not exist.
   *
   * @throws StatusError `InsufficientStorage` (507) when the disk is nearly full; so do updates that grow
   */
  create(key: string, value: Value): Promise<WriteResult>;

  /** Succeeds when the key's newest revision is `expectedRevision`. */
  update(key: string, value: Value, expectedRevision: number): Promise<WriteResult>;

  /** Succeeds when the key's newest revision is `expectedRevision`. The deletion has a revision of its own. */
  delete(key: string, expectedRevision: number): Promise<WriteResult>;

  /**
   * Delivers every change of keys under `prefix` after `afterRevision`, in revision order, none left out, never before it is committed.
   *
   * Batches are what one commit wrote. The handler must not block: it notes and returns. A watcher that throws is ended with that error.
   *
   * @throws StatusError `Expired` (410) from this call when `afterRevision` lies before the last compaction
   */
  watch(options: WatchOptions): Promise<void>;

  /**
   * Gives what a watch from `compactedRevision` on would see, or from `afterRevision`, where that is later. Changes come in pages, the
   * oldest first. The newest have values, also those before the change, as many as the options allow; older ones have the key alone.
   *
   * @throws StatusError `Expired` when somebody else compacts a shared store meanwhile; `compactedRevision` says up to where
   */
  history(options: HistoryOptions): Promise<void>;

  /** The lowest revision to compact to so that superseded values take at most `bytes`, about; `compactedRevision` when they take less. */
  revisionKeeping(bytes: number): number;

  /** Forgets superseded values up to `revision`, in slices that do not hold up writers for long. */
  compact(revision: number): Promise<void>;

  /**
   * Forgets every superseded value and leaves nothing of removed ones in files of the backend: for values that must not lie there any
   * more. Costs a copy of the store and holds up writers for as long as that takes.
   */
  purge(): Promise<void>;

  /** Waits for what is staged, then closes. Further calls reject. */
  close(): Promise<void>;
}

export type Damage =
  /** The row was set aside. `key` is as certain as the row still says. */
  | { readonly type: 'row'; readonly key: string; readonly revision: number; readonly effect: 'keyAbsent' | 'historyLost' }
  /** Acknowledged revisions after `after`, up to `upTo`, which the log no longer has; some may never have been acknowledged. */
  | { readonly type: 'missing'; readonly after: number; readonly upTo: number }
  /** A copy of an earlier moment was put in place, on purpose. */
  | { readonly type: 'restored' }
  | { readonly type: 'other'; readonly message: string };

/**
 * `text` is the stored value. `decoded` is an optional, opaque companion (the frozen object that the text encodes). A
 * backend in the same process hands it to watchers, so that no reader parses its own writes. It is absent after a
 * restart or from another process.
 */
export interface Value {
  readonly text: string;
  /** Written also while growth is refused, because it lets go of room or says how things are: an object on its way out, a status. */
  readonly always?: boolean;
  readonly decoded?: unknown;
}

export interface StoredEntry {
  readonly key: string;
  readonly text: string;
  /** Revision of the write that made this value. */
  readonly revision: number;
}

export interface RangeOptions {
  readonly prefix: string;
  readonly after?: string;
  readonly limit?: number;
  /** Absent: the newest. */
  readonly revision?: number;
}

export interface RangeResult {
  readonly entries: readonly StoredEntry[];
  /** The revision at which the entries were read. */
  readonly revision: number;
  readonly more: boolean;
}

/** A lost compare-and-set is an expected outcome, not an error. `currentRevision` is 0 when the key does not exist. */
export type WriteResult = { readonly ok: true; readonly revision: number } | { readonly ok: false; readonly currentRevision: number };

export interface HistoryOptions {
  /** Older changes are not given at all. */
  readonly afterRevision?: number;
  /** Absent: `currentRevision`, which other writers of a shared store may be ahead of. */
  readonly upTo?: number;
  readonly maxChanges: number;
  /** Characters of values, about. */
  readonly maxSize: number;
  onChanges(changes: readonly StoredChange[]): Promise<void>;
}

export interface StoredChange {
  readonly revision: number;
  readonly key: string;
  readonly values: StoredValues | undefined;
}

export interface StoredValues {
  /** The value that the change replaced, when that is not itself the `after` of a change with values. */
  readonly before: { readonly text: string; readonly revision: number } | undefined;
  /** Undefined: the key was deleted. */
  readonly after: string | undefined;
}

export type StorageEvent =
  | { readonly type: 'put'; readonly key: string; readonly revision: number; readonly created: boolean; readonly value: Value }
  | { readonly type: 'delete'; readonly key: string; readonly revision: number };

export interface WatchOptions {
  readonly prefix: string;
  readonly afterRevision: number;
  readonly signal: AbortSignal;
  onEvents(events: readonly StorageEvent[]): void;
  /** Every change up to `revision` was delivered. A shared store calls it, since others' revisions may bring no change of this prefix. */
  onProgress?(revision: number): void;
  /**
   * Called once when the watch ends for another reason than `signal`. A shared store may have forgotten changes that this process has not
   * seen yet, as after a long loss of connection. Then `err` is `Expired` (410): a range and a new watch go on.
   */
  onEnd(err: Error): void;
}
