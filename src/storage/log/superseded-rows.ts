/** Rows removed by one slice of a compaction; 1.5 ms on SQLite. */
const compactionSliceRows = 500;
/** Pages of large rows are given back one by one. */
const compactionSliceBytes = 4 * 1024 * 1024;
/** Bytes a row takes beside key and text. */
const rowOverheadBytes = 50;

/** Row `revision` is of no use to anyone who starts at or after `since`. */
export interface SupersededRow {
  readonly revision: number;
  readonly since: number;
  /** Bytes it takes on disk, about. */
  readonly bytes: number;
}

/** The rows of the log that a newer write has made useless for whoever starts after it, in order of that write. */
export interface SupersededRows {
  /**
   * Notes that the write of revision `since` replaced row `revision`; its own row for a deletion. Writes come in order, so `since` never
   * falls. Every write calls this, so the parameters are positional.
   *
   * @param bytes  by `rowBytes`
   */
  add(revision: number, since: number, bytes: number): void;
  rows(): Iterable<SupersededRow>;
  /** True when the write of this revision replaced a value. */
  hasReplaced(revision: number): boolean;
  /** Rows of revisions up to `after` that a write after it and up to `upTo` replaced, by the revision of that write. */
  replacedIn(window: { readonly after: number; readonly upTo: number }): ReadonlyMap<number, SupersededRow>;
  /** The revision up to which rows have to go, so that at most so many bytes of them stay; undefined when none has to. */
  revisionKeeping(bytes: number): number | undefined;
  /** True while there are rows that were replaced at or before this revision. */
  isAnyBefore(revision: number): boolean;
  /** Revisions of the oldest of those rows: as many as one slice of a compaction removes. */
  sliceBefore(revision: number): readonly number[];
  /** Forgets so many of the oldest rows. */
  drop(count: number): void;
}

/** Bytes that a row takes on disk, about. `size` is the length of its value. */
export const rowBytes = (key: string, size: number): number => key.length + size + rowOverheadBytes;

export function createSupersededRows(): SupersededRows {
  // In order of `since`. Entries before `head` are gone; the array is cut when half of it is.
  let all: SupersededRow[] = [];
  let head = 0;
  let totalBytes = 0;

  return {
    add(revision, since, bytes) {
      all.push({ revision, since, bytes });
      totalBytes += bytes;
    },
    *rows() {
      for (let at = head; at < all.length; at += 1) {
        const row = all[at];
        if (row !== undefined) yield row;
      }
    },
    hasReplaced(revision) {
      let low = head;
      let high = all.length;
      while (low < high) {
        const middle = (low + high) >>> 1;
        if ((all[middle]?.since ?? 0) < revision) low = middle + 1;
        else high = middle;
      }
      return all[low]?.since === revision;
    },
    replacedIn({ after, upTo }) {
      const replaced = new Map<number, SupersededRow>();
      for (const row of all) if (row.revision <= after && row.since > after && row.since <= upTo) replaced.set(row.since, row);
      return replaced;
    },
    revisionKeeping(bytes) {
      let left = totalBytes;
      let revision: number | undefined;
      for (let at = head; left > bytes; at += 1) {
        const row = all[at];
        if (row === undefined) break;
        left -= row.bytes;
        revision = row.since;
      }
      return revision;
    },
    isAnyBefore: (revision) => (all[head]?.since ?? Number.POSITIVE_INFINITY) <= revision,
    sliceBefore(revision) {
      const slice: number[] = [];
      let bytes = 0;
      for (let at = head; slice.length < compactionSliceRows && bytes < compactionSliceBytes; at += 1) {
        const row = all[at];
        if (row === undefined || row.since > revision) break;
        slice.push(row.revision);
        bytes += row.bytes;
      }
      return slice;
    },
    drop(count) {
      for (let at = head; at < head + count; at += 1) totalBytes -= all[at]?.bytes ?? 0;
      head += count;
      if (head * 2 > all.length) {
        all = all.slice(head);
        head = 0;
      }
    },
  };
}
