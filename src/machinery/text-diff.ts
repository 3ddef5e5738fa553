/**
 * Writes a unified diff of two texts as Go's difflib does; answers about immutable fields contain it. Matching blocks
 * are those of Python's `SequenceMatcher`, with three lines around each change and no header.
 *
 * @param maxLines  longest text that is compared, since the time grows with the square of the lines (2,000 take up to
 * 65 ms). Longer texts yield an empty result
 * @see Python's `difflib`, "SequenceMatcher" (junk heuristic included)
 */
export function unifiedDiff(before: string, after: string, maxLines = 2_000): string {
  const a = before.split('\n');
  const b = after.split('\n');
  if (a.length > maxLines || b.length > maxLines) return '';
  const lines: string[] = [];
  for (const group of groupChanges(changesOf(a, b))) {
    const first = group[0];
    const last = group.at(-1);
    if (first === undefined || last === undefined) continue;
    lines.push(`@@ -${rangeText(first.a, last.aEnd)} +${rangeText(first.b, last.bEnd)} @@`);
    for (const { isEqual, a: start, aEnd, b: other, bEnd } of group) {
      if (isEqual) {
        for (const line of a.slice(start, aEnd)) lines.push(` ${line}`);
      } else {
        for (const line of a.slice(start, aEnd)) lines.push(`-${line}`);
        for (const line of b.slice(other, bEnd)) lines.push(`+${line}`);
      }
    }
  }
  return lines.map((line) => `${line}\n`).join('');
}

/** Lines `a` to `aEnd` of the one text become lines `b` to `bEnd` of the other. */
interface Change {
  readonly isEqual: boolean;
  readonly a: number;
  readonly aEnd: number;
  readonly b: number;
  readonly bEnd: number;
}

interface Match {
  readonly a: number;
  readonly b: number;
  readonly size: number;
}

const contextLines = 3;
/** From this many lines on, lines that make up more than a hundredth of the text do not begin a match. They are in every match anyway. */
const popularFrom = 200;

function changesOf(a: readonly string[], b: readonly string[]): readonly Change[] {
  const changes: Change[] = [];
  let i = 0;
  let j = 0;
  for (const { a: start, b: other, size } of matchesOf(a, b)) {
    if (i < start || j < other) changes.push({ isEqual: false, a: i, aEnd: start, b: j, bEnd: other });
    i = start + size;
    j = other + size;
    if (size > 0) changes.push({ isEqual: true, a: start, aEnd: i, b: other, bEnd: j });
  }
  return changes;
}

/** Changes that are close to each other, with the lines around them. */
function groupChanges(changes: readonly Change[]): readonly (readonly Change[])[] {
  const trimmed = [...changes];
  const first = trimmed[0];
  if (first?.isEqual === true) {
    trimmed[0] = { ...first, a: Math.max(first.a, first.aEnd - contextLines), b: Math.max(first.b, first.bEnd - contextLines) };
  }
  const last = trimmed.at(-1);
  if (last?.isEqual === true) trimmed[trimmed.length - 1] = cutAfter(last);
  const groups: Change[][] = [];
  let group: Change[] = [];
  for (const change of trimmed) {
    if (change.isEqual && change.aEnd - change.a > 2 * contextLines) {
      group.push(cutAfter(change));
      groups.push(group);
      group = [{ ...change, a: Math.max(change.a, change.aEnd - contextLines), b: Math.max(change.b, change.bEnd - contextLines) }];
    } else {
      group.push(change);
    }
  }
  if (group.length > 1 || group[0]?.isEqual === false) groups.push(group);
  return groups.filter((members) => members.some(({ isEqual }) => !isEqual));
}

const cutAfter = (change: Change): Change => ({
  ...change,
  aEnd: Math.min(change.aEnd, change.a + contextLines),
  bEnd: Math.min(change.bEnd, change.b + contextLines),
});

function rangeText(start: number, end: number): string {
  const length = end - start;
  if (length === 1) return `${start + 1}`;
  // An empty range has the number of the line before it.
  return `${length === 0 ? start : start + 1},${length}`;
}

/** Longest match first, then the same to its left and to its right; in order, neighbours joined, with an empty one at the end. */
function matchesOf(a: readonly string[], b: readonly string[]): readonly Match[] {
  const places = placesOf(b);
  const found: Match[] = [];
  const pending: (readonly [number, number, number, number])[] = [[0, a.length, 0, b.length]];
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    const [aStart, aEnd, bStart, bEnd] = next;
    const match = longestMatch(a, b, places, next);
    if (match.size === 0) continue;
    found.push(match);
    if (aStart < match.a && bStart < match.b) pending.push([aStart, match.a, bStart, match.b]);
    if (match.a + match.size < aEnd && match.b + match.size < bEnd) pending.push([match.a + match.size, aEnd, match.b + match.size, bEnd]);
  }
  found.sort((one, other) => one.a - other.a || one.b - other.b);
  const joined: Match[] = [];
  for (const match of found) {
    const last = joined.at(-1);
    if (last !== undefined && last.a + last.size === match.a && last.b + last.size === match.b) {
      joined[joined.length - 1] = { ...last, size: last.size + match.size };
    } else {
      joined.push(match);
    }
  }
  return [...joined, { a: a.length, b: b.length, size: 0 }];
}

/** Positions of each line, without lines that are too frequent to begin a match. */
function placesOf(lines: readonly string[]): ReadonlyMap<string, readonly number[]> {
  const places = new Map<string, number[]>();
  for (const [index, line] of lines.entries()) {
    const known = places.get(line);
    if (known === undefined) places.set(line, [index]);
    else known.push(index);
  }
  if (lines.length < popularFrom) return places;
  const most = Math.floor(lines.length / 100) + 1;
  for (const [line, indexes] of places) if (indexes.length > most) places.delete(line);
  return places;
}

const nowhere: readonly number[] = [];

function longestMatch(
  a: readonly string[],
  b: readonly string[],
  places: ReadonlyMap<string, readonly number[]>,
  [aStart, aEnd, bStart, bEnd]: readonly [number, number, number, number],
): Match {
  let best = { a: aStart, b: bStart, size: 0 };
  /** Length of the match that ends at the line before, by its place in `b`. */
  let lengths = new Map<number, number>();
  for (let i = aStart; i < aEnd; i++) {
    const next = new Map<number, number>();
    for (const j of places.get(a[i] ?? '') ?? nowhere) {
      if (j < bStart) continue;
      if (j >= bEnd) break;
      const length = (lengths.get(j - 1) ?? 0) + 1;
      next.set(j, length);
      if (length > best.size) best = { a: i - length + 1, b: j - length + 1, size: length };
    }
    lengths = next;
  }
  // Frequent lines do not begin a match, and are taken along by one.
  while (best.a > aStart && best.b > bStart && a[best.a - 1] === b[best.b - 1])
    best = { a: best.a - 1, b: best.b - 1, size: best.size + 1 };
  while (best.a + best.size < aEnd && best.b + best.size < bEnd && a[best.a + best.size] === b[best.b + best.size]) {
    best = { ...best, size: best.size + 1 };
  }
  return best;
}
