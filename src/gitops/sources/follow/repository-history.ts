import type { GitRepository } from '../../../api/source/v1/git-repository.ts';
import { annotations } from '../../../api/well-known.ts';
import { type Commit, type GitSource, SourceError } from '../git-source.ts';

const policyOf = ({ metadata }: GitRepository): string => metadata.annotations?.[annotations.historyRewrite] ?? 'follow';

/** True when a rewritten history can block a new commit; otherwise it is only reported. */
export const mayHalt = (repository: GitRepository): boolean => policyOf(repository) !== 'follow';

export interface RewriteCheck {
  readonly repository: GitRepository;
  /** The commit that is in force, when this process knows it; else the status does. */
  readonly before: Commit | undefined;
  readonly commit: Commit;
  readonly source: GitSource;
  readonly signal: AbortSignal;
}

/**
 * Applies `midship.dev/history-rewrite` when the history of a branch does not continue from the commit in force, or a
 * tag was moved. `follow` (the default) accepts the new commit and says so. `halt` keeps the old one until a person
 * agrees, by writing the id of the new commit into the annotation.
 *
 * @returns a description of the rewrite; undefined when there was none
 * @throws SourceError `HistoryRewritten` for `halt`
 */
export async function checkRewrite({ repository, before, commit, source, signal }: RewriteCheck): Promise<string | undefined> {
  const { ref = {}, url } = repository.spec;
  const revision = before?.revision ?? repository.status?.artifact?.revision;
  const [name = '', sha] = revision?.split('@sha1:') ?? [];
  // A commit or a range of versions says itself what it means, and another ref is no history of this one.
  const isMovable = ref.commit === undefined && ref.semver === undefined;
  if (!isMovable || sha === undefined || sha === commit.sha || name !== commit.revision.split('@sha1:')[0]) return undefined;
  const artifactUrl = repository.status?.artifact?.url;
  if (before === undefined && artifactUrl !== undefined && artifactUrl.split('#')[0] !== url) return undefined;

  const isTag = ref.name === undefined ? ref.tag !== undefined : ref.name.startsWith('refs/tags/');
  const verdict = isTag ? 'rewritten' : ((await source.compareHistory?.(sha, commit, { signal })) ?? 'continued');
  if (verdict === 'continued') return undefined;
  const policy = policyOf(repository);
  const short = (id: string): string => id.slice(0, 7);
  if (policy === 'halt' || (/^[0-9a-f]{7,40}$/.test(policy) && !commit.sha.startsWith(policy))) {
    const what =
      verdict === 'unknown'
        ? `${name} moved to ${short(commit.sha)}, and it is unknown if that continues from ${short(sha)}`
        : `${name} was rewritten: ${short(commit.sha)} does not continue from ${short(sha)}`;
    throw new SourceError('HistoryRewritten', `${what}, which stays in force`, {
      hint: `To agree: kubectl annotate --overwrite gitrepository -n ${repository.metadata.namespace} ${repository.metadata.name} ${annotations.historyRewrite}=${commit.sha}`,
    });
  }
  return verdict === 'rewritten' ? `${name} was rewritten: ${short(commit.sha)} took the place of ${short(sha)}` : undefined;
}
