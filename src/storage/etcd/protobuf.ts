import { GrpcError, grpcCodes } from '../../base/grpc.ts';
import { varintOf } from '../../base/varint.ts';

/**
 * The encoding of protobuf messages by hand: the store sends and reads few of them, thousands a second. A library that reads `.proto` files
 * took 85 ms of each start and four times as long for a transaction.
 *
 * @see https://protobuf.dev/programming-guides/encoding/
 */

/** A field of a message. Fields that are zero or empty are left out, as proto3 says. */
export interface Field {
  /** Bytes of the field with its head. */
  readonly length: number;
  /** Gives the place after it. */
  write(into: Buffer, at: number): number;
}

const varintType = 0;
const fixed64 = 1;
const delimited = 2;
const fixed32 = 5;

const absent: Field = { length: 0, write: (_, at) => at };

/**
 * @param value  an integer above -2^53 and below 2^53, also for the types of 64 bits
 * @param isThere  also when it is zero, as a member of a `oneof` that is set
 */
export function integer(number: number, value: number, isThere = false): Field {
  if (value === 0 && !isThere) return absent;
  const bytes = integerOf(value);
  return {
    length: 1 + bytes.length,
    write(into, at) {
      into[at] = number * 8 + varintType;
      into.set(bytes, at + 1);
      return at + 1 + bytes.length;
    },
  };
}

export const flag = (number: number, value: boolean): Field => integer(number, value ? 1 : 0);

/** A string, or bytes that are its UTF-8. */
export function text(number: number, value: string): Field {
  if (value === '') return absent;
  const size = Buffer.byteLength(value);
  const head = headOf(number, size);
  return {
    length: head.length + size,
    write(into, at) {
      into.set(head, at);
      return at + head.length + into.write(value, at + head.length, size);
    },
  };
}

/** A message within another one; it is there even when it is empty. */
export function message(number: number, fields: readonly Field[]): Field {
  const size = lengthOf(fields);
  const head = headOf(number, size);
  return {
    length: head.length + size,
    write(into, at) {
      into.set(head, at);
      return writeAll(fields, into, at + head.length);
    },
  };
}

export function encode(fields: readonly Field[]): Buffer {
  const bytes = Buffer.allocUnsafe(lengthOf(fields));
  writeAll(fields, bytes, 0);
  return bytes;
}

const lengthOf = (fields: readonly Field[]): number => fields.reduce((sum, { length }) => sum + length, 0);

function writeAll(fields: readonly Field[], into: Buffer, from: number): number {
  let at = from;
  for (const field of fields) at = field.write(into, at);
  return at;
}

/** Field numbers stay below 16, so that a tag is one byte. */
const headOf = (number: number, size: number): readonly number[] => [number * 8 + delimited, ...varintOf(size)];

function integerOf(value: number): readonly number[] {
  // Two's complement of 64 bits.
  if (value < 0) {
    const bits = BigInt.asUintN(64, BigInt(value));
    return Array.from({ length: 10 }, (_, at) => Number((bits >> BigInt(7 * at)) & 0x7fn) + (at < 9 ? 0x80 : 0));
  }
  return varintOf(value);
}

/** Reads a message from front to end: the number of a field, then its value or `skip`. Unknown fields are skipped. */
export class FieldReader {
  readonly #bytes: Buffer;
  readonly #end: number;
  #at: number;
  #type = varintType;

  constructor(bytes: Uint8Array, at = 0, end = bytes.length) {
    this.#bytes = Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#at = at;
    this.#end = end;
  }

  /** The number of the next field, 0 at the end. */
  next(): number {
    if (this.#at === this.#end) return 0;
    const tag = this.integer();
    this.#type = tag % 8;
    return Math.floor(tag / 8);
  }

  /** Not negative. Numbers above 2^53 are rounded. */
  integer(): number {
    let value = 0;
    for (let factor = 1; ; factor *= 0x80) {
      if (this.#at >= this.#end) throw cutShort();
      const byte = this.#bytes[this.#at] as number;
      this.#at += 1;
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) return value;
      if (factor > 2 ** 62) throw new GrpcError(grpcCodes.internal, 'the server sent a number of more than 64 bits');
    }
  }

  /** A number as it is encoded, in hexadecimal digits. */
  rawInteger(): string {
    const start = this.#at;
    this.integer();
    return this.#bytes.toString('hex', start, this.#at);
  }

  flag(): boolean {
    return this.integer() !== 0;
  }

  text(): string {
    const [start, end] = this.#delimited();
    return this.#bytes.toString('utf8', start, end);
  }

  message(): FieldReader {
    const [start, end] = this.#delimited();
    return new FieldReader(this.#bytes, start, end);
  }

  skip(): void {
    if (this.#type === varintType) this.integer();
    else if (this.#type === delimited) this.#delimited();
    else if (this.#type === fixed64) this.#pass(8);
    else if (this.#type === fixed32) this.#pass(4);
    else throw new GrpcError(grpcCodes.internal, `the server sent a field of type ${this.#type}, which is none`);
  }

  #delimited(): readonly [start: number, end: number] {
    if (this.#type !== delimited) throw new GrpcError(grpcCodes.internal, 'the server sent a field of another type than it has');
    const size = this.integer();
    const start = this.#at;
    this.#pass(size);
    return [start, this.#at];
  }

  #pass(size: number): void {
    if (size > this.#end - this.#at) throw cutShort();
    this.#at += size;
  }
}

const cutShort = (): GrpcError => new GrpcError(grpcCodes.internal, 'the server sent a message that is cut short');
