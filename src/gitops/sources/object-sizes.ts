import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { inflateSync, constants as zlib } from 'node:zlib';

/**
 * How large Git objects are, told without inflating them: a few kilobytes of a push can stand for gigabytes, and isomorphic-git has a whole
 * object in memory before anyone can ask for its size.
 */
export interface ObjectSizes {
  /** Undefined when there is no such object. */
  sizeOf(oid: string): Promise<number | undefined>;
  /** Lets go of the process that answers for packed objects; the next question starts another. */
  trim(): void;
}

/** `blob 123\0` is at the very beginning; one block of the file is more than enough of it. */
const headBytes = 512;
const looseHeader = /^[a-z]+ (\d+)\0/;

/** Loose objects say it in their first bytes; for packed ones, whose size may hang on a chain of deltas, git is asked. */
export function createObjectSizes(gitdir: string): ObjectSizes {
  let lookup: Lookup | undefined;
  return {
    async sizeOf(oid) {
      const loose = await looseSize(join(gitdir, 'objects', oid.slice(0, 2), oid.slice(2)));
      if (loose !== undefined) return loose;
      if (lookup === undefined) {
        const started = startLookup(gitdir, () => {
          if (lookup === started) lookup = undefined;
        });
        lookup = started;
      }
      return lookup.ask(oid);
    },
    trim() {
      lookup?.end();
      lookup = undefined;
    },
  };
}

async function looseSize(path: string): Promise<number | undefined> {
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
    const [, size] = looseHeader.exec(head.toString('latin1', 0, 64)) ?? [];
    if (size === undefined) throw new Error(`${path} is not a Git object`);
    return Number(size);
  } finally {
    await file.close();
  }
}

interface Lookup {
  ask(oid: string): Promise<number | undefined>;
  /** What was asked is still answered. */
  end(): void;
}

/** `git cat-file --batch-check`: a line in, a line out, in order. */
function startLookup(gitdir: string, onEnd: () => void): Lookup {
  const child: ChildProcessByStdio<Writable, Readable, null> = spawn('git', ['--git-dir', gitdir, 'cat-file', '--batch-check'], {
    stdio: ['pipe', 'pipe', 'ignore'],
    env: { PATH: process.env.PATH ?? '/usr/bin:/bin', HOME: '/nonexistent', LC_ALL: 'C', ...safeDirectory },
  });
  const waiting: Waiting[] = [];
  const fail = (err: Error): void => {
    onEnd();
    for (const { reject } of waiting.splice(0)) reject(err);
  };
  child.on('error', fail);
  child.stdin.on('error', fail);
  child.on('close', (code) => fail(new Error(`git cat-file ended with ${code}`)));
  createInterface({ input: child.stdout }).on('line', (line) => {
    const [, , size] = line.split(' ');
    waiting.shift()?.resolve(size === undefined ? undefined : Number(size));
  });
  return {
    ask: (oid) =>
      new Promise((resolve, reject) => {
        waiting.push({ resolve, reject });
        child.stdin.write(`${oid}\n`);
      }),
    end: () => child.stdin.end(),
  };
}

interface Waiting {
  readonly resolve: (size: number | undefined) => void;
  readonly reject: (err: Error) => void;
}

/** A repository of another user is readable here, as it is for isomorphic-git; nothing in it is run. */
const safeDirectory = {
  GIT_CONFIG_NOSYSTEM: '1',
  GIT_CONFIG_GLOBAL: '/dev/null',
  GIT_CONFIG_COUNT: '1',
  GIT_CONFIG_KEY_0: 'safe.directory',
  GIT_CONFIG_VALUE_0: '*',
};
