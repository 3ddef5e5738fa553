import { Duplex } from 'node:stream';
import { createInflate, constants as zlib } from 'node:zlib';

/**
 * SPDY/3.1 as far as Kubernetes streams need it: streams that the client opens, their data both ways, resets, pings.
 * kubectl meets `serveSpdy`. `connectSpdy` meets the streaming server of a container runtime. There is no flow
 * control of streams, because clients of Kubernetes have none (one hangs up on window updates). An unread stream blocks
 * the connection once `maxStreamBytes` wait in it.
 *
 * @see https://www.chromium.org/spdy/spdy-protocol/spdy-protocol-draft3-1/
 */
export interface SpdySessionOptions {
  /** The connection after the upgrade; closed when the session is over. */
  readonly socket: Duplex;
  /** Bytes that came with the upgrade. */
  readonly head: Buffer;
  /** Open at the same time; more are refused. */
  readonly maxStreams: number;
  /** Must not throw; what it is given is the caller's to end or destroy. */
  onStream(stream: SpdyStream): void;
}

/** One stream. Ending it closes our side, `destroy` resets it; it is destroyed when the session is over. */
export interface SpdyStream extends Duplex {
  readonly headers: ReadonlyMap<string, string>;
  /** The peer has reset it, or is gone: it waits for nothing of this stream any more. */
  readonly wasReset: boolean;
}

/** A violation of the protocol, or of a bound, by a peer. */
class SpdyError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'SpdyError';
  }
}

const version = 3;
const types = { synStream: 1, synReply: 2, rstStream: 3, settings: 4, ping: 6, goAway: 7, headers: 8, windowUpdate: 9 } as const;
const flagFin = 0x01;
const statusCodes = { protocolError: 1, refusedStream: 3, cancel: 5 } as const;

const maxControlBytes = 16 * 1024;
const maxHeaderBytes = 16 * 1024;
const maxHeaders = 64;
const maxStreamBytes = 256 * 1024;
const maxDataBytes = 32 * 1024;

/** Resolves when the connection has ended; rejects with what ended it before its time. */
export async function serveSpdy({ socket, head, maxStreams, onStream }: SpdySessionOptions): Promise<void> {
  const headerDecoder = createHeaderDecoder();
  const streams = new Map<number, Stream>();
  const write = createWriter(socket);
  let lastId = 0;
  let repliedOnce = false;

  function reply(id: number): void {
    // No headers: the count 0 as a stored block, behind the compressor's own header when it is the first.
    const block = Buffer.concat([repliedOnce ? Buffer.alloc(0) : zlibHeader, emptyHeaders]);
    repliedOnce = true;
    write(controlFrame(types.synReply, Buffer.concat([uint32(id), block])));
  }

  const reset = (id: number, status: number): void => write(controlFrame(types.rstStream, Buffer.concat([uint32(id), uint32(status)])));

  async function open(flags: number, body: Buffer): Promise<void> {
    if (body.length < 10) throw new SpdyError('SYN_STREAM is too short');
    const id = body.readUInt32BE(0) & 0x7fffffff;
    // Also of a stream that is refused: the compressor's state is the connection's.
    const headers = await headerDecoder.decode(body.subarray(10));
    if (id % 2 === 0 || id <= lastId) throw new SpdyError(`stream id ${id} after ${lastId}`);
    lastId = id;
    if (streams.size >= maxStreams) {
      reset(id, statusCodes.refusedStream);
      return;
    }
    const stream = new Stream(headers, {
      send: (data, fin, callback) => write(dataFrame(id, data, fin), callback),
      closed(wasWhole) {
        streams.delete(id);
        if (!wasWhole) reset(id, statusCodes.cancel);
      },
    });
    streams.set(id, stream);
    reply(id);
    if ((flags & flagFin) !== 0) stream.wasEnded();
    onStream(stream);
  }

  async function onControl(type: number, flags: number, body: Buffer): Promise<void> {
    switch (type) {
      case types.synStream:
        await open(flags, body);
        return;
      case types.rstStream:
        if (body.length < 8) throw new SpdyError('RST_STREAM is too short');
        streams.get(body.readUInt32BE(0) & 0x7fffffff)?.resetByPeer();
        return;
      case types.ping:
        // Odd ones are the client's, the others would answer ours.
        if (body.length === 4 && body.readUInt32BE(0) % 2 === 1) write(controlFrame(types.ping, body));
        return;
      case types.headers:
      case types.synReply:
        throw new SpdyError(`frame of type ${type} is not a client's to send here`);
      default:
      // SETTINGS, GOAWAY, WINDOW_UPDATE and what is not known ask nothing of us.
    }
  }

  try {
    await readFrames({ socket, head, streams, onControl });
  } finally {
    headerDecoder.close();
    for (const stream of streams.values()) stream.resetByPeer();
    socket.destroy();
  }
}

export interface SpdyConnection {
  /**
   * Opens a stream; calls must not overlap, because the peer wants rising numbers.
   *
   * @throws Error when the peer refuses it or the connection ends
   */
  open(headers: Readonly<Record<string, string>>): Promise<SpdyStream>;
  /** Ends the connection and all its streams. */
  close(): void;
  /** Resolves when the connection has ended; rejects with what ended it before its time. */
  readonly ended: Promise<void>;
}

/** The client's side, on a connection that was upgraded. */
export function connectSpdy({ socket, head }: Pick<SpdySessionOptions, 'socket' | 'head'>): SpdyConnection {
  const headerDecoder = createHeaderDecoder();
  const streams = new Map<number, Stream>();
  const opening = new Map<number, { resolve(): void; reject(err: Error): void }>();
  const write = createWriter(socket);
  let nextId = 1;

  async function onControl(type: number, _flags: number, body: Buffer): Promise<void> {
    const id = body.length < 4 ? 0 : body.readUInt32BE(0) & 0x7fffffff;
    switch (type) {
      case types.synReply:
        await headerDecoder.decode(body.subarray(4));
        opening.get(id)?.resolve();
        return;
      case types.headers:
        await headerDecoder.decode(body.subarray(4));
        return;
      case types.rstStream:
        opening.get(id)?.reject(new SpdyError('the peer refused the stream'));
        // Go's servers end a session with a reset of each stream, right behind the last words of it.
        streams.get(id)?.wasLeft();
        return;
      case types.ping:
        if (body.length === 4 && id % 2 === 0) write(controlFrame(types.ping, body));
        return;
      case types.synStream:
        throw new SpdyError('a server opens no streams here');
      default:
    }
  }

  const ended = readFrames({ socket, head, streams, onControl })
    .then(
      // A server closes the connection right behind its last words, which are still to be read.
      () => {
        for (const stream of streams.values()) stream.wasLeft();
      },
      (err: unknown) => {
        for (const stream of streams.values()) stream.resetByPeer();
        throw err;
      },
    )
    .finally(() => {
      headerDecoder.close();
      for (const { reject } of opening.values()) reject(new SpdyError('the connection ended'));
      socket.destroy();
    });
  // Streams and openings tell of it; the promise is for those who want the reason.
  ended.catch(() => undefined);

  return {
    async open(headers) {
      const id = nextId;
      nextId += 2;
      const stream = new Stream(new Map(Object.entries(headers)), {
        send: (data, fin, callback) => write(dataFrame(id, data, fin), callback),
        closed(wasWhole) {
          streams.delete(id);
          if (!wasWhole) write(controlFrame(types.rstStream, Buffer.concat([uint32(id), uint32(statusCodes.cancel)])));
        },
      });
      streams.set(id, stream);
      const block = Buffer.concat([id === 1 ? zlibHeader : Buffer.alloc(0), storedBlock(encodeHeaders(headers))]);
      const replied = new Promise<void>((resolve, reject) => opening.set(id, { resolve, reject }));
      write(controlFrame(types.synStream, Buffer.concat([uint32(id), uint32(0), Buffer.alloc(2), block])), (err) => {
        if (err !== undefined && err !== null) opening.get(id)?.reject(err);
      });
      try {
        await replied;
      } catch (err) {
        stream.resetByPeer();
        throw err;
      } finally {
        opening.delete(id);
      }
      return stream;
    },
    close: () => void socket.destroy(),
    ended,
  };
}

type Write = (frame: Buffer, callback?: (err?: Error | null) => void) => void;

const createWriter =
  (socket: Duplex): Write =>
  (frame, callback) => {
    if (socket.destroyed || !socket.writable) callback?.(new SpdyError('the connection is closed'));
    else socket.write(frame, callback);
  };

interface FramesOptions {
  readonly socket: Duplex;
  readonly head: Buffer;
  readonly streams: ReadonlyMap<number, Stream>;
  onControl(type: number, flags: number, body: Buffer): Promise<void>;
}

/** Resolves at the end of the connection. @throws SpdyError for a frame against the protocol or beyond a bound */
async function readFrames({ socket, head, streams, onControl }: FramesOptions): Promise<void> {
  const reader = createReader(socket, head);
  async function onData(id: number, fin: boolean, length: number): Promise<void> {
    for (let left = length; left > 0; ) {
      const piece = await reader.some(left);
      left -= piece.length;
      await streams.get(id)?.deliver(piece);
    }
    if (fin) streams.get(id)?.wasEnded();
  }
  for (;;) {
    const frame = await reader.exactly(8, true);
    if (frame === undefined) return;
    const length = frame.readUIntBE(5, 3);
    const flags = frame[4] ?? 0;
    if (((frame[0] ?? 0) & 0x80) === 0) {
      await onData(frame.readUInt32BE(0), (flags & flagFin) !== 0, length);
      continue;
    }
    if ((frame.readUInt16BE(0) & 0x7fff) !== version) throw new SpdyError('not SPDY version 3');
    if (length > maxControlBytes) throw new SpdyError(`control frame of ${length} bytes`);
    await onControl(frame.readUInt16BE(2), flags, (await reader.exactly(length)) ?? Buffer.alloc(0));
  }
}

interface StreamSide {
  send(data: Buffer, fin: boolean, callback: (err?: Error | null) => void): void;
  /** `wasWhole`: both sides were closed in order, or the peer has reset it. */
  closed(wasWhole: boolean): void;
}

class Stream extends Duplex implements SpdyStream {
  readonly headers: ReadonlyMap<string, string>;
  readonly #side: StreamSide;
  #wasReset = false;
  #wasEnded = false;
  #onWanted: () => void = () => undefined;

  constructor(headers: ReadonlyMap<string, string>, side: StreamSide) {
    super({ allowHalfOpen: true, readableHighWaterMark: maxStreamBytes });
    this.headers = headers;
    this.#side = side;
  }

  /** Resolves when there is room for more. */
  deliver(data: Buffer): Promise<void> {
    if (this.destroyed || this.#wasEnded || this.push(data)) return Promise.resolve();
    return new Promise((resolve) => {
      this.#onWanted = resolve;
    });
  }

  wasEnded(): void {
    this.#wasEnded = true;
    this.push(null);
  }

  get wasReset(): boolean {
    return this.#wasReset;
  }

  /** The peer is gone: what it sent can be read, and nothing can be written. */
  wasLeft(): void {
    this.#wasReset = true;
    if (!this.#wasEnded) this.wasEnded();
  }

  resetByPeer(): void {
    this.#wasReset = true;
    this.destroy();
  }

  override _read(): void {
    this.#onWanted();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, callback: (err?: Error | null) => void): void {
    if (this.#wasReset) {
      callback(new SpdyError('the peer has closed the stream'));
      return;
    }
    const sendFrom = (at: number): void => {
      const end = Math.min(at + maxDataBytes, chunk.length);
      this.#side.send(chunk.subarray(at, end), false, (err) => {
        if (err !== undefined && err !== null) callback(err);
        else if (end < chunk.length) sendFrom(end);
        else callback();
      });
    };
    sendFrom(0);
  }

  override _final(callback: (err?: Error | null) => void): void {
    this.#side.send(Buffer.alloc(0), true, callback);
  }

  override _destroy(err: Error | null, callback: (err?: Error | null) => void): void {
    this.#onWanted();
    this.#side.closed(this.#wasReset || (this.readableEnded && this.writableFinished));
    callback(err);
  }
}

interface Reader {
  /** Undefined at the end of the connection, which is an error unless `mayEnd`. */
  exactly(bytes: number, mayEnd?: boolean): Promise<Buffer | undefined>;
  /** At least one byte and at most `bytes`. */
  some(bytes: number): Promise<Buffer>;
}

function createReader(socket: Duplex, head: Buffer): Reader {
  const chunks = (socket as AsyncIterable<Buffer>)[Symbol.asyncIterator]();
  let buffered: Buffer = head;

  async function more(): Promise<boolean> {
    const next = await chunks.next();
    if (next.done === true) return false;
    buffered = buffered.length === 0 ? next.value : Buffer.concat([buffered, next.value]);
    return true;
  }
  const take = (bytes: number): Buffer => {
    const taken = buffered.subarray(0, bytes);
    buffered = buffered.subarray(bytes);
    return taken;
  };

  return {
    async exactly(bytes, mayEnd = false) {
      while (buffered.length < bytes) {
        if (await more()) continue;
        if (mayEnd && buffered.length === 0) return undefined;
        throw new SpdyError('the connection ended within a frame');
      }
      return take(bytes);
    },
    async some(bytes) {
      while (buffered.length === 0) if (!(await more())) throw new SpdyError('the connection ended within a frame');
      return take(bytes);
    },
  };
}

interface HeaderDecoder {
  decode(block: Buffer): Promise<ReadonlyMap<string, string>>;
  close(): void;
}

/** Header blocks of a connection are one compressed stream, so they must be decoded in order, also those that nobody wants. */
function createHeaderDecoder(): HeaderDecoder {
  const inflate = createInflate({ dictionary: headerDictionary, finishFlush: zlib.Z_SYNC_FLUSH });
  let output: Buffer[] = [];
  let size = 0;
  let fail: (err: Error) => void = () => undefined;
  inflate.on('error', () => fail(new SpdyError('headers that cannot be decompressed')));
  inflate.on('data', (chunk: Buffer) => {
    size += chunk.length;
    if (size > maxHeaderBytes) {
      fail(new SpdyError('headers that are too large'));
      inflate.destroy();
    } else output.push(chunk);
  });
  return {
    decode(block) {
      return new Promise((resolve, reject) => {
        output = [];
        size = 0;
        fail = reject;
        inflate.write(block, (err) => {
          if (err !== undefined && err !== null) {
            reject(new SpdyError('headers that cannot be decompressed'));
            return;
          }
          try {
            resolve(parseHeaders(Buffer.concat(output)));
          } catch (failure) {
            reject(failure);
          }
        });
      });
    },
    close: () => void inflate.destroy(),
  };
}

function parseHeaders(block: Buffer): ReadonlyMap<string, string> {
  let at = 0;
  const number = (): number => {
    if (at + 4 > block.length) throw new SpdyError('headers that end too early');
    at += 4;
    return block.readUInt32BE(at - 4);
  };
  const text = (): string => {
    const length = number();
    if (at + length > block.length) throw new SpdyError('headers that end too early');
    at += length;
    return block.toString('latin1', at - length, at);
  };
  const count = number();
  if (count > maxHeaders) throw new SpdyError(`${count} headers`);
  const headers = new Map<string, string>();
  for (let index = 0; index < count; index += 1) {
    const name = text().toLowerCase();
    headers.set(name, text());
  }
  return headers;
}

function encodeHeaders(headers: Readonly<Record<string, string>>): Buffer {
  const entries = Object.entries(headers);
  const texts = entries.flat().flatMap((text) => [uint32(text.length), Buffer.from(text, 'latin1')]);
  return Buffer.concat([uint32(entries.length), ...texts]);
}

/** A stored block of deflate, and the empty block that makes a reader hand out what it has. */
function storedBlock(content: Buffer): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt16LE(content.length, 1);
  head.writeUInt16LE(content.length ^ 0xffff, 3);
  return Buffer.concat([head, content, emptyBlock]);
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

function controlFrame(type: number, body: Buffer): Buffer {
  const frame = Buffer.alloc(8);
  frame.writeUInt16BE(0x8000 | version, 0);
  frame.writeUInt16BE(type, 2);
  frame.writeUIntBE(body.length, 5, 3);
  return Buffer.concat([frame, body]);
}

function dataFrame(id: number, data: Buffer, fin: boolean): Buffer {
  const frame = Buffer.alloc(8);
  frame.writeUInt32BE(id, 0);
  frame[4] = fin ? flagFin : 0;
  frame.writeUIntBE(data.length, 5, 3);
  return Buffer.concat([frame, data]);
}

const dictionaryNames =
  'options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age allow authorization ' +
  'cache-control connection content-base content-encoding content-language content-length content-location content-md5 content-range ' +
  'content-type date etag expect expires from host if-match if-modified-since if-none-match if-range if-unmodified-since last-modified ' +
  'location max-forwards pragma proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding ' +
  'upgrade user-agent vary via warning www-authenticate method get status';
const dictionaryTail =
  '100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505203 Non-Authoritative Information' +
  '204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden404 Not Found500 Internal Server Error' +
  '501 Not Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, ' +
  'Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,text/javascript,' +
  'publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.';

/** Dictionary of both compressors; given by the protocol, byte for byte. */
const headerDictionary = Buffer.concat([
  ...[...dictionaryNames.split(' '), '200 OK', 'version', 'HTTP/1.1', 'url', 'public', 'set-cookie', 'keep-alive', 'origin'].flatMap(
    (word) => [uint32(word.length), Buffer.from(word)],
  ),
  Buffer.from(dictionaryTail),
]);

/** Deflate with a preset dictionary, and the checksum that names it. */
const zlibHeader = Buffer.of(0x78, 0xf9, 0xe3, 0xc6, 0xa7, 0xc2);
const emptyBlock = Buffer.of(0x00, 0x00, 0x00, 0xff, 0xff);
/** The number of headers, 0. */
const emptyHeaders = storedBlock(Buffer.alloc(4));
