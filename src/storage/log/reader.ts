import { expired } from '../../machinery/status-error.ts';
import type { HistoryOptions, RangeOptions, RangeResult, StorageEvent, StoredChange, StoredEntry, WatchOptions } from '../storage.ts';
import type { Watcher, Watchers } from '../watchers.ts';
import type { LogDriver } from './driver.ts';
import type { LogState } from './state.ts';
import type { SupersededRow } from './superseded-rows.ts';

/**
 * Reads of a log: memory names the rows, and the driver gives their texts. They happen at start only, since the API server serves reads
 * from its own cache.
 */
export interface LogReader {
  /** Rows that a read has found must not be removed before it has read them. */
  readonly isReading: boolean;
  get(key: string): Promise<StoredEntry | undefined>;
  range(options: RangeOptions): Promise<RangeResult>;
  history(options: HistoryOptions): Promise<void>;
  /** Delivers what was committed after `afterRevision`, and joins the live events without a gap. */
  watch(options: WatchOptions): Promise<void>;
}

export interface LogReaderOptions {
  readonly driver: Pick<LogDriver, 'read' | 'readAfter' | 'keysAfter'>;
  readonly state: LogState;
  readonly watchers: Watchers;
}

/** Values read from the driver at once. */
const readRows = 500;
const readSize = 8 * 1024 * 1024;
/** Rows read at once for a watch that starts in the past. */
const historyPageRows = 500;
const historyKeysRows = 2_000;

export function createLogReader(options: LogReaderOptions): LogReader {
  const { driver, state } = options;
  let reads = 0;

  /** Keeps compaction from removing rows between the look at the index and the read. */
  async function reading<T>(work: () => Promise<T>): Promise<T> {
    reads += 1;
    try {
      return await work();
    } finally {
      reads -= 1;
    }
  }

  return {
    get isReading() {
      return reads > 0;
    },
    get: (key) =>
      reading(async () => {
        const revision = state.index.get(key)?.committed ?? 0;
        if (revision === 0) return undefined;
        const text = (await driver.read([revision])).get(revision);
        return text === undefined ? undefined : { key, text, revision };
      }),
    range: (wanted) => reading(() => readRange(options, wanted)),
    history: (wanted) => reading(() => readHistory(options, wanted)),
    async watch(wanted) {
      if (wanted.afterRevision < state.compactedRevision) throw tooOld(state, wanted.afterRevision);
      if (wanted.signal.aborted) return;
      const watcher: Watcher = { options: wanted, after: wanted.afterRevision };
      await reading(() => replay(options, watcher));
      if (!wanted.signal.aborted) options.watchers.add(watcher);
    },
  };
}

async function readRange({ driver, state }: LogReaderOptions, options: RangeOptions): Promise<RangeResult> {
  const { prefix, after = '', limit } = options;
  const revision = state.currentRevision;
  if (options.revision !== undefined && options.revision !== revision) throw tooOld(state, options.revision);
  const found: { readonly key: string; readonly revision: number; readonly size: number }[] = [];
  for (const [key, { committed, size }] of state.index) {
    if (committed !== 0 && key > after && key.startsWith(prefix)) found.push({ key, revision: committed, size });
  }
  found.sort((a, b) => (a.key < b.key ? -1 : 1));
  const page = limit === undefined || found.length <= limit ? found : found.slice(0, limit);
  const entries: StoredEntry[] = [];
  for (const part of partsOf(page)) {
    const texts = await driver.read(part.map((row) => row.revision));
    for (const row of part) {
      const text = texts.get(row.revision);
      if (text === undefined) throw new Error(`row ${row.revision} of ${row.key} is missing from the log`);
      entries.push({ key: row.key, text, revision: row.revision });
    }
  }
  return { entries, revision, more: page.length < found.length };
}

/** Cut so that what one read of the driver gives is bounded. */
function* partsOf<Row extends { readonly size: number }>(rows: readonly Row[]): Iterable<readonly Row[]> {
  let from = 0;
  let sum = 0;
  for (const [at, { size }] of rows.entries()) {
    if (at > from && (at - from === readRows || sum + size > readSize)) {
      yield rows.slice(from, at);
      from = at;
      sum = 0;
    }
    sum += size;
  }
  if (from < rows.length) yield rows.slice(from);
}

async function readHistory({ driver, state }: LogReaderOptions, options: HistoryOptions): Promise<void> {
  const { maxChanges, maxSize, onChanges } = options;
  const from = Math.max(state.compactedRevision, options.afterRevision ?? 0);
  const upTo = Math.min(state.currentRevision, options.upTo ?? state.currentRevision);
  const after = Math.max(historyStart(state, { maxChanges, maxSize }), from);
  for (let last = from; last < after; ) {
    const page = await driver.keysAfter(last, historyKeysRows);
    const older = page.filter(({ revision }) => revision <= after);
    if (older.length > 0) await onChanges(older.map(({ revision, key }) => ({ revision, key, values: undefined })));
    last = page.length === older.length ? (page.at(-1)?.revision ?? after) : after;
  }
  // The values that the first change of each key replaced: later ones replaced a value that is given already.
  const replaced = state.superseded.replacedIn({ after, upTo });
  for (let last = after; last < upTo; ) {
    const rows = (await driver.readAfter(last, historyPageRows)).filter(({ revision }) => revision <= upTo);
    const befores = await textsOf(
      driver,
      rows.flatMap(({ revision }) => replaced.get(revision) ?? []),
    );
    const changes = rows.map(({ revision, key, text }): StoredChange => {
      const before = replaced.get(revision)?.revision;
      const known = before === undefined ? undefined : befores.get(before);
      return {
        revision,
        key,
        values: {
          before: before === undefined || known === undefined ? undefined : { revision: before, text: known },
          after: text ?? undefined,
        },
      };
    });
    if (changes.length > 0) await onChanges(changes);
    last = rows.at(-1)?.revision ?? upTo;
  }
}

/** The revision after which the log holds at most so many changes and characters. */
function historyStart(
  { index, superseded, compactedRevision }: LogState,
  { maxChanges, maxSize }: Pick<HistoryOptions, 'maxChanges' | 'maxSize'>,
): number {
  const rows: { readonly revision: number; readonly size: number }[] = [];
  for (const { revision, bytes } of superseded.rows()) if (revision > compactedRevision) rows.push({ revision, size: bytes });
  for (const { committed, size } of index.values()) if (committed > compactedRevision) rows.push({ revision: committed, size });
  rows.sort((a, b) => b.revision - a.revision);
  let sum = 0;
  for (const [at, { revision, size }] of rows.entries()) {
    sum += size;
    if (at === maxChanges || sum > maxSize) return revision;
  }
  return compactedRevision;
}

async function textsOf(driver: Pick<LogDriver, 'read'>, rows: readonly SupersededRow[]): Promise<ReadonlyMap<number, string>> {
  const texts = new Map<number, string>();
  for (const part of partsOf(rows.map(({ revision, bytes }) => ({ revision, size: bytes })))) {
    for (const [revision, text] of await driver.read(part.map(({ revision }) => revision))) texts.set(revision, text);
  }
  return texts;
}

async function replay({ driver, state, watchers }: LogReaderOptions, watcher: Watcher): Promise<void> {
  while (watcher.after < state.currentRevision) {
    const upTo = state.currentRevision;
    const rows = await driver.readAfter(watcher.after, historyPageRows);
    if (watcher.options.signal.aborted) return;
    if (watcher.after < state.compactedRevision) throw tooOld(state, watcher.after);
    const last = rows.at(-1);
    const events = rows
      .filter(({ revision }) => revision <= upTo)
      .map(
        ({ revision, key, text }): StorageEvent =>
          text === null
            ? { type: 'delete', key, revision }
            : { type: 'put', key, revision, created: !state.superseded.hasReplaced(revision), value: { text } },
      );
    watchers.notify(watcher, events);
    watcher.after = Math.min(upTo, last?.revision ?? upTo);
  }
}

const tooOld = ({ compactedRevision }: LogState, revision: number): Error =>
  expired(`too old resource version: ${revision} (${compactedRevision})`);
