import { mkdir, open, rename, rm } from 'node:fs/promises';
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
 * Writes a file so that readers see the old or the new content, never a part, and so that the content survives a power cut once the
 * promise resolves.
 *
 * Every file of the data directory that a later start reads goes through this function. A rename alone is not enough: file systems may
 * write the new name to disk before the content, and a power cut then leaves an empty file.
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

/** Makes a directory and its missing parents, which survive a power cut once the promise resolves. */
export async function makeDurableDirectory(path: string, { mode = 0o700 }: DurableFileOptions = {}): Promise<void> {
  const first = await mkdir(path, { recursive: true, mode });
  if (first === undefined) return;
  // Each new directory is an entry of its parent.
  const top = dirname(resolve(first));
  for (let at = dirname(resolve(path)); at.length >= top.length; at = dirname(at)) {
    await syncDirectory(at);
    if (at === top) break;
  }
}

/** Makes creations, renames and removals in a directory survive a power cut. */
export async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}
