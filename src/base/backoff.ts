import { BoundedMap } from './bounded-map.ts';

/** Exponential back-off by key, as client-go's ItemExponentialFailureRateLimiter; the number of keys is bounded. */
export interface Backoff {
  /** The delay before the next try of `key`, which then has failed once more. */
  next(key: string): number;
  /** The key succeeded or is gone. */
  forget(key: string): void;
  failures(key: string): number;
}

export interface BackoffOptions {
  readonly baseMs: number;
  readonly maxMs: number;
  /** Share of the delay that is random, 0 to 1; `random` gives [0, 1). */
  readonly jitter?: number;
  readonly random?: () => number;
  /** Keys remembered at most; the oldest is forgotten, which only makes its next try earlier. */
  readonly maxKeys?: number;
}

export function createBackoff({ baseMs, maxMs, jitter = 0, random = Math.random, maxKeys = 100_000 }: BackoffOptions): Backoff {
  const failures = new BoundedMap<string, number>(maxKeys);
  return {
    next(key) {
      const count = failures.get(key) ?? 0;
      failures.set(key, count + 1);
      const delay = Math.min(maxMs, baseMs * 2 ** Math.min(count, 50));
      return delay * (1 - jitter + jitter * random());
    },
    forget(key) {
      failures.delete(key);
    },
    failures: (key) => failures.get(key) ?? 0,
  };
}
