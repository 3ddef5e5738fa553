import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { promisify } from 'node:util';
import { inflate, inflateSync, constants as zlib } from 'node:zlib';
import { type ReadGitEnvironment, readGitEnvironment } from './git-command.ts';

export type ObjectType = 'blob' | 'tree' | 'commit' | 'tag';

export interface GitObject {
  readonly type: ObjectType;
  readonly content: Uint8Array;
}

/** An object that was not read, because it is larger than the caller wants to hold. */
export interface TooLarge {
  readonly type: ObjectType;
  readonly sizeBytes: number;
}

/**
 * Reads Git objects by id, their size first. A few kilobytes of a push can expand to gigabytes, and an inflated object
 * is in memory before it can be refused.
 */
export interface ObjectReader {
  /** Undefined when there is no such object. */
  read(oid: string, maxBytes: number): Promise<GitObject | TooLarge | undefined>;
  /** Lets go of the process that reads packed objects, unless it is asked again within two seconds. */
  trim(): void;
  /** Lets go of it at once; the next question starts another. */
  close(): void;
}

export interface ObjectReaderOptions extends ReadGitEnvironment {
  readonly gitdir: string;
}

/** `blob 123\0` is at the very beginning; one block of the file is more than enough of it. */
const headBytes = 512;
const looseHeader = /^(blob|tree|commit|tag) (\d+)\0/;
/** Starting a process stops the event loop for 2 to 3 ms, and a thousand apps may be built one after the other. */
const idleMs = 2_000;
/** Larger ones are inflated on a thread of the pool. */
const maxInlineBytes = 128 * 1024;
const inflateAside = promisify(inflate);

/**
 * Loose objects, which is what a small push leaves, are read in this thread. For packed ones `git cat-file` is asked: it reads 10,000 files
 * in a tenth of a second, and in a process of its own. While it runs it is asked for all, loose ones too.
 */
export function createObjectReader(options: ObjectReaderOptions): ObjectReader {
  const directories = [options.quarantine, join(options.gitdir, 'objects')].filter((path) => path !== undefined);
  let catFile: CatFile | undefined;
  let idle: NodeJS.Timeout | undefined;
  const close = (): void => {
    clearTimeout(idle);
    idle = undefined;
    catFile?.end();
    catFile = undefined;
  };
  return {
    async read(oid, maxBytes) {
      // A request between two builds postpones the end and does not cancel it.
      idle?.refresh();
      if (catFile === undefined) {
        for (const directory of directories) {
          const found = await readLoose(join(directory, oid.slice(0, 2), oid.slice(2)), maxBytes);
          if (found !== undefined) return found;
        }
      }
      if (catFile === undefined) {
        const started = startCatFile(options, () => {
          if (catFile === started) catFile = undefined;
        });
        catFile = started;
      }
      return catFile.read(oid, maxBytes);
    },
    trim() {
      clearTimeout(idle);
      if (catFile !== undefined) idle = setTimeout(close, idleMs);
    },
    close,
  };
}

async function readLoose(path: string, maxBytes: number): Promise<GitObject | TooLarge | undefined> {
  let file: Awaited<ReturnType<typeof open>>;
  try {
    file = await open(path);
  } catch (err) {
    if ((err as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw err;
  }
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(headBytes), 0, headBytes, 0);
    // The flush lets a part of a stream be inflated; 512 bytes of input give half a megabyte at most.
    const head = inflateSync(buffer.subarray(0, bytesRead), { finishFlush: zlib.Z_SYNC_FLUSH });
    const [header = '', type, length] = looseHeader.exec(head.toString('latin1', 0, 64)) ?? [];
    if (type === undefined) throw new Error(`${path} is not a Git object`);
    const sizeBytes = Number(length);
    if (sizeBytes > maxBytes) return { type: type as ObjectType, sizeBytes };
    const whole = await inflateObject(
      bytesRead < headBytes ? buffer.subarray(0, bytesRead) : await file.readFile(),
      header.length + sizeBytes,
    );
    if (whole.byteLength !== header.length + sizeBytes) throw new Error(`${path} does not have the size it states`);
    return { type: type as ObjectType, content: whole.subarray(header.length) };
  } finally {
    await file.close();
  }
}

async function inflateObject(compressed: Uint8Array, expectedBytes: number): Promise<Buffer> {
  const options = { maxOutputLength: expectedBytes + 1 };
  return expectedBytes > maxInlineBytes ? inflateAside(compressed, options) : inflateSync(compressed, options);
}

interface CatFile {
  read(oid: string, maxBytes: number): Promise<GitObject | TooLarge | undefined>;
  /** Open requests are still answered. */
  end(): void;
}

type Answer = { readonly type: ObjectType; readonly sizeBytes: number; readonly content?: Buffer } | undefined;

interface Waiting {
  readonly resolve: (answer: Answer) => void;
  readonly reject: (err: Error) => void;
  readonly withContent: boolean;
}

const answerHeader = /^[0-9a-f]{40} (blob|tree|commit|tag) (\d+)$/;

/** `git cat-file --batch-command`: answers come in the order of the questions. */
function startCatFile({ gitdir, ...environment }: ObjectReaderOptions, onEnd: () => void): CatFile {
  const child: ChildProcessByStdio<Writable, Readable, null> = spawn('git', ['--git-dir', gitdir, 'cat-file', '--batch-command'], {
    stdio: ['pipe', 'pipe', 'ignore'],
    env: readGitEnvironment(environment),
  });
  const waiting: Waiting[] = [];
  let next = 0;
  let isEnding = false;
  let open = 0;
  const fail = (err: Error): void => {
    onEnd();
    for (const { reject } of waiting.splice(0).slice(next)) reject(err);
    next = 0;
  };
  child.on('error', fail);
  child.stdin.on('error', fail);
  child.on('close', (code) => fail(new Error(`git cat-file ended with ${code}`)));
  const parse = createAnswerParser({
    withContent: () => waiting[next]?.withContent ?? false,
    onAnswer(answer) {
      waiting[next]?.resolve(answer);
      next += 1;
      // Taken out by the hundred: a shift for each answer would move the whole queue each time.
      if (next >= 256) {
        waiting.splice(0, next);
        next = 0;
      }
    },
  });
  child.stdout.on('data', (chunk: Buffer) => {
    try {
      parse(chunk);
    } catch (err) {
      child.kill();
      fail(err as Error);
    }
  });

  let questions = '';
  const ask = (question: string, withContent: boolean): Promise<Answer> =>
    new Promise((resolve, reject) => {
      waiting.push({ resolve, reject, withContent });
      // Questions of one turn go out together.
      if (questions === '') setImmediate(flush);
      questions += `${question}\n`;
    });
  const flush = (): void => {
    child.stdin.write(questions);
    questions = '';
  };
  const endWhenIdle = (): void => {
    if (isEnding && open === 0) child.stdin.end();
  };
  return {
    async read(oid, maxBytes) {
      open += 1;
      try {
        const info = await ask(`info ${oid}`, false);
        if (info === undefined) return undefined;
        if (info.sizeBytes > maxBytes) return { type: info.type, sizeBytes: info.sizeBytes };
        const answer = await ask(`contents ${oid}`, true);
        return answer?.content === undefined ? undefined : { type: answer.type, content: answer.content };
      } finally {
        open -= 1;
        endWhenIdle();
      }
    },
    end() {
      isEnding = true;
      endWhenIdle();
    },
  };
}

interface AnswerParserOptions {
  /** True when content follows the header of the next answer. */
  withContent(): boolean;
  onAnswer(answer: Answer): void;
}

/** A header line, and then as many bytes as it says and a newline, or `… missing` and nothing more. */
function createAnswerParser({ withContent, onAnswer }: AnswerParserOptions): (chunk: Buffer) => void {
  let rest: Buffer = Buffer.alloc(0);
  let header: { readonly type: ObjectType; readonly sizeBytes: number } | undefined;
  /** Content that takes more than one chunk. */
  let parts: Buffer[] = [];
  let missing = 0;
  return (chunk) => {
    let data = rest.byteLength === 0 ? chunk : Buffer.concat([rest, chunk]);
    rest = Buffer.alloc(0);
    while (data.byteLength > 0) {
      if (header === undefined) {
        const end = data.indexOf(0x0a);
        if (end === -1) {
          rest = data;
          if (rest.byteLength > 1_024) throw new Error('git cat-file did not answer in its format');
          return;
        }
        const line = data.toString('latin1', 0, end);
        data = data.subarray(end + 1);
        const [, type, size] = answerHeader.exec(line) ?? [];
        const found = type === undefined ? undefined : { type: type as ObjectType, sizeBytes: Number(size) };
        if (found === undefined && !/ (missing|ambiguous)$/.test(line)) throw new Error('git cat-file did not answer in its format');
        if (found === undefined || !withContent()) {
          onAnswer(found);
          continue;
        }
        header = found;
        missing = found.sizeBytes + 1;
        parts = [];
      }
      const part = data.subarray(0, missing);
      data = data.subarray(part.byteLength);
      missing -= part.byteLength;
      parts.push(part);
      if (missing > 0) return;
      const [only] = parts;
      const content = parts.length === 1 && only !== undefined ? only : Buffer.concat(parts);
      const done = { ...header, content: content.subarray(0, header.sizeBytes) };
      header = undefined;
      parts = [];
      onAnswer(done);
    }
  };
}
