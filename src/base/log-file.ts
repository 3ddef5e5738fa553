import { appendFileSync, statSync } from 'node:fs';
import { appendFile, rename } from 'node:fs/promises';

/** A file for the lines of a log. */
export interface LogFile {
  /** Never throws and never waits. */
  write(line: string): void;
  /** Writes what is still in memory, as far as that goes; for the end of the process. */
  flush(): void;
}

export interface LogFileOptions {
  readonly path: string;
  /** When the file is larger it becomes `PATH.1`, in place of the one before. */
  readonly maxBytes?: number;
}

const defaultMaxBytes = 16 * 1024 * 1024;
/** Lines that come while the disk is slow are kept up to this; more are dropped and counted. */
const maxPendingChars = 1024 * 1024;
const mode = 0o600;

/**
 * A failing log must not end the program. Lines that a full or broken disk refuses are dropped, and the next line that
 * is written gives their number. (pino's own destination ends the process on the first such error, and then waits for
 * the disk forever.)
 */
export function openLogFile({ path, maxBytes = defaultMaxBytes }: LogFileOptions): LogFile {
  let size = statSync(path, { throwIfNoEntry: false })?.size ?? 0;
  let pending: string[] = [];
  let pendingChars = 0;
  let dropped = 0;
  let writing = false;

  function take(): { readonly text: string; readonly count: number } {
    const lines = pending;
    pending = [];
    pendingChars = 0;
    // A failed write may have left half a line.
    const note = dropped === 0 ? '' : `\n${JSON.stringify({ level: 40, lines: dropped, msg: 'Lost log lines' })}\n`;
    return { text: note + lines.join(''), count: lines.length };
  }

  async function drain(): Promise<void> {
    writing = true;
    while (pending.length > 0) {
      const { text, count } = take();
      const before = dropped;
      try {
        await appendFile(path, text, { mode });
        dropped -= before;
        size += Buffer.byteLength(text);
        if (size > maxBytes) {
          await rename(path, `${path}.1`);
          size = 0;
        }
      } catch {
        // There is no better place to tell it than the next line.
        dropped += count;
      }
    }
    writing = false;
  }

  return {
    write(line) {
      if (pendingChars + line.length > maxPendingChars) {
        dropped += 1;
        return;
      }
      pending.push(line);
      pendingChars += line.length;
      if (!writing) void drain();
    },
    flush() {
      if (pending.length === 0) return;
      const { text } = take();
      try {
        appendFileSync(path, text, { mode });
      } catch {
        // The process ends; nobody is left to tell.
      }
    },
  };
}
