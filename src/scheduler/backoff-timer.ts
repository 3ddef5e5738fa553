import type { Clock } from '../base/clock.ts';
import type { QueuedPod, SchedulingQueue } from './queue.ts';

/** Wakes when the next back-off of the queue ends. */
export interface BackoffTimer {
  /** Sets the timer for what waits now; called whenever a pod begins to wait. */
  arm(): void;
  /** Ends the timer; `arm` does nothing from then on. */
  stop(): void;
}

export interface BackoffTimerOptions {
  readonly clock: Clock;
  readonly queue: SchedulingQueue;
  onExpired(pod: QueuedPod): void;
}

export function createBackoffTimer({ clock, queue, onExpired }: BackoffTimerOptions): BackoffTimer {
  let cancel: (() => void) | undefined;
  let isStopped = false;

  function arm(): void {
    cancel?.();
    cancel = undefined;
    const at = queue.nextBackoffAt;
    if (at === undefined || isStopped) return;
    cancel = clock.after(Math.max(0, at - clock.monotonicMs()), () => {
      for (const pod of queue.expiredBackoffs()) onExpired(pod);
      arm();
    });
  }

  return {
    arm,
    stop() {
      isStopped = true;
      cancel?.();
    },
  };
}
