import { readFileSync } from 'node:fs';

/** The table that the decoder reads, and an encoder by it: what a typed client would send for an object. */

interface Table {
  readonly kinds: Readonly<Record<string, string>>;
  readonly messages: Readonly<Record<string, MessageEntries>>;
}

export type MessageEntries = Readonly<Record<string, readonly [name: string, form: string, message?: string]>>;

export const protobufTable = JSON.parse(readFileSync(new URL('../../src/api/protobuf.json', import.meta.url), 'utf8')) as Table;

/** As a typed client puts an object on the wire. */
export function encodeObject(object: object): Buffer {
  const { apiVersion, kind } = object as { readonly apiVersion: string; readonly kind: string };
  const name = protobufTable.kinds[apiVersion.includes('/') ? `${apiVersion}/${kind}` : `/${apiVersion}/${kind}`];
  if (name === undefined) throw new Error(`${apiVersion} ${kind} has no protobuf form`);
  return envelopeOf({ apiVersion, kind, raw: encodeMessage(name, object as JsonObject) });
}

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

type JsonObject = Readonly<Record<string, unknown>>;

export function encodeMessage(name: string, object: JsonObject): Buffer {
  const parts: Buffer[] = [];
  for (const [number, [jsonName, coded, message = '']] of Object.entries(protobufTable.messages[name] ?? {})) {
    const form = coded.replace(/^(\[\]|\{\})|\?$/g, '');
    if (form === 'inline') {
      parts.push(bytesField(Number(number), encodeMessage(message, object)));
      continue;
    }
    const value = object[jsonName];
    if (value === undefined) continue;
    if (coded.startsWith('[]')) for (const item of value as readonly unknown[]) parts.push(field(Number(number), form, item, message));
    else if (coded.startsWith('{}')) {
      for (const [key, item] of Object.entries(value as JsonObject)) {
        const entry = Buffer.concat([bytesField(1, Buffer.from(key)), field(2, form, item, message)]);
        parts.push(bytesField(Number(number), entry));
      }
    } else parts.push(field(Number(number), form, value, message));
  }
  return Buffer.concat(parts);
}

function field(number: number, form: string, value: unknown, message: string): Buffer {
  switch (form) {
    case 'string':
      return bytesField(number, Buffer.from(value as string));
    case 'bytes':
      return bytesField(number, Buffer.from(value as string, 'base64'));
    case 'bool':
    case 'int32':
    case 'int64':
      return varintField(number, BigInt(value as number));
    case 'double': {
      const bytes = Buffer.alloc(8);
      bytes.writeDoubleLE(value as number);
      return Buffer.concat([varint(BigInt(number * 8 + 1)), bytes]);
    }
    case 'message-or-list':
    case 'message-or-bool':
    case 'message-or-strings':
      return bytesField(number, eitherOf(form, value, message));
    case 'message':
      return bytesField(number, encodeMessage(message, value as JsonObject));
    case 'list':
      return bytesField(number, Buffer.concat((value as readonly string[]).map((item) => bytesField(1, Buffer.from(item)))));
    case 'quantity':
      return bytesField(number, bytesField(1, Buffer.from(value as string)));
    case 'json':
      return bytesField(number, bytesField(1, Buffer.from(JSON.stringify(value))));
    case 'int-or-string':
      return bytesField(number, intOrString(value as number | string));
    case 'time':
    case 'micro-time': {
      const [, seconds = '', fraction = '0'] = /^(.*?)(?:\.(\d+))?Z$/.exec(value as string) ?? [];
      const nanos = BigInt(fraction.padEnd(9, '0'));
      return bytesField(number, Buffer.concat([varintField(1, BigInt(Date.parse(`${seconds}Z`) / 1_000)), varintField(2, nanos)]));
    }
    default:
      throw new Error(`form ${form} of field ${number}`);
  }
}

function eitherOf(form: string, value: unknown, message: string): Buffer {
  if (typeof value === 'boolean') return varintField(1, value ? 1n : 0n);
  if (!Array.isArray(value)) return bytesField(form === 'message-or-bool' ? 2 : 1, encodeMessage(message, value as JsonObject));
  return Buffer.concat(
    value.map((item) =>
      bytesField(2, form === 'message-or-list' ? encodeMessage(message, item as JsonObject) : Buffer.from(item as string)),
    ),
  );
}

const intOrString = (value: number | string): Buffer =>
  typeof value === 'number'
    ? Buffer.concat([varintField(1, 0n), varintField(2, BigInt(value)), bytesField(3, Buffer.alloc(0))])
    : Buffer.concat([varintField(1, 1n), varintField(2, 0n), bytesField(3, Buffer.from(value))]);

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
