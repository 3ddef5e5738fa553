import { createBackoff } from './backoff.ts';
import type { Clock } from './clock.ts';
import { createWorkQueue, type WorkQueue } from './work-queue.ts';

export interface WorkLoopOptions {
  readonly clock: Clock;
  work(key: string): Promise<void>;
  /** Reports a failure; the key comes back by itself. */
  onFailure(key: string, err: unknown): void;
}

/**
 * Works on the keys that are added to the queue, one at a time. A key that fails comes back after 0.1 s, and after at most a minute when
 * it goes on failing.
 */
export function createWorkLoop({ clock, work, onFailure }: WorkLoopOptions): WorkQueue {
  let isWorking = false;
  const queue = createWorkQueue({
    clock,
    backoff: createBackoff({ baseMs: 100, maxMs: 60_000 }),
    onReady() {
      if (!isWorking) void workOff();
    },
  });

  async function workOff(): Promise<void> {
    isWorking = true;
    for (let key = queue.take(); key !== undefined; key = queue.take()) {
      try {
        await work(key);
        queue.forget(key);
      } catch (err) {
        onFailure(key, err);
        queue.addRateLimited(key);
      }
      queue.done(key);
    }
    isWorking = false;
  }

  return queue;
}
