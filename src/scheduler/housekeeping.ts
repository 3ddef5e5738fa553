import type { Clock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import type { SchedulerCache } from './cache.ts';
import type { PodSteps } from './pod-steps.ts';
import type { QueuedPod, SchedulingQueue } from './queue.ts';

const housekeepingMs = 5_000;
/** A pod that waits for a change of the cluster is tried again after this time in any case. A hint may have been too narrow. */
const maxParkedMs = 5 * 60_000;

export interface HousekeepingOptions {
  readonly clock: Clock;
  readonly log: Log;
  readonly cache: SchedulerCache;
  readonly queue: SchedulingQueue;
  readonly advance: PodSteps['advance'];
  retry(pod: QueuedPod): void;
}

/**
 * Finds promises that nobody confirmed in time, and pods that were parked for too long, now and every five seconds. Returns a function
 * that ends it.
 */
export function startHousekeeping({ clock, log, cache, queue, advance, retry }: HousekeepingOptions): () => void {
  let cancel: () => void;
  keepHouse();
  return () => cancel();

  function keepHouse(): void {
    for (const key of cache.expired()) {
      const pod = queue.get(key);
      log.warn({ pod: key }, 'Bound pod was not confirmed in time');
      if (pod === undefined) cache.forget(key);
      else advance(pod, { type: 'ASSUMPTION_EXPIRED' });
    }
    const now = clock.monotonicMs();
    for (const pod of [...queue.parked()]) if (now - pod.parkedAt > maxParkedMs) retry(pod);
    cancel = clock.after(housekeepingMs, keepHouse);
  }
}
