import { type ClientHttp2Session, type ClientHttp2Stream, connect, constants, type IncomingHttpHeaders } from 'node:http2';
import type { Duplex } from 'node:stream';
import type { Clock } from './clock.ts';

/**
 * A gRPC client on `node:http2`: unary calls and streams of answers over one connection, which is opened when a call needs it. Messages are
 * encoded and decoded by the caller's methods, so this file knows no schema. A decision page has the measurements behind an own client.
 *
 * @see https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
 */
export interface GrpcClient {
  /** @throws GrpcError when the server refuses, the deadline passes or the connection breaks */
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
  /** Does nothing when the stream has ended: the end of the answers says why. */
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
  readonly connect: () => Duplex;
  readonly clock: Clock;
  /** Bound of one answer; a longer one fails the call with `RESOURCE_EXHAUSTED`. */
  readonly maxMessageBytes?: number;
  /** Metadata of each call; names in lower case. */
  readonly metadata?: () => Readonly<Record<string, string>>;
  /** Asks every so often whether the server is still there, and breaks the connection when it does not answer in time. */
  readonly pings?: { readonly everyMs: number; readonly timeoutMs: number };
  /** Bytes that the server may send before they are read, on each stream and twice that on the connection; by default Node's 64 KiB. */
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
const headBytes = 5;

export function createGrpcClient(options: GrpcClientOptions): GrpcClient {
  const { clock, maxMessageBytes = defaultMaxMessageBytes, metadata, pings, windowBytes } = options;
  let session: ClientHttp2Session | undefined;
  let closed = false;

  function openSession(): ClientHttp2Session {
    if (closed) throw new GrpcError(grpcCodes.unavailable, 'the client is closed');
    if (session !== undefined && !session.closed && !session.destroyed) return session;
    const opened = connect('http://localhost', {
      createConnection: options.connect,
      ...(windowBytes === undefined ? {} : { settings: { initialWindowSize: windowBytes } }),
    });
    if (windowBytes !== undefined) opened.once('connect', () => opened.setLocalWindowSize(2 * windowBytes));
    session = opened;
    const forget = (): void => {
      if (session === opened) session = undefined;
    };
    // Each stream fails by itself; without a listener the error would end the process.
    opened.on('error', forget);
    opened.on('goaway', forget);
    opened.on('close', forget);
    // A client that waits for nothing does not keep the program alive.
    opened.unref();
    if (pings !== undefined) keepAlive(opened, pings, clock);
    return opened;
  }

  function start(path: string, timeoutMs: number | undefined): ClientHttp2Stream {
    return openSession().request({
      ...metadata?.(),
      [constants.HTTP2_HEADER_METHOD]: 'POST',
      [constants.HTTP2_HEADER_PATH]: path,
      [constants.HTTP2_HEADER_CONTENT_TYPE]: 'application/grpc',
      [constants.HTTP2_HEADER_TE]: 'trailers',
      ...(timeoutMs === undefined ? {} : { 'grpc-timeout': `${Math.max(1, Math.ceil(timeoutMs))}m` }),
    });
  }

  /** Gives each answer to `onMessage`; resolves at a status of 0. */
  function run(stream: ClientHttp2Stream, onMessage: (bytes: Buffer) => void): Promise<void> {
    return new Promise((resolve, reject) => {
      const read = createFrameReader(maxMessageBytes);
      let status: GrpcError | 'ok' | undefined;
      let failure: GrpcError | undefined;
      const fail = (error: GrpcError): void => {
        failure ??= error;
        stream.close(constants.NGHTTP2_CANCEL);
      };
      stream.on('response', (headers) => {
        const http = headers[constants.HTTP2_HEADER_STATUS];
        if (headers['grpc-status'] !== undefined) status = statusOf(headers);
        else if (Number(http) !== 200) fail(new GrpcError(grpcCodes.unavailable, `the server answered HTTP ${http}, which is not gRPC`));
      });
      stream.on('trailers', (headers) => {
        status = statusOf(headers);
      });
      stream.on('data', (chunk: Buffer) => {
        if (failure !== undefined) return;
        try {
          for (const message of read(chunk)) onMessage(message);
        } catch (err) {
          fail(err instanceof GrpcError ? err : new GrpcError(grpcCodes.internal, 'cannot decode the answer', { cause: err }));
        }
      });
      stream.on('error', (err) => {
        failure ??= new GrpcError(grpcCodes.unavailable, `the connection broke: ${err.message}`, { cause: err });
      });
      stream.on('close', () => {
        if (failure !== undefined) reject(failure);
        else if (status === 'ok') resolve();
        else reject(status ?? new GrpcError(grpcCodes.unavailable, 'the connection ended before the answer'));
      });
    });
  }

  /** Reads from now on, so that the stream fails with whoever reads the answers, and with nobody when they are not read. */
  function batchesOf<Response>(
    stream: ClientHttp2Stream,
    method: GrpcMethod<never, Response>,
    signal: AbortSignal,
  ): AsyncGenerator<readonly Response[]> {
    let held: Response[] = [];
    let end: { readonly error: unknown } | undefined;
    let wake = (): void => undefined;
    const onAbort = (): void => stream.close(constants.NGHTTP2_CANCEL);
    signal.addEventListener('abort', onAbort, { once: true });
    const settle = (error: unknown): void => {
      end = { error };
      wake();
    };
    run(stream, (bytes) => {
      held.push(method.decode(bytes));
      // Flow control of HTTP/2 holds the server back while the reader of the answers is slow.
      if (held.length >= maxHeldAnswers) stream.pause();
      wake();
    }).then(() => settle(undefined), settle);
    return read();
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
        stream.close(constants.NGHTTP2_CANCEL);
      }
    }
  }

  return {
    async call(method, request, { timeoutMs, signal }) {
      signal?.throwIfAborted();
      // A request that cannot be encoded opens no stream, which nobody would listen to.
      const message = frame(method.encode(request));
      const stream = start(method.path, timeoutMs);
      stream.end(message);
      let broken: GrpcError | undefined;
      const breakOff = (error: GrpcError): void => {
        broken ??= error;
        stream.close(constants.NGHTTP2_CANCEL);
      };
      const cancelDeadline = clock.after(timeoutMs, () =>
        breakOff(new GrpcError(grpcCodes.deadlineExceeded, `no answer to ${method.path} within ${timeoutMs} ms`)),
      );
      const onAbort = (): void => breakOff(new GrpcError(grpcCodes.cancelled, 'the caller cancelled the call'));
      signal?.addEventListener('abort', onAbort, { once: true });
      let answer: { readonly value: ReturnType<typeof method.decode> } | undefined;
      try {
        await run(stream, (bytes) => {
          if (answer !== undefined) throw new GrpcError(grpcCodes.internal, 'the server sent two answers to one call');
          answer = { value: method.decode(bytes) };
        });
      } catch (err) {
        throw broken ?? err;
      } finally {
        cancelDeadline();
        signal?.removeEventListener('abort', onAbort);
      }
      if (answer === undefined) throw new GrpcError(grpcCodes.internal, 'the server sent no answer');
      return answer.value;
    },

    async *stream(method, request, { signal }) {
      signal.throwIfAborted();
      const message = frame(method.encode(request));
      const stream = start(method.path, undefined);
      stream.end(message);
      for await (const batch of batchesOf(stream, method, signal)) yield* batch;
    },

    open(method, { signal }) {
      signal.throwIfAborted();
      const stream = start(method.path, undefined);
      return {
        send(request) {
          if (!stream.closed && !stream.destroyed) stream.write(frame(method.encode(request)));
        },
        batches: batchesOf(stream, method, signal),
      };
    },

    close() {
      closed = true;
      session?.destroy();
    },
  };
}

/** Destroys the session when the server leaves a ping without an answer: a host that went away closes no connection. */
function keepAlive(session: ClientHttp2Session, { everyMs, timeoutMs }: NonNullable<GrpcClientOptions['pings']>, clock: Clock): void {
  let cancel = clock.after(everyMs, ping);
  session.on('close', () => cancel());
  function ping(): void {
    if (session.closed || session.destroyed) return;
    if (session.connecting) {
      session.destroy(new Error(`no connection within ${everyMs} ms`));
      return;
    }
    cancel = clock.after(timeoutMs, () => session.destroy(new Error(`no answer to a ping within ${timeoutMs} ms`)));
    session.ping((err) => {
      cancel();
      if (err === null) cancel = clock.after(everyMs, ping);
    });
  }
}

/** Puts the length before an uncompressed message. */
function frame(message: Uint8Array): Buffer {
  const framed = Buffer.allocUnsafe(headBytes + message.length);
  framed[0] = 0;
  framed.writeUInt32BE(message.length, 1);
  framed.set(message, headBytes);
  return framed;
}

/** Cuts what arrives into messages. Memory is one message of at most `maxBytes` and one chunk. */
function createFrameReader(maxBytes: number): (chunk: Buffer) => Buffer[] {
  let pieces: Buffer[] = [];
  let held = 0;
  let wanted = headBytes;
  return (chunk) => {
    pieces.push(chunk);
    held += chunk.length;
    const messages: Buffer[] = [];
    while (held >= wanted) {
      const joined = pieces.length === 1 ? (pieces[0] as Buffer) : Buffer.concat(pieces, held);
      pieces = [joined];
      wanted = headBytes + lengthOf(joined, maxBytes);
      if (held < wanted) break;
      messages.push(joined.subarray(headBytes, wanted));
      pieces = [joined.subarray(wanted)];
      held -= wanted;
      wanted = headBytes;
    }
    return messages;
  };
}

function lengthOf(framed: Buffer, maxBytes: number): number {
  if (framed[0] !== 0) throw new GrpcError(grpcCodes.internal, 'the server compressed an answer, which this client did not ask for');
  const length = framed.readUInt32BE(1);
  if (length > maxBytes) throw new GrpcError(grpcCodes.resourceExhausted, `an answer of ${length} bytes exceeds ${maxBytes} bytes`);
  return length;
}

function statusOf(headers: IncomingHttpHeaders): GrpcError | 'ok' {
  const code = Number(headers['grpc-status']);
  if (code === grpcCodes.ok) return 'ok';
  const text = headers['grpc-message'];
  return new GrpcError(
    Number.isInteger(code) ? code : grpcCodes.unknown,
    typeof text === 'string' ? decodeText(text) : `gRPC status ${code}`,
  );
}

/** The message is percent-encoded; one that is not well formed is taken as it is. */
function decodeText(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
