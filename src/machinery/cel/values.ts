import { compareQuantities, formatQuantity, type Quantity } from '../quantity.ts';
import { CelEvaluationError } from './errors.ts';
import { CelDuration, CelTimestamp, durationText, timestampText, tryDuration, tryTimestamp } from './time.ts';
import { type CelObjectType, type CelType, dynType, stringType, typeName } from './types.ts';

/**
 * Values of expressions. int is a bigint, double a number, string, bool and null are themselves, bytes a Uint8Array;
 * the rest are the classes here. Lists and maps wrap JSON and convert an item when it is read. An expression that reads
 * one field of a large object therefore does not pay for the others.
 */

export class CelUint {
  readonly value: bigint;
  constructor(value: bigint) {
    if (value < 0n || value > maxUint64) throw new CelEvaluationError('unsigned integer overflow');
    this.value = value;
  }
}

export const maxInt64 = 2n ** 63n - 1n;
export const minInt64 = -(2n ** 63n);
const maxUint64 = 2n ** 64n - 1n;

export class CelList {
  readonly #raw: readonly unknown[];
  readonly #type: CelType | undefined;

  /** @param type  of the items when they are JSON; absent when they are values */
  constructor(raw: readonly unknown[], type?: CelType) {
    this.#raw = raw;
    this.#type = type;
  }

  get size(): number {
    return this.#raw.length;
  }

  at(index: number): unknown {
    const item = this.#raw[index];
    return this.#type === undefined ? item : toCel(item, this.#type);
  }

  values(): readonly unknown[] {
    const type = this.#type;
    return type === undefined ? this.#raw : this.#raw.map((item) => toCel(item, type));
  }
}

export interface CelMap {
  readonly size: number;
  has(key: unknown): boolean;
  /** Undefined when there is no such key. */
  get(key: unknown): unknown;
  keys(): readonly unknown[];
}

/** A JSON object, its fields by their names in expressions. */
class JsonMap implements CelMap {
  readonly #raw: Readonly<Record<string, unknown>>;
  readonly #values: CelType;
  readonly type: CelObjectType | undefined;

  constructor(raw: object, type: CelObjectType | undefined, values: CelType) {
    this.#raw = raw as Readonly<Record<string, unknown>>;
    this.type = type;
    this.#values = values;
  }

  get size(): number {
    return this.keys().length;
  }

  #propertyOf(key: unknown): string | undefined {
    if (typeof key !== 'string') return undefined;
    const property = this.type === undefined ? key : this.type.fields.get(key)?.property;
    return property !== undefined && Object.hasOwn(this.#raw, property) && this.#raw[property] !== undefined ? property : undefined;
  }

  has(key: unknown): boolean {
    return this.#propertyOf(key) !== undefined;
  }

  get(key: unknown): unknown {
    const property = this.#propertyOf(key);
    if (property === undefined) return undefined;
    return toCel(this.#raw[property], this.type === undefined ? this.#values : (this.type.fields.get(key as string)?.type ?? dynType));
  }

  keys(): readonly unknown[] {
    if (this.type === undefined) return Object.keys(this.#raw);
    return [...this.type.fields].filter(([, { property }]) => Object.hasOwn(this.#raw, property)).map(([name]) => name);
  }

  json(): unknown {
    return this.#raw;
  }
}

/** A map that an expression wrote down. */
export class LiteralMap implements CelMap {
  /** By `keyText`, since equal keys need not be the same value. */
  readonly #entries = new Map<string, { readonly key: unknown; readonly value: unknown }>();

  get size(): number {
    return this.#entries.size;
  }

  /** @throws CelEvaluationError when the key is there already or no key */
  insert(key: unknown, value: unknown): void {
    const text = keyText(key);
    if (text === undefined) throw new CelEvaluationError('unsupported key type');
    if (this.#entries.has(text)) throw new CelEvaluationError(`insert failed: key ${toText(key)} already exists`);
    this.#entries.set(text, { key, value });
  }

  has(key: unknown): boolean {
    return this.#entries.has(keyText(key) ?? '');
  }

  get(key: unknown): unknown {
    return this.#entries.get(keyText(key) ?? '')?.value;
  }

  keys(): readonly unknown[] {
    return [...this.#entries.values()].map(({ key }) => key);
  }
}

/** A message that an expression wrote down: `Object.spec{replicas: 3}`. */
export class CelMessage extends LiteralMap {
  readonly name: string;

  constructor(name: string) {
    super();
    this.name = name;
  }
}

/** Equal for equal keys, numbers of different kinds included. */
function keyText(key: unknown): string | undefined {
  switch (typeof key) {
    case 'string':
      return `s${key}`;
    case 'boolean':
      return `b${key}`;
    case 'bigint':
      return `n${key}`;
    case 'number':
      return Number.isInteger(key) ? `n${BigInt(key)}` : `n${key}`;
    default:
      return key instanceof CelUint ? `n${key.value}` : undefined;
  }
}

export const isMap = (value: unknown): value is CelMap => value instanceof JsonMap || value instanceof LiteralMap;

export class CelOptional {
  static readonly none = new CelOptional(undefined);
  /** Undefined when there is none. */
  readonly value: unknown;
  constructor(value: unknown) {
    this.value = value;
  }
  get hasValue(): boolean {
    return this.value !== undefined;
  }
}

/** The result of `type(x)`. */
export class CelTypeValue {
  readonly name: string;
  constructor(name: string) {
    this.name = name;
  }
}

export class CelQuantity {
  readonly quantity: Quantity;
  constructor(quantity: Quantity) {
    this.quantity = quantity;
  }
}

export class CelUrl {
  readonly text: string;
  readonly url: URL | undefined;
  constructor(text: string, url: URL | undefined) {
    this.text = text;
    this.url = url;
  }
}

/** An address as a number of 4 or 16 bytes. */
export class CelIp {
  readonly family: 4 | 6;
  readonly bits: bigint;
  readonly text: string;
  constructor(family: 4 | 6, bits: bigint, text: string) {
    this.family = family;
    this.bits = bits;
    this.text = text;
  }
}

export class CelCidr {
  readonly ip: CelIp;
  readonly prefixLength: number;
  constructor(ip: CelIp, prefixLength: number) {
    this.ip = ip;
    this.prefixLength = prefixLength;
  }
}

export class CelSemver {
  readonly major: bigint;
  readonly minor: bigint;
  readonly patch: bigint;
  readonly prerelease: readonly string[];
  readonly build: string;
  constructor(parts: {
    readonly major: bigint;
    readonly minor: bigint;
    readonly patch: bigint;
    readonly prerelease: readonly string[];
    readonly build: string;
  }) {
    this.major = parts.major;
    this.minor = parts.minor;
    this.patch = parts.patch;
    this.prerelease = parts.prerelease;
    this.build = parts.build;
  }
}

export class CelFormat {
  readonly name: string;
  readonly check: (text: string) => readonly string[];
  constructor(name: string, check: (text: string) => readonly string[]) {
    this.name = name;
    this.check = check;
  }
}

/** A value of a caller's own type, which only the caller's functions look into. */
export abstract class CelOpaque {}

// ----------------------------------------------------------------------------------------------------------------------------- from JSON

/**
 * A value from JSON that should be of `type`; what is a value already stays.
 *
 * @throws CelEvaluationError when it is not of that type
 */
export function toCel(json: unknown, type: CelType): unknown {
  switch (typeof json) {
    case 'string':
      return textOfType(json, type);
    case 'number':
      if (type.kind === 'double') return json;
      // JSON does not tell 1 from 1.0; what is whole counts as an integer.
      if (Number.isSafeInteger(json)) return BigInt(json);
      if (type.kind === 'dyn') return json;
      throw mismatch(type);
    case 'object':
      if (json === null) return null;
      if (Array.isArray(json)) return new CelList(json, type.kind === 'list' ? type.items : dynType);
      if (Object.getPrototypeOf(json) === Object.prototype || Object.getPrototypeOf(json) === null) {
        if (type.kind === 'object') return new JsonMap(json, type, dynType);
        return new JsonMap(json, undefined, type.kind === 'map' ? type.values : dynType);
      }
      return json;
    case 'undefined':
      throw new CelEvaluationError('no such attribute');
    default:
      return json;
  }
}

function textOfType(text: string, type: CelType): unknown {
  let value: unknown;
  switch (type.kind) {
    case 'timestamp':
      // A date alone is its first moment.
      value = tryTimestamp(/^\d{4}-\d\d-\d\d$/.test(text) ? `${text}T00:00:00Z` : text);
      break;
    case 'duration':
      value = tryDuration(text);
      break;
    case 'bytes':
      value = new Uint8Array(Buffer.from(text, 'base64'));
      break;
    default:
      return text;
  }
  if (value === undefined) throw mismatch(type);
  return value;
}

const mismatch = (type: CelType): CelEvaluationError => new CelEvaluationError(`invalid data, expected ${typeName(type)}`);

/** The JSON form of a value, as a message or an object shows it. */
export function toJson(value: unknown): unknown {
  switch (typeof value) {
    case 'bigint':
      return Number(value);
    case 'object':
      if (value === null) return null;
      if (value instanceof CelList) return value.values().map(toJson);
      if (value instanceof JsonMap) return value.json();
      if (value instanceof LiteralMap) return Object.fromEntries(value.keys().map((key) => [toText(key), toJson(value.get(key))]));
      if (value instanceof CelUint) return Number(value.value);
      if (value instanceof Uint8Array) return Buffer.from(value).toString('base64');
      if (value instanceof CelOptional) return value.hasValue ? toJson(value.value) : null;
      return toText(value);
    default:
      return value;
  }
}

// ------------------------------------------------------------------------------------------------------------------------------ questions

export function typeOfValue(value: unknown): CelType {
  switch (typeof value) {
    case 'string':
      return stringType;
    case 'bigint':
      return { kind: 'int' };
    case 'number':
      return { kind: 'double' };
    case 'boolean':
      return { kind: 'bool' };
    default:
  }
  if (value === null) return { kind: 'null' };
  if (value instanceof CelList) return { kind: 'list', items: dynType };
  if (value instanceof JsonMap && value.type !== undefined) return value.type;
  if (isMap(value)) return { kind: 'map', keys: dynType, values: dynType };
  if (value instanceof CelUint) return { kind: 'uint' };
  if (value instanceof Uint8Array) return { kind: 'bytes' };
  if (value instanceof CelTimestamp) return { kind: 'timestamp' };
  if (value instanceof CelDuration) return { kind: 'duration' };
  if (value instanceof CelOptional) return { kind: 'optional', value: dynType };
  if (value instanceof CelTypeValue) return { kind: 'type' };
  if (value instanceof CelQuantity) return { kind: 'quantity' };
  if (value instanceof CelUrl) return { kind: 'url' };
  if (value instanceof CelIp) return { kind: 'ip' };
  if (value instanceof CelCidr) return { kind: 'cidr' };
  if (value instanceof CelSemver) return { kind: 'semver' };
  if (value instanceof CelFormat) return { kind: 'format' };
  return dynType;
}

/** Numbers compare across kinds; values of different kinds are not equal. */
export function isEqual(a: unknown, b: unknown, spend: (steps: number) => void): boolean {
  if (a === b) return true;
  const left = numberOf(a);
  if (left !== undefined) {
    const right = numberOf(b);
    // biome-ignore lint/suspicious/noDoubleEquals: bigint and number compare by their amount
    return right !== undefined && left == right;
  }
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false;
  if (a instanceof CelList) {
    if (!(b instanceof CelList) || a.size !== b.size) return false;
    spend(a.size);
    for (let index = 0; index < a.size; index += 1) if (!isEqual(a.at(index), b.at(index), spend)) return false;
    return true;
  }
  if (isMap(a)) {
    if (!isMap(b) || a.size !== b.size) return false;
    spend(a.size);
    return a.keys().every((key) => b.has(key) && isEqual(a.get(key), b.get(key), spend));
  }
  if (a instanceof CelOptional) {
    if (!(b instanceof CelOptional) || a.hasValue !== b.hasValue) return false;
    return !a.hasValue || isEqual(a.value, b.value, spend);
  }
  if (a instanceof CelQuantity) return b instanceof CelQuantity && compareQuantities(a.quantity, b.quantity) === 0;
  if (a instanceof Uint8Array) return b instanceof Uint8Array && Buffer.compare(a, b) === 0;
  return a.constructor === b.constructor && toText(a) === toText(b);
}

function numberOf(value: unknown): bigint | number | undefined {
  if (typeof value === 'bigint' || typeof value === 'number') return value;
  return value instanceof CelUint ? value.value : undefined;
}

/** Negative, 0 or positive; undefined when the two have no order. NaN is neither below nor above anything. */
export function tryCompare(a: unknown, b: unknown): number | undefined {
  const left = orderKeyOf(a);
  const right = orderKeyOf(b);
  if (left === undefined || right === undefined || left.family !== right.family) return undefined;
  if (typeof left.key === 'string' && typeof right.key === 'string') return compareText(left.key, right.key);
  return left.key < right.key ? -1 : left.key > right.key ? 1 : left.key >= right.key ? 0 : Number.NaN;
}

function orderKeyOf(value: unknown): { readonly family: string; readonly key: bigint | number | string } | undefined {
  switch (typeof value) {
    case 'bigint':
    case 'number':
      return { family: 'number', key: value };
    case 'string':
      return { family: 'string', key: value };
    case 'boolean':
      return { family: 'bool', key: value ? 1 : 0 };
    default:
  }
  if (value instanceof CelUint) return { family: 'number', key: value.value };
  if (value instanceof CelTimestamp) return { family: 'timestamp', key: value.nanos };
  if (value instanceof CelDuration) return { family: 'duration', key: value.nanos };
  if (value instanceof Uint8Array) return { family: 'bytes', key: Buffer.from(value).toString('latin1') };
  return undefined;
}

/** By code points, as UTF-8 sorts; UTF-16 would put some rare characters first. */
function compareText(a: string, b: string): number {
  return a === b ? 0 : Buffer.compare(Buffer.from(a), Buffer.from(b)) < 0 ? -1 : 1;
}

/** The result of `string(x)` for a value; messages show it, too. */
export function toText(value: unknown): string {
  switch (typeof value) {
    case 'string':
      return value;
    case 'number':
      return doubleText(value);
    case 'object':
      break;
    default:
      return String(value);
  }
  if (value === null) return 'null';
  if (value instanceof CelUint) return String(value.value);
  if (value instanceof Uint8Array) return Buffer.from(value).toString('utf8');
  if (value instanceof CelTimestamp) return timestampText(value);
  if (value instanceof CelDuration) return durationText(value);
  if (value instanceof CelTypeValue) return value.name;
  if (value instanceof CelQuantity) return formatQuantity(value.quantity);
  if (value instanceof CelUrl || value instanceof CelIp) return value.text;
  if (value instanceof CelCidr) return `${value.ip.text}/${value.prefixLength}`;
  if (value instanceof CelFormat) return value.name;
  if (value instanceof CelSemver) {
    const { major, minor, patch, prerelease, build } = value;
    return `${major}.${minor}.${patch}${prerelease.length === 0 ? '' : `-${prerelease.join('.')}`}${build === '' ? '' : `+${build}`}`;
  }
  if (value instanceof CelList) return `[${value.values().map(toText).join(', ')}]`;
  if (isMap(value))
    return `{${value
      .keys()
      .map((key) => `${toText(key)}: ${toText(value.get(key))}`)
      .join(', ')}}`;
  return value instanceof CelOptional && value.hasValue ? `optional(${toText(value.value)})` : 'optional.none()';
}

function doubleText(value: number): string {
  if (Number.isNaN(value)) return 'NaN';
  if (value === Number.POSITIVE_INFINITY) return '+Inf';
  if (value === Number.NEGATIVE_INFINITY) return '-Inf';
  return String(value).replace(/e\+?(-?)(\d)$/, 'e$10$2');
}
