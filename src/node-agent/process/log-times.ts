import { createReadStream, createWriteStream, type FSWatcher, watch } from 'node:fs';
import { appendFile, chmod, rename, stat, truncate, writeFile } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';
import { readFileTail } from '../../base/bounded-file.ts';
import type { Clock } from '../../base/clock.ts';
import type { Log } from '../../base/log.ts';
import type { ContainerLog } from '../container-runtime.ts';

/**
 * Notes when a container's output was written, and keeps it from filling the disk.
 *
 * Programs write their log file themselves, without time stamps, so that they need no one to read a pipe. The file is watched, and its
 * size and time of change are noted at most ten times a second. All that was written while nobody watched gets the time of its last write.
 */
export interface LogTimes {
  /** Notes what was written up to now, then ends. */
  close(): Promise<void>;
}

export interface LogTimesOptions {
  readonly log: Required<ContainerLog>;
  readonly clock: Clock;
  readonly logger: Log;
  readonly maxBytes?: number;
}

const sampleIntervalMs = 100;
/** The kubelet's default containerLogMaxSize. */
const defaultMaxBytes = 10 * 1024 * 1024;
/** Some 10,000 notes of one log. A program that writes a byte at a time would make 25 bytes of notes of each. */
const maxTimesBytes = 256 * 1024;

export function recordLogTimes({ log, clock, logger, maxBytes = defaultMaxBytes }: LogTimesOptions): LogTimes {
  let lastSize = -1;
  let pending: (() => void) | undefined;
  let closed = false;
  let failed = false;
  let tail = Promise.resolve();

  const sample = async (): Promise<void> => {
    const { size, mtimeMs, mode } = await stat(log.path);
    if (size === lastSize) return;
    lastSize = size;
    // The program holds the file and may close it to its reader.
    if ((mode & 0o600) !== 0o600) await chmod(log.path, 0o640);
    if (size > 0) {
      await appendFile(log.timesPath, `${size} ${Math.ceil(mtimeMs)}\n`, { mode: 0o640 });
      if ((await stat(log.timesPath)).size > maxTimesBytes) await thin();
    }
    if (size > maxBytes) await rotate(size);
  };
  /** Leaves out every second note, as often as it takes: what lies between two notes gets the time of the later one. */
  const thin = async (): Promise<void> => {
    let notes = await notesOf(log.timesPath);
    do notes = notes.filter((_, index) => (notes.length - index) % 2 === 1);
    while (notes.length > 1 && notes.join('\n').length > maxTimesBytes / 2);
    await writeFile(`${log.timesPath}.tmp`, `${notes.join('\n')}\n`, { mode: 0o640 });
    await rename(`${log.timesPath}.tmp`, log.timesPath);
  };
  // Copied and cut, not renamed: the program's descriptor stays the same and appends. Output between the two calls is
  // lost.
  const rotate = async (size: number): Promise<void> => {
    // A program that writes faster than it is looked at may be far above the bound: then its end is kept. The copy has an end of its own,
    // since the file's end runs away from it.
    const start = size > 2 * maxBytes ? size - maxBytes : 0;
    // A file that a program only says to be larger than a number can hold has nothing in it.
    if (Number.isSafeInteger(start + 2 * maxBytes)) {
      const part = createReadStream(log.path, { start, end: start + 2 * maxBytes - 1 });
      await pipeline(part, createWriteStream(`${log.path}.1`, { mode: 0o640 }));
      await writeFile(`${log.timesPath}.1`, shifted(await notesOf(log.timesPath), start), { mode: 0o640 });
    }
    await truncate(log.path, 0);
    await truncate(log.timesPath, 0);
    lastSize = 0;
  };
  const enqueue = (): Promise<void> => {
    tail = tail.then(sample).catch((err: unknown) => {
      // The pod's directory goes while its last events arrive.
      if ((err as NodeJS.ErrnoException).code === 'ENOENT' || failed) return;
      // Said once: it may fail ten times a second.
      failed = true;
      logger.warn({ err, path: log.path }, 'Could not note the time of container output');
    });
    return tail;
  };
  const onChange = (): void => {
    if (closed || pending !== undefined) return;
    pending = clock.after(sampleIntervalMs, () => {
      pending = undefined;
      void enqueue();
    });
  };

  let watcher: FSWatcher | undefined;
  try {
    watcher = watch(log.path, { persistent: false }, onChange);
    watcher.on('error', (err) => logger.warn({ err, path: log.path }, 'Stopped watching container output'));
  } catch (err) {
    // Out of inotify watches: time stamps get coarse (the file's last change), output itself is complete.
    logger.warn({ err, path: log.path }, 'Could not watch container output');
  }
  void enqueue();

  return {
    async close() {
      if (closed) return tail;
      closed = true;
      watcher?.close();
      pending?.();
      pending = undefined;
      return enqueue();
    },
  };
}

/** The last whole lines of a file of notes, twice as many as are kept. */
async function notesOf(path: string): Promise<readonly string[]> {
  const text = (await readFileTail(path, 2 * maxTimesBytes)).toString('utf8');
  const lines = text.split('\n').slice(0, -1);
  // The first one may be cut in the middle.
  return text.length < 2 * maxTimesBytes ? lines : lines.slice(1);
}

/** Notes of a file, for the part of it from `start` on. */
function shifted(notes: readonly string[], start: number): string {
  const moved =
    start === 0 ? notes : notes.map((note) => note.replace(/^\d+(?= )/, (offset) => String(Math.max(0, Number(offset) - start))));
  return moved.map((note) => `${note}\n`).join('');
}
