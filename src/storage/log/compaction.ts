import type { LogDriver } from './driver.ts';
import type { Lane } from './lane.ts';
import type { LogMetrics } from './metrics.ts';
import type { LogReader } from './reader.ts';
import type { LogState } from './state.ts';

/** Forgets superseded rows, one request after the other. */
export interface Compaction {
  compact(revision: number): Promise<void>;
  purge(): Promise<void>;
}

export interface CompactionOptions {
  readonly driver: Pick<LogDriver, 'setCompacted' | 'remove' | 'rewrite'>;
  readonly state: LogState;
  readonly lane: Pick<Lane, 'run'>;
  readonly reader: Pick<LogReader, 'isReading'>;
  readonly metrics: Pick<LogMetrics, 'timed'>;
}

export function createCompaction({ driver, state, lane, reader, metrics }: CompactionOptions): Compaction {
  let newest: Promise<void> = Promise.resolve();

  async function compactTo(target: number): Promise<void> {
    if (target <= state.compactedRevision) return;
    state.compactedRevision = target;
    // Written to the disk before the first row goes, so that a restart does not promise history that it lacks.
    await lane.run(() => metrics.timed('compact', driver.setCompacted(target)));
    while (state.superseded.isAnyBefore(target)) {
      await lane.run(async () => {
        if (reader.isReading) return;
        const slice = state.superseded.sliceBefore(target);
        await metrics.timed('compact', driver.remove(slice));
        state.superseded.drop(slice.length);
      });
      // Lets writers and reads that came meanwhile go first.
      await new Promise<void>((resolve) => setImmediate(resolve));
    }
  }

  function next(work: () => Promise<void>): Promise<void> {
    const done = newest.then(work);
    // A failed compaction rejects for its caller, and the next one runs.
    newest = done.catch(() => undefined);
    return done;
  }

  return {
    compact(revision) {
      const target = Math.min(revision, state.currentRevision);
      return next(() => compactTo(target));
    },
    purge: () =>
      next(async () => {
        await compactTo(state.currentRevision);
        await lane.run(() => metrics.timed('purge', driver.rewrite()));
      }),
  };
}
