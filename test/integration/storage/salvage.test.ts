import { copyFile, mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { salvageStore } from '../../../src/storage/sqlite/salvage.ts';
import { openSqliteStorage } from '../../../src/storage/sqlite/storage.ts';
import { StorageError } from '../../../src/storage/storage-error.ts';
import { type PopulatedStore, populate, storeFiles } from '../../support/damaged-store.ts';
import { createRandom } from '../../support/random.ts';

const pageBytes = 4096;

let scratch: string;
let store: PopulatedStore;
let copies = 0;

beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'midship-salvage-'));
  store = await populate(scratch, createRandom(15));
});

afterAll(() => rm(scratch, { recursive: true, maxRetries: 10 }));

/** A copy of the stopped store whose files `change` has damaged. */
async function damaged(change: (file: string, bytes: Buffer) => void): Promise<string> {
  copies += 1;
  const directory = join(scratch, `copy${copies}`);
  await mkdir(directory);
  for (const file of storeFiles) {
    const bytes = await readFile(join(store.directory, file));
    change(file, bytes);
    await writeFile(join(directory, file), bytes);
  }
  return join(directory, 'state.db');
}

/** A checkpoint has brought all of the log into the database. */
async function checkpointed(change: (bytes: Buffer) => void): Promise<string> {
  const path = await damaged(() => undefined);
  await (await openSqliteStorage({ path })).close();
  const bytes = await readFile(path);
  change(bytes);
  await writeFile(path, bytes);
  return path;
}

async function contentOf(path: string): Promise<ReadonlyMap<string, { readonly text: string; readonly revision: number }>> {
  const storage = await openSqliteStorage({ path });
  const { entries } = await storage.range({ prefix: '' });
  expect(storage.damage.map(({ type }) => type)).toContain('restored');
  expect(storage.currentRevision).toBeGreaterThan(1_000_000_000);
  await storage.close();
  return new Map(entries.map(({ key, text, revision }) => [key, { text, revision }]));
}

const refusal = (path: string): Promise<unknown> => openSqliteStorage({ path }).catch((err: unknown) => err);

describe('a store that SQLite cannot read', () => {
  test('gives all its rows when none is damaged', async () => {
    const path = await damaged(() => undefined);
    const report = await salvageStore(path);
    expect(report.damaged).toEqual([]);
    expect(report.keptAs).toBe(`${path}.damaged`);
    expect(await contentOf(path)).toEqual(store.content);
  });

  test.each([
    ['its first bytes', 0, 16],
    ['the root of its log', pageBytes, 64],
  ])('is refused in three lines, and salvaged, when %s are garbage', async (_, from, length) => {
    const path = await checkpointed((bytes) => bytes.fill(0xa5, from, from + length));
    const err = await refusal(path);
    expect(err).toBeInstanceOf(StorageError);
    expect((err as StorageError).message).toContain(path);
    expect((err as StorageError).hint).toContain('midship repair salvage');
    await salvageStore(path);
    expect(await contentOf(path)).toEqual(store.content);
  });

  test('loses the rows of a page that is gone, and no others', async () => {
    const random = createRandom(16);
    let lost = 0;
    for (let n = 0; n < 25; n += 1) {
      const path = await checkpointed((bytes) => {
        const page = 1 + Math.floor(random() * (bytes.length / pageBytes - 1));
        for (let at = 0; at < pageBytes; at += 1) bytes[page * pageBytes + at] = Math.floor(random() * 256);
      });
      await salvageStore(path);
      const content = await contentOf(path);
      for (const [key, { text, revision }] of content) expect([key, text]).toEqual([key, store.written.get(revision)]);
      lost += [...store.content.keys()].filter((key) => !content.has(key)).length;
      expect(content.size).toBeGreaterThan(store.content.size * 0.6);
    }
    expect(lost).toBeGreaterThan(0);
  });

  test('gives what its log holds behind a damaged frame, too', async () => {
    const path = await damaged((file, bytes) => {
      if (file === 'state.db-wal') bytes[32 + 24 + 100] = (bytes[32 + 24 + 100] ?? 0) ^ 1;
    });
    await salvageStore(path);
    const content = await contentOf(path);
    for (const [key, { text, revision }] of content) expect([key, text]).toEqual([key, store.written.get(revision)]);
    const newest = Math.max(...[...store.content.values()].map(({ revision }) => revision));
    expect([...content.values()].some(({ revision }) => revision === newest)).toBe(true);
  });

  test('is salvaged from layout 1, too', async () => {
    copies += 1;
    const directory = join(scratch, `copy${copies}`);
    await mkdir(directory);
    const path = join(directory, 'state.db');
    const { default: sqlite3 } = await import('sqlite3');
    await new Promise<void>((resolve, reject) => {
      const database = new sqlite3.Database(path);
      database.exec(
        `CREATE TABLE log (rev INTEGER PRIMARY KEY, key TEXT NOT NULL, val TEXT);
         CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
         INSERT INTO meta VALUES ('compacted', 2);
         INSERT INTO log VALUES (3, 'a', '{"n":1}'), (4, 'b', '{"n":2}'), (5, 'a', NULL), (6, 'c', 'broken');
         PRAGMA user_version = 1`,
        (err) => database.close(() => (err === null ? resolve() : reject(err))),
      );
    });
    expect(await salvageStore(path)).toMatchObject({ rows: 3, newestRevision: 5, damaged: [{ revision: 6, key: 'c' }] });
    expect(await contentOf(path)).toEqual(new Map([['b', { text: '{"n":2}', revision: 4 }]]));
  });

  test('without an intact row stays as it is', async () => {
    const path = await damaged((_, bytes) => bytes.fill(0));
    await expect(salvageStore(path)).rejects.toThrow(`${path} has no intact row`);
    const { size } = await stat(join(store.directory, 'state.db'));
    expect((await stat(path)).size).toBe(size);
    await copyFile(join(store.directory, 'state.db'), path);
  });
});
