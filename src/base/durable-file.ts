import { mkdir, open, rename, rm, stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';

export interface DurableFileOptions {
  /** Permission bits, set exactly; the umask does not narrow them. Default: `0o600`. */
  readonly mode?: number;
}

interface WriteOptions extends DurableFileOptions {
  /** False: a power cut may bring back the file of before, or its absence, but never a part of a file. Default: true. */
  readonly syncEntry?: boolean;
}

/**
 * Writes a file so that readers see the old or the new content, never a part. The content survives a power cut once the
 * promise resolves.
 *
 * Every file of the data directory that a later start reads goes through this function. A rename alone is not enough: file systems may
 * write the new name to disk before the content. A power cut then leaves an empty file.
 *
 * @throws Error of the file system; the old content is then still in place
 * @see rename(2), fsync(2): "Calling fsync() does not necessarily ensure that the entry in the directory … has also reached disk"
 */
export async function writeDurableFile(
  path: string,
  content: string | Uint8Array,
  { mode = 0o600, syncEntry = true }: WriteOptions = {},
): Promise<void> {
  const temporary = `${path}.${process.pid}.tmp`;
  try {
    const file = await open(temporary, 'w', mode);
    try {
      // The mode of `open` does not apply to a file that a crash left behind, and the umask narrows it.
      await file.chmod(mode);
      await file.writeFile(content);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (err) {
    await rm(temporary, { force: true });
    throw err;
  }
  if (syncEntry) await syncDirectory(dirname(path));
}

/** Makes a directory and its missing parents, which survive a power cut once the promise resolves. The umask narrows `mode`. */
export async function makeDurableDirectory(path: string, { mode = 0o700 }: DurableFileOptions = {}): Promise<void> {
  // Directories are made singly: the recursive mkdir of Node never ends where the kernel makes none, as in /proc.
  const missing: string[] = [];
  for (let at = resolve(path); !(await isThere(at)); at = dirname(at)) missing.unshift(at);
  if (missing.length === 0 && !(await stat(path)).isDirectory()) await mkdir(path);
  for (const directory of missing) {
    await mkdir(directory, { mode }).catch((err: NodeJS.ErrnoException) => {
      // Somebody else was faster.
      if (err.code !== 'EEXIST') throw err;
    });
    // Each new directory is an entry of its parent.
    await syncDirectory(dirname(directory));
  }
}

const isThere = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    (err: NodeJS.ErrnoException) => {
      if (err.code === 'ENOENT') return false;
      throw err;
    },
  );

/** Makes creations, renames and removals in a directory survive a power cut. */
export async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}
