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

/**
 * Checks a schedule as CronJobs write it. It is a macro, or five fields (minute, hour, day of month, month, day of week) with lists,
 * ranges, steps and English names.
 *
 * @throws CronError
 * @see Kubernetes concepts, "CronJob", "Schedule syntax"
 */
export function checkCron(text: string): void {
  if (text === '') throw new CronError('empty spec string');
  if (text.startsWith('@every ')) {
    checkEvery(text);
    return;
  }
  const expanded = text.startsWith('@') ? macros[text] : text;
  if (expanded === undefined) throw new CronError(`unrecognized descriptor: ${text}`);
  const parts = expanded.split(/\s+/).filter((part) => part !== '');
  const [minutes = '', hours = '', monthDays = '', monthNames = '', weekdays = ''] = parts;
  if (parts.length !== 5) throw new CronError(`expected exactly 5 fields, found ${parts.length}: [${parts.join(' ')}]`);
  checkField(minutes, minuteField);
  checkField(hours, hourField);
  checkField(monthDays, dayField);
  checkField(monthNames, monthField);
  checkField(weekdays, weekdayField);
}

/** True when schedules can name this time zone. */
export function isTimeZone(name: string): boolean {
  try {
    new Intl.DateTimeFormat('en-US', { timeZone: name });
    return true;
  } catch (err) {
    if (err instanceof RangeError) return false;
    throw err;
  }
}

function checkEvery(text: string): void {
  const given = text.slice('@every '.length);
  if (/^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$/.test(given)) return;
  throw new CronError(`failed to parse duration ${text}: time: invalid duration ${JSON.stringify(given)}`);
}

function checkField(text: string, field: Field): void {
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
  }
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
