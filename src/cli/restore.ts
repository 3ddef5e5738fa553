import { existsSync } from 'node:fs';
import { readdir, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { makeDurableDirectory, syncDirectory } from '../base/durable-file.ts';
import { processStat } from '../base/process-identity.ts';
import { restoreBundle } from '../gitops/sources/bundle.ts';
import { ArchiveError, readArchive } from './backup-archive.ts';
import { filesOf } from './configuration.ts';
import { type ExitCode, Failure } from './failure.ts';

export interface RestoreOptions {
  readonly file: string;
  /** Absent or empty. */
  readonly dataDirectory: string;
  readonly output: NodeJS.WritableStream;
}

/**
 * Makes a data directory of a backup. Everything is written and compared beside it first, and gets its name last, so that the directory
 * is never there by half.
 */
export async function restore({ file, dataDirectory, output }: RestoreOptions): Promise<ExitCode> {
  if (!existsSync(file)) {
    throw new Failure(`there is no ${file}`, { why: 'Nothing was changed.', fix: 'Name a file that "midship backup" wrote.' });
  }
  await refuseUsed(dataDirectory);
  const parent = dirname(dataDirectory);
  await makeDurableDirectory(parent);
  await removeAbandoned(dataDirectory);
  const aside = `${dataDirectory}.restore-${process.pid}`;
  try {
    await makeDurableDirectory(aside);
    const { version, revision, createdAt, files } = await readArchive(file, aside).catch((err: unknown) => {
      if (!(err instanceof ArchiveError)) throw err;
      throw new Failure(`${file} cannot be restored`, {
        why: `${err.message}.`,
        fix: 'Use another backup. Nothing was changed.',
        cause: err,
      });
    });
    const { repository } = filesOf(aside);
    const bundle = join(dirname(repository), 'cluster.bundle');
    if (files.some(({ path }) => join(aside, path) === bundle)) {
      await restoreBundle({ gitdir: repository, file: bundle });
      await rm(bundle);
    }
    for (const directory of [aside, dirname(repository)]) await syncDirectory(directory).catch(ignoreMissing);
    // Over an empty directory, and over nothing else.
    await rename(aside, dataDirectory).catch((cause: NodeJS.ErrnoException) => {
      throw cause.code === 'ENOTEMPTY' || cause.code === 'EEXIST' ? usedFailure(dataDirectory, cause) : placeFailure(dataDirectory, cause);
    });
    await syncDirectory(parent);
    output.write(`restored revision ${revision} of ${createdAt}, made by Midship ${version}\n`);
    output.write(`Start it with: midship up --data-dir ${dataDirectory}\n`);
    return 0;
  } finally {
    await rm(aside, { recursive: true, force: true });
  }
}

async function refuseUsed(dataDirectory: string): Promise<void> {
  const entries = await readdir(dataDirectory).catch(ignoreMissing);
  if (entries !== undefined && entries.length > 0) throw usedFailure(dataDirectory);
}

const usedFailure = (dataDirectory: string, cause?: unknown): Failure =>
  new Failure(`${dataDirectory} is not empty`, {
    why: 'A backup is restored into a directory of its own; what is there was not touched.',
    fix: 'Name another one with --data-dir DIR, or move this one away after "midship down".',
    cause,
  });

const placeFailure = (dataDirectory: string, cause: Error): Failure =>
  new Failure(`${dataDirectory} cannot become the data directory`, {
    why: `${cause.message}. It gets its name by a rename, which mount points and links do not allow.`,
    fix: 'Name a directory below it: --data-dir DIR.',
    cause,
  });

/** Removes the files that a killed restore left beside the directory. */
async function removeAbandoned(dataDirectory: string): Promise<void> {
  const prefix = `${basename(dataDirectory)}.restore-`;
  for (const name of await readdir(dirname(dataDirectory))) {
    const pid = name.startsWith(prefix) ? name.slice(prefix.length) : '';
    if (/^\d{1,9}$/.test(pid) && (await processStat(Number(pid))) === undefined)
      await rm(join(dirname(dataDirectory), name), { recursive: true, force: true });
  }
}

function ignoreMissing(err: unknown): undefined {
  if ((err as NodeJS.ErrnoException).code !== 'ENOENT') throw err;
}
