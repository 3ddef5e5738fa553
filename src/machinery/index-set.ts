/**
 * Indexes of the pods of an Indexed Job, as the API writes them: `1,3-5,7`. Sorted intervals without a gap of zero between them, so that a
 * hundred thousand indexes of a Job that goes well are one interval.
 */
export type IndexSet = readonly (readonly [first: number, last: number])[];

/** The text is no list of indexes in ascending order. */
export class IndexSetError extends Error {
  override readonly name = 'IndexSetError';
}

/**
 * Reads `1,3-5,7`; an empty text is the empty set. Indexes of `limit` and above are left out, as after a Job was scaled down.
 *
 * @throws IndexSetError
 */
export function parseIndexSet(text: string, limit: number): IndexSet {
  const intervals: (readonly [number, number])[] = [];
  if (text === '') return intervals;
  let last = -1;
  for (const part of text.split(',')) {
    const match = /^(\d+)(?:-(\d+))?$/.exec(part);
    if (match === null) throw new IndexSetError(`cannot convert string to integer for index: "${part}"`);
    const low = Number(match[1]);
    const high = match[2] === undefined ? low : Number(match[2]);
    if (low <= last) throw new IndexSetError(`non-increasing order, previous: ${last}, current: ${low}`);
    if (high < low) throw new IndexSetError(`non-increasing order, previous: ${low}, current: ${high}`);
    last = high;
    if (low >= limit) continue;
    append(intervals, low, Math.min(high, limit - 1));
  }
  return intervals;
}

export function formatIndexSet(set: IndexSet): string {
  return set.map(([low, high]) => (low === high ? `${low}` : high === low + 1 ? `${low},${high}` : `${low}-${high}`)).join(',');
}

export const sizeOf = (set: IndexSet): number => set.reduce((sum, [low, high]) => sum + high - low + 1, 0);

export function hasIndex(set: IndexSet, index: number): boolean {
  let low = 0;
  let high = set.length - 1;
  while (low <= high) {
    const middle = (low + high) >> 1;
    const [first, last] = set[middle] ?? [0, -1];
    if (index < first) high = middle - 1;
    else if (index > last) low = middle + 1;
    else return true;
  }
  return false;
}

/** Indexes below `limit` that the set leaves out, in order. */
export function* indexesOutside(set: IndexSet, limit: number): Iterable<number> {
  let next = 0;
  for (const [low, high] of set) {
    for (; next < low && next < limit; next += 1) yield next;
    next = high + 1;
  }
  for (; next < limit; next += 1) yield next;
}

/** The same set when nothing is new. */
export function withIndexes(set: IndexSet, indexes: Iterable<number>): IndexSet {
  const added = [...new Set(indexes)].filter((index) => !hasIndex(set, index));
  if (added.length === 0) return set;
  const all = [...set, ...added.map((index) => [index, index] as const)].sort(([a], [b]) => a - b);
  const merged: (readonly [number, number])[] = [];
  for (const [low, high] of all) append(merged, low, high);
  return merged;
}

/** Number of indexes that both have. */
export function overlapOf(a: IndexSet, b: IndexSet): number {
  let count = 0;
  for (const [low, high] of a) {
    for (const [first, last] of b) count += Math.max(0, Math.min(high, last) - Math.max(low, first) + 1);
  }
  return count;
}

function append(intervals: (readonly [number, number])[], low: number, high: number): void {
  const previous = intervals.at(-1);
  if (previous !== undefined && low <= previous[1] + 1) intervals[intervals.length - 1] = [previous[0], Math.max(previous[1], high)];
  else intervals.push([low, high]);
}
