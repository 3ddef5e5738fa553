import { BoundedMap } from '../base/bounded-map.ts';

/** Offsets of clocks from UTC change only at such steps. */
const slotMs = 15 * 60_000;
/** Zones whose clock is kept. Making one costs 50 µs, and the first of a process 8 MiB: ICU reads its language data. */
const maxClocks = 64;

interface ZoneClock {
  readonly format: Intl.DateTimeFormat;
  slot: number;
  offsetMs: number;
}

const clocks = new BoundedMap<string, ZoneClock>(maxClocks);

/** True when schedules can name this time zone. */
export function isTimeZone(name: string): boolean {
  try {
    clockOf(name);
    return true;
  } catch (err) {
    if (err instanceof RangeError) return false;
    throw err;
  }
}

/**
 * The time that the zone's clocks show at `at` (milliseconds since the epoch), as the UTC fields of a Date.
 *
 * @throws RangeError for an unknown zone
 */
export const wallTime = (at: number, zone: string): Date => new Date(at + offsetAt(at, zone));

/** The moment at which the zone's clocks show `wall`; one of the two moments nearby when they show it never, or twice. */
export function instantOf(wall: number, zone: string): number {
  const guess = wall - offsetAt(wall, zone);
  return wall - offsetAt(guess, zone);
}

/** RFC 3339 in seconds with the zone's offset, as `2026-03-01T09:00:00+01:00`. */
export function zonedTimestampOf(at: number, zone: string): string {
  const offset = Math.round(offsetAt(at, zone) / 60_000);
  const text = wallTime(at, zone).toISOString().slice(0, 19);
  if (offset === 0) return `${text}Z`;
  const two = (value: number): string => String(value).padStart(2, '0');
  const size = Math.abs(offset);
  return `${text}${offset < 0 ? '-' : '+'}${two(Math.floor(size / 60))}:${two(size % 60)}`;
}

function offsetAt(at: number, zone: string): number {
  if (zone === 'UTC') return 0;
  const clock = clockOf(zone);
  const slot = Math.floor(at / slotMs);
  if (slot !== clock.slot) {
    clock.offsetMs = shownBy(clock.format, slot * slotMs) - slot * slotMs;
    clock.slot = slot;
  }
  return clock.offsetMs;
}

function shownBy(format: Intl.DateTimeFormat, at: number): number {
  const parts: Partial<Record<Intl.DateTimeFormatPartTypes, number>> = {};
  for (const { type, value } of format.formatToParts(at)) parts[type] = Number(value);
  const { year = 0, month = 1, day = 1, hour = 0, minute = 0, second = 0 } = parts;
  return Date.UTC(year, month - 1, day, hour, minute, second);
}

function clockOf(zone: string): ZoneClock {
  let clock = clocks.use(zone);
  if (clock === undefined) {
    const unit = 'numeric' as const;
    const units = { year: unit, month: unit, day: unit, hour: unit, minute: unit, second: unit };
    clock = { format: new Intl.DateTimeFormat('en-US', { timeZone: zone, hourCycle: 'h23', ...units }), slot: Number.NaN, offsetMs: 0 };
    clocks.set(zone, clock);
  }
  return clock;
}
