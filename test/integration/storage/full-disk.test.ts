import { execFileSync } from 'node:child_process';
import { appendFileSync, statfsSync } from 'node:fs';
import { mkdir, mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { openSqliteStorage, type SqliteStorage } from '../../../src/storage/sqlite/storage.ts';
import { until } from '../../support/until.ts';

/** A file system of its own, which only root may mount. */
const canMount = process.getuid?.() === 0;
const sizeMiB = 64;
const reserveBytes = 3 * 1024 * 1024;
const text = JSON.stringify({ text: 'x'.repeat(20_000) });
const refused = { code: 507, reason: 'InsufficientStorage', message: expect.stringMatching(/^the disk of .* is .*full/) };

let disk: string;
let directory: string;
let storage: SqliteStorage;

beforeAll(async () => {
  disk = await mkdtemp(join(tmpdir(), 'midship-disk-'));
  if (canMount) execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${sizeMiB}m`, 'tmpfs', disk]);
});

afterAll(async () => {
  if (canMount) execFileSync('umount', [disk]);
  await rm(disk, { recursive: true });
});

const open = async (): Promise<void> => {
  storage = await openSqliteStorage({ path: join(directory, 'state.db') });
};

const freeBytes = (): number => statfsSync(disk).bavail * statfsSync(disk).bsize;

/** Fills the disk as others do, pods for example. */
function fillDisk(leaveBytes = 0): void {
  for (const size of [1024 * 1024, 4096]) {
    try {
      while (freeBytes() - size >= leaveBytes) appendFileSync(join(disk, 'others'), Buffer.alloc(size));
    } catch (err) {
      if ((err as NodeJS.ErrnoException).code !== 'ENOSPC') throw err;
    }
  }
}

const freeDisk = (): Promise<void> => rm(join(disk, 'others'), { force: true });

async function create(count: number, prefix = 'k'): Promise<Map<string, number>> {
  const revisions = new Map<string, number>();
  for (let n = 0; n < count; n += 1) {
    const result = await storage.create(`${prefix}${n}`, { text });
    if (result.ok) revisions.set(`${prefix}${n}`, result.revision);
  }
  return revisions;
}

const reserveSize = (): Promise<number> =>
  stat(join(directory, 'state.reserve')).then(
    ({ size }) => size,
    () => 0,
  );

describe.skipIf(!canMount)('a full disk (needs the right to mount)', () => {
  beforeEach(async () => {
    directory = join(disk, 'data');
    await mkdir(directory);
    await open();
  });

  afterEach(async () => {
    await storage.close();
    await rm(directory, { recursive: true });
    await freeDisk();
  });

  const untilReserve = (): Promise<unknown> =>
    until(async () => (await reserveSize()) === reserveBytes, { what: 'the reserve', timeoutMs: 10_000 });

  test('refuses growth at 95 %, before the store itself has filled it', async () => {
    await untilReserve();
    const revisions = await create(20);
    let made = 0;
    const last = await (async (): Promise<unknown> => {
      for (; made < 5_000; made += 1) {
        try {
          await storage.create(`fill${made}`, { text });
        } catch (err) {
          return err;
        }
      }
      return undefined;
    })();
    expect(last).toMatchObject(refused);
    // A checkpoint of what is in the log fits, too.
    expect(made).toBeGreaterThan(500);
    expect(freeBytes()).toBeGreaterThan(0);
    await expect(storage.update('k0', { text: text + text }, revisions.get('k0') ?? 0)).rejects.toMatchObject(refused);
    expect(await storage.update('k0', { text: text.replace('x', 'y') }, revisions.get('k0') ?? 0)).toMatchObject({ ok: true });
    expect(await storage.delete('k1', revisions.get('k1') ?? 0)).toMatchObject({ ok: true });
    expect(storage.failure).toMatchObject(refused);
    expect(await reserveSize()).toBe(reserveBytes);
  });

  test('takes deletions to the last, and compaction, then all again by itself when there is room', async () => {
    await untilReserve();
    const revisions = await create(400);
    fillDisk();
    expect(freeBytes()).toBeLessThan(4096);
    // The log has room until the next look at the disk.
    await until(() => storage.failure !== undefined, { what: 'a look at the disk' });
    await expect(storage.create('more', { text })).rejects.toMatchObject(refused);
    for (const [key, revision] of [...revisions].slice(0, 300)) expect(await storage.delete(key, revision)).toMatchObject({ ok: true });
    await storage.compact(storage.currentRevision);
    expect((await storage.range({ prefix: '' })).entries).toHaveLength(100);
    // Deleted rows make room for others, or their room goes back to the disk.
    await freeDisk();
    await until(() => storage.failure === undefined, { what: 'room', timeoutMs: 10_000 });
    expect(await storage.create('more', { text })).toMatchObject({ ok: true });
    await until(async () => (await reserveSize()) === reserveBytes, { what: 'the reserve again', timeoutMs: 20_000 });
  }, 60_000);

  test('writes of one moment: what needs room fails, the rest goes through', async () => {
    await untilReserve();
    const revisions = await create(50);
    // The log starts over after its checkpoint, so it must outgrow its file.
    fillDisk();
    const large = 'x'.repeat(300_000);
    const outcomes = await Promise.allSettled(
      [...revisions].map(([key, revision], at) =>
        at % 2 === 0 ? storage.delete(key, revision) : storage.update(key, { text: large, always: true }, revision),
      ),
    );
    expect(outcomes.filter((_, at) => at % 2 === 0).map(({ status }) => status)).toEqual(Array.from({ length: 25 }, () => 'fulfilled'));
    for (const outcome of outcomes) if (outcome.status === 'rejected') expect(outcome.reason).toMatchObject(refused);
  });

  test('starts on it with all that was acknowledged, and takes deletions', async () => {
    await untilReserve();
    const revisions = await create(300);
    fillDisk();
    await storage.close();
    await open();
    expect(storage.damage).toEqual([]);
    expect((await storage.range({ prefix: '' })).entries).toHaveLength(300);
    // The first pause of a start moves the log into the database. The reserve has room for that, and for deletions after it.
    await until(async () => (await stat(join(directory, 'state.db'))).size > reserveBytes / 2, { what: 'a checkpoint' });
    expect(storage.failure).toMatchObject(refused);
    await expect(storage.create('more', { text })).rejects.toMatchObject(refused);
    for (const [key, revision] of [...revisions].slice(0, 200)) expect(await storage.delete(key, revision)).toMatchObject({ ok: true });
    await storage.close();
    await open();
    expect((await storage.range({ prefix: '' })).entries).toHaveLength(100);
  });

  test('without any room and without a reserve is a start that reads', async () => {
    await create(100);
    await storage.close();
    await rm(join(directory, 'state.reserve'), { force: true });
    fillDisk();
    await open();
    expect((await storage.range({ prefix: '' })).entries).toHaveLength(100);
    await expect(storage.create('more', { text })).rejects.toMatchObject(refused);
  });

  test('says so when there is not even room to begin', async () => {
    await storage.close();
    await rm(directory, { recursive: true });
    await mkdir(directory);
    fillDisk();
    await expect(open()).rejects.toMatchObject({
      message: `no space left to open ${join(directory, 'state.db')}`,
      hint: 'Free some disk space, then start again.',
    });
    await freeDisk();
    await open();
  });
});
