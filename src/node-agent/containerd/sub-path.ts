import { execFile } from 'node:child_process';
import { constants } from 'node:fs';
import { chmod, type FileHandle, mkdir, open, readFile, readlink, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { idsPerPod } from './user-ranges.ts';

/**
 * Parts of volumes for the mounts of a container. Pods may write to their volumes meanwhile, so the kernel follows no link
 * here. Each step opens a name relative to the directory before. This code reads and walks links. The mount takes the
 * open file and not its name.
 *
 * @see CVE-2017-1002101, CVE-2021-25741
 */

const run = promisify(execFile);
/** `O_PATH` of Linux; Node has no name for it. */
const oPath = 0o10000000;
const maxLinks = 40;

export interface SubPathOptions {
  /** A directory that no pod can replace. */
  readonly volume: string;
  /** Below the volume. */
  readonly subPath: string;
  /** The path of the mount, which must not exist yet. */
  readonly target: string;
  /** A path that is missing becomes an empty file, and no directory. */
  readonly madeAsFile?: boolean;
  /** Files of the machine's ids from 0 on are seen as those of the ids from this one on; absent: as they are. */
  readonly firstId?: number | undefined;
}

/**
 * Mounts the part of the volume at `target`; makes it when it is missing.
 *
 * @throws Error when the path leaves the volume, has too many links, or is changed meanwhile
 */
export async function mountSubPath({ volume, subPath, target, madeAsFile = false, firstId }: SubPathOptions): Promise<void> {
  const part = await openInside(volume, subPath, madeAsFile);
  try {
    await mountFile(part, target, firstId);
  } finally {
    await part.close();
  }
}

/**
 * Mounts a directory or file, with all that is mounted in it, at `target`, for a pod whose ids begin at `firstId`.
 *
 * @throws Error when its file system cannot show files as those of other ids
 */
export async function mountMapped(path: string, target: string, firstId: number): Promise<void> {
  const part = await open(path, oPath);
  try {
    await mountFile(part, target, firstId);
  } finally {
    await part.close();
  }
}

async function mountFile(part: FileHandle, target: string, firstId: number | undefined): Promise<void> {
  await mkdir(dirname(target), { recursive: true, mode: 0o700 });
  if ((await part.stat()).isDirectory()) await mkdir(target, { mode: 0o700 });
  else await writeFile(target, '', { flag: 'wx', mode: 0o600 });
  const mapping = firstId === undefined ? ['--bind'] : ['--rbind', '-o', `X-mount.idmap=b:0:${firstId}:${idsPerPod}`];
  // The name under /proc is the open file itself; without -c the program would turn it back into a path.
  await run('mount', ['-c', ...mapping, `/proc/${process.pid}/fd/${part.fd}`, target]);
}

/** Opens a path of a volume without leaving it. The caller closes what it gets. */
async function openInside(volume: string, subPath: string, madeAsFile: boolean): Promise<FileHandle> {
  const below: FileHandle[] = [await open(volume, oPath | constants.O_DIRECTORY)];
  const left = partsOf(subPath);
  let links = 0;
  try {
    for (let part = left.shift(); part !== undefined; part = left.shift()) {
      if (part === '..') {
        if (below.length === 1) throw new Error(`subPath ${JSON.stringify(subPath)} leaves its volume`);
        await below.pop()?.close();
        continue;
      }
      const parent = `/proc/self/fd/${below.at(-1)?.fd}`;
      const found = await openOrMake(join(parent, part), madeAsFile && left.length === 0);
      if (!(await found.stat()).isSymbolicLink()) {
        below.push(found);
        continue;
      }
      await found.close();
      const link = await readlink(join(parent, part));
      links += 1;
      if (links > maxLinks || link.startsWith('/')) throw new Error(`subPath ${JSON.stringify(subPath)} leaves its volume by a link`);
      left.unshift(...partsOf(link));
    }
    return below.pop() as FileHandle;
  } catch (err) {
    // A name was there and is not, or the other way round; a link is none any more.
    const hasChanged = ['EEXIST', 'ENOENT', 'EINVAL'].includes((err as NodeJS.ErrnoException).code ?? '');
    if (!hasChanged) throw err;
    throw new Error(`subPath ${JSON.stringify(subPath)} was changed by another program while it was mounted`, { cause: err });
  } finally {
    for (const handle of below) await handle.close();
  }
}

const partsOf = (path: string): string[] => path.split('/').filter((part) => part !== '' && part !== '.');

/** Neither call follows a link in the last part of the path, and the part before is an open directory. */
async function openOrMake(path: string, asFile: boolean): Promise<FileHandle> {
  try {
    return await open(path, oPath | constants.O_NOFOLLOW);
  } catch (err) {
    if ((err as NodeJS.ErrnoException).code !== 'ENOENT') throw err;
  }
  if (asFile) await writeFile(path, '', { flag: 'wx', mode: 0o644 });
  else await mkdir(path, { mode: 0o700 });
  const made = await open(path, oPath | constants.O_NOFOLLOW);
  // As under the kubelet: who may write to the volume may write to a part of it. The open file is changed, whatever its name is now.
  if ((await made.stat()).isDirectory()) await chmod(`/proc/self/fd/${made.fd}`, (await stat(dirname(path))).mode & 0o7777);
  return made;
}

/**
 * Unmounts everything below a directory of the agent's, then removes the directory.
 *
 * @throws Error when a mount stays; nothing is removed then, because a removal would reach into the volume
 */
export async function removeWithMounts(directory: string): Promise<void> {
  await unmountBelow(directory);
  await rm(directory, { recursive: true, force: true });
}

/** Unmounts everything at and below a directory of the agent's. @throws Error when a mount stays */
export async function unmountBelow(directory: string): Promise<void> {
  for (const path of (await mountsBelow(directory)).reverse()) await run('umount', ['-c', path]);
  const [stuck] = await mountsBelow(directory);
  if (stuck !== undefined) throw new Error(`${stuck} is still mounted`);
}

/** Mounts a file system in memory at a directory of the agent's, unless it is there already. @param options  as `mount -o` takes them */
export async function mountMemory(directory: string, options: readonly string[]): Promise<void> {
  if (await isMountPoint(directory)) return;
  await run('mount', ['-c', '-t', 'tmpfs', '-o', ['nosuid', 'nodev', ...options].join(','), 'tmpfs', directory]);
}

/** True when a file system is mounted at this directory of the agent's. */
export const isMountPoint = async (directory: string): Promise<boolean> => (await mountsBelow(directory)).includes(directory);

/** In the order in which they were made. */
async function mountsBelow(directory: string): Promise<string[]> {
  const lines = (await readFile('/proc/self/mountinfo', 'utf8')).split('\n');
  // Spaces and other characters of paths are written as \040 and the like.
  const paths = lines.map((line) =>
    (line.split(' ')[4] ?? '').replace(/\\([0-7]{3})/g, (_, code: string) => String.fromCharCode(Number.parseInt(code, 8))),
  );
  return paths.filter((path) => path === directory || path.startsWith(`${directory}/`));
}
