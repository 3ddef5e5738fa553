import { describe, expect, test } from 'vitest';
import type { Database } from '../../../../src/storage/sqlite/database.ts';
import { createHousekeeping } from '../../../../src/storage/sqlite/housekeeping.ts';
import { createRowReader } from '../../../../src/storage/sqlite/row-reader.ts';

const mebi = 1024 * 1024;

/** A database of so many pages that notes what it has to do. */
function openHousekeeping({ pages = 10_000, free = 0 }: { readonly pages?: number; readonly free?: number } = {}) {
  const done: string[] = [];
  const database = {
    async exec(sql: string) {
      done.push(sql);
    },
    async all(sql: string) {
      return sql.includes('page_count') ? [{ page_count: pages }] : sql.includes('freelist') ? [{ freelist_count: free }] : [];
    },
  } as unknown as Database;
  const room = { reserveBytes: 16 * mebi, refusal: () => undefined, withReserve: <T>(work: () => Promise<T>) => work() };
  const rows = createRowReader(database, 'state.db');
  return { done, rows, housekeeping: createHousekeeping({ path: '/nowhere/state.db', database, room, rows }) };
}

describe('the housekeeping of a database', () => {
  test('has nothing to do for a new one', () => {
    const { housekeeping } = openHousekeeping();
    expect([housekeeping.tidy('busy'), housekeeping.tidy('idle')]).toEqual([undefined, undefined]);
  });

  test('checkpoints in a pause, and between commits above half of the reserve alone, one at a time', async () => {
    const { housekeeping, done } = openHousekeeping();
    housekeeping.noteWritten(8 * mebi);
    expect(housekeeping.tidy('busy')).toBeUndefined();
    housekeeping.noteWritten(1);
    const work = housekeeping.tidy('busy');
    expect(housekeeping.tidy('idle')).toBeUndefined();
    await work?.();
    expect(done).toEqual(['PRAGMA wal_checkpoint(PASSIVE)']);
    expect(housekeeping.walBytes).toBe(0);
  });

  test('gives free pages back in slices after rows were removed, while there are many', async () => {
    const many = openHousekeeping({ free: 5_000 });
    many.housekeeping.noteRemoved(1);
    await many.housekeeping.tidy('idle')?.();
    await many.housekeeping.tidy('idle')?.();
    expect(many.done).toEqual(['PRAGMA wal_checkpoint(PASSIVE)', 'PRAGMA incremental_vacuum(256)']);
    const few = openHousekeeping({ free: 1_000 });
    few.housekeeping.noteRemoved(1);
    await few.housekeeping.tidy('idle')?.();
    await few.housekeeping.tidy('idle')?.();
    expect(few.done).toEqual(['PRAGMA wal_checkpoint(PASSIVE)']);
    expect(few.housekeeping.tidy('idle')).toBeUndefined();
  });

  test('adds checksums to rows of the older layout, until there are none', async () => {
    const { housekeeping, rows, done } = openHousekeeping();
    rows.unchecked = 7;
    await housekeeping.tidy('idle')?.();
    expect(done.at(-2)).toContain("'unchecked', 0");
    expect(rows.unchecked).toBe(0);
    expect(housekeeping.tidy('idle')).toBeUndefined();
  });
});
