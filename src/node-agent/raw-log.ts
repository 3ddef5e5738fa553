import { type FileHandle, open, readFile } from 'node:fs/promises';
import type { LogOptions, ReadLogOptions } from './container-log.ts';
import type { ContainerLog } from './container-runtime.ts';
import { chunkBytes, chunksOf, watchFile } from './log-file.ts';

/** With the file of times, which this format has. */
export interface RawLogOptions extends ReadLogOptions {
  readonly log: Required<ContainerLog>;
}

/** When what lies before `offset` had been written. */
interface LogTime {
  readonly offset: number;
  readonly at: number;
}

/** A container's output, the rotated part first. Memory is one chunk, whatever the length of the log or of a line. */
export async function* readRawLog({ log, options, isRunning, clock, signal }: RawLogOptions): AsyncGenerator<Buffer> {
  let budget = options.limitBytes ?? Number.POSITIVE_INFINITY;
  function* limited(pieces: Iterable<Buffer>): Iterable<Buffer> {
    for (const piece of pieces) {
      if (budget <= 0) return;
      const part = piece.length > budget ? piece.subarray(0, budget) : piece;
      budget -= part.length;
      yield part;
    }
  }

  const older = options.offset !== undefined ? undefined : await openLog({ path: `${log.path}.1`, timesPath: `${log.timesPath}.1` });
  const current = await openLog(log);
  try {
    let { start: position, missing } = current === undefined ? { start: 0, missing: options.tailLines } : await startOf(current, options);
    if (older !== undefined && (missing === undefined || missing > 0)) {
      const { start } = await startOf(older, { ...options, tailLines: missing });
      const printer = createPrinter(options.timestamps, older);
      for await (const { chunk, at } of chunksOf(older.file, start, await sizeOf(older.file))) yield* limited(printer(chunk, at));
    }
    if (current === undefined) return;
    const printer = createPrinter(options.timestamps, current);
    const changes = options.follow ? watchFile(log.path, clock, signal) : undefined;
    try {
      for (;;) {
        // Asked before the read: what a program writes last is in the file before it is gone.
        const running = isRunning();
        const size = await sizeOf(current.file);
        // Cut by rotation: what follows is new from the start.
        if (size < position) position = 0;
        for await (const { chunk, at } of chunksOf(current.file, position, size)) {
          yield* limited(printer(chunk, at));
          position = at + chunk.length;
          if (budget <= 0 || signal.aborted) return;
        }
        if (changes === undefined || signal.aborted || (!running && position >= (await sizeOf(current.file)))) return;
        await changes.next();
        if (options.timestamps) current.times = await readTimes(log.timesPath);
      }
    } finally {
      changes?.close();
    }
  } finally {
    await older?.file.close();
    await current?.file.close();
  }
}

interface OpenLog {
  readonly file: FileHandle;
  times: readonly LogTime[];
  readonly changedAt: number;
}

async function openLog({ path, timesPath }: Required<ContainerLog>): Promise<OpenLog | undefined> {
  let file: FileHandle;
  try {
    file = await open(path, 'r');
  } catch (err) {
    if ((err as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw err;
  }
  return { file, times: await readTimes(timesPath), changedAt: (await file.stat()).mtimeMs };
}

const sizeOf = async (file: FileHandle): Promise<number> => (await file.stat()).size;

/** The lines of a `.times` file; a last line that is being written is left out. */
function parseTimes(text: string): readonly LogTime[] {
  return text
    .split('\n')
    .slice(0, -1)
    .flatMap((line) => {
      const [offset, at] = line.split(' ').map(Number);
      return offset !== undefined && at !== undefined && Number.isFinite(offset) && Number.isFinite(at) ? [{ offset, at }] : [];
    });
}

async function readTimes(path: string): Promise<readonly LogTime[]> {
  try {
    return parseTimes(await readFile(path, 'utf8'));
  } catch (err) {
    if ((err as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw err;
  }
}

/** When the byte at `offset` was written, as far as was noted; undefined when it came after the last note. */
function timeAt(times: readonly LogTime[], offset: number): number | undefined {
  let low = 0;
  let high = times.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((times[middle]?.offset ?? 0) > offset) high = middle;
    else low = middle + 1;
  }
  return times[low]?.at;
}

/** Start position, and the number of the wanted lines in the older file. */
async function startOf(
  { file, times, changedAt }: OpenLog,
  options: LogOptions,
): Promise<{ readonly start: number; readonly missing: number | undefined }> {
  if (options.offset !== undefined) return { start: options.offset, missing: 0 };
  const size = await sizeOf(file);
  const { since, tailLines } = options;
  const sinceStart = since === undefined ? 0 : await lineAfter(file, offsetSince(times, since, changedAt, size), size);
  if (tailLines === undefined) return { start: sinceStart, missing: sinceStart > 0 ? 0 : undefined };
  const { start, found } = await tailStart(file, size, tailLines);
  return { start: Math.max(start, sinceStart), missing: sinceStart > 0 ? 0 : tailLines - found };
}

/** The offset from which everything was written at `since` or later. */
function offsetSince(times: readonly LogTime[], since: number, changedAt: number, size: number): number {
  let offset = 0;
  for (const time of times) {
    if (time.at >= since) return offset;
    offset = time.offset;
  }
  return changedAt >= since ? offset : size;
}

/** The start of the first line that begins at `offset` or after it. */
async function lineAfter(file: FileHandle, offset: number, size: number): Promise<number> {
  if (offset === 0) return 0;
  for await (const { chunk, at } of chunksOf(file, offset - 1, size)) {
    const newline = chunk.indexOf(0x0a);
    if (newline !== -1) return at + newline + 1;
  }
  return size;
}

async function tailStart(file: FileHandle, size: number, lines: number): Promise<{ readonly start: number; readonly found: number }> {
  if (lines === 0) return { start: size, found: 0 };
  let found = 0;
  const buffer = Buffer.alloc(chunkBytes);
  for (let end = size; end > 0; ) {
    const begin = Math.max(0, end - chunkBytes);
    const { bytesRead } = await file.read(buffer, 0, end - begin, begin);
    for (let index = bytesRead - 1; index >= 0; index -= 1) {
      // The newline at the very end closes the last line and begins no other.
      if (buffer[index] !== 0x0a || begin + index === size - 1) continue;
      found += 1;
      if (found === lines) return { start: begin + index + 1, found };
    }
    end = begin;
  }
  return { start: 0, found: size === 0 ? 0 : found + 1 };
}

/** Puts the time in front of each line, where asked for. */
function createPrinter(timestamps: boolean, log: OpenLog): (chunk: Buffer, at: number) => Iterable<Buffer> {
  if (!timestamps) return (chunk) => [chunk];
  let atLineStart = true;
  return function* (chunk, at) {
    for (let from = 0; from < chunk.length; ) {
      const newline = chunk.indexOf(0x0a, from);
      const to = newline === -1 ? chunk.length : newline + 1;
      if (atLineStart)
        yield Buffer.from(`${new Date(timeAt(log.times, at + from) ?? Math.max(log.changedAt, log.times.at(-1)?.at ?? 0)).toISOString()} `);
      yield chunk.subarray(from, to);
      atLineStart = newline !== -1;
      from = to;
    }
  };
}
