import { existsSync } from 'node:fs';
import { dirname } from 'node:path';
import pc from 'picocolors';
import { plainLines } from '../base/plain-text.ts';
import { shellWord } from '../base/shell-word.ts';

/** Exit codes: 0 yes or done, 1 an honest no, 2 an error, 130 interrupted. */
export type ExitCode = 0 | 1 | 2 | 130;

/**
 * A failure that a person has to repair, in three lines: what happened, why, and the next step. Anything else that reaches `main` is
 * a defect of the program and is shown with its stack only on request.
 */
export class Failure extends Error {
  override readonly name = 'Failure';
  readonly why: string;
  readonly fix: string;
  readonly exitCode: ExitCode;
  constructor(
    what: string,
    options: { readonly why: string; readonly fix: string; readonly exitCode?: ExitCode; readonly cause?: unknown },
  ) {
    super(what, options.cause === undefined ? undefined : { cause: options.cause });
    this.why = options.why;
    this.fix = options.fix;
    this.exitCode = options.exitCode ?? 2;
  }
}

/** `✗ what`, then why and fix, indented. */
export function formatFailure(failure: Failure): string {
  return `${pc.red('✗')} ${plainLines(failure.message)}\n  ${plainLines(failure.why)}\n  ${plainLines(failure.fix)}\n`;
}

/** A refusal by the machine itself is no defect of the program, and a person can repair it. */
const refusals: Readonly<Record<string, { readonly why: string; readonly fix: string }>> = {
  EACCES: { why: 'This user may not read or write it.', fix: 'Change its permissions, or name another place.' },
  EPERM: { why: 'This user may not do that.', fix: 'Change its permissions, or name another place.' },
  ENOTDIR: { why: 'A file is where a directory has to be.', fix: 'Name another place, or move the file away.' },
  EISDIR: { why: 'A directory is where a file has to be.', fix: 'Name a file.' },
  ELOOP: { why: 'Symbolic links lead in a circle.', fix: 'Repair the links, or name another place.' },
  ENAMETOOLONG: { why: 'The path is longer than the file system takes.', fix: 'Name a shorter one.' },
  EROFS: { why: 'The file system is mounted for reading only.', fix: 'Name a place that can be written: --data-dir DIR.' },
  ENOSPC: { why: 'The disk is full.', fix: 'Make room, and run it again: nothing that was acknowledged is lost.' },
  EMFILE: { why: 'Too many files are open.', fix: 'Raise the limit (ulimit -n), and run it again.' },
};

/** `makeDurableDirectory` makes the parents first, so a missing one is not the reason. */
const noDirectories = { why: 'The file system takes no new directory there.', fix: 'Name another place.' };

/** @throws Failure when the directory of a file that is to be written does not exist */
export function requireDirectoryOf(file: string): void {
  const directory = dirname(file);
  if (existsSync(directory)) return;
  throw new Failure(`there is no directory ${directory}`, {
    why: 'Nothing was written.',
    fix: `Make it (mkdir -p ${shellWord(directory)}), or name another file.`,
  });
}

/** True when a disk had no room: said by the operating system, by git, or by SQLite. */
export const isDiskFull = (err: unknown): boolean =>
  err instanceof Error && (('code' in err && err.code === 'ENOSPC') || ('isFull' in err && err.isFull === true));

/** An error of the operating system, or of a store without room, in three lines; undefined for everything else. */
export function tryExplainSystemError(err: unknown): Failure | undefined {
  if (!(err instanceof Error)) return undefined;
  const { code = '', path, message, reason, syscall = '' } = err as NodeJS.ErrnoException & { readonly reason?: unknown };
  // The store refuses a write before the disk is full, and its message names the directory.
  if (reason === 'InsufficientStorage') {
    return new Failure(message, {
      why: 'The disk of the data directory has no room.',
      fix: 'Make room, or choose another one: --data-dir DIR.',
    });
  }
  if (code === 'EAGAIN' && syscall.startsWith('spawn')) {
    return new Failure(message, {
      why: 'This user may not start more processes.',
      fix: 'Raise the limit (ulimit -u; TasksMax of a service), or end others, and run it again.',
      cause: err,
    });
  }
  const refusal = code === 'ENOENT' && syscall === 'mkdir' ? noDirectories : refusals[code];
  return refusal === undefined
    ? undefined
    : new Failure(path === undefined ? message : `${path} cannot be used (${code})`, { ...refusal, cause: err });
}
