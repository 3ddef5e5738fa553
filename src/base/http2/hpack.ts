import { varintOf } from '../varint.ts';
import { decodeHuffman } from './huffman.ts';

/**
 * Header compression of HTTP/2. A client that sends the same few headers needs no compression to write them, and has to read what the
 * server compressed.
 *
 * @see RFC 7541
 */

export type HeaderField = readonly [name: string, value: string];

/** Bytes of the table that a server may fill, by default; counted as RFC 7541, section 4.1 says. */
const maxTableBytes = 4_096;
const entryBytes = 32;

const staticFields: readonly HeaderField[] = [
  [':authority', ''],
  [':method', 'GET'],
  [':method', 'POST'],
  [':path', '/'],
  [':path', '/index.html'],
  [':scheme', 'http'],
  [':scheme', 'https'],
  ...['200', '204', '206', '304', '400', '404', '500'].map((status) => [':status', status] as const),
  ['accept-charset', ''],
  ['accept-encoding', 'gzip, deflate'],
  ...(
    'accept-language accept-ranges accept access-control-allow-origin age allow authorization cache-control content-disposition ' +
    'content-encoding content-language content-length content-location content-range content-type cookie date etag expect expires from ' +
    'host if-match if-modified-since if-none-match if-range if-unmodified-since last-modified link location max-forwards ' +
    'proxy-authenticate proxy-authorization range referer refresh retry-after server set-cookie strict-transport-security ' +
    'transfer-encoding user-agent vary via www-authenticate'
  )
    .split(' ')
    .map((name) => [name, ''] as const),
];

/**
 * Begins the first block of headers of a connection: the client fills no table. A server that allows a smaller one than usual waits for
 * that.
 */
export const withoutTable = '\x20';

/**
 * Encodes a header that no table keeps, as the bytes of a `latin1` text.
 *
 * @param name  in lower case
 * @throws Error for characters that a header cannot have
 */
export function encodeHeader(name: string, value: string): string {
  if (/[^\x20-\x7e]/.test(value)) throw new Error(`the header ${name} has characters that HTTP does not allow`);
  return `\0${encodeString(name)}${encodeString(value)}`;
}

const encodeString = (text: string): string =>
  (text.length < 0x7f ? String.fromCharCode(text.length) : `\x7f${String.fromCharCode(...varintOf(text.length - 0x7f))}`) + text;

/** Decodes the header blocks of one connection, in the order in which they came: each may refer to earlier ones. */
export class HeaderDecoder {
  /** Headers that the server had kept, the newest first. */
  readonly #kept: HeaderField[] = [];
  #keptBytes = 0;
  #limit = maxTableBytes;
  #block: Buffer = Buffer.alloc(0);
  #at = 0;

  /**
   * The bound is for the headers as decoded: a byte may repeat a long header of the table, many times over.
   *
   * @param maxBytes  of all headers, counted as the table counts them
   * @returns undefined when they are more
   * @throws Error for a block that is not HPACK; the connection is of no use then
   */
  decode(block: Buffer, maxBytes: number): readonly HeaderField[] | undefined {
    this.#block = block;
    this.#at = 0;
    let fields: HeaderField[] = [];
    let bytes = 0;
    while (this.#at < block.length) {
      const first = block[this.#at] as number;
      if (first >= 0x20 && first < 0x40) {
        if (bytes > 0) throw new Error('a block of headers changes the table within it');
        this.#resize(this.#integer(5));
        continue;
      }
      const field = this.#next(first);
      bytes += sizeOf(field);
      if (bytes > maxBytes) fields = [];
      else fields.push(field);
    }
    return bytes > maxBytes ? undefined : fields;
  }

  #next(first: number): HeaderField {
    if (first >= 0x80) return this.#field(this.#integer(7));
    return first >= 0x40 ? this.#keep(this.#literal(6)) : this.#literal(4);
  }

  #field(index: number): HeaderField {
    const field = index <= staticFields.length ? staticFields[index - 1] : this.#kept[index - staticFields.length - 1];
    if (field === undefined) throw new Error(`a header refers to entry ${index}, which is none`);
    return field;
  }

  /** @param prefix  bits of the first byte that say which entry has the name */
  #literal(prefix: number): HeaderField {
    const index = this.#integer(prefix);
    const name = index === 0 ? this.#string() : this.#field(index)[0];
    return [name, this.#string()];
  }

  #keep(field: HeaderField): HeaderField {
    this.#kept.unshift(field);
    this.#keptBytes += sizeOf(field);
    this.#evict();
    return field;
  }

  #resize(limit: number): void {
    if (limit > maxTableBytes) throw new Error(`the server keeps ${limit} bytes of headers, more than it may`);
    this.#limit = limit;
    this.#evict();
  }

  #evict(): void {
    while (this.#keptBytes > this.#limit) this.#keptBytes -= sizeOf(this.#kept.pop() as HeaderField);
  }

  #integer(prefix: number): number {
    const most = 2 ** prefix - 1;
    let value = this.#byte() & most;
    if (value < most) return value;
    for (let factor = 1; factor < 2 ** 28; factor *= 0x80) {
      const byte = this.#byte();
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) return value;
    }
    throw new Error('a header has a number that is too large');
  }

  #string(): string {
    const isHuffman = (this.#block[this.#at] ?? 0) >= 0x80;
    const size = this.#integer(7);
    const bytes = this.#block.subarray(this.#at, this.#at + size);
    if (bytes.length < size) throw cutShort();
    this.#at += size;
    return (isHuffman ? decodeHuffman(bytes) : bytes).toString('latin1');
  }

  #byte(): number {
    const byte = this.#block[this.#at];
    if (byte === undefined) throw cutShort();
    this.#at += 1;
    return byte;
  }
}

const sizeOf = ([name, value]: HeaderField): number => name.length + value.length + entryBytes;

const cutShort = (): Error => new Error('a block of headers is cut short');
