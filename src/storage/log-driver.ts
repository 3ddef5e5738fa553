/**
 * Where a `LogStorage` keeps its rows: an append-only log in which the newest row of a key is its value. A driver knows nothing of
 * revisions' meaning, staging or watches; calls that write (`append`, `remove`, `setCompacted`, `rewrite`, `tidy`) are never made while another
 * of them is under way.
 */
export interface LogDriver {
  /** Names the backend in metrics. */
  readonly name: string;

  /** Reads what an earlier process left, in revision order; called once, before anything else. */
  load(onRow: (revision: number, key: string, deleted: boolean) => void): Promise<{ readonly compactedRevision: number }>;

  /** Writes all rows or none; durable when it resolves. */
  append(rows: readonly LogRow[]): Promise<void>;

  /** Texts of the rows `revisions`, which exist and are no deletions. */
  read(revisions: readonly number[]): Promise<ReadonlyMap<number, string>>;

  /** At most `limit` rows after `revision`, in order. */
  readAfter(revision: number, limit: number): Promise<readonly LogRow[]>;

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
