import type { FollowedRepository } from './root-app.ts';
import type { KnownRevision } from './sources/follow/known-revision.ts';
import type { GitSource } from './sources/git-source.ts';

/** Directory that repositories of Flux keep a directory of each cluster in. */
const clustersDirectory = 'clusters';

/**
 * Finds the directories that `--path` may be meant to name: those below `clusters/`, by name. None when the repository has no such
 * directory, or it has files alone.
 *
 * @param tree  object id of the root of a commit
 */
async function clusterPathsOf(source: Pick<GitSource, 'readTree'>, tree: string): Promise<readonly string[]> {
  const clusters = (await source.readTree(tree)).find(({ name, type }) => name === clustersDirectory && type === 'tree');
  if (clusters === undefined) return [];
  return (await source.readTree(clusters.oid))
    .filter(({ type, problem }) => type === 'tree' && problem === undefined)
    .map(({ name }) => `${clustersDirectory}/${name}`);
}

const maxShown = 5;

/** One sentence for a person who started without `--path`. */
function pathHintOf(paths: readonly string[]): string {
  const shown = paths.length > maxShown ? `${paths.slice(0, maxShown).join(', ')} and ${paths.length - maxShown} more` : paths.join(', ');
  return `All of the repository is applied, since no --path was given. It has ${shown}: for one of them, start with --path ${paths[0]}`;
}

/** Makes what is to be called with each revision that was read: it gives one hint, and only when all of the repository is applied. */
export function createPathHint(
  { repository, path }: Pick<FollowedRepository, 'repository' | 'path'>,
  onHint: (hint: string) => void,
): (read: string, revision: KnownRevision) => void {
  let isDone = !/^(?:\.?\/*)$/.test(path);
  return (read, { source, commit }) => {
    if (isDone || read !== repository) return;
    const look = async (): Promise<void> => {
      const paths = await clusterPathsOf(source, commit.tree);
      if (isDone || paths.length === 0) return;
      isDone = true;
      onHint(pathHintOf(paths));
    };
    // A tree that cannot be read is the trouble of the apps, which say so; a hint is not worth a second report.
    void look().catch(() => undefined);
  };
}
