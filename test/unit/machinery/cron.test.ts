import { describe, expect, it } from 'vitest';
import { CronError, checkCron, isTimeZone } from '../../../src/machinery/cron.ts';

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
    expect(() => checkCron(text)).not.toThrow();
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
    expect(() => checkCron(text)).toThrow(new CronError(why));
  });

  it('knows zones by name', () => {
    expect(isTimeZone('Europe/Berlin')).toBe(true);
    expect(isTimeZone('Mars/Base')).toBe(false);
  });
});
