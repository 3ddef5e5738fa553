import { describe, expect, it } from 'vitest';
import { normalizeTime, TimeError } from '../../../src/machinery/go-time.ts';

describe('normalizeTime', () => {
  it.each([
    ['2026-11-24T07:33:52Z', '2026-11-24T07:33:52Z'],
    ['2026-01-01T00:30:00+02:00', '2025-12-31T22:30:00Z'],
    ['2026-12-31T23:30:00-01:30', '2027-01-01T01:00:00Z'],
    ['2026-11-24T07:33:52.987654321Z', '2026-11-24T07:33:52Z'],
    ['2024-02-29T00:00:00Z', '2024-02-29T00:00:00Z'],
  ])('writes %s as %s', (text, expected) => {
    expect(normalizeTime(text, 'seconds')).toBe(expected);
  });

  it('keeps six digits of a second for MicroTime and wants exactly those', () => {
    expect(normalizeTime('2026-11-24T08:33:52.000012+01:00', 'micros')).toBe('2026-11-24T07:33:52.000012Z');
    expect(() => normalizeTime('2026-11-24T08:33:52.123Z', 'micros')).toThrow(
      'parsing time "2026-11-24T08:33:52.123Z" as "2006-01-02T15:04:05.000000Z07:00": cannot parse ".123Z" as ".000000"',
    );
  });

  it.each([
    ['x', 'parsing time "x" as "2006-01-02T15:04:05Z07:00": cannot parse "x" as "2006"'],
    ['2026-11-24', 'parsing time "2026-11-24" as "2006-01-02T15:04:05Z07:00": cannot parse "" as "T"'],
    ['2026-02-30T00:00:00Z', 'parsing time "2026-02-30T00:00:00Z": day out of range'],
    ['2026-13-01T00:00:00Z', 'parsing time "2026-13-01T00:00:00Z": month out of range'],
    ['2026-01-01T24:00:00Z', 'parsing time "2026-01-01T24:00:00Z": hour out of range'],
    ['2026-01-01T00:00:00Zx', 'parsing time "2026-01-01T00:00:00Zx": extra text: "x"'],
  ])('refuses %s as Go does', (text, message) => {
    expect(() => normalizeTime(text, 'seconds')).toThrow(new TimeError(message));
  });
});
