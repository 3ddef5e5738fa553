import {
  answerLayoutOf,
  type Field,
  intOrString,
  type Layout,
  listLayout,
  partialMetadata,
  quantity,
  timestamp,
  typeMeta,
} from './layouts.ts';

/**
 * Writes the protobuf form of objects, which kubelets, controllers and operators ask for first.
 *
 * Results are binary strings: a letter is a byte. Answers are then joined, cached and sent as JSON texts are, and take as much memory.
 * A field is written exactly when the JSON form has it, so that a client reads absence and zero as they are stored.
 */

interface Typed {
  readonly apiVersion: string;
  readonly kind: string;
}

/** @throws Error when the kind has no protobuf form */
export function layoutOfAnswer({ apiVersion, kind }: Typed): Layout {
  const layout = answerLayoutOf(apiVersion, kind);
  if (layout === undefined) throw new Error(`${apiVersion} ${kind} has no protobuf form`);
  return layout;
}

/** A whole answer: envelope and object. Undefined when its kind has no protobuf form. */
export function encodeAnswer(value: unknown): string | undefined {
  const { apiVersion = '', kind = '' } = value as Partial<Typed>;
  const layout = answerLayoutOf(apiVersion, kind);
  return layout === undefined ? undefined : inEnvelope({ apiVersion, kind }, encodeMessage(layout, value as object));
}

/** Four bytes, then `runtime.Unknown` around the message of an object. */
export const inEnvelope = (type: Typed, raw: string): string => envelopeHead(type, raw.length) + raw + envelopeTail;

/** The fields of `object` by `layout`, without envelope. */
export function encodeMessage(layout: Layout, object: object): string {
  const writer = new Writer();
  writer.message(layout, object as JsonObject);
  return writer.text();
}

/** The bytes in front of a message of `length` bytes. */
export function envelopeHead({ apiVersion, kind }: Typed, length: number): string {
  const writer = new Writer();
  writer.header(2, length);
  const end = writer.length;
  writer.message(typeMeta, { apiVersion, kind });
  writer.header(1, writer.length - end);
  return `k8s\0${writer.text()}`;
}

/** The fields `contentEncoding` and `contentType`, both empty, as Go writes them. */
export const envelopeTail = '\x1a\0\x22\0';

/** An event of a watch: its length in four bytes, then `meta.v1.WatchEvent`, whose object has the envelope of an answer. */
export function encodeWatchEvent(type: string, answer: string): string {
  const writer = new Writer();
  // A RawExtension in field 2, which holds the object in its field 1.
  writer.header(1, answer.length);
  writer.header(2, answer.length + writer.length);
  writer.string(1, type);
  const event = writer.text();
  const length = event.length + answer.length;
  return String.fromCharCode(length >>> 24, (length >>> 16) & 0xff, (length >>> 8) & 0xff, length & 0xff) + event + answer;
}

/** The bytes in front of an element of a list that has `length` bytes. */
export function listItemHead(length: number): string {
  const writer = new Writer();
  writer.header(2, length);
  return writer.text();
}

/** `metadata` of a list, which comes before its elements. */
export const encodeListMetadata = (metadata: object): string => encodeMessage(listOfAny, { metadata });

const listOfAny = listLayout(partialMetadata);

// ------------------------------------------------------------------------------------------------------------------------------- writing

type JsonObject = Readonly<Record<string, unknown>>;

const varintType = 0;
const fixed64 = 1;
const lengthDelimited = 2;

const tagOf = (number: number, wireType: number): number => number * 8 + wireType;

const firstBytes = 16 * 1024;
/** A larger buffer is not kept for the next object. */
const maxKeptBytes = 1024 * 1024;
let scratch = Buffer.allocUnsafeSlow(firstBytes);

/**
 * Writes from the end to the front, as Go does: the length of a message is known when its header is written.
 *
 * Writers share a buffer: `text` ends one before the next begins.
 */
class Writer {
  #bytes = scratch;
  #at = scratch.length;

  get length(): number {
    return this.#bytes.length - this.#at;
  }

  text(): string {
    if (this.#bytes.length <= maxKeptBytes) scratch = this.#bytes;
    return this.#bytes.toString('latin1', this.#at);
  }

  message(layout: Layout, object: JsonObject): void {
    const { fields } = layout;
    for (let number = fields.length - 1; number > 0; number--) {
      const field = fields[number];
      if (field === undefined) continue;
      if (field.form === 'inline') {
        const end = this.length;
        this.message(field.layout(), object);
        if (this.length > end) this.header(number, this.length - end);
        continue;
      }
      const value = object[field.name];
      if (value === undefined || value === null) continue;
      if (field.label === 'optional') this.#field(field, number, value);
      else if (field.label === 'repeated') this.#list(field, value as readonly unknown[]);
      else this.#map(field, value as JsonObject);
    }
  }

  /** Tag and length of what was just written. */
  header(number: number, length: number): void {
    this.varint(length);
    this.varint(tagOf(number, lengthDelimited));
  }

  string(number: number, value: string): void {
    const end = this.length;
    this.#text(value);
    this.header(number, this.length - end);
  }

  /** Any integer that JSON holds exactly; a negative one takes ten bytes. */
  varint(value: number): void {
    if (value < 0) {
      this.#negative(value);
      return;
    }
    let size = 1;
    for (let rest = value; rest >= 0x80; rest = Math.floor(rest / 0x80)) size += 1;
    let at = this.#take(size);
    let rest = value;
    for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) this.#bytes[at++] = (rest % 0x80) | 0x80;
    this.#bytes[at] = rest;
  }

  // The writers of fields run for every field of every object. Their parameters are positional, since objects would be garbage.

  #list(field: Field, items: readonly unknown[]): void {
    for (let index = items.length - 1; index >= 0; index--) this.#field(field, field.number, items[index]);
  }

  /** Entries are messages with the key in field 1 and the value in field 2. */
  #map(field: Field, map: JsonObject): void {
    for (const key in map) {
      const end = this.length;
      this.#field(field, 2, map[key]);
      this.string(1, key);
      this.header(field.number, this.length - end);
    }
  }

  #field(field: Field, number: number, value: unknown): void {
    switch (field.form) {
      case 'bool':
        this.varint(value === true ? 1 : 0);
        this.varint(tagOf(number, varintType));
        return;
      case 'int32':
      case 'int64':
        this.varint(numberIn(field, value));
        this.varint(tagOf(number, varintType));
        return;
      case 'double':
        this.#double(numberIn(field, value));
        this.varint(tagOf(number, fixed64));
        return;
      default: {
        const end = this.length;
        this.#content(field, value);
        this.header(number, this.length - end);
      }
    }
  }

  /** The value of a field that has its length in front. */
  #content(field: Field, value: unknown): void {
    const { form } = field;
    switch (form) {
      case 'string':
        this.#text(textIn(field, value));
        return;
      case 'bytes': {
        const bytes = Buffer.from(textIn(field, value), 'base64');
        const start = this.#take(bytes.length);
        bytes.copy(this.#bytes, start);
        return;
      }
      case 'message':
        // A null in a list or map of messages is an empty one.
        this.message(field.layout(), (value ?? {}) as JsonObject);
        return;
      case 'list':
        for (const item of [...((value ?? []) as readonly string[])].reverse()) this.string(1, item);
        return;
      case 'time':
      case 'micro-time':
        if (value !== null) this.message(timestamp, timeOf(textIn(field, value), form));
        return;
      case 'quantity':
        this.message(quantity, { string: String(value) });
        return;
      case 'int-or-string':
        this.message(intOrString, typeof value === 'number' ? { type: 0, intVal: value } : { type: 1, strVal: value });
        return;
      case 'json':
        this.string(1, JSON.stringify(value));
        return;
      case 'message-or-list':
      case 'message-or-bool':
      case 'message-or-strings':
        this.#either(field, value);
        return;
      case 'raw':
      case 'inline':
      case 'bool':
      case 'int32':
      case 'int64':
      case 'double':
        throw new Error(`field ${field.name} of form ${form} has no length`);
      default:
        form satisfies never;
    }
  }

  /** A schema, or what JSON has in its place. */
  #either(field: Field, value: unknown): void {
    const isBool = field.form === 'message-or-bool';
    if (Array.isArray(value)) {
      for (const item of [...value].reverse()) {
        if (typeof item === 'string') this.string(2, item);
        else this.#nested(2, field.layout(), item as JsonObject);
      }
      return;
    }
    if (typeof value === 'object' && value !== null) this.#nested(isBool ? 2 : 1, field.layout(), value as JsonObject);
    if (isBool) {
      this.varint(value === false ? 0 : 1);
      this.varint(tagOf(1, varintType));
    }
  }

  #nested(number: number, layout: Layout, object: JsonObject): void {
    const end = this.length;
    this.message(layout, object);
    this.header(number, this.length - end);
  }

  #text(value: string): void {
    // Short names are written faster by hand than by a call into native code.
    if (value.length <= 24) {
      const start = this.#take(value.length);
      for (let index = 0; ; index++) {
        if (index === value.length) return;
        const code = value.charCodeAt(index);
        if (code >= 0x80) break;
        this.#bytes[start + index] = code;
      }
      this.#at += value.length;
    }
    const length = Buffer.byteLength(value);
    const start = this.#take(length);
    this.#bytes.write(value, start, length, 'utf8');
  }

  #double(value: number): void {
    const start = this.#take(8);
    this.#bytes.writeDoubleLE(value, start);
  }

  #negative(value: number): void {
    let rest = BigInt.asUintN(64, BigInt(value));
    let at = this.#take(10);
    for (; rest >= 0x80n; rest >>= 7n) this.#bytes[at++] = Number(rest & 0x7fn) | 0x80;
    this.#bytes[at] = Number(rest);
  }

  /** Index of the first of `length` bytes in front of what is written. The buffer may be another one afterwards. */
  #take(length: number): number {
    if (length > this.#at) {
      const used = this.length;
      const larger = Buffer.allocUnsafeSlow(2 ** Math.ceil(Math.log2(used + length + 1)) * 2);
      this.#bytes.copy(larger, larger.length - used, this.#at);
      this.#bytes = larger;
      this.#at = larger.length - used;
    }
    this.#at -= length;
    return this.#at;
  }
}

function textIn({ name }: Field, value: unknown): string {
  if (typeof value !== 'string') throw new TypeError(`${name} is no text, and cannot be written as protobuf`);
  return value;
}

function numberIn({ name }: Field, value: unknown): number {
  if (typeof value !== 'number') throw new TypeError(`${name} is no number, and cannot be written as protobuf`);
  return value;
}

/** RFC 3339, with six digits of a second for `micro-time`, and none for `time`. */
function timeOf(text: string, form: 'time' | 'micro-time'): JsonObject {
  const ms = Date.parse(text);
  if (Number.isNaN(ms)) throw new TypeError(`${text} is no time, and cannot be written as protobuf`);
  const fraction = form === 'time' ? '' : (/\.(\d{1,6})/.exec(text)?.[1] ?? '');
  return { seconds: Math.floor(ms / 1_000), nanos: Number(fraction.padEnd(6, '0')) * 1_000 };
}
