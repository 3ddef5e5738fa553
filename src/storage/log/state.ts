import type { StorageEvent, Value, WriteResult } from '../storage.ts';
import type { LoadedRow } from './driver.ts';
import { createSupersededRows, rowBytes, type SupersededRows } from './superseded-rows.ts';

/**
 * Memory of a log: the newest revision of each key, the superseded rows, and the ends of the sequence. It holds no values. A write is
 * staged first, and then either committed or failed.
 */
export interface LogState {
  readonly index: Map<string, IndexEntry>;
  readonly superseded: SupersededRows;
  /** The revision of the next write that is staged. */
  nextRevision: number;
  /** Newest committed one. */
  currentRevision: number;
  compactedRevision: number;
}

export interface IndexEntry {
  /** Revision of the committed value; 0 when there is none. */
  committed: number;
  /** Revision of the newest staged value; 0 when the newest staged write deletes the key. */
  staged: number;
  /** Length of the committed value. */
  size: number;
  /** Length of the newest staged value. */
  stagedSize: number;
  /** Writes on their way. The entry leaves the index with the last of them, when there is no value then. */
  pending: number;
}

export interface StagedWrite {
  readonly key: string;
  /** Undefined: a deletion. */
  readonly value: Value | undefined;
  readonly revision: number;
  /** Revision of the value this one replaces; 0 when it creates the key. */
  readonly replaces: number;
  /** Length of that value. */
  readonly replacesSize: number;
  /** Little or nothing of it needs room: it may take of the reserve when the disk is full. */
  readonly mayUseReserve: boolean;
  readonly entry: IndexEntry;
}

/** The write, or the compare-and-set that it lost, or the reason why there is no room for it. */
export type Staging = StagedWrite | Extract<WriteResult, { readonly ok: false }> | { readonly refusal: string };

export interface WriteRequest {
  readonly key: string;
  /** Undefined: a deletion. */
  readonly value: Value | undefined;
  /** Revision that the key must have; 0: it must not exist. */
  readonly expected: number;
}

/** An update that grows by no more is no growth: counters and names in it change their length. */
const toleratedGrowth = 128;
/** As much of a value that is always written may come out of the reserve. */
const toleratedGrowthOfReserve = 4096;

export function createLogState(): LogState {
  return { index: new Map(), superseded: createSupersededRows(), nextRevision: 1, currentRevision: 0, compactedRevision: 0 };
}

/** Takes a row that an earlier process left; rows come in order. */
export function noteLoaded(state: LogState, { revision, key, size, deleted }: LoadedRow): void {
  const { index, superseded } = state;
  const before = index.get(key);
  if (before !== undefined) superseded.add(before.committed, revision, rowBytes(key, before.size));
  if (deleted) {
    superseded.add(revision, revision, rowBytes(key, 0));
    index.delete(key);
  } else if (before === undefined) {
    index.set(key, { committed: revision, staged: revision, size, stagedSize: size, pending: 0 });
  } else {
    before.committed = revision;
    before.staged = revision;
    before.size = size;
    before.stagedSize = size;
  }
  state.currentRevision = revision;
}

/**
 * Decides a write against the newest staged one, so that writers queued behind one commit cannot both win.
 *
 * @param refusal  why growth is refused now; asked for writes that grow alone
 */
export function stageWrite(state: LogState, { key, value, expected }: WriteRequest, refusal: () => string | undefined): Staging {
  let entry = state.index.get(key);
  const staged = entry?.staged ?? 0;
  if (staged !== expected) return { ok: false, currentRevision: staged };
  if (value === undefined && staged === 0) return { ok: false, currentRevision: 0 };
  const replacesSize = entry?.stagedSize ?? 0;
  const size = value?.text.length ?? 0;
  const isAlways = value === undefined || value.always === true;
  const growth = staged === 0 ? Number.POSITIVE_INFINITY : size - replacesSize;
  const refused = isAlways || growth <= toleratedGrowth ? undefined : refusal();
  if (refused !== undefined) return { refusal: refused };
  if (entry === undefined) {
    entry = { committed: 0, staged: 0, size: 0, stagedSize: 0, pending: 0 };
    state.index.set(key, entry);
  }
  const mayUseReserve = value === undefined || growth <= (isAlways ? toleratedGrowthOfReserve : toleratedGrowth);
  const revision = state.nextRevision;
  state.nextRevision += 1;
  entry.staged = value === undefined ? 0 : revision;
  entry.stagedSize = size;
  entry.pending += 1;
  return { key, value, revision, replaces: staged, replacesSize, mayUseReserve, entry };
}

/** Writes are committed in the order in which they were staged. Gives what watchers see of one. */
export function noteCommitted(state: LogState, { key, value, revision, replaces, replacesSize, entry }: StagedWrite): StorageEvent {
  const { superseded } = state;
  if (replaces !== 0) superseded.add(replaces, revision, rowBytes(key, replacesSize));
  state.currentRevision = revision;
  entry.committed = value === undefined ? 0 : revision;
  entry.size = value?.text.length ?? 0;
  settle(state, key, entry);
  if (value === undefined) {
    superseded.add(revision, revision, rowBytes(key, 0));
    return { type: 'delete', key, revision };
  }
  return { type: 'put', key, revision, created: replaces === 0, value };
}

/**
 * Takes failed writes back. Writes of one key fail from one of them on, since later ones were decided on its value.
 *
 * @param failed  in the order in which they were staged
 */
export function noteFailed(state: LogState, failed: readonly StagedWrite[]): void {
  const keys = new Set<string>();
  for (const { key, entry, replaces, replacesSize } of failed) {
    if (keys.has(key)) continue;
    keys.add(key);
    entry.staged = replaces;
    entry.stagedSize = replacesSize;
  }
  for (const { key, entry } of failed) settle(state, key, entry);
}

function settle({ index }: LogState, key: string, entry: IndexEntry): void {
  entry.pending -= 1;
  if (entry.pending === 0 && entry.committed === 0) index.delete(key);
}
