import type { Backoff } from './backoff.ts';
import type { Clock } from './clock.ts';

/**
 * Keys to work on. A key that waits is there once. A key that is being worked on and added again comes back when its worker is done.
 * The rules are client-go's workqueue; the number of waiting keys is bounded by the number of objects, since a key is its name.
 */
export interface WorkQueue {
  add(key: string): void;
  /** Adds after `delayMs`; an earlier time wins over a later one that is pending. */
  addAfter(key: string, delayMs: number): void;
  /** Adds after the key's back-off. */
  addRateLimited(key: string): void;
  /** The key succeeded: its next failure starts with the shortest back-off. */
  forget(key: string): void;
  /** A key to work on; `done` must be called for it. */
  take(): string | undefined;
  done(key: string): void;
  readonly depth: number;
  /** Keys whose time has not come. */
  readonly waiting: number;
  /** Drops all keys and timers. */
  close(): void;
}

export interface WorkQueueOptions {
  readonly clock: Clock;
  readonly backoff: Backoff;
  /** Called when a key may be taken; once for many keys is fine. */
  onReady(): void;
  readonly observer?: WorkQueueObserver;
}

/** Sees what the `workqueue_*` metrics count. */
export interface WorkQueueObserver {
  added(): void;
  retried(): void;
  /** `waitedMs` from add to take. */
  taken(waitedMs: number): void;
  finished(workedMs: number): void;
}

export function createWorkQueue({ clock, backoff, onReady, observer }: WorkQueueOptions): WorkQueue {
  const ready = new Map<string, number>();
  const working = new Map<string, number>();
  const again = new Set<string>();
  const timers = new Map<string, { readonly at: number; readonly cancel: () => void }>();
  let closed = false;

  const cancelTimer = (key: string): void => {
    timers.get(key)?.cancel();
    timers.delete(key);
  };

  const queue: WorkQueue = {
    add(key) {
      if (closed) return;
      cancelTimer(key);
      if (working.has(key)) {
        if (!again.has(key)) observer?.added();
        again.add(key);
        return;
      }
      if (ready.has(key)) return;
      observer?.added();
      ready.set(key, clock.monotonicMs());
      onReady();
    },
    addAfter(key, delayMs) {
      if (closed) return;
      if (delayMs <= 0) {
        queue.add(key);
        return;
      }
      const at = clock.monotonicMs() + delayMs;
      const pending = timers.get(key);
      if (pending !== undefined && pending.at <= at) return;
      cancelTimer(key);
      const cancel = clock.after(delayMs, () => {
        timers.delete(key);
        queue.add(key);
      });
      timers.set(key, { at, cancel });
    },
    addRateLimited(key) {
      observer?.retried();
      queue.addAfter(key, backoff.next(key));
    },
    forget: (key) => backoff.forget(key),
    take() {
      const first = ready.entries().next();
      if (first.done) return undefined;
      const [key, addedAt] = first.value;
      ready.delete(key);
      const now = clock.monotonicMs();
      working.set(key, now);
      observer?.taken(now - addedAt);
      return key;
    },
    done(key) {
      const startedAt = working.get(key);
      if (startedAt === undefined) return;
      working.delete(key);
      observer?.finished(clock.monotonicMs() - startedAt);
      if (again.delete(key) && !closed) {
        ready.set(key, clock.monotonicMs());
        onReady();
      }
    },
    get depth() {
      return ready.size;
    },
    get waiting() {
      return timers.size;
    },
    close() {
      closed = true;
      for (const { cancel } of timers.values()) cancel();
      timers.clear();
      ready.clear();
      again.clear();
    },
  };
  return queue;
}
