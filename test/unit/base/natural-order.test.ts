import { describe, expect, it } from 'vitest';
import { compareNaturally } from '../../../src/base/natural-order.ts';

describe('natural order', () => {
  it('compares runs of digits as numbers, and the rest as text', () => {
    const ordered = ['', '2', '10', 'node-a', 'node-a1', 'node-a1b', 'node-a02', 'node-a2', 'node-b', 'sim-2', 'sim-10', 'sim-x'];
    expect(ordered.toReversed().sort(compareNaturally)).toEqual(ordered);
    expect(compareNaturally('sim-2', 'sim-2')).toBe(0);
  });
});
