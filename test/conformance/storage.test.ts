import { setMaxListeners } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { createEncryptedStorage } from '../../src/apiserver/encryption/encrypted-storage.ts';
import { aesGcmProvider } from '../../src/apiserver/encryption/providers.ts';
import { systemClock } from '../../src/base/clock.ts';
import { createLog } from '../../src/base/log.ts';
import { isExpired } from '../../src/machinery/status-error.ts';
import { openEtcdStorage } from '../../src/storage/etcd/storage.ts';
import { openMemoryStorage } from '../../src/storage/memory/storage.ts';
import { openSqliteStorage } from '../../src/storage/sqlite/storage.ts';
import type { HistoryOptions, Storage, StorageEvent, StoredChange, WriteResult } from '../../src/storage/storage.ts';
import { type Etcd, hasEtcd, startEtcd } from '../support/etcd.ts';

/**
 * Promises of every backend; see `src/storage/storage.ts` and etcd's watch guarantees, whose names the watch tests
 * have.
 */
interface Backend {
  readonly name: string;
  readonly open: (directory: string) => Promise<Storage>;
  /** The store is the same after close and open. */
  readonly durable: boolean;
  /** The one writer of its store: it numbers writes without a gap, knows a number before it is on disk, and commits in groups. */
  readonly embedded: boolean;
}

/** Superseded rows that an embedded store forgets in three slices: two of 500 and one that is not full. */
const rowsOfSlices = 1_100;

let etcd: Etcd | undefined;
beforeAll(async () => {
  if (hasEtcd) etcd = await startEtcd();
});
afterAll(async () => await etcd?.stop());

const backends: readonly Backend[] = [
  { name: 'memory', open: () => openMemoryStorage(), durable: false, embedded: true },
  { name: 'sqlite', open: (directory) => openSqliteStorage({ path: join(directory, 'state.db') }), durable: true, embedded: true },
  {
    name: 'encrypted',
    open: async (directory) =>
      createEncryptedStorage({
        storage: await openSqliteStorage({ path: join(directory, 'state.db') }),
        configuration: {
          providersOf: () => [aesGcmProvider({ name: 'one', secret: Buffer.alloc(32, 1) })],
          keys: { writes: [], reads: [] },
        },
        clock: systemClock,
        log: createLog({ level: 'silent' }),
      }),
    durable: true,
    embedded: true,
  },
  ...(hasEtcd
    ? [
        {
          name: 'etcd',
          open: (directory: string) =>
            openEtcdStorage({
              endpoints: etcd?.endpoints ?? [],
              tls: undefined,
              login: undefined,
              prefix: directory,
              serverId: 'one',
              log: createLog({ level: 'silent' }),
            }),
          durable: true,
          embedded: false,
        },
      ]
    : []),
];

const deadlineMs = 10_000;

async function until(what: string, holds: () => boolean): Promise<void> {
  const deadline = performance.now() + deadlineMs;
  while (!holds()) {
    if (performance.now() > deadline) throw new Error(`timed out: ${what}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** Small, fast and seeded (mulberry32). */
function randomOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

describe.each(backends)('storage $name', ({ open, durable, embedded }) => {
  let directory: string;
  let storage: Storage;
  let abort: AbortController;
  /** Revision of the new store; its writes count from there. */
  let base: number;

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'midship-storage-'));
    storage = await open(directory);
    base = storage.currentRevision;
    abort = new AbortController();
    setMaxListeners(0, abort.signal);
  });

  afterEach(async () => {
    abort.abort();
    await storage.close();
    await rm(directory, { recursive: true });
  });

  const reopen = async (): Promise<void> => {
    await storage.close();
    storage = await open(directory);
  };

  async function put(key: string, text: string): Promise<number> {
    const stored = await storage.get(key);
    const result = await (stored === undefined ? storage.create(key, { text }) : storage.update(key, { text }, stored.revision));
    if (!result.ok) throw new Error(`lost the race for ${key}`);
    return result.revision;
  }

  async function watchFrom(
    afterRevision: number,
    prefix = '',
  ): Promise<{ events: StorageEvent[]; batches: StorageEvent[][]; errors: Error[] }> {
    const seen = { events: [] as StorageEvent[], batches: [] as StorageEvent[][], errors: [] as Error[] };
    await storage.watch({
      prefix,
      afterRevision,
      signal: abort.signal,
      onEvents(events) {
        seen.batches.push([...events]);
        seen.events.push(...events);
      },
      onEnd: (err) => seen.errors.push(err),
    });
    return seen;
  }

  describe('keys', () => {
    test('a new store has no keys', async () => {
      if (embedded) expect(base).toBe(0);
      expect(storage.compactedRevision).toBe(0);
      expect(storage.damage).toEqual([]);
      expect(storage.failure).toBeUndefined();
      expect(await storage.get('a')).toBeUndefined();
      expect(await storage.range({ prefix: '' })).toEqual({ entries: [], revision: base, more: false });
    });

    test('creates, updates and deletes with increasing revisions', async () => {
      expect(await storage.create('a', { text: '1' })).toEqual({ ok: true, revision: base + 1 });
      expect(await storage.update('a', { text: '2' }, base + 1)).toEqual({ ok: true, revision: base + 2 });
      expect(await storage.get('a')).toEqual({ key: 'a', text: '2', revision: base + 2 });
      expect(await storage.delete('a', base + 2)).toEqual({ ok: true, revision: base + 3 });
      expect(await storage.get('a')).toBeUndefined();
      expect(storage.currentRevision).toBe(base + 3);
    });

    test('tells the current revision when a compare-and-set is lost', async () => {
      await storage.create('a', { text: '1' });
      const now = base + 1;
      expect(await storage.create('a', { text: 'x' })).toEqual({ ok: false, currentRevision: now });
      expect(await storage.update('a', { text: 'x' }, now + 6)).toEqual({ ok: false, currentRevision: now });
      expect(await storage.delete('a', now + 6)).toEqual({ ok: false, currentRevision: now });
      expect(await storage.update('b', { text: 'x' }, now)).toEqual({ ok: false, currentRevision: 0 });
      expect(await storage.update('b', { text: 'x' }, 0)).toEqual({ ok: false, currentRevision: 0 });
      expect(await storage.delete('b', 0)).toEqual({ ok: false, currentRevision: 0 });
      expect(storage.currentRevision).toBe(now);
    });

    test('decides a compare-and-set against the newest staged write', async () => {
      const first = storage.create('a', { text: '1' });
      const second = storage.create('a', { text: '2' });
      expect(await second).toEqual({ ok: false, currentRevision: base + 1 });
      expect(await first).toEqual({ ok: true, revision: base + 1 });
      const outcomes = await Promise.all(Array.from({ length: 50 }, (_, n) => storage.update('a', { text: `${n}` }, base + 1)));
      expect(outcomes.filter(({ ok }) => ok)).toHaveLength(1);
    });

    test('builds on staged writes in one go', async () => {
      const outcomes = await Promise.all([
        storage.create('a', { text: '1' }),
        storage.update('a', { text: '2' }, base + 1),
        storage.delete('a', base + 2),
        storage.create('a', { text: '4' }),
      ]);
      expect(outcomes).toEqual([1, 2, 3, 4].map((n) => ({ ok: true, revision: base + n })));
      expect(await storage.get('a')).toEqual({ key: 'a', text: '4', revision: base + 4 });
    });

    test.runIf(embedded)('reads see committed writes only (needs an embedded store)', async () => {
      const write = storage.create('a', { text: '1' });
      expect(await storage.get('a')).toBeUndefined();
      expect(storage.currentRevision).toBe(0);
      await write;
      expect((await storage.get('a'))?.text).toBe('1');
    });

    test('ranges by prefix in key order, in pages', async () => {
      for (const key of ['p/b', 'p/a', 'q/a', 'p/c', 'o']) await put(key, key);
      const first = await storage.range({ prefix: 'p/', limit: 2 });
      expect(first.entries.map(({ key }) => key)).toEqual(['p/a', 'p/b']);
      expect(first.more).toBe(true);
      expect(first.revision).toBe(base + 5);
      const second = await storage.range({ prefix: 'p/', limit: 2, after: 'p/b' });
      expect(second.entries).toEqual([{ key: 'p/c', text: 'p/c', revision: base + 4 }]);
      expect(second.more).toBe(false);
    });

    test('ranges the past where others share the store, until it is compacted', async () => {
      for (const key of ['p/a', 'p/b', 'p/c']) await put(key, 'old');
      const { revision } = await storage.range({ prefix: 'p/' });
      await put('p/a', 'new');
      await storage.delete('p/b', base + 2);
      const past = () => storage.range({ prefix: 'p/', limit: 2, after: 'p/a', revision });
      if (storage.isShared) expect((await past()).entries.map(({ key, text }) => `${key} ${text}`)).toEqual(['p/b old', 'p/c old']);
      await storage.compact(storage.currentRevision);
      expect(await past().catch(isExpired)).toBe(true);
    });

    test('keeps texts as they are', async () => {
      const text = JSON.stringify({ text: 'ä € 😀 \u0000 \n "quoted"', deep: { list: [1, 2.5, null, true] } });
      await put('a', text);
      if (durable) await reopen();
      expect((await storage.get('a'))?.text).toBe(text);
    });

    test('commits more than one group at once, in order', async () => {
      const outcomes = await Promise.all(Array.from({ length: 1000 }, (_, n) => storage.create(`k${n}`, { text: `${n}` })));
      const revisions = outcomes.map((outcome) => (outcome.ok ? outcome.revision : 0));
      if (embedded) expect(revisions).toEqual(outcomes.map((_, n) => n + 1));
      else expect(new Set(revisions).size).toBe(1000);
      const { entries } = await storage.range({ prefix: 'k' });
      expect(entries).toHaveLength(1000);
      expect(entries.every(({ key, text }) => key === `k${text}`)).toBe(true);
    });

    test('commits values that are larger than a group', async () => {
      const text = 'x'.repeat(1_000_000);
      await Promise.all([storage.create('a', { text }), storage.create('b', { text }), storage.create('c', { text: 'c' })]);
      expect((await storage.get('a'))?.text.length).toBe(1_000_000);
      expect((await storage.get('c'))?.text).toBe('c');
    });
  });

  describe('watch', () => {
    test('Ordered: delivers events in revision order, also from the past', async () => {
      await put('a', '1');
      await put('b', '2');
      const seen = await watchFrom(base + 1);
      await Promise.all([put('c', '3'), put('d', '4')]);
      await until('four revisions', () => seen.events.length === 3);
      expect(seen.events.map(({ revision }) => revision - base)).toEqual([2, 3, 4]);
    });

    test('Unique: no revision is delivered twice, where history and live events meet', async () => {
      const writes = Array.from({ length: 2000 }, (_, n) => storage.create(`k${n}`, { text: `${n}` }));
      await writes[600];
      const seen = await watchFrom(base);
      await Promise.all(writes);
      await until('all revisions', () => seen.events.length >= 2000);
      expect(seen.events.map(({ revision }) => revision - base)).toEqual(Array.from({ length: 2000 }, (_, n) => n + 1));
    });

    test.runIf(embedded)('Atomic: a batch is what one commit wrote (needs an embedded store)', async () => {
      const seen = await watchFrom(base);
      await Promise.all([storage.create('a', { text: '1' }), storage.create('b', { text: '2' })]);
      expect(seen.batches.map((batch) => batch.length)).toEqual([2]);
    });

    test('Resumable: a watch from the last revision seen misses nothing', async () => {
      await put('a', '1');
      await storage.delete('a', await put('a', '2'));
      await put('a', '4');
      const seen = await watchFrom(base + 1);
      await until('history', () => seen.events.length === 3);
      expect(seen.events).toMatchObject([
        { type: 'put', key: 'a', revision: base + 2, created: false, value: { text: '2' } },
        { type: 'delete', key: 'a', revision: base + 3 },
        { type: 'put', key: 'a', revision: base + 4, created: true, value: { text: '4' } },
      ]);
    });

    test('IsCreate: tells creation from update', async () => {
      const seen = await watchFrom(base);
      await put('a', '1');
      await storage.delete('a', await put('a', '2'));
      await put('a', '4');
      expect(seen.events.map((event) => event.type === 'put' && event.created)).toEqual([true, false, false, true]);
    });

    test('Filter: sees keys under its prefix only', async () => {
      await put('p/0', '0');
      await put('q/0', '0');
      const seen = await watchFrom(base, 'p/');
      await Promise.all([put('q/1', '1'), put('p/1', '1')]);
      await until('both', () => seen.events.length === 2);
      expect(seen.events.map(({ key }) => key)).toEqual(['p/0', 'p/1']);
    });

    test('gets a write before its caller does, and never before it is committed', async () => {
      const seen = await watchFrom(base);
      const write = storage.create('a', { text: '1' });
      expect(seen.events).toHaveLength(0);
      await write;
      expect(seen.events).toHaveLength(1);
    });

    test('hands over the decoded value of a write of this process', async () => {
      const seen = await watchFrom(base);
      const decoded = Object.freeze({ n: 1 });
      await storage.create('a', { text: '{"n":1}', decoded });
      const [event] = seen.events;
      expect(event?.type === 'put' && event.value.decoded).toBe(decoded);
    });

    test('from the future stays silent until then', async () => {
      const seen = await watchFrom(base + 2);
      await put('a', '1');
      await put('b', '2');
      await put('c', '3');
      expect(seen.events.map(({ revision }) => revision - base)).toEqual([3]);
    });

    test('stops when its signal is aborted', async () => {
      const seen = await watchFrom(base);
      await put('a', '1');
      abort.abort();
      await put('a', '2');
      expect(seen.events).toHaveLength(1);
      expect(seen.errors).toHaveLength(0);
    });

    test('ends a watcher that throws, and only that one', async () => {
      const seen = await watchFrom(base);
      const errors: Error[] = [];
      await storage.watch({
        prefix: '',
        afterRevision: base,
        signal: abort.signal,
        onEvents() {
          throw new Error('broken handler');
        },
        onEnd: (err) => errors.push(err),
      });
      await put('a', '1');
      await put('b', '2');
      expect(errors.map(({ message }) => message)).toEqual(['broken handler']);
      expect(seen.events).toHaveLength(2);
    });

    test('ends when the store closes', async () => {
      const seen = await watchFrom(base);
      await storage.close();
      expect(seen.errors).toHaveLength(1);
    });
  });

  describe('history', () => {
    const historyOf = async (options: Omit<Partial<HistoryOptions>, 'onChanges'> = {}): Promise<readonly StoredChange[]> => {
      const changes: StoredChange[] = [];
      await storage.history({
        maxChanges: 1_000,
        maxSize: 1_000_000,
        ...options,
        onChanges: async (page) => void changes.push(...page),
      });
      return changes.map(({ revision, key, values }) => ({
        revision: revision - base,
        key,
        values:
          values?.before === undefined ? values : { ...values, before: { ...values.before, revision: values.before.revision - base } },
      }));
    };

    test('gives every change with what was there before', async () => {
      await put('a', '1');
      await put('a', '2');
      await put('b', '3');
      await storage.delete('a', base + 2);
      await put('a', '5');
      expect(await historyOf()).toEqual([
        { revision: 1, key: 'a', values: { before: undefined, after: '1' } },
        { revision: 2, key: 'a', values: { before: undefined, after: '2' } },
        { revision: 3, key: 'b', values: { before: undefined, after: '3' } },
        { revision: 4, key: 'a', values: { before: undefined, after: undefined } },
        { revision: 5, key: 'a', values: { before: undefined, after: '5' } },
      ]);
    });

    test('gives the value before when it lies outside of what is given', async () => {
      await put('a', '1');
      await put('b', '2');
      await put('a', '3');
      await storage.delete('b', base + 2);
      await put('a', '5');
      const values = [
        { revision: 3, key: 'a', values: { before: { revision: 1, text: '1' }, after: '3' } },
        { revision: 4, key: 'b', values: { before: { revision: 2, text: '2' }, after: undefined } },
        { revision: 5, key: 'a', values: { before: undefined, after: '5' } },
      ];
      expect(await historyOf({ afterRevision: base + 2 })).toEqual(values);
      expect(await historyOf({ afterRevision: base + 2, upTo: base + 4 })).toEqual(values.slice(0, 2));
      expect(await historyOf({ maxChanges: 3 })).toEqual([
        { revision: 1, key: 'a', values: undefined },
        { revision: 2, key: 'b', values: undefined },
        ...values,
      ]);
      await storage.compact(base + 2);
      expect(await historyOf()).toEqual(values);
      await storage.compact(base + 5);
      expect(await historyOf()).toEqual([]);
    });

    test('is bounded by the size of values, whatever their number', async () => {
      for (let n = 0; n < 10; n += 1) await put(`k${n}`, 'x'.repeat(10_000));
      const withValues = (await historyOf({ maxSize: 55_000 })).filter(({ values }) => values !== undefined);
      expect(withValues.length).toBeGreaterThan(2);
      expect(withValues.length).toBeLessThan(6);
      expect(withValues.at(-1)?.key).toBe('k9');
      expect(await historyOf({ maxSize: 100 })).toHaveLength(10);
    });

    test('says in pages what is long', async () => {
      for (let n = 0; n < 1200; n += 1) await put('a', `${n}`);
      const changes = await historyOf({ maxChanges: 700 });
      expect(changes.map(({ revision }) => revision)).toEqual(Array.from({ length: 1200 }, (_, n) => n + 1));
      expect(changes.filter(({ values }) => values === undefined)).toHaveLength(500);
      expect(changes.map(({ values }) => values?.before?.text).filter((text) => text !== undefined)).toEqual(['499']);
      expect(changes.at(-1)?.values?.after).toBe('1199');
    });
  });

  describe('compaction', () => {
    test.runIf(embedded)('says how far to go so that superseded values take so many bytes (needs an embedded store)', async () => {
      const text = 'x'.repeat(10_000);
      for (let n = 0; n < 20; n += 1) await put('a', text);
      expect(storage.revisionKeeping(1_000_000)).toBe(0);
      const target = storage.revisionKeeping(101_000);
      // A sealed value is a third longer.
      expect(target).toBeGreaterThanOrEqual(10);
      expect(target).toBeLessThan(15);
      await storage.compact(target);
      expect(storage.revisionKeeping(101_000)).toBe(target);
      expect((await watchFrom(target)).events).toHaveLength(20 - target);
      await storage.compact(storage.revisionKeeping(0));
      expect(storage.compactedRevision).toBe(20);
      expect((await storage.get('a'))?.text).toBe(text);
    });

    test('refuses watches from before it, allows them from it on', async () => {
      for (let n = 0; n < 10; n += 1) await put('a', `${n}`);
      await storage.compact(base + 5);
      expect(storage.compactedRevision).toBe(base + 5);
      const refused = await watchFrom(base + 4).catch((err: unknown) => err);
      expect(isExpired(refused)).toBe(true);
      expect((refused as Error).message).toBe(`too old resource version: ${base + 4} (${base + 5})`);
      const seen = await watchFrom(base + 5);
      await until('the rest', () => seen.events.length === 5);
      expect(seen.events.map(({ revision }) => revision - base)).toEqual([6, 7, 8, 9, 10]);
    });

    test('keeps the newest value of every key', async () => {
      await put('old', 'kept');
      for (let n = 0; n < (embedded ? rowsOfSlices : 200); n += 1) await put(`k${n % 7}`, `${n}`);
      await storage.delete('k0', (await storage.get('k0'))?.revision ?? 0);
      await storage.compact(storage.currentRevision);
      const { entries } = await storage.range({ prefix: '' });
      expect(entries.map(({ key }) => key)).toEqual(['k1', 'k2', 'k3', 'k4', 'k5', 'k6', 'old']);
      expect(entries.at(-1)?.text).toBe('kept');
    });

    test('a purge forgets all that was superseded, keeps what is there, and lets writes go on', async () => {
      await put('a', '1');
      await put('a', '2');
      await storage.delete('b', await put('b', '1'));
      const writes = Array.from({ length: 20 }, (_, index) => put(`c${index}`, 'x'));
      await storage.purge();
      await Promise.all(writes);
      expect(storage.compactedRevision).toBeGreaterThanOrEqual(base + 4);
      expect((await storage.get('a'))?.text).toBe('2');
      expect(await storage.get('b')).toBeUndefined();
      expect((await storage.range({ prefix: 'c' })).entries).toHaveLength(20);
      if (durable) {
        await reopen();
        expect((await storage.get('a'))?.text).toBe('2');
      }
    });

    test('a deletion after the compacted revision is still seen by a watch from there', async () => {
      const created = await put('a', '1');
      await put('b', '1');
      const compacted = storage.currentRevision;
      await storage.compact(compacted);
      const deletion = await storage.delete('a', created);
      const seen = await watchFrom(compacted);
      await until('the deletion', () => seen.events.length === 1);
      expect(deletion.ok && seen.events).toEqual([{ type: 'delete', key: 'a', revision: deletion.ok && deletion.revision }]);
    });

    test('goes no further than the current revision, and not back', async () => {
      await put('a', '1');
      await put('a', '2');
      await storage.compact(base + 100);
      expect(storage.compactedRevision).toBe(base + 2);
      await storage.compact(base + 1);
      expect(storage.compactedRevision).toBe(base + 2);
    });

    test('does not disturb writers and readers', async () => {
      for (let n = 0; n < (embedded ? rowsOfSlices : 150); n += 1) await put(`k${n % 5}`, `${n}`);
      const compaction = storage.compact(storage.currentRevision);
      const [, range, ...writes] = await Promise.all([
        compaction,
        storage.range({ prefix: 'k' }),
        ...Array.from({ length: 300 }, (_, n) => storage.create(`new${n}`, { text: 'x' })),
      ]);
      expect(range.entries).toHaveLength(5);
      expect(writes.every(({ ok }) => ok)).toBe(true);
    });
  });

  test('close waits for what is staged, and refuses what comes later', async () => {
    const writes = Array.from({ length: 300 }, (_, n) => storage.create(`k${n}`, { text: 'x' }));
    await storage.close();
    expect((await Promise.all(writes)).every(({ ok }) => ok)).toBe(true);
    await expect(storage.create('late', { text: 'x' })).rejects.toThrow('closed');
    await expect(storage.get('k0')).rejects.toThrow('closed');
    await storage.close();
  });

  test.skipIf(!durable)('is the same after a restart, and its revisions go on (needs a store on disk)', async () => {
    await put('a', '1');
    await put('a', '2');
    await put('b', '3');
    await storage.delete('b', base + 3);
    await storage.compact(storage.currentRevision);
    await reopen();
    if (embedded) expect(storage.currentRevision).toBe(4);
    expect(storage.compactedRevision).toBe(base + 4);
    expect((await storage.range({ prefix: '' })).entries).toEqual([{ key: 'a', text: '2', revision: base + 2 }]);
    expect(await put('b', '5')).toBe(storage.currentRevision);
    expect(isExpired(await watchFrom(base + 3).catch((err: unknown) => err))).toBe(true);
  });

  test.skipIf(!durable)('serves history from before a restart (needs a store on disk)', async () => {
    await put('a', '1');
    await put('a', '2');
    await storage.delete('a', base + 2);
    await put('a', '4');
    await reopen();
    const seen = await watchFrom(base);
    await until('history', () => seen.events.length === 4);
    expect(seen.events.map((event) => (event.type === 'put' ? event.created : 'deleted'))).toEqual([true, false, 'deleted', true]);
  });

  async function revisionOf(pending: Promise<WriteResult | undefined>[]): Promise<number> {
    const result = await pending.at(-1);
    if (result === undefined || !result.ok) throw new Error('a write was lost');
    return result.revision;
  }

  test.each([1, 2, 3])('Reliable: list and watch add up to the state after random traffic (seed %i)', async (seed) => {
    const random = randomOf(seed);
    const full = await watchFrom(base);
    const mirrors: { state: Map<string, string>; seen: Awaited<ReturnType<typeof watchFrom>> }[] = [];
    const pending: Promise<WriteResult | undefined>[] = [];
    const staged = new Map<string, number>();
    let last = base;
    for (let n = 0; n < (embedded ? 3000 : 1000); n += 1) {
      const key = `k${Math.floor(random() * 40)}`;
      const before = staged.get(key) ?? 0;
      last += 1;
      if (before === 0) {
        pending.push(storage.create(key, { text: `${n}` }));
        staged.set(key, last);
      } else if (random() < 0.3) {
        pending.push(storage.delete(key, before));
        staged.delete(key);
      } else {
        pending.push(storage.update(key, { text: `${n}` }, before));
        staged.set(key, last);
      }
      if (random() < 0.01) await Promise.all(pending);
      // Others know the revision of a write when it is done.
      if (!embedded) last = await revisionOf(pending);
      if (!embedded && staged.has(key)) staged.set(key, last);
      if (random() < 0.003) pending.push(storage.compact(Math.floor(storage.currentRevision * random())).then(() => undefined));
      if (random() < 0.005) {
        const { entries, revision } = await storage.range({ prefix: '' });
        mirrors.push({ state: new Map(entries.map(({ key, text }) => [key, text])), seen: await watchFrom(revision) });
      }
    }
    await Promise.all(pending);
    const truth = new Map((await storage.range({ prefix: '' })).entries.map(({ key, text }) => [key, text]));
    await until('all changes', () => full.events.at(-1)?.revision === last);
    const revisions = full.events.map(({ revision }) => revision);
    expect(revisions).toEqual(embedded ? Array.from({ length: last }, (_, n) => n + 1) : [...new Set(revisions)].sort((a, b) => a - b));
    for (const { state, seen } of [...mirrors, { state: new Map<string, string>(), seen: full }]) {
      for (const event of seen.events) {
        if (event.type === 'delete') expect(state.delete(event.key)).toBe(true);
        else {
          expect(state.has(event.key)).toBe(!event.created);
          state.set(event.key, event.value.text);
        }
      }
      expect(Object.fromEntries(state)).toEqual(Object.fromEntries(truth));
    }
  });
});
