import { pino } from 'pino';
import { expect, it } from 'vitest';
import type { Client, WatchEvent, WatchOptions } from '../../../src/client/client.ts';
import { reflect } from '../../../src/client/reflector.ts';
import type { KubeObject } from '../../../src/machinery/object.ts';
import type { Resource } from '../../../src/machinery/resource.ts';
import { StatusError } from '../../../src/machinery/status-error.ts';
import { createManualClock } from '../../support/manual-clock.ts';
import { until } from '../../support/until.ts';

const widgets: Resource = { group: 'example.com', version: 'v1', resource: 'widgets', kind: 'Widget', namespaced: true };

const unknownResource = new StatusError({ code: 404, reason: 'NotFound', message: 'the server could not find the requested resource' });

/** A server whose kind `widgets` comes and goes; its definition is watched by name. */
function startServer() {
  let isServed = true;
  let endWatch = (): void => undefined;
  const definitionWatches = new Set<WatchOptions<KubeObject>>();
  let lists = 0;
  const client = {
    async list({ resource }: Resource) {
      if (resource === 'customresourcedefinitions') return { items: [], metadata: { resourceVersion: '1' } };
      lists += 1;
      if (!isServed) throw unknownResource;
      return { items: [], metadata: { resourceVersion: String(lists) } };
    },
    watch({ resource }: Resource, options: WatchOptions<KubeObject>): Promise<void> {
      return new Promise((resolve, reject) => {
        options.signal.addEventListener('abort', () => resolve(), { once: true });
        if (resource === 'widgets') endWatch = () => reject(unknownResource);
        else {
          definitionWatches.add(options);
          options.signal.addEventListener('abort', () => definitionWatches.delete(options), { once: true });
        }
      });
    },
  } as unknown as Client;
  return {
    client,
    definitionWatches,
    lists: () => lists,
    serve(served: boolean): void {
      isServed = served;
      const event = { type: 'MODIFIED', object: { metadata: { resourceVersion: '2' } } } as WatchEvent;
      for (const { onEvents } of definitionWatches) onEvents([event]);
      if (!served) endWatch();
    },
  };
}

it('sees a kind that went away again as soon as its definition is back, however long it was gone', async () => {
  const clock = createManualClock();
  const server = startServer();
  const abort = new AbortController();
  let synced = 0;
  const target = {
    replace() {
      synced += 1;
    },
    apply: () => undefined,
  };
  const options = { client: server.client, clock, log: pino({ level: 'silent' }), random: () => 0.5, resource: widgets, scope: {}, target };
  const done = reflect({ ...options, signal: abort.signal });
  await until(() => synced === 1, { what: 'the first list' });
  server.serve(false);
  // The time between tries has grown to its longest.
  for (let tries = 1; tries < 12; tries += 1) {
    await until(() => server.definitionWatches.size === 1 && server.lists() > tries, { what: `try ${tries}` });
    clock.advance(30_000);
  }
  await until(() => server.definitionWatches.size === 1 && server.lists() > 12, { what: 'the last try' });
  expect(synced).toBe(1);
  server.serve(true);
  await until(() => synced === 2, { what: 'the kind is seen, without time going by' });
  abort.abort();
  await done;
});
