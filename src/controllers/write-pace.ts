import type { Clock } from '../base/clock.ts';
import type { Controller } from '../reconcile/controller.ts';

/** Collects changes of an object's sources for a while after its last write, so that a rollout of a thousand pods is some writes. */
export interface WritePace {
  /** Queues the key: at once, or when enough time has passed since its last write. */
  collect(key: string): void;
  noteWrite(key: string): void;
  forget(key: string): void;
}

export interface WritePaceOptions {
  readonly clock: Clock;
  readonly collectMs: number;
  readonly controller: Pick<Controller, 'enqueueAfter'>;
}

export function createWritePace({ clock, collectMs, controller }: WritePaceOptions): WritePace {
  const lastWriteAt = new Map<string, number>();
  return {
    collect(key) {
      const last = lastWriteAt.get(key);
      controller.enqueueAfter(key, last === undefined ? 0 : Math.max(0, last + collectMs - clock.monotonicMs()));
    },
    noteWrite: (key) => void lastWriteAt.set(key, clock.monotonicMs()),
    forget: (key) => void lastWriteAt.delete(key),
  };
}
