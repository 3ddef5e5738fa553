import type { GitSource } from './git-source.ts';

/** Directory that repositories of Flux keep a directory of each cluster in. */
const clustersDirectory = 'clusters';

/**
 * Finds the directories below `clusters/`, by name: a cluster each. None when the repository has no such directory, or it has files
 * alone.
 *
 * @param tree  object id of the root of a commit
 */
export async function clusterPathsOf(source: Pick<GitSource, 'readTree'>, tree: string): Promise<readonly string[]> {
  const clusters = (await source.readTree(tree)).find(({ name, type }) => name === clustersDirectory && type === 'tree');
  if (clusters === undefined) return [];
  return (await source.readTree(clusters.oid))
    .filter(({ type, problem }) => type === 'tree' && problem === undefined)
    .map(({ name }) => `${clustersDirectory}/${name}`);
}
