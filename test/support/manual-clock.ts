import type { Clock } from '../../src/base/clock.ts';

/** A clock that moves only when a test says so. */
export interface ManualClock extends Clock {
  /** Moves time forward and runs what falls due, in order of time. */
  advance(ms: number): void;
  /** Timers that are set now. */
  readonly pending: number;
}

export function createManualClock(startMs = Date.parse('2026-01-01T00:00:00Z')): ManualClock {
  let elapsed = 0;
  let sequence = 0;
  const timers = new Map<number, { readonly at: number; readonly action: () => void }>();
  return {
    now: () => startMs + elapsed,
    monotonicMs: () => elapsed,
    after(delayMs, action) {
      sequence += 1;
      const id = sequence;
      timers.set(id, { at: elapsed + Math.max(0, delayMs), action });
      return () => timers.delete(id);
    },
    advance(ms) {
      const until = elapsed + ms;
      for (;;) {
        let next: { readonly id: number; readonly at: number; readonly action: () => void } | undefined;
        for (const [id, { at, action }] of timers) {
          if (at <= until && (next === undefined || at < next.at)) next = { id, at, action };
        }
        if (next === undefined) break;
        timers.delete(next.id);
        elapsed = Math.max(elapsed, next.at);
        next.action();
      }
      elapsed = until;
    },
    get pending() {
      return timers.size;
    },
  };
}
