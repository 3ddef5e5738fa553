import type { IncomingMessage, ServerResponse } from 'node:http';

/**
 * A part of a component that is served on a port another component owns: the Git remote and the webhooks sit on web's port. The remote of
 * several servers is on that of the API, too. `cli/compose` hands them over; neither side knows the other.
 */
export interface HttpMount {
  /** Starts and ends with a slash: `/git/`. Requests whose path starts with it are given to `handle`, unchanged. */
  readonly prefix: string;
  /** Answers whatever name the port is asked by, and other origins: what it serves is not for browsers, and needs a secret each time. */
  readonly acceptsAnyHost?: boolean;
  /** Answers the request, also when it fails. Must bound what it reads. */
  handle(request: IncomingMessage, response: ServerResponse): void | Promise<void>;
}
