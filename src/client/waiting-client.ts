import { type Clock, sleep } from '../base/clock.ts';
import { isStatusError } from '../machinery/status-error.ts';
import type { Client } from './client.ts';
import { guardedClient } from './guarded-client.ts';

export interface WaitingOptions {
  readonly clock: Clock;
  /** From the first refusal of a request on. */
  readonly forMs: number;
  /** Ends the wait. */
  readonly signal: AbortSignal;
  /** The error for a request that was refused for so long. */
  giveUp(err: Error): Error;
}

const retryMs = 500;

/** A client that sends a request again while the answer is 503: the server has begun nothing then. Watches are not repeated. */
export function waitingClient(client: Client, { clock, forMs, signal, giveUp }: WaitingOptions): Client {
  return guardedClient(client, async (act, { signal: own }) => {
    for (let deadline: number | undefined; ; ) {
      try {
        return await act(own);
      } catch (err) {
        if (!isStatusError(err) || err.reason !== 'ServiceUnavailable') throw err;
        deadline ??= clock.monotonicMs() + forMs;
        if (clock.monotonicMs() >= deadline) throw giveUp(err);
        await sleep(clock, retryMs, own === undefined ? signal : AbortSignal.any([own, signal]));
      }
    }
  });
}
