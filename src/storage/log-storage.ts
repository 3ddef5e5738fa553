import type { Clock } from '../base/clock.ts';
import { buckets, type Metrics } from '../base/metrics.ts';
import { expired } from '../machinery/status-error.ts';
import type { LogDriver, LogRow } from './log-driver.ts';
import type { RangeOptions, RangeResult, Storage, StorageEvent, StoredEntry, Value, WatchOptions, WriteResult } from './storage.ts';

/**
 * `Storage` over a log of rows: the part that all embedded backends share, so that they cannot differ in what they promise.
 *
 * Memory holds each key's newest revision and the list of superseded rows, never values: values are read from the driver, which happens
 * at start only, since the API server serves reads from its own cache.
 *
 * Writes are staged at once and committed in groups: what is queued when the driver becomes free goes into the next commit.
 */
export interface LogStorageOptions {
  readonly driver: LogDriver;
  readonly clock: Clock;
  readonly metrics?: Metrics | undefined;
}

/**
 * One commit at most: above it commits take longer without a gain in rows a second (128 rows of 4 KB: 1.2 ms; 2 MB: 11 ms), and the
 * event loop stalls longer while their watchers are told.
 */
const maxCommitRows = 128;
const maxCommitChars = 512 * 1024;
/** Rows removed by one slice of a compaction; 1.5 ms on SQLite. */
const compactionSliceRows = 500;
/** Commits between two slices of housekeeping when writes never pause. */
const commitsBetweenTasks = 4;
/** Rows read at once for a watch that starts in the past. */
const historyPageRows = 500;
const idleAfterMs = 100;
const acknowledgedAtOnce = 32;

interface IndexEntry {
  /** Revision of the committed value; 0 when there is none. */
  committed: number;
  /** Revision of the newest staged value; 0 when the newest staged write deletes the key. */
  staged: number;
  /** Writes on their way. The entry leaves the index with the last of them, when there is no value then. */
  pending: number;
}

interface StagedWrite {
  readonly key: string;
  /** Undefined: a deletion. */
  readonly value: Value | undefined;
  readonly revision: number;
  /** Revision of the value this one replaces; 0 when it creates the key. */
  readonly replaces: number;
  readonly entry: IndexEntry;
  readonly resolve: (result: WriteResult) => void;
  readonly reject: (err: unknown) => void;
}

/** Row `revision` is of no use to anyone who starts at or after `since`. */
interface SupersededRow {
  readonly revision: number;
  readonly since: number;
}

interface Watcher {
  readonly options: WatchOptions;
  /** Revisions up to here were delivered or not asked for. */
  after: number;
}

export interface LogStorage extends Storage {
  /** Runs `work` when no commit, compaction or other work of the driver is under way; they wait for its end. */
  inLane(work: () => Promise<void>): Promise<void>;
}

export async function openLogStorage({ driver, clock, metrics }: LogStorageOptions): Promise<LogStorage> {
  const durations = metrics?.histogram({
    name: 'store_txn_duration_seconds',
    help: 'Duration of a transaction of the store.',
    labelNames: ['op'],
    buckets: [...buckets.store],
  });
  const commitRows = metrics?.histogram({
    name: 'commit_rows',
    help: 'Writes in one group commit.',
    buckets: [1, 2, 4, 8, 16, 32, 64, 128],
  });

  const housekeepingFailures = metrics?.counter({
    name: 'store_housekeeping_failures_total',
    help: 'Checkpoints of the store that failed.',
  });

  const index = new Map<string, IndexEntry>();
  // In order of `since`. What lies before `supersededHead` is gone; the array is cut when half of it is.
  let superseded: SupersededRow[] = [];
  let supersededHead = 0;
  let nextRevision = 1;
  let currentRevision = 0;
  let compactedRevision = 0;
  let failure: Error | undefined;

  let queue: StagedWrite[] = [];
  const unacknowledged: StagedWrite[] = [];
  const tasks: (() => Promise<void>)[] = [];
  let commitsSinceTask = 0;
  let busy = false;
  let pumpScheduled = false;
  let reads = 0;
  let cancelIdle: (() => void) | undefined;
  let closing: Promise<void> | undefined;
  let onDrained: (() => void) | undefined;
  let compaction: Promise<void> = Promise.resolve();

  const watchers = new Set<Watcher>();

  const timed = async (op: string, work: Promise<void>): Promise<void> => {
    const startedAt = clock.monotonicMs();
    await work;
    durations?.observe({ op }, (clock.monotonicMs() - startedAt) / 1000);
  };

  const startedAt = clock.monotonicMs();
  const loaded = await driver.load((revision, key, deleted) => {
    const before = index.get(key);
    if (before !== undefined) superseded.push({ revision: before.committed, since: revision });
    if (deleted) {
      superseded.push({ revision, since: revision });
      index.delete(key);
    } else if (before === undefined) {
      index.set(key, { committed: revision, staged: revision, pending: 0 });
    } else {
      before.committed = revision;
      before.staged = revision;
    }
    currentRevision = revision;
  });
  durations?.observe({ op: 'load' }, (clock.monotonicMs() - startedAt) / 1000);
  compactedRevision = loaded.compactedRevision;
  // The newest row may have been a deletion that compaction removed: the sequence must not go back.
  currentRevision = Math.max(currentRevision, compactedRevision);
  nextRevision = currentRevision + 1;

  /** Starts the next commit or housekeeping task when the driver is free. */
  function pump(): void {
    if (busy) return;
    if (tasks.length > 0 && (queue.length === 0 || commitsSinceTask >= commitsBetweenTasks)) {
      const task = tasks.shift();
      if (task !== undefined) {
        commitsSinceTask = 0;
        busy = true;
        void task().finally(() => {
          busy = false;
          pump();
        });
        return;
      }
    }
    if (queue.length > 0) {
      commit(takeBatch());
      return;
    }
    onDrained?.();
    scheduleIdle();
  }

  function takeBatch(): readonly StagedWrite[] {
    let chars = 0;
    let rows = 0;
    for (const { key, value } of queue) {
      if (rows === maxCommitRows) break;
      const size = key.length + (value?.text.length ?? 0);
      if (rows > 0 && chars + size > maxCommitChars) break;
      chars += size;
      rows += 1;
    }
    const batch = queue.slice(0, rows);
    queue = queue.slice(rows);
    return batch;
  }

  function commit(batch: readonly StagedWrite[]): void {
    busy = true;
    commitsSinceTask += 1;
    commitRows?.observe(batch.length);
    const rows: LogRow[] = batch.map(({ revision, key, value }) => ({ revision, key, text: value?.text ?? null }));
    timed('commit', driver.append(rows)).then(
      () => onCommitted(batch),
      (err) => onFailed(batch, err),
    );
  }

  function onCommitted(batch: readonly StagedWrite[]): void {
    failure = undefined;
    // State first, then the next batch goes to the driver, and only then is anybody told: the disk does not wait for watchers.
    const events = batch.map(applyCommitted);
    busy = false;
    addHousekeeping('busy');
    pump();
    for (const watcher of [...watchers]) notify(watcher, events);
    const isFirst = unacknowledged.length === 0;
    unacknowledged.push(...batch);
    if (isFirst) acknowledge();
  }

  /** What writers do next runs in the turn in which they are told: all of a large commit at once would hold the loop for 10 ms. */
  function acknowledge(): void {
    for (const { resolve, revision } of unacknowledged.splice(0, acknowledgedAtOnce)) resolve({ ok: true, revision });
    if (unacknowledged.length > 0) setImmediate(acknowledge);
  }

  function applyCommitted({ key, value, revision, replaces, entry }: StagedWrite): StorageEvent {
    if (replaces !== 0) superseded.push({ revision: replaces, since: revision });
    currentRevision = revision;
    entry.committed = value === undefined ? 0 : revision;
    settle(key, entry);
    if (value === undefined) {
      superseded.push({ revision, since: revision });
      return { type: 'delete', key, revision };
    }
    return { type: 'put', key, revision, created: replaces === 0, value };
  }

  function settle(key: string, entry: IndexEntry): void {
    entry.pending -= 1;
    if (entry.pending === 0 && entry.committed === 0) index.delete(key);
  }

  /** Whatever was staged on top of the failed writes fails with them: it was decided on values that never came to be. */
  function onFailed(batch: readonly StagedWrite[], err: unknown): void {
    failure = err instanceof Error ? err : new Error(String(err));
    const failed = [...batch, ...queue];
    queue = [];
    for (const { key, entry } of failed) {
      entry.staged = entry.committed;
      settle(key, entry);
    }
    busy = false;
    pump();
    for (const { reject } of failed) reject(err);
  }

  function notify(watcher: Watcher, events: readonly StorageEvent[]): void {
    const { prefix, onEvents, onEnd } = watcher.options;
    const { after } = watcher;
    const first = events[0];
    const wanted =
      prefix === '' && first !== undefined && first.revision > after
        ? events
        : events.filter((event) => event.revision > after && event.key.startsWith(prefix));
    watcher.after = Math.max(after, events.at(-1)?.revision ?? 0);
    if (wanted.length === 0) return;
    try {
      onEvents(wanted);
    } catch (err) {
      watchers.delete(watcher);
      onEnd(err instanceof Error ? err : new Error(String(err)));
    }
  }

  /** Has no caller to tell when it fails: what is wrong with the disk is seen, and told, by the next commit. */
  function addHousekeeping(moment: 'idle' | 'busy'): void {
    const work = driver.tidy(moment);
    if (work === undefined) return;
    tasks.push(async () => {
      try {
        await timed('checkpoint', work());
      } catch {
        housekeepingFailures?.inc();
      }
    });
  }

  function scheduleIdle(): void {
    if (closing !== undefined || cancelIdle !== undefined) return;
    cancelIdle = clock.after(idleAfterMs, () => {
      cancelIdle = undefined;
      if (busy || queue.length > 0 || closing !== undefined) return;
      addHousekeeping('idle');
      if (tasks.length > 0) pump();
    });
  }

  /** One task in the driver's lane, between commits. */
  function inLane(work: () => Promise<void>): Promise<void> {
    if (closing !== undefined) return Promise.reject(new Error('the store is closed'));
    return new Promise((resolve, reject) => {
      tasks.push(() => work().then(resolve, reject));
      schedulePump();
    });
  }

  // setImmediate rather than at once: writes of the same turn share the first commit.
  function schedulePump(): void {
    if (busy || pumpScheduled) return;
    pumpScheduled = true;
    setImmediate(() => {
      pumpScheduled = false;
      pump();
    });
  }

  function stage(key: string, value: Value | undefined, expected: number): Promise<WriteResult> {
    if (closing !== undefined) return Promise.reject(new Error('the store is closed'));
    let entry = index.get(key);
    const staged = entry?.staged ?? 0;
    if (staged !== expected) return Promise.resolve({ ok: false, currentRevision: staged });
    if (value === undefined && staged === 0) return Promise.resolve({ ok: false, currentRevision: 0 });
    if (entry === undefined) {
      entry = { committed: 0, staged: 0, pending: 0 };
      index.set(key, entry);
    }
    const revision = nextRevision;
    nextRevision += 1;
    entry.staged = value === undefined ? 0 : revision;
    entry.pending += 1;
    cancelIdle?.();
    cancelIdle = undefined;
    const target = entry;
    return new Promise((resolve, reject) => {
      queue.push({ key, value, revision, replaces: staged, entry: target, resolve, reject });
      schedulePump();
    });
  }

  /** Keeps compaction from removing rows between the look at the index and the read. */
  async function reading<T>(work: () => Promise<T>): Promise<T> {
    if (closing !== undefined) throw new Error('the store is closed');
    reads += 1;
    try {
      return await work();
    } finally {
      reads -= 1;
    }
  }

  async function range({ prefix, after = '', limit = Number.POSITIVE_INFINITY }: RangeOptions): Promise<RangeResult> {
    const revision = currentRevision;
    const found: [string, number][] = [];
    for (const [key, { committed }] of index) {
      if (committed !== 0 && key > after && key.startsWith(prefix)) found.push([key, committed]);
    }
    found.sort(([a], [b]) => (a < b ? -1 : 1));
    const page = found.length > limit ? found.slice(0, limit) : found;
    const texts = await driver.read(page.map(([, committed]) => committed));
    const entries: StoredEntry[] = [];
    for (const [key, committed] of page) {
      const text = texts.get(committed);
      if (text === undefined) throw new Error(`row ${committed} of ${key} is missing from the log`);
      entries.push({ key, text, revision: committed });
    }
    return { entries, revision, more: page.length < found.length };
  }

  /** A put of revision r created its key when no older value was replaced by it; see `superseded`. */
  function isCreation(revision: number): boolean {
    let low = supersededHead;
    let high = superseded.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((superseded[middle]?.since ?? 0) < revision) low = middle + 1;
      else high = middle;
    }
    return superseded[low]?.since !== revision;
  }

  /** Delivers what was committed between `afterRevision` and now, and joins the live events without a gap. */
  async function replay(watcher: Watcher): Promise<void> {
    const { options } = watcher;
    while (watcher.after < currentRevision) {
      const upTo = currentRevision;
      const rows = await driver.readAfter(watcher.after, historyPageRows);
      if (options.signal.aborted) return;
      if (watcher.after < compactedRevision) throw tooOld(watcher.after);
      const last = rows.length === historyPageRows ? rows.at(-1) : undefined;
      const events = rows
        .filter(({ revision }) => revision <= upTo)
        .map(
          ({ revision, key, text }): StorageEvent =>
            text === null
              ? { type: 'delete', key, revision }
              : { type: 'put', key, revision, created: isCreation(revision), value: { text } },
        );
      notify(watcher, events);
      watcher.after = Math.min(upTo, last?.revision ?? upTo);
    }
  }

  const tooOld = (revision: number): Error => expired(`too old resource version: ${revision} (${compactedRevision})`);

  async function watch(options: WatchOptions): Promise<void> {
    if (closing !== undefined) throw new Error('the store is closed');
    if (options.afterRevision < compactedRevision) throw tooOld(options.afterRevision);
    if (options.signal.aborted) return;
    const watcher: Watcher = { options, after: options.afterRevision };
    await reading(() => replay(watcher));
    if (options.signal.aborted) return;
    watchers.add(watcher);
    options.signal.addEventListener('abort', () => watchers.delete(watcher), { once: true });
  }

  async function compactTo(target: number): Promise<void> {
    if (target <= compactedRevision) return;
    compactedRevision = target;
    // Told to the disk before the first row goes, so that a restart does not promise history it lacks.
    await inLane(() => timed('compact', driver.setCompacted(target)));
    while ((superseded[supersededHead]?.since ?? Number.POSITIVE_INFINITY) <= target) {
      await inLane(async () => {
        if (reads > 0) return;
        const slice: number[] = [];
        let head = supersededHead;
        for (; slice.length < compactionSliceRows; head += 1) {
          const row = superseded[head];
          if (row === undefined || row.since > target) break;
          slice.push(row.revision);
        }
        await timed('compact', driver.remove(slice));
        supersededHead = head;
        if (supersededHead * 2 > superseded.length) {
          superseded = superseded.slice(supersededHead);
          supersededHead = 0;
        }
      });
      // Lets writers and reads that came meanwhile go first.
      await new Promise<void>((resolve) => setImmediate(resolve));
    }
  }

  return {
    get currentRevision() {
      return currentRevision;
    },
    get compactedRevision() {
      return compactedRevision;
    },
    get failure() {
      return failure;
    },
    get: (key) =>
      reading(async () => {
        const revision = index.get(key)?.committed ?? 0;
        if (revision === 0) return undefined;
        const text = (await driver.read([revision])).get(revision);
        return text === undefined ? undefined : { key, text, revision };
      }),
    range: (options) => reading(() => range(options)),
    create: (key, value) => stage(key, value, 0),
    update: (key, value, expectedRevision) =>
      expectedRevision === 0
        ? Promise.resolve({ ok: false, currentRevision: index.get(key)?.staged ?? 0 })
        : stage(key, value, expectedRevision),
    delete: (key, expectedRevision) => stage(key, undefined, expectedRevision),
    watch,
    inLane,
    compact(revision) {
      const target = Math.min(revision, currentRevision);
      const next = compaction.then(() => compactTo(target));
      // One that failed is told to who asked for it, and does not end compaction for ever.
      compaction = next.catch(() => undefined);
      return next;
    },
    purge() {
      const next = compaction.then(async () => {
        await compactTo(currentRevision);
        await inLane(() => timed('purge', driver.rewrite()));
      });
      compaction = next.catch(() => undefined);
      return next;
    },
    close() {
      closing ??= (async () => {
        cancelIdle?.();
        if (busy || queue.length > 0 || tasks.length > 0) {
          await new Promise<void>((resolve) => {
            onDrained = resolve;
            schedulePump();
          });
        }
        const err = new Error('the store is closed');
        for (const watcher of watchers) watcher.options.onEnd(err);
        watchers.clear();
        await driver.close();
      })();
      return closing;
    },
  };
}
