import { chmodSync, closeSync, openSync, statSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { StorageError } from '../storage-error.ts';

/** The files of a database: who may read them, and whether they are still the ones that were opened. */

/** 0 when there is none. */
export const sizeOf = (path: string): number => statSync(path, { throwIfNoEntry: false })?.size ?? 0;

export const walOf = (path: string): string => `${path}-wal`;

/** For its owner alone, whatever the umask is: SQLite gives its log the permissions of the database. */
export function makePrivate(path: string): void {
  try {
    closeSync(openSync(path, 'a', 0o600));
    for (const file of [path, walOf(path)]) {
      const mode = statSync(file, { throwIfNoEntry: false })?.mode ?? 0;
      if ((mode & 0o077) !== 0) chmodSync(file, 0o600);
    }
  } catch {
    // A file that cannot be made here cannot be opened either. Somebody else's file is theirs to keep private.
  }
}

/** The copy holds Secrets, so nobody else may read it from its first byte on; SQLite writes into an empty file. */
export async function createEmpty(target: string): Promise<void> {
  try {
    await (await open(target, 'wx', 0o600)).close();
  } catch (cause) {
    throw new StorageError(`create ${target}`, { hint: 'Name a file that does not exist, in a directory you may write to.', cause });
  }
}

/** SQLite takes an absent or empty file as a new database, and throws the log beside it away with the writes that are in it. */
export function refuseLoneLog(path: string): void {
  if (sizeOf(path) > 0 || sizeOf(walOf(path)) === 0) return;
  throw new StorageError(`${path} is empty, but ${walOf(path)} holds writes that belong to it`, {
    hint: 'Put back a copy of the data directory, or remove both files: the state in Git is applied again.',
  });
}

/**
 * Detects that a file is no longer the one that was opened. SQLite continues to write to a deleted or replaced file,
 * and these writes are lost with the process. A check costs 2 µs a file, so each commit makes one before it is
 * acknowledged.
 */
export function guardFiles(paths: readonly string[]): { readonly check: () => void } {
  const opened = new Map<string, number>();
  return {
    check() {
      for (const path of paths) {
        const inode = statSync(path, { throwIfNoEntry: false })?.ino ?? 0;
        const before = opened.get(path);
        if (before === undefined) {
          // The log comes into being with the first write.
          if (inode !== 0) opened.set(path, inode);
        } else if (before !== inode) {
          throw new StorageError(`${path} was removed or replaced while it was in use: writes to it would be lost`, {
            hint: 'Stop this process, put back a copy of the data directory or remove it, and start again.',
          });
        }
      }
    },
  };
}
