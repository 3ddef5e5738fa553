import { type Clock, sleep } from '../base/clock.ts';
import { isStatusError, type StatusError } from '../machinery/status-error.ts';

export interface UntilAcceptedOptions {
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** Called for the first refusal, and for each with a different text. */
  onRefusal(err: StatusError): void;
}

const retryEveryMs = 1_000;

/**
 * Writes what a start cannot do without, again and again until the API takes it. A webhook that is out of reach or a policy that denies
 * everything must not end the start. A person who removes it needs the API, which runs already.
 *
 * @throws what is not the API's refusal, and the signal's reason
 */
export async function untilAccepted<T>(write: () => Promise<T>, { clock, signal, onRefusal }: UntilAcceptedOptions): Promise<T> {
  let told = '';
  for (;;) {
    try {
      return await write();
    } catch (err) {
      if (!isStatusError(err)) throw err;
      if (err.message !== told) onRefusal(err);
      told = err.message;
    }
    await sleep(clock, retryEveryMs, signal);
  }
}
