import type { Clock } from '../../base/clock.ts';
import type { Metrics } from '../../base/metrics.ts';
import type { Storage } from '../storage.ts';
import { createWatchers } from '../watchers.ts';
import { createCompaction } from './compaction.ts';
import { countDamage, repairLog } from './damage.ts';
import type { LogDriver } from './driver.ts';
import { createGroupCommit, type GroupCommit } from './group-commit.ts';
import { createLane, type Lane } from './lane.ts';
import { createLogMetrics, type LogMetrics } from './metrics.ts';
import { createLogReader } from './reader.ts';
import { createLogState, noteLoaded } from './state.ts';

/**
 * `Storage` over a log of rows: the part that all embedded backends share, so that their promises cannot differ.
 *
 * Memory holds each key's newest revision and the list of superseded rows (`state.ts`), never values. Writes are staged at once and
 * committed in groups (`group-commit.ts`). One lane (`lane.ts`) gives commits, compaction and housekeeping to the driver in turn.
 */
export interface LogStorageOptions {
  readonly driver: LogDriver;
  readonly clock: Clock;
  readonly metrics?: Metrics | undefined;
}

export interface LogStorage extends Storage {
  /** Runs `work` when no commit, compaction or other work of the driver is under way; they wait for its end. */
  inLane(work: () => Promise<void>): Promise<void>;
}

export async function openLogStorage({ driver, clock, metrics: registry }: LogStorageOptions): Promise<LogStorage> {
  const metrics = createLogMetrics(registry, clock);
  const state = createLogState();
  const loaded = await metrics.timed(
    'load',
    driver.load((row) => noteLoaded(state, row)),
  );
  state.compactedRevision = loaded.compactedRevision;
  // The newest row may have been a deletion that compaction removed: the sequence must not go back.
  state.currentRevision = Math.max(state.currentRevision, loaded.compactedRevision);
  const damage = await repairLog(state, loaded, driver);
  countDamage(registry, damage);
  state.nextRevision = state.currentRevision + 1;

  const watchers = createWatchers();
  const commits: GroupCommit = createGroupCommit({
    driver,
    state,
    metrics,
    onStaged: () => lane.wakeUp(),
    beforeDone: () => lane.tidyUp(),
    onEvents: watchers.notifyAll,
  });
  const lane: Lane = createLane({
    clock,
    hasCommit: () => commits.isWaiting,
    beginCommit: commits.begin,
    due: (moment) => housekeepingOf(driver.tidy(moment), metrics),
  });
  const reader = createLogReader({ driver, state, watchers });
  const compaction = createCompaction({ driver, state, lane, reader, metrics });
  let closing: Promise<void> | undefined;

  async function close(): Promise<void> {
    await lane.close();
    watchers.end(closedError());
    await driver.close();
  }

  const whileOpen = <T>(work: () => Promise<T>): Promise<T> => (closing === undefined ? work() : Promise.reject(closedError()));

  return {
    isShared: false,
    get currentRevision() {
      return state.currentRevision;
    },
    get compactedRevision() {
      return state.compactedRevision;
    },
    get failure() {
      return commits.failure;
    },
    damage,
    latest: () => whileOpen(() => Promise.resolve(state.currentRevision)),
    get: (key) => whileOpen(() => reader.get(key)),
    range: (options) => whileOpen(() => reader.range(options)),
    history: (options) => whileOpen(() => reader.history(options)),
    watch: (options) => whileOpen(() => reader.watch(options)),
    create: (key, value) => whileOpen(() => commits.stage({ key, value, expected: 0 })),
    // Revision 0 would make the key.
    update: (key, value, expected) =>
      expected === 0
        ? Promise.resolve({ ok: false, currentRevision: state.index.get(key)?.staged ?? 0 })
        : whileOpen(() => commits.stage({ key, value, expected })),
    delete: (key, expected) => whileOpen(() => commits.stage({ key, value: undefined, expected })),
    revisionKeeping: (bytes) => state.superseded.revisionKeeping(bytes) ?? state.compactedRevision,
    inLane: lane.run,
    compact: compaction.compact,
    purge: compaction.purge,
    close() {
      closing ??= close();
      return closing;
    },
  };
}

const closedError = (): Error => new Error('the store is closed');

/** Housekeeping has no caller that could receive a failure. The next commit meets the same disk and reports it. */
function housekeepingOf(work: (() => Promise<void>) | undefined, metrics: LogMetrics): (() => Promise<void>) | undefined {
  if (work === undefined) return undefined;
  return async () => {
    try {
      await metrics.timed('checkpoint', work());
    } catch {
      metrics.countHousekeepingFailure();
    }
  };
}
