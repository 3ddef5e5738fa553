import type { FileContent } from '../manifests/documents.ts';

/**
 * A Git repository as the engine reads it: refs and objects, never a work tree. The driver is chosen by URL; the engine above it is the
 * same for all.
 *
 * Object ids are content hashes, so everything read through `readTree` and `readBlob` may be cached by id forever.
 */
export interface GitSource {
  /** Address without credentials; for messages and metrics. */
  readonly url: string;

  /**
   * The commit that `ref` names now. A remote is asked; what is new is fetched (single branch, shallow).
   *
   * @throws SourceError `BranchNotFound`, `AuthenticationFailed`, `Unreachable`, `NotARepository`, `Timeout`, `NotSupported`
   */
  resolve(ref: GitRef, options: ResolveOptions): Promise<Commit>;

  /** Entries of a tree in Git's order. */
  readTree(oid: string): Promise<readonly TreeEntry[]>;

  /** @throws SourceError `TooLarge` when the blob is larger than `maxBytes` */
  readBlob(oid: string, maxBytes: number): Promise<Uint8Array>;

  /**
   * Documents of a file of manifests. Files of a large repository are read and parsed on another thread.
   *
   * @throws SourceError `TooLarge`
   */
  readDocuments(oid: string): Promise<FileContent>;

  /**
   * True when the history of `after` continues from `before`, false when a push replaced it. Absent: the source has no
   * history.
   */
  compareHistory?(before: string, after: Commit, options: { readonly signal: AbortSignal }): Promise<HistoryVerdict>;

  /** Any commit of the repository, named by its SHA. Absent: the history is on another machine. */
  readCommit?(sha: string): Promise<Commit>;

  /** Calls back when a ref may have moved (a push, a local commit); a wake-up only. Absent: the source must be polled. */
  onChange?(listener: () => void): () => void;

  /** The user who pushed a commit, when it came by the built-in remote. */
  pusherOf?(sha: string): string | undefined;

  /** Lets go of object caches; called after a sync. */
  trim(): void;

  close(): Promise<void>;

  /** After `close`, when the repository is not followed any more: deletes what was fetched of it. */
  forget?(): Promise<void>;
}

export interface ResolveOptions {
  readonly signal: AbortSignal;
  /** Commit that stays readable, however many newer ones are seen. */
  readonly inForce?: string | undefined;
}

/** `unknown`: the commits between the two could not be had. */
export type HistoryVerdict = 'continued' | 'rewritten' | 'unknown';

/** One of the fields of Flux's `spec.ref`, in its order of precedence: commit, name, semver, tag, branch. */
export interface GitRef {
  readonly branch?: string;
  readonly tag?: string;
  readonly name?: string;
  readonly semver?: string;
  readonly commit?: string;
}

export interface Commit {
  /** 40 hex digits. */
  readonly sha: string;
  readonly tree: string;
  readonly parents: readonly string[];
  readonly author: string;
  readonly email: string;
  /** First line of the message. */
  readonly subject: string;
  readonly message: string;
  /** Milliseconds since the epoch, committer's clock. */
  readonly committedAt: number;
  /** `main@sha1:<sha>`, as Flux writes `status.artifact.revision`. */
  readonly revision: string;
}

export interface TreeEntry {
  readonly name: string;
  readonly type: 'blob' | 'tree' | 'symlink' | 'submodule';
  readonly oid: string;
  /** Reason why the entry cannot be used, as the rest of a sentence about it; `name` then shows its bytes. */
  readonly problem?: string;
}

export type SourceErrorReason =
  | 'BranchNotFound'
  | 'AuthenticationFailed'
  | 'Unreachable'
  | 'NotARepository'
  | 'Timeout'
  | 'TooLarge'
  | 'CorruptObject'
  | 'ReaderFailed'
  | 'HistoryRewritten'
  | 'NotSupported';

/** `hint` is the next step for the operator. */
export class SourceError extends Error {
  override readonly name = 'SourceError';
  readonly reason: SourceErrorReason;
  readonly hint: string;
  constructor(reason: SourceErrorReason, message: string, options: { readonly hint: string; readonly cause?: unknown }) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.reason = reason;
    this.hint = options.hint;
  }
}
