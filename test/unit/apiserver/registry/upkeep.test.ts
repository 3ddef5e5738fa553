import { describe, expect, test } from 'vitest';
import { configMaps } from '../../../../src/api/core/v1/config-map.ts';
import { type Event, events } from '../../../../src/api/core/v1/event.ts';
import { startCompaction } from '../../../../src/apiserver/registry/compaction.ts';
import { type EventExpiryOptions, expiredEvents, startEventExpiry } from '../../../../src/apiserver/registry/event-expiry.ts';
import { createLog } from '../../../../src/base/log.ts';
import { openMemoryStorage } from '../../../../src/storage/memory/storage.ts';
import { startSeededApi } from '../../../support/api.ts';
import { createManualClock } from '../../../support/manual-clock.ts';
import { until } from '../../../support/until.ts';

const hour = 60 * 60_000;
const start = Date.parse('2026-01-01T00:00:00Z');

const eventOf = (name: string, times: Partial<Event> = {}, creationTimestamp = '2026-01-01T00:00:00Z'): Event => ({
  apiVersion: 'v1',
  kind: 'Event',
  metadata: { name, namespace: 'shop', creationTimestamp },
  involvedObject: { kind: 'Pod', namespace: 'shop', name: 'web' },
  reason: 'Started',
  type: 'Normal',
  ...times,
});

describe('Events', () => {
  test('expire an hour after they were last seen', () => {
    const all = [
      eventOf('old'),
      eventOf('counted', { lastTimestamp: '2026-01-01T00:30:00Z' }),
      eventOf('series', {
        eventTime: '2026-01-01T00:00:00.000000Z',
        series: { count: 2, lastObservedTime: '2026-01-01T00:30:00.000000Z' },
      }),
    ];
    expect(expiredEvents(all, start + hour - 1)).toEqual([]);
    expect(expiredEvents(all, start + hour).map(({ metadata }) => metadata.name)).toEqual(['old']);
    expect(expiredEvents(all, start + 1.5 * hour)).toHaveLength(3);
  });

  test('expire early, oldest first, when there are more than 20,000', () => {
    const all = Array.from({ length: 20_003 }, (_, n) => eventOf(`e${n}`, { lastTimestamp: new Date(start + n * 1000).toISOString() }));
    expect(expiredEvents(all, start).map(({ metadata }) => metadata.name)).toEqual(['e0', 'e1', 'e2']);
  });

  test('are deleted within seconds in a flood, in the store and by no request unless they have finalizers', async () => {
    const clock = createManualClock(start);
    const flood = Array.from({ length: 25_001 }, (_, n) => eventOf(`e${n}`, { lastTimestamp: new Date(start + n * 1000).toISOString() }));
    const [first, ...others] = flood as [Event, ...Event[]];
    const held = { ...first, metadata: { ...first.metadata, finalizers: ['example.com/audit'] } };
    const objects = new Map(
      [held, ...others].map((event, n) => [String(n), { ...event, metadata: { ...event.metadata, resourceVersion: `${n}` } }]),
    );
    const deleted: [string, number][] = [];
    const requested: string[] = [];
    const registry = {
      stateOf: () => ({ all: { objects } }),
      storage: { delete: async (key: string, revision: number) => ({ ok: deleted.push([key, revision]) > 0, revision }) },
    };
    const writer = { delete: async (_: unknown, { name }: { name: string }) => void requested.push(name) };
    const expiry = startEventExpiry({ registry, writer, clock, log: createLog({ level: 'silent' }) } as unknown as EventExpiryOptions);
    clock.advance(5_000);
    await until(() => deleted.length === 5_000, { what: 'the deletions', intervalMs: 2 });
    expiry.stop();
    expect([requested, deleted[0], deleted.at(-1)]).toEqual([['e0'], ['core/events/shop/e1', 1], ['core/events/shop/e5000', 5_000]]);
  });

  test('are deleted by the server', async () => {
    const clock = createManualClock(start);
    const api = await startSeededApi(['shop'], { clock });
    const client = api.clientFor();
    await client.create(events, eventOf('old'));
    clock.advance(hour - 60_000);
    await client.create(events, eventOf('new'));
    clock.advance(60_000);
    await until(async () => (await client.list(events)).items.length === 1, { what: 'the deletion', intervalMs: 2 });
    expect((await client.list(events)).items[0]?.metadata.name).toBe('new');
    await api.stop();
  });
});

describe('the store', () => {
  test('forgets superseded values above 128 MiB, down to the newest 64 MiB', async () => {
    const clock = createManualClock(start);
    const storage = await openMemoryStorage();
    const compaction = startCompaction({
      registry: {
        storage,
        get revision() {
          return storage.currentRevision;
        },
      },
      clock,
      log: createLog({ level: 'silent' }),
    });
    const text = 'x'.repeat(1_000_000);
    await storage.create('large', { text });
    const write = async (times: number): Promise<void> => {
      for (let n = 0; n < times; n += 1) await storage.update('large', { text }, storage.currentRevision);
    };
    await write(130);
    clock.advance(1_000);
    await new Promise((resolve) => setImmediate(resolve));
    expect(storage.compactedRevision).toBe(0);
    await write(10);
    clock.advance(1_000);
    await until(() => storage.compactedRevision > 0, { what: 'the compaction', intervalMs: 2 });
    expect(storage.compactedRevision).toBe(141 - 67);
    compaction.stop();
    await storage.close();
  });

  test('forgets revisions that are five minutes old', async () => {
    const clock = createManualClock(start);
    const storage = await openMemoryStorage();
    const api = await startSeededApi(['shop'], { clock, storage });
    const client = api.clientFor();
    const compacted = storage.compactedRevision;
    const metadata = { name: 'a', namespace: 'shop' };
    await client.create(configMaps, { apiVersion: 'v1', kind: 'ConfigMap', metadata });
    let count = 0;
    const write = async (times: number): Promise<void> => {
      for (let n = 0; n < times; n += 1) {
        count += 1;
        await client.patch(configMaps, metadata, { type: 'merge', body: { data: { n: `${count}` } } });
      }
    };
    const round = async (): Promise<void> => {
      clock.advance(10_000);
      for (let n = 0; n < 10; n += 1) await new Promise((resolve) => setImmediate(resolve));
    };
    await write(1500);
    const then = api.kubeApi.revision;
    await round();
    expect(storage.compactedRevision).toBe(compacted);
    for (let n = 0; n < 31; n += 1) await round();
    await until(() => storage.compactedRevision === then, { what: 'the compaction', intervalMs: 2 });
    expect((await storage.range({ prefix: 'core/configmaps' })).entries).toHaveLength(1);
    await api.stop();
  });
});
