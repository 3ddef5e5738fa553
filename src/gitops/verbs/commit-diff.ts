import type { Kustomization } from '../../api/kustomize/v1/kustomization.ts';
import type { AppBuilder } from '../apply/plan/post-build.ts';
import type { GitSource } from '../sources/git-source.ts';
import { type AppTrees, diffRendered, type ObjectDiff } from './diff.ts';

export interface CommitDiffOptions {
  readonly builder: AppBuilder;
  readonly trees: AppTrees;
  readonly app: Kustomization;
  /** The source of the app, as the engine follows it. */
  readonly source: GitSource;
  readonly sha: string;
  readonly signal: AbortSignal;
}

/**
 * Compares the objects of an app at a commit with those at its first parent.
 *
 * @throws Error with a sentence for a person when the commit, or what it holds, cannot be read
 */
export async function diffOfCommit({ builder, trees, app, source, sha, signal }: CommitDiffOptions): Promise<readonly ObjectDiff[]> {
  if (source.readCommit === undefined) throw new Error('The history of this repository is on another machine.');
  const commit = await source.readCommit(sha);
  const [parent] = commit.parents;
  if (parent === undefined) throw new Error('This is the first commit: there is nothing to compare it with.');
  const before = { source, commit: await source.readCommit(parent) };
  const [diff] = await diffRendered({ builder, trees, apps: [app], before, after: { source, commit }, signal });
  const [error] = diff?.errors ?? [];
  if (error !== undefined)
    throw new Error(`The manifests of this commit, or of the one before it, cannot be built: ${error.file}: ${error.message}`);
  return diff?.objects ?? [];
}
