import { open as openFile, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Clock } from '../../base/clock.ts';
import type { LogDriver, LogRow, Repair } from '../log/driver.ts';
import { rowSum } from './checksum.ts';
import { type Database, openDatabase } from './database.ts';
import { openDiskRoom } from './disk-room.ts';
import { isFull, writeError } from './errors.ts';
import { createEmpty, guardFiles, makePrivate, refuseLoneLog, walOf } from './files.ts';
import { createHousekeeping } from './housekeeping.ts';
import { createInserts } from './inserts.ts';
import { inTransaction, markAsCopy, openPrepared, setMeta } from './layout.ts';
import { loadLog } from './load.ts';
import { openRevisionMark } from './revision-mark.ts';
import { createRowReader } from './row-reader.ts';

/** Rows that were set aside are kept for whoever wants to look, the newest so many. */
const keptDamagedRows = 1000;

export interface SqliteDriver extends LogDriver {
  /** Writes a consistent copy to the new file `target`. */
  backup(target: string): Promise<void>;
}

export interface SqliteDriverOptions {
  readonly path: string;
  readonly clock: Clock;
}

/** `layout.ts` says how the log lies in the database. */
export async function openSqliteDriver({ path, clock }: SqliteDriverOptions): Promise<SqliteDriver> {
  refuseLoneLog(path);
  makePrivate(path);
  const room = openDiskRoom({ directory: dirname(path), reserve: besides(path, 'reserve'), clock, isFull });
  const { database, foundVersion } = await openPrepared(path, room.withReserve);
  const files = guardFiles([path, walOf(path)]);
  files.check();
  const mark = await openRevisionMark(besides(path, 'revision'), { clock });
  const inserts = createInserts(database);
  const rows = createRowReader(database, path);
  const housekeeping = createHousekeeping({ path, database, room, rows });
  let damaged: readonly number[] = [];

  async function append(batch: readonly LogRow[], { mayUseReserve }: { readonly mayUseReserve: boolean }): Promise<void> {
    try {
      const insert = await inserts.prepare(batch);
      housekeeping.noteWritten(insert.bytes);
      if (mayUseReserve) await room.withReserve(insert.run);
      else await insert.run();
    } catch (cause) {
      if (isFull(cause)) room.noteFull();
      throw writeError(path, cause);
    }
    files.check();
    mark.raise(batch.at(-1)?.revision ?? 0);
  }

  return {
    name: 'sqlite',
    async load(onRow) {
      const loaded = await loadLog({ path, rows, mark, foundVersion, onRow });
      damaged = loaded.damagedRows.map(({ revision }) => revision);
      return loaded;
    },
    async repair(decision) {
      await room.withReserve(() => inTransaction(database, () => setAside(database, damaged, decision)));
      mark.raise(decision.compactedRevision);
    },
    append,
    read: rows.read,
    readAfter: rows.readAfter,
    keysAfter: rows.keysAfter,
    setCompacted: (revision) => room.withReserve(() => database.exec(setMeta('compacted', revision))),
    async remove(revisions) {
      if (revisions.length === 0) return;
      await room.withReserve(() => database.exec(`DELETE FROM log WHERE rev IN (${revisions.join(',')})`));
      housekeeping.noteRemoved(revisions.length);
    },
    async rewrite() {
      // Free space within pages may hold rows that were removed before this program zeroed them, and so may rows that were set aside.
      await database.exec('DELETE FROM damaged; VACUUM; PRAGMA wal_checkpoint(TRUNCATE)');
      housekeeping.noteRewritten();
    },
    refusal: () => room.refusal(housekeeping.walBytes),
    tidy: housekeeping.tidy,
    backup: (target) => copyTo(database, target),
    async close() {
      await room.close();
      await inserts.close();
      await database.close();
      await mark.close();
    },
  };
}

/** A file of its own beside the database: `state.reserve` for `state.db`. */
export const besides = (path: string, ending: string): string => `${path.replace(/\.db$/, '')}.${ending}`;

/** Adds the deletions that were decided, and moves the damaged rows out of the log. */
async function setAside(database: Database, damaged: readonly number[], { rows, compactedRevision }: Repair): Promise<void> {
  for (const { revision, key, text } of rows) {
    await database.all('INSERT INTO log VALUES (?, ?, ?, ?)', [revision, key, text, rowSum(revision, key, text)]);
  }
  const revisions = damaged.join(',');
  await database.exec(`
    INSERT INTO damaged (rev, key, val, sum, found) SELECT rev, key, val, sum, datetime('now') FROM log WHERE rev IN (${revisions});
    DELETE FROM damaged WHERE id <= (SELECT max(id) FROM damaged) - ${keptDamagedRows};
    DELETE FROM log WHERE rev IN (${revisions});
    DELETE FROM meta WHERE name = 'copy';
    ${setMeta('compacted', compactedRevision)}`);
}

async function copyTo(database: Database, target: string): Promise<void> {
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
}
