import type { Clock } from '../../base/clock.ts';

/**
 * Runs work of many streams that becomes due at once, for example after a commit with a thousand watchers. The work is
 * done in order, some milliseconds in each turn of the event loop. Requests in between do not wait for all of it.
 */
export interface TurnQueue {
  /** `task` runs once, in a later turn; it must not throw. The queue is as long as there are streams, since each waits in it once. */
  add(task: () => void): void;
}

export function createTurnQueue({ clock, sliceMs }: { readonly clock: Clock; readonly sliceMs: number }): TurnQueue {
  let due: (() => void)[] = [];
  let next = 0;
  let scheduled = false;

  const run = (): void => {
    const startedAt = clock.monotonicMs();
    for (let task = due[next]; task !== undefined; task = due[next]) {
      next += 1;
      task();
      if (clock.monotonicMs() - startedAt > sliceMs) break;
    }
    scheduled = next < due.length;
    if (scheduled) {
      setImmediate(run);
      return;
    }
    due = [];
    next = 0;
  };

  return {
    add(task) {
      due.push(task);
      if (scheduled) return;
      scheduled = true;
      setImmediate(run);
    },
  };
}
