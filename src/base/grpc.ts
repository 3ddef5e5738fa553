import type { Socket } from 'node:net';
import type { Clock } from './clock.ts';
import { Http2Connection } from './http2/connection.ts';
import { Http2Error } from './http2/frames.ts';
import { encodeHeader, type HeaderField } from './http2/hpack.ts';
import type { Http2Stream } from './http2/stream.ts';

/**
 * A gRPC client: unary calls and streams of answers over one connection, which is opened when a call needs it. Messages are encoded and
 * decoded by the caller's methods, so this file knows no schema. A decision page has the measurements behind an own client.
 *
 * @see https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
 */
export interface GrpcClient {
  /**
   * Sends the request a second time when the server says that it has not looked at it, as one does that restarts.
   *
   * @throws GrpcError when the server refuses, the deadline passes or the connection breaks
   */
  call<Request, Response>(method: GrpcMethod<Request, Response>, request: Request, options: CallOptions): Promise<Response>;
  /**
   * Answers in the order in which they arrive; breaking off the loop cancels the call. The connection stops the server when more than one
   * window of answers waits here.
   *
   * @throws GrpcError as `call`, from the iteration
   */
  stream<Request, Response>(method: GrpcMethod<Request, Response>, request: Request, options: StreamOptions): AsyncIterable<Response>;
  /**
   * A stream in both directions. The caller has to read the answers; breaking off that loop ends the stream.
   *
   * @throws GrpcError as `stream`
   */
  open<Request, Response>(method: GrpcMethod<Request, Response>, options: StreamOptions): GrpcExchange<Request, Response>;
  /** Breaks off all calls with `UNAVAILABLE`; later calls fail at once. */
  close(): void;
}

export interface GrpcExchange<Request, Response> {
  /** Does nothing when the stream has ended: the end of the answers says why. A server that leaves 256 requests unread ends it. */
  send(request: Request): void;
  /** In order; what arrives in one turn of the event loop comes together. */
  readonly batches: AsyncIterable<readonly Response[]>;
}

export interface GrpcMethod<Request, Response> {
  /** `/package.Service/Method` */
  readonly path: string;
  encode(request: Request): Uint8Array;
  decode(bytes: Uint8Array): Response;
}

export interface CallOptions {
  /** From now to the last byte of the answer, milliseconds. */
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
}

export interface StreamOptions {
  readonly signal: AbortSignal;
}

export interface GrpcClientOptions {
  /** Opens a connection to the server, plain or TLS; the client owns it. */
  readonly connect: () => Socket;
  readonly clock: Clock;
  /** Host and port of the server, for proxies before it; by default `localhost`, as for a Unix socket. */
  readonly authority?: string;
  /** Bound of one answer; a longer one fails the call with `RESOURCE_EXHAUSTED`. */
  readonly maxMessageBytes?: number;
  /** Metadata of each call; names in lower case. */
  readonly metadata?: () => Readonly<Record<string, string>>;
  /**
   * Asks every so often whether the server is still there, and breaks the connection when it does not answer in time. A connection without
   * calls is left alone: servers take such questions for an attack.
   *
   * @see https://github.com/grpc/grpc/blob/master/doc/keepalive.md
   */
  readonly pings?: { readonly everyMs: number; readonly timeoutMs: number };
  /** Bytes that the server may send before they are read, on each stream and twice that on the connection; at least 65,535, the default. */
  readonly windowBytes?: number;
}

/** Status codes of gRPC that this code base acts on. */
export const grpcCodes = {
  ok: 0,
  cancelled: 1,
  unknown: 2,
  invalidArgument: 3,
  deadlineExceeded: 4,
  notFound: 5,
  alreadyExists: 6,
  permissionDenied: 7,
  resourceExhausted: 8,
  failedPrecondition: 9,
  unimplemented: 12,
  internal: 13,
  unavailable: 14,
  unauthenticated: 16,
} as const;

export class GrpcError extends Error {
  /** A number of `grpcCodes`, or another one that the server sent. */
  readonly code: number;
  constructor(code: number, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'GrpcError';
    this.code = code;
  }
}

const defaultMaxMessageBytes = 16 * 1024 * 1024;
/** Answers of a stream that wait for its reader; then the server is held back. */
const maxHeldAnswers = 256;
/** Requests of a stream that wait for its server; then the stream ends. */
const maxHeldRequests = 256;
/** gRPC has eight digits for a deadline. */
const maxTimeoutMs = 99_999_999;
const headBytes = 5;

/** Headers of each call: those of the request come first. */
const requestHeaders = encodeHeader(':method', 'POST');
const schemeHeaders = { plain: encodeHeader(':scheme', 'http'), encrypted: encodeHeader(':scheme', 'https') };
const contentHeaders = encodeHeader('content-type', 'application/grpc') + encodeHeader('te', 'trailers');

export function createGrpcClient(options: GrpcClientOptions): GrpcClient {
  const { clock, maxMessageBytes = defaultMaxMessageBytes, metadata, pings, windowBytes } = options;
  const authorityHeader = encodeHeader(':authority', options.authority ?? 'localhost');
  /** The last one takes calls; those before it end with the calls that they have. */
  const connections = new Set<Http2Connection>();
  let newest: Http2Connection | undefined;
  let closed = false;

  function openConnection(): Http2Connection {
    if (closed) throw new GrpcError(grpcCodes.unavailable, 'the client is closed');
    if (newest?.isUsable === true) return newest;
    const connection = new Http2Connection({ socket: options.connect(), windowBytes });
    newest = connection;
    connections.add(connection);
    connection.onEnd(() => connections.delete(connection));
    if (pings !== undefined) keepAlive(connection, pings, clock);
    return connection;
  }

  /** Sends the headers of a call, and gives each of its answers to `onMessage`. `ended` resolves at a status of 0. */
  function start(
    path: string,
    timeoutMs: number | undefined,
    onMessage: (bytes: Buffer) => void,
  ): { readonly stream: Http2Stream; readonly ended: Promise<void> } {
    const used = openConnection();
    const headers = headersOf(used, path, timeoutMs);
    const answer = createAnswer(maxMessageBytes, onMessage);
    let settle: { readonly resolve: () => void; readonly reject: (reason: GrpcError) => void } | undefined;
    const ended = new Promise<void>((resolve, reject) => {
      settle = { resolve, reject };
    });
    const stream: Http2Stream = used.request(headers, {
      onHeaders: (fields) => answer.onHeaders(fields) || stream.cancel(),
      onData: (chunk) => answer.onData(chunk) || stream.cancel(),
      onClose(error) {
        const failure = answer.failureOf(error);
        if (failure === undefined) settle?.resolve();
        else settle?.reject(failure);
      },
    });
    return { stream, ended };
  }

  function headersOf({ isEncrypted }: Http2Connection, path: string, timeoutMs: number | undefined): string {
    const timeout = timeoutMs === undefined ? undefined : `${Math.min(maxTimeoutMs, Math.max(1, Math.ceil(timeoutMs)))}m`;
    const scheme = isEncrypted ? schemeHeaders.encrypted : schemeHeaders.plain;
    let headers = requestHeaders + scheme + encodeHeader(':path', path) + authorityHeader + contentHeaders;
    for (const [name, value] of Object.entries(metadata?.() ?? {})) headers += encodeHeader(name, value);
    return timeout === undefined ? headers : headers + encodeHeader('grpc-timeout', timeout);
  }

  /** Reads from now on, so that the stream fails with whoever reads the answers, and with nobody when they are not read. */
  function startStream<Response>(
    method: GrpcMethod<never, Response>,
    signal: AbortSignal,
  ): { readonly stream: Http2Stream; readonly fail: (error: GrpcError) => void; readonly batches: AsyncGenerator<readonly Response[]> } {
    let held: Response[] = [];
    let end: { readonly error: unknown } | undefined;
    let wake = (): void => undefined;
    const settle = (error: unknown): void => {
      end ??= { error };
      signal.removeEventListener('abort', onAbort);
      wake();
    };
    const fail = (error: GrpcError): void => {
      settle(error);
      stream.cancel();
    };
    const onAbort = (): void => fail(new GrpcError(grpcCodes.cancelled, 'the caller cancelled the call'));
    const { stream, ended } = start(method.path, undefined, (bytes) => {
      held.push(method.decode(bytes));
      // Flow control of HTTP/2 holds the server back while the reader of the answers is slow.
      if (held.length >= maxHeldAnswers) stream.pause();
      wake();
    });
    signal.addEventListener('abort', onAbort, { once: true });
    ended.then(() => settle(undefined), settle);
    return { stream, fail, batches: read() };
    async function* read(): AsyncGenerator<readonly Response[]> {
      try {
        for (;;) {
          if (held.length === 0 && end === undefined) {
            await new Promise<void>((resolve) => {
              wake = resolve;
            });
            await new Promise((resolve) => setImmediate(resolve));
          }
          if (held.length > 0) {
            const batch = held;
            held = [];
            stream.resume();
            yield batch;
          } else if (end !== undefined) {
            if (end.error !== undefined) throw end.error;
            return;
          }
        }
      } finally {
        signal.removeEventListener('abort', onAbort);
        stream.cancel();
      }
    }
  }

  async function callOnce<Request, Response>(
    method: GrpcMethod<Request, Response>,
    message: Buffer,
    { timeoutMs, signal }: CallOptions,
  ): Promise<Response> {
    let answer: { readonly value: Response } | undefined;
    const { stream, ended } = start(method.path, timeoutMs, (bytes) => {
      if (answer !== undefined) throw new GrpcError(grpcCodes.internal, 'the server sent two answers to one call');
      answer = { value: method.decode(bytes) };
    });
    stream.write(message, true);
    let broken: GrpcError | undefined;
    const breakOff = (error: GrpcError): void => {
      broken ??= error;
      stream.cancel();
    };
    const cancelDeadline = clock.after(timeoutMs, () =>
      breakOff(new GrpcError(grpcCodes.deadlineExceeded, `no answer to ${method.path} within ${timeoutMs} ms`)),
    );
    const onAbort = (): void => breakOff(new GrpcError(grpcCodes.cancelled, 'the caller cancelled the call'));
    signal?.addEventListener('abort', onAbort, { once: true });
    try {
      await ended;
    } catch (err) {
      throw broken ?? err;
    } finally {
      cancelDeadline();
      signal?.removeEventListener('abort', onAbort);
    }
    if (answer === undefined) throw new GrpcError(grpcCodes.internal, 'the server sent no answer');
    return answer.value;
  }

  return {
    async call(method, request, options) {
      options.signal?.throwIfAborted();
      // A request that cannot be encoded opens no stream, which nobody would listen to.
      const message = frame(method.encode(request));
      const startedAt = clock.monotonicMs();
      try {
        return await callOnce(method, message, options);
      } catch (err) {
        const leftMs = options.timeoutMs - (clock.monotonicMs() - startedAt);
        if (!(err instanceof GrpcError && err.cause instanceof Http2Error && err.cause.isUnprocessed) || leftMs <= 0) throw err;
        return await callOnce(method, message, { ...options, timeoutMs: leftMs });
      }
    },

    async *stream(method, request, { signal }) {
      signal.throwIfAborted();
      const message = frame(method.encode(request));
      const { stream, batches } = startStream(method, signal);
      stream.write(message, true);
      for await (const batch of batches) yield* batch;
    },

    open(method, { signal }) {
      signal.throwIfAborted();
      const { stream, fail, batches } = startStream(method, signal);
      return {
        send(request) {
          if (stream.unsent.length < maxHeldRequests) stream.write(frame(method.encode(request)), false);
          else fail(new GrpcError(grpcCodes.unavailable, `the server has left ${maxHeldRequests} requests unread`));
        },
        batches,
      };
    },

    close() {
      closed = true;
      for (const connection of [...connections]) connection.destroy(new Error('the client is closed'));
    },
  };
}

/** Ends the connection when the server leaves a ping without an answer: a host that went away closes no connection. */
function keepAlive(connection: Http2Connection, { everyMs, timeoutMs }: NonNullable<GrpcClientOptions['pings']>, clock: Clock): void {
  let cancel = clock.after(everyMs, ping);
  connection.onEnd(() => cancel());
  function ping(): void {
    if (!connection.isEstablished) {
      connection.destroy(new Error(`no connection within ${everyMs} ms`));
      return;
    }
    if (!connection.isBusy) {
      cancel = clock.after(everyMs, ping);
      return;
    }
    cancel = clock.after(timeoutMs, () => connection.destroy(new Error(`no answer to a ping within ${timeoutMs} ms`)));
    connection.ping(() => {
      cancel();
      cancel = clock.after(everyMs, ping);
    });
  }
}

/** Reads what the server sends on one stream. */
interface Answer {
  /** False when the call has failed, and the stream is to be cancelled. */
  onHeaders(fields: readonly HeaderField[]): boolean;
  /** As `onHeaders`. */
  onData(chunk: Buffer): boolean;
  /** @param error  the one that ended the stream */
  failureOf(error: Error | undefined): GrpcError | undefined;
}

function createAnswer(maxMessageBytes: number, onMessage: (bytes: Buffer) => void): Answer {
  const reader = createFrameReader(maxMessageBytes);
  let status: GrpcError | 'ok' | undefined;
  let failure: GrpcError | undefined;
  return {
    onHeaders(fields) {
      status = statusOf(fields);
      if (status === undefined) failure ??= foreignAnswer(fields);
      return failure === undefined;
    },
    onData(chunk) {
      try {
        for (const message of reader.read(chunk)) onMessage(message);
        return true;
      } catch (err) {
        failure ??= err instanceof GrpcError ? err : new GrpcError(grpcCodes.internal, 'cannot decode the answer', { cause: err });
        return false;
      }
    },
    failureOf(error) {
      if (failure !== undefined) return failure;
      // Also for a reset, whose code may claim more: nobody knows whether the server did what it was asked for.
      if (error !== undefined) return new GrpcError(grpcCodes.unavailable, `the connection broke: ${error.message}`, { cause: error });
      if (status === undefined) return new GrpcError(grpcCodes.unknown, 'the server ended the call without a status');
      if (status !== 'ok') return status;
      return reader.isWithin() ? new GrpcError(grpcCodes.internal, 'the server ended the call within an answer') : undefined;
    },
  };
}

/** The codes that gRPC names for answers of what is no gRPC server, such as a proxy. */
const codeOfHttp = new Map([
  ['400', grpcCodes.internal],
  ['401', grpcCodes.unauthenticated],
  ['403', grpcCodes.permissionDenied],
  ['404', grpcCodes.unimplemented],
  ['429', grpcCodes.unavailable],
  ['502', grpcCodes.unavailable],
  ['503', grpcCodes.unavailable],
  ['504', grpcCodes.unavailable],
]);

/**
 * Undefined for headers of gRPC, and for those at the end of an answer.
 *
 * @see https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md
 */
function foreignAnswer(fields: readonly HeaderField[]): GrpcError | undefined {
  const http = headerOf(fields, ':status');
  if (http === undefined) return undefined;
  const type = headerOf(fields, 'content-type') ?? 'nothing';
  if (http === '200' && /^application\/grpc($|[+;])/i.test(type)) return undefined;
  const code = codeOfHttp.get(http) ?? grpcCodes.unknown;
  return new GrpcError(code, `the server answered HTTP ${http} with ${type}, which is not gRPC`);
}

const headerOf = (fields: readonly HeaderField[], name: string): string | undefined => fields.find(([each]) => each === name)?.[1];

/** Puts the length before an uncompressed message. */
function frame(message: Uint8Array): Buffer {
  const framed = Buffer.allocUnsafe(headBytes + message.length);
  framed[0] = 0;
  framed.writeUInt32BE(message.length, 1);
  framed.set(message, headBytes);
  return framed;
}

/** Pieces of a message that are joined, so that many small ones need little more memory than their bytes. */
const maxPieces = 1_024;

interface FrameReader {
  /** Whole messages, in order. */
  read(chunk: Buffer): Buffer[];
  /** A message has begun, and lacks its end. */
  isWithin(): boolean;
}

/** Cuts what arrives into messages. Memory is one message of at most `maxBytes` and one chunk. */
function createFrameReader(maxBytes: number): FrameReader {
  let pieces: Buffer[] = [];
  /** Number of pieces at the beginning that were joined. */
  let joinedPieces = 0;
  let held = 0;
  let wanted = headBytes;
  const join = (): Buffer => {
    joinedPieces = 0;
    return pieces.length === 1 ? (pieces[0] as Buffer) : Buffer.concat(pieces, held);
  };
  return {
    isWithin: () => held > 0,
    read(chunk) {
      pieces.push(chunk);
      held += chunk.length;
      if (pieces.length - joinedPieces > maxPieces) {
        pieces.push(Buffer.concat(pieces.splice(joinedPieces)));
        joinedPieces += 1;
      }
      const messages: Buffer[] = [];
      while (held >= wanted) {
        const joined = join();
        pieces = [joined];
        wanted = headBytes + lengthOf(joined, maxBytes);
        if (held < wanted) break;
        messages.push(joined.subarray(headBytes, wanted));
        pieces = [joined.subarray(wanted)];
        held -= wanted;
        wanted = headBytes;
      }
      return messages;
    },
  };
}

function lengthOf(framed: Buffer, maxBytes: number): number {
  if (framed[0] !== 0) throw new GrpcError(grpcCodes.internal, 'the server compressed an answer, which this client did not ask for');
  const length = framed.readUInt32BE(1);
  if (length > maxBytes) throw new GrpcError(grpcCodes.resourceExhausted, `an answer of ${length} bytes exceeds ${maxBytes} bytes`);
  return length;
}

/** Undefined in the headers before an answer. */
function statusOf(fields: readonly HeaderField[]): GrpcError | 'ok' | undefined {
  const value = headerOf(fields, 'grpc-status');
  if (value === undefined) return undefined;
  const code = /^\d+$/.test(value) ? Number(value) : grpcCodes.unknown;
  if (code === grpcCodes.ok) return 'ok';
  const text = headerOf(fields, 'grpc-message');
  return new GrpcError(code, text === undefined ? `gRPC status ${value}` : decodeText(text));
}

/** The message is percent-encoded; one that is not well formed is taken as it is. */
function decodeText(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
