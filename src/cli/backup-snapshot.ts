import { createReadStream, existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { join, relative } from 'node:path';
import type { Readable } from 'node:stream';
import { timestampOf } from '../base/clock.ts';
import { createBundle } from '../gitops/sources/bundle.ts';
import { isBackedUp } from './backup-archive.ts';
import { type BackupFile, type BackupHeader, packBackup } from './backup-lines.ts';
import { authoritiesOf, filesOf } from './configuration.ts';
import { Failure, isDiskFull } from './failure.ts';
import type { StoredObject } from './repair.ts';

export interface SnapshotOptions {
  readonly dataDirectory: string;
  /** The open store of the directory. */
  readonly store: { snapshot(stage: string): Promise<StoreSnapshot> };
  readonly version: string;
  readonly now: number;
  readonly signal: AbortSignal;
}

/** The objects of a store at one revision, in pages. */
export interface StoreSnapshot {
  readonly revision: number;
  readonly pages: AsyncIterable<readonly StoredObject[]>;
  /** Servers share the keys by it; absent where they lie in the data directory alone. */
  readonly bundle?: BackupHeader['bundle'];
}

const pieceBytes = 512 * 1024;

/**
 * Gives what a cluster needs to be what it is as a backup, while the cluster works. Copies lie in the data directory until the stream is
 * closed.
 *
 * The store comes first. Its objects name commits and need keys, and the copies of repository and keys are made later, so they have them.
 * Keys that servers share in the store are in the backup as they lie there, encrypted.
 */
export async function openSnapshot({ dataDirectory, store, version, now, signal }: SnapshotOptions): Promise<Readable> {
  const files = filesOf(dataDirectory);
  let stage: string | undefined;
  const remove = async (): Promise<void> => {
    if (stage !== undefined) await rm(stage, { recursive: true, force: true });
  };
  try {
    await mkdir(files.backup, { recursive: true, mode: 0o700 });
    stage = await mkdtemp(join(files.backup, 'stage-'));
    const { revision, pages, bundle } = await store.snapshot(stage);
    signal.throwIfAborted();
    const repository = join(stage, 'cluster.bundle');
    const hasCommits = existsSync(files.repository) && (await createBundle({ gitdir: files.repository, file: repository, signal }));
    const kept = bundle === undefined ? await keysOf(dataDirectory) : [];
    const copied = await Promise.all(
      [...kept, files.network].filter((path) => existsSync(path)).map(async (path) => ({ path, content: await readFile(path) })),
    );
    signal.throwIfAborted();
    async function* contents(): AsyncGenerator<BackupFile> {
      for (const { path, content } of copied) yield { path: relative(dataDirectory, path), content };
      if (!hasCommits) return;
      for await (const content of createReadStream(repository, { highWaterMark: pieceBytes })) yield { path: bundlePath, content };
    }
    const about = { version, createdAt: timestampOf(now), revision, ...(bundle === undefined ? {} : { bundle }) };
    const stream = packBackup(about, { files: contents(), pages });
    stream.once('close', () => void remove());
    return stream;
  } catch (err) {
    await remove();
    throw isDiskFull(err) ? fullFailure(files.backup, err) : err;
  }
}

const fullFailure = (directory: string, cause: unknown): Failure =>
  new Failure('the disk is full', {
    why: `The copies that a backup is made of have no room in ${directory}; they are removed, and no backup was made.`,
    fix: 'Free some space on the disk of the data directory: the copies need as much as the store and the repository.',
    cause,
  });

/** The built-in repository in a backup. */
export const bundlePath = join('git', 'cluster.bundle');

async function keysOf(dataDirectory: string): Promise<readonly string[]> {
  const { token, pageToken } = filesOf(dataDirectory);
  const keys: string[] = [];
  for (const { directory } of Object.values(authoritiesOf(dataDirectory))) {
    // A stranger's file is theirs to save, and must not keep a backup from being made.
    keys.push(...(await filesIn(directory)).filter((path) => isBackedUp(relative(dataDirectory, path))));
  }
  return [...keys, token, pageToken];
}

/** Files directly below `directory`, but those that are being written. */
async function filesIn(directory: string): Promise<readonly string[]> {
  const entries = await readdir(directory, { withFileTypes: true });
  return entries.filter((entry) => entry.isFile() && !entry.name.endsWith('.tmp')).map(({ name }) => join(directory, name));
}
