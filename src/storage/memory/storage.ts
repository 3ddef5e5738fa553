import { type Clock, systemClock } from '../../base/clock.ts';
import type { Metrics } from '../../base/metrics.ts';
import { openLogStorage } from '../log/storage.ts';
import type { Storage } from '../storage.ts';
import { createMemoryDriver } from './driver.ts';

/** A store that lives as long as its process, with every promise of `Storage` except durability. */
export function openMemoryStorage({
  clock = systemClock,
  metrics,
}: {
  readonly clock?: Clock;
  readonly metrics?: Metrics;
} = {}): Promise<Storage> {
  return openLogStorage({ driver: createMemoryDriver(), clock, metrics });
}
