import type { Clock } from '../base/clock.ts';
import type { QueuedPod, SchedulingQueue } from './queue.ts';

/** Back-offs that may be cut short in a second because the queue is empty: it makes small clusters quick and costs large ones little. */
const maxEarlyRetries = 200;

/** With nothing else to do, a pod that a change may have helped need not sit out its back-off. */
export interface EarlyRetries {
  /** The pod to try now; undefined when none waits, or enough were tried early in this second. */
  take(): QueuedPod | undefined;
}

export function createEarlyRetries({ clock, queue }: { readonly clock: Clock; readonly queue: SchedulingQueue }): EarlyRetries {
  let since = 0;
  let count = 0;
  return {
    take() {
      const pod = queue.peekBackoff();
      if (pod === undefined) return undefined;
      const now = clock.monotonicMs();
      if (now - since >= 1_000) {
        since = now;
        count = 0;
      }
      if (count >= maxEarlyRetries) return undefined;
      count += 1;
      return pod;
    },
  };
}
