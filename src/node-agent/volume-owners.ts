import { execFile } from 'node:child_process';
import { chmod, stat } from 'node:fs/promises';

const timeoutMs = 10 * 60_000;
const groupBits = 0o2070;

/**
 * Gives a volume and everything in it to the group of a pod. With the policy `OnRootMismatch` a volume whose top has the group already is
 * left as it is, since its files have it too.
 *
 * Other pods may write to the volume meanwhile. The programs go from directory to directory by open files and follow no link.
 *
 * @throws Error of the programs
 */
export async function giveToGroup(path: string, group: number, policy: string | undefined): Promise<void> {
  const top = await stat(path);
  if (policy === 'OnRootMismatch' && top.gid === group && (top.mode & groupBits) === groupBits) return;
  await run('chgrp', ['-hR', '--', String(group), path]);
  await run('chmod', ['-R', '--', 'g+rwX', path]);
  // No pod replaces the top. New directories in it inherit the group.
  await chmod(path, ((await stat(path)).mode & 0o7777) | groupBits);
}

/**
 * True where a mount can show files of one id as those of another. Linux has that since 5.12 for most file systems, and `mount` of
 * util-linux since 2.39.
 */
export async function canMapOwners(directory: string): Promise<boolean> {
  const options = 'bind,X-mount.idmap=u:0:1:1 g:0:1:1';
  try {
    // The mount is gone with the namespace.
    await run('unshare', ['--mount', 'mount', '-o', options, '--', directory, directory]);
    return true;
  } catch {
    // Too old a kernel or program, or a file system that cannot: files are given to the pods instead.
    return false;
  }
}

/** Gives a volume and everything in it to one id. A volume whose top has it already is left as it is. */
export async function giveToOwner(path: string, id: number): Promise<void> {
  if ((await stat(path)).uid !== id) await run('chown', ['-hR', '--', `${id}:${id}`, path]);
}

function run(program: string, args: readonly string[]): Promise<void> {
  return new Promise((resolve, reject) => {
    const options = { timeout: timeoutMs, env: { PATH: '/usr/sbin:/sbin:/usr/bin:/bin', LC_ALL: 'C' } };
    execFile(program, args, options, (err, _, stderr) => {
      if (err === null) resolve();
      else reject(new Error(`${program} failed: ${stderr.trim().split('\n').at(-1)?.slice(0, 300) ?? err.message}`, { cause: err }));
    });
  });
}
