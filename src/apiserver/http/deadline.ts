import type { ServerResponse } from 'node:http';
import type { Clock } from '../../base/clock.ts';
import { StatusError } from '../../machinery/status-error.ts';
import { timeoutMsOf } from './options.ts';
import { sendError } from './respond.ts';

/** The time that a client gives its request by `timeout=`. */
export interface Deadline {
  /** Aborted when the time is over. */
  readonly signal: AbortSignal;
  /** The client has its answer, or was cut off: nothing more may be sent. */
  readonly hasPassed: boolean;
}

/** No request may last longer, whatever its client says; upstream's default of `--request-timeout`. */
const maxTimeoutMs = 60_000;

const timeoutError = (): StatusError =>
  new StatusError({ code: 504, reason: 'Timeout', message: 'Timeout: request did not complete within the allotted timeout', details: {} });

/**
 * Answers 504 when the client's time is over before there is an answer, and cuts off one that is under way then. Writes of
 * the request may still happen, as upstream. Undefined when the client has set no time.
 *
 * @throws StatusError 504 for a time that is over already
 */
export function startDeadline(response: ServerResponse, query: URLSearchParams, clock: Clock): Deadline | undefined {
  const timeoutMs = timeoutMsOf(query);
  if (timeoutMs === undefined) return undefined;
  if (timeoutMs < 1) throw timeoutError();
  const over = new AbortController();
  const cancel = clock.after(Math.min(timeoutMs, maxTimeoutMs), () => {
    if (response.writableEnded) return;
    over.abort();
    // Cuts off an answer whose head is out.
    sendError(response, timeoutError());
  });
  response.once('close', cancel);
  return {
    signal: over.signal,
    get hasPassed() {
      return over.signal.aborted;
    },
  };
}
