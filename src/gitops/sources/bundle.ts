import { rm, statfs, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
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

/**
 * Writes the new file `file`; pushes may come in meanwhile. False, and no file, when the repository has no commit.
 *
 * git reads each ref twice for a bundle, and leaves out one that a push moved in between. A bundle of a busy repository
 * can lack its branch. The refs are therefore read once, into a repository beside `file` that nothing else writes to and
 * that borrows the objects.
 *
 * @throws Error with the code ENOSPC when the disk of `file` is full
 */
export async function createBundle({ gitdir, file, signal }: BundleOptions): Promise<boolean> {
  const git = (args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<string> =>
    runGit({ args, env: { ...isolatedEnvironment, ...env }, isolated: true, ...(signal === undefined ? {} : { signal }) });
  const refs = await git(['--git-dir', gitdir, 'for-each-ref', '--format=%(objectname) %(refname)']);
  if (refs === '') return false;
  const still = `${file}.refs`;
  try {
    await git(['init', '--quiet', '--bare', '--template=', '--initial-branch=main', still]);
    await writeFile(join(still, 'packed-refs'), `${refs}\n`);
    await git(['--git-dir', still, 'bundle', 'create', '--quiet', file, '--all'], { GIT_OBJECT_DIRECTORY: join(gitdir, 'objects') });
    return true;
  } catch (err) {
    // git does not always say that a disk is full. It has not one block left then.
    const { bavail } = await statfs(dirname(file));
    throw bavail === 0 && err instanceof Error ? Object.assign(err, { code: 'ENOSPC' }) : err;
  } finally {
    await rm(still, { recursive: true, force: true });
  }
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
