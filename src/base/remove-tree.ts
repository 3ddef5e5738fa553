import { execFile } from 'node:child_process';
import { rm } from 'node:fs/promises';

/** Trees of millions of files take their time; one on a disk that hangs must not hold up forever. */
const timeoutMs = 10 * 60_000;

/**
 * Removes a file or directory with everything in it, also a tree that was made to stay. Such a tree is nested deeper than any path the
 * kernel takes, or has directories that are closed to their own owner. Nothing behind links is touched.
 *
 * @throws Error of the file system
 */
export async function removeTree(path: string): Promise<void> {
  try {
    await rm(path, { recursive: true, force: true });
  } catch (err) {
    const { code } = err as NodeJS.ErrnoException;
    if (code !== 'ENAMETOOLONG' && code !== 'EACCES' && code !== 'EPERM') throw err;
    // These go down directory by directory, so that no path is ever long.
    await run('chmod', ['-R', 'u+rwX', '--', path]).catch(() => undefined);
    await run('rm', ['-rf', '--', path]);
  }
}

function run(program: string, args: readonly string[]): Promise<void> {
  return new Promise((resolve, reject) => {
    const options = { timeout: timeoutMs, env: { PATH: '/usr/bin:/bin', LC_ALL: 'C' } };
    execFile(program, args, options, (err, _, stderr) => {
      if (err === null) resolve();
      else reject(new Error(stderr.trim().split('\n').at(-1)?.slice(0, 300) ?? err.message, { cause: err }));
    });
  });
}
