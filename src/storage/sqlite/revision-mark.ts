import { constants, writeSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { crc32 } from 'node:zlib';
import type { Clock } from '../../base/clock.ts';
import { writeDurableFile } from '../../base/durable-file.ts';

/**
 * The newest acknowledged revision, kept outside of the database. SQLite ends its log at the first damaged frame, and a
 * log that ends early looks like one that was never longer.
 *
 * A commit writes the mark after the database has synced it and before any client knows of it. So the mark is never ahead of an intact log.
 * The write is 64 bytes in place, without a sync (5 µs), and survives the end of the process.
 * A sync follows within `syncAfterMs`, so a power cut
 * takes at most what came since; those commits are in the log, which is synced.
 */
export interface RevisionMark {
  readonly path: string;
  /** As an earlier process left it: a revision; `none` when there is no file; `damaged` when it cannot be read. */
  readonly found: number | 'none' | 'damaged';
  /** Never throws: the commit is durable by then. A mark that cannot be written stays behind, which costs notice of damage, not data. */
  raise(revision: number): void;
  close(): Promise<void>;
}

const syncAfterMs = 200;
const recordBytes = 64;

export async function openRevisionMark(path: string, { clock }: { readonly clock: Clock }): Promise<RevisionMark> {
  const { file, found } = await openOrCreate(path);
  let raised = typeof found === 'number' ? found : 0;
  let cancelSync: (() => void) | undefined;
  let syncing: Promise<void> = Promise.resolve();

  function sync(): void {
    cancelSync = undefined;
    syncing = syncing.then(() => file.datasync()).catch(() => undefined);
  }

  return {
    path,
    found,
    raise(revision) {
      if (revision <= raised) return;
      try {
        writeSync(file.fd, recordOf(revision), 0, recordBytes, 0);
        raised = revision;
      } catch {
        return;
      }
      cancelSync ??= clock.after(syncAfterMs, sync);
    },
    async close() {
      cancelSync?.();
      sync();
      await syncing;
      await file.close();
    },
  };
}

async function openOrCreate(path: string): Promise<{ readonly file: FileHandle; readonly found: RevisionMark['found'] }> {
  try {
    const file = await open(path, 'r+', 0o600);
    const { buffer, bytesRead } = await file.read({ buffer: Buffer.alloc(recordBytes), position: 0 });
    // A file without content is one that was never written to: the process ended between making it and the first commit.
    return { file, found: bytesRead === 0 ? 'none' : (tryParse(buffer.toString('latin1', 0, bytesRead)) ?? 'damaged') };
  } catch (err) {
    if ((err as NodeJS.ErrnoException).code !== 'ENOENT') throw err;
    return { file: await create(path), found: 'none' };
  }
}

/** Durably, so that a power cut right after the first commits does not look like a mark that was removed. */
async function create(path: string): Promise<FileHandle> {
  try {
    await writeDurableFile(path, recordOf(0));
  } catch (err) {
    // A full disk has room for a name, and the start needs no more.
    if ((err as NodeJS.ErrnoException).code !== 'ENOSPC') throw err;
  }
  return open(path, constants.O_RDWR | constants.O_CREAT, 0o600);
}

/** One line of fixed length, for people too. */
function recordOf(revision: number): Buffer {
  const text = `acknowledged ${revision}`;
  return Buffer.from(`${text} ${crc32(text)}`.padEnd(recordBytes - 1).concat('\n'), 'latin1');
}

function tryParse(record: string): number | undefined {
  const match = /^(acknowledged (\d{1,16})) (\d{1,10}) *\n$/.exec(record);
  if (match === null || record.length !== recordBytes) return undefined;
  const [, text = '', revision, sum] = match;
  return Number(sum) === crc32(text) ? Number(revision) : undefined;
}
