import { existsSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { isolatedEnvironment, runGit } from './git-command.ts';

// The repository is the program's: no hook, filter, ignore file or object format of the user who started it has a say.
const own = (options: { readonly args: readonly string[]; readonly env?: Readonly<Record<string, string>>; readonly cwd?: string }) =>
  runGit({ ...options, env: { ...isolatedEnvironment, ...options.env }, isolated: true });

/** Makes the bare repository of the built-in remote unless it is there. Its branch is `main`. */
export async function ensureBareRepository(gitdir: string): Promise<void> {
  if (existsSync(join(gitdir, 'HEAD'))) return;
  await mkdir(dirname(gitdir), { recursive: true, mode: 0o700 });
  await own({ args: ['init', '--quiet', '--bare', '--initial-branch=main', gitdir] });
  // What a push writes is for the owner alone, whatever the umask is. As an option of `init` it would forbid force pushes as well.
  await own({ args: ['--git-dir', gitdir, 'config', 'core.sharedRepository', '0600'] });
}

/** True when the branch `main` has no commit yet. */
export async function isEmptyRepository(gitdir: string): Promise<boolean> {
  return own({ args: ['--git-dir', gitdir, 'rev-parse', '--verify', '--quiet', 'refs/heads/main'] }).then(
    () => false,
    () => true,
  );
}

/** Commits the content of `directory` as the first commit of `main`. */
export async function seedRepository({ gitdir, directory }: { readonly gitdir: string; readonly directory: string }): Promise<void> {
  const index = join(gitdir, 'seed.index');
  const identity = { name: 'Midship', email: 'demo@midship.dev' };
  const env = {
    GIT_DIR: gitdir,
    GIT_WORK_TREE: directory,
    GIT_INDEX_FILE: index,
    GIT_AUTHOR_NAME: identity.name,
    GIT_AUTHOR_EMAIL: identity.email,
    GIT_COMMITTER_NAME: identity.name,
    GIT_COMMITTER_EMAIL: identity.email,
  };
  try {
    await own({ args: ['add', '--all', '.'], env, cwd: directory });
    const tree = await own({ args: ['write-tree'], env });
    const commit = await own({ args: ['commit-tree', tree, '-m', 'The demo cluster'], env });
    // The old value makes this a create: a push that came in between is not overwritten.
    await own({ args: ['update-ref', 'refs/heads/main', commit, '0000000000000000000000000000000000000000'], env });
  } finally {
    await rm(index, { force: true });
  }
}
