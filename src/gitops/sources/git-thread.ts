import { deserialize, setFlagsFromString } from 'node:v8';
import { Worker } from 'node:worker_threads';
import type { Clock } from '../../base/clock.ts';
import type { Component } from '../../base/component.ts';
import type { Log } from '../../base/log.ts';
import { deepFreeze } from '../../machinery/object.ts';
import type { FileContent } from '../manifests/documents.ts';
import { SourceError } from './git-source.ts';
import type { Answer, DocumentsAnswer, ObjectPlace, Request } from './git-thread-messages.ts';
import { sourceErrorOf } from './git-thread-messages.ts';

/**
 * Reads and parses manifests on a thread of its own, so that a large repository does not hold up the API. It is started with the first work
 * and ended when there was none for a while: a small repository never starts it.
 */
export interface GitThread {
  /** Documents of a file of manifests. Files that are requested in one turn go together. */
  readDocuments(place: ObjectPlace, oid: string): Promise<FileContent>;
}

export interface GitThreadOptions {
  readonly clock: Clock;
  readonly log: Log;
  /** The program of the thread. */
  readonly entry?: URL;
  readonly maxHeapMiB?: number;
}

/** Files in one question, and questions under way: what is in memory on its way is bounded by both. */
const batchFiles = 32;
const maxBatches = 4;
/** Files that wait for a place; the builder reads some hundreds at a time. */
const maxQueuedFiles = 20_000;
/** The thread holds some 25 MiB, and restarts in 50 ms while other work goes on. */
const idleMs = 3_000;
const defaultMaxHeapMiB = 512;
/** Its objects are garbage soon: a larger young generation than this was no quicker. */
const maxYoungHeapMiB = 12;

interface Waiting {
  readonly place: ObjectPlace;
  readonly oid: string;
  readonly resolve: (content: FileContent) => void;
  readonly reject: (err: unknown) => void;
}

interface Pending {
  readonly resolve: (answers: Uint8Array) => void;
  readonly reject: (err: unknown) => void;
}

export function createGitThread({ clock, log, entry, maxHeapMiB = defaultMaxHeapMiB }: GitThreadOptions): GitThread & Component {
  const program = entry ?? new URL('./git-thread-entry.js', import.meta.url);
  const pending = new Map<number, Pending>();
  const queue: Waiting[] = [];
  let worker: Worker | undefined;
  let nextId = 1;
  let batches = 0;
  let isScheduled = false;
  let cancelIdle: (() => void) | undefined;

  return {
    name: 'git-thread',
    async start() {},
    async stop() {
      cancelIdle?.();
      const running = worker;
      worker = undefined;
      failAll(new Error('the thread that reads Git repositories was stopped'));
      await running?.terminate();
    },
    readDocuments(place, oid) {
      return new Promise((resolve, reject) => {
        if (queue.length >= maxQueuedFiles) {
          reject(new Error(`more than ${maxQueuedFiles} files wait to be read`));
          return;
        }
        queue.push({ place, oid, resolve, reject });
        if (isScheduled) return;
        isScheduled = true;
        setImmediate(() => {
          isScheduled = false;
          sendBatches();
        });
      });
    },
  };

  function sendBatches(): void {
    while (batches < maxBatches && queue.length > 0) {
      const place = queue[0]?.place;
      if (place === undefined) return;
      const end = queue.findIndex((file, index) => index >= batchFiles || !isSamePlace(file.place, place));
      const batch = queue.splice(0, end === -1 ? queue.length : end);
      batches += 1;
      void readBatch(place, batch).finally(() => {
        batches -= 1;
        sendBatches();
      });
    }
  }

  async function readBatch(place: ObjectPlace, batch: readonly Waiting[]): Promise<void> {
    try {
      const bytes = await ask({ place, oids: batch.map(({ oid }) => oid) });
      const answers = deserialize(bytes) as readonly DocumentsAnswer[];
      for (const [index, { resolve, reject }] of batch.entries()) {
        const answer = answers[index];
        if (answer === undefined) reject(new Error('the thread left a file out'));
        else if ('failure' in answer) reject(sourceErrorOf(answer.failure));
        else {
          for (const { object } of answer.content.documents) deepFreeze(object);
          resolve(answer.content);
        }
      }
    } catch (err) {
      for (const { reject } of batch) reject(err);
    }
  }

  function ask(question: Omit<Request, 'id'>): Promise<Uint8Array> {
    const id = nextId;
    nextId += 1;
    cancelIdle?.();
    const running = worker ?? start();
    return new Promise((resolve, reject) => {
      pending.set(id, { resolve, reject });
      running.postMessage({ id, ...question } satisfies Request);
    });
  }

  function start(): Worker {
    // A size from --max-old-space-size, as in NODE_OPTIONS, would replace the limit below on the thread. The main
    // thread keeps it.
    setFlagsFromString('--max-old-space-size=0');
    const started = new Worker(program, {
      name: 'midship-git',
      resourceLimits: { maxOldGenerationSizeMb: maxHeapMiB, maxYoungGenerationSizeMb: maxYoungHeapMiB },
      // The thread has no use for what was said on the command line.
      argv: [],
    });
    worker = started;
    let failure: Error | undefined;
    started.on('message', onAnswer);
    started.on('error', (err: Error) => {
      failure = err;
    });
    started.on('exit', (code) => {
      if (worker !== started) return;
      worker = undefined;
      const cause = failure ?? new Error(`exit code ${code}`);
      log.error({ err: cause }, 'The thread that reads Git repositories ended');
      failAll(
        new SourceError('ReaderFailed', `the thread that reads Git repositories ended: ${cause.message}`, {
          hint: 'It starts again with the next try. Files that need this much memory are best left out of the paths that are applied.',
          cause,
        }),
      );
    });
    return started;
  }

  function onAnswer(answer: Answer): void {
    const asked = pending.get(answer.id);
    pending.delete(answer.id);
    if ('failure' in answer) asked?.reject(sourceErrorOf(answer.failure));
    else asked?.resolve(answer.answers);
    if (pending.size === 0) cancelIdle = clock.after(idleMs, endIdle);
  }

  function endIdle(): void {
    const idle = worker;
    if (pending.size > 0 || idle === undefined) return;
    worker = undefined;
    void idle.terminate();
  }

  function failAll(err: Error): void {
    const asked = [...pending.values()];
    pending.clear();
    for (const { reject } of asked) reject(err);
    for (const { reject } of queue.splice(0)) reject(err);
  }
}

const isSamePlace = (a: ObjectPlace, b: ObjectPlace): boolean => a.gitdir === b.gitdir && a.quarantine === b.quarantine;
