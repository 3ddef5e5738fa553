import { BoundedMap } from '../base/bounded-map.ts';

/**
 * Cron schedules as CronJobs write them: five fields (minute, hour, day of month, month, day of week) with lists, ranges, steps and
 * English names, or a macro. When both day fields are restricted, a day that fits either is taken.
 *
 * @see Kubernetes concepts, "CronJob", "Schedule syntax"; errors are worded as the library behind it words them
 */
export interface CronSchedule {
  /** The first time after `afterMs`, in milliseconds since the epoch; undefined when there is none within five years. */
  next(afterMs: number): number | undefined;
}

export class CronError extends Error {
  override readonly name = 'CronError';
}

interface Field {
  readonly min: number;
  readonly max: number;
  readonly names?: readonly string[];
}

const months = ['jan', 'feb', 'mar', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec'];
const days = ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat'];
const minuteField: Field = { min: 0, max: 59 };
const hourField: Field = { min: 0, max: 23 };
const dayField: Field = { min: 1, max: 31 };
const monthField: Field = { min: 1, max: 12, names: months };
const weekdayField: Field = { min: 0, max: 6, names: days };

const macros: Readonly<Record<string, string>> = {
  '@yearly': '0 0 1 1 *',
  '@annually': '0 0 1 1 *',
  '@monthly': '0 0 1 * *',
  '@weekly': '0 0 * * 0',
  '@daily': '0 0 * * *',
  '@midnight': '0 0 * * *',
  '@hourly': '0 * * * *',
};

const minuteMs = 60_000;
const hourMs = 60 * minuteMs;
const horizonMs = 5 * 366 * 24 * hourMs;

/**
 * @param timeZone  an IANA name; default: UTC
 * @throws CronError when the text is no schedule
 */
export function parseCron(text: string, timeZone = 'UTC'): CronSchedule {
  if (text === '') throw new CronError('empty spec string');
  if (text.startsWith('@every ')) return everyOf(text);
  const expanded = text.startsWith('@') ? macros[text] : text;
  if (expanded === undefined) throw new CronError(`unrecognized descriptor: ${text}`);
  const parts = expanded.split(/\s+/).filter((part) => part !== '');
  const [minutes = '', hours = '', monthDays = '', monthNames = '', weekdays = ''] = parts;
  if (parts.length !== 5) throw new CronError(`expected exactly 5 fields, found ${parts.length}: [${parts.join(' ')}]`);
  return new FieldSchedule(
    {
      minute: valuesOf(minutes, minuteField),
      hour: valuesOf(hours, hourField),
      day: valuesOf(monthDays, dayField),
      month: valuesOf(monthNames, monthField),
      weekday: valuesOf(weekdays, weekdayField),
      anyDay: isStar(monthDays) || isStar(weekdays),
    },
    wallClockOf(timeZone),
  );
}

/** True when schedules can name this time zone. */
export function isTimeZone(name: string): boolean {
  try {
    wallClockOf(name);
    return true;
  } catch (err) {
    if (err instanceof RangeError) return false;
    throw err;
  }
}

function everyOf(text: string): CronSchedule {
  const given = text.slice('@every '.length);
  if (!/^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$/.test(given)) {
    throw new CronError(`failed to parse duration ${text}: time: invalid duration ${JSON.stringify(given)}`);
  }
  const units: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: minuteMs, h: hourMs };
  let ms = 0;
  for (const [, amount = '', unit = ''] of given.matchAll(/([0-9.]+)(ms|s|m|h)/g)) ms += Number(amount) * (units[unit] ?? 0);
  const step = Math.max(1, Math.floor(ms / 1000)) * 1000;
  return { next: (afterMs) => Math.floor(afterMs / 1000) * 1000 + step };
}

/** `*`, `?` and their steps of one leave the field open. */
const isStar = (text: string): boolean => text.split(',').some((part) => /^[*?](\/1)?$/.test(part));

function valuesOf(text: string, field: Field): ReadonlySet<number> {
  const values = new Set<number>();
  for (const part of text.split(',').filter((item) => item !== '')) {
    const [range = '', step, ...moreSteps] = part.split('/');
    const [first = '', last, ...moreEnds] = range.split('-');
    if (moreEnds.length > 0) throw new CronError(`too many hyphens: ${part}`);
    const isOpen = first === '*' || first === '?';
    let low = isOpen ? field.min : numberOf(first, field);
    let high = isOpen ? field.max : last === undefined ? low : numberOf(last, field);
    let every = 1;
    if (moreSteps.length > 0) throw new CronError(`too many slashes: ${part}`);
    if (step !== undefined) {
      every = numberOf(step, { min: 0, max: 0 });
      // `N/step` means from N on.
      if (last === undefined) high = field.max;
    }
    if (low < field.min) throw new CronError(`beginning of range (${low}) below minimum (${field.min}): ${part}`);
    if (high > field.max) throw new CronError(`end of range (${high}) above maximum (${field.max}): ${part}`);
    if (low > high) throw new CronError(`beginning of range (${low}) beyond end of range (${high}): ${part}`);
    if (every === 0) throw new CronError(`step of range should be a positive number: ${part}`);
    for (; low <= high; low += every) values.add(low);
  }
  return values;
}

function numberOf(text: string, { min, names }: Field): number {
  const named = names?.indexOf(text.toLowerCase()) ?? -1;
  if (named >= 0) return named + min;
  if (!/^[+-]?[0-9]+$/.test(text)) {
    throw new CronError(`failed to parse int from ${text}: strconv.Atoi: parsing ${JSON.stringify(text)}: invalid syntax`);
  }
  const value = Number(text);
  if (value < 0) throw new CronError(`negative number (${value}) not allowed: ${text}`);
  return value;
}

interface Times {
  readonly minute: ReadonlySet<number>;
  readonly hour: ReadonlySet<number>;
  readonly day: ReadonlySet<number>;
  readonly month: ReadonlySet<number>;
  readonly weekday: ReadonlySet<number>;
  /** One of the day fields is open, so both have to fit. */
  readonly anyDay: boolean;
}

interface WallTime {
  readonly year: number;
  readonly month: number;
  readonly day: number;
  readonly hour: number;
  readonly minute: number;
}

/** A moment as clocks in the zone show it. */
type WallClock = (ms: number) => WallTime;

class FieldSchedule implements CronSchedule {
  readonly #times: Times;
  readonly #clock: WallClock;

  constructor(times: Times, clock: WallClock) {
    this.#times = times;
    this.#clock = clock;
  }

  next(afterMs: number): number | undefined {
    const end = afterMs + horizonMs;
    let at = (Math.floor(afterMs / minuteMs) + 1) * minuteMs;
    while (at <= end) {
      const wall = this.#clock(at);
      if (!this.#times.month.has(wall.month) || !this.#fitsDay(wall)) at = this.#nextDay(at, wall);
      else if (!this.#times.hour.has(wall.hour)) at += hourMs - wall.minute * minuteMs;
      else if (!this.#times.minute.has(wall.minute)) at += minuteMs;
      else return at;
    }
    return undefined;
  }

  #fitsDay({ year, month, day }: WallTime): boolean {
    const { day: monthDays, weekday, anyDay } = this.#times;
    const inMonth = monthDays.has(day);
    const inWeek = weekday.has(new Date(Date.UTC(year, month - 1, day)).getUTCDay());
    return anyDay ? inMonth && inWeek : inMonth || inWeek;
  }

  /** Midnight that follows, or the first moment after it where a clock change leaves it out. */
  #nextDay(at: number, { day, hour, minute }: WallTime): number {
    // A day has 23 to 25 hours: going there by the shortest, and on by minutes of the hour, meets each start of a day.
    let next = at + (23 - hour) * hourMs - minute * minuteMs;
    if (next <= at) next = at - minute * minuteMs + hourMs / 2;
    for (;;) {
      const wall = this.#clock(next);
      if (wall.day !== day) return next;
      next += hourMs / 2;
    }
  }
}

const wallClocks = new BoundedMap<string, WallClock>(64);

/** @throws RangeError for a zone that is not known */
function wallClockOf(timeZone: string): WallClock {
  const known = wallClocks.get(timeZone);
  if (known !== undefined) return known;
  const clock = timeZone === 'UTC' ? utcClock : zoneClock(timeZone);
  wallClocks.set(timeZone, clock);
  return clock;
}

const utcClock: WallClock = (ms) => {
  const date = new Date(ms);
  return {
    year: date.getUTCFullYear(),
    month: date.getUTCMonth() + 1,
    day: date.getUTCDate(),
    hour: date.getUTCHours(),
    minute: date.getUTCMinutes(),
  };
};

function zoneClock(timeZone: string): WallClock {
  const format = new Intl.DateTimeFormat('en-US', {
    timeZone,
    hourCycle: 'h23',
    year: 'numeric',
    month: 'numeric',
    day: 'numeric',
    hour: 'numeric',
    minute: 'numeric',
  });
  return (ms) => {
    const wall: Record<string, number> = {};
    for (const { type, value } of format.formatToParts(ms)) wall[type] = Number(value);
    const { year = 0, month = 0, day = 0, hour = 0, minute = 0 } = wall;
    return { year, month, day, hour, minute };
  };
}
