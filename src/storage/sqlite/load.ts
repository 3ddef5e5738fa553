import type { DamagedRow, LoadedLog, LoadedRow } from '../log/driver.ts';
import { StorageError } from '../storage-error.ts';
import { headFits } from './checksum.ts';
import { damagedHint } from './errors.ts';
import { schemaVersion } from './layout.ts';
import type { RevisionMark } from './revision-mark.ts';
import { quoted, type RowReader } from './row-reader.ts';

/** More damage than that is not that of some rows: then nothing is set aside, and a person decides. */
const maxDamagedRows = 100;
const maxDamagedShare = 0.05;
const damageAlwaysTaken = 8;

export interface LoadOptions {
  readonly path: string;
  readonly rows: RowReader;
  readonly mark: RevisionMark;
  /** Layout of the file before this start. */
  readonly foundVersion: number;
  readonly onRow: (row: LoadedRow) => void;
}

/** Reads the log of an earlier process, and everything that says whether it is whole. */
export async function loadLog({ path, rows, mark, foundVersion, onRow }: LoadOptions): Promise<LoadedLog> {
  const otherDamage: string[] = [];
  const compactedRevision = await rows.metaOf('compacted');
  if (compactedRevision === undefined) otherDamage.push(`${path} does not say how far its history was compacted`);
  rows.unchecked = (await rows.metaOf('unchecked')) ?? 0;
  const { damagedRows, count, last } = await readRows(rows, onRow);
  refuseMuchDamage(path, damagedRows, count);
  const isCopy = await rows.isCopy();
  if (mark.found === 'damaged') otherDamage.push(`${mark.path} is damaged, so nothing says whether acknowledged writes are missing`);
  if (mark.found === 'none' && count > 0 && foundVersion === schemaVersion && !isCopy) {
    otherDamage.push(`${mark.path} is gone, so nothing says whether acknowledged writes are missing`);
  }
  // From layout 1, which had none; where it is missed, it is written with what is decided about that.
  if (mark.found === 'none' && otherDamage.length === 0 && !isCopy) mark.raise(last);
  return {
    compactedRevision: compactedRevision ?? 0,
    acknowledgedRevision: typeof mark.found === 'number' ? mark.found : undefined,
    damagedRows,
    otherDamage,
    isCopy,
  };
}

async function readRows(rows: RowReader, onRow: (row: LoadedRow) => void) {
  const damagedRows: DamagedRow[] = [];
  let count = 0;
  let last = Number.MIN_SAFE_INTEGER;
  for (;;) {
    const page = await rows.pageAfter(last);
    if (page.length === 0) return { damagedRows, count, last };
    for (const row of page) {
      const { rev, key, val, sum } = row;
      if (rows.fits(row)) onRow({ revision: rev, key, size: val?.length ?? 0, deleted: val === null });
      else damagedRows.push({ revision: rev, key: String(key), belongsTo: (candidate) => headFits(sum, rev, candidate) });
    }
    count += page.length;
    last = page.at(-1)?.rev ?? last;
  }
}

function refuseMuchDamage(path: string, damaged: readonly DamagedRow[], rows: number): void {
  const [first] = damaged;
  if (first === undefined || damaged.length <= damageAlwaysTaken) return;
  if (damaged.length <= maxDamagedRows && damaged.length <= rows * maxDamagedShare) return;
  throw new StorageError(
    `${path} is damaged: ${damaged.length} of ${rows} rows do not fit their checksums, the first is revision ${first.revision}, key ${quoted(first.key)}`,
    { hint: damagedHint, isDamage: true },
  );
}
