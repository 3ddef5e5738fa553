import type { IncomingHttpHeaders, IncomingMessage, OutgoingHttpHeaders, ServerResponse } from 'node:http';
import { pipeline } from 'node:stream/promises';
import { hopByHopHeaders } from '../../base/hop-by-hop.ts';

/** An answer of another server (an agent, a pod, an extension server) on its way to the client. */
export interface RelayedAnswer {
  readonly answer: IncomingMessage;
  readonly response: ServerResponse;
  /** Aborted when this server stops. */
  readonly stopping: AbortSignal;
  readonly code: number;
  readonly headers: OutgoingHttpHeaders;
  /** For text that has no end of its own: a stop of this server ends the answer as if it were whole. Default: the stop cuts it. */
  readonly endsWhole?: boolean;
}

/** Sends the head, then the body as it comes, for as long as it comes. Resolves when either side has closed. */
export async function relayAnswer(relayed: RelayedAnswer): Promise<void> {
  const { answer, response, stopping, code, headers, endsWhole = false } = relayed;
  response.writeHead(code, headers);
  response.flushHeaders();
  const stop = (): void => {
    answer.destroy();
    if (endsWhole) response.end();
  };
  stopping.addEventListener('abort', stop, { once: true });
  try {
    await pipeline(answer, response);
  } catch {
    // Either side closed in mid-stream. The head is sent, so no error can be answered; `pipeline` has closed both.
  } finally {
    stopping.removeEventListener('abort', stop);
  }
}

/** Headers of one connection only, and headers of authentication, which are for the API server. */
const ownHeaders = new Set([...hopByHopHeaders, 'authorization', 'content-length', 'expect', 'host']);

/**
 * The headers that may go on to the other side. Those of this connection stay, and `Connection` may name more of them; so do those that
 * say who asks. A name with `_` counts like the same name with `-`, because some servers read it so.
 *
 * @param isOwn  further headers that stay here
 */
export function forwardedHeaders(headers: IncomingHttpHeaders, isOwn: (name: string) => boolean = () => false): OutgoingHttpHeaders {
  const named = new Set(
    String(headers.connection ?? '')
      .toLowerCase()
      .split(/\s*,\s*/),
  );
  const isForwarded = (name: string): boolean => {
    const plain = name.replaceAll('_', '-');
    return !ownHeaders.has(plain) && !plain.startsWith('impersonate-') && !plain.startsWith('x-remote-') && !isOwn(plain);
  };
  return Object.fromEntries(Object.entries(headers).filter(([name]) => isForwarded(name) && !named.has(name)));
}

/** The head of `answer` for the client: its code, its forwarded headers and its length. */
export function headOf(
  { statusCode = 502, headers }: IncomingMessage,
  isOwn?: (name: string) => boolean,
): Pick<RelayedAnswer, 'code' | 'headers'> {
  const length = headers['content-length'];
  return {
    code: statusCode,
    headers: { ...forwardedHeaders(headers, isOwn), ...(length === undefined ? {} : { 'content-length': length }) },
  };
}
