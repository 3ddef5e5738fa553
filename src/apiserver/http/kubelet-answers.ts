import type { IncomingMessage } from 'node:http';
import type { Pod } from '../../api/core/v1/pod.ts';
import type { Clock } from '../../base/clock.ts';
import { readAnswerStart } from '../../base/http-answer.ts';
import { badRequest, internalError, StatusError } from '../../machinery/status-error.ts';

/** Parts that requests to an agent share: the choice of the container, and the meaning of a refusal. */

/** Bytes that are read of an agent's error text. */
const maxErrorBytes = 50_000;
const maxErrorMs = 10_000;

/** Names the container, as the real server does, or says which there are. */
export function containerOf({ metadata: { name }, spec }: Pod, asked: string): string {
  const containers = spec.containers.map((container) => container.name);
  const initContainers = (spec.initContainers ?? []).map((container) => container.name);
  if (asked !== '') {
    const ephemeralContainers = (spec.ephemeralContainers ?? []).map((container) => container.name);
    const isThere = [containers, initContainers, ephemeralContainers].some((names) => names.includes(asked));
    if (!isThere) throw badRequest(`container ${asked} is not valid for pod ${name}`);
    return asked;
  }
  const [only, ...others] = containers;
  if (only === undefined) throw badRequest(`a container name must be specified for pod ${name}`);
  if (others.length === 0) return only;
  const init = initContainers.length === 0 ? '' : ` or one of the init containers: [${initContainers.join(' ')}]`;
  throw badRequest(`a container name must be specified for pod ${name}, choose one of: [${containers.join(' ')}]${init}`);
}

export interface RefusedRequest {
  readonly name: string;
  readonly kind: string;
  readonly clock: Clock;
}

/** An agent's refusal as a message, as the real server passes it on. */
export async function errorOf(answer: IncomingMessage, { name, kind, clock }: RefusedRequest): Promise<StatusError> {
  const text = (await readAnswerStart(answer, { maxBytes: maxErrorBytes, time: { clock, maxMs: maxErrorMs } })).trimEnd();
  switch (answer.statusCode) {
    case 400:
      return badRequest(text);
    case 404:
      return new StatusError({
        code: 404,
        reason: 'NotFound',
        message: `the server could not find the requested resource ( ${kind} ${name})`,
        details: { name, kind, causes: [{ reason: 'UnexpectedServerResponse', message: text }] },
      });
    case 429:
      return new StatusError({ code: 429, reason: 'TooManyRequests', message: text, details: { retryAfterSeconds: 1 } });
    default:
      return internalError(text === '' ? `agent answered ${answer.statusCode}` : text);
  }
}
