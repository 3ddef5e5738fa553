import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import {
  checkFrame,
  defaultFrameBytes,
  defaultWindowBytes,
  errorCodes,
  errorName,
  type FrameHead,
  frameFlags,
  frameHeadBytes,
  frameTypes,
  goAwayFrame,
  Http2Error,
  headerBlockOf,
  maxStreamId,
  maxWindowBytes,
  numberFrame,
  preface,
  readFrameHead,
  readSettings,
  settingIds,
  settingsFrame,
  unpad,
  writeFrameHead,
} from './frames.ts';
import { HeaderDecoder, type HeaderField, withoutTable } from './hpack.ts';
import { Http2Stream, type StreamConnection, type StreamHandler } from './stream.ts';

export interface Http2ConnectionOptions {
  /** Plain or TLS; the connection owns it. TLS has to agree on `h2`. */
  readonly socket: Socket;
  /** Bytes that the server may send before they are read, on each stream and twice that on the connection; at least 65,535. */
  readonly windowBytes?: number | undefined;
}

interface HeaderBlock {
  readonly streamId: number;
  /** The flags of its first frame. */
  readonly flags: number;
  readonly pieces: Buffer[];
  /** With what each frame counts besides. */
  bytes: number;
}

/** Bytes of the headers of one answer, on the wire and decoded. */
const maxHeaderBytes = 256 * 1024;
/** Counted for each frame of headers besides its bytes, so that empty ones come to an end. */
const headerFrameBytes = 64;
/** Streams before the server says how many it allows: it has to take that many at least, by the advice of the standard. */
const firstMaxStreams = 100;
/** Answers to frames of the server, such as pings, that the socket has not taken: a server that asks has to read, too. */
const maxOwedFrames = 1_000;

/**
 * The client's side of one HTTP/2 connection whose requests go to one server: no push, no priorities, no headers that a table keeps. All
 * that one turn of the event loop sends goes out in one write. While the socket takes no more, no stream begins and no data are sent. A
 * decision page has the measurements behind it.
 *
 * @see RFC 9113
 */
export class Http2Connection implements StreamConnection {
  /** True when TLS protects it. */
  readonly isEncrypted: boolean;
  readonly #socket: Socket;
  readonly #windowBytes: number;
  readonly #decoder = new HeaderDecoder();
  readonly #streams = new Map<number, Http2Stream>();
  /** Streams above what the server allows at once, and those that wait for the socket. */
  readonly #unopened = new Set<Http2Stream>();
  /** Streams whose data wait for a window or the socket, the one that waits longest first. */
  readonly #blocked = new Set<Http2Stream>();
  readonly #pings: (() => void)[] = [];
  readonly #onEnd: (() => void)[] = [];
  #output: Buffer[] = [];
  #owed = 0;
  #owedUnwritten = 0;
  #input: Buffer[] = [];
  #inputBytes = 0;
  #wanted = frameHeadBytes;
  /** Headers that go on in the next frame. */
  #headers: HeaderBlock | undefined;
  #nextId = 1;
  #sendWindow = defaultWindowBytes;
  #unacknowledged = 0;
  #peerWindow = defaultWindowBytes;
  #peerFrame = defaultFrameBytes;
  #peerStreams = firstMaxStreams;
  #isEstablished = false;
  #isCongested = false;
  #isClosing = false;
  #ended: Error | undefined;

  constructor({ socket, windowBytes = defaultWindowBytes }: Http2ConnectionOptions) {
    this.#socket = socket;
    this.#windowBytes = windowBytes;
    this.isEncrypted = socket instanceof TLSSocket;
    if (socket instanceof TLSSocket) socket.once('secureConnect', () => this.#checkProtocol(socket));
    // Several small writes may be under way.
    socket.setNoDelay(true);
    socket.on('data', (chunk: Buffer) => this.#read(chunk));
    socket.on('drain', () => this.#goOn());
    socket.on('error', (err) => this.destroy(err));
    // A server that ends its side answers nothing more, and may never read the rest.
    socket.on('end', () => this.destroy(new Error('the server closed it')));
    socket.on('close', () => this.destroy(new Error('the server closed it')));
    // A client that waits for nothing does not keep the program alive.
    socket.unref();
    this.#send(preface);
    this.#send(
      settingsFrame([
        [settingIds.enablePush, 0],
        [settingIds.initialWindowSize, windowBytes],
        [settingIds.maxHeaderListSize, maxHeaderBytes],
      ]),
    );
    const credit = 2 * windowBytes - defaultWindowBytes;
    if (credit > 0) this.#send(numberFrame(frameTypes.windowUpdate, 0, credit));
  }

  /** False when later requests need another connection. */
  get isUsable(): boolean {
    return !this.#isClosing && this.#ended === undefined;
  }

  /** The server has spoken. */
  get isEstablished(): boolean {
    return this.#isEstablished;
  }

  /** A request waits for its answer. */
  get isBusy(): boolean {
    return this.#streams.size > 0 || this.#unopened.size > 0;
  }

  /**
   * Begins a stream.
   *
   * @param headers  as `encodeHeader` gives them
   * @throws Http2Error for headers of 16 KiB or more
   */
  request(headers: string, handler: StreamHandler): Http2Stream {
    if (headers.length + withoutTable.length > defaultFrameBytes)
      throw new Http2Error(errorCodes.frameSize, `the headers of the request have ${headers.length} bytes, more than a frame takes`);
    const stream = new Http2Stream(this, { headers, handler, windowBytes: this.#windowBytes });
    if (this.#ended !== undefined) stream.end(this.#ended, undefined);
    else if (this.#mayOpen) this.#open(stream);
    else this.#unopened.add(stream);
    return stream;
  }

  /** @param onAnswer  not called when the connection ends before */
  ping(onAnswer: () => void): void {
    this.#pings.push(onAnswer);
    this.#send(writeFrameHead({ length: 8, type: frameTypes.ping, flags: 0, streamId: 0 }, 8).fill(0, frameHeadBytes));
  }

  onEnd(handler: () => void): void {
    this.#onEnd.push(handler);
  }

  /** Ends all streams with this error, whose code the server gets if the socket takes it. */
  destroy(reason: Error): void {
    if (this.#ended !== undefined) return;
    this.#ended = reason;
    if (this.#socket.writable) this.#socket.write(goAwayFrame(reason instanceof Http2Error ? reason.code : errorCodes.none));
    this.#socket.destroy();
    this.#output = [];
    this.#input = [];
    for (const handler of this.#onEnd) handler();
    for (const stream of [...this.#streams.values(), ...this.#unopened]) stream.end(reason, undefined);
  }

  #checkProtocol({ alpnProtocol }: TLSSocket): void {
    if (alpnProtocol !== 'h2')
      this.destroy(new Http2Error(errorCodes.inadequateSecurity, 'the server does not offer HTTP/2 over TLS (ALPN)'));
  }

  get #mayOpen(): boolean {
    return !this.#isCongested && this.#streams.size < this.#peerStreams;
  }

  #open(stream: Http2Stream): void {
    stream.id = this.#nextId;
    stream.sendWindow = this.#peerWindow;
    const headers = stream.id === 1 ? withoutTable + stream.headers : stream.headers;
    this.#nextId += 2;
    // The ids of a connection run out after days of many writes.
    if (this.#nextId > maxStreamId) this.#isClosing = true;
    this.#streams.set(stream.id, stream);
    const flags = frameFlags.endHeaders;
    const frame = writeFrameHead({ length: headers.length, type: frameTypes.headers, flags, streamId: stream.id }, headers.length);
    frame.write(headers, frameHeadBytes, 'latin1');
    this.#send(frame);
    this.sendData(stream);
  }

  sendData(stream: Http2Stream): void {
    if (stream.id === 0) return;
    for (let [next] = stream.unsent; next !== undefined; [next] = stream.unsent) {
      const room = this.#isCongested ? 0 : Math.max(0, Math.min(this.#sendWindow, stream.sendWindow, this.#peerFrame));
      const length = Math.min(next.bytes.length, room);
      if (length === 0 && next.bytes.length > 0) {
        this.#blocked.add(stream);
        return;
      }
      // A stream that has sent waits behind the others, so that each gets its turn.
      this.#blocked.delete(stream);
      const isWhole = length === next.bytes.length;
      const flags = isWhole && next.isLast ? frameFlags.endStream : 0;
      this.#send(writeFrameHead({ length, type: frameTypes.data, flags, streamId: stream.id }));
      this.#send(isWhole ? next.bytes : next.bytes.subarray(0, length));
      this.#sendWindow -= length;
      stream.sendWindow -= length;
      if (isWhole) stream.unsent.shift();
      else next.bytes = next.bytes.subarray(length);
    }
  }

  #sendBlocked(): void {
    for (const stream of [...this.#blocked]) this.sendData(stream);
  }

  credit(streamId: number, bytes: number): void {
    this.#answer(numberFrame(frameTypes.windowUpdate, streamId, bytes));
  }

  leave(stream: Http2Stream, code: number | undefined): void {
    this.#blocked.delete(stream);
    this.#unopened.delete(stream);
    if (!this.#streams.delete(stream.id) || this.#ended !== undefined) return;
    if (code !== undefined) this.#send(numberFrame(frameTypes.reset, stream.id, code));
    this.#openNext();
    if (this.#isClosing && !this.isBusy) setImmediate(() => this.destroy(new Error('the server goes away')));
  }

  #openNext(): void {
    for (const stream of this.#unopened) {
      if (!this.isUsable || !this.#mayOpen) break;
      this.#unopened.delete(stream);
      this.#open(stream);
    }
    if (this.#isClosing) this.#failUnopened('the connection takes no more requests');
  }

  #failUnopened(reason: string): void {
    for (const stream of this.#unopened) stream.end(new Http2Error(errorCodes.refusedStream, reason, true), undefined);
  }

  /** The socket takes more. */
  #goOn(): void {
    this.#isCongested = false;
    this.#sendBlocked();
    this.#openNext();
  }

  /** Sends what a frame of the server asks for. */
  #answer(bytes: Buffer): void {
    this.#owed += 1;
    this.#owedUnwritten += 1;
    if (this.#owed > maxOwedFrames) this.destroy(new Http2Error(errorCodes.enhanceYourCalm, 'the server asks without reading the answers'));
    else this.#send(bytes);
  }

  #send(bytes: Buffer): void {
    if (this.#ended !== undefined) return;
    if (this.#output.push(bytes) === 1) setImmediate(() => this.#flush());
  }

  #flush(): void {
    const { length } = this.#output;
    if (length === 0) return;
    const bytes = length === 1 ? (this.#output[0] as Buffer) : Buffer.concat(this.#output);
    const owed = this.#owedUnwritten;
    this.#output = [];
    this.#owedUnwritten = 0;
    this.#isCongested = !this.#socket.write(bytes, () => {
      this.#owed -= owed;
    });
  }

  #read(chunk: Buffer): void {
    this.#input.push(chunk);
    this.#inputBytes += chunk.length;
    if (this.#inputBytes < this.#wanted) return;
    const bytes = this.#input.length === 1 ? chunk : Buffer.concat(this.#input, this.#inputBytes);
    let at = 0;
    try {
      for (;;) {
        this.#wanted = frameHeadBytes;
        if (bytes.length - at < frameHeadBytes) break;
        const head = readFrameHead(bytes, at);
        this.#check(head);
        this.#wanted += head.length;
        if (bytes.length - at < this.#wanted) break;
        this.#receive(head, bytes.subarray(at + frameHeadBytes, at + this.#wanted));
        if (this.#ended !== undefined) return;
        at += this.#wanted;
      }
    } catch (err) {
      this.destroy(err as Error);
      return;
    }
    this.#input = at === bytes.length ? [] : [bytes.subarray(at)];
    this.#inputBytes = bytes.length - at;
  }

  #check(head: FrameHead): void {
    const { type, streamId, flags } = head;
    if (!this.#isEstablished && (type !== frameTypes.settings || (flags & frameFlags.acknowledges) !== 0))
      throw new Http2Error(errorCodes.protocol, 'the server does not speak HTTP/2');
    if (
      this.#headers === undefined
        ? type === frameTypes.continuation
        : type !== frameTypes.continuation || streamId !== this.#headers.streamId
    )
      throw new Http2Error(
        errorCodes.protocol,
        this.#headers === undefined ? 'the server goes on with no headers' : 'the server broke off its headers',
      );
    checkFrame(head, this.#nextId);
  }

  #receive(head: FrameHead, payload: Buffer): void {
    const { type, streamId, flags } = head;
    if (type === frameTypes.data) this.#receiveData(head, payload);
    else if (type === frameTypes.headers) {
      this.#headers = { streamId, flags, pieces: [], bytes: 0 };
      this.#receiveHeaders(this.#headers, headerBlockOf(payload, flags), flags);
    } else if (type === frameTypes.continuation && this.#headers !== undefined) this.#receiveHeaders(this.#headers, payload, flags);
    else if (type === frameTypes.reset) this.#receiveReset(streamId, payload.readUInt32BE(0));
    else if (type === frameTypes.settings) this.#receiveSettings(flags, payload);
    else if (type === frameTypes.ping) this.#receivePing(flags, payload);
    else if (type === frameTypes.goAway) this.#receiveGoAway(payload);
    else if (type === frameTypes.windowUpdate) this.#receiveCredit(streamId, payload.readUInt32BE(0) & maxWindowBytes);
  }

  #receiveData({ streamId, flags, length }: FrameHead, payload: Buffer): void {
    this.#unacknowledged += length;
    if (this.#unacknowledged >= this.#windowBytes) {
      this.credit(0, this.#unacknowledged);
      this.#unacknowledged = 0;
    }
    const bytes = unpad(payload, flags);
    // A stream that was cancelled may still get what was under way.
    const stream = this.#streams.get(streamId);
    stream?.receiveData(bytes, length);
    if ((flags & frameFlags.endStream) !== 0) stream?.receiveEnd();
  }

  #receiveHeaders(headers: HeaderBlock, piece: Buffer, flags: number): void {
    headers.pieces.push(piece);
    headers.bytes += piece.length + headerFrameBytes;
    if (headers.bytes > maxHeaderBytes)
      throw new Http2Error(errorCodes.enhanceYourCalm, `the server sent headers of more than ${maxHeaderBytes} bytes`);
    if ((flags & frameFlags.endHeaders) === 0) return;
    this.#headers = undefined;
    // The table of the decoder needs the headers of all streams.
    const fields = this.#decode(headers.pieces.length === 1 ? piece : Buffer.concat(headers.pieces));
    const isLast = (headers.flags & frameFlags.endStream) !== 0;
    const stream = this.#streams.get(headers.streamId);
    stream?.receiveHeaders(fields, isLast);
    if (isLast) stream?.receiveEnd();
  }

  #decode(block: Buffer): readonly HeaderField[] | undefined {
    try {
      return this.#decoder.decode(block, maxHeaderBytes);
    } catch (err) {
      throw new Http2Error(errorCodes.compression, (err as Error).message);
    }
  }

  #receiveReset(streamId: number, code: number): void {
    const error = new Http2Error(code, `the server reset the stream: ${errorName(code)}`, code === errorCodes.refusedStream);
    this.#streams.get(streamId)?.end(error, undefined);
  }

  #receiveSettings(flags: number, payload: Buffer): void {
    if ((flags & frameFlags.acknowledges) !== 0) return;
    if (!this.#isEstablished) this.#peerStreams = Number.POSITIVE_INFINITY;
    this.#isEstablished = true;
    for (const [id, value] of readSettings(payload)) this.#applySetting(id, value);
    this.#answer(writeFrameHead({ length: 0, type: frameTypes.settings, flags: frameFlags.acknowledges, streamId: 0 }));
    this.#sendBlocked();
    this.#openNext();
  }

  #applySetting(id: number, value: number): void {
    if (id === settingIds.maxConcurrentStreams) this.#peerStreams = value;
    else if (id === settingIds.maxFrameSize) this.#peerFrame = value;
    else if (id === settingIds.initialWindowSize) {
      for (const stream of this.#streams.values()) {
        stream.sendWindow += value - this.#peerWindow;
        if (stream.sendWindow > maxWindowBytes) throw new Http2Error(errorCodes.flowControl, 'the server set a window that is too large');
      }
      this.#peerWindow = value;
    }
  }

  #receivePing(flags: number, payload: Buffer): void {
    if ((flags & frameFlags.acknowledges) !== 0) {
      this.#pings.shift()?.();
      return;
    }
    const answer = writeFrameHead(
      { length: payload.length, type: frameTypes.ping, flags: frameFlags.acknowledges, streamId: 0 },
      payload.length,
    );
    answer.set(payload, frameHeadBytes);
    this.#answer(answer);
  }

  /** Streams up to the last one that the server took go on; it has not looked at later ones. */
  #receiveGoAway(payload: Buffer): void {
    const last = payload.readUInt32BE(0) & maxStreamId;
    const text = payload.toString('utf8', 8);
    const reason = `the server goes away: ${errorName(payload.readUInt32BE(4))}${text === '' ? '' : `, ${text}`}`;
    this.#isClosing = true;
    this.#failUnopened(reason);
    for (const [id, stream] of [...this.#streams])
      if (id > last) stream.end(new Http2Error(errorCodes.refusedStream, reason, true), undefined);
    if (!this.isBusy) this.destroy(new Error(reason));
  }

  #receiveCredit(streamId: number, bytes: number): void {
    if (streamId === 0) {
      this.#sendWindow += bytes;
      if (bytes === 0 || this.#sendWindow > maxWindowBytes) {
        const code = bytes === 0 ? errorCodes.protocol : errorCodes.flowControl;
        throw new Http2Error(code, `the server added ${bytes} bytes to the window of the connection`);
      }
      this.#sendBlocked();
      return;
    }
    const stream = this.#streams.get(streamId);
    stream?.receiveCredit(bytes);
    if (stream !== undefined && this.#blocked.has(stream)) this.sendData(stream);
  }
}
