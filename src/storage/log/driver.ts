/**
 * Keeps the rows of a `LogStorage`: an append-only log in which the newest row of a key is its value. A driver knows
 * nothing about the meaning of revisions, about staging or watches. Calls that write (`append`, `remove`,
 * `setCompacted`, `rewrite`, `tidy`) never overlap.
 */
export interface LogDriver {
  /** Names the backend in metrics. */
  readonly name: string;

  /** Reads what an earlier process left, in revision order; called once, before anything else. Damaged rows are left out of `onRow`. */
  load(onRow: (row: LoadedRow) => void): Promise<LoadedLog>;

  /** Writes down, in one step, what was decided about damage that `load` found: it is not found again. */
  repair(decision: Repair): Promise<void>;

  /** Writes all rows or none; durable when it resolves. A full disk rejects with a `StorageError` that says so. */
  append(rows: readonly LogRow[], options: { readonly mayUseReserve: boolean }): Promise<void>;

  /** Reason why rows that need room should not be written now; undefined: there is room. Cheap. */
  refusal(): string | undefined;

  /** Texts of the rows `revisions`, which exist and are no deletions. Rejects when one of them is damaged. */
  read(revisions: readonly number[]): Promise<ReadonlyMap<number, string>>;

  /** At most `limit` rows after `revision`, in order; fewer when they are large, none only when there are none. */
  readAfter(revision: number, limit: number): Promise<readonly LogRow[]>;

  /** Keys of at most `limit` rows after `revision`, in order. */
  keysAfter(revision: number, limit: number): Promise<readonly Pick<LogRow, 'revision' | 'key'>[]>;

  /** Remembers over restarts that history up to `revision` may be incomplete. */
  setCompacted(revision: number): Promise<void>;

  remove(revisions: readonly number[]): Promise<void>;

  /** Makes files of what is there alone: bytes of removed rows are nowhere any more. */
  rewrite(): Promise<void>;

  /** Housekeeping that is due, to be run when no other call is under way, or undefined; `idle` when no write came for a while. */
  tidy(moment: 'idle' | 'busy'): (() => Promise<void>) | undefined;

  close(): Promise<void>;
}

export interface LogRow {
  readonly revision: number;
  readonly key: string;
  /** Null: the key was deleted. */
  readonly text: string | null;
}

export interface LoadedRow {
  readonly revision: number;
  readonly key: string;
  /** Length of the text; 0 for a deletion. */
  readonly size: number;
  readonly deleted: boolean;
}

export interface LoadedLog {
  readonly compactedRevision: number;
  /** The newest revision that is known to be acknowledged, from outside of the log; undefined when that is not known. */
  readonly acknowledgedRevision: number | undefined;
  /** Rows whose checksum does not fit, in order of revision. */
  readonly damagedRows: readonly DamagedRow[];
  /** Damage of what lies beside the rows, one sentence each. */
  readonly otherDamage: readonly string[];
  /** The log may lack acknowledged writes without being damaged: it is a copy of an earlier moment. */
  readonly isCopy: boolean;
}

export interface DamagedRow {
  readonly revision: number;
  readonly key: string;
  /**
   * True when `key` may belong to row `candidate`, by the readable part of the damaged row; serves to find the key of a
   * damaged row.
   */
  belongsTo(candidate: string): boolean;
}

export interface Repair {
  /** Deletions to add. */
  readonly rows: readonly LogRow[];
  readonly compactedRevision: number;
}
