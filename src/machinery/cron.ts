import { instantOf, wallTime } from './time-zone.ts';

/** A text that is no schedule; worded as the library behind CronJobs words it. */
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

/** Times at which something is due. */
export interface Schedule {
  /**
   * The first time after `after` (both in milliseconds since the epoch) by the clocks of `zone`. Undefined when the next five years have
   * none, as with `0 0 31 2 *`.
   *
   * Hours that the clocks skip have no such time, and hours that they repeat have it twice.
   */
  next(after: number, zone?: string): number | undefined;
}

/**
 * Reads a schedule as CronJobs write it. It is a macro, `@every DURATION`, or five fields (minute, hour, day of month, month, day of week)
 * with lists, ranges, steps and English names.
 *
 * @throws CronError
 * @see Kubernetes concepts, "CronJob", "Schedule syntax"
 */
export function parseCron(text: string): Schedule {
  if (text === '') throw new CronError('empty spec string');
  if (text.startsWith('@every ')) {
    const delayMs = parseEvery(text);
    return { next: (after) => Math.floor(after / 1_000) * 1_000 + delayMs };
  }
  const expanded = text.startsWith('@') ? macros[text] : text;
  if (expanded === undefined) throw new CronError(`unrecognized descriptor: ${text}`);
  const parts = expanded.split(/\s+/).filter((part) => part !== '');
  const [minutes = '', hours = '', monthDays = '', monthNames = '', weekdays = ''] = parts;
  if (parts.length !== 5) throw new CronError(`expected exactly 5 fields, found ${parts.length}: [${parts.join(' ')}]`);
  const fields: Fields = {
    minutes: parseField(minutes, minuteField),
    hours: parseField(hours, hourField),
    monthDays: parseField(monthDays, dayField),
    months: parseField(monthNames, monthField),
    weekdays: parseField(weekdays, weekdayField),
  };
  return { next: (after, zone = 'UTC') => nextTime(fields, after, zone) };
}

const unitsMs: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };

/** Nanoseconds of a duration are a number of 64 bits upstream: 292 years. */
const maxDurationMs = 2 ** 63 / 1e6;

/** In whole seconds, and one at least. */
function parseEvery(text: string): number {
  const given = text.slice('@every '.length);
  let sum = 0;
  for (const [, count = '', unit = ''] of given.matchAll(/([0-9.]+)(ms|s|m|h)/g)) sum += Number(count) * (unitsMs[unit] ?? 0);
  if (!/^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$/.test(given) || sum > maxDurationMs) {
    throw new CronError(`failed to parse duration ${text}: time: invalid duration ${JSON.stringify(given)}`);
  }
  return Math.max(1_000, Math.floor(sum / 1_000) * 1_000);
}

interface Values {
  readonly has: (value: number) => boolean;
  /** `*` or `?` without a step: the field restricts nothing. */
  readonly isOpen: boolean;
}

interface Fields {
  readonly minutes: Values;
  readonly hours: Values;
  readonly monthDays: Values;
  readonly months: Values;
  readonly weekdays: Values;
}

function parseField(text: string, field: Field): Values {
  const values = new Set<number>();
  let isOpenField = false;
  for (const part of text.split(',').filter((item) => item !== '')) {
    const [range = '', step, ...moreSteps] = part.split('/');
    const [first = '', last, ...moreEnds] = range.split('-');
    if (moreEnds.length > 0) throw new CronError(`too many hyphens: ${part}`);
    const isOpen = first === '*' || first === '?';
    const low = isOpen ? field.min : numberOf(first, field);
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
    for (let value = low; value <= high; value += every) values.add(value);
    isOpenField ||= isOpen && every === 1;
  }
  return { has: (value) => values.has(value), isOpen: isOpenField };
}

const minuteMs = 60_000;
const hourMs = 3_600_000;
/** Years that are searched; a leap day comes within them unless a century is in between. */
const maxYears = 5;

/**
 * Goes from the largest unit to the smallest and starts again when one of them wraps. Days and months are counted on the calendar of the
 * zone, hours and minutes in real time. So an hour that the clocks repeat counts twice, and one that they skip never.
 */
function nextTime(fields: Fields, after: number, zone: string): number | undefined {
  let at = Math.floor(after / 1_000) * 1_000 + 1_000;
  const lastYear = wallTime(at, zone).getUTCFullYear() + maxYears;
  /** Units below the one that was moved begin at their first value, once. */
  let isRounded = false;
  const round = (start: (wall: Date) => number): void => {
    if (!isRounded) at = start(wallTime(at, zone));
    isRounded = true;
  };
  search: for (;;) {
    if (wallTime(at, zone).getUTCFullYear() > lastYear) return undefined;
    while (!fields.months.has(wallTime(at, zone).getUTCMonth() + 1)) {
      round((wall) => startOf(wall.getUTCFullYear(), wall.getUTCMonth(), 1, zone));
      const wall = wallTime(at, zone);
      at = startOf(wall.getUTCFullYear(), wall.getUTCMonth() + 1, 1, zone);
      if (wallTime(at, zone).getUTCMonth() === 0) continue search;
    }
    while (!isDayOf(fields, wallTime(at, zone))) {
      round((wall) => startOf(wall.getUTCFullYear(), wall.getUTCMonth(), wall.getUTCDate(), zone));
      const wall = wallTime(at, zone);
      at = startOf(wall.getUTCFullYear(), wall.getUTCMonth(), wall.getUTCDate() + 1, zone);
      if (wallTime(at, zone).getUTCDate() === 1) continue search;
    }
    while (!fields.hours.has(wallTime(at, zone).getUTCHours())) {
      round((wall) => at - (wall.getTime() % hourMs));
      at += hourMs;
      if (wallTime(at, zone).getUTCHours() === 0) continue search;
    }
    while (!fields.minutes.has(wallTime(at, zone).getUTCMinutes())) {
      round((wall) => at - (wall.getTime() % minuteMs));
      at += minuteMs;
      if (wallTime(at, zone).getUTCMinutes() === 0) continue search;
    }
    const seconds = wallTime(at, zone).getTime() % minuteMs;
    if (seconds === 0) return at;
    isRounded = true;
    at += minuteMs - seconds;
  }
}

/** The first moment of a day by the zone's clocks; where they skip midnight, the first one that they show. */
function startOf(year: number, month: number, day: number, zone: string): number {
  const midnight = Date.UTC(year, month, day);
  const at = instantOf(midnight, zone);
  const shown = wallTime(at, zone).getTime();
  return shown < midnight ? at + (midnight - shown) : at;
}

/** A day matches both fields; when both restrict something, one of them is enough. */
function isDayOf({ monthDays, weekdays }: Fields, wall: Date): boolean {
  const byDate = monthDays.has(wall.getUTCDate());
  const byWeekday = weekdays.has(wall.getUTCDay());
  return monthDays.isOpen || weekdays.isOpen ? byDate && byWeekday : byDate || byWeekday;
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
