import { chmodSync, closeSync, openSync, statSync } from 'node:fs';
import { open as openFile, rm } from 'node:fs/promises';
import type { LogDriver, LogRow } from '../log-driver.ts';
import { StorageError } from '../storage-error.ts';
import { type Database, openDatabase, type Parameter, type Statement } from './database.ts';

/**
 * The log as one table without a secondary index: `log(rev, key, val)`, NULL value = deleted. Everything that looks up by key is done in
 * memory, so a commit appends to one B-tree and compaction deletes by primary key.
 */

/** Layout of the data; written to `user_version`. A file with a higher one was made by a newer program. */
const schemaVersion = 1;

/** Row counts of the prepared inserts. A batch takes the next size up: parameters that are not given are NULL, and the statement drops their rows. */
const insertSizes = [1, 2, 4, 8, 16, 32, 64, 128] as const;

/** Above it a checkpoint runs between batches: one holds the next commit for 1.4 ms a MB. */
const busyCheckpointBytes = 16 * 1024 * 1024;
const journalSizeLimitBytes = 32 * 1024 * 1024;
/** What a commit writes to the WAL beside its rows: the path to the last leaf and its header, some pages. */
const commitOverheadBytes = 3 * 4120;
/** Free pages are given back when they are more than this and a quarter of the file, some at a time. */
const minFreePages = 1024;
const vacuumSlicePages = 256;
const readChunkRows = 500;
/** Reading rows one by one costs more than a scan from here on. */
const scanFromRows = 2000;

export interface SqliteDriver extends LogDriver {
  /** Writes a consistent copy to the new file `target`. */
  backup(target: string): Promise<void>;
}

export async function openSqliteDriver(path: string): Promise<SqliteDriver> {
  refuseLoneLog(path);
  makePrivate(path);
  const database = await open(path);
  const files = fileGuard([path, `${path}-wal`]);
  files.check();
  const inserts = new Map<number, Statement>();
  let walBytes = 0;
  let checkpointPending = false;
  let vacuumDue = false;

  async function insertOf(size: number): Promise<Statement> {
    let statement = inserts.get(size);
    if (statement === undefined) {
      const values = new Array(size).fill('(?,?,?)').join(',');
      statement = await database.prepare(
        `INSERT INTO log SELECT column1, column2, column3 FROM (VALUES ${values}) WHERE column1 IS NOT NULL`,
      );
      inserts.set(size, statement);
    }
    return statement;
  }

  async function checkpoint(): Promise<void> {
    checkpointPending = false;
    await database.exec('PRAGMA wal_checkpoint(PASSIVE)');
    walBytes = 0;
  }

  async function vacuumSlice(): Promise<void> {
    const [pages] = await database.all<{ page_count: number }>('PRAGMA page_count');
    const [free] = await database.all<{ freelist_count: number }>('PRAGMA freelist_count');
    const freePages = free?.freelist_count ?? 0;
    vacuumDue = freePages > minFreePages && freePages * 4 > (pages?.page_count ?? 0);
    if (vacuumDue) await database.exec(`PRAGMA incremental_vacuum(${vacuumSlicePages})`);
    walBytes += vacuumDue ? vacuumSlicePages * 4096 : 0;
  }

  return {
    name: 'sqlite',
    async load(onRow) {
      const [meta] = await database.all<{ value: number }>("SELECT value FROM meta WHERE name = 'compacted'");
      await database.each<{ rev: number; key: string; deleted: number }>(
        'SELECT rev, key, val IS NULL AS deleted FROM log ORDER BY rev',
        ({ rev, key, deleted }) => onRow(rev, key, deleted === 1),
      );
      return { compactedRevision: meta?.value ?? 0 };
    },
    async append(rows) {
      const size = insertSizes.find((candidate) => candidate >= rows.length) ?? rows.length;
      const parameters: Parameter[] = [];
      for (const { revision, key, text } of rows) {
        // As text, which the column makes a number of again: before sqlite3 takes a value for a number it looks up classes by name.
        parameters.push(String(revision), key, text);
        walBytes += key.length + (text?.length ?? 0) + 16;
      }
      walBytes += commitOverheadBytes;
      try {
        await (inserts.get(size) ?? (await insertOf(size))).run(parameters);
      } catch (cause) {
        throw writeError(path, cause);
      }
      files.check();
    },
    async read(revisions) {
      const texts = new Map<number, string>();
      if (revisions.length >= scanFromRows) {
        const wanted = new Set(revisions);
        await database.each<{ rev: number; val: string | null }>('SELECT rev, val FROM log', ({ rev, val }) => {
          if (val !== null && wanted.has(rev)) texts.set(rev, val);
        });
        return texts;
      }
      for (let from = 0; from < revisions.length; from += readChunkRows) {
        const chunk = revisions.slice(from, from + readChunkRows);
        const rows = await database.all<{ rev: number; val: string }>(
          `SELECT rev, val FROM log WHERE rev IN (${chunk.map(() => '?').join(',')}) AND val IS NOT NULL`,
          chunk,
        );
        for (const { rev, val } of rows) texts.set(rev, val);
      }
      return texts;
    },
    async readAfter(revision, limit): Promise<readonly LogRow[]> {
      const rows = await database.all<{ rev: number; key: string; val: string | null }>(
        'SELECT rev, key, val FROM log WHERE rev > ? ORDER BY rev LIMIT ?',
        [revision, limit],
      );
      return rows.map(({ rev, key, val }) => ({ revision: rev, key, text: val }));
    },
    setCompacted: (revision) => database.exec(`INSERT OR REPLACE INTO meta (name, value) VALUES ('compacted', ${revision})`),
    async remove(revisions) {
      if (revisions.length === 0) return;
      await database.exec(`DELETE FROM log WHERE rev IN (${revisions.join(',')})`);
      // A removed row dirties the page it was on; rows of one slice are mostly neighbours.
      walBytes += revisions.length * 1024;
      vacuumDue = true;
    },
    async rewrite() {
      // Free space within pages may hold rows that were removed before this program zeroed them.
      await database.exec('VACUUM; PRAGMA wal_checkpoint(TRUNCATE)');
      walBytes = 0;
      vacuumDue = false;
    },
    tidy(moment) {
      if (checkpointPending) return undefined;
      if (walBytes > (moment === 'idle' ? 0 : busyCheckpointBytes)) {
        checkpointPending = true;
        return checkpoint;
      }
      return moment === 'idle' && vacuumDue ? vacuumSlice : undefined;
    },
    async backup(target) {
      await createEmpty(target);
      try {
        await database.all('VACUUM INTO ?', [target]);
        const copy = await openFile(target, 'r');
        await copy.sync().finally(() => copy.close());
      } catch (cause) {
        await rm(target, { force: true });
        throw writeError(target, cause);
      }
    },
    async close() {
      for (const statement of inserts.values()) await statement.finalize();
      inserts.clear();
      await database.close();
    },
  };
}

/** The copy holds Secrets, so nobody else may read it from its first byte on; SQLite writes into an empty file. */
async function createEmpty(target: string): Promise<void> {
  try {
    await (await openFile(target, 'wx', 0o600)).close();
  } catch (cause) {
    throw new StorageError(`create ${target}`, { hint: 'Name a file that does not exist, in a directory you may write to.', cause });
  }
}

/** For its owner alone, whatever the umask is: SQLite gives its log the permissions of the database. */
function makePrivate(path: string): void {
  try {
    closeSync(openSync(path, 'a', 0o600));
    for (const file of [path, `${path}-wal`]) {
      const mode = statSync(file, { throwIfNoEntry: false })?.mode ?? 0;
      if ((mode & 0o077) !== 0) chmodSync(file, 0o600);
    }
  } catch {
    // What cannot be made here cannot be opened either, or it is somebody else's file, which is theirs to keep private.
  }
}

/** SQLite takes an absent or empty file as a new database, and throws the log beside it away with the writes that are in it. */
function refuseLoneLog(path: string): void {
  if ((statSync(path, { throwIfNoEntry: false })?.size ?? 0) > 0) return;
  if ((statSync(`${path}-wal`, { throwIfNoEntry: false })?.size ?? 0) === 0) return;
  throw new StorageError(`${path} is empty, but ${path}-wal holds writes that belong to it`, {
    hint: 'Put back a copy of the data directory, or remove both files: what Git says is applied again.',
  });
}

/**
 * Tells when a file is no longer the one that was opened: SQLite goes on writing to a file that was deleted or replaced, and what is
 * written there is lost with the process. A look costs 2 µs a file, so each commit has one before it is acknowledged.
 */
function fileGuard(paths: readonly string[]): { readonly check: () => void } {
  const opened = new Map<string, number>();
  return {
    check() {
      for (const path of paths) {
        const inode = statSync(path, { throwIfNoEntry: false })?.ino ?? 0;
        const before = opened.get(path);
        if (before === undefined) {
          // The log comes into being with the first write.
          if (inode !== 0) opened.set(path, inode);
        } else if (before !== inode) {
          throw new StorageError(`${path} was removed or replaced while it was in use: writes to it would be lost`, {
            hint: 'Stop this process, put back a copy of the data directory or remove it, and start again.',
          });
        }
      }
    },
  };
}

async function open(path: string): Promise<Database> {
  let database: Database;
  try {
    database = await openDatabase(path);
  } catch (cause) {
    throw new StorageError(`open ${path}`, { hint: 'Check that the directory exists and that you may write to it.', cause });
  }
  try {
    await prepare(database, path);
    return database;
  } catch (err) {
    await database.close();
    throw err instanceof StorageError ? err : openError(path, err);
  }
}

async function prepare(database: Database, path: string): Promise<void> {
  // Exclusive mode takes the lock with the first access and keeps it: it is what makes a second process fail here.
  // auto_vacuum counts only before the first table is made.
  await database.exec('PRAGMA locking_mode = EXCLUSIVE; PRAGMA busy_timeout = 200; PRAGMA auto_vacuum = INCREMENTAL');
  const [version] = await database.all<{ user_version: number }>('PRAGMA user_version');
  const found = version?.user_version ?? 0;
  if (found > schemaVersion) {
    throw new StorageError(`${path} has data of version ${found}; this program reads up to version ${schemaVersion}`, {
      hint: 'Start the newer program that wrote it, or use another data directory.',
    });
  }
  // FAST zeroes what is removed from pages that are written anyway: compaction of 18,000 rows takes 0.1 s with and without, and 0.3 s with
  // ON, which writes pages for that alone.
  await database.exec(
    `PRAGMA secure_delete = FAST; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0; PRAGMA journal_size_limit = ${journalSizeLimitBytes}`,
  );
  if (found === 0) {
    await database.exec(`
      BEGIN EXCLUSIVE;
      CREATE TABLE IF NOT EXISTS log (rev INTEGER PRIMARY KEY, key TEXT NOT NULL, val TEXT);
      CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
      PRAGMA user_version = ${schemaVersion};
      COMMIT`);
  } else {
    // The lock is taken by a write.
    await database.exec('BEGIN IMMEDIATE; COMMIT');
  }
  const [check] = await database.all<{ quick_check: string }>('PRAGMA quick_check(1)');
  if (check?.quick_check !== 'ok') {
    throw new StorageError(`${path} is damaged: ${check?.quick_check ?? 'no answer'}`, {
      hint: 'Put back a copy of the data directory, or remove it: what Git says is applied again.',
    });
  }
}

const codeOf = (err: unknown): unknown => (err instanceof Error ? (err as NodeJS.ErrnoException).code : undefined);

function openError(path: string, cause: unknown): StorageError {
  switch (codeOf(cause)) {
    case 'SQLITE_BUSY':
    case 'SQLITE_LOCKED':
      return new StorageError(`${path} is in use by another process`, {
        hint: 'Stop the other process, or use another data directory.',
        cause,
      });
    case 'SQLITE_NOTADB':
      return new StorageError(`${path} is not a database`, { hint: 'Move the file away, or use another data directory.', cause });
    case 'SQLITE_FULL':
      return new StorageError(`no space left to open ${path}`, { hint: 'Free some disk space, then start again.', cause });
    default:
      return new StorageError(`open ${path}`, { hint: 'Check the disk, and that you may write to the directory.', cause });
  }
}

function writeError(path: string, cause: unknown): StorageError {
  return codeOf(cause) === 'SQLITE_FULL'
    ? new StorageError(`no space left to write ${path}`, { hint: 'Free some disk space; writes work again then.', cause })
    : new StorageError(`write ${path}`, { hint: 'Check the disk and the log of the kernel.', cause });
}
