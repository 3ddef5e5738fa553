import { describe, expect, it } from 'vitest';
import { addToHistory, findRevertedCommit, type HistoryEntry } from '../../../../../src/gitops/apply/records/history.ts';

const entry = (revision: string, changes: HistoryEntry['changes'] = []): HistoryEntry => ({
  revision: `main@sha1:${revision}`,
  digest: revision,
  result: 'applied',
  at: '2026-01-01T00:00:00Z',
  durationMs: 1,
  author: 'Mara',
  subject: revision,
  rollback: false,
  changes,
});
/** Longer than anything is kept. */
const long = 'x'.repeat(5_000);
const manyChanges: HistoryEntry['changes'] = Array.from({ length: 1_000 }, () => ({
  action: 'configured',
  object: long,
  fields: [long, long, long, long],
}));

describe('a history', () => {
  it('fits a Secret whatever commits, names and fields are like, and keeps that each revision was there', () => {
    let history: readonly HistoryEntry[] = [];
    for (let revision = 0; revision < 60; revision += 1) {
      history = addToHistory(history, { ...entry(String(revision), manyChanges), subject: long, author: long });
    }
    expect(history.map(({ digest }) => digest)).toEqual(Array.from({ length: 50 }, (_, index) => String(index + 10)));
    // In base64 it is a third more, and a Secret holds a MiB.
    expect(Buffer.byteLength(JSON.stringify(history)) * 1.34).toBeLessThan(1024 * 1024);
    // The newest is whole but for its bounds; the oldest says how much is left out.
    expect(history.at(-1)).toMatchObject({ moreChanges: 950, changes: { length: 50 } });
    expect(history[0]).toMatchObject({ moreChanges: 1_000, changes: [] });
  });

  it('knows what a rollback takes back: what its message names, or else what was in force', () => {
    const history = [entry('aaa'), entry('bbb'), { ...entry('ccc'), result: 'failed' as const }];
    expect(findRevertedCommit(history, 'Revert "x"\n\nThis reverts commit 0123456789abcdef.\n')).toBe('0123456789abcdef');
    expect(findRevertedCommit(history, 'back to before')).toBe('bbb');
    expect(findRevertedCommit([], 'back to before')).toBeUndefined();
  });
});
