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

  it('calls a commit a revert of what its message names, or of the newest when the app is what it was before that', () => {
    const found = (history: readonly HistoryEntry[], digest: string, message = 'back', revision = 'main@sha1:new') =>
      findRevertedCommit(history, { message, revision, digest });
    const three = [entry('aaa'), entry('bbb'), entry('ccc')];
    expect(found(three, 'bbb', 'Revert "x"\n\nThis reverts commit 0123456789abcdef.\n')).toBe('0123456789abcdef');
    expect(found(three, 'bbb')).toBe('ccc');
    // Taking back ccc alone leads to bbb, not to aaa.
    expect(found(three, 'aaa')).toBeUndefined();
    expect(found(three, 'ccc')).toBeUndefined();
    // A pin puts a revision in force that was there before.
    expect(found(three, 'bbb', 'back', 'main@sha1:bbb')).toBeUndefined();
    const refused: HistoryEntry = { ...entry('ccc'), result: 'failed', digest: '' };
    expect(found([entry('aaa'), entry('bbb'), refused], 'bbb')).toBe('ccc');
    // Nobody knows what the tree of a refused commit would have made of the app.
    expect(found([entry('aaa'), refused, entry('bbb')], 'aaa')).toBeUndefined();
    expect(found([entry('aaa'), refused, { ...refused, revision: 'main@sha1:ddd' }], '')).toBeUndefined();
    expect(found([], 'aaa')).toBeUndefined();
  });
});
