import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { runGit } from '../../src/gitops/sources/git-command.ts';

const identity = {
  GIT_AUTHOR_NAME: 'Mara',
  GIT_AUTHOR_EMAIL: 'mara@example.com',
  GIT_COMMITTER_NAME: 'Mara',
  GIT_COMMITTER_EMAIL: 'mara@example.com',
  GIT_CONFIG_GLOBAL: '/dev/null',
  GIT_CONFIG_NOSYSTEM: '1',
  // A commit starts no process to tidy up, and a new repository gets no examples of hooks.
  GIT_CONFIG_COUNT: '1',
  GIT_CONFIG_KEY_0: 'maintenance.auto',
  GIT_CONFIG_VALUE_0: 'false',
  GIT_TEMPLATE_DIR: '',
};

/** A work tree with real git behind it. */
export interface WorkTree {
  readonly directory: string;
  git(...args: string[]): Promise<string>;
  /** Writes files (`null` removes one) and commits everything; returns the SHA. */
  commit(message: string, files: Readonly<Record<string, string | null>>): Promise<string>;
}

export const temporaryDirectory = (name: string): Promise<string> => mkdtemp(join(tmpdir(), `midship-${name}-`));

function workTree(directory: string): WorkTree {
  const git = (...args: string[]): Promise<string> => runGit({ args, cwd: directory, env: identity });
  return {
    directory,
    git,
    async commit(message, files) {
      for (const [name, content] of Object.entries(files)) {
        if (content === null) {
          await rm(join(directory, name), { recursive: true });
          continue;
        }
        await mkdir(dirname(join(directory, name)), { recursive: true });
        await writeFile(join(directory, name), content);
      }
      await git('add', '--all');
      await git('commit', '--quiet', '--allow-empty', '-m', message);
      return headOf(directory);
    },
  };
}

/** The commit of a work tree that is on a branch, or on none, read without a process. */
async function headOf(directory: string): Promise<string> {
  const head = (await readFile(join(directory, '.git/HEAD'), 'utf8')).trim();
  return head.startsWith('ref: ') ? (await readFile(join(directory, '.git', head.slice('ref: '.length)), 'utf8')).trim() : head;
}

/** A new repository with one commit of `files`. */
export async function newRepository(name: string, files: Readonly<Record<string, string>>): Promise<WorkTree> {
  const directory = await temporaryDirectory(name);
  const tree = workTree(directory);
  await tree.git('init', '--quiet', '--initial-branch=main');
  await tree.commit('first', files);
  return tree;
}

export async function cloneRepository(url: string, name: string): Promise<WorkTree> {
  const directory = await temporaryDirectory(name);
  await runGit({ args: ['clone', '--quiet', url, directory], env: identity });
  return workTree(directory);
}
