import { describe, expect, it } from 'vitest';
import type { HistoryEntry } from '../../../../src/gitops/apply/records/history.ts';
import { planRevert } from '../../../../src/gitops/verbs/revert.ts';

const sha = (letter: string): string => letter.repeat(40);
const entry = (letter: string, digest: string, result: HistoryEntry['result'] = 'applied'): HistoryEntry => ({
  revision: `main@sha1:${sha(letter)}`,
  digest,
  result,
  at: '2026-01-01T00:00:00Z',
  durationMs: 1,
  author: 'Mara',
  subject: letter,
  rollback: false,
  changes: [],
});

describe('the commits that a revert takes back', () => {
  it('is the newest entry, back to the newest one with other objects', () => {
    expect(planRevert([entry('a', '1'), entry('b', '2')], undefined)).toEqual({ bad: sha('b'), good: sha('a') });
    // The same objects again are nothing to go back to.
    expect(planRevert([entry('a', '1'), entry('b', '2'), entry('c', '2')], undefined)).toEqual({ bad: sha('c'), good: sha('a') });
    expect(planRevert([entry('a', '1'), entry('b', '', 'failed')], undefined)).toEqual({ bad: sha('b'), good: sha('a') });
    expect(planRevert([entry('a', '1'), entry('b', '', 'failed'), entry('c', '', 'failed')], undefined)).toEqual({
      bad: sha('c'),
      good: sha('a'),
    });
  });

  it('go back to a given beginning of a SHA, and only to an applied commit', () => {
    const history = [entry('a', '1'), entry('b', '2'), entry('c', '', 'failed'), entry('d', '3')];
    expect(planRevert(history, 'aaaaaaa')).toEqual({ bad: sha('d'), good: sha('a') });
    expect(planRevert(history, 'ccccccc')).toBeUndefined();
    expect(planRevert(history, 'ddddddd')).toBeUndefined();
  });

  it('is nothing that git would take for something else than a commit', () => {
    const strange = (revision: string): HistoryEntry => ({ ...entry('a', '1'), revision });
    for (const revision of ['main@sha1:--output=x', 'main@sha1:HEAD', `main@sha1:${sha('a')} x`, '']) {
      expect(planRevert([strange(revision), entry('b', '2')], undefined), revision).toBeUndefined();
      expect(planRevert([entry('b', '2'), strange(revision)], undefined), revision).toBeUndefined();
    }
  });

  it('is nothing when there is nothing to go back to', () => {
    expect(planRevert([], undefined)).toBeUndefined();
    expect(planRevert([entry('a', '1')], undefined)).toBeUndefined();
    expect(planRevert([entry('a', '', 'failed')], undefined)).toBeUndefined();
  });
});
