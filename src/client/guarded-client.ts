import type { Client } from './client.ts';

/** Makes one request by calling `act` with the signal that ends it. */
export type Guard = <T>(act: (signal: AbortSignal | undefined) => Promise<T>, request: GuardedRequest) => Promise<T>;

export interface GuardedRequest {
  /** Signal of the caller. */
  readonly signal: AbortSignal | undefined;
  /** It may change something; a dry run counts. */
  readonly isWrite: boolean;
}

/** A client whose requests, watches aside, go through `guard`. */
export function guardedClient(client: Client, guard: Guard): Client {
  interface Cancellable {
    readonly signal?: AbortSignal;
  }
  function through<O extends Cancellable, T>(isWrite: boolean, options: O, act: (options: O) => Promise<T>): Promise<T> {
    return guard((signal) => act(signal === options.signal || signal === undefined ? options : { ...options, signal }), {
      signal: options.signal,
      isWrite,
    });
  }

  return {
    get: (resource, ref, options = {}) => through(false, options, (bounded) => client.get(resource, ref, bounded)),
    list: (resource, options = {}) => through(false, options, (bounded) => client.list(resource, bounded)),
    watch: (resource, options) => client.watch(resource, options),
    create: (resource, object, options = {}) => through(true, options, (bounded) => client.create(resource, object, bounded)),
    update: (resource, object, options = {}) => through(true, options, (bounded) => client.update(resource, object, bounded)),
    patch: (resource, ref, patch, options = {}) => through(true, options, (bounded) => client.patch(resource, ref, patch, bounded)),
    delete: (resource, ref, options = {}) => through(true, options, (bounded) => client.delete(resource, ref, bounded)),
    deleteCollection: (resource, options) => through(true, options, (bounded) => client.deleteCollection(resource, bounded)),
    createSubresource: (resource, ref, subresource, body, options = {}) =>
      through(true, options, (bounded) => client.createSubresource(resource, ref, subresource, body, bounded)),
    discover: () => through(false, {}, () => client.discover()),
  };
}
