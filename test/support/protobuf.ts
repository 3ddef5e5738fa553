import { readFileSync } from 'node:fs';
import { decodeAnswer } from '../../src/apiserver/http/protobuf/decode.ts';
import { encodeAnswer, encodeMessage as encodeByLayout } from '../../src/apiserver/http/protobuf/encode.ts';
import { layoutOf } from '../../src/apiserver/http/protobuf/layouts.ts';

/** The table of field numbers, what typed clients send, and single fields as bytes. */

interface Table {
  readonly kinds: Readonly<Record<string, string>>;
  readonly messages: Readonly<Record<string, MessageEntries>>;
}

export type MessageEntries = Readonly<Record<string, readonly [name: string, form: string, message?: string]>>;

export const protobufTable = JSON.parse(readFileSync(new URL('../../src/api/protobuf.json', import.meta.url), 'utf8')) as Table;

/** As a typed client puts an object on the wire. */
export const encodeObject = (object: object): Buffer => Buffer.from(encodeAnswer(object) ?? '', 'latin1');

export const envelopeOf = ({
  apiVersion,
  kind,
  raw,
}: {
  readonly apiVersion: string;
  readonly kind: string;
  readonly raw: Buffer;
}): Buffer =>
  Buffer.concat([
    Buffer.from('k8s\0'),
    bytesField(1, Buffer.concat([bytesField(1, Buffer.from(apiVersion)), bytesField(2, Buffer.from(kind))])),
    bytesField(2, raw),
    bytesField(3, Buffer.alloc(0)),
    bytesField(4, Buffer.alloc(0)),
  ]);

export const encodeMessage = (name: string, object: object): Buffer => Buffer.from(encodeByLayout(layoutOf(name), object), 'latin1');

export const bytesField = (number: number, bytes: Buffer): Buffer =>
  Buffer.concat([varint(BigInt(number * 8 + 2)), varint(BigInt(bytes.length)), bytes]);

export const varintField = (number: number, value: bigint): Buffer => Buffer.concat([varint(BigInt(number * 8)), varint(value)]);

export function varint(value: bigint): Buffer {
  const bytes: number[] = [];
  let rest = BigInt.asUintN(64, value);
  while (rest >= 0x80n) {
    bytes.push(Number(rest & 0x7fn) | 0x80);
    rest >>= 7n;
  }
  bytes.push(Number(rest));
  return Buffer.from(bytes);
}

/** An event of a watch, without the length in front; written down here once more, apart from what the server encodes by. */
export function decodeWatchEvent(bytes: Buffer): { readonly type: string; readonly object: unknown } {
  const [type, object] = lengthDelimited(bytes);
  const [raw] = lengthDelimited(object?.bytes ?? Buffer.alloc(0));
  if (type?.number !== 1 || object?.number !== 2 || raw?.number !== 1) throw new Error(`no event of a watch: ${bytes.toString('hex')}`);
  return { type: type.bytes.toString(), object: decodeAnswer(raw.bytes) };
}

/** The fields of a message that has only such with a length. */
function lengthDelimited(bytes: Buffer): readonly { readonly number: number; readonly bytes: Buffer }[] {
  const fields: { number: number; bytes: Buffer }[] = [];
  let at = 0;
  const next = (): number => {
    let value = 0;
    for (let factor = 1; ; factor *= 0x80) {
      const byte = bytes[at++] ?? 0;
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) return value;
    }
  };
  while (at < bytes.length) {
    const tag = next();
    if ((tag & 7) !== 2) throw new Error(`field ${tag >>> 3} has wire type ${tag & 7}`);
    const length = next();
    fields.push({ number: tag >>> 3, bytes: bytes.subarray(at, at + length) });
    at += length;
  }
  return fields;
}
