import type { Clock } from '../../base/clock.ts';
import type { Client } from '../../client/client.ts';
import { isStatusError, StatusError } from '../../machinery/status-error.ts';

export interface DeadlineOptions {
  readonly clock: Clock;
  readonly timeoutMs: number;
  /** A request had no answer: from the server, or in time. */
  onUnreachable(reason: string): void;
}

/**
 * A client whose requests end within `timeoutMs`, watches aside, whatever the server does. A write that was given up may have been done.
 *
 * @throws StatusError `Timeout` for a request that took too long
 */
export function withDeadline(client: Client, { clock, timeoutMs, onUnreachable }: DeadlineOptions): Client {
  function bounded<T>(act: (signal: AbortSignal) => Promise<T>, outer: AbortSignal | undefined): Promise<T> {
    const limit = new AbortController();
    return new Promise<T>((resolve, reject) => {
      const cancel = clock.after(timeoutMs, () => {
        const message = `no answer within ${timeoutMs / 1_000} s`;
        onUnreachable(message);
        reject(new StatusError({ code: 504, reason: 'Timeout', message }));
        limit.abort(new Error(message));
      });
      act(outer === undefined ? limit.signal : AbortSignal.any([outer, limit.signal]))
        .then(resolve, (err: unknown) => {
          // A server that answers with an error is there.
          if (isStatusError(err) && err.reason === 'ServiceUnavailable' && err.cause !== undefined) onUnreachable(err.message);
          reject(err);
        })
        .finally(cancel);
    });
  }

  return {
    get: (resource, ref, options = {}) => bounded((signal) => client.get(resource, ref, { ...options, signal }), options.signal),
    list: (resource, options = {}) => bounded((signal) => client.list(resource, { ...options, signal }), options.signal),
    watch: (resource, options) => client.watch(resource, options),
    create: (resource, object, options = {}) =>
      bounded((signal) => client.create(resource, object, { ...options, signal }), options.signal),
    update: (resource, object, options = {}) =>
      bounded((signal) => client.update(resource, object, { ...options, signal }), options.signal),
    patch: (resource, ref, patch, options = {}) =>
      bounded((signal) => client.patch(resource, ref, patch, { ...options, signal }), options.signal),
    delete: (resource, ref, options = {}) => bounded((signal) => client.delete(resource, ref, { ...options, signal }), options.signal),
    deleteCollection: (resource, options) => bounded((signal) => client.deleteCollection(resource, { ...options, signal }), options.signal),
    createSubresource: (resource, ref, subresource, body, options = {}) =>
      bounded((signal) => client.createSubresource(resource, ref, subresource, body, { ...options, signal }), options.signal),
    discover: () => bounded(() => client.discover(), undefined),
  };
}
