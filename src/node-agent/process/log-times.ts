import { createReadStream, createWriteStream, type FSWatcher, watch } from 'node:fs';
import { appendFile, readFile, stat, truncate, writeFile } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';
import type { Clock } from '../../base/clock.ts';
import type { Log } from '../../base/log.ts';
import type { ContainerLog } from '../container-runtime.ts';

/**
 * Notes when a container's output was written, and keeps it from filling the disk.
 *
 * Programs write their log file themselves, without time stamps, so that they need no one to read a pipe. The file is watched, and its
 * size and time of change are noted at most ten times a second; what was written while nobody watched gets the time of its last write.
 */
export interface LogTimes {
  /** Notes what was written up to now, then ends. */
  close(): Promise<void>;
}

export interface LogTimesOptions {
  readonly log: ContainerLog;
  readonly clock: Clock;
  readonly logger: Log;
  readonly maxBytes?: number;
}

const sampleIntervalMs = 100;
/** The kubelet's default containerLogMaxSize. */
const defaultMaxBytes = 10 * 1024 * 1024;

export function recordLogTimes({ log, clock, logger, maxBytes = defaultMaxBytes }: LogTimesOptions): LogTimes {
  let lastSize = -1;
  let pending: (() => void) | undefined;
  let closed = false;
  let tail = Promise.resolve();

  const sample = async (): Promise<void> => {
    const { size, mtimeMs } = await stat(log.path);
    if (size === lastSize) return;
    lastSize = size;
    if (size > 0) await appendFile(log.timesPath, `${size} ${Math.ceil(mtimeMs)}\n`, { mode: 0o640 });
    if (size > maxBytes) await rotate(size);
  };
  // Copied and cut, not renamed: the program's descriptor stays the same and appends. What it writes between the two calls is lost.
  const rotate = async (size: number): Promise<void> => {
    // A program that writes faster than it is looked at may be far above the bound: then its end is kept. The copy has an end of its own,
    // since the file's end runs away from it.
    const start = size > 2 * maxBytes ? size - maxBytes : 0;
    const part = createReadStream(log.path, { start, end: start + 2 * maxBytes - 1 });
    await pipeline(part, createWriteStream(`${log.path}.1`, { mode: 0o640 }));
    await writeFile(`${log.timesPath}.1`, shifted(await readFile(log.timesPath, 'utf8'), start), { mode: 0o640 });
    await truncate(log.path, 0);
    await truncate(log.timesPath, 0);
    lastSize = 0;
  };
  const enqueue = (): Promise<void> => {
    tail = tail.then(sample).catch((err: unknown) => {
      // The pod's directory goes while its last events arrive.
      if ((err as NodeJS.ErrnoException).code !== 'ENOENT')
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

/** Notes of a file, for the part of it from `start` on. */
function shifted(notes: string, start: number): string {
  if (start === 0) return notes;
  return notes.replace(/^(\d+)(?= )/gm, (offset) => String(Math.max(0, Number(offset) - start)));
}
