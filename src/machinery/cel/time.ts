import { CelEvaluationError } from './errors.ts';

/** A moment, exact to the nanosecond, from the year 1 to 9999. */
export class CelTimestamp {
  /** Since the epoch. */
  readonly nanos: bigint;
  constructor(nanos: bigint) {
    if (nanos < minNanos || nanos > maxNanos) throw new CelEvaluationError('timestamp overflow');
    this.nanos = nanos;
  }
}

/** A length of time, exact to the nanosecond. */
export class CelDuration {
  readonly nanos: bigint;
  constructor(nanos: bigint) {
    if (nanos > maxInt64 || nanos < -maxInt64 - 1n) throw new CelEvaluationError('duration overflow');
    this.nanos = nanos;
  }
}

const second = 1_000_000_000n;
const minNanos = -62_135_596_800n * second;
const maxNanos = 253_402_300_800n * second - 1n;
const maxInt64 = 2n ** 63n - 1n;

const rfc3339 = /^(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d:\d\d)(?:\.(\d+))?([Zz]|[+-]\d\d:\d\d)$/;

export function tryTimestamp(text: string): CelTimestamp | undefined {
  const [, date, time, fraction = '', zone = ''] = rfc3339.exec(text) ?? [];
  if (date === undefined || time === undefined) return undefined;
  const ms = Date.parse(`${date}T${time}${zone.toUpperCase()}`);
  if (Number.isNaN(ms)) return undefined;
  // 30 February reads as 2 March.
  if (new Date(`${date}T00:00:00Z`).toISOString().slice(0, 10) !== date) return undefined;
  return new CelTimestamp(BigInt(ms) * 1_000_000n + BigInt(fraction.slice(0, 9).padEnd(9, '0')));
}

export function timestampText({ nanos }: CelTimestamp): string {
  const fraction = nanos - floorSeconds(nanos) * second;
  const whole = new Date(Number(floorSeconds(nanos)) * 1000).toISOString().slice(0, 19);
  return `${whole}${fractionText(fraction)}Z`;
}

const floorSeconds = (nanos: bigint): bigint => (nanos >= 0n || nanos % second === 0n ? nanos / second : nanos / second - 1n);

const fractionText = (nanos: bigint): string => (nanos === 0n ? '' : `.${String(nanos).padStart(9, '0').replace(/0+$/, '')}`);

const units: Readonly<Record<string, bigint>> = {
  h: 3600n * second,
  m: 60n * second,
  s: second,
  ms: 1_000_000n,
  us: 1_000n,
  µs: 1_000n,
  μs: 1_000n,
  ns: 1n,
};

/** Go's notation: `1h30m`, `-1.5s`. */
export function tryDuration(text: string): CelDuration | undefined {
  const [, sign, body] = /^([+-]?)(.*)$/s.exec(text) ?? [];
  if (body === undefined || text.length > 256) return undefined;
  if (body === '0') return new CelDuration(0n);
  let total = 0n;
  const part = /(\d*)(?:\.(\d*))?(h|ms|us|µs|μs|ns|m|s)/y;
  while (part.lastIndex < body.length) {
    const match = part.exec(body);
    if (match === null) return undefined;
    const [, whole = '', fraction = '', unit = ''] = match;
    if (whole === '' && fraction === '') return undefined;
    const scale = units[unit] ?? 0n;
    total += BigInt(whole === '' ? 0 : whole) * scale;
    if (fraction !== '') total += (BigInt(fraction) * scale) / 10n ** BigInt(fraction.length);
  }
  if (body === '' || total > maxInt64) return undefined;
  return new CelDuration(sign === '-' ? -total : total);
}

/** As `string(duration)` writes it: `5400s`, `1.5s`. */
export function durationText({ nanos }: CelDuration): string {
  const size = nanos < 0n ? -nanos : nanos;
  return `${nanos < 0n ? '-' : ''}${size / second}${fractionText(size % second)}s`;
}

export type TimestampPart = keyof typeof timestampParts;

const timestampParts = {
  getFullYear: (date: Date) => date.getUTCFullYear(),
  getMonth: (date: Date) => date.getUTCMonth(),
  getDate: (date: Date) => date.getUTCDate(),
  getDayOfMonth: (date: Date) => date.getUTCDate() - 1,
  getDayOfWeek: (date: Date) => date.getUTCDay(),
  getDayOfYear: (date: Date) =>
    Math.floor(
      (Date.UTC(date.getUTCFullYear(), date.getUTCMonth(), date.getUTCDate()) - Date.UTC(date.getUTCFullYear(), 0, 1)) / 86_400_000,
    ),
  getHours: (date: Date) => date.getUTCHours(),
  getMinutes: (date: Date) => date.getUTCMinutes(),
  getSeconds: (date: Date) => date.getUTCSeconds(),
  getMilliseconds: (date: Date) => date.getUTCMilliseconds(),
} as const;

export const timestampPartNames = Object.keys(timestampParts) as readonly TimestampPart[];

/** A part of a moment as a clock in `zone` shows it: `UTC`, `Europe/Berlin`, `+02:00`. */
export function timestampPart({ nanos }: CelTimestamp, part: TimestampPart, zone = 'UTC'): bigint {
  const ms = Number(floorSeconds(nanos)) * 1000 + Number((nanos - floorSeconds(nanos) * second) / 1_000_000n);
  return BigInt(timestampParts[part](new Date(ms + offsetMs(ms, zone))));
}

function offsetMs(ms: number, zone: string): number {
  if (zone === 'UTC' || zone === '') return 0;
  const [, sign, hours = '0', minutes = '0'] = /^([+-]?)(\d\d):(\d\d)$/.exec(zone) ?? [];
  if (sign !== undefined) return (sign === '-' ? -1 : 1) * (Number(hours) * 60 + Number(minutes)) * 60_000;
  try {
    const format = new Intl.DateTimeFormat('en-US', { timeZone: zone, timeZoneName: 'longOffset' });
    const name = format.formatToParts(ms).find(({ type }) => type === 'timeZoneName')?.value ?? '';
    const [, direction, h = '0', m = '0'] = /^GMT([+-])(\d\d):(\d\d)/.exec(name) ?? [];
    return direction === undefined ? 0 : (direction === '-' ? -1 : 1) * (Number(h) * 60 + Number(m)) * 60_000;
  } catch (cause) {
    if (cause instanceof RangeError) throw new CelEvaluationError(`unknown time zone ${zone}`);
    throw cause;
  }
}
