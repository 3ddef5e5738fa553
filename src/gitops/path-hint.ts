import type { FollowedRepository } from './root-app.ts';
import { clusterPathsOf } from './sources/cluster-paths.ts';
import type { KnownRevision } from './sources/follow/known-revision.ts';

const maxShown = 5;

/** The hint for a person who started without `--path`. */
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
