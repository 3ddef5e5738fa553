import { copyFile, mkdir, mkdtemp, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sqlite3 from 'sqlite3';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { createMetrics } from '../../../src/base/metrics.ts';
import { isExpired } from '../../../src/machinery/status-error.ts';
import { describeDamage } from '../../../src/storage/damage-report.ts';
import { openSqliteStorage, type SqliteStorage } from '../../../src/storage/sqlite/storage.ts';
import { judge, openWithFlip, type PopulatedStore, populate, storeFiles } from '../../support/damaged-store.ts';
import { createRandom } from '../../support/random.ts';

let directory: string;
let path: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'midship-damage-'));
  path = join(directory, 'state.db');
});

afterEach(() => rm(directory, { recursive: true }));

const select = <Row>(sql: string): Promise<readonly Row[]> =>
  new Promise((resolve, reject) => {
    const database = new sqlite3.Database(path);
    database.all<Row>(sql, (err, rows) => database.close(() => (err === null ? resolve(rows) : reject(err))));
  });

async function fill(storage: SqliteStorage): Promise<void> {
  for (const key of ['a', 'b', 'c']) await storage.create(key, { text: `{"of":"${key}"}` });
  await storage.update('a', { text: '{"of":"a","newer":true}' }, 1);
  for (let n = 0; n < 40; n += 1) await storage.create(`other${n}`, { text: '{}' });
}

async function filled(): Promise<void> {
  const storage = await openSqliteStorage({ path });
  await fill(storage);
  await storage.close();
}

const allOf = async (storage: SqliteStorage): Promise<Record<string, string>> =>
  Object.fromEntries((await storage.range({ prefix: '' })).entries.map(({ key, text }) => [key, text]));

describe('one bit of a stopped store that changes', () => {
  const flips = 200;
  let scratch: string;
  let store: PopulatedStore;

  beforeAll(async () => {
    scratch = await mkdtemp(join(tmpdir(), 'midship-flips-'));
    store = await populate(scratch, createRandom(8));
  });

  afterAll(() => rm(scratch, { recursive: true }));

  test('the store is as it was when none does', async () => {
    const copy = join(directory, 'copy');
    await mkdir(copy);
    for (const file of storeFiles) await copyFile(join(store.directory, file), join(copy, file));
    expect(await judge(store, copy)).toEqual({ type: 'harmless' });
  });

  test(`is refused, named or harmless, ${flips} times`, { timeout: 60_000 }, async () => {
    const random = createRandom(80);
    const sizes = new Map<string, number>();
    for (const file of storeFiles) sizes.set(file, (await stat(join(store.directory, file))).size);
    const counts = { refused: 0, named: 0, harmless: 0 };
    for (let n = 0; n < flips; n += 1) {
      const file = n % 20 === 0 ? 'state.revision' : n % 2 === 0 ? 'state.db-wal' : 'state.db';
      const size = sizes.get(file) ?? 0;
      // A quarter of them where pages have their structure.
      const inHeader = n % 4 === 1 && file === 'state.db';
      const byte = inHeader ? Math.floor((random() * size) / 4096) * 4096 + Math.floor(random() * 128) : Math.floor(random() * size);
      const flip = { file, byte, bit: Math.floor(random() * 8) };
      const at = join(directory, `flip${n}`);
      const outcome = await openWithFlip(store, at, flip);
      await rm(at, { recursive: true });
      if (outcome.type === 'silent') throw new Error(`silent: ${JSON.stringify({ flip, ...outcome })}`);
      counts[outcome.type] += 1;
    }
    // The flips reach what they are about.
    expect(counts.refused).toBeGreaterThan(3);
    expect(counts.named).toBeGreaterThan(50);
    expect(counts.harmless).toBeGreaterThan(20);
  });

  test('a log that is cut short anywhere names the revisions that are missing', { timeout: 60_000 }, async () => {
    const random = createRandom(81);
    const log = join(store.directory, 'state.db-wal');
    const { size } = await stat(log);
    let named = 0;
    for (let n = 0; n < 30; n += 1) {
      const at = join(directory, `cut${n}`);
      await mkdir(at);
      for (const file of storeFiles) await copyFile(join(store.directory, file), join(at, file));
      await truncate(join(at, 'state.db-wal'), Math.floor(random() * size));
      const outcome = await judge(store, at);
      expect(outcome.type).not.toBe('silent');
      if (outcome.type === 'named') named += outcome.damage.filter(({ type }) => type === 'missing').length;
    }
    expect(named).toBeGreaterThan(5);
  });
});

describe('a damaged row', () => {
  test('is set aside by name, its key is absent, and the start goes on', async () => {
    await filled();
    await select(`UPDATE log SET val = replace(val, 'newer', 'never') WHERE rev = 4`);
    const metrics = createMetrics();
    const storage = await openSqliteStorage({ path, metrics });
    expect(storage.damage).toEqual([{ type: 'row', key: 'a', revision: 4, effect: 'keyAbsent' }]);
    expect(storage.damage.map(describeDamage)).toEqual([
      {
        reason: 'StoredObjectDamaged',
        message:
          'Revision 4 of "a" is damaged on disk and was set aside. The object is absent until Git or its controller applies it again; an older value is not used.',
      },
    ]);
    expect(await storage.get('a')).toBeUndefined();
    expect((await storage.get('b'))?.text).toBe('{"of":"b"}');
    expect(await metrics.text()).toMatch(/^store_damaged_rows_total 1$/m);
    // Git applies it again.
    expect(await storage.create('a', { text: '{"again":true}' })).toMatchObject({ ok: true });
    await storage.close();
    expect(await select('SELECT rev, key, val FROM damaged')).toEqual([{ rev: 4, key: 'a', val: '{"of":"a","never":true}' }]);

    const later = await openSqliteStorage({ path });
    expect(later.damage).toEqual([]);
    expect((await later.get('a'))?.text).toBe('{"again":true}');
    await later.close();
  });

  test('never brings an older value back, in any later start', async () => {
    await filled();
    await select(`UPDATE log SET val = replace(val, 'newer', 'never') WHERE rev = 4`);
    for (let start = 0; start < 3; start += 1) {
      const storage = await openSqliteStorage({ path });
      expect(await storage.get('a')).toBeUndefined();
      await storage.close();
    }
  });

  test('costs no object when a newer revision is there', async () => {
    await filled();
    await select(`UPDATE log SET val = 'x' WHERE rev = 1`);
    const storage = await openSqliteStorage({ path });
    expect(storage.damage).toEqual([{ type: 'row', key: 'a', revision: 1, effect: 'historyLost' }]);
    expect((await storage.get('a'))?.text).toBe('{"of":"a","newer":true}');
    await storage.close();
  });

  test('with a damaged key takes the value of the key it had', async () => {
    await filled();
    await select(`UPDATE log SET key = 'x' WHERE rev = 4`);
    const storage = await openSqliteStorage({ path });
    expect(storage.damage).toEqual([{ type: 'row', key: 'a', revision: 4, effect: 'keyAbsent' }]);
    expect(await storage.get('a')).toBeUndefined();
    await storage.close();
  });

  test('is noticed when it is a deletion', async () => {
    const before = await openSqliteStorage({ path });
    await fill(before);
    const deletion = await before.delete('a', 4);
    await before.close();
    if (!deletion.ok) throw new Error('not deleted');
    await select(`UPDATE log SET val = '' WHERE rev = ${deletion.revision}`);
    const storage = await openSqliteStorage({ path });
    expect(storage.damage).toEqual([{ type: 'row', key: 'a', revision: deletion.revision, effect: 'keyAbsent' }]);
    expect(await storage.get('a')).toBeUndefined();
    await storage.close();
  });

  test('makes every watch start again, above all revisions that were ever seen', async () => {
    await filled();
    await select(`UPDATE log SET val = 'x' WHERE rev = 2`);
    const storage = await openSqliteStorage({ path });
    expect(storage.currentRevision).toBeGreaterThan(1_000_000_000);
    const resumed = storage.watch({
      prefix: '',
      afterRevision: 44,
      signal: new AbortController().signal,
      onEvents: () => undefined,
      onEnd: () => undefined,
    });
    await expect(resumed).rejects.toSatisfy(isExpired);
    await storage.close();
  });

  test('among very many is more than damage of rows: the start is refused, and nothing is changed', async () => {
    await filled();
    await select(`UPDATE log SET val = 'x' WHERE rev > 30`);
    await expect(openSqliteStorage({ path })).rejects.toThrow(
      `${path} is damaged: 14 of 44 rows do not fit their checksums, the first is revision 31, key "other26"`,
    );
    expect(await select('SELECT count(*) AS rows FROM log')).toEqual([{ rows: 44 }]);
  });

  test('that comes while the store is in use is not given out', async () => {
    const storage = await openSqliteStorage({ path });
    await fill(storage);
    const text = `{"long":"${'x'.repeat(8000)}"}`;
    await storage.create('long', { text });
    await storage.close();
    const again = await openSqliteStorage({ path });
    // More than SQLite keeps in memory of the database lies between the row and the read.
    for (let n = 0; n < 400; n += 1) await again.create(`filler${n}`, { text });
    await again.range({ prefix: 'filler' });
    const bytes = await readFile(path);
    const at = bytes.indexOf('xxxxxxxxxxxxxxxx');
    bytes[at] = 'y'.charCodeAt(0);
    await writeFile(path, bytes);
    await expect(again.get('long')).rejects.toThrow('key "long", does not fit its checksum');
    expect(await allOf(again).catch((err: Error) => err.message)).toContain('key "long", does not fit its checksum');
    await again.close();
  });
});

describe('the mark of the newest revision', () => {
  const stopped = async (): Promise<void> => {
    const storage = await openSqliteStorage({ path });
    await fill(storage);
    const kept = join(directory, 'kept');
    await mkdir(kept);
    for (const file of storeFiles) await copyFile(join(directory, file), join(kept, file));
    await storage.close();
    for (const file of storeFiles) await copyFile(join(kept, file), join(directory, file));
  };

  test('names acknowledged writes that the log lacks, and revisions never go back', async () => {
    await stopped();
    await writeFile(`${path}-wal`, '');
    const storage = await openSqliteStorage({ path });
    expect(storage.damage).toEqual([{ type: 'missing', after: 0, upTo: 44 }]);
    expect(storage.damage.map(describeDamage)[0]?.message).toBe(
      'The store ends at revision 0, and revision 44 was acknowledged: up to 44 writes (1 to 44) are lost. The state in Git is applied again; restore a backup for the rest.',
    );
    const written = await storage.create('a', { text: '{}' });
    expect(written.ok && written.revision).toBeGreaterThan(44);
    await storage.close();
    const later = await openSqliteStorage({ path });
    expect(later.damage).toEqual([]);
    await later.close();
  });

  test.each([
    ['is damaged', (file: string) => writeFile(file, 'acknowledged 44 1\n')],
    ['is gone', (file: string) => rm(file)],
  ])('%s: the start says so', async (what, harm) => {
    await stopped();
    await harm(join(directory, 'state.revision'));
    const storage = await openSqliteStorage({ path });
    expect(storage.damage).toEqual([
      { type: 'other', message: `${join(directory, 'state.revision')} ${what}, so nothing says whether acknowledged writes are missing` },
    ]);
    expect(Object.keys(await allOf(storage))).toHaveLength(43);
    await storage.close();
    const later = await openSqliteStorage({ path });
    expect(later.damage).toEqual([]);
    await later.close();
  });

  test('is there before the first write, so that a power cut does not look like a file that was removed', async () => {
    const storage = await openSqliteStorage({ path });
    expect(await readFile(join(directory, 'state.revision'), 'latin1')).toMatch(/^acknowledged 0 \d+ *\n$/);
    await storage.close();
  });

  test('is not ahead of what the end of the process leaves', async () => {
    for (let round = 0; round < 3; round += 1) {
      const storage = await openSqliteStorage({ path });
      expect(storage.damage).toEqual([]);
      for (let n = 0; n < 50; n += 1) await storage.create(`k${round}-${n}`, { text: '{}' });
      const kept = join(directory, `kept${round}`);
      await mkdir(kept);
      for (const file of storeFiles) await copyFile(join(directory, file), join(kept, file));
      await storage.close();
      for (const file of storeFiles) await copyFile(join(kept, file), join(directory, file));
    }
  });
});

test('a backup that is put back says that it is one, and revisions never go back', async () => {
  const storage = await openSqliteStorage({ path });
  await fill(storage);
  const copy = join(directory, 'copy', 'state.db');
  await mkdir(join(directory, 'copy'));
  await storage.backup(copy);
  await storage.create('later', { text: '{}' });
  await storage.close();
  const restored = await openSqliteStorage({ path: copy });
  expect(restored.damage).toEqual([{ type: 'restored' }]);
  expect(Object.keys(await allOf(restored))).toHaveLength(43);
  expect(restored.currentRevision).toBeGreaterThan(1_000_000_000);
  await restored.close();
  const later = await openSqliteStorage({ path: copy });
  expect(later.damage).toEqual([]);
  await later.close();
});

describe('layout 1', () => {
  const writeOld = (extra = ''): Promise<readonly unknown[]> =>
    new Promise((resolve, reject) => {
      const database = new sqlite3.Database(path);
      database.exec(
        `PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL;
         CREATE TABLE log (rev INTEGER PRIMARY KEY, key TEXT NOT NULL, val TEXT);
         CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
         INSERT INTO meta VALUES ('compacted', 2);
         INSERT INTO log VALUES (3, 'a', '{"n":1}'), (4, 'b', '{"n":2}'), (5, 'a', '{"n":3}'), (6, 'b', NULL);
         ${extra}
         PRAGMA user_version = 1`,
        (err) => database.close(() => (err === null ? resolve([]) : reject(err))),
      );
    });

  test('is taken over once: the next start finds a mark', async () => {
    await writeOld();
    for (let start = 0; start < 2; start += 1) {
      const storage = await openSqliteStorage({ path });
      expect(storage.damage).toEqual([]);
      expect(storage.currentRevision).toBe(6);
      await storage.close();
    }
  });

  test('is taken over, and its rows get their checksums in a pause', async () => {
    await writeOld();
    const storage = await openSqliteStorage({ path });
    expect(storage.damage).toEqual([]);
    expect(storage.compactedRevision).toBe(2);
    expect(await allOf(storage)).toEqual({ a: '{"n":3}' });
    await storage.create('c', { text: '{"n":4}' });
    await storage.close();
    const bare = async (): Promise<readonly unknown[]> => {
      // It has pauses only while it is open, and can be looked at only when it is not.
      const again = await openSqliteStorage({ path });
      await new Promise((resolve) => setTimeout(resolve, 150));
      await again.close();
      return select("SELECT count(*) AS bare FROM log WHERE sum IS NULL UNION ALL SELECT value FROM meta WHERE name = 'unchecked'");
    };
    await expect.poll(bare, { timeout: 10_000 }).toEqual([{ bare: 0 }, { bare: 0 }]);
    const later = await openSqliteStorage({ path });
    expect(later.damage).toEqual([]);
    expect(await allOf(later)).toEqual({ a: '{"n":3}', c: '{"n":4}' });
    await later.close();
  });

  test('a row without a checksum is damaged where all have one', async () => {
    await filled();
    await select('UPDATE log SET sum = NULL WHERE rev = 2');
    const storage = await openSqliteStorage({ path });
    expect(storage.damage).toEqual([{ type: 'row', key: 'b', revision: 2, effect: 'keyAbsent' }]);
    await storage.close();
  });

  test('a row that is no JSON object was damaged before', async () => {
    await writeOld(`INSERT INTO log VALUES (7, 'c', '{"n":');`);
    const storage = await openSqliteStorage({ path });
    expect(storage.damage).toEqual([{ type: 'row', key: 'c', revision: 7, effect: 'keyAbsent' }]);
    await storage.close();
  });
});
