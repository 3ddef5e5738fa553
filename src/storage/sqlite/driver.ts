import { chmodSync, closeSync, openSync, statSync } from 'node:fs';
import { open as openFile, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Clock } from '../../base/clock.ts';
import type { DamagedRow, LogDriver } from '../log-driver.ts';
import { StorageError } from '../storage-error.ts';
import { headFits, metaSum, rowSum } from './checksum.ts';
import { type Database, openDatabase, type Parameter, type Statement } from './database.ts';
import { openDiskRoom } from './disk-room.ts';
import { openRevisionMark } from './revision-mark.ts';

/**
 * The log as one table without a secondary index: `log(rev, key, val, sum)`, NULL value = deleted. Every lookup by key
 * runs in memory, so a commit appends to one B-tree and compaction deletes by primary key.
 *
 * `sum` is a checksum of the row and is verified on every read. `meta` holds the compacted revision and `unchecked`. Rows up to the latter
 * come from layout 1 and may lack a checksum until idle time adds it. `damaged` keeps rows that were set aside.
 */

/** Layout of the data; written to `user_version`. A file with a higher one was made by a newer program. */
const schemaVersion = 2;

/**
 * Row counts of the prepared inserts. A batch uses the next larger size: missing parameters are NULL, and the statement
 * drops their rows.
 */
const insertSizes = [1, 2, 4, 8, 16, 32, 64, 128] as const;

/** Above it a checkpoint runs between batches: one holds the next commit for 1.4 ms a MB. */
const busyCheckpointBytes = 16 * 1024 * 1024;
const journalSizeLimitBytes = 32 * 1024 * 1024;
/** Bytes that a commit writes to the WAL besides its rows: the path to the last leaf and its header, some pages. */
const commitOverheadBytes = 3 * 4120;
/** Free pages are given back when they are more than this and a quarter of the file, some at a time. */
const minFreePages = 1024;
const vacuumSlicePages = 256;
const readChunkRows = 500;
/** Rows are read some at a time: a store of large objects must not be in memory as text, too. */
const pageRows = 1000;
const pageBytes = 8 * 1024 * 1024;
/** Rows of layout 1 that get a checksum in one pause. */
const sumSliceRows = 500;
/** More damage than that is not that of some rows: then nothing is set aside, and a person decides. */
const maxDamagedRows = 100;
const maxDamagedShare = 0.05;
const damageAlwaysTaken = 8;
/** Rows that were set aside are kept for whoever wants to look, the newest so many. */
const keptDamagedRows = 1000;

interface StoredRow {
  readonly rev: number;
  readonly key: string;
  readonly val: string | null;
  readonly sum: string | null;
}

export interface SqliteDriver extends LogDriver {
  /** Writes a consistent copy to the new file `target`. */
  backup(target: string): Promise<void>;
}

export interface SqliteDriverOptions {
  readonly path: string;
  readonly clock: Clock;
}

export async function openSqliteDriver({ path, clock }: SqliteDriverOptions): Promise<SqliteDriver> {
  refuseLoneLog(path);
  makePrivate(path);
  const room = openDiskRoom({ directory: dirname(path), reserve: `${path.replace(/\.db$/, '')}.reserve`, clock, isFull });
  const { database, foundVersion } = await openPrepared(path, room.withReserve);
  const files = fileGuard([path, `${path}-wal`]);
  files.check();
  const mark = await openRevisionMark(`${path.replace(/\.db$/, '')}.revision`, { clock });
  const inserts = new Map<number, Statement>();
  // The first pause checkpoints what the end of an earlier process left in the log.
  let walBytes = sizeOf(`${path}-wal`);
  let checkpointPending = false;
  let vacuumDue = false;
  /** Rows up to here may lack a checksum. */
  let unchecked = 0;
  let uncheckedFrom = 0;
  let damagedRevisions: readonly number[] = [];

  async function insertOf(size: number): Promise<Statement> {
    let statement = inserts.get(size);
    if (statement === undefined) {
      const values = new Array(size).fill('(?,?,?,?)').join(',');
      statement = await database.prepare(
        `INSERT INTO log SELECT column1, column2, column3, column4 FROM (VALUES ${values}) WHERE column1 IS NOT NULL`,
      );
      inserts.set(size, statement);
    }
    return statement;
  }

  async function checkpoint(): Promise<void> {
    checkpointPending = false;
    await room.withReserve(() => database.exec('PRAGMA wal_checkpoint(PASSIVE)'));
    walBytes = 0;
  }

  async function vacuumSlice(): Promise<void> {
    const [pages] = await database.all<{ page_count: number }>('PRAGMA page_count');
    const [free] = await database.all<{ freelist_count: number }>('PRAGMA freelist_count');
    const freePages = free?.freelist_count ?? 0;
    vacuumDue = freePages > minFreePages && (freePages * 4 > (pages?.page_count ?? 0) || room.refusal(walBytes) !== undefined);
    if (vacuumDue) await room.withReserve(() => database.exec(`PRAGMA incremental_vacuum(${vacuumSlicePages})`));
    walBytes += vacuumDue ? vacuumSlicePages * 4096 : 0;
  }

  const read = async <Row>(sql: string, parameters?: readonly Parameter[]): Promise<readonly Row[]> => {
    try {
      return await database.all<Row>(sql, parameters);
    } catch (cause) {
      throw openError(path, cause);
    }
  };

  /** Rows after `revision`, in order: one page of them, none only when there are none. */
  async function pageAfter(revision: number, limit = pageRows): Promise<readonly StoredRow[]> {
    const sizes = await read<{ rev: number; size: number | null }>(
      'SELECT rev, octet_length(val) AS size FROM log WHERE rev > ? ORDER BY rev LIMIT ?',
      [revision, limit],
    );
    if (sizes.length === 0) return [];
    let bytes = 0;
    let last = revision;
    for (const [at, { rev, size }] of sizes.entries()) {
      bytes += size ?? 0;
      if (at > 0 && bytes > pageBytes) break;
      last = rev;
    }
    return read<StoredRow>('SELECT rev, key, val, sum FROM log WHERE rev > ? AND rev <= ? ORDER BY rev', [revision, last]);
  }

  function fits({ rev, key, val, sum }: StoredRow): boolean {
    // A damaged header makes a number or bytes of a text.
    if (typeof key !== 'string' || (val !== null && typeof val !== 'string')) return false;
    if (sum === null && rev <= unchecked) return isObjectText(val);
    return sum === rowSum(rev, key, val);
  }

  function checked(row: StoredRow): StoredRow {
    if (fits(row)) return row;
    throw new StorageError(`row ${row.rev} of ${path}, key ${quoted(row.key)}, does not fit its checksum`, {
      hint: 'Check the disk, and start again: a start sets the row aside, and the state in Git is applied again.',
    });
  }

  async function metaOf(name: string): Promise<number | undefined> {
    const [row] = await read<{ value: number; sum: string | null }>('SELECT value, sum FROM meta WHERE name = ?', [name]);
    return row !== undefined && row.sum === metaSum(name, row.value) ? row.value : undefined;
  }

  /** Gives rows of layout 1 their checksums. */
  async function sumSlice(): Promise<void> {
    const rows = (await pageAfter(uncheckedFrom, sumSliceRows)).filter(({ rev }) => rev <= unchecked);
    const last = rows.at(-1)?.rev ?? unchecked;
    await room.withReserve(() =>
      transaction(database, async () => {
        const bare = rows.filter(({ sum }) => sum === null).map(checked);
        for (const { val } of bare) walBytes += (val?.length ?? 0) + 4096;
        // One call for all: each has to wait for its turn on another thread.
        await database.exec(
          bare.map(({ rev, key, val }) => `UPDATE log SET sum = '${rowSum(rev, key, val)}' WHERE rev = ${rev};`).join(''),
        );
        if (last >= unchecked) await database.exec(setMeta('unchecked', 0));
      }),
    );
    uncheckedFrom = last;
    if (last >= unchecked) unchecked = 0;
  }

  return {
    name: 'sqlite',
    async load(onRow) {
      const otherDamage: string[] = [];
      const compactedRevision = await metaOf('compacted');
      if (compactedRevision === undefined) otherDamage.push(`${path} does not say how far its history was compacted`);
      unchecked = (await metaOf('unchecked')) ?? 0;
      const damagedRows: DamagedRow[] = [];
      let rows = 0;
      let last = Number.MIN_SAFE_INTEGER;
      for (;;) {
        const page = await pageAfter(last);
        if (page.length === 0) break;
        for (const row of page) {
          const { rev, key, val, sum } = row;
          if (fits(row)) onRow({ revision: rev, key, size: val?.length ?? 0, deleted: val === null });
          else damagedRows.push({ revision: rev, key: String(key), belongsTo: (candidate) => headFits(sum, rev, candidate) });
        }
        rows += page.length;
        last = page.at(-1)?.rev ?? last;
      }
      refuseMuchDamage(path, damagedRows, rows);
      damagedRevisions = damagedRows.map(({ revision }) => revision);
      const isCopy = (await read("SELECT 1 FROM meta WHERE name = 'copy'")).length > 0;
      if (mark.found === 'damaged') otherDamage.push(`${mark.path} is damaged, so nothing says whether acknowledged writes are missing`);
      if (mark.found === 'none' && rows > 0 && foundVersion === schemaVersion && !isCopy) {
        otherDamage.push(`${mark.path} is gone, so nothing says whether acknowledged writes are missing`);
      }
      // From layout 1, which had none; where it is missed, it is written with what is decided about that.
      if (mark.found === 'none' && otherDamage.length === 0 && !isCopy) mark.raise(last);
      return {
        compactedRevision: compactedRevision ?? 0,
        acknowledgedRevision: typeof mark.found === 'number' ? mark.found : undefined,
        damagedRows,
        otherDamage,
        isCopy,
      };
    },
    async repair({ rows, compactedRevision }) {
      const damaged = damagedRevisions.join(',');
      await room.withReserve(() =>
        transaction(database, async () => {
          for (const { revision, key, text } of rows) {
            await database.all('INSERT INTO log VALUES (?, ?, ?, ?)', [revision, key, text, rowSum(revision, key, text)]);
          }
          await database.exec(`
            INSERT INTO damaged (rev, key, val, sum, found) SELECT rev, key, val, sum, datetime('now') FROM log WHERE rev IN (${damaged});
            DELETE FROM damaged WHERE id <= (SELECT max(id) FROM damaged) - ${keptDamagedRows};
            DELETE FROM log WHERE rev IN (${damaged});
            DELETE FROM meta WHERE name = 'copy';
            ${setMeta('compacted', compactedRevision)}`);
        }),
      );
      mark.raise(compactedRevision);
    },
    async append(rows, { mayUseReserve }) {
      const size = insertSizes.find((candidate) => candidate >= rows.length) ?? rows.length;
      const parameters: Parameter[] = [];
      for (const { revision, key, text } of rows) {
        // As text, which the column makes a number of again: before sqlite3 takes a value for a number it looks up classes by name.
        parameters.push(String(revision), key, text, rowSum(revision, key, text));
        walBytes += key.length + (text?.length ?? 0) + 40;
      }
      walBytes += commitOverheadBytes;
      try {
        const statement = inserts.get(size) ?? (await insertOf(size));
        if (mayUseReserve) await room.withReserve(() => statement.run(parameters));
        else await statement.run(parameters);
      } catch (cause) {
        if (isFull(cause)) room.noteFull();
        throw writeError(path, cause);
      }
      files.check();
      mark.raise(rows.at(-1)?.revision ?? 0);
    },
    async read(revisions) {
      const texts = new Map<number, string>();
      for (let from = 0; from < revisions.length; from += readChunkRows) {
        const chunk = revisions.slice(from, from + readChunkRows);
        const rows = await read<StoredRow>(`SELECT rev, key, val, sum FROM log WHERE rev IN (${chunk.join(',')}) AND val IS NOT NULL`);
        for (const row of rows) texts.set(row.rev, checked(row).val ?? '');
      }
      return texts;
    },
    async readAfter(revision, limit) {
      return (await pageAfter(revision, limit)).map(checked).map(({ rev, key, val }) => ({ revision: rev, key, text: val }));
    },
    keysAfter: (revision, limit) => read('SELECT rev AS revision, key FROM log WHERE rev > ? ORDER BY rev LIMIT ?', [revision, limit]),
    setCompacted: (revision) => room.withReserve(() => database.exec(setMeta('compacted', revision))),
    async remove(revisions) {
      if (revisions.length === 0) return;
      await room.withReserve(() => database.exec(`DELETE FROM log WHERE rev IN (${revisions.join(',')})`));
      // A removed row dirties the page it was on; rows of one slice are mostly neighbours.
      walBytes += revisions.length * 1024;
      vacuumDue = true;
    },
    async rewrite() {
      // Free space within pages may hold rows that were removed before this program zeroed them, and so may rows that were set aside.
      await database.exec('DELETE FROM damaged; VACUUM; PRAGMA wal_checkpoint(TRUNCATE)');
      walBytes = 0;
      vacuumDue = false;
    },
    refusal: () => room.refusal(walBytes),
    tidy(moment) {
      if (checkpointPending) return undefined;
      if (walBytes > (moment === 'idle' ? 0 : busyCheckpointBytes)) {
        checkpointPending = true;
        return checkpoint;
      }
      if (moment === 'busy') return undefined;
      if (unchecked > 0) return sumSlice;
      return vacuumDue ? vacuumSlice : undefined;
    },
    async backup(target) {
      await createEmpty(target);
      try {
        await database.all('VACUUM INTO ?', [target]);
        // A person who puts the copy in place goes back in time on purpose.
        const copy = await openDatabase(target);
        await copy.exec(markAsCopy).finally(() => copy.close());
        const file = await openFile(target, 'r');
        await file.sync().finally(() => file.close());
      } catch (cause) {
        await rm(target, { force: true });
        throw writeError(target, cause);
      }
    },
    async close() {
      await room.close();
      for (const statement of inserts.values()) await statement.finalize();
      inserts.clear();
      await database.close();
      await mark.close();
    },
  };
}

const isFull = (err: unknown): boolean => codeOf(err) === 'SQLITE_FULL';

const setMeta = (name: string, value: number): string =>
  `INSERT OR REPLACE INTO meta (name, value, sum) VALUES ('${name}', ${value}, '${metaSum(name, value)}');`;

const markAsCopy = setMeta('copy', 1);

/** Rows of layout 1 have no checksum: what is no JSON object is certainly damaged. */
function isObjectText(text: string | null): boolean {
  if (text === null) return true;
  try {
    return typeof JSON.parse(text) === 'object';
  } catch {
    return false;
  }
}

const quoted = (key: unknown): string => JSON.stringify(String(key).slice(0, 200));

function refuseMuchDamage(path: string, damaged: readonly DamagedRow[], rows: number): void {
  const [first] = damaged;
  if (first === undefined || damaged.length <= damageAlwaysTaken) return;
  if (damaged.length <= maxDamagedRows && damaged.length <= rows * maxDamagedShare) return;
  throw new StorageError(
    `${path} is damaged: ${damaged.length} of ${rows} rows do not fit their checksums, the first is revision ${first.revision}, key ${quoted(first.key)}`,
    { hint: damagedHint, isDamage: true },
  );
}

const damagedHint = 'Put back a backup (midship restore), or keep what is intact: midship repair salvage.';

async function transaction(database: Database, work: () => Promise<void>): Promise<void> {
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
    // A file that cannot be made here cannot be opened either. Somebody else's file is theirs to keep private.
  }
}

/** SQLite takes an absent or empty file as a new database, and throws the log beside it away with the writes that are in it. */
function refuseLoneLog(path: string): void {
  if (sizeOf(path) > 0 || sizeOf(`${path}-wal`) === 0) return;
  throw new StorageError(`${path} is empty, but ${path}-wal holds writes that belong to it`, {
    hint: 'Put back a copy of the data directory, or remove both files: the state in Git is applied again.',
  });
}

/**
 * Detects that a file is no longer the one that was opened. SQLite continues to write to a deleted or replaced file,
 * and these writes are lost with the process. A check costs 2 µs a file, so each commit makes one before it is
 * acknowledged.
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

type WithReserve = <T>(work: () => Promise<T>) => Promise<T>;

async function openPrepared(
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
  if (found < schemaVersion) await withReserve(() => transaction(database, () => migrate(database, found)));
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

const sizeOf = (path: string): number => statSync(path, { throwIfNoEntry: false })?.size ?? 0;

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
      return new StorageError(`${path} is not a database`, { hint: damagedHint, isDamage: true, cause });
    case 'SQLITE_CORRUPT':
      return new StorageError(`${path} is damaged: ${(cause as Error).message}`, { hint: damagedHint, isDamage: true, cause });
    case 'SQLITE_FULL':
      return new StorageError(`no space left to open ${path}`, { hint: 'Free some disk space, then start again.', cause });
    default:
      return new StorageError(`open ${path}`, { hint: 'Check the disk, and that you may write to the directory.', cause });
  }
}

function writeError(path: string, cause: unknown): StorageError {
  return isFull(cause)
    ? new StorageError(`no space left to write ${path}`, { hint: 'Free some disk space; writes work again then.', isFull: true, cause })
    : new StorageError(`write ${path}`, { hint: 'Check the disk and the log of the kernel.', cause });
}
