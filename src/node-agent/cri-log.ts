import { type FileHandle, open } from 'node:fs/promises';
import type { ReadLogOptions } from './container-log.ts';
import { chunksOf, watchFile } from './log-file.ts';

/**
 * Reads a container's output in the format of the Container Runtime Interface. The format is `TIME STREAM TAG TEXT` a line. The tag says if
 * the program's own line ends here (`F`) or goes on in the next one (`P`).
 *
 * @see https://github.com/kubernetes/design-proposals-archive/blob/main/node/kubelet-cri-logging.md
 */
export async function* readCriLog({ log, options, isRunning, clock, signal }: ReadLogOptions): AsyncGenerator<Buffer> {
  let budget = options.limitBytes ?? Number.POSITIVE_INFINITY;
  const limit = (piece: Buffer): Buffer => {
    const part = piece.length > budget ? piece.subarray(0, Math.max(0, budget)) : piece;
    budget -= part.length;
    return part;
  };
  const older = options.offset === undefined ? await openOptional(`${log.path}.1`) : undefined;
  let current = await openOptional(log.path);
  try {
    let skip = 0;
    if (options.tailLines !== undefined && options.offset === undefined) {
      // Lines are counted in both files first, so that memory stays one chunk for any number of lines.
      const counts = [await countLines(older, options.since), await countLines(current, options.since)];
      skip = Math.max(0, (counts[0] ?? 0) + (counts[1] ?? 0) - options.tailLines);
    }
    const print = createPrinter({ skip, since: options.since, timestamps: options.timestamps });
    for await (const line of linesOf(older, 0)) {
      yield limit(print(line));
      if (budget <= 0 || signal.aborted) return;
    }
    let position = options.offset ?? 0;
    const changes = options.follow ? watchFile(log.path, clock, signal) : undefined;
    try {
      for (;;) {
        // The question comes before the read: a program's last output is in the file before the program is gone.
        const running = isRunning();
        for await (const line of linesOf(current, position)) {
          position += line.length;
          yield limit(print(line));
          if (budget <= 0 || signal.aborted) return;
        }
        if (changes === undefined || signal.aborted) return;
        const newest = await openOptional(log.path);
        if (newest !== undefined && (await inodeOf(newest)) !== (await inodeOf(current))) {
          // Rotated: the old file was read to its end above, apart from what came since.
          for await (const line of linesOf(current, position)) yield limit(print(line));
          await current?.close();
          current = newest;
          position = 0;
          continue;
        }
        await newest?.close();
        if (!running && position >= (await sizeOf(current))) return;
        await changes.next();
      }
    } finally {
      changes?.close();
    }
  } finally {
    await older?.close();
    await current?.close();
  }
}

const newline = 0x0a;
const space = 0x20;
/** The runtime cuts lines at 16 KiB; a file that is no such log must not fill the memory. */
const maxLineBytes = 256 * 1024;

async function openOptional(path: string): Promise<FileHandle | undefined> {
  try {
    return await open(path, 'r');
  } catch (err) {
    if ((err as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw err;
  }
}

const inodeOf = async (file: FileHandle | undefined): Promise<number | undefined> => (await file?.stat())?.ino;
const sizeOf = async (file: FileHandle | undefined): Promise<number> => (await file?.stat())?.size ?? 0;

/** Whole lines with their newline; a line that is being written waits for the next read. */
async function* linesOf(file: FileHandle | undefined, from: number): AsyncGenerator<Buffer> {
  if (file === undefined) return;
  let rest: Buffer = Buffer.alloc(0);
  for await (const { chunk } of chunksOf(file, from, await sizeOf(file))) {
    let held = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    for (let end = held.indexOf(newline); end !== -1; end = held.indexOf(newline)) {
      yield held.subarray(0, end + 1);
      held = held.subarray(end + 1);
    }
    if (held.length > maxLineBytes) {
      yield held;
      held = Buffer.alloc(0);
    }
    rest = held;
  }
}

interface Entry {
  /** Milliseconds since the epoch. */
  readonly at: number;
  readonly time: string;
  readonly endsLine: boolean;
  readonly text: Buffer;
}

/** Undefined for what is no line of this format. */
function parse(line: Buffer): Entry | undefined {
  const afterTime = line.indexOf(space);
  const afterStream = afterTime === -1 ? -1 : line.indexOf(space, afterTime + 1);
  const afterTag = afterStream === -1 ? -1 : line.indexOf(space, afterStream + 1);
  if (afterTag === -1) return undefined;
  const time = line.toString('latin1', 0, afterTime);
  const at = Date.parse(time);
  if (Number.isNaN(at)) return undefined;
  // Further tags may follow the first one after a colon.
  const endsLine = line[afterStream + 1] !== 0x50;
  const end = endsLine || line.at(-1) !== newline ? line.length : line.length - 1;
  return { at, time, endsLine, text: line.subarray(afterTag + 1, end) };
}

async function countLines(file: FileHandle | undefined, since: number | undefined): Promise<number> {
  let count = 0;
  let isOpen = false;
  for await (const line of linesOf(file, 0)) {
    const entry = parse(line);
    if (entry === undefined || (since !== undefined && entry.at < since)) continue;
    if (entry.endsLine) count += 1;
    isOpen = !entry.endsLine;
  }
  return isOpen ? count + 1 : count;
}

interface PrinterOptions {
  /** Lines of the program, of those since `since`, that are left out first. */
  readonly skip: number;
  readonly since: number | undefined;
  readonly timestamps: boolean;
}

function createPrinter({ skip, since, timestamps }: PrinterOptions): (line: Buffer) => Buffer {
  const nothing = Buffer.alloc(0);
  let left = skip;
  let atLineStart = true;
  return (line) => {
    const entry = parse(line);
    if (entry === undefined || (since !== undefined && entry.at < since)) return nothing;
    if (left > 0) {
      if (entry.endsLine) left -= 1;
      return nothing;
    }
    const printed = timestamps && atLineStart ? Buffer.concat([Buffer.from(`${entry.time} `), entry.text]) : entry.text;
    atLineStart = entry.endsLine;
    return printed;
  };
}
