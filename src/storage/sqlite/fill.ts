import { systemClock } from '../../base/clock.ts';
import type { StoredEntry } from '../storage.ts';
import { rowSum } from './checksum.ts';
import { besides } from './driver.ts';
import { writeError } from './errors.ts';
import { createSqliteFile, inTransaction, setMeta } from './layout.ts';
import { openRevisionMark } from './revision-mark.ts';

export interface SqliteFillOptions {
  /** A new file. */
  readonly path: string;
  /** The next write has a higher revision. */
  readonly revision: number;
  /** Clients may have seen later revisions than `revision`: the first start jumps far above them. */
  readonly isCopy: boolean;
}

/** Fills a new store with the entries of another one, which keep their revisions. */
export interface SqliteFill {
  /** Entries that share no revision with others. */
  put(entries: readonly StoredEntry[]): Promise<void>;
  /** Durable when it resolves. */
  finish(): Promise<void>;
  close(): Promise<void>;
}

export async function startSqliteFill({ path, revision, isCopy }: SqliteFillOptions): Promise<SqliteFill> {
  const database = await createSqliteFile(path);
  let newest = revision;
  return {
    put: (entries) =>
      inTransaction(database, async () => {
        for (const { revision: own, key, text } of entries) {
          await database.all('INSERT INTO log VALUES (?, ?, ?, ?)', [own, key, text, rowSum(own, key, text)]);
          newest = Math.max(newest, own);
        }
      }).catch((cause: unknown) => {
        throw writeError(path, cause);
      }),
    async finish() {
      // History from before the copy is not there: nobody resumes a watch in it.
      await database.exec(`${setMeta('compacted', newest)}${isCopy ? '' : "DELETE FROM meta WHERE name = 'copy';"}`);
      if (isCopy) return;
      const mark = await openRevisionMark(besides(path, 'revision'), { clock: systemClock });
      mark.raise(newest);
      await mark.close();
    },
    close: () => database.close(),
  };
}
