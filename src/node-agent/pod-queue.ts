import type { Clock } from '../base/clock.ts';
import type { Component } from '../base/component.ts';
import type { Log } from '../base/log.ts';
import { type Controller, createController } from '../reconcile/controller.ts';

/**
 * The turns of pod workers. Agents of one process share it. A burst of pods on hundreds of nodes is worked on in slices of a few
 * milliseconds, not in one turn.
 */
export interface PodQueue extends Component {
  /** `worker` is called for `id` when it was woken, never twice at the same time. */
  add(id: string, worker: QueuedWorker): void;
  remove(id: string): void;
  wake(id: string, delayMs?: number): void;
}

export interface QueuedWorker {
  sync(): Promise<void>;
}

export interface PodQueueOptions {
  readonly clock: Clock;
  readonly log: Log;
}

/** Passes wait for the runtime and the API most of their time; what bounds their work is there. */
const maxPasses = 4_096;
const minBackoffMs = 200;

export function createPodQueue({ clock, log }: PodQueueOptions): PodQueue {
  const workers = new Map<string, QueuedWorker>();
  const controller: Controller = createController({
    name: 'node-agent',
    clock,
    log,
    workers: maxPasses,
    minBackoffMs,
    async reconcile(id) {
      await workers.get(id)?.sync();
      return undefined;
    },
  });
  return {
    name: 'pod-queue',
    start: (options) => controller.start(options),
    stop: () => controller.stop(),
    add(id, worker) {
      workers.set(id, worker);
    },
    remove(id) {
      workers.delete(id);
    },
    wake(id, delayMs = 0) {
      if (workers.has(id)) controller.enqueueAfter(id, delayMs);
    },
  };
}
