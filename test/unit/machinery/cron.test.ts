import { describe, expect, it } from 'vitest';
import { CronError, isTimeZone, parseCron } from '../../../src/machinery/cron.ts';

const nextTime = (text: string, from: string, zone?: string): string | undefined => {
  const next = parseCron(text, zone).next(Date.parse(from));
  return next === undefined ? undefined : new Date(next).toISOString();
};

describe('cron schedules', () => {
  it.each([
    ['*/5 * * * *', '2026-11-24T10:02:03Z', '2026-11-24T10:05:00.000Z'],
    ['0 0 1 1 *', '2026-11-24T10:02:03Z', '2027-01-01T00:00:00.000Z'],
    ['30 6 * * mon-fri', '2026-11-27T06:30:00Z', '2026-11-30T06:30:00.000Z'],
    ['0 9-17/4 * * *', '2026-11-24T10:00:00Z', '2026-11-24T13:00:00.000Z'],
    ['15,45 */12 * * *', '2026-11-24T12:20:00Z', '2026-11-24T12:45:00.000Z'],
    ['0 0 29 2 *', '2026-01-01T00:00:00Z', '2028-02-29T00:00:00.000Z'],
    // Both day fields are given, so either will do.
    ['0 0 13 * fri', '2026-11-24T00:00:00Z', '2026-11-27T00:00:00.000Z'],
    ['@hourly', '2026-11-24T10:02:03Z', '2026-11-24T11:00:00.000Z'],
    ['@weekly', '2026-11-24T10:02:03Z', '2026-11-29T00:00:00.000Z'],
    ['@every 90s', '2026-11-24T10:02:03.500Z', '2026-11-24T10:03:33.000Z'],
    ['10/20 * * * *', '2026-11-24T10:31:00Z', '2026-11-24T10:50:00.000Z'],
  ])('%s after %s', (text, from, expected) => {
    expect(nextTime(text, from)).toBe(expected);
  });

  it('has no next time when the day never comes', () => {
    expect(nextTime('0 0 31 2 *', '2026-11-24T00:00:00Z')).toBeUndefined();
  });

  it('reads the clocks of its zone, through their changes', () => {
    expect(nextTime('0 9 * * *', '2026-11-24T10:00:00Z', 'America/New_York')).toBe('2026-11-24T14:00:00.000Z');
    expect(nextTime('0 9 * * *', '2026-07-24T14:00:00Z', 'America/New_York')).toBe('2026-07-25T13:00:00.000Z');
    // 02:30 is left out in the night to summer time.
    expect(nextTime('30 2 * * *', '2026-03-28T12:00:00Z', 'Europe/Berlin')).toBe('2026-03-30T00:30:00.000Z');
    expect(nextTime('0 0 * * *', '2026-10-24T23:00:00Z', 'Europe/Berlin')).toBe('2026-10-25T23:00:00.000Z');
    expect(nextTime('0 0 * * *', '2026-11-24T00:00:00Z', 'Asia/Kolkata')).toBe('2026-11-24T18:30:00.000Z');
  });

  it.each([
    ['bad', 'expected exactly 5 fields, found 1: [bad]'],
    ['* * * * * *', 'expected exactly 5 fields, found 6: [* * * * * *]'],
    ['60 * * * *', 'end of range (60) above maximum (59): 60'],
    ['* * 0 * *', 'beginning of range (0) below minimum (1): 0'],
    ['5-1 * * * *', 'beginning of range (5) beyond end of range (1): 5-1'],
    ['*/0 * * * *', 'step of range should be a positive number: */0'],
    ['1-2-3 * * * *', 'too many hyphens: 1-2-3'],
    ['1/2/3 * * * *', 'too many slashes: 1/2/3'],
    ['x * * * *', 'failed to parse int from x: strconv.Atoi: parsing "x": invalid syntax'],
    ['@fortnightly', 'unrecognized descriptor: @fortnightly'],
    ['@every x', 'failed to parse duration @every x: time: invalid duration "x"'],
  ])('refuses %s', (text, why) => {
    expect(() => parseCron(text)).toThrow(new CronError(why));
  });

  it('knows zones by name', () => {
    expect(isTimeZone('Europe/Berlin')).toBe(true);
    expect(isTimeZone('Mars/Base')).toBe(false);
  });
});
