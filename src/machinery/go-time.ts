/** Times as the API carries them: RFC 3339 in whole seconds (`Time`) or microseconds (`MicroTime`), always written in UTC. */

export class TimeError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'TimeError';
  }
}

export type TimePrecision = 'seconds' | 'micros';

const canonical = {
  seconds: /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/,
  micros: /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/,
} as const;

const layouts = { seconds: '2006-01-02T15:04:05Z07:00', micros: '2006-01-02T15:04:05.000000Z07:00' } as const;

/** Parts of a time as Go's parser takes them, one after the other, with the name it gives each in its error. */
const parts: readonly (readonly [name: string, pattern: RegExp])[] = [
  ['2006', /^\d{4}/],
  ['-', /^-/],
  ['01', /^\d\d/],
  ['-', /^-/],
  ['02', /^\d\d/],
  ['T', /^T/],
  ['15', /^\d\d/],
  [':', /^:/],
  ['04', /^\d\d/],
  [':', /^:/],
  ['05', /^\d\d/],
];
const zone: readonly [name: string, pattern: RegExp] = ['Z07:00', /^(?:Z|[+-]\d\d:\d\d)/];

/**
 * The form in which the server stores and answers a time: UTC, with the fraction cut to the precision. A text that is in that form
 * already is returned as it is.
 *
 * @throws TimeError worded as Go words it
 */
export function normalizeTime(text: string, precision: TimePrecision): string {
  if (canonical[precision].test(text) && isReal(text)) return text;
  const fraction: readonly [string, RegExp] = precision === 'micros' ? ['.000000', /^\.\d{6}/] : ['', /^(?:[.,]\d+)?/];
  const found: string[] = [];
  let rest = text;
  for (const [name, pattern] of [...parts, fraction, zone]) {
    const match = pattern.exec(rest);
    if (match === null) {
      throw new TimeError(
        `parsing time ${JSON.stringify(text)} as ${JSON.stringify(layouts[precision])}: cannot parse ${JSON.stringify(rest)} as ${JSON.stringify(name)}`,
      );
    }
    found.push(match[0]);
    rest = rest.slice(match[0].length);
  }
  if (rest !== '') throw new TimeError(`parsing time ${JSON.stringify(text)}: extra text: ${JSON.stringify(rest)}`);
  const offset = found.at(-1) ?? 'Z';
  const local = `${found.slice(0, parts.length).join('')}Z`;
  if (!isReal(local)) throw new TimeError(`parsing time ${JSON.stringify(text)}: ${outOfRange(found)} out of range`);
  const sign = offset.startsWith('-') ? 1 : -1;
  const shiftMinutes = offset === 'Z' ? 0 : sign * (Number(offset.slice(1, 3)) * 60 + Number(offset.slice(4)));
  const utc = new Date(Date.parse(local) + shiftMinutes * 60_000).toISOString().slice(0, 19);
  return precision === 'micros' ? `${utc}${found[parts.length]}Z` : `${utc}Z`;
}

/** February 30 has the form of a time and is none. By arithmetic: every status carries times, and `Date` takes a microsecond for each. */
function isReal(text: string): boolean {
  const month = twoDigits(text, 5);
  const day = twoDigits(text, 8);
  if (month < 1 || month > 12 || day < 1 || twoDigits(text, 11) > 23 || twoDigits(text, 14) > 59 || twoDigits(text, 17) > 59) return false;
  if (day <= 28) return true;
  const year = twoDigits(text, 0) * 100 + twoDigits(text, 2);
  const isLeap = year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0);
  return day <= (month === 2 ? (isLeap ? 29 : 28) : month === 4 || month === 6 || month === 9 || month === 11 ? 30 : 31);
}

const twoDigits = (text: string, at: number): number => (text.charCodeAt(at) - 0x30) * 10 + text.charCodeAt(at + 1) - 0x30;

function outOfRange(found: readonly string[]): string {
  const [month, hour, minute, second] = [found[2], found[6], found[8], found[10]].map(Number) as [number, number, number, number];
  if (month < 1 || month > 12) return 'month';
  if (hour > 23) return 'hour';
  if (minute > 59) return 'minute';
  return second > 59 ? 'second' : 'day';
}
