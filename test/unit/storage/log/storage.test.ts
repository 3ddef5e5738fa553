import { describe, expect, test } from 'vitest';
import { createMetrics } from '../../../../src/base/metrics.ts';
import type { StatusError } from '../../../../src/machinery/status-error.ts';
import type { LogDriver, LogRow } from '../../../../src/storage/log/driver.ts';
import { openLogStorage } from '../../../../src/storage/log/storage.ts';
import { createMemoryDriver } from '../../../../src/storage/memory/driver.ts';
import type { StorageEvent } from '../../../../src/storage/storage.ts';
import { StorageError } from '../../../../src/storage/storage-error.ts';
import { createManualClock } from '../../../support/manual-clock.ts';

/** A disk whose commits the test lets through or fails. */
function createSteeredDriver() {
  const inner = createMemoryDriver();
  const calls: string[] = [];
  const commits: { readonly rows: readonly LogRow[]; readonly mayUseReserve: boolean; finish(err?: Error): void }[] = [];
  let refusal: string | undefined;
  let due: 'idle' | 'busy' | undefined;
  const driver: LogDriver = {
    ...inner,
    refusal: () => refusal,
    append: (rows, options) =>
      new Promise((resolve, reject) => {
        calls.push(`append ${rows.length}`);
        commits.push({
          rows,
          ...options,
          finish: (err) => (err === undefined ? inner.append(rows, options).then(resolve, reject) : reject(err)),
        });
      }),
    remove(revisions) {
      calls.push(`remove ${revisions.length}`);
      return inner.remove(revisions);
    },
    tidy(moment) {
      if (moment !== due) return undefined;
      due = undefined;
      return async () => {
        calls.push(`tidy ${moment}`);
      };
    },
  };
  return {
    driver,
    calls,
    commits,
    refuse(why: string | undefined) {
      refusal = why;
    },
    makeDue(moment: 'idle' | 'busy') {
      due = moment;
    },
  };
}

const turns = async (count = 4): Promise<void> => {
  for (let n = 0; n < count; n += 1) await new Promise((resolve) => setImmediate(resolve));
};

async function openSteered() {
  const clock = createManualClock();
  const { driver, calls, commits, makeDue, refuse } = createSteeredDriver();
  const metrics = createMetrics();
  return { calls, commits, makeDue, refuse, clock, metrics, storage: await openLogStorage({ driver, clock, metrics }) };
}

describe('group commit', () => {
  test('takes what is queued when the disk is free, at most 128 rows', async () => {
    const { storage, commits } = await openSteered();
    const writes = Array.from({ length: 300 }, (_, n) => storage.create(`k${n}`, { text: 'x' }));
    const sizes: number[] = [];
    for (let n = 0; n < 3; n += 1) {
      await turns();
      sizes.push(commits[n]?.rows.length ?? 0);
      commits[n]?.finish();
    }
    await Promise.all(writes);
    expect(sizes).toEqual([128, 128, 44]);
  });

  test('tells the writers of a large commit in order, some in each turn', async () => {
    const { storage, commits } = await openSteered();
    const told: number[] = [];
    const writes = Array.from({ length: 100 }, async (_, n) => {
      await storage.create(`k${n}`, { text: 'x' });
      told.push(n);
    });
    await turns();
    commits[0]?.finish();
    const counts: number[] = [];
    while (told.length < 100) {
      await turns(1);
      counts.push(told.length);
    }
    await Promise.all(writes);
    expect(told).toEqual(Array.from({ length: 100 }, (_, n) => n));
    expect(counts.filter((count) => count > 0 && count < 100).length).toBeGreaterThanOrEqual(2);
  });

  test('takes at most 512 KiB, but always one row', async () => {
    const { storage, commits } = await openSteered();
    const text = 'x'.repeat(200 * 1024);
    const writes = ['a', 'b', 'c', 'd'].map((key) => storage.create(key, { text: key === 'd' ? text.repeat(5) : text }));
    for (let n = 0; n < 3; n += 1) {
      await turns();
      commits[n]?.finish();
    }
    await Promise.all(writes);
    expect(commits.map(({ rows }) => rows.map(({ key }) => key))).toEqual([['a', 'b'], ['c'], ['d']]);
  });

  test('hands over the next batch before watchers get the last', async () => {
    const { storage, commits, calls } = await openSteered();
    await storage.watch({
      prefix: '',
      afterRevision: 0,
      signal: new AbortController().signal,
      onEvents: (events) => calls.push(`told ${events.length}`),
      onEnd: () => {},
    });
    const first = storage.create('a', { text: '1' });
    await turns();
    const second = storage.create('b', { text: '1' });
    commits[0]?.finish();
    await first;
    commits[1]?.finish();
    await second;
    expect(calls).toEqual(['append 1', 'append 1', 'told 1', 'told 1']);
  });

  test('counts rows of commits', async () => {
    const { storage, commits, metrics } = await openSteered();
    const writes = [storage.create('a', { text: '1' }), storage.create('b', { text: '1' })];
    await turns();
    commits[0]?.finish();
    await Promise.all(writes);
    expect(await metrics.text()).toContain('commit_rows_sum 2\ncommit_rows_count 1');
  });
});

test('a key that is deleted, made and deleted again while commits are under way can be made once more', async () => {
  const { storage, commits } = await openSteered();
  const writes = [storage.create('a', { text: '1' })];
  await turns();
  writes.push(storage.delete('a', 1));
  commits[0]?.finish();
  await turns();
  writes.push(storage.create('a', { text: '3' }), storage.delete('a', 3));
  commits[1]?.finish();
  await turns();
  writes.push(storage.create('a', { text: '5' }));
  commits[2]?.finish();
  await turns();
  writes.push(storage.update('a', { text: '6' }, 5));
  commits[3]?.finish();
  await turns();
  commits[4]?.finish();
  expect(await Promise.all(writes)).toEqual([1, 2, 3, 4, 5, 6].map((revision) => ({ ok: true, revision })));
  expect(await storage.get('a')).toEqual({ key: 'a', text: '6', revision: 6 });
});

describe('a failed commit', () => {
  test('fails everything staged after it, and nothing of it is seen', async () => {
    const { storage, commits } = await openSteered();
    const seen: StorageEvent[] = [];
    await storage.watch({
      prefix: '',
      afterRevision: 0,
      signal: new AbortController().signal,
      onEvents: (events) => seen.push(...events),
      onEnd: () => {},
    });
    const kept = storage.create('kept', { text: '1' });
    await turns();
    commits[0]?.finish();
    await kept;
    const failing = [storage.create('a', { text: '1' }), storage.update('kept', { text: '2' }, 1)];
    await turns();
    failing.push(storage.update('a', { text: '2' }, 2), storage.delete('kept', 3));
    commits[1]?.finish(new Error('disk on fire'));
    for (const outcome of await Promise.allSettled(failing))
      expect(outcome).toMatchObject({ status: 'rejected', reason: { message: 'disk on fire' } });
    expect(await storage.get('a')).toBeUndefined();
    expect(await storage.get('kept')).toEqual({ key: 'kept', text: '1', revision: 1 });
    expect(seen).toHaveLength(1);
    expect(storage.currentRevision).toBe(1);
  });

  test('does not stop the store, whose revisions are not used twice', async () => {
    const { storage, commits } = await openSteered();
    const failing = storage.create('a', { text: '1' });
    await turns();
    commits[0]?.finish(new Error('disk on fire'));
    await expect(failing).rejects.toThrow('disk on fire');
    const retried = storage.create('a', { text: '1' });
    await turns();
    commits[1]?.finish();
    expect(await retried).toEqual({ ok: true, revision: 2 });
  });
});

describe('a disk that is nearly full', () => {
  const open = async () => {
    const steered = await openSteered();
    const { storage, commits } = steered;
    let done = 0;
    /** Lets every commit through until `write` is settled. */
    const through = async <T>(write: Promise<T>): Promise<T> => {
      let settled = false;
      const watched = write.finally(() => {
        settled = true;
      });
      watched.catch(() => undefined);
      while (!settled) {
        await turns(1);
        if (commits.length > done) commits[done++]?.finish();
      }
      return watched;
    };
    for (const key of ['a', 'b', 'c']) await through(storage.create(key, { text: 'x'.repeat(1000) }));
    return { ...steered, through };
  };

  test('takes deletions and what does not grow, and refuses the rest with 507', async () => {
    const { storage, refuse, through } = await open();
    refuse('the disk is 96 % full');
    const refused = { code: 507, reason: 'InsufficientStorage', message: expect.stringContaining('the disk is 96 % full: deletions') };
    await expect(storage.create('d', { text: '' })).rejects.toMatchObject(refused);
    await expect(storage.update('a', { text: 'x'.repeat(1200) }, 1)).rejects.toMatchObject(refused);
    expect(storage.failure).toMatchObject(refused);
    expect(await through(storage.update('a', { text: 'y'.repeat(1000) }, 1))).toEqual({ ok: true, revision: 4 });
    expect(await through(storage.update('a', { text: 'y'.repeat(500) }, 4))).toEqual({ ok: true, revision: 5 });
    expect(await through(storage.update('b', { text: 'x'.repeat(1200), always: true }, 2))).toEqual({ ok: true, revision: 6 });
    expect(await through(storage.delete('c', 3))).toEqual({ ok: true, revision: 7 });
    refuse(undefined);
    expect(storage.failure).toBeUndefined();
    expect(await through(storage.create('d', { text: '' }))).toEqual({ ok: true, revision: 8 });
  });

  test('a lost compare-and-set is one, too', async () => {
    const { storage, refuse } = await open();
    refuse('the disk is 96 % full');
    expect(await storage.create('a', { text: '' })).toEqual({ ok: false, currentRevision: 1 });
  });

  test('a commit that found no room is tried again without what needs it', async () => {
    const { storage, commits } = await open();
    const writes = [
      storage.delete('a', 1),
      storage.create('d', { text: 'new' }),
      storage.update('b', { text: 'less' }, 2),
      storage.update('c', { text: 'x'.repeat(5000) }, 3),
    ];
    await turns();
    const settled = Promise.allSettled([...writes, storage.delete('c', 7)]);
    commits[3]?.finish(new StorageError('no space left', { hint: '', isFull: true }));
    await turns();
    expect(commits[4]).toMatchObject({
      mayUseReserve: true,
      rows: [
        { key: 'a', text: null },
        { key: 'b', text: 'less' },
      ],
    });
    commits[4]?.finish();
    const outcomes = await settled;
    expect(outcomes.map((outcome) => (outcome.status === 'fulfilled' ? outcome.value : (outcome.reason as StatusError).code))).toEqual([
      { ok: true, revision: 4 },
      507,
      { ok: true, revision: 6 },
      507,
      507,
    ]);
    expect((await storage.range({ prefix: '' })).entries.map(({ key, revision }) => [key, revision])).toEqual([
      ['b', 6],
      ['c', 3],
    ]);
    // A write that failed can be made again.
    const again = storage.delete('c', 3);
    await turns();
    expect(commits[5]?.mayUseReserve).toBe(false);
    commits[5]?.finish();
    expect(await again).toMatchObject({ ok: true });
  });

  test('a commit that finds no room in the reserve either fails', async () => {
    const { storage, commits } = await open();
    const write = storage.delete('a', 1);
    await turns();
    commits[3]?.finish(new StorageError('no space left', { hint: '', isFull: true }));
    await turns();
    commits[4]?.finish(new StorageError('no space left', { hint: '', isFull: true }));
    await expect(write).rejects.toMatchObject({ code: 507 });
    expect((await storage.get('a'))?.revision).toBe(1);
  });
});

describe('housekeeping', () => {
  test('runs when no write came for a while', async () => {
    const { storage, commits, calls, clock, makeDue } = await openSteered();
    const write = storage.create('a', { text: '1' });
    await turns();
    commits[0]?.finish();
    await write;
    makeDue('idle');
    clock.advance(99);
    await turns();
    expect(calls).toEqual(['append 1']);
    clock.advance(1);
    await turns();
    expect(calls).toEqual(['append 1', 'tidy idle']);
  });

  test('says why writes fail for as long as they do', async () => {
    const inner = createMemoryDriver();
    let isBroken = true;
    const driver: LogDriver = {
      ...inner,
      append: (rows, options) => (isBroken ? Promise.reject(new Error('input/output error')) : inner.append(rows, options)),
    };
    const storage = await openLogStorage({ driver, clock: createManualClock() });
    expect(storage.failure).toBeUndefined();
    await expect(storage.create('a', { text: '1' })).rejects.toThrow('input/output error');
    expect(storage.failure?.message).toBe('input/output error');
    isBroken = false;
    await storage.create('a', { text: '1' });
    expect(storage.failure).toBeUndefined();
  });

  test('compaction goes on after a full disk refused it once', async () => {
    const inner = createMemoryDriver();
    let isBroken = false;
    const removed: number[] = [];
    const driver: LogDriver = {
      ...inner,
      setCompacted: (revision) => (isBroken ? Promise.reject(new Error('no space left')) : inner.setCompacted(revision)),
      remove(revisions) {
        removed.push(...revisions);
        return inner.remove(revisions);
      },
    };
    const storage = await openLogStorage({ driver, clock: createManualClock() });
    await storage.create('a', { text: '1' });
    await storage.update('a', { text: '2' }, 1);
    await storage.update('a', { text: '3' }, 2);
    isBroken = true;
    await expect(storage.compact(2)).rejects.toThrow('no space left');
    isBroken = false;
    await storage.compact(3);
    expect(removed).toEqual([1, 2]);
  });

  test('compaction gets its turn under steady writes', async () => {
    const { storage, commits, calls } = await openSteered();
    let finished = 0;
    const finishAll = (): void => {
      for (; finished < commits.length; finished += 1) commits[finished]?.finish();
    };
    let revision = 0;
    let last: Promise<unknown> = Promise.resolve();
    const compactions: Promise<void>[] = [];
    for (let n = 0; n < 200; n += 1) {
      last = revision === 0 ? storage.create('a', { text: `${n}` }) : storage.update('a', { text: `${n}` }, revision);
      revision += 1;
      if (n === 100) compactions.push(storage.compact(50));
      await turns(1);
      finishAll();
    }
    await turns();
    finishAll();
    await last;
    await Promise.all(compactions);
    expect(storage.compactedRevision).toBe(50);
    expect(calls.some((call) => call === 'remove 49')).toBe(true);
  });
});
