import type { Clock } from '../../base/clock.ts';
import type { Log } from '../../base/log.ts';
import type { Registry } from './registry.ts';

const everyMs = 10_000;
/** History that other processes may still read from the store; this one has its own window. */
const keepMs = 5 * 60_000;
/** Revisions kept at most, whatever their age: a burst writes thousands a second. */
const keepRevisions = 20_000;
/** Fewer than this are not worth a round. */
const minRevisions = 1_000;

export interface CompactionOptions {
  readonly registry: Pick<Registry, 'revision' | 'storage'>;
  readonly clock: Clock;
  readonly log: Log;
}

/** Lets the store forget old revisions, a little every ten seconds, so that it never grows until somebody has to act. */
export function startCompaction({ registry, clock, log }: CompactionOptions): { stop(): void } {
  // What the revision was at some moments of the last five minutes, oldest first.
  let marks: { readonly at: number; readonly revision: number }[] = [];
  let stopped = false;
  let cancel = clock.after(everyMs, () => void round());

  async function round(): Promise<void> {
    const now = clock.monotonicMs();
    marks.push({ at: now, revision: registry.revision });
    const old = marks.filter(({ at }) => at <= now - keepMs);
    marks = marks.slice(Math.max(old.length - 1, 0));
    const target = Math.max(old.at(-1)?.revision ?? 0, registry.revision - keepRevisions);
    try {
      if (target - registry.storage.compactedRevision >= minRevisions) await registry.storage.compact(target);
    } catch (err) {
      log.warn({ err, revision: target }, 'Could not compact the store');
    }
    if (!stopped) cancel = clock.after(everyMs, () => void round());
  }

  return {
    stop() {
      stopped = true;
      cancel();
    },
  };
}
