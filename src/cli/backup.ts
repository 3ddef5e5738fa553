import { existsSync } from 'node:fs';
import { open, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import type { Readable } from 'node:stream';
import { backupPath } from '../api/well-known.ts';
import { timestampOf } from '../base/clock.ts';
import { syncDirectory } from '../base/durable-file.ts';
import { loadKubeconfig } from '../client/kubeconfig.ts';
import { sendAdminRequest } from './admin-request.ts';
import { ArchiveError } from './backup-archive.ts';
import { type BackupHeader, readBackup } from './backup-lines.ts';
import { readEndpoints } from './data-directory.ts';
import { type ExitCode, Failure, isDiskFull, requireDirectoryOf } from './failure.ts';
import { noteBackup } from './purge.ts';

export interface BackupOptions {
  readonly dataDirectory: string;
  /** A new file. */
  readonly file: string;
  /** Replace a file of that name. */
  readonly force: boolean;
  readonly output: NodeJS.WritableStream;
  readonly version: string;
  /** Opens the backup of a cluster that does not run. */
  openStopped(options: { readonly dataDirectory: string; readonly version: string }): Promise<StoppedBackup>;
}

export interface StoppedBackup {
  readonly stream: Readable;
  close(): Promise<void>;
}

/** Silence of the server that ends a backup; the copy of the store comes before the first byte. */
const silenceMs = 600_000;

/** Writes a backup of a cluster, which may be running, and reads it back before it gets its name. */
export async function backup({ dataDirectory, file, force, output, version, openStopped }: BackupOptions): Promise<ExitCode> {
  if (!force && existsSync(file)) {
    throw new Failure(`${file} exists`, {
      why: 'It may be the last good backup; nothing was written.',
      fix: 'Name another file, or replace this one with --force.',
    });
  }
  requireDirectoryOf(file);
  const temporary = `${file}.${process.pid}.tmp`;
  try {
    const endpoints = await readEndpoints(dataDirectory).catch((err: unknown) => {
      if (err instanceof Failure) return undefined;
      throw err;
    });
    if (endpoints === undefined) {
      const stopped = await openStopped({ dataDirectory, version });
      await writeStream(stopped.stream, temporary).finally(() => stopped.close());
    } else {
      const connection = await loadKubeconfig(endpoints.kubeconfig);
      await writeStream(await sendAdminRequest(connection, { path: backupPath, silenceMs, refusal: 'makes no backup' }), temporary);
    }
    const { header, objects } = await verifyBackup(temporary).catch((err: unknown) => {
      if (!(err instanceof ArchiveError)) throw err;
      throw new Failure('the backup is not complete', { why: `${err.message}.`, fix: 'Run it again.', cause: err });
    });
    await rename(temporary, file);
    await syncDirectory(dirname(file));
    await noteBackup(dataDirectory, { file, at: timestampOf(Date.now()) });
    const { size } = await stat(file);
    output.write(`${basename(file)}  ${(size / 1024 / 1024).toFixed(1)} MiB, ${objects} objects, revision ${header.revision}\n`);
    output.write(
      header.bundle === undefined
        ? 'It holds all keys and Secrets of the cluster: keep it where nobody else can read it.\n'
        : 'Keys and Secrets in it are encrypted; the token of the servers (file server-token) opens them: keep that apart from it.\n',
    );
    return 0;
  } finally {
    await rm(temporary, { force: true });
  }
}

/** Reads a backup to its end. @throws ArchiveError when it is not complete */
export async function verifyBackup(file: string): Promise<{ readonly header: BackupHeader; readonly objects: number }> {
  let header: BackupHeader | undefined;
  for await (const part of readBackup(file)) {
    if (part.type === 'header') header = part.header;
    if (part.type === 'end' && header !== undefined) return { header, objects: part.objects };
  }
  throw new ArchiveError('It is empty');
}

/** A new file that its owner alone can read, and that is on the disk when the promise resolves. */
async function writeStream(from: Readable, path: string): Promise<void> {
  const file = await open(path, 'wx', 0o600);
  try {
    for await (const chunk of from) await file.writeFile(chunk as Buffer);
    await file.sync();
  } catch (err) {
    if (isDiskFull(err)) {
      throw new Failure('the disk is full', {
        why: `The backup has no room in ${dirname(path)}; what was written of it is removed.`,
        fix: 'Free some space, or name a file on another disk.',
        cause: err,
      });
    }
    if ((err as NodeJS.ErrnoException).code !== 'ECONNRESET' && (err as NodeJS.ErrnoException).code !== 'ERR_STREAM_PREMATURE_CLOSE')
      throw err;
    throw new Failure('the backup broke off', {
      why: 'The cluster closed the connection.',
      fix: 'See its log, and run it again.',
      cause: err,
    });
  } finally {
    await file.close();
  }
}
