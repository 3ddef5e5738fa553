import type { Clock } from '../../base/clock.ts';

/** How many messages a provider gets: a burst, then a steady rate, so that one push of a thousand apps is no flood. */
export interface SendRate {
  /** 0 when one may be sent now, which then counts; else the time to wait. */
  take(provider: string): number;
}

const burst = 20;
const perSecond = 5;
const maxProviders = 1_000;

export function createSendRate(clock: Clock): SendRate {
  const buckets = new Map<string, { tokens: number; at: number }>();
  return {
    take(provider) {
      const now = clock.monotonicMs();
      const bucket = buckets.get(provider) ?? { tokens: burst, at: now };
      bucket.tokens = Math.min(burst, bucket.tokens + ((now - bucket.at) / 1_000) * perSecond);
      bucket.at = now;
      buckets.delete(provider);
      buckets.set(provider, bucket);
      // One that was not used for long is full again, and may be forgotten.
      if (buckets.size > maxProviders) buckets.delete(buckets.keys().next().value ?? '');
      if (bucket.tokens < 1) return ((1 - bucket.tokens) / perSecond) * 1_000;
      bucket.tokens -= 1;
      return 0;
    },
  };
}
