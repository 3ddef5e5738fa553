import type { LogRow } from '../log/driver.ts';
import { rowSum } from './checksum.ts';
import type { Database, Parameter, Statement } from './database.ts';

/** Inserts rows of the log: one prepared statement a commit. */
export interface Inserts {
  prepare(rows: readonly LogRow[]): Promise<Insert>;
  close(): Promise<void>;
}

export interface Insert {
  /** Bytes that it writes to the WAL, about. */
  readonly bytes: number;
  run(): Promise<void>;
}

/**
 * Row counts of the prepared inserts. A batch uses the next larger size: missing parameters are NULL, and the statement
 * drops their rows.
 */
const insertSizes = [1, 2, 4, 8, 16, 32, 64, 128] as const;
/** Bytes that a commit writes to the WAL besides its rows: the path to the last leaf and its header, some pages. */
const commitOverheadBytes = 3 * 4120;
const rowOverheadBytes = 40;

export function createInserts(database: Pick<Database, 'prepare'>): Inserts {
  const statements = new Map<number, Statement>();

  async function statementOf(size: number): Promise<Statement> {
    const values = new Array(size).fill('(?,?,?,?)').join(',');
    const statement = await database.prepare(
      `INSERT INTO log SELECT column1, column2, column3, column4 FROM (VALUES ${values}) WHERE column1 IS NOT NULL`,
    );
    statements.set(size, statement);
    return statement;
  }

  return {
    async prepare(rows) {
      const size = insertSizes.find((candidate) => candidate >= rows.length) ?? rows.length;
      const parameters: Parameter[] = [];
      let bytes = commitOverheadBytes;
      for (const { revision, key, text } of rows) {
        // As text, which the column makes a number of again: before sqlite3 takes a value for a number it looks up classes by name.
        parameters.push(String(revision), key, text, rowSum(revision, key, text));
        bytes += key.length + (text?.length ?? 0) + rowOverheadBytes;
      }
      const statement = statements.get(size) ?? (await statementOf(size));
      return { bytes, run: () => statement.run(parameters) };
    },
    async close() {
      for (const statement of statements.values()) await statement.finalize();
      statements.clear();
    },
  };
}
