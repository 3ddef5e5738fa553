import { type Clock, sleep } from '../base/clock.ts';
import { isStatusError, type StatusError } from '../machinery/status-error.ts';

export interface UntilAcceptedOptions {
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** Called for the first refusal, and for each with a different text. */
  onRefusal(err: StatusError): void;
  /** Asked after each refusal: the error that ends the tries, or undefined to try again. Without it only the signal ends them. */
  endOf?(err: StatusError): Error | undefined;
}

const retryEveryMs = 1_000;

/**
 * Sends what a start cannot do without, again and again until the API takes it. A webhook that is out of reach or a policy that denies
 * everything must not end the start. A person who removes it needs the API, which runs already.
 *
 * @throws what is not the API's refusal, what `endOf` gives, and the signal's reason
 */
export async function untilAccepted<T>(request: () => Promise<T>, options: UntilAcceptedOptions): Promise<T> {
  const { clock, signal, onRefusal, endOf } = options;
  let told = '';
  for (;;) {
    try {
      return await request();
    } catch (err) {
      if (!isStatusError(err)) throw err;
      const end = endOf?.(err);
      if (end !== undefined) throw end;
      if (err.message !== told) onRefusal(err);
      told = err.message;
    }
    await sleep(clock, retryEveryMs, signal);
  }
}
