import type { LogDriver } from '../log/driver.ts';
import { StorageError } from '../storage-error.ts';
import { metaSum, rowSum } from './checksum.ts';
import type { Database, Parameter } from './database.ts';
import { openError } from './errors.ts';

export interface StoredRow {
  readonly rev: number;
  readonly key: string;
  readonly val: string | null;
  readonly sum: string | null;
}

/** Reads rows of the log, and verifies their checksums. */
export interface RowReader extends Pick<LogDriver, 'read' | 'readAfter' | 'keysAfter'> {
  /** Rows up to here come from layout 1 and may lack a checksum. */
  unchecked: number;
  /** Rows after `revision`, in order: one page of them, none only when there are none. They are not verified. */
  pageAfter(revision: number, limit?: number): Promise<readonly StoredRow[]>;
  fits(row: StoredRow): boolean;
  /** @throws StorageError for a row that does not fit its checksum */
  checked(row: StoredRow): StoredRow;
  /** A value of the table `meta`; undefined when it is missing or damaged. */
  metaOf(name: string): Promise<number | undefined>;
  isCopy(): Promise<boolean>;
}

const readChunkRows = 500;
/** Rows are read some at a time: a store of large objects must not be in memory as text, too. */
const pageRows = 1000;
const pageBytes = 8 * 1024 * 1024;

export function createRowReader(database: Pick<Database, 'all'>, path: string): RowReader {
  const query = async <Row>(sql: string, parameters?: readonly Parameter[]): Promise<readonly Row[]> => {
    try {
      return await database.all<Row>(sql, parameters);
    } catch (cause) {
      throw openError(path, cause);
    }
  };

  const reader: RowReader = {
    unchecked: 0,
    async pageAfter(revision, limit = pageRows) {
      const sizes = await query<{ rev: number; size: number | null }>(
        'SELECT rev, octet_length(val) AS size FROM log WHERE rev > ? ORDER BY rev LIMIT ?',
        [revision, limit],
      );
      if (sizes.length === 0) return [];
      let bytes = 0;
      let last = revision;
      for (const [at, { rev, size }] of sizes.entries()) {
        bytes += size ?? 0;
        if (at > 0 && bytes > pageBytes) break;
        last = rev;
      }
      return query<StoredRow>('SELECT rev, key, val, sum FROM log WHERE rev > ? AND rev <= ? ORDER BY rev', [revision, last]);
    },
    fits({ rev, key, val, sum }) {
      // A damaged header makes a number or bytes of a text.
      if (typeof key !== 'string' || (val !== null && typeof val !== 'string')) return false;
      if (sum === null && rev <= reader.unchecked) return isObjectText(val);
      return sum === rowSum(rev, key, val);
    },
    checked(row) {
      if (reader.fits(row)) return row;
      throw new StorageError(`row ${row.rev} of ${path}, key ${quoted(row.key)}, does not fit its checksum`, {
        hint: 'Check the disk, and start again: a start sets the row aside, and the state in Git is applied again.',
      });
    },
    async metaOf(name) {
      const [row] = await query<{ value: number; sum: string | null }>('SELECT value, sum FROM meta WHERE name = ?', [name]);
      return row !== undefined && row.sum === metaSum(name, row.value) ? row.value : undefined;
    },
    isCopy: async () => (await query("SELECT 1 FROM meta WHERE name = 'copy'")).length > 0,
    async read(revisions) {
      const texts = new Map<number, string>();
      for (let from = 0; from < revisions.length; from += readChunkRows) {
        const chunk = revisions.slice(from, from + readChunkRows);
        const rows = await query<StoredRow>(`SELECT rev, key, val, sum FROM log WHERE rev IN (${chunk.join(',')}) AND val IS NOT NULL`);
        for (const row of rows) texts.set(row.rev, reader.checked(row).val ?? '');
      }
      return texts;
    },
    async readAfter(revision, limit) {
      const rows = await reader.pageAfter(revision, limit);
      return rows.map(reader.checked).map(({ rev, key, val }) => ({ revision: rev, key, text: val }));
    },
    keysAfter: (revision, limit) => query('SELECT rev AS revision, key FROM log WHERE rev > ? ORDER BY rev LIMIT ?', [revision, limit]),
  };
  return reader;
}

/** Rows of layout 1 have no checksum: what is no JSON object is certainly damaged. */
function isObjectText(text: string | null): boolean {
  if (text === null) return true;
  try {
    return typeof JSON.parse(text) === 'object';
  } catch {
    return false;
  }
}

export const quoted = (key: unknown): string => JSON.stringify(String(key).slice(0, 200));
