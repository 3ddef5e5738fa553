import { describe, expect, it } from 'vitest';
import { ageOf, durationText } from '../../../src/api/columns.ts';

describe('durationText', () => {
  const s = 1_000;
  const m = 60 * s;
  const h = 60 * m;
  const d = 24 * h;
  it.each([
    [-3 * s, '<invalid>'],
    [-1 * s, '0s'],
    [0, '0s'],
    [999, '0s'],
    [119 * s, '119s'],
    [2 * m, '2m'],
    [5 * m + 49 * s, '5m49s'],
    [10 * m + 49 * s, '10m'],
    [179 * m, '179m'],
    [3 * h, '3h'],
    [3 * h + 5 * m, '3h5m'],
    [8 * h + 5 * m, '8h'],
    [47 * h, '47h'],
    [2 * d + 4 * h, '2d4h'],
    [8 * d + 4 * h, '8d'],
    [400 * d, '400d'],
    [2 * 365 * d + 30 * d, '2y30d'],
    [8 * 365 * d + 30 * d, '8y'],
  ])('prints %d ms as %s', (ms, text) => expect(durationText(ms)).toBe(text));
});

describe('ageOf', () => {
  it('counts from the timestamp', () => expect(ageOf('2026-01-01T00:00:00Z', Date.parse('2026-01-01T00:17:30Z'))).toBe('17m'));
  it('knows no age without one', () => expect([ageOf(undefined, 0), ageOf('never', 0)]).toEqual(['<unknown>', '<unknown>']));
});
