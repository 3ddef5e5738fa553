import { existsSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { type FSWatcher, watch } from 'chokidar';
import { BoundedMap } from '../../base/bounded-map.ts';
import { createGitObjects } from './git-objects.ts';
import { resolveLocalRef } from './git-refs.ts';
import { type GitSource, SourceError } from './git-source.ts';
import type { GitThread } from './git-thread.ts';
import { compareHistory } from './history.ts';

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

/** A push to the built-in remote: its user, and the commits that its refs name now. */
export interface PushNotice {
  readonly user: string;
  readonly shas: readonly string[];
}

export interface LocalSource extends GitSource {
  /** Remembers who pushes commits that no ref names yet. */
  expect(push: PushNotice): void;
  /** Tells the listeners that refs may have moved. */
  notify(): void;
}

export interface LocalSourceOptions {
  readonly directory: string;
  readonly url: string;
  readonly thread?: GitThread | undefined;
}

/** Pushes whose author is remembered; the one of the commit in force is among the last. */
const maxPushers = 100;

/**
 * A repository on this machine. Refs are watched, so that a commit is seen without polling. The built-in remote announces
 * its pushes as well, because it knows the moment they are complete.
 */
export async function openLocalSource({ directory, url, thread }: LocalSourceOptions): Promise<LocalSource> {
  const gitdir = await findGitDirectory(directory);
  const objects = createGitObjects({ gitdir, url, thread });
  const listeners = new Set<() => void>();
  const pushers = new BoundedMap<string, string>(maxPushers);
  let watcher: FSWatcher | undefined;

  const notify = (): void => {
    for (const listener of listeners) listener();
  };

  return {
    url,
    async resolve(ref) {
      const { oid, shortName } = await resolveLocalRef({ gitdir, url, ref, objects });
      return objects.readCommit(oid, shortName);
    },
    readTree: objects.readTree,
    readBlob: objects.readBlob,
    readDocuments: objects.readDocuments,
    compareHistory: (before, after) => compareHistory(objects, before, after),
    readCommit: (sha) => objects.readCommit(sha, ''),
    pusherOf: (sha) => pushers.use(sha),
    trim: objects.trim,
    expect({ user, shas }) {
      for (const sha of shas) pushers.set(sha, user);
    },
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
      objects.close();
      await watcher?.close();
    },
  };
}
