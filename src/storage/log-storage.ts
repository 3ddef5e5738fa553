import type { Clock } from '../base/clock.ts';
import { buckets, type Metrics } from '../base/metrics.ts';
import { expired, insufficientStorage } from '../machinery/status-error.ts';
import type { DamagedRow, LoadedLog, LogDriver, LogRow } from './log-driver.ts';
import type {
  Damage,
  HistoryOptions,
  RangeOptions,
  RangeResult,
  Storage,
  StorageEvent,
  StoredChange,
  StoredEntry,
  Value,
  WatchOptions,
  WriteResult,
} from './storage.ts';
import { StorageError } from './storage-error.ts';
import { createSupersededRows, rowBytes, type SupersededRow } from './superseded-rows.ts';

/**
 * `Storage` over a log of rows: the part that all embedded backends share, so that their promises cannot differ.
 *
 * Memory holds each key's newest revision and the list of superseded rows, never values. Values are read from the driver. That happens at
 * start only, since the API server serves reads from its own cache.
 *
 * Writes are staged at once and committed in groups: what is queued when the driver becomes free goes into the next commit.
 */
export interface LogStorageOptions {
  readonly driver: LogDriver;
  readonly clock: Clock;
  readonly metrics?: Metrics | undefined;
}

/**
 * Largest commit. Above this size commits take longer without a gain in rows a second (128 rows of 4 KB: 1.2 ms; 2 MB:
 * 11 ms). The event loop also stalls longer while watchers are notified.
 */
const maxCommitRows = 128;
const maxCommitChars = 512 * 1024;
/** Values read from the driver at once. */
const readRows = 500;
const readSize = 8 * 1024 * 1024;
/** An update that grows by no more is no growth: counters and names in it change their length. */
const toleratedGrowth = 128;
/** As much of a value that is always written may come out of the reserve. */
const toleratedGrowthOfReserve = 4096;
/**
 * Revisions go on so far above those of a log that lacks some, as those of a restored etcd do. No client has seen a higher one.
 *
 * @see etcdutl snapshot restore --bump-revision
 */
const revisionJump = 1_000_000_000;
/** Rows with a damaged key whose owner is looked for: each costs a look at all keys. */
const maxOwnerSearches = 16;
/** Commits between two slices of housekeeping when writes never pause. */
const commitsBetweenTasks = 4;
/** Rows read at once for a watch that starts in the past. */
const historyPageRows = 500;
const historyKeysRows = 2_000;
const idleAfterMs = 100;
const acknowledgedAtOnce = 32;

interface IndexEntry {
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

interface StagedWrite {
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
  readonly resolve: (result: WriteResult) => void;
  readonly reject: (err: unknown) => void;
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
  const superseded = createSupersededRows();
  let nextRevision = 1;
  let currentRevision = 0;
  let compactedRevision = 0;
  let failure: Error | undefined;

  let queue: StagedWrite[] = [];
  /** The commit that comes was cut down to what may use the reserve of the disk. */
  let mayUseReserve = false;
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
  const loaded = await driver.load(({ revision, key, size, deleted }) => {
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
    currentRevision = revision;
  });
  durations?.observe({ op: 'load' }, (clock.monotonicMs() - startedAt) / 1000);
  compactedRevision = loaded.compactedRevision;
  // The newest row may have been a deletion that compaction removed: the sequence must not go back.
  currentRevision = Math.max(currentRevision, compactedRevision);
  const damage = await dealWithDamage(loaded);
  nextRevision = currentRevision + 1;
  countDamage(metrics, damage);

  /**
   * Decides about damage before anybody reads. Keys whose newest row is damaged are deleted permanently, so that a
   * later start does not take an older row of theirs for the newest. The revision jumps, and history before the jump is
   * discarded, so that no client resumes from a write that this log has lost.
   */
  async function dealWithDamage({ damagedRows, acknowledgedRevision, otherDamage, isCopy }: LoadedLog): Promise<readonly Damage[]> {
    const found: Damage[] = otherDamage.map((message) => ({ type: 'other', message }));
    if (isCopy) found.push({ type: 'restored' });
    const acknowledged = acknowledgedRevision ?? 0;
    // The revision of a damaged row is one of its damaged parts, perhaps.
    const newest = Math.max(currentRevision, ...damagedRows.map(({ revision }) => revision).filter((revision) => revision <= acknowledged));
    const absent = new Set<string>();
    for (const [at, row] of damagedRows.entries()) {
      const key = ownerOf(row, at < maxOwnerSearches);
      const isNewest = (index.get(key)?.committed ?? 0) < row.revision;
      if (isNewest && index.has(key)) absent.add(key);
      found.push({ type: 'row', key, revision: row.revision, effect: isNewest ? 'keyAbsent' : 'historyLost' });
    }
    if (acknowledged > newest) found.push({ type: 'missing', after: newest, upTo: acknowledged });
    if (found.length === 0) return found;
    let revision = Math.max(newest, acknowledged) + revisionJump;
    const rows: LogRow[] = [];
    for (const key of absent) {
      revision += 1;
      rows.push({ revision, key, text: null });
      const { committed = 0, size = 0 } = index.get(key) ?? {};
      superseded.add(committed, revision, rowBytes(key, size));
      superseded.add(revision, revision, rowBytes(key, 0));
      index.delete(key);
    }
    await driver.repair({ rows, compactedRevision: revision });
    currentRevision = revision;
    compactedRevision = revision;
    return found;
  }

  /** Key of a damaged row: when the key itself is damaged, the one key that fits its checksum. */
  function ownerOf(row: DamagedRow, searches: boolean): string {
    if (searches && !row.belongsTo(row.key)) for (const key of index.keys()) if (row.belongsTo(key)) return key;
    return row.key;
  }

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
    timed('commit', driver.append(rows, { mayUseReserve })).then(
      () => onCommitted(batch),
      (err) => onFailed(batch, err),
    );
  }

  function onCommitted(batch: readonly StagedWrite[]): void {
    failure = undefined;
    mayUseReserve = false;
    // State first, then the next batch goes to the driver. Only then watchers and callers get the result: the disk
    // does not wait for watchers.
    const events = batch.map(applyCommitted);
    busy = false;
    addHousekeeping('busy');
    pump();
    for (const watcher of [...watchers]) notify(watcher, events);
    const isFirst = unacknowledged.length === 0;
    unacknowledged.push(...batch);
    if (isFirst) acknowledge();
  }

  /**
   * Callers continue in the turn in which their promise resolves. All callers of a large commit at once would hold the
   * loop for 10 ms.
   */
  function acknowledge(): void {
    for (const { resolve, revision } of unacknowledged.splice(0, acknowledgedAtOnce)) resolve({ ok: true, revision });
    if (unacknowledged.length > 0) setImmediate(acknowledge);
  }

  function applyCommitted({ key, value, revision, replaces, replacesSize, entry }: StagedWrite): StorageEvent {
    if (replaces !== 0) superseded.add(replaces, revision, rowBytes(key, replacesSize));
    currentRevision = revision;
    entry.committed = value === undefined ? 0 : revision;
    entry.size = value?.text.length ?? 0;
    settle(key, entry);
    if (value === undefined) {
      superseded.add(revision, revision, rowBytes(key, 0));
      return { type: 'delete', key, revision };
    }
    return { type: 'put', key, revision, created: replaces === 0, value };
  }

  function settle(key: string, entry: IndexEntry): void {
    entry.pending -= 1;
    if (entry.pending === 0 && entry.committed === 0) index.delete(key);
  }

  /**
   * Writes that were staged on top of the failed ones fail with them, since they were decided on values that never
   * existed.
   */
  function onFailed(batch: readonly StagedWrite[], err: unknown): void {
    const noRoom = err instanceof StorageError && err.isFull;
    const reason = noRoom ? insufficientStorage(fullText(driver.refusal() ?? err.message)) : err;
    // The driver says itself how long a full disk is one.
    if (!noRoom) failure = err instanceof Error ? err : new Error(String(err));
    const writes = [...batch, ...queue];
    // On a full disk what needs room fails alone, once; the rest is what makes room.
    const isFull = noRoom && !mayUseReserve;
    const failedKeys = new Set<string>();
    const failed: StagedWrite[] = [];
    queue = [];
    for (const write of writes) {
      if (isFull && write.mayUseReserve && !failedKeys.has(write.key)) {
        queue.push(write);
        continue;
      }
      failed.push(write);
      if (failedKeys.has(write.key)) continue;
      failedKeys.add(write.key);
      write.entry.staged = write.replaces;
      write.entry.stagedSize = write.replacesSize;
    }
    for (const { key, entry } of failed) settle(key, entry);
    mayUseReserve = isFull && queue.length > 0;
    busy = false;
    pump();
    for (const { reject } of failed) reject(reason);
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

  /** This has no caller that could receive a failure. The next commit meets the same disk and reports it. */
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
    const replacesSize = entry?.stagedSize ?? 0;
    const size = value?.text.length ?? 0;
    const isAlways = value === undefined || value.always === true;
    const growth = staged === 0 ? Number.POSITIVE_INFINITY : size - replacesSize;
    const refusal = isAlways || growth <= toleratedGrowth ? undefined : driver.refusal();
    if (refusal !== undefined) return Promise.reject(insufficientStorage(fullText(refusal)));
    if (entry === undefined) {
      entry = { committed: 0, staged: 0, size: 0, stagedSize: 0, pending: 0 };
      index.set(key, entry);
    }
    const takesReserve = value === undefined || growth <= (isAlways ? toleratedGrowthOfReserve : toleratedGrowth);
    const revision = nextRevision;
    nextRevision += 1;
    entry.staged = value === undefined ? 0 : revision;
    entry.stagedSize = size;
    entry.pending += 1;
    cancelIdle?.();
    cancelIdle = undefined;
    const target = entry;
    return new Promise((resolve, reject) => {
      queue.push({ key, value, revision, replaces: staged, replacesSize, mayUseReserve: takesReserve, entry: target, resolve, reject });
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
    const entries: StoredEntry[] = [];
    const sized = page.map(([key, committed]) => ({ key, revision: committed, size: index.get(key)?.size ?? 0 }));
    for (const part of partsOf(sized)) {
      const texts = await driver.read(part.map(({ revision: committed }) => committed));
      for (const { key, revision: committed } of part) {
        const text = texts.get(committed);
        if (text === undefined) throw new Error(`row ${committed} of ${key} is missing from the log`);
        entries.push({ key, text, revision: committed });
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

  async function history({ maxChanges, maxSize, onChanges }: HistoryOptions): Promise<void> {
    const upTo = currentRevision;
    const after = historyStart(maxChanges, maxSize);
    for (let last = compactedRevision; last < after; ) {
      const page = await driver.keysAfter(last, historyKeysRows);
      const older = page.filter(({ revision }) => revision <= after);
      if (older.length > 0) await onChanges(older.map(({ revision, key }) => ({ revision, key, values: undefined })));
      last = page.length === older.length ? (page.at(-1)?.revision ?? after) : after;
    }
    // The values that the first change of each key replaced: later ones replaced a value that is given already.
    const replaced = superseded.replacedIn({ after, upTo });
    for (let last = after; last < upTo; ) {
      const rows = (await driver.readAfter(last, historyPageRows)).filter(({ revision }) => revision <= upTo);
      const befores = await textsOf(rows.flatMap(({ revision }) => replaced.get(revision) ?? []));
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
  function historyStart(maxChanges: number, maxSize: number): number {
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

  async function textsOf(rows: readonly SupersededRow[]): Promise<ReadonlyMap<number, string>> {
    const texts = new Map<number, string>();
    for (const part of partsOf(rows.map(({ revision, bytes }) => ({ revision, size: bytes })))) {
      for (const [revision, text] of await driver.read(part.map(({ revision }) => revision))) texts.set(revision, text);
    }
    return texts;
  }

  /** Delivers what was committed between `afterRevision` and now, and joins the live events without a gap. */
  async function replay(watcher: Watcher): Promise<void> {
    const { options } = watcher;
    while (watcher.after < currentRevision) {
      const upTo = currentRevision;
      const rows = await driver.readAfter(watcher.after, historyPageRows);
      if (options.signal.aborted) return;
      if (watcher.after < compactedRevision) throw tooOld(watcher.after);
      const last = rows.at(-1);
      const events = rows
        .filter(({ revision }) => revision <= upTo)
        .map(
          ({ revision, key, text }): StorageEvent =>
            text === null
              ? { type: 'delete', key, revision }
              : { type: 'put', key, revision, created: !superseded.hasReplaced(revision), value: { text } },
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
    // Written to the disk before the first row goes, so that a restart does not promise history that it lacks.
    await inLane(() => timed('compact', driver.setCompacted(target)));
    while (superseded.isAnyBefore(target)) {
      await inLane(async () => {
        if (reads > 0) return;
        const slice = superseded.sliceBefore(target);
        await timed('compact', driver.remove(slice));
        superseded.drop(slice.length);
      });
      // Lets writers and reads that came meanwhile go first.
      await new Promise<void>((resolve) => setImmediate(resolve));
    }
  }

  scheduleIdle();

  return {
    get currentRevision() {
      return currentRevision;
    },
    get compactedRevision() {
      return compactedRevision;
    },
    get failure() {
      if (failure !== undefined) return failure;
      const refusal = driver.refusal();
      return refusal === undefined ? undefined : insufficientStorage(fullText(refusal));
    },
    damage,
    get: (key) =>
      reading(async () => {
        const revision = index.get(key)?.committed ?? 0;
        if (revision === 0) return undefined;
        const text = (await driver.read([revision])).get(revision);
        return text === undefined ? undefined : { key, text, revision };
      }),
    range: (options) => reading(() => range(options)),
    history: (options) => reading(() => history(options)),
    create: (key, value) => stage(key, value, 0),
    update: (key, value, expectedRevision) =>
      expectedRevision === 0
        ? Promise.resolve({ ok: false, currentRevision: index.get(key)?.staged ?? 0 })
        : stage(key, value, expectedRevision),
    delete: (key, expectedRevision) => stage(key, undefined, expectedRevision),
    watch,
    revisionKeeping: (bytes) => superseded.revisionKeeping(bytes) ?? compactedRevision,
    inLane,
    compact(revision) {
      const target = Math.min(revision, currentRevision);
      const next = compaction.then(() => compactTo(target));
      // A failed compaction rejects for its caller, and the next one runs.
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

const fullText = (why: string): string =>
  `${why}: deletions and changes that need no room are accepted, all else is refused. Free some room; writes work again by themselves then.`;

function countDamage(metrics: Metrics | undefined, damage: readonly Damage[]): void {
  const rows = metrics?.counter({
    name: 'store_damaged_rows_total',
    help: 'Rows of the store that were set aside because they were damaged.',
  });
  const missing = metrics?.counter({
    name: 'store_missing_revisions_total',
    help: 'Revisions that were acknowledged once and that the store lacks.',
  });
  for (const each of damage) {
    if (each.type === 'row') rows?.inc();
    if (each.type === 'missing') missing?.inc(each.upTo - each.after);
  }
}
