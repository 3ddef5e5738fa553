import type { KubeObject } from '../../machinery/object.ts';

/** One object as a file of the tree says it. Frozen, and the same reference for as long as the file's content is the same. */
export interface Manifest {
  /** Path from the root of the repository. */
  readonly file: string;
  /** Line on which its document starts, from 1. */
  readonly line: number;
  readonly object: KubeObject;
  /** Blob it was read from: the key of everything cached about it. */
  readonly blob: string;
}

/** An error of the tree, with the place and the reason, so that a person can fix it. */
export interface BuildError {
  readonly file: string;
  readonly line?: number;
  readonly column?: number;
  readonly message: string;
  readonly hint?: string;
  /** Another try may go better though nothing changes: it is not about the content alone. */
  readonly temporary?: true;
}

/**
 * Manifests of a directory of a tree. `digest` depends on the manifests alone: equal digests mean nothing to do, also
 * across commits. If `errors` is not empty, nothing of it may be applied.
 */
export interface BuildResult {
  readonly digest: string;
  readonly manifests: readonly Manifest[];
  readonly errors: readonly BuildError[];
  /** Facts that a person should know though nothing is wrong: objects that were left out, and why. Absent: none. */
  readonly notes?: readonly string[];
  /** Files that look like a part of the app and are not read: of a plain directory, manifests in JSON and submodules. Absent: none. */
  readonly unread?: readonly BuildError[];
  /**
   * Paths of the tree that a kustomization read, bases included; those with an empty value did not exist. Absent for
   * plain files.
   */
  readonly looked?: ReadonlyMap<string, string>;
}
