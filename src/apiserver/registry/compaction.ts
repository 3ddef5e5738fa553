import type { Clock } from '../../base/clock.ts';
import type { Log } from '../../base/log.ts';
import { isInsufficientStorage } from '../../machinery/status-error.ts';
import type { Registry } from './registry.ts';

/** Often, since writes of large objects bring some 100 MB a second; a look costs microseconds. */
const everyMs = 1_000;
const markEveryMs = 10_000;
/** History that watches go on from after a restart; while it runs, this process has its own window. */
const keepMs = 5 * 60_000;
/** Revisions kept at most, whatever their age: a burst writes thousands a second. */
const keepRevisions = 20_000;
/** Fewer than this are not worth a round by age and count. */
const minRevisions = 1_000;
/** Superseded values kept at most: where they take more than the first, the newest of the second stay. */
const maxHistoryBytes = 128 * 1024 * 1024;
const keepHistoryBytes = 64 * 1024 * 1024;

export interface CompactionOptions {
  readonly registry: Pick<Registry, 'revision' | 'storage'>;
  readonly clock: Clock;
  readonly log: Log;
}

/**
 * Lets the store drop old revisions by age, count and size, a little at a time, before a person has to act. On a nearly
 * full disk it keeps no history: room for objects is worth more than watches that resume after a restart.
 */
export function startCompaction({ registry, clock, log }: CompactionOptions): { stop(): void } {
  // Revisions at some moments of the last five minutes, oldest first.
  let marks: { readonly at: number; readonly revision: number }[] = [];
  let stopped = false;
  let wasFull = false;
  let cancel = clock.after(everyMs, () => void round());

  async function round(): Promise<void> {
    const now = clock.monotonicMs();
    const { storage, revision } = registry;
    if (now - (marks.at(-1)?.at ?? Number.NEGATIVE_INFINITY) >= markEveryMs) marks.push({ at: now, revision });
    const old = marks.filter(({ at }) => at <= now - keepMs);
    marks = marks.slice(Math.max(old.length - 1, 0));
    const target = Math.max(old.at(-1)?.revision ?? 0, revision - keepRevisions);
    const bySize = storage.revisionKeeping(maxHistoryBytes) > storage.compactedRevision ? storage.revisionKeeping(keepHistoryBytes) : 0;
    const isFull = noteRoom(storage.failure);
    try {
      if (isFull) await storage.compact(revision);
      else if (bySize > 0 || target - storage.compactedRevision >= minRevisions) await storage.compact(Math.max(target, bySize));
    } catch (err) {
      log.warn({ err, revision: target }, 'Could not compact the store');
    }
    if (!stopped) cancel = clock.after(everyMs, () => void round());
  }

  function noteRoom(failure: Error | undefined): boolean {
    const isFull = failure !== undefined && isInsufficientStorage(failure);
    if (isFull && !wasFull) log.warn({ err: failure }, 'Refused writes that need room');
    if (!isFull && wasFull) log.info('Accepted all writes again');
    wasFull = isFull;
    return isFull;
  }

  return {
    stop() {
      stopped = true;
      cancel();
    },
  };
}
