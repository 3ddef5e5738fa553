import { existsSync } from 'node:fs';
import { mkdir, open, readdir, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { makeDurableDirectory, syncDirectory } from '../base/durable-file.ts';
import { processStat } from '../base/process-identity.ts';
import { restoreBundle } from '../gitops/sources/bundle.ts';
import { verifyBackup } from './backup.ts';
import { ArchiveError, readArchive } from './backup-archive.ts';
import { type BackupHeader, isPackedBackup, readBackup } from './backup-lines.ts';
import { bundlePath } from './backup-snapshot.ts';
import { filesOf } from './configuration.ts';
import { explainStoreFailure } from './explain.ts';
import { type ExitCode, Failure, isDiskFull } from './failure.ts';
import type { StoredObject } from './repair.ts';

export interface RestoreOptions {
  readonly file: string;
  /** Absent or empty. */
  readonly dataDirectory: string;
  readonly output: NodeJS.WritableStream;
  /** `--store` of the server that is started next; undefined: the store becomes SQLite in the data directory. */
  readonly store: string | undefined;
  /** Begins an empty store. */
  startFill(options: FillOptions): Promise<StoreFill>;
}

export interface FillOptions {
  /** Gets the database, the token of the servers, and keys that the backup has encrypted. */
  readonly dataDirectory: string;
  readonly revision: number;
  /** Later revisions than `revision` were seen by clients. */
  readonly isCopy: boolean;
  readonly bundle: BackupHeader['bundle'];
}

/** A store that is filled from a backup or from another store. No server starts on it before `finish`. */
export interface StoreFill {
  put(entries: readonly StoredObject[]): Promise<void>;
  finish(): Promise<void>;
  close(): Promise<void>;
}

/** Objects that are written at once. */
const pageObjects = 500;

/**
 * Makes a data directory, and with `store` the content of an empty prefix of etcd, of a backup. The backup is read to its end
 * first. Everything is written beside the directory, which gets its name last: it is never there by half.
 */
export async function restore(options: RestoreOptions): Promise<ExitCode> {
  const { file, dataDirectory, output, store } = options;
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
    const { version, revision, createdAt, finish } = await unpack({ ...options, dataDirectory: aside }).catch((err: unknown) => {
      if (!(err instanceof ArchiveError)) throw explainFull(err, parent) ?? explainStoreFailure(err, dataDirectory);
      throw new Failure(`${file} cannot be restored`, {
        why: `${err.message}.`,
        fix: 'Use another backup. Nothing was changed.',
        cause: err,
      });
    });
    const { repository } = filesOf(aside);
    for (const directory of [aside, dirname(repository)]) await syncDirectory(directory).catch(ignoreMissing);
    // Over an empty directory, and over nothing else.
    await rename(aside, dataDirectory).catch((cause: NodeJS.ErrnoException) => {
      throw cause.code === 'ENOTEMPTY' || cause.code === 'EEXIST' ? usedFailure(dataDirectory, cause) : placeFailure(dataDirectory, cause);
    });
    await syncDirectory(parent);
    // A server that starts before is refused.
    await finish?.().catch(async (err: unknown) => {
      await rename(dataDirectory, aside);
      throw explainStoreFailure(err, dataDirectory);
    });
    output.write(`restored revision ${revision} of ${createdAt}, made by Midship ${version}\n`);
    const isToken = store === undefined || existsSync(filesOf(dataDirectory).serverToken);
    const command = store === undefined ? 'midship up' : `midship server --store ${store}`;
    output.write(`Start it with: ${command} --data-dir ${dataDirectory}${isToken ? '' : ' --token-file FILE'}\n`);
    return 0;
  } finally {
    await rm(aside, { recursive: true, force: true });
  }
}

interface Unpacked {
  readonly version: string;
  readonly revision: number;
  readonly createdAt: string;
  /** Opens the store for servers; absent when it needs nothing more. */
  finish?(): Promise<void>;
}

async function unpack(options: RestoreOptions): Promise<Unpacked> {
  const { file, dataDirectory, store, startFill } = options;
  if (!(await isPackedBackup(file))) {
    const manifest = await readArchive(file, dataDirectory);
    if (store === undefined) {
      await placeRepository(dataDirectory);
      return manifest;
    }
    throw new Failure(`${file} is a backup of an earlier version, which holds a database`, {
      why: 'It can be restored into a data directory alone. Nothing was changed.',
      fix: 'Restore it without --store, then move the objects: midship migrate --from DIR --to etcd://HOST:2379',
    });
  }
  const { header } = await verifyBackup(file);
  const { version, revision, createdAt, bundle } = header;
  const placed = new Set<string>();
  let fill: StoreFill | undefined;
  let page: StoredObject[] = [];
  try {
    for await (const part of readBackup(file)) {
      if (part.type === 'file') {
        await append(join(dataDirectory, part.file.path), part.file.content);
        placed.add(join(dataDirectory, part.file.path));
      }
      if (part.type !== 'object' && part.type !== 'end') continue;
      if (fill === undefined) {
        // All files are there. A disk that is full refuses them before a key is in etcd.
        await placeRepository(dataDirectory);
        fill = await startFill({ dataDirectory, revision, isCopy: true, bundle });
      }
      if (part.type === 'object') page.push(part.entry);
      if (page.length < pageObjects && part.type === 'object') continue;
      await fill.put(page);
      page = [];
    }
    for (const directory of new Set([...placed].map(dirname))) await syncDirectory(directory);
    if (store !== undefined) {
      const filled = fill;
      return {
        version,
        revision,
        createdAt,
        finish: async () => {
          await filled?.finish();
          await filled?.close();
        },
      };
    }
    await fill?.finish();
    await fill?.close();
    return { version, revision, createdAt };
  } catch (err) {
    await fill?.close();
    throw err;
  }
}

/** Makes the built-in repository of its copy, where the backup has one. */
async function placeRepository(dataDirectory: string): Promise<void> {
  const file = join(dataDirectory, bundlePath);
  if (!existsSync(file)) return;
  await restoreBundle({ gitdir: filesOf(dataDirectory).repository, file });
  await rm(file);
}

async function append(path: string, content: Buffer): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const file = await open(path, 'a', 0o600);
  try {
    await file.writeFile(content);
    await file.sync();
  } finally {
    await file.close();
  }
}

/** Undefined for another failure. */
function explainFull(err: unknown, directory: string): Failure | undefined {
  if (!isDiskFull(err)) return undefined;
  return new Failure('the disk is full', {
    why: `The content of the backup has no room in ${directory}. Nothing was changed.`,
    fix: 'Free some space, or name a directory on another disk with --data-dir DIR.',
    cause: err,
  });
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
