import { describe, expect, test } from 'vitest';
import {
  createLogState,
  type LogState,
  noteCommitted,
  noteFailed,
  noteLoaded,
  type StagedWrite,
  type Staging,
  stageWrite,
} from '../../../../src/storage/log/state.ts';

const room = (): undefined => undefined;
const full = (): string => 'full';
const value = (length: number, always = false) => ({ text: 'x'.repeat(length), always });

function staged(staging: Staging): StagedWrite {
  if (!('entry' in staging)) throw new Error(`not staged: ${JSON.stringify(staging)}`);
  return staging;
}
const create = (state: LogState, key: string, length = 10) => staged(stageWrite(state, { key, value: value(length), expected: 0 }, room));

describe('a write', () => {
  test('is decided against the newest staged one', () => {
    const state = createLogState();
    const first = create(state, 'a');
    expect(stageWrite(state, { key: 'a', value: value(1), expected: 0 }, room)).toEqual({ ok: false, currentRevision: first.revision });
    const second = staged(stageWrite(state, { key: 'a', value: value(1), expected: first.revision }, room));
    expect(second).toMatchObject({ revision: 2, replaces: 1, replacesSize: 10 });
    expect(state.currentRevision).toBe(0);
  });

  test('cannot delete a key that is not there', () => {
    expect(stageWrite(createLogState(), { key: 'a', value: undefined, expected: 0 }, room)).toEqual({ ok: false, currentRevision: 0 });
  });

  test('is seen with its revision once it is committed, and supersedes the value before', () => {
    const state = createLogState();
    const first = create(state, 'a');
    const deletion = staged(stageWrite(state, { key: 'a', value: undefined, expected: 1 }, room));
    expect(noteCommitted(state, first)).toMatchObject({ type: 'put', revision: 1, created: true });
    expect(noteCommitted(state, deletion)).toEqual({ type: 'delete', key: 'a', revision: 2 });
    expect(state).toMatchObject({ currentRevision: 2, nextRevision: 3 });
    expect(state.index.size).toBe(0);
    expect([...state.superseded.rows()].map(({ revision, since }) => [revision, since])).toEqual([
      [1, 2],
      [2, 2],
    ]);
  });

  test('that failed leaves the key as it was, with all that were staged on top of it', () => {
    const state = createLogState();
    noteCommitted(state, create(state, 'a'));
    const second = staged(stageWrite(state, { key: 'a', value: value(20), expected: 1 }, room));
    const third = staged(stageWrite(state, { key: 'a', value: undefined, expected: 2 }, room));
    const other = create(state, 'b');
    noteFailed(state, [second, third, other]);
    expect(state.index.get('a')).toEqual({ committed: 1, staged: 1, size: 10, stagedSize: 10, pending: 0 });
    expect(state.index.has('b')).toBe(false);
    // Revisions of failed writes are not used again.
    expect(create(state, 'c').revision).toBe(5);
  });
});

describe('growth', () => {
  test('is refused while there is no room; deletions, small changes and values that are always written are not', () => {
    const state = createLogState();
    expect(stageWrite(state, { key: 'n', value: value(1), expected: 0 }, full)).toEqual({ refusal: 'full' });
    noteCommitted(state, create(state, 'a', 100));
    const change = (length: number, always = false) =>
      stageWrite(state, { key: 'a', value: value(length, always), expected: state.index.get('a')?.staged ?? 0 }, full);
    expect(change(229)).toEqual({ refusal: 'full' });
    expect(staged(change(228)).mayUseReserve).toBe(true);
    expect(staged(change(228 + 4096, true)).mayUseReserve).toBe(true);
    expect(staged(change(228 + 4096 + 4097, true)).mayUseReserve).toBe(false);
    const deletion = stageWrite(state, { key: 'a', value: undefined, expected: state.index.get('a')?.staged ?? 0 }, full);
    expect(staged(deletion).mayUseReserve).toBe(true);
  });
});

test('rows of an earlier process leave the newest revision of each key, and the superseded ones', () => {
  const state = createLogState();
  for (const [revision, key, deleted] of [
    [3, 'a', false],
    [4, 'b', false],
    [6, 'a', false],
    [7, 'b', true],
  ] as const) {
    noteLoaded(state, { revision, key, size: deleted ? 0 : 5, deleted });
  }
  expect([...state.index].map(([key, { committed, staged: newest }]) => [key, committed, newest])).toEqual([['a', 6, 6]]);
  expect([...state.superseded.rows()].map(({ revision, since }) => [revision, since])).toEqual([
    [3, 6],
    [4, 7],
    [7, 7],
  ]);
  expect(state.currentRevision).toBe(7);
});
