import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

const run = promisify(execFile);

/**
 * Makes ranges of addresses this machine's own by one route each. The Service proxy can then listen on them, and pods with
 * a network of their own reach them. The kernel forgets them at a reboot.
 *
 * @throws Error without the rights of a network administrator, or without `ip`
 */
export async function addLocalAddresses(ranges: readonly string[]): Promise<void> {
  for (const range of ranges) await run('ip', ['route', 'replace', 'local', range, 'dev', 'lo']);
}

/** Gives the ranges back. A range that is not there any more is no failure. */
export async function removeLocalAddresses(ranges: readonly string[]): Promise<void> {
  for (const range of ranges) {
    await run('ip', ['route', 'del', 'local', range, 'dev', 'lo']).catch((err: { readonly stderr?: string }) => {
      if (!/No such process/.test(err.stderr ?? '')) throw err;
    });
  }
}
