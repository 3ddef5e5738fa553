import { existsSync } from 'node:fs';
import { copyFile, mkdir, mkdtemp, readdir, rm } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import type { Readable } from 'node:stream';
import { timestampOf } from '../base/clock.ts';
import { createBundle } from '../gitops/sources/bundle.ts';
import { isBackedUp, packArchive } from './backup-archive.ts';
import { authoritiesOf, filesOf } from './configuration.ts';

export interface SnapshotOptions {
  readonly dataDirectory: string;
  /** The open store of the directory. */
  readonly store: { readonly currentRevision: number; backup(path: string): Promise<void> };
  readonly version: string;
  readonly now: number;
  readonly signal: AbortSignal;
}

/**
 * Copies what a cluster needs to be what it is, while it works, and gives the copy as an archive. The copy lies in the data directory
 * until the stream is closed.
 *
 * The store comes first. Its objects name commits and need keys, and the copies of repository and keys are made later, so they have them.
 */
export async function openSnapshot({ dataDirectory, store, version, now, signal }: SnapshotOptions): Promise<Readable> {
  const files = filesOf(dataDirectory);
  await mkdir(files.backup, { recursive: true, mode: 0o700 });
  const stage = await mkdtemp(join(files.backup, 'stage-'));
  const remove = (): Promise<void> => rm(stage, { recursive: true, force: true });
  try {
    const { currentRevision: revision } = store;
    const place = (path: string): string => join(stage, relative(dataDirectory, path));
    await store.backup(place(files.database));
    signal.throwIfAborted();
    const bundle = join(stage, 'git', 'cluster.bundle');
    await mkdir(dirname(bundle), { mode: 0o700 });
    const hasCommits = await createBundle({ gitdir: files.repository, file: bundle, signal });
    const copied: string[] = [];
    for (const { directory } of Object.values(authoritiesOf(dataDirectory))) {
      // A stranger's file is theirs to save, and must not keep a backup from being made.
      copied.push(...(await filesIn(directory)).filter((path) => isBackedUp(relative(dataDirectory, path))));
    }
    copied.push(...[files.network, files.token, files.pageToken].filter((path) => existsSync(path)));
    for (const path of copied) {
      await mkdir(dirname(place(path)), { recursive: true, mode: 0o700 });
      await copyFile(path, place(path));
    }
    signal.throwIfAborted();
    const paths = [files.database, ...copied].map((path) => relative(dataDirectory, path));
    const stream = await packArchive(stage, {
      version,
      revision,
      createdAt: timestampOf(now),
      paths: hasCommits ? [...paths, relative(stage, bundle)] : paths,
    });
    stream.once('close', () => void remove());
    return stream;
  } catch (err) {
    await remove();
    throw err;
  }
}

/** Files directly below `directory`, but those that are being written. */
async function filesIn(directory: string): Promise<readonly string[]> {
  const entries = await readdir(directory, { withFileTypes: true });
  return entries.filter((entry) => entry.isFile() && !entry.name.endsWith('.tmp')).map(({ name }) => join(directory, name));
}
