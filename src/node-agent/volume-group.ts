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

function run(program: string, args: readonly string[]): Promise<void> {
  return new Promise((resolve, reject) => {
    execFile(program, args, { timeout: timeoutMs, env: { PATH: '/usr/bin:/bin', LC_ALL: 'C' } }, (err, _, stderr) => {
      if (err === null) resolve();
      else reject(new Error(`applyFSGroup failed: ${stderr.trim().split('\n').at(-1)?.slice(0, 300) ?? err.message}`, { cause: err }));
    });
  });
}
