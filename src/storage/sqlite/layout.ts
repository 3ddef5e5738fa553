import { StorageError } from '../storage-error.ts';
import { metaSum } from './checksum.ts';
import { type Database, openDatabase } from './database.ts';
import { damagedHint, openError } from './errors.ts';
import { makePrivate } from './files.ts';

/**
 * The log as one table without a secondary index: `log(rev, key, val, sum)`, NULL value = deleted. Every lookup by key
 * runs in memory, so a commit appends to one B-tree and compaction deletes by primary key.
 *
 * `sum` is a checksum of the row and is verified on every read. `meta` holds the compacted revision and `unchecked`. Rows up to the latter
 * come from layout 1 and may lack a checksum until idle time adds it. `damaged` keeps rows that were set aside.
 */

/** Layout of the data; written to `user_version`. A file with a higher one was made by a newer program. */
export const schemaVersion = 2;

const journalSizeLimitBytes = 32 * 1024 * 1024;

type WithReserve = <T>(work: () => Promise<T>) => Promise<T>;

/** @param withReserve  runs a write that may take of the reserve of the disk */
export async function openPrepared(
  path: string,
  withReserve: WithReserve,
): Promise<{ readonly database: Database; readonly foundVersion: number }> {
  let database: Database;
  try {
    database = await openDatabase(path);
  } catch (cause) {
    throw new StorageError(`open ${path}`, { hint: 'Check that the directory exists and that you may write to it.', cause });
  }
  try {
    return { database, foundVersion: await prepare(database, path, withReserve) };
  } catch (err) {
    await database.close();
    throw err instanceof StorageError ? err : openError(path, err);
  }
}

async function prepare(database: Database, path: string, withReserve: WithReserve): Promise<number> {
  // Exclusive mode takes the lock with the first access and keeps it: it is what makes a second process fail here.
  await database.exec('PRAGMA locking_mode = EXCLUSIVE; PRAGMA busy_timeout = 200');
  const [version] = await database.all<{ user_version: number }>('PRAGMA user_version');
  const found = version?.user_version ?? 0;
  if (found > schemaVersion) {
    throw new StorageError(`${path} has data of version ${found}; this program reads up to version ${schemaVersion}`, {
      hint: 'Start the newer program that wrote it, or use another data directory.',
    });
  }
  // It counts only before the first table is made, and writes, which a start on a full disk cannot.
  if (found === 0) await database.exec('PRAGMA auto_vacuum = INCREMENTAL');
  // FAST zeroes what is removed from pages that are written anyway: compaction of 18,000 rows takes 0.1 s with and without. ON writes pages
  // for that alone and takes 0.3 s.
  await database.exec(
    `PRAGMA secure_delete = FAST; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0; PRAGMA journal_size_limit = ${journalSizeLimitBytes}`,
  );
  // The lock is taken by a write.
  await database.exec('BEGIN IMMEDIATE; COMMIT');
  const [check] = await database.all<{ quick_check: string }>('PRAGMA quick_check(1)');
  if (check?.quick_check !== 'ok') {
    throw new StorageError(`${path} is damaged: ${check?.quick_check ?? 'no answer'}`, { hint: damagedHint, isDamage: true });
  }
  if (found < schemaVersion) await withReserve(() => inTransaction(database, () => migrate(database, found)));
  return found;
}

/** One step, whatever the size: rows of layout 1 get their checksums later, when writes pause. */
async function migrate(database: Database, found: number): Promise<void> {
  if (found === 0) {
    await database.exec(`
      CREATE TABLE IF NOT EXISTS log (rev INTEGER PRIMARY KEY, key TEXT NOT NULL, val TEXT, sum TEXT);
      CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL, sum TEXT);
      INSERT OR IGNORE INTO meta VALUES ('compacted', 0, '${metaSum('compacted', 0)}');
      INSERT OR IGNORE INTO meta VALUES ('unchecked', 0, '${metaSum('unchecked', 0)}');`);
  } else {
    const [compacted] = await database.all<{ value: number }>("SELECT value FROM meta WHERE name = 'compacted'");
    const [newest] = await database.all<{ rev: number | null }>('SELECT max(rev) AS rev FROM log');
    await database.exec(`
      ALTER TABLE log ADD COLUMN sum TEXT;
      ALTER TABLE meta ADD COLUMN sum TEXT;
      ${setMeta('compacted', compacted?.value ?? 0)}
      ${setMeta('unchecked', newest?.rev ?? 0)}`);
  }
  await database.exec(`
    CREATE TABLE IF NOT EXISTS damaged (id INTEGER PRIMARY KEY, rev INTEGER, key, val, sum, found TEXT);
    PRAGMA user_version = ${schemaVersion}`);
}

export const setMeta = (name: string, value: number): string =>
  `INSERT OR REPLACE INTO meta (name, value, sum) VALUES ('${name}', ${value}, '${metaSum(name, value)}');`;

/** A later start finds by it that the file is a copy of an earlier moment. */
export const markAsCopy = setMeta('copy', 1);

export async function inTransaction(database: Database, work: () => Promise<void>): Promise<void> {
  await database.exec('BEGIN IMMEDIATE');
  try {
    await work();
    await database.exec('COMMIT');
  } catch (err) {
    // SQLite has ended the transaction itself after some errors.
    await database.exec('ROLLBACK').catch(() => undefined);
    throw err;
  }
}

/** Makes a file with the empty tables of a store. A later start on it finds that it is a copy of an earlier moment. */
export async function createSqliteFile(path: string): Promise<Database> {
  makePrivate(path);
  const { database } = await openPrepared(path, (work) => work());
  await database.exec(markAsCopy);
  return database;
}
