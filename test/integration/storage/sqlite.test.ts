import { copyFile, mkdtemp, readFile, rename, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sqlite3 from 'sqlite3';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createMetrics } from '../../../src/base/metrics.ts';
import { openSqliteStorage } from '../../../src/storage/sqlite/storage.ts';
import { StorageError } from '../../../src/storage/storage-error.ts';
import { until } from '../../support/until.ts';

let directory: string;
let path: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'midship-sqlite-'));
  path = join(directory, 'state.db');
});

afterEach(() => rm(directory, { recursive: true }));

const run = (sql: string): Promise<void> =>
  new Promise((resolve, reject) => {
    const database = new sqlite3.Database(path);
    database.exec(sql, (err) => database.close(() => (err === null ? resolve() : reject(err))));
  });

async function openFailure(): Promise<StorageError> {
  const err = await openSqliteStorage({ path }).then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!(err instanceof StorageError)) throw new Error('expected a StorageError', { cause: err });
  return err;
}

describe('a store that cannot be opened names the reason and the fix', () => {
  test('data of a newer version', async () => {
    await run('PRAGMA user_version = 7');
    const err = await openFailure();
    expect(err.message).toBe(`${path} has data of version 7; this program reads up to version 2`);
    expect(err.hint).toContain('newer program');
  });

  test('a file in use', async () => {
    const storage = await openSqliteStorage({ path });
    const err = await openFailure();
    expect(err.message).toBe(`${path} is in use by another process`);
    expect(err.hint).toContain('another data directory');
    await storage.close();
    await (await openSqliteStorage({ path })).close();
  });

  test('a file that is no database', async () => {
    await writeFile(path, 'not a database, and long enough to be looked at: '.repeat(50));
    expect((await openFailure()).message).toBe(`${path} is not a database`);
  });

  test('an empty file beside the log of writes that belong to it', async () => {
    const storage = await openSqliteStorage({ path });
    await storage.create('a', { text: 'x' });
    await copyFile(`${path}-wal`, `${path}-copy`);
    await storage.close();
    await rename(`${path}-copy`, `${path}-wal`);
    await truncate(path);
    const err = await openFailure();
    expect(err.message).toBe(`${path} is empty, but ${path}-wal holds writes that belong to it`);
    expect(err.hint).toContain('Put back a copy');
    expect((await stat(`${path}-wal`)).size).toBeGreaterThan(0);
  });

  test('a directory that is not there', async () => {
    path = join(directory, 'missing', 'state.db');
    expect((await openFailure()).message).toBe(`open ${path}`);
  });
});

describe.each(['', '-wal'])('a file state.db%s that goes while it is in use', (suffix) => {
  test.each([
    ['is removed', () => rm(path + suffix)],
    [
      'is replaced by a copy',
      async () => {
        await copyFile(path + suffix, `${path}-copy`);
        await rename(`${path}-copy`, path + suffix);
      },
    ],
  ])('%s: no write is acknowledged that would be lost', async (_, take) => {
    const storage = await openSqliteStorage({ path });
    await storage.create('a', { text: 'x' });
    await take();
    await expect(storage.create('b', { text: 'x' })).rejects.toThrow(`${path}${suffix} was removed or replaced while it was in use`);
    expect(storage.failure?.message).toContain('was removed or replaced');
    expect((await storage.get('a'))?.text).toBe('x');
    await storage.close();
  });
});

test('keeps the write-ahead log small when idle', async () => {
  const storage = await openSqliteStorage({ path });
  const text = 'x'.repeat(4000);
  for (let n = 0; n < 20; n += 1) await Promise.all(Array.from({ length: 500 }, (_, at) => storage.create(`k${n}-${at}`, { text })));
  // A passive checkpoint moves the pages into the database; the log itself is cut when it starts over.
  await until(async () => (await stat(path)).size > 35_000_000, { what: 'the checkpoint', timeoutMs: 10_000 });
  await storage.create('last', { text });
  expect((await stat(`${path}-wal`)).size).toBeLessThan(48 * 1024 * 1024);
  await storage.close();
});

test('gives space back after compaction', async () => {
  const storage = await openSqliteStorage({ path });
  const text = 'x'.repeat(8000);
  let revisions = Array.from({ length: 100 }, () => 0);
  for (let n = 0; n < 60; n += 1) {
    const results = await Promise.all(
      revisions.map((revision, at) => (revision === 0 ? storage.create(`k${at}`, { text }) : storage.update(`k${at}`, { text }, revision))),
    );
    revisions = results.map((result) => (result.ok ? result.revision : 0));
  }
  await until(async () => (await stat(path)).size > 40_000_000, { what: 'the data in the file', timeoutMs: 10_000 });
  await storage.compact(storage.currentRevision);
  await until(async () => (await stat(path)).size < 20_000_000, { what: 'the smaller file', timeoutMs: 20_000 });
  expect((await storage.range({ prefix: '' })).entries).toHaveLength(100);
  await storage.close();
});

describe('a backup', () => {
  test('holds every write that was acknowledged before it, while writes go on', async () => {
    const storage = await openSqliteStorage({ path });
    for (let n = 0; n < 50; n += 1) await storage.create(`before${n}`, { text: `text ${n}` });
    const copy = join(directory, 'copy.db');
    const during = Array.from({ length: 200 }, (_, n) => storage.create(`during${n}`, { text: 'x' }));
    await Promise.all([storage.backup(copy), ...during]);
    const { entries } = await storage.range({ prefix: 'before' });
    await storage.close();
    expect((await stat(copy)).mode & 0o777).toBe(0o600);
    const restored = await openSqliteStorage({ path: copy });
    expect((await restored.range({ prefix: 'before' })).entries).toEqual(entries);
    // The copy has a beginning of the writes beside it, without a gap.
    const seen = (await restored.range({ prefix: 'during' })).entries.map(({ revision }) => revision).sort((a, b) => a - b);
    expect(seen).toEqual(seen.map((_, at) => 51 + at));
    await restored.close();
  });

  test('never overwrites a file', async () => {
    const storage = await openSqliteStorage({ path });
    const target = join(directory, 'precious');
    await writeFile(target, 'mine');
    await expect(storage.backup(target)).rejects.toThrow(`create ${target}`);
    expect(await readFile(target, 'utf8')).toBe('mine');
    await storage.close();
  });
});

test('measures its transactions and its size', async () => {
  const metrics = createMetrics();
  const storage = await openSqliteStorage({ path, metrics });
  await storage.create('a', { text: 'x' });
  const text = await metrics.text();
  expect(text).toMatch(/store_txn_duration_seconds_count\{op="commit"\} 1/);
  expect(text).toMatch(/apiserver_storage_size_bytes\{storage_cluster_id="sqlite"\} [1-9][0-9]{3,}/);
  await storage.close();
});
