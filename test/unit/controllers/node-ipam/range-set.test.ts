import { expect, it } from 'vitest';
import { createRangeSet } from '../../../../src/controllers/node-ipam/range-set.ts';

it('gives each owner the lowest free part, and the same one again', () => {
  const ranges = createRangeSet('10.42.0.0/22', 24);
  ranges.hold('kept', '10.42.1.0/24');
  expect(['a', 'b', 'a'].map((owner) => ranges.take(owner))).toEqual(['10.42.0.0/24', '10.42.2.0/24', '10.42.0.0/24']);
  expect(ranges.take('kept')).toBe('10.42.1.0/24');
});

it('gives nothing when all parts are taken, and what was released afterwards', () => {
  const ranges = createRangeSet('10.42.0.0/23', 24);
  for (const owner of ['a', 'b']) ranges.take(owner);
  expect(ranges.take('c')).toBeUndefined();
  expect(ranges.release('a')).toBe(true);
  expect(ranges.release('a')).toBe(false);
  expect(ranges.take('c')).toBe('10.42.0.0/24');
});

it('keeps a part from a third owner until both of its holders have released it', () => {
  const ranges = createRangeSet('10.42.0.0/23', 24);
  for (const owner of ['a', 'b']) ranges.hold(owner, '10.42.0.0/24');
  ranges.release('a');
  expect(ranges.take('c')).toBe('10.42.1.0/24');
  ranges.release('b');
  expect(ranges.take('d')).toBe('10.42.0.0/24');
});

it('ignores parts of other ranges, and refuses a range without room', () => {
  const ranges = createRangeSet('10.42.0.0/24', 24);
  ranges.hold('old', '10.9.0.0/24');
  expect(ranges.take('a')).toBe('10.42.0.0/24');
  expect(() => createRangeSet('10.42.0.0/25', 24)).toThrow('has no room for a part of /24');
});
