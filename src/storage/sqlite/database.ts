import sqlite3 from 'sqlite3';

/**
 * The promise form of the few calls of `sqlite3` that the driver makes. One connection, used from the main thread only.
 *
 * `sqlite3` orders the runs of one prepared statement but not those of different ones, so callers await each call before the next.
 */
export interface Database {
  exec(sql: string): Promise<void>;
  all<Row>(sql: string, parameters?: readonly Parameter[]): Promise<readonly Row[]>;
  prepare(sql: string): Promise<Statement>;
  /** Every statement must be finalized before. */
  close(): Promise<void>;
}

export interface Statement {
  run(parameters: readonly Parameter[]): Promise<void>;
  finalize(): Promise<void>;
}

export type Parameter = string | number | null;

export function openDatabase(path: string): Promise<Database> {
  return new Promise((resolve, reject) => {
    const database = new sqlite3.Database(path, sqlite3.OPEN_READWRITE | sqlite3.OPEN_CREATE, (err) => {
      if (err === null) resolve(wrap(database));
      else reject(err);
    });
  });
}

function wrap(database: sqlite3.Database): Database {
  return {
    exec: (sql) => settle((done) => database.exec(sql, done)),
    all: <Row>(sql: string, parameters: readonly Parameter[] = []) =>
      new Promise<readonly Row[]>((resolve, reject) => {
        database.all<Row>(sql, [...parameters], (err, rows) => (err === null ? resolve(rows) : reject(err)));
      }),
    prepare: (sql) =>
      new Promise<Statement>((resolve, reject) => {
        const statement = database.prepare(sql, (err: Error | null) => {
          if (err === null) resolve(wrapStatement(statement));
          else reject(err);
        });
      }),
    close: () => settle((done) => database.close(done)),
  };
}

function wrapStatement(statement: sqlite3.Statement): Statement {
  return {
    run: (parameters) => settle((done) => statement.run(parameters, done)),
    finalize: () => settle((done) => statement.finalize(done)),
  };
}

function settle(call: (done: (err?: Error | null) => void) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    call((err) => (err === null || err === undefined ? resolve() : reject(err)));
  });
}
