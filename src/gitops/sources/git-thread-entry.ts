import { serialize } from 'node:v8';
import { parentPort } from 'node:worker_threads';
import { invariant } from '../../base/invariant.ts';
import { createGitObjects, type GitObjects } from './git-objects.ts';
import { type Answer, type DocumentsAnswer, failureOf, type ObjectPlace, type Request } from './git-thread-messages.ts';
import { fetchRef } from './remote-fetch.ts';

/** The program of the Git thread: answers the questions of `git-thread.ts`. */

/** A repository that nothing was asked of for so long lets its `git cat-file` go. */
const idleMs = 2_000;

const port = parentPort;
invariant(port !== null, 'this is the program of a thread');
const fetches = new Map<number, AbortController>();
const repositories = new Map<string, { readonly objects: GitObjects; timer: NodeJS.Timeout }>();

port.on('message', (request: Request) => {
  if (request.type === 'abort') fetches.get(request.id)?.abort();
  else void answer(request);
});

async function answer(request: Exclude<Request, { readonly type: 'abort' }>): Promise<void> {
  try {
    send({ id: request.id, value: request.type === 'documents' ? await readAll(request.place, request.oids) : await fetchOne(request) });
  } catch (err) {
    send({ id: request.id, failure: failureOf(err) });
  }
}

function send(message: Answer): void {
  const { buffer } = 'value' in message && message.value instanceof Uint8Array ? message.value : new Uint8Array();
  port?.postMessage(message, buffer.byteLength === 0 ? [] : [buffer as ArrayBuffer]);
}

async function readAll(place: ObjectPlace, oids: readonly string[]): Promise<Uint8Array> {
  const objects = repositoryAt(place);
  const answers = await Promise.all(
    oids.map(async (oid): Promise<DocumentsAnswer> => {
      try {
        return { content: await objects.readDocuments(oid) };
      } catch (err) {
        return { failure: failureOf(err) };
      }
    }),
  );
  // A copy of its own size: the buffer goes to the other thread as it is.
  return Uint8Array.from(serialize(answers));
}

async function fetchOne({ id, ...request }: Extract<Request, { readonly type: 'fetch' }>): Promise<undefined> {
  const abort = new AbortController();
  fetches.set(id, abort);
  try {
    await fetchRef({ ...request, signal: abort.signal });
  } finally {
    fetches.delete(id);
  }
  return undefined;
}

function repositoryAt(place: ObjectPlace): GitObjects {
  const key = `${place.gitdir}\0${place.quarantine ?? ''}`;
  const known = repositories.get(key);
  if (known !== undefined) {
    known.timer.refresh();
    return known.objects;
  }
  const objects = createGitObjects(place);
  const timer = setTimeout(() => {
    repositories.delete(key);
    objects.trim();
  }, idleMs);
  repositories.set(key, { objects, timer });
  return objects;
}
