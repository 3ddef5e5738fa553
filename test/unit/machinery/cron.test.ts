import { describe, expect, it } from 'vitest';
import { CronError, parseCron } from '../../../src/machinery/cron.ts';
import { isTimeZone, zonedTimestampOf } from '../../../src/machinery/time-zone.ts';

describe('cron schedules', () => {
  it.each([
    '*/5 * * * *',
    '0 0 1 1 *',
    '30 6 * * mon-fri',
    '0 9-17/4 * * *',
    '15,45 */12 * * *',
    '0 0 31 2 *',
    '0 0 13 * fri',
    '0 0 ? jan-mar *',
    '10/20 * * * *',
    '@hourly',
    '@weekly',
    '@every 90s',
    '@every 1h30m',
  ])('takes %s', (text) => {
    expect(() => parseCron(text)).not.toThrow();
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
    ['@every 9999999h', 'failed to parse duration @every 9999999h: time: invalid duration "9999999h"'],
    ['@every x', 'failed to parse duration @every x: time: invalid duration "x"'],
  ])('refuses %s', (text, why) => {
    expect(() => parseCron(text)).toThrow(new CronError(why));
  });

  it('knows zones by name', () => {
    expect(isTimeZone('Europe/Berlin')).toBe(true);
    expect(isTimeZone('Mars/Base')).toBe(false);
  });

  const timesOf = (text: string, from: string, zone?: string): readonly string[] => {
    const times: string[] = [];
    for (let at = Date.parse(from); times.length < 3; ) {
      const next = parseCron(text).next(at, zone);
      if (next === undefined) break;
      times.push(zonedTimestampOf(next, zone ?? 'UTC'));
      at = next;
    }
    return times;
  };

  it.each([
    ['*/15 * * * *', '2026-01-01T00:00:00Z', ['2026-01-01T00:15:00Z', '2026-01-01T00:30:00Z', '2026-01-01T00:45:00Z']],
    ['*/15 * * * *', '2026-01-01T00:14:59.900Z', ['2026-01-01T00:15:00Z', '2026-01-01T00:30:00Z', '2026-01-01T00:45:00Z']],
    ['0 9-17/4 * * mon-fri', '2026-01-02T14:00:00Z', ['2026-01-02T17:00:00Z', '2026-01-05T09:00:00Z', '2026-01-05T13:00:00Z']],
    ['0 0 13 * fri', '2026-02-07T00:00:00Z', ['2026-02-13T00:00:00Z', '2026-02-20T00:00:00Z', '2026-02-27T00:00:00Z']],
    ['0 0 */2 * fri', '2026-01-01T01:00:00Z', ['2026-01-02T00:00:00Z', '2026-01-03T00:00:00Z', '2026-01-05T00:00:00Z']],
    ['0 0 29 2 *', '2025-01-01T00:00:00Z', ['2028-02-29T00:00:00Z', '2032-02-29T00:00:00Z', '2036-02-29T00:00:00Z']],
    ['@monthly', '2026-11-30T23:59:59Z', ['2026-12-01T00:00:00Z', '2027-01-01T00:00:00Z', '2027-02-01T00:00:00Z']],
    ['@every 90s', '2026-01-01T00:00:00.5Z', ['2026-01-01T00:01:30Z', '2026-01-01T00:03:00Z', '2026-01-01T00:04:30Z']],
    ['0 0 31 2 *', '2026-01-01T00:00:00Z', []],
  ])('%s after %s', (text, from, times) => {
    expect(timesOf(text, from)).toEqual(times);
  });

  it.each([
    ['30 9 * * *', 'Asia/Kolkata', '2026-01-01T04:00:00Z', '2026-01-02T09:30:00+05:30'],
    // 02:30 does not exist on 8 March, so this day has no run.
    ['30 2 * * *', 'America/New_York', '2026-03-07T12:00:00Z', '2026-03-09T02:30:00-04:00'],
    ['0 * * * *', 'America/New_York', '2026-03-08T06:00:00Z', '2026-03-08T03:00:00-04:00'],
    // 01:30 comes twice on 1 November, and the job runs twice.
    ['30 1 * * *', 'America/New_York', '2026-11-01T05:00:00Z', '2026-11-01T01:30:00-04:00'],
    ['30 1 * * *', 'America/New_York', '2026-11-01T05:30:00Z', '2026-11-01T01:30:00-05:00'],
    ['30 1 * * *', 'America/New_York', '2026-11-01T06:30:00Z', '2026-11-02T01:30:00-05:00'],
    // The day begins at 01:00 where midnight is skipped.
    ['0 * 4 11 *', 'America/Sao_Paulo', '2018-11-03T12:00:00Z', '2018-11-04T01:00:00-02:00'],
    ['0 0 1 4 *', 'Europe/Berlin', '2026-01-01T00:00:00Z', '2026-04-01T00:00:00+02:00'],
  ])('%s in %s after %s is due at %s', (text, zone, from, time) => {
    expect(timesOf(text, from, zone)[0]).toBe(time);
  });
});
