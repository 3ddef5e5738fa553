import { BoundedMap } from '../../base/bounded-map.ts';
import type { Clock } from '../../base/clock.ts';

/**
 * Paces messages to a provider: a burst, then a steady rate, so that one push of a thousand apps is no flood. It
 * honours `Retry-After`, and sends few at a time, so that a silent provider keeps no other waiting.
 */
export interface SendRate {
  /**
   * 0 when the message may be sent now; it then counts as under way until `done`. Else milliseconds until its turn, which
   * is kept for it: a caller who asks earlier waits for the rest.
   */
  take(provider: string, message: string): number;
  /** A message that was taken is sent, or is not. */
  done(provider: string): void;
  /** Nothing is sent for so long. */
  pause(provider: string, ms: number): void;
}

const burst = 20;
const intervalMs = 200;
const maxAtOnce = 2;
const maxProviders = 1_000;
/** A turn that nobody comes for: the message was overtaken by another, or has nobody to go to any more. */
const keptTurnMs = 60_000;

interface Queue {
  /** Turn of the next message that asks; up to a burst in the past when none did for long. */
  next: number;
  readonly turns: Map<string, number>;
  atOnce: number;
  pausedUntil: number;
}

export function createSendRate(clock: Clock): SendRate {
  /** A provider that was not used for long has all of its burst again, and may be forgotten. */
  const queues = new BoundedMap<string, Queue>(maxProviders);

  function queueOf(provider: string): Queue {
    const queue = queues.get(provider) ?? {
      next: Number.NEGATIVE_INFINITY,
      turns: new Map(),
      atOnce: 0,
      pausedUntil: Number.NEGATIVE_INFINITY,
    };
    queues.set(provider, queue);
    return queue;
  }

  return {
    take(provider, message) {
      const now = clock.monotonicMs();
      const queue = queueOf(provider);
      for (const [other, at] of queue.turns) {
        if (at > now - keptTurnMs) break;
        queue.turns.delete(other);
      }
      const turn = queue.turns.get(message);
      if (turn !== undefined && turn > now) return turn - now;
      queue.turns.delete(message);
      const isBusy = queue.atOnce >= maxAtOnce || queue.pausedUntil > now;
      if (turn === undefined || isBusy) {
        const at = Math.max(queue.next, now - (burst - 1) * intervalMs, queue.pausedUntil);
        queue.next = at + intervalMs;
        if (at > now || isBusy) {
          const later = at > now ? at : now + intervalMs;
          queue.turns.set(message, later);
          return later - now;
        }
      }
      queue.atOnce += 1;
      return 0;
    },
    done(provider) {
      const queue = queues.get(provider);
      if (queue !== undefined) queue.atOnce = Math.max(0, queue.atOnce - 1);
    },
    pause(provider, ms) {
      const queue = queueOf(provider);
      queue.pausedUntil = Math.max(queue.pausedUntil, clock.monotonicMs() + ms);
    },
  };
}
