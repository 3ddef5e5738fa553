import { chmod, lchown, lstat, mkdir, readlink, realpath, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';

/** Begins the name of a directory that has no owner and mode yet. */
export const unfinishedPrefix = '.new-';
const maxNameBytes = 255;

/** Mode and owner are set before it has its name: from then on it is the pod's. */
export async function makeEmptyDirectory(path: string, { owner, group }: DirectoryOwners): Promise<void> {
  if ((await lstatOptional(path)) !== undefined) return;
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  // Always the same name, so that an agent that died on the way leaves nothing that the next one does not take.
  const unnamed = join(dirname(path), `${unfinishedPrefix}${basename(path)}`.slice(0, maxNameBytes));
  await rm(unnamed, { recursive: true, force: true });
  await mkdir(unnamed, { mode: 0o700 });
  if (owner !== undefined) await lchown(unnamed, owner, owner);
  if (group !== undefined) await lchown(unnamed, owner ?? 0, group);
  // The group of the directory becomes that of the files.
  await chmod(unnamed, group === undefined ? 0o777 : 0o2777);
  await rename(unnamed, path);
}

interface DirectoryOwners {
  readonly owner: number | undefined;
  readonly group: number | undefined;
}

export const isNoEntry = (err: unknown): boolean => (err as NodeJS.ErrnoException).code === 'ENOENT';

export async function statOptional(path: string): Promise<Awaited<ReturnType<typeof stat>> | undefined> {
  try {
    return await stat(path);
  } catch (err) {
    if (isNoEntry(err)) return undefined;
    throw err;
  }
}

export async function lstatOptional(path: string): Promise<Awaited<ReturnType<typeof lstat>> | undefined> {
  try {
    return await lstat(path);
  } catch (err) {
    if (isNoEntry(err)) return undefined;
    throw err;
  }
}

export async function realpathOptional(path: string): Promise<string | undefined> {
  try {
    return await realpath(path);
  } catch (err) {
    if (isNoEntry(err)) return undefined;
    throw err;
  }
}

export async function readlinkOptional(path: string): Promise<string | undefined> {
  try {
    return await readlink(path);
  } catch (err) {
    if (isNoEntry(err)) return undefined;
    throw err;
  }
}
