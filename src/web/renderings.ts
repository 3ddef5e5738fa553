import { BoundedMap } from '../base/bounded-map.ts';
import type { Clock } from '../base/clock.ts';
import type { Pace } from './pace.ts';

/** Makes what belongs to a path from the caches, once for all who ask for it. */
export interface Renderings<T> {
  /**
   * As it was at most 200 ms ago.
   *
   * @throws Busy when it is not there and cannot be made now
   */
  get(key: string, make: () => T): Promise<T>;
  /** Made after this call. */
  renew(key: string, make: () => T): Promise<T>;
}

const maxAgeMs = 200;
/** Bounds the finished ones; the pace bounds those that wait. */
const maxKept = 64;

export function createRenderings<T>({ pace, clock }: { readonly pace: Pace; readonly clock: Clock }): Renderings<T> {
  const waiting = new Map<string, Promise<T>>();
  const kept = new BoundedMap<string, T>(maxKept);

  function renew(key: string, make: () => T): Promise<T> {
    const before = waiting.get(key);
    if (before !== undefined) return before;
    const next = pace.run(() => {
      // A change that comes from now on is not in it.
      waiting.delete(key);
      const made = make();
      keep(key, made);
      return made;
    });
    waiting.set(key, next);
    next.catch(() => {
      if (waiting.get(key) === next) waiting.delete(key);
    });
    return next;
  }

  function keep(key: string, made: T): void {
    kept.set(key, made);
    clock.after(maxAgeMs, () => {
      if (kept.get(key) === made) kept.delete(key);
    });
  }

  return {
    async get(key, make) {
      const last = kept.get(key);
      // A path without a page (undefined) is kept, too.
      return last !== undefined || kept.has(key) ? (last as T) : renew(key, make);
    },
    renew,
  };
}
