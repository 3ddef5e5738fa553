import { readdirSync, statSync } from 'node:fs';
import { open, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { syncDirectory } from '../../base/durable-file.ts';

/** The clock of the file system may be behind that of the process, and a directory that is synced twice costs little. */
const marginMs = 10_000;
/** Directories of refs that are looked at; branches named `a/b/c` make one each. */
const maxRefDirectories = 1_000;

/**
 * Makes the names of objects and refs survive a power cut. git syncs only the content of files. A file is lost when its
 * name is not synced.
 *
 * @param since  milliseconds since the epoch: directories without a later change are skipped
 */
export async function syncNames(gitdir: string, since: number): Promise<void> {
  const changed = namedDirectories(gitdir).filter((directory) => (changedAt(directory) ?? 0) >= since - marginMs);
  await Promise.all(changed.map((directory) => syncDirectory(directory).catch(ignoreGone)));
}

/** Another push removes the directory in which git kept its objects, and empty directories of refs go with their last one. */
function ignoreGone(err: NodeJS.ErrnoException): void {
  if (err.code !== 'ENOENT') throw err;
}

/** Makes all of a directory survive a power cut: each file, and each name. */
export async function syncAll(directory: string): Promise<void> {
  for (const entry of await readdir(directory, { withFileTypes: true })) {
    const path = join(directory, entry.name);
    if (entry.isDirectory()) await syncAll(path);
    else if (entry.isFile()) await syncFile(path);
  }
  await syncDirectory(directory);
}

async function syncFile(path: string): Promise<void> {
  const file = await open(path, 'r');
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}

/** Reads at once in which directories a push can make a name: some 260 calls of two microseconds. Promises would take ten times that. */
function namedDirectories(gitdir: string): readonly string[] {
  const objects = join(gitdir, 'objects');
  const found = [gitdir, objects, ...subdirectories(objects)];
  const waiting = [join(gitdir, 'refs')];
  for (let at = waiting.pop(); at !== undefined && found.length < maxRefDirectories; at = waiting.pop()) {
    found.push(at);
    waiting.push(...subdirectories(at));
  }
  return found;
}

function subdirectories(directory: string): readonly string[] {
  try {
    return readdirSync(directory, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map(({ name }) => join(directory, name));
  } catch (err) {
    ignoreGone(err as NodeJS.ErrnoException);
    return [];
  }
}

function changedAt(directory: string): number | undefined {
  return statSync(directory, { throwIfNoEntry: false })?.mtimeMs;
}
