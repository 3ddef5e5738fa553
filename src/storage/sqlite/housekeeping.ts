import type { LogDriver } from '../log/driver.ts';
import { rowSum } from './checksum.ts';
import type { Database } from './database.ts';
import type { DiskRoom } from './disk-room.ts';
import { sizeOf, walOf } from './files.ts';
import { inTransaction, setMeta } from './layout.ts';
import type { RowReader } from './row-reader.ts';

/** Checkpoints, free pages and missing checksums: what a database needs between commits. */
export interface Housekeeping extends Pick<LogDriver, 'tidy'> {
  /** Bytes in the WAL, about, which the next checkpoint moves into the database. */
  readonly walBytes: number;
  /** Bytes went into the WAL. */
  noteWritten(bytes: number): void;
  /** Rows were removed, so pages may be free. */
  noteRemoved(rows: number): void;
  /** The file was written again as a whole: it has neither a WAL nor free pages. */
  noteRewritten(): void;
}

/** Below it no checkpoint runs between batches, however small the disk: one holds the next commit for 1.4 ms a MB. */
const minCheckpointBytes = 1024 * 1024;
/** Free pages are given back when they are more than this and a quarter of the file, some at a time. */
const minFreePages = 1024;
const vacuumSlicePages = 256;
const bytesOfPage = 4096;
/** A removed row dirties the page it was on; rows of one slice are mostly neighbours. */
const bytesOfRemoval = 1024;
/** Rows of layout 1 that get a checksum in one pause. */
const sumSliceRows = 500;

export interface HousekeepingOptions {
  readonly path: string;
  readonly database: Database;
  readonly room: Pick<DiskRoom, 'refusal' | 'withReserve' | 'reserveBytes'>;
  readonly rows: RowReader;
}

export function createHousekeeping({ path, database, room, rows }: HousekeepingOptions): Housekeeping {
  // The first pause checkpoints what the end of an earlier process left in the log.
  let walBytes = sizeOf(walOf(path));
  // A full disk takes a checkpoint from the reserve. One that does not fit would use it up, and leave nothing for deletions.
  const busyCheckpointBytes = Math.max(minCheckpointBytes, room.reserveBytes / 2);
  let checkpointPending = false;
  let vacuumDue = false;
  let uncheckedFrom = 0;

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
    walBytes += vacuumDue ? vacuumSlicePages * bytesOfPage : 0;
  }

  /** Gives rows of layout 1 their checksums. */
  async function sumSlice(): Promise<void> {
    const slice = (await rows.pageAfter(uncheckedFrom, sumSliceRows)).filter(({ rev }) => rev <= rows.unchecked);
    const last = slice.at(-1)?.rev ?? rows.unchecked;
    await room.withReserve(() =>
      inTransaction(database, async () => {
        const bare = slice.filter(({ sum }) => sum === null).map(rows.checked);
        for (const { val } of bare) walBytes += (val?.length ?? 0) + bytesOfPage;
        // One call for all: each has to wait for its turn on another thread.
        await database.exec(
          bare.map(({ rev, key, val }) => `UPDATE log SET sum = '${rowSum(rev, key, val)}' WHERE rev = ${rev};`).join(''),
        );
        if (last >= rows.unchecked) await database.exec(setMeta('unchecked', 0));
      }),
    );
    uncheckedFrom = last;
    if (last >= rows.unchecked) rows.unchecked = 0;
  }

  return {
    get walBytes() {
      return walBytes;
    },
    noteWritten(bytes) {
      walBytes += bytes;
    },
    noteRemoved(count) {
      walBytes += count * bytesOfRemoval;
      vacuumDue = true;
    },
    noteRewritten() {
      walBytes = 0;
      vacuumDue = false;
    },
    tidy(moment) {
      if (checkpointPending) return undefined;
      if (walBytes > (moment === 'idle' ? 0 : busyCheckpointBytes)) {
        checkpointPending = true;
        return checkpoint;
      }
      if (moment === 'busy') return undefined;
      if (rows.unchecked > 0) return sumSlice;
      return vacuumDue ? vacuumSlice : undefined;
    },
  };
}
