import { type Event, events } from '../api/core/v1/event.ts';
import { isNotFound } from '../machinery/status-error.ts';
import { type Controller, createController, type Result } from '../reconcile/controller.ts';
import type { ControllerDependencies } from '../reconcile/dependencies.ts';
import { inBatches } from './slow-start.ts';

/** Events are kept for an hour after they last happened, as the real API server's `--event-ttl` has it. */
const ttlMs = 60 * 60_000;
const intervalMs = 60_000;
const pageSize = 500;

/** There is one thing to do, so the queue has one key. */
const everything = 'events';

/** Deletes old Events, which nothing else bounds. */
export function createEventExpiryController({ client, clock, log, metrics }: ControllerDependencies): Controller {
  const controller = createController({
    name: 'event-expiry',
    clock,
    log,
    workers: 1,
    observer: metrics.observerOf('event-expiry'),
    async reconcile(_key, { signal }): Promise<Result> {
      const deadline = clock.now() - ttlMs;
      let token: string | undefined;
      do {
        const page = await client.list(events, { limit: pageSize, ...(token === undefined ? {} : { continue: token }), signal });
        await inBatches(
          page.items.filter((event) => lastSeen(event) < deadline),
          (event) => remove(event, signal),
        );
        token = page.metadata.continue;
      } while (token !== undefined && token !== '');
      return { requeueAfterMs: intervalMs };
    },
  });
  controller.enqueue(everything);
  return controller;

  /** One that happened again meanwhile stays: its resourceVersion is another one. */
  async function remove({ metadata: { namespace, name, resourceVersion = '' } }: Event, signal: AbortSignal): Promise<void> {
    try {
      await client.delete(events, { namespace, name }, { preconditions: { resourceVersion }, signal });
    } catch (err) {
      if (!isNotFound(err)) throw err;
    }
  }
}

function lastSeen({ metadata, lastTimestamp, eventTime, series }: Event): number {
  return Date.parse(series?.lastObservedTime ?? lastTimestamp ?? eventTime ?? metadata.creationTimestamp ?? '') || 0;
}
