import type { Column, Verb } from '../machinery/kind.ts';
import type { KubeObject } from '../machinery/object.ts';

/** The verbs of every stored kind; namespaces have no `deletecollection`. */
export const allVerbs: readonly Verb[] = ['create', 'delete', 'deletecollection', 'get', 'list', 'patch', 'update', 'watch'];

export const nameColumn: Column<KubeObject> = {
  name: 'Name',
  type: 'string',
  format: 'name',
  description: 'Name of the object, unique in its namespace.',
  cell: (object) => object.metadata.name,
};

export const ageColumn: Column<KubeObject> = {
  name: 'Age',
  type: 'string',
  description: 'Time since the object was created.',
  cell: (object, { now }) => ageOf(object.metadata.creationTimestamp, now),
};

/** For kinds that have no printer of their own. */
export const createdAtColumn: Column<KubeObject> = {
  name: 'Created At',
  type: 'date',
  description: 'When the object was created.',
  cell: (object) => object.metadata.creationTimestamp ?? '',
};

/** Age of a timestamp as kubectl prints it, `<unknown>` when there is none. */
export function ageOf(timestamp: string | undefined, now: number): string {
  if (timestamp === undefined) return '<unknown>';
  const then = Date.parse(timestamp);
  return Number.isNaN(then) ? '<unknown>' : durationText(now - then);
}

const second = 1_000;
const minute = 60 * second;
const hour = 60 * minute;
const day = 24 * hour;

/**
 * A duration with two significant parts, as kubectl prints ages: `3s`, `5m49s`, `17m`, `3h5m`, `2d4h`, `40d`, `2y30d`.
 *
 * Up to two seconds in the future is clock skew and prints as `0s`; more prints as `<invalid>`.
 */
export function durationText(ms: number): string {
  if (ms < -2 * second) return '<invalid>';
  if (ms < 0) return '0s';
  const seconds = Math.floor(ms / second);
  if (ms < 2 * minute) return `${seconds}s`;
  const minutes = Math.floor(ms / minute);
  if (ms < 10 * minute) return parts(minutes, 'm', seconds % 60, 's');
  if (ms < 3 * hour) return `${minutes}m`;
  const hours = Math.floor(ms / hour);
  if (ms < 8 * hour) return parts(hours, 'h', minutes % 60, 'm');
  if (ms < 2 * day) return `${hours}h`;
  const days = Math.floor(ms / day);
  if (ms < 8 * day) return parts(days, 'd', hours % 24, 'h');
  if (days < 2 * 365) return `${days}d`;
  const years = Math.floor(days / 365);
  if (days < 8 * 365) return parts(years, 'y', days % 365, 'd');
  return `${years}y`;
}

const parts = (large: number, largeUnit: string, small: number, smallUnit: string): string =>
  small === 0 ? `${large}${largeUnit}` : `${large}${largeUnit}${small}${smallUnit}`;
