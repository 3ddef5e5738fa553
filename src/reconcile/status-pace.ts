import type { Clock } from '../base/clock.ts';

/**
 * Limits how often the status of one object is written: counters of a rollout change with every commit, and nobody reads each of them.
 * A status that is final, or the first in a while, goes out at once.
 */
export interface StatusPace {
  /** Milliseconds to wait before the status of `key` may be written. 0 allows the write now and records it. */
  delay(key: string, options: { readonly final: boolean }): number;
  forget(key: string): void;
}

/** One write in this time for each object. */
const intervalMs = 20;

export function createStatusPace(clock: Clock): StatusPace {
  const writtenAt = new Map<string, number>();
  return {
    delay(key, { final }) {
      const now = clock.monotonicMs();
      const last = writtenAt.get(key);
      if (!final && last !== undefined && now - last < intervalMs) return intervalMs - (now - last);
      writtenAt.set(key, now);
      return 0;
    },
    forget(key) {
      writtenAt.delete(key);
    },
  };
}
