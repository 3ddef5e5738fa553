import { existsSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { type FSWatcher, watch } from 'chokidar';
import { createGitObjects } from './git-objects.ts';
import { resolveLocalRef, shortRefName } from './git-refs.ts';
import { type GitSource, SourceError } from './git-source.ts';

/** The `.git` directory of a bare or ordinary repository, or an error that says what is there instead. */
export async function findGitDirectory(directory: string): Promise<string> {
  const info = await stat(directory).catch(() => undefined);
  if (info === undefined || !info.isDirectory()) {
    throw new SourceError('NotARepository', `${directory} is not a directory`, { hint: 'Give --repo the path of a Git repository.' });
  }
  const candidates = [join(directory, '.git'), directory];
  const found = candidates.find((path) => existsSync(join(path, 'HEAD')) && existsSync(join(path, 'objects')));
  if (found === undefined) {
    throw new SourceError('NotARepository', `${directory} is not a Git repository`, {
      hint: `Make it one: git -C ${directory} init -b main && git -C ${directory} add -A && git -C ${directory} commit -m "first"`,
    });
  }
  return found;
}

/**
 * A repository on this machine. Refs are watched, so that a commit is seen without polling; pushes through the built-in remote are
 * announced by it as well, because it knows the moment they are complete.
 */
export async function openLocalSource({
  directory,
  url,
}: {
  readonly directory: string;
  readonly url: string;
}): Promise<GitSource & { notify(): void }> {
  const gitdir = await findGitDirectory(directory);
  const objects = createGitObjects({ gitdir, url });
  const listeners = new Set<() => void>();
  let watcher: FSWatcher | undefined;

  const notify = (): void => {
    for (const listener of listeners) listener();
  };

  return {
    url,
    async resolve(ref) {
      const sha = await resolveLocalRef({ gitdir, url, ref });
      return objects.readCommit(sha, shortRefName(ref));
    },
    readTree: objects.readTree,
    readBlob: objects.readBlob,
    trim: objects.trim,
    notify,
    onChange(listener) {
      listeners.add(listener);
      // HEAD, packed-refs and refs/ are what moves when a commit is made; the object directory, which is large, is not watched.
      watcher ??= watch([join(gitdir, 'HEAD'), join(gitdir, 'packed-refs'), join(gitdir, 'refs')], {
        ignoreInitial: true,
        ignored: (path) => path.endsWith('.lock'),
      }).on('all', notify);
      return () => listeners.delete(listener);
    },
    async close() {
      listeners.clear();
      await watcher?.close();
    },
  };
}
