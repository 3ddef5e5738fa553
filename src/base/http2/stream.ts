import { errorCodes, Http2Error, maxWindowBytes } from './frames.ts';
import type { HeaderField } from './hpack.ts';

/** Called in this order; nothing after `onClose`. */
export interface StreamHandler {
  /** Before the data, and after them. The headers are well-formed; those of informational answers are left out. */
  onHeaders(fields: readonly HeaderField[]): void;
  onData(bytes: Buffer): void;
  /** Once. Without an error the server ended the stream, or the caller cancelled it. */
  onClose(error: Error | undefined): void;
}

/** The parts of a connection that its streams use. */
export interface StreamConnection {
  /** Sends of the stream's data what the windows allow. */
  sendData(stream: Http2Stream): void;
  /** Lets the server send again what was read. */
  credit(streamId: number, bytes: number): void;
  /** Forgets a stream. @param code  why it is reset; undefined when the server has ended it and waits for nothing */
  leave(stream: Http2Stream, code: number | undefined): void;
}

/** The client's side of one request. */
export class Http2Stream {
  /** 0 before the server allows it. */
  id = 0;
  /** Bytes that the server takes; below zero after it made its windows smaller. */
  sendWindow = 0;
  readonly headers: string;
  readonly unsent: { bytes: Buffer; readonly isLast: boolean }[] = [];
  readonly #connection: StreamConnection;
  readonly #handler: StreamHandler;
  readonly #windowBytes: number;
  #hasSentLast = false;
  #hasHeaders = false;
  #isPaused = false;
  #unacknowledged = 0;
  #isClosed = false;

  constructor(
    connection: StreamConnection,
    { headers, handler, windowBytes }: { readonly headers: string; readonly handler: StreamHandler; readonly windowBytes: number },
  ) {
    this.#connection = connection;
    this.headers = headers;
    this.#handler = handler;
    this.#windowBytes = windowBytes;
  }

  /** Does nothing when the stream is closed. */
  write(bytes: Buffer, isLast: boolean): void {
    if (this.#isClosed) return;
    this.#hasSentLast ||= isLast;
    this.unsent.push({ bytes, isLast });
    if (this.unsent.length === 1) this.#connection.sendData(this);
  }

  /** Holds the server back when it has sent one window. Up to that much still arrives. */
  pause(): void {
    this.#isPaused = true;
  }

  resume(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    this.#acknowledge(1);
  }

  cancel(): void {
    this.end(undefined, errorCodes.cancel);
  }

  /** @param fields  undefined when they are more than the client takes */
  receiveHeaders(fields: readonly HeaderField[] | undefined, isLast: boolean): void {
    if (fields === undefined) this.#refuse('more headers than the client takes');
    else if (!isWellFormed(fields, !this.#hasHeaders)) this.#refuse('malformed headers');
    else if (!this.#hasHeaders && fields[0]?.[1].startsWith('1') === true) {
      if (isLast) this.#refuse('an informational answer, and no other');
    } else if (this.#hasHeaders && !isLast) this.#refuse('headers within the data');
    else {
      this.#hasHeaders = true;
      this.#handler.onHeaders(fields);
    }
  }

  /** @param length  bytes with the padding */
  receiveData(bytes: Buffer, length: number): void {
    if (!this.#hasHeaders) {
      this.#refuse('data before headers');
      return;
    }
    this.#unacknowledged += length;
    if (this.#unacknowledged > this.#windowBytes)
      throw new Http2Error(errorCodes.flowControl, 'the server sent more than the window of a stream');
    if (!this.#isPaused) this.#acknowledge(this.#windowBytes / 2);
    if (bytes.length > 0) this.#handler.onData(bytes);
  }

  /** Lets the client send more. */
  receiveCredit(bytes: number): void {
    if (bytes === 0 || this.sendWindow + bytes > maxWindowBytes) {
      const code = bytes === 0 ? errorCodes.protocol : errorCodes.flowControl;
      this.end(new Http2Error(code, `the server added ${bytes} bytes to the window of a stream`), code);
    } else this.sendWindow += bytes;
  }

  /** The server has ended its side. */
  receiveEnd(): void {
    this.end(undefined, this.#hasSentLast && this.unsent.length === 0 ? undefined : errorCodes.cancel);
  }

  /** @param code  why the client resets the stream; undefined when the server needs no reset */
  end(error: Error | undefined, code: number | undefined): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#connection.leave(this, code);
    this.unsent.length = 0;
    this.#handler.onClose(error);
  }

  #refuse(what: string): void {
    this.end(new Http2Error(errorCodes.protocol, `the server sent ${what}`), errorCodes.protocol);
  }

  #acknowledge(least: number): void {
    if (this.#isClosed || this.id === 0 || this.#unacknowledged < least) return;
    this.#connection.credit(this.id, this.#unacknowledged);
    this.#unacknowledged = 0;
  }
}

const connectionFields = new Set(['connection', 'keep-alive', 'proxy-connection', 'transfer-encoding', 'upgrade']);

/** @see RFC 9113, section 8.2 */
function isWellFormed(fields: readonly HeaderField[], isFirst: boolean): boolean {
  if (isFirst !== (fields[0]?.[0] === ':status')) return false;
  return fields.every(([name, value], at) => {
    if (at === 0 && isFirst) return /^[1-9]\d\d$/.test(value);
    return /^[!-9;-@[-~]+$/.test(name) && !/[\0\r\n]/.test(value) && !connectionFields.has(name);
  });
}
