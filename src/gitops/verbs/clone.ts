import { realpath } from 'node:fs/promises';
import { relative } from 'node:path';
import { runGit } from '../sources/git-command.ts';
import type { Commit, GitSource } from '../sources/git-source.ts';
import { openLocalSource } from '../sources/local-source.ts';

/** A clone on this machine, with its work tree. */
export interface Clone {
  /** Root of the work tree. */
  readonly root: string;
  /** Commit of a name; undefined when the clone does not have it. */
  find(revision: string): Promise<string | undefined>;
  commit(sha: string): Promise<Commit>;
  readonly source: GitSource;
  /**
   * Paths of the work tree that git ignores, and that no commit would have. None for a directory that is ignored itself,
   * since its caller asks for the content.
   */
  listIgnored(directory: string): Promise<ReadonlySet<string>>;
  /** Runs the system's git in the work tree; throws with git's own words. */
  git(...args: string[]): Promise<string>;
  close(): Promise<void>;
}

/** The clone that a directory lies in; undefined when it lies in none. */
export async function openClone(directory: string): Promise<Clone | undefined> {
  const ask = (...args: string[]): Promise<string | undefined> =>
    runGit({ args, cwd: directory }).catch((err: unknown) => {
      // Still a clone, which git does not touch before its owner is trusted. Its message says how.
      if (err instanceof Error && err.message.includes('dubious ownership')) throw err;
      return undefined;
    });
  const root = await ask('rev-parse', '--show-toplevel');
  // A linked work tree has its objects in the main one's directory.
  const gitdir = await ask('rev-parse', '--path-format=absolute', '--git-common-dir');
  if (root === undefined || gitdir === undefined) return undefined;
  const source = await openLocalSource({ directory: gitdir, url: root });
  const git = (...args: string[]): Promise<string> => runGit({ args, cwd: root });
  return {
    root,
    source,
    git,
    // Options end first: a revision that looks like one is none.
    find: (revision) => git('rev-parse', '--verify', '--quiet', '--end-of-options', `${revision}^{commit}`).catch(() => undefined),
    async listIgnored(asked) {
      const output = await git('ls-files', '--others', '--ignored', '--exclude-standard', '--directory', '-z');
      const paths = new Set(output.split('\0').flatMap((path) => (path === '' ? [] : [path.replace(/\/$/, '')])));
      const segments = relative(root, await realpath(asked)).split('/');
      return segments.some((_, index) => paths.has(segments.slice(0, index + 1).join('/'))) ? new Set() : paths;
    },
    commit: (sha) => source.resolve({ commit: sha }, { signal: new AbortController().signal }),
    close: () => source.close(),
  };
}
