import { type FSWatcher, watch } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import type { Clock } from '../base/clock.ts';

export const chunkBytes = 64 * 1024;
/** In case the file's watch says nothing. */
const followPollMs = 1_000;

/** The bytes of a file in pieces of at most 64 KiB. */
export async function* chunksOf(
  file: FileHandle,
  from: number,
  to: number,
): AsyncGenerator<{ readonly chunk: Buffer; readonly at: number }> {
  for (let at = from; at < to; ) {
    // A new one each time: what was yielded may still be on its way.
    const buffer = Buffer.allocUnsafe(Math.min(chunkBytes, to - at));
    const { bytesRead } = await file.read(buffer, 0, buffer.length, at);
    if (bytesRead === 0) return;
    yield { chunk: buffer.subarray(0, bytesRead), at };
    at += bytesRead;
  }
}

/** Wakes its reader when the file may have changed, and once a second. */
export function watchFile(path: string, clock: Clock, signal: AbortSignal): { next(): Promise<void>; close(): void } {
  let changed = false;
  let wake: (() => void) | undefined;
  const onChange = (): void => {
    changed = true;
    wake?.();
  };
  let watcher: FSWatcher | undefined;
  try {
    watcher = watch(path, { persistent: false }, onChange);
    // The poll goes on without it.
    watcher.on('error', () => undefined);
  } catch {
    // Out of inotify watches: the poll is slower and enough.
  }
  signal.addEventListener('abort', onChange, { once: true });
  return {
    next: () =>
      new Promise((resolve) => {
        if (changed || signal.aborted) {
          changed = false;
          resolve();
          return;
        }
        const cancel = clock.after(followPollMs, () => wake?.());
        wake = () => {
          cancel();
          wake = undefined;
          changed = false;
          resolve();
        };
      }),
    close() {
      watcher?.close();
      signal.removeEventListener('abort', onChange);
    },
  };
}
