import type { Artifact } from '../../../api/source/v1/git-repository.ts';
import type { Commit, GitSource } from '../git-source.ts';

/** The newest commit of each repository that could be read; what apps are built from. */
export interface RevisionStore {
  get(key: string): KnownRevision | undefined;
  /** True when the repository exists, read or not; also true while the list of repositories is unknown. */
  isKnown(key: string): boolean;
  /** `namespace/name` of every repository, read or not. */
  keys(): readonly string[];
  all(): Iterable<readonly [string, KnownRevision]>;
}

export interface KnownRevision {
  /** Its `tree` is the root as `ignore`, `include` and `sparseCheckout` leave it; only `source` reads it. */
  readonly commit: Commit;
  readonly source: GitSource;
  /** Artifacts of the repositories that are included, in the order of `spec.include`. */
  readonly included?: readonly Artifact[];
  readonly url: string;
  readonly branch: string;
  /** When the commit was first seen; milliseconds since the epoch. */
  readonly seenAt: number;
  readonly lastFetchAt: number;
  /** Duration of the look that found the commit. */
  readonly fetchMs?: number;
}
