import type { Clock } from '../../base/clock.ts';

export interface RecentSet {
  /** True when the key was not seen within the window; it is remembered from now on. */
  add(key: string): boolean;
  /** It is as if the key had not been seen. */
  delete(key: string): void;
}

export interface RecentSetOptions {
  readonly clock: Clock;
  readonly windowMs: number;
  /** At this many the oldest is forgotten, whatever its age. */
  readonly maxEntries: number;
}

/** Remembers keys for a while. */
export function createRecentSet({ clock, windowMs, maxEntries }: RecentSetOptions): RecentSet {
  const seenAt = new Map<string, number>();
  return {
    add(key) {
      const now = clock.monotonicMs();
      for (const [oldest, at] of seenAt) {
        if (now - at < windowMs && seenAt.size < maxEntries) break;
        seenAt.delete(oldest);
      }
      if (seenAt.has(key)) return false;
      seenAt.set(key, now);
      return true;
    },
    delete(key) {
      seenAt.delete(key);
    },
  };
}
