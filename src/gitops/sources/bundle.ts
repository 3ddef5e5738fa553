import { ensureBareRepository } from './bare-repository.ts';
import { gitConfig, isolatedEnvironment, runGit } from './git-command.ts';

/** Everything of a repository that a ref leads to, in one file. */

interface BundleOptions {
  readonly gitdir: string;
  readonly file: string;
  readonly signal?: AbortSignal;
}

/** Restored objects have to survive a power cut like all others. */
const synced = gitConfig({ 'core.fsync': 'all', 'core.fsyncMethod': 'fsync' });

/** Writes the new file `file`; pushes may come in meanwhile. False, and no file, when the repository has no commit. */
export async function createBundle({ gitdir, file, signal }: BundleOptions): Promise<boolean> {
  const git = (...args: readonly string[]): Promise<string> =>
    runGit({ args: ['--git-dir', gitdir, ...args], env: isolatedEnvironment, isolated: true, ...(signal === undefined ? {} : { signal }) });
  if ((await git('for-each-ref', '--count=1')) === '') return false;
  await git('bundle', 'create', '--quiet', file, '--all');
  return true;
}

/** Makes the bare repository `gitdir` with what the bundle holds, all refs under their own names. */
export async function restoreBundle({ gitdir, file, signal }: BundleOptions): Promise<void> {
  await ensureBareRepository(gitdir);
  await runGit({
    args: ['--git-dir', gitdir, 'fetch', '--quiet', '--no-write-fetch-head', '--update-head-ok', file, '+refs/*:refs/*'],
    env: { ...isolatedEnvironment, ...synced },
    isolated: true,
    ...(signal === undefined ? {} : { signal }),
  });
}
