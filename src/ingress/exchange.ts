import { type IncomingMessage, type ServerResponse, STATUS_CODES } from 'node:http';
import type { Http2ServerRequest } from 'node:http2';
import type { Readable, Writable } from 'node:stream';
import { pairsOf, type ReceivedHead } from './request-head.ts';

/** A request of a client and the place for its answer, alike for HTTP/1 and HTTP/2. */
export interface Exchange {
  readonly received: ReceivedHead;
  readonly clientAddress: string;
  readonly body: Readable;
  /** Status of the answer; 0 before there is one. */
  readonly status: number;
  /** True when the client went away before the end of its answer. */
  readonly isGone: boolean;
  /** Sends the head of the answer. @param headers  names and values in turn @returns where the body goes */
  answer(status: number, headers: readonly string[]): Writable;
  /** Calls back once, when the client goes away before the answer has ended. */
  onGone(listener: () => void): void;
  /** Ends the connection, or the stream of HTTP/2, in a way that the client sees as a failure. */
  abort(): void;
}

/** Connections that end with an answer under way. Node goes on reading requests that were sent behind it. */
const ending = new WeakSet<object>();

/** True when the connection takes no further request: the rest of its bytes may be the body of one that was refused. */
export const isEnding = ({ socket }: IncomingMessage): boolean => ending.has(socket);

export function http1Exchange(request: IncomingMessage, response: ServerResponse): Exchange {
  let isGone = false;
  const listeners: (() => void)[] = [];
  response.once('close', () => {
    if (response.writableFinished) return;
    isGone = true;
    for (const listener of listeners) listener();
  });
  response.on('error', () => undefined);
  request.on('error', () => undefined);
  return {
    received: {
      version: request.httpVersion === '1.0' ? '1.0' : '1.1',
      method: request.method ?? '',
      target: request.url ?? '',
      authority: undefined,
      rawHeaders: request.rawHeaders,
      hasBody: false,
    },
    clientAddress: request.socket.remoteAddress ?? '',
    body: request,
    get status() {
      return response.headersSent ? response.statusCode : 0;
    },
    get isGone() {
      return isGone;
    },
    answer(status, headers) {
      if (endsConnection(headers)) ending.add(request.socket);
      response.writeHead(status, STATUS_CODES[status] ?? '', [...headers]);
      return response;
    },
    onGone: (listener) => void (isGone ? listener() : listeners.push(listener)),
    abort: () => request.socket.destroy(),
  };
}

const endsConnection = (headers: readonly string[]): boolean =>
  [...pairsOf(headers)].some(([name, value]) => name === 'Connection' && value === 'close');

/** Headers that HTTP/2 has no place for are left out. */
const ofHttp1: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'transfer-encoding',
  'upgrade',
  'http2-settings',
]);

export function http2Exchange({
  stream,
  method,
  rawHeaders,
  headers: { ':path': target = '', ':authority': authority },
  socket,
}: Http2ServerRequest): Exchange {
  let status = 0;
  let isGone = false;
  const listeners: (() => void)[] = [];
  stream.once('close', () => {
    if (stream.writableFinished && stream.rstCode === 0) return;
    isGone = true;
    for (const listener of listeners) listener();
  });
  stream.on('error', () => undefined);
  const pairs = [...pairsOf(rawHeaders)].filter(([name]) => !name.startsWith(':'));
  return {
    received: { version: '2.0', method, target, authority: authority ?? '', rawHeaders: pairs.flat(), hasBody: !stream.endAfterHeaders },
    clientAddress: socket.remoteAddress ?? '',
    body: stream,
    get status() {
      return status;
    },
    get isGone() {
      return isGone;
    },
    answer(code, given) {
      status = code;
      const headers: Record<string, string | string[]> = {};
      for (const [name, value] of pairsOf(given)) {
        const lower = name.toLowerCase();
        if (ofHttp1.has(lower)) continue;
        const known = headers[lower];
        headers[lower] = known === undefined ? value : [...(Array.isArray(known) ? known : [known]), value];
      }
      stream.respond({ ':status': code, ...headers });
      return stream;
    },
    onGone: (listener) => void (isGone ? listener() : listeners.push(listener)),
    abort: () => stream.close(8 /* CANCEL */),
  };
}
