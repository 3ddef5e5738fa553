import { type Agent, type IncomingMessage, request as openRequest, STATUS_CODES } from 'node:http';
import { pipeline } from 'node:stream';
import type { EndpointAddress } from '../api/discovery/v1/serving-endpoints.ts';
import type { Exchange } from './exchange.ts';
import type { Limits } from './limits.ts';
import { answeredHeaders, type RequestHead } from './request-head.ts';

/** The way to the endpoints of one backend. */
export interface Upstream {
  readonly agent: Agent;
  readonly limits: Limits;
  /** The next endpoint that is not in `tried`, as `ADDRESS:PORT`. */
  choose(tried: ReadonlySet<string>): EndpointAddress | undefined;
}

/** Outcomes of a try. After `unreached` nothing has been sent; after `stale` a kept connection had ended before the answer began. */
type Outcome = 'answered' | 'unreached' | 'stale' | 'failed' | 'timeout' | 'gone';

const maxTries = 5;
const repeatable: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS']);

/**
 * Passes a request on to an endpoint and its answer back, both as streams. After a connection that fails the
 * next endpoint gets the request, since nothing of it has been sent. Later only a request without a body that changes nothing is
 * repeated. That happens when a connection from the pool ended under it.
 *
 * @param headers  names and values in turn, as the endpoint gets them
 */
export async function forward(
  exchange: Exchange,
  head: RequestHead,
  { headers, upstream }: { headers: readonly string[]; upstream: Upstream },
): Promise<void> {
  const tried = new Set<string>();
  let outcome: Outcome = 'unreached';
  for (let tries = 0; tries < maxTries; tries += 1) {
    const endpoint = upstream.choose(tried);
    if (endpoint === undefined) break;
    outcome = await tryEndpoint(exchange, head, { endpoint, headers, upstream });
    if (outcome === 'unreached') tried.add(`${endpoint.address}:${endpoint.port}`);
    else if (outcome !== 'stale') break;
  }
  switch (outcome) {
    case 'answered':
    case 'gone':
      return;
    case 'timeout':
      return sayFailure(exchange, 504, 'the server behind the proxy did not answer in time');
    case 'unreached':
      return tried.size === 0
        ? sayFailure(exchange, 503, 'no endpoint is ready')
        : sayFailure(exchange, 502, 'no endpoint could be reached');
    case 'stale':
    case 'failed':
      return sayFailure(exchange, 502, 'the server behind the proxy ended the connection');
    default:
      outcome satisfies never;
  }
}

/** Answers in plain text; an answer that has begun is cut off instead. */
export function sayFailure(exchange: Exchange, status: number, why: string): void {
  if (exchange.isGone) return;
  if (exchange.status !== 0) {
    exchange.abort();
    return;
  }
  const text = `${status} ${STATUS_CODES[status] ?? ''}: ${why}\n`;
  const body = exchange.received.method === 'HEAD' ? '' : text;
  const headers = ['Content-Type', 'text/plain; charset=utf-8', 'Content-Length', String(Buffer.byteLength(text))];
  // The rest of a body that nobody reads would be taken for the next request.
  if (!exchange.body.readableEnded) headers.push('Connection', 'close');
  exchange.answer(status, headers).end(body);
}

interface Try {
  readonly endpoint: EndpointAddress;
  readonly headers: readonly string[];
  readonly upstream: Upstream;
}

function tryEndpoint(exchange: Exchange, head: RequestHead, { endpoint, headers, upstream: { agent, limits } }: Try): Promise<Outcome> {
  return new Promise((resolve) => {
    let isConnected = false;
    let response: IncomingMessage | undefined;
    let cause: Outcome | undefined;
    const { body } = exchange;
    const request = openRequest({
      host: endpoint.address,
      port: endpoint.port,
      method: head.method,
      path: head.target,
      // The types know only objects; Node takes names and values in turn, which keeps order and repetitions.
      headers: headers as unknown as Record<string, string>,
      agent,
      setHost: false,
    });
    const giveUp = (why: Outcome): void => {
      cause ??= why;
      request.destroy(new Error(why));
    };
    const connecting = setTimeout(giveUp, limits.connectMs, 'unreached');
    exchange.onGone(() => giveUp('gone'));

    request.once('socket', (socket) => {
      const onConnect = (): void => {
        isConnected = true;
        clearTimeout(connecting);
        request.setTimeout(limits.answerMs, () => giveUp('timeout'));
        if (head.hasBody) sendBody();
        else request.end();
      };
      if (socket.connecting) socket.once('connect', onConnect);
      else onConnect();
    });

    function sendBody(): void {
      body.pipe(request);
      // A body that was cut off must not look complete.
      body.once('close', () => {
        if (!body.readableEnded) giveUp('gone');
      });
    }

    request.once('response', (answer) => {
      response = answer;
      request.setTimeout(limits.idleMs, () => giveUp('timeout'));
      answer.once('error', () => undefined);
      try {
        const to = exchange.answer(answer.statusCode ?? 502, answeredHeaders(answer.rawHeaders));
        pipeline(answer, to, (err) => {
          if (err !== null && err !== undefined) {
            request.destroy();
            exchange.abort();
          }
          finish('answered');
        });
      } catch {
        // A header that HTTP/2 or Node refuses.
        giveUp('failed');
      }
    });

    request.on('error', (err: NodeJS.ErrnoException) => {
      if (response !== undefined && exchange.status !== 0) return;
      if (cause !== undefined) finish(cause);
      else if (!isConnected) finish('unreached');
      else if (request.reusedSocket && !head.hasBody && repeatable.has(head.method) && isReset(err)) finish('stale');
      else finish('failed');
    });

    function finish(outcome: Outcome): void {
      clearTimeout(connecting);
      body.unpipe(request);
      // The client may send the rest of a body that the server did not want; it is read and dropped.
      if (head.hasBody && isConnected) body.resume();
      resolve(exchange.isGone ? 'gone' : outcome);
    }
  });
}

const isReset = ({ code }: NodeJS.ErrnoException): boolean => code === 'ECONNRESET' || code === 'EPIPE';
