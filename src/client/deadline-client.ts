import type { Clock } from '../base/clock.ts';
import { isStatusError, StatusError } from '../machinery/status-error.ts';
import type { Client } from './client.ts';
import { guardedClient } from './guarded-client.ts';

export interface DeadlineOptions {
  readonly clock: Clock;
  readonly timeoutMs: number;
  /** A request had no answer: from the server, or in time. */
  onUnreachable?(reason: string): void;
}

/**
 * A client whose requests end within `timeoutMs`, watches aside, whatever the server does. A write that was given up may have been done.
 *
 * @throws StatusError `Timeout` for a request that took too long
 */
export function withDeadline(client: Client, { clock, timeoutMs, onUnreachable }: DeadlineOptions): Client {
  return guardedClient(
    client,
    (act, { signal: outer }) =>
      new Promise((resolve, reject) => {
        const limit = new AbortController();
        const cancel = clock.after(timeoutMs, () => {
          const message = `no answer within ${timeoutMs / 1_000} s`;
          onUnreachable?.(message);
          reject(new StatusError({ code: 504, reason: 'Timeout', message }));
          limit.abort(new Error(message));
        });
        act(outer === undefined ? limit.signal : AbortSignal.any([outer, limit.signal]))
          .then(resolve, (err: unknown) => {
            // A server that answers with an error is there.
            if (isStatusError(err) && err.reason === 'ServiceUnavailable' && err.cause !== undefined) onUnreachable?.(err.message);
            reject(err);
          })
          .finally(cancel);
      }),
  );
}
