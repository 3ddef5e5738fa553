import { serialize } from 'node:v8';
import { parentPort } from 'node:worker_threads';
import { invariant } from '../../base/invariant.ts';
import { createGitObjects, type GitObjects } from './git-objects.ts';
import { type Answer, type DocumentsAnswer, failureOf, type ObjectPlace, type Request } from './git-thread-messages.ts';

/** The program of the Git thread: answers the questions of `git-thread.ts`. */

/** A repository that nothing was asked of for so long lets its `git cat-file` go. */
const idleMs = 2_000;

const port = parentPort;
invariant(port !== null, 'this is the program of a thread');
const repositories = new Map<string, { readonly objects: GitObjects; readonly timer: NodeJS.Timeout }>();

port.on('message', (request: Request) => void answer(request));

async function answer({ id, place, oids }: Request): Promise<void> {
  let message: Answer;
  try {
    message = { id, answers: await readAll(place, oids) };
  } catch (err) {
    message = { id, failure: failureOf(err) };
  }
  port?.postMessage(message, 'answers' in message ? [message.answers.buffer] : []);
}

async function readAll(place: ObjectPlace, oids: readonly string[]): Promise<Uint8Array<ArrayBuffer>> {
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
    objects.close();
  }, idleMs);
  repositories.set(key, { objects, timer });
  return objects;
}
