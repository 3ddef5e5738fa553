import { closeSync, fstatSync, openSync, readSync, statSync } from 'node:fs';
import { rename, rm } from 'node:fs/promises';
import { StorageError } from '../storage-error.ts';
import { metaSum, rowSum } from './checksum.ts';
import type { Database } from './database.ts';
import { createSqliteFile } from './layout.ts';

/**
 * Extracts the intact rows from a store that SQLite itself cannot read any more. It reads pages, not tables. A row with
 * a matching checksum is a row of the log on any page, so a broken page costs only its own rows.
 *
 * @see https://www.sqlite.org/fileformat2.html
 */
export interface SalvageReport {
  readonly rows: number;
  readonly newestRevision: number;
  /** Rows that are there and do not fit their checksums; at most 100 are named. */
  readonly damaged: readonly { readonly revision: number; readonly key: string }[];
  /** The place of the damaged files now. */
  readonly keptAs: string;
}

const maxNamed = 100;
const rowsInTransaction = 500;
/** A page that points to itself must not be read forever; rows are 1.5 MiB at most, that is 400 pages of 4 KiB. */
const maxOverflowPages = 20_000;

/**
 * Puts a store with the intact rows of the one at `path` in its place; the damaged files stay beside it. Nothing may have them open.
 *
 * @throws StorageError when no row is intact; everything is as it was then
 */
export async function salvageStore(path: string): Promise<SalvageReport> {
  const target = `${path}.salvaged`;
  for (const suffix of ['', '-wal']) await rm(target + suffix, { force: true });
  const source = openPages(path);
  let report: Omit<SalvageReport, 'keptAs'>;
  try {
    const database = await createSqliteFile(target);
    try {
      report = await copyRows(source, database);
    } finally {
      await database.close();
    }
  } catch (err) {
    await rm(target, { force: true });
    throw err;
  } finally {
    source.close();
  }
  if (report.rows === 0) {
    await rm(target, { force: true });
    throw new StorageError(`${path} has no intact row`, {
      hint: 'Restore a backup, or remove the file: the state in Git is applied again.',
    });
  }
  const keptAs = `${path}.damaged`;
  for (const suffix of ['-wal', '']) {
    await rm(keptAs + suffix, { force: true });
    if (statSync(path + suffix, { throwIfNoEntry: false }) !== undefined) await rename(path + suffix, keptAs + suffix);
  }
  await rename(target, path);
  return { ...report, keptAs };
}

async function copyRows(source: Pages, database: Database): Promise<Omit<SalvageReport, 'keptAs'>> {
  let compacted = 0;
  // Layout 1 has no checksums at all.
  let unchecked = source.page(1)?.readUInt32BE(60) === 1 ? Number.POSITIVE_INFINITY : 0;
  const free = freePages(source);
  for (const page of source.live()) {
    if (free.has(page.number)) continue;
    for (const { columns } of cellsOf(source, page)) {
      const [name, value, sum] = columns;
      if (columns.length !== 3 || typeof name !== 'string' || typeof value !== 'number' || sum !== metaSum(name, value)) continue;
      if (name === 'compacted') compacted = value;
      if (name === 'unchecked') unchecked = value;
    }
  }
  const damaged = new Map<number, string>();
  const kept = new Set<number>();
  let pending = 0;

  async function take(page: Page, isLive: boolean): Promise<void> {
    for (const { rowid: revision, columns } of cellsOf(source, page)) {
      const [, key, text = null, sum = null] = columns;
      if (columns.length < 3 || columns.length > 4 || columns[0] !== null || typeof key !== 'string' || typeof text === 'number') continue;
      // Below the compacted revision deletions are forgotten: an older state of a page may hold what was deleted since.
      if (!isLive && revision <= compacted) continue;
      const fits = sum === null ? isLive && revision <= unchecked && isObject(text) : sum === rowSum(revision, key, text);
      if (!fits) {
        if (damaged.size < maxNamed) damaged.set(revision, key);
        continue;
      }
      if (kept.has(revision)) continue;
      kept.add(revision);
      if (pending === 0) await database.exec('BEGIN');
      await database.all('INSERT INTO log VALUES (?, ?, ?, ?)', [revision, key, text, rowSum(revision, key, text)]);
      pending += 1;
      if (pending < rowsInTransaction) continue;
      pending = 0;
      await database.exec('COMMIT');
    }
  }

  for (const page of source.live()) if (!free.has(page.number)) await take(page, true);
  for (const page of source.later()) await take(page, false);
  if (pending > 0) await database.exec('COMMIT');
  for (const revision of kept) damaged.delete(revision);
  return {
    rows: kept.size,
    newestRevision: [...kept].reduce((newest, revision) => Math.max(newest, revision), 0),
    damaged: [...damaged].map(([revision, key]) => ({ revision, key })),
  };
}

function isObject(text: string | null): boolean {
  try {
    return text === null || typeof JSON.parse(text) === 'object';
  } catch {
    return false;
  }
}

interface Page {
  readonly number: number;
  readonly bytes: Buffer;
}

interface Pages {
  readonly usableBytes: number;
  page(number: number): Buffer | undefined;
  /** Each page in its newest state. */
  live(): Iterable<Page>;
  /** Pages that the log holds behind the first frame that is damaged. */
  later(): Iterable<Page>;
  close(): void;
}

const walHeaderBytes = 32;
const frameHeaderBytes = 24;

function openPages(path: string): Pages {
  const database = openSync(path, 'r');
  const log = statSync(`${path}-wal`, { throwIfNoEntry: false }) === undefined ? undefined : openSync(`${path}-wal`, 'r');
  const head = readAt(database, 0, 100);
  const declared = head.readUInt16BE(16);
  const pageBytes = [512, 1024, 2048, 4096, 8192, 16384, 32768].includes(declared) ? declared : declared === 1 ? 65536 : 4096;
  const pages = Math.ceil(fstatSync(database).size / pageBytes);
  const { newest, later } = log === undefined ? { newest: new Map<number, number>(), later: [] } : framesOf(log, pageBytes);
  const last = Math.max(pages, ...newest.keys());

  function page(number: number): Buffer | undefined {
    const frame = newest.get(number);
    if (frame !== undefined && log !== undefined) return readAt(log, frame, pageBytes);
    return number >= 1 && number <= pages ? readAt(database, (number - 1) * pageBytes, pageBytes) : undefined;
  }

  return {
    usableBytes: pageBytes - (head[20] ?? 0),
    page,
    *live() {
      for (let number = 1; number <= last; number += 1) {
        const bytes = page(number);
        if (bytes !== undefined) yield { number, bytes };
      }
    },
    *later() {
      for (const { number, at } of later) if (log !== undefined) yield { number, bytes: readAt(log, at, pageBytes) };
    },
    close() {
      closeSync(database);
      if (log !== undefined) closeSync(log);
    },
  };
}

/** Zeros where the file ends. */
function readAt(file: number, at: number, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  readSync(file, bytes, 0, length, at);
  return bytes;
}

/**
 * Frames of the last start of the log. They are the newest of each page up to the first damage, as SQLite takes them, and those behind it.
 */
function framesOf(
  log: number,
  pageBytes: number,
): { readonly newest: ReadonlyMap<number, number>; readonly later: readonly { readonly number: number; readonly at: number }[] } {
  const newest = new Map<number, number>();
  const later: { readonly number: number; readonly at: number }[] = [];
  const header = readAt(log, 0, walHeaderBytes);
  const isBigEndian = (header.readUInt32BE(0) & 1) === 1;
  let sum = walSum(header.subarray(0, 24), [0, 0], isBigEndian);
  let isIntact = sum[0] === header.readUInt32BE(24) && sum[1] === header.readUInt32BE(28);
  let open: { readonly number: number; readonly at: number }[] = [];
  const { size } = fstatSync(log);
  for (let at = walHeaderBytes; at + frameHeaderBytes + pageBytes <= size; at += frameHeaderBytes + pageBytes) {
    const frame = readAt(log, at, frameHeaderBytes + pageBytes);
    // Frames of an earlier start of the log have other salts.
    const isOfThisStart = frame.compare(header, 16, 24, 8, 16) === 0;
    const entry = { number: frame.readUInt32BE(0), at: at + frameHeaderBytes };
    if (isIntact) {
      sum = walSum(frame.subarray(frameHeaderBytes), walSum(frame.subarray(0, 8), sum, isBigEndian), isBigEndian);
      isIntact = isOfThisStart && sum[0] === frame.readUInt32BE(16) && sum[1] === frame.readUInt32BE(20);
    }
    if (!isIntact) {
      if (isOfThisStart) later.push(entry);
      continue;
    }
    open.push(entry);
    // The last frame of a transaction says how large the database is then.
    if (frame.readUInt32BE(4) === 0) continue;
    for (const { number, at: place } of open) newest.set(number, place);
    open = [];
  }
  return { newest, later: [...open, ...later] };
}

function walSum(bytes: Buffer, [first, second]: readonly [number, number], isBigEndian: boolean): readonly [number, number] {
  let a = first;
  let b = second;
  for (let at = 0; at < bytes.length; at += 8) {
    a = (a + (isBigEndian ? bytes.readUInt32BE(at) : bytes.readUInt32LE(at)) + b) >>> 0;
    b = (b + (isBigEndian ? bytes.readUInt32BE(at + 4) : bytes.readUInt32LE(at + 4)) + a) >>> 0;
  }
  return [a, b];
}

/** Pages that hold nothing any more: what is on them was removed. */
function freePages(source: Pages): ReadonlySet<number> {
  const free = new Set<number>();
  let trunk = source.page(1)?.readUInt32BE(32) ?? 0;
  while (trunk !== 0 && !free.has(trunk)) {
    free.add(trunk);
    const bytes = source.page(trunk);
    if (bytes === undefined) break;
    const count = Math.min(bytes.readUInt32BE(4), bytes.length / 4 - 2);
    for (let n = 0; n < count; n += 1) free.add(bytes.readUInt32BE(8 + 4 * n));
    trunk = bytes.readUInt32BE(0);
  }
  return free;
}

interface Cell {
  readonly rowid: number;
  readonly columns: readonly (string | number | null)[];
}

const tableLeaf = 0x0d;

function* cellsOf(source: Pages, { number, bytes }: Page): Iterable<Cell> {
  const start = number === 1 ? 100 : 0;
  if (bytes[start] !== tableLeaf) return;
  const count = Math.min(bytes.readUInt16BE(start + 3), (bytes.length - start - 8) / 2);
  for (let n = 0; n < count; n += 1) {
    try {
      yield cellAt(source, bytes, bytes.readUInt16BE(start + 8 + 2 * n));
    } catch (err) {
      // It points out of its page: this cell is lost, the next one may be whole.
      if (!(err instanceof RangeError)) throw err;
    }
  }
}

function cellAt(source: Pages, page: Buffer, at: number): Cell {
  const [length, rowidAt] = varintAt(page, at);
  const [rowid, payloadAt] = varintAt(page, rowidAt);
  const usable = source.usableBytes;
  const least = Math.floor(((usable - 12) * 32) / 255) - 23;
  const spilled = least + ((length - least) % (usable - 4));
  const local = length <= usable - 35 ? length : spilled <= usable - 35 ? spilled : least;
  const parts = [page.subarray(payloadAt, payloadAt + local)];
  let left = length - local;
  let next = left > 0 ? page.readUInt32BE(payloadAt + local) : 0;
  for (let n = 0; left > 0; n += 1) {
    const overflow = source.page(next);
    if (overflow === undefined || n === maxOverflowPages) throw new RangeError('the chain of pages is broken');
    parts.push(overflow.subarray(4, 4 + Math.min(left, usable - 4)));
    left -= usable - 4;
    next = overflow.readUInt32BE(0);
  }
  return { rowid, columns: columnsOf(parts.length === 1 ? (parts[0] ?? page) : Buffer.concat(parts)) };
}

function columnsOf(record: Buffer): Cell['columns'] {
  const [headerBytes, first] = varintAt(record, 0);
  const columns: (string | number | null)[] = [];
  let at = headerBytes;
  for (let header = first; header < headerBytes; ) {
    const [type, after] = varintAt(record, header);
    header = after;
    if (type === 0) columns.push(null);
    else if (type >= 1 && type <= 6) {
      const size = [0, 1, 2, 3, 4, 6, 8][type] ?? 0;
      columns.push(size === 8 ? Number(record.readBigInt64BE(at)) : record.readIntBE(at, size));
      at += size;
    } else if (type === 8 || type === 9) columns.push(type - 8);
    else if (type >= 13 && type % 2 === 1) {
      const size = (type - 13) / 2;
      if (at + size > record.length) throw new RangeError('the text is longer than its row');
      columns.push(record.toString('utf8', at, at + size));
      at += size;
    } else throw new RangeError('no table of the store has such a column');
  }
  return columns;
}

/** The value, and where it ends. */
function varintAt(bytes: Buffer, at: number): readonly [number, number] {
  let value = 0;
  for (let n = 0; n < 8; n += 1) {
    const byte = bytes.readUInt8(at + n);
    value = value * 128 + (byte & 0x7f);
    if (byte < 0x80) return [value, at + n + 1];
  }
  throw new RangeError('the number is larger than any of the store');
}
