/**
 * A Git repository as the engine reads it: refs and objects, never a work tree. The driver is chosen by URL; the engine above it is the
 * same for all.
 *
 * Object ids are content hashes, so everything read through `readTree` and `readBlob` may be cached by id for ever.
 */
export interface GitSource {
  /** Where it comes from, without credentials; for messages and metrics. */
  readonly url: string;

  /**
   * The commit that `ref` names now. A remote is asked; what is new is fetched (single branch, shallow).
   *
   * @throws SourceError `BranchNotFound`, `AuthenticationFailed`, `Unreachable`, `NotARepository`, `Timeout`, `NotSupported`
   */
  resolve(ref: GitRef, options: { readonly signal: AbortSignal }): Promise<Commit>;

  /** Entries of a tree in Git's order. */
  readTree(oid: string): Promise<readonly TreeEntry[]>;

  /** @throws SourceError `TooLarge` when the blob is larger than `maxBytes` */
  readBlob(oid: string, maxBytes: number): Promise<Uint8Array>;

  /** Calls back when a ref may have moved (a push, a local commit); a wake-up only. Absent: the source must be polled. */
  onChange?(listener: () => void): () => void;

  /** Lets go of object caches; called after a sync. */
  trim(): void;

  close(): Promise<void>;
}

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
}

export type SourceErrorReason =
  | 'BranchNotFound'
  | 'AuthenticationFailed'
  | 'Unreachable'
  | 'NotARepository'
  | 'Timeout'
  | 'TooLarge'
  | 'CorruptObject'
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
