import { StorageError } from '../storage-error.ts';

/** Errors of SQLite in the words of the store, with what to do. */

export const damagedHint = 'Put back a backup (midship restore), or keep what is intact: midship repair salvage.';

export const isFull = (err: unknown): boolean => codeOf(err) === 'SQLITE_FULL';

const codeOf = (err: unknown): unknown => (err instanceof Error ? (err as NodeJS.ErrnoException).code : undefined);

export function openError(path: string, cause: unknown): StorageError {
  switch (codeOf(cause)) {
    case 'SQLITE_BUSY':
    case 'SQLITE_LOCKED':
      return new StorageError(`${path} is in use by another process`, {
        hint: 'Stop the other process, or use another data directory.',
        cause,
      });
    case 'SQLITE_NOTADB':
      return new StorageError(`${path} is not a database`, { hint: damagedHint, isDamage: true, cause });
    case 'SQLITE_CORRUPT':
      return new StorageError(`${path} is damaged: ${(cause as Error).message}`, { hint: damagedHint, isDamage: true, cause });
    case 'SQLITE_FULL':
      return new StorageError(`no space left to open ${path}`, { hint: 'Free some disk space, then start again.', cause });
    default:
      return new StorageError(`open ${path}`, { hint: 'Check the disk, and that you may write to the directory.', cause });
  }
}

export function writeError(path: string, cause: unknown): StorageError {
  return isFull(cause)
    ? new StorageError(`no space left to write ${path}`, { hint: 'Free some disk space; writes work again then.', isFull: true, cause })
    : new StorageError(`write ${path}`, { hint: 'Check the disk and the log of the kernel.', cause });
}
