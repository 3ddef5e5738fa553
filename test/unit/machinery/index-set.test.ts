import { describe, expect, it } from 'vitest';
import {
  formatIndexSet,
  hasIndex,
  IndexSetError,
  indexesOutside,
  overlapOf,
  parseIndexSet,
  sizeOf,
  withIndexes,
} from '../../../src/machinery/index-set.ts';

describe('a set of indexes', () => {
  it.each([
    ['', []],
    ['0', [[0, 0]]],
    [
      '1,3-5,7',
      [
        [1, 1],
        [3, 5],
        [7, 7],
      ],
    ],
  ])('reads and writes %j', (text, set) => {
    expect(parseIndexSet(text, 100)).toEqual(set);
    expect(formatIndexSet(parseIndexSet(text, 100))).toBe(text);
  });

  it('writes two neighbours as a list and three as a range', () => {
    expect(formatIndexSet(withIndexes([], [3, 4, 8, 7, 9]))).toBe('3,4,7-9');
  });

  it('leaves out indexes beyond the completions', () => {
    expect(formatIndexSet(parseIndexSet('1,3-9', 5))).toBe('1,3,4');
  });

  it.each(['a', '1,', '3,2', '1-', '5-3', '1,1', '-1'])('refuses %j', (text) => {
    expect(() => parseIndexSet(text, 100)).toThrow(IndexSetError);
  });

  it('joins what is added, and is the same set when nothing is new', () => {
    const set = parseIndexSet('0-2,6', 10);
    expect(withIndexes(set, [1, 6])).toBe(set);
    expect(formatIndexSet(withIndexes(set, [4, 3, 9]))).toBe('0-4,6,9');
  });

  it('finds, counts and compares', () => {
    const set = parseIndexSet('0-2,6,8-9', 10);
    expect([0, 3, 6, 7, 9].map((index) => hasIndex(set, index))).toEqual([true, false, true, false, true]);
    expect(sizeOf(set)).toBe(6);
    expect(overlapOf(set, parseIndexSet('2-6', 10))).toBe(2);
    expect([...indexesOutside(set, 12)]).toEqual([3, 4, 5, 7, 10, 11]);
    expect([...indexesOutside(set, 4)]).toEqual([3]);
  });
});
