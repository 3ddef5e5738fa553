import { JsonError, parseJson, setOwn } from '../../../machinery/json.ts';
import { parseQuantity, QuantityError } from '../../../machinery/quantity.ts';
import {
  answerLayoutOf,
  type eitherForms,
  envelope,
  type Field,
  type Form,
  intOrString,
  type Layout,
  layoutOf,
  quantity,
  rawJson,
  timestamp,
} from './layouts.ts';

/**
 * Reads the protobuf form of Kubernetes' own kinds, which kubectl's typed commands, helm and client-go send.
 *
 * A body is four bytes, then a `runtime.Unknown` that names version and kind and holds the object. Field numbers come from
 * `src/api/protobuf.json`. The result is the object's JSON form. Typed clients cannot help sending zero values that mean
 * absence and empty structures that are always there; both are left out.
 */

/** The bytes are not what the real server reads; the message is the one of its decoder. */
export class ProtobufError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'ProtobufError';
  }
}

export interface ProtobufBody {
  /** Empty when the body does not say. */
  readonly apiVersion: string;
  readonly kind: string;
  /** The object, still encoded. */
  readonly raw: Buffer;
}

const prefix = Buffer.from('k8s\0', 'latin1');

/** @throws ProtobufError when `body` has not the form that all objects are sent in */
export function readProtobufBody(body: Buffer | undefined): ProtobufBody {
  if (body === undefined || body.length === 0) throw new ProtobufError('empty data');
  if (!body.subarray(0, prefix.length).equals(prefix)) {
    throw new ProtobufError(`provided data does not appear to be a protobuf message, expected prefix [${prefix.join(' ')}]`);
  }
  if (body.length === prefix.length) throw new ProtobufError('empty body');
  const unknown = new Reader(body.subarray(prefix.length)).message(envelope, {}, 0);
  const { apiVersion = '', kind = '', raw = noBytes } = unknown as { apiVersion?: string; kind?: string; raw?: Buffer };
  return { apiVersion, kind, raw };
}

/** `DeleteOptions`, which all groups share. */
export const deleteOptionsMessage = 'io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions';

/**
 * The JSON form of an encoded message. Fields that are not known are passed over, as by the real server.
 *
 * @param name  of the message: `io.k8s.api.core.v1.Pod`
 * @throws ProtobufError for bytes that are cut short, of the wrong type, or hold what JSON cannot
 */
export function decodeMessage(name: string, bytes: Buffer): Record<string, unknown> {
  return new Reader(bytes).message(layoutOf(name), {}, 0);
}

/** The JSON form of a whole answer; undefined when its kind has no protobuf form. */
export function decodeAnswer(bytes: Buffer): Record<string, unknown> | undefined {
  const { apiVersion, kind, raw } = readProtobufBody(bytes);
  const layout = answerLayoutOf(apiVersion, kind);
  return layout === undefined ? undefined : { kind, apiVersion, ...new Reader(raw).message(layout, {}, 0) };
}

// ------------------------------------------------------------------------------------------------------------------------------- reading

const noBytes = Buffer.alloc(0);

/**
 * Messages in one body. Empty ones take two bytes each, and every one becomes an object that is defaulted and validated. A body of
 * the largest size could keep the process busy for seconds. Objects that mean something need a dozen bytes each, and stay below.
 */
const maxMessages = 250_000;

/** Messages within messages. Kubernetes' types stay under 20 levels; a type that contains itself would have no other bound. */
const maxDepth = 100;

const varint = 0;
const fixed64 = 1;
const lengthDelimited = 2;
const startGroup = 3;
const endGroup = 4;
const fixed32 = 5;

type JsonObject = Record<string, unknown>;

const unexpectedEnd = (): ProtobufError => new ProtobufError('unexpected EOF');

/** Reads one buffer from front to end; nested messages narrow `#end` and widen it again, so that nothing is copied. */
class Reader {
  readonly #bytes: Buffer;
  #at = 0;
  #end: number;
  #messages = 0;
  #low = 0;
  #high = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
    this.#end = bytes.length;
  }

  /** Reads up to the end of the current message into `target`; what comes twice is replaced, or merged when it is a message. */
  message(layout: Layout, target: JsonObject, depth: number): JsonObject {
    if (depth > maxDepth) throw new ProtobufError('exceeded max depth');
    if (++this.#messages > maxMessages) throw new ProtobufError(`more than ${maxMessages} messages`);
    while (this.#at < this.#end) {
      const tag = this.#tag(layout.goType);
      const wireType = tag & 7;
      if (wireType === endGroup) throw new ProtobufError(`proto: ${layout.goType}: wiretype end group for non-group`);
      const field = layout.fields[tag >>> 3];
      if (field === undefined) this.#skip(wireType);
      else if (field.label === 'optional') this.#readOptional(field, wireType, target, depth);
      else if (field.label === 'repeated') this.#readRepeated(field, wireType, target, depth);
      else this.#readMapEntry(field, wireType, target, depth);
    }
    return target;
  }

  // The readers of fields run for every field of every body. Their parameters are positional, since objects would be garbage.

  #readOptional(field: Field, wireType: number, target: JsonObject, depth: number): void {
    const { name, form } = field;
    if (form === 'inline') {
      this.#within(field, wireType, () => this.message(field.layout(), target, depth + 1));
      return;
    }
    if (form === 'message') {
      const before = target[name] as JsonObject | undefined;
      const value = this.#within(field, wireType, () => this.message(field.layout(), before ?? {}, depth + 1));
      if (before === undefined && !(field.zeroIsAbsent && isEmpty(value))) target[name] = value;
      return;
    }
    const value = this.#value(field, wireType, depth);
    if (value === undefined || (field.zeroIsAbsent && isZero(value))) {
      // An earlier value of the same field is replaced by nothing.
      if (target[name] !== undefined) delete target[name];
    } else {
      target[name] = value;
    }
  }

  #readRepeated(field: Field, wireType: number, target: JsonObject, depth: number): void {
    const list = (target[field.name] as unknown[] | undefined) ?? [];
    target[field.name] = list;
    if (wireType === lengthDelimited && (field.form === 'int32' || field.form === 'int64')) {
      // Numbers may come packed.
      this.#within(field, wireType, () => {
        while (this.#at < this.#end) list.push(this.#value(field, varint, depth));
      });
      return;
    }
    list.push(this.#value(field, wireType, depth) ?? null);
  }

  #readMapEntry(field: Field, wireType: number, target: JsonObject, depth: number): void {
    const map = (target[field.name] as JsonObject | undefined) ?? {};
    target[field.name] = map;
    let key = '';
    let value: unknown;
    let hasValue = false;
    this.#within(field, wireType, () => {
      while (this.#at < this.#end) {
        const tag = this.#tag(field.name);
        if (tag === firstField) {
          key = this.#string();
        } else if (tag >>> 3 === 2) {
          value = this.#value(field, tag & 7, depth);
          hasValue = true;
        } else {
          this.#skip(tag & 7);
        }
      }
    });
    setOwn(map, key, hasValue ? (value ?? null) : zeroOf(field.form));
  }

  /** A value of the field's form; undefined for one that is null in JSON. */
  #value(field: Field, wireType: number, depth: number): unknown {
    const { form } = field;
    switch (form) {
      case 'string':
        this.#expect(field, wireType, lengthDelimited);
        return this.#string();
      case 'bool':
        this.#expect(field, wireType, varint);
        this.#varint();
        return this.#low !== 0 || this.#high !== 0;
      case 'int32':
        this.#expect(field, wireType, varint);
        return this.#int32();
      case 'int64':
        this.#expect(field, wireType, varint);
        return this.#int64(field);
      case 'double':
        this.#expect(field, wireType, fixed64);
        return this.#double(field);
      case 'bytes':
        this.#expect(field, wireType, lengthDelimited);
        return this.#slice().toString('base64');
      case 'raw':
        this.#expect(field, wireType, lengthDelimited);
        return this.#slice();
      case 'message':
      case 'inline':
        return this.#within(field, wireType, () => this.message(field.layout(), {}, depth + 1));
      case 'list':
        return this.#within(field, wireType, () => this.#list());
      case 'time':
        return this.#within(field, wireType, () => this.#time(depth, 0));
      case 'micro-time':
        return this.#within(field, wireType, () => this.#time(depth, 6));
      case 'quantity':
        return this.#within(field, wireType, () => this.#quantity(depth));
      case 'int-or-string':
        return this.#within(field, wireType, () => this.#intOrString(depth));
      case 'json':
        return this.#within(field, wireType, () => this.#json(depth));
      case 'message-or-list':
      case 'message-or-bool':
      case 'message-or-strings':
        return this.#within(field, wireType, () => this.#either(field, form, depth));
      default:
        return form satisfies never;
    }
  }

  /** Reads what a length is written in front of; `read` sees its end as the end. */
  #within<T>(field: Field, wireType: number, read: () => T): T {
    this.#expect(field, wireType, lengthDelimited);
    const length = this.#length();
    const outerEnd = this.#end;
    this.#end = this.#at + length;
    const value = read();
    this.#end = outerEnd;
    return value;
  }

  #expect(field: Field, wireType: number, expected: number): void {
    if (wireType === expected) return;
    throw new ProtobufError(`proto: wrong wireType = ${wireType} for field ${goNameOf(field.name)}`);
  }

  // ------------------------------------------------------------- messages with a form of their own

  #list(): string[] {
    const items: string[] = [];
    while (this.#at < this.#end) {
      const tag = this.#tag('list');
      if (tag === firstField) items.push(this.#string());
      else this.#skip(tag & 7);
    }
    return items;
  }

  /** An empty message is the zero time, which is null. */
  #time(depth: number, digits: 0 | 6): string | undefined {
    if (this.#at === this.#end) return undefined;
    const { seconds = 0, nanos = 0 } = this.message(timestamp, {}, depth + 1) as { seconds?: number; nanos?: number };
    // Nanoseconds may be more than a second, or negative, as durations are.
    const micros = digits === 0 ? 0 : Math.trunc(nanos / 1_000);
    const wholeSeconds = seconds + Math.floor(micros / 1_000_000);
    if (wholeSeconds < firstSecond || wholeSeconds > lastSecond) {
      throw new ProtobufError('time is outside of the years 0 to 9999');
    }
    if (wholeSeconds === zeroTime && micros === 0) return undefined;
    const text = new Date(wholeSeconds * 1_000).toISOString().slice(0, 'YYYY-MM-DDThh:mm:ss'.length);
    if (digits === 0) return `${text}Z`;
    const fraction = ((micros % 1_000_000) + 1_000_000) % 1_000_000;
    return `${text}.${String(fraction).padStart(6, '0')}Z`;
  }

  #quantity(depth: number): string {
    const { string } = this.message(quantity, {}, depth + 1) as { string?: string };
    if (string === undefined) return '0';
    try {
      parseQuantity(string);
    } catch (err) {
      if (err instanceof QuantityError) throw new ProtobufError(err.message);
      throw err;
    }
    return string;
  }

  #intOrString(depth: number): number | string {
    const value = this.message(intOrString, {}, depth + 1) as {
      readonly type?: number;
      readonly intVal?: number;
      readonly strVal?: string;
    };
    const { type = 0, intVal = 0, strVal = '' } = value;
    if (type === 0) return intVal;
    if (type === 1) return strVal;
    throw new ProtobufError('impossible IntOrString.Type');
  }

  #json(depth: number): unknown {
    const { raw } = this.message(rawJson, {}, depth + 1) as { raw?: Buffer };
    if (raw === undefined || raw.length === 0) return undefined;
    try {
      return parseJson(raw.toString('utf8')).value ?? undefined;
    } catch (err) {
      if (err instanceof JsonError) throw new ProtobufError(err.message);
      throw err;
    }
  }

  /** Reads a message or the value in its place: a list of such messages, true or false, or texts. */
  #either(field: Field, form: (typeof eitherForms)[number], depth: number): unknown {
    let message: JsonObject | undefined;
    let allows = false;
    const others: unknown[] = [];
    const messageNumber = form === 'message-or-bool' ? 2 : 1;
    while (this.#at < this.#end) {
      const tag = this.#tag(field.name);
      const wireType = tag & 7;
      const read = (): JsonObject => this.#within(field, wireType, () => this.message(field.layout(), {}, depth + 1));
      if (tag >>> 3 === messageNumber) message = read();
      else if (tag >>> 3 > 2) this.#skip(wireType);
      else if (form === 'message-or-list') others.push(read());
      else if (form === 'message-or-bool') {
        this.#expect(field, wireType, varint);
        allows = this.#int32() !== 0;
      } else {
        this.#expect(field, wireType, lengthDelimited);
        others.push(this.#string());
      }
    }
    if (form === 'message-or-bool') return message ?? allows;
    return others.length > 0 || message === undefined ? others : message;
  }

  // ------------------------------------------------------------------------------------------------------------------------------- scalars

  #string(): string {
    const length = this.#length();
    const start = this.#at;
    this.#at += length;
    // Short strings are copied faster by hand than by a call into native code.
    if (length <= 24) {
      let text = '';
      for (let at = start; at < this.#at; at++) {
        const byte = this.#bytes[at] ?? 0;
        if (byte >= 0x80) return this.#bytes.toString('utf8', start, this.#at);
        text += String.fromCharCode(byte);
      }
      return text;
    }
    return this.#bytes.toString('utf8', start, this.#at);
  }

  #slice(): Buffer {
    const length = this.#length();
    this.#at += length;
    return this.#bytes.subarray(this.#at - length, this.#at);
  }

  /** Number of bytes that follow; they are all there. */
  #length(): number {
    this.#varint();
    if (this.#high >= 0x80000000) throw new ProtobufError('proto: negative length found during unmarshaling');
    if (this.#high !== 0 || this.#low > this.#end - this.#at) throw unexpectedEnd();
    return this.#low;
  }

  #int64(field: Field): number {
    this.#varint();
    const value = (this.#high | 0) * 0x1_0000_0000 + this.#low;
    // As for numbers in JSON: what cannot be held exactly is refused instead of changed.
    if (!Number.isSafeInteger(value)) {
      throw new ProtobufError(`${field.name} cannot be held exactly: integers are supported from -(2^53-1) to 2^53-1`);
    }
    return value;
  }

  #double(field: Field): number {
    this.#advance(8);
    const value = this.#bytes.readDoubleLE(this.#at - 8);
    if (!Number.isFinite(value)) throw new ProtobufError(`${field.name} is no finite number`);
    return value;
  }

  /** The upper bits are cut off, as the real server does. */
  #int32(): number {
    this.#varint();
    return this.#low | 0;
  }

  /** Number of a field, positive, and its wire type in the lowest three bits. */
  #tag(goType: string): number {
    this.#varint();
    if (this.#high !== 0 || this.#low >= 0x80000000 || this.#low < 8) {
      const number = (this.#low >>> 3) | (this.#high << 29);
      if (number <= 0) throw new ProtobufError(`proto: ${goType}: illegal tag ${number} (wire type ${this.#low})`);
      // Far beyond the numbers that exist: passed over.
      return (maxFieldNumber << 3) | (this.#low & 7);
    }
    return this.#low;
  }

  /** Into `#low` and `#high`, as two unsigned numbers of 32 bits. */
  #varint(): void {
    let low = 0;
    let high = 0;
    for (let shift = 0; ; shift += 7) {
      if (shift >= 64) throw new ProtobufError('proto: integer overflow');
      if (this.#at >= this.#end) throw unexpectedEnd();
      const byte = this.#bytes[this.#at++] ?? 0;
      const bits = byte & 0x7f;
      if (shift < 32) low |= bits << shift;
      // The fifth byte belongs to both halves.
      if (shift === 28) high = bits >>> 4;
      else if (shift > 28) high |= bits << (shift - 32);
      if (byte < 0x80) break;
    }
    this.#low = low >>> 0;
    this.#high = high >>> 0;
  }

  /** Passes over a value, groups with all that is in them. */
  #skip(wireType: number): void {
    let open = 0;
    let type = wireType;
    for (;;) {
      switch (type) {
        case varint:
          this.#varint();
          break;
        case fixed64:
          this.#advance(8);
          break;
        case lengthDelimited:
          this.#advance(this.#length());
          break;
        case startGroup:
          open++;
          break;
        case endGroup:
          if (open === 0) throw new ProtobufError('proto: unexpected end of group');
          open--;
          break;
        case fixed32:
          this.#advance(4);
          break;
        default:
          throw new ProtobufError(`proto: illegal wireType ${type}`);
      }
      if (open === 0) return;
      type = this.#tag('group') & 7;
    }
  }

  #advance(length: number): void {
    if (length > this.#end - this.#at) throw unexpectedEnd();
    this.#at += length;
  }
}

const maxFieldNumber = 0x0fff_ffff;
const firstField = (1 << 3) | lengthDelimited;

const zeroTime = Date.parse('0001-01-01T00:00:00Z') / 1_000;
const firstSecond = Date.parse('0000-01-01T00:00:00Z') / 1_000;
const lastSecond = Date.parse('9999-12-31T23:59:59Z') / 1_000;

const isZero = (value: unknown): boolean => value === '' || value === 0 || value === false;

function isEmpty(object: JsonObject): boolean {
  for (const _key in object) return false;
  return true;
}

/** Value of a map key that came without one. */
function zeroOf(form: Form): unknown {
  switch (form) {
    case 'string':
    case 'bytes':
      return '';
    case 'bool':
      return false;
    case 'int32':
    case 'int64':
    case 'double':
    case 'int-or-string':
      return 0;
    case 'quantity':
      return '0';
    case 'list':
      return [];
    case 'message':
      return {};
    case 'message-or-list':
    case 'message-or-strings':
      return [];
    case 'message-or-bool':
      return false;
    case 'time':
    case 'micro-time':
    case 'json':
    case 'inline':
    case 'raw':
      return null;
    default:
      return form satisfies never;
  }
}

/** As the real server's errors name fields: by those of its structures. */
const goNameOf = (name: string): string => (name === 'metadata' ? 'ObjectMeta' : `${name.charAt(0).toUpperCase()}${name.slice(1)}`);
