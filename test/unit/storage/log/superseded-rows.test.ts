import { describe, expect, it } from 'vitest';
import { createSupersededRows, rowBytes } from '../../../../src/storage/log/superseded-rows.ts';

/** Key `a` written at 1, 3 and 5, deleted at 6; key `b` written at 2 and 4. Each row takes 100 bytes. */
function rowsOfTwoKeys() {
  const rows = createSupersededRows();
  for (const [revision, since] of [
    [1, 3],
    [2, 4],
    [3, 5],
    [5, 6],
    [6, 6],
  ] as const)
    rows.add(revision, since, 100);
  return rows;
}

describe('superseded rows', () => {
  it('tell a write that replaced a value from one that made its key', () => {
    const rows = rowsOfTwoKeys();
    expect([1, 2, 3, 4, 5, 6, 7].filter(rows.hasReplaced)).toEqual([3, 4, 5, 6]);
  });

  it('give the values that writes of a window replaced, and that are older than it', () => {
    const replaced = rowsOfTwoKeys().replacedIn({ after: 3, upTo: 5 });
    expect([...replaced].map(([since, { revision }]) => [since, revision])).toEqual([
      [4, 2],
      [5, 3],
    ]);
  });

  it('name the revision to compact to for a bound of bytes', () => {
    const rows = rowsOfTwoKeys();
    expect(rows.revisionKeeping(500)).toBeUndefined();
    expect(rows.revisionKeeping(499)).toBe(3);
    expect(rows.revisionKeeping(150)).toBe(6);
    rows.drop(2);
    expect(rows.revisionKeeping(300)).toBeUndefined();
    expect(rows.revisionKeeping(299)).toBe(5);
  });

  it('go in slices, oldest first, and none that a reader after the revision may need', () => {
    const rows = rowsOfTwoKeys();
    expect(rows.isAnyBefore(2)).toBe(false);
    expect(rows.sliceBefore(4)).toEqual([1, 2]);
    rows.drop(2);
    expect(rows.isAnyBefore(4)).toBe(false);
    expect([...rows.rows()].map(({ revision }) => revision)).toEqual([3, 5, 6]);
    rows.drop(rows.sliceBefore(6).length);
    expect([...rows.rows()]).toEqual([]);
    rows.add(7, 8, 100);
    expect(rows.sliceBefore(8)).toEqual([7]);
  });

  it('go at most 500, or 4 MiB, at a time', () => {
    const many = createSupersededRows();
    for (let revision = 1; revision <= 600; revision += 1) many.add(revision, revision + 1, rowBytes('key', 10));
    expect(many.sliceBefore(1_000)).toHaveLength(500);
    const large = createSupersededRows();
    for (let revision = 1; revision <= 10; revision += 1) large.add(revision, revision + 1, rowBytes('key', 1024 * 1024));
    expect(large.sliceBefore(1_000)).toHaveLength(4);
  });
});
