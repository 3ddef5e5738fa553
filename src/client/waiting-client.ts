import type { Clock } from '../base/clock.ts';
import type { StatusError } from '../machinery/status-error.ts';
import type { Client } from './client.ts';
import { guardedClient } from './guarded-client.ts';
import { untilAccepted } from './until-accepted.ts';

export interface WaitingOptions {
  readonly clock: Clock;
  /** From the first refusal of a request on. */
  readonly forMs: number;
  /** Ends the wait. */
  readonly signal: AbortSignal;
  /** Called for the first refusal of a request, and for each with a different text. */
  onRefusal(err: StatusError): void;
  /** The error for a request that was refused for so long. */
  giveUp(err: StatusError): Error;
}

/** A client that sends a request again while the answer is 503: the server has begun nothing then. Watches are not repeated. */
export function waitingClient(client: Client, { clock, forMs, signal, onRefusal, giveUp }: WaitingOptions): Client {
  return guardedClient(client, (act, { signal: own }) => {
    let deadline: number | undefined;
    return untilAccepted(() => act(own), {
      clock,
      signal: own === undefined ? signal : AbortSignal.any([own, signal]),
      onRefusal,
      endOf(err) {
        if (err.reason !== 'ServiceUnavailable') return err;
        deadline ??= clock.monotonicMs() + forMs;
        return clock.monotonicMs() < deadline ? undefined : giveUp(err);
      },
    });
  });
}
