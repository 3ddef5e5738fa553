import { type Clock, sleep } from '../base/clock.ts';
import type { KubeObject, ObjectRef } from '../machinery/object.ts';
import type { Resource } from '../machinery/resource.ts';
import { isExpired } from '../machinery/status-error.ts';
import type { Client } from './client.ts';

export interface UntilObjectOptions<T extends KubeObject> {
  readonly client: Client;
  readonly resource: Resource<T>;
  readonly ref: ObjectRef;
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

/** After a stream that ended without an answer. */
const pauseMs = 1_000;

/**
 * Follows one object by a watch until `answerOf` finds in it what is waited for.
 *
 * @throws StatusError `NotFound` when the object is not there, and what the server refuses
 * @throws the reason of `signal` when it is aborted
 */
export async function untilObject<T extends KubeObject, A>(
  { client, resource, ref, clock, signal }: UntilObjectOptions<T>,
  answerOf: (object: T) => A | undefined,
): Promise<A> {
  for (;;) {
    const seen = await client.get(resource, ref, { signal });
    let answer = answerOf(seen);
    if (answer !== undefined) return answer;
    const found = new AbortController();
    try {
      await client.watch(resource, {
        namespace: ref.namespace,
        fieldSelector: `metadata.name=${ref.name}`,
        resourceVersion: seen.metadata.resourceVersion ?? '',
        signal: AbortSignal.any([signal, found.signal]),
        onEvents(events) {
          for (const { type, object } of events) if (type === 'ADDED' || type === 'MODIFIED') answer ??= answerOf(object);
          // An object that went away is for the next look to say.
          if (answer !== undefined || events.some(({ type }) => type === 'DELETED')) found.abort();
        },
      });
    } catch (err) {
      if (!isExpired(err)) throw err;
    }
    if (answer !== undefined) return answer;
    await sleep(clock, pauseMs, signal);
  }
}
