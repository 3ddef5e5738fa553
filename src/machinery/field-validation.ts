import { BoundedMap } from '../base/bounded-map.ts';
import { normalizeTime, TimeError, type TimePrecision } from './go-time.ts';
import { setOwn } from './json.ts';
import { formatQuantity, parseQuantity, QuantityError, roundToMilli } from './quantity.ts';
import { nameOfRef, type Schema, type SchemaSet } from './schema.ts';
import { badRequest, type StatusError } from './status-error.ts';

/**
 * Turns a client's input into an object of its schema. One copy-on-write pass checks types, reports and drops unknown
 * fields, and fills in absent ones. The result equals that of upstream's decoder and encoder, so that stored objects
 * look the same. Null counts as absent, zero values without a meaning are left out, structures that upstream always
 * writes are present, and quantities and times are canonical.
 */
export interface ObjectDecoder {
  /**
   * Returns `object` itself when nothing had to change.
   *
   * @param before  the stored object that `object` was made from, if any: parts that are the same reference are not looked at
   * @throws DecodeError for a value of the wrong type
   */
  decode<T extends object>(object: T, before?: object): Decoded<T>;
}

interface Decoded<T> {
  readonly object: T;
  /** As kubectl shows them: `spec.foo`, `spec.template.spec.containers[0].resource`; in the order of the object. */
  readonly unknownFields: readonly string[];
}

/** A value does not fit its field. The message is the one of the real server; callers add what was being decoded. */
export class DecodeError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'DecodeError';
  }
}

/** `Pod in version "v1" cannot be handled as a Pod: why`, the answer to a body that does not decode. */
export function cannotBeHandled(kind: { readonly version: string; readonly kind: string }, why: string): StatusError {
  return badRequest(`${kind.kind} in version "${kind.version}" cannot be handled as a ${kind.kind}: ${why}`);
}

/** Complaints as Warning headers carry them; joined by `, ` after `strict decoding error: ` they are the error of strict validation. */
export function fieldComplaints(unknownFields: readonly string[], duplicateFields: readonly string[]): readonly string[] {
  return [
    ...duplicateFields.map((path) => `duplicate field ${JSON.stringify(path)}`),
    ...unknownFields.map((path) => `unknown field ${JSON.stringify(path)}`),
  ];
}

/** Unknown fields of one object that are reported; all are dropped. Keeps the answer to hostile input small. */
const maxReportedFields = 100;

/**
 * Largest number of items in one list, of keys in one map, and of both in a whole object. A body has room for a million
 * empty ones, and the work for each (rules, field owners, errors) would add up to seconds. Real objects have thousands
 * at most.
 */
const maxItems = 20_000;
const maxItemsOfObject = 200_000;

/**
 * The same bound for a document that is worked on before it is decoded: a patch.
 *
 * @throws DecodeError when it has more
 */
export function checkItems(document: unknown): void {
  const counter = new ItemCounter();
  const visit = (value: unknown): void => {
    if (typeof value !== 'object' || value === null) return;
    const children: readonly unknown[] = Array.isArray(value) ? value : Object.values(value);
    counter.add(children.length);
    for (const child of children) visit(child);
  };
  visit(document);
}

class ItemCounter {
  private total = 0;

  add(items: number): void {
    this.total += items;
    if (items > maxItems) throw new DecodeError(`too many items: ${items}, of which ${maxItems} are supported in one place`);
    if (this.total > maxItemsOfObject) {
      throw new DecodeError(`too many items: more than the ${maxItemsOfObject} that are supported in one object`);
    }
  }
}

/** Levels that are followed. Built-in types stay under 30, schemas within custom resource definitions can nest. */
const maxDepth = 500;

const decodersBySet = new WeakMap<SchemaSet, Map<string, ObjectDecoder>>();

/** The decoder for a type of the set; compiled once. */
export function decoderFor(set: SchemaSet, schemaName: string): ObjectDecoder {
  let decoders = decodersBySet.get(set);
  if (decoders === undefined) {
    decoders = new Map();
    decodersBySet.set(set, decoders);
  }
  let decoder = decoders.get(schemaName);
  if (decoder === undefined) {
    decoder = createDecoder(new Compiler(set).compileRoot(schemaName));
    decoders.set(schemaName, decoder);
  }
  return decoder;
}

function createDecoder(root: ObjectNode): ObjectDecoder {
  return {
    decode<T extends object>(object: T, before?: object): Decoded<T> {
      const run = new Run();
      const decoded = run.decode(root, object, before);
      return { object: decoded as T, unknownFields: run.unknownFields };
    },
  };
}

// ------------------------------------------------------------------------------------------------------------------------ compiled form

/** The type of a value, compiled from a schema: references are resolved, fields are in a map. */
type Node = ObjectNode | MapNode | ArrayNode | ScalarNode | AnyNode;

interface ObjectNode {
  readonly type: 'object';
  /** `v1.PodSpec`, for errors. */
  readonly goType: string;
  readonly fields: Map<string, Field>;
  /** Those that are written even when absent. */
  readonly defaulted: Field[];
  readonly preserveUnknown: boolean;
}

interface Field {
  readonly name: string;
  readonly node: Node;
  readonly omitZero: boolean;
  /** Undefined when an absent field stays absent. Filled in from the type on first use, then frozen and shared. */
  readonly defaultOf: (() => unknown) | undefined;
  /** The empty text counts as absence, and is filled in: fields that are no pointers upstream, of an enumeration mostly. */
  readonly fillsEmpty: boolean;
  /** An empty list or map is left out. */
  readonly omitEmpty: boolean;
  /** Null is written, and not the same as absence. */
  readonly keepNull: boolean;
}

interface MapNode {
  readonly type: 'map';
  readonly goType: string;
  readonly values: Node;
}

interface ArrayNode {
  readonly type: 'array';
  readonly goType: string;
  readonly items: Node;
}

interface ScalarNode {
  readonly type: 'string' | 'boolean' | 'integer' | 'number' | 'bytes' | 'quantity' | 'int-or-string' | 'seconds' | 'micros';
  readonly goType: string;
}

interface AnyNode {
  readonly type: 'any';
  readonly goType: string;
}

/**
 * Types that upstream holds in structures of its own, whose encoder leaves out empty lists and maps. Custom resources keep what was sent.
 */
const builtIn = /^io\.k8s\.(api|apimachinery|apiextensions-apiserver|kube-aggregator)\./;

const anyNode: AnyNode = { type: 'any', goType: 'interface {}' };

class Compiler {
  readonly set: SchemaSet;
  /** By name, so that types which contain themselves end. */
  readonly compiled = new Map<string, Node>();

  constructor(set: SchemaSet) {
    this.set = set;
  }

  compileRoot(name: string): ObjectNode {
    const node = this.compileNamed(name);
    if (node.type !== 'object') throw new Error(`schema ${name} is not that of an object`);
    if (builtIn.test(name)) return node;
    // Schemas written for custom kinds leave out what every object has.
    for (const [field, schema] of Object.entries(implied)) {
      if (node.fields.has(field)) continue;
      const compiled = this.compileField(field, schema, { required: true, typed: true });
      node.fields.set(field, compiled);
      if (compiled.defaultOf !== undefined) node.defaulted.push(compiled);
    }
    return node;
  }

  compileNamed(name: string): Node {
    const known = this.compiled.get(name);
    if (known !== undefined) return known;
    const schema = Object.hasOwn(this.set, name) ? this.set[name] : undefined;
    const typed = builtIn.test(name);
    if (schema === undefined) throw new Error(`schema ${name} is not in the set`);
    if (schema.format === 'date-time') {
      const precision: TimePrecision = name.endsWith('.MicroTime') ? 'micros' : 'seconds';
      return this.remember(name, { type: precision, goType: 'string' });
    }
    const goType = goTypeOf(name);
    if (schema.type !== 'object' || schema.additionalProperties !== undefined)
      return this.remember(name, this.compile(schema, { goType, typed }));
    const node: ObjectNode = {
      type: 'object',
      goType,
      fields: new Map(),
      defaulted: [],
      preserveUnknown: schema['x-kubernetes-preserve-unknown-fields'] === true,
    };
    if (node.preserveUnknown && schema.properties === undefined) return this.remember(name, anyNode);
    this.remember(name, node);
    this.compileFields(schema, node, typed);
    return node;
  }

  private remember<T extends Node>(name: string, node: T): T {
    this.compiled.set(name, node);
    return node;
  }

  private compileFields(schema: Schema, node: ObjectNode, typed: boolean): void {
    const required = new Set(schema.required);
    for (const [name, property] of Object.entries(schema.properties ?? {})) {
      const field = this.compileField(name, property, { required: required.has(name), typed });
      node.fields.set(name, field);
      if (field.defaultOf !== undefined) node.defaulted.push(field);
    }
  }

  private compileField(name: string, schema: Schema, { required, typed }: { readonly required: boolean; readonly typed: boolean }): Field {
    const node = this.compile(schema, { typed });
    const { default: fallback } = schema;
    const isCollection = node.type === 'array' || node.type === 'map';
    return {
      name,
      node,
      omitZero: schema['x-omit-zero'] === true,
      fillsEmpty: typed && node.type === 'string' && typeof fallback === 'string' && fallback !== '',
      omitEmpty: typed && isCollection && !required && fallback === undefined && schema.nullable !== true,
      keepNull: schema.nullable === true || fallback === null,
      defaultOf: fallback === undefined ? undefined : sharedDefault(node, fallback),
    };
  }

  private compile(schema: Schema, context: { readonly typed: boolean; readonly goType?: string }): Node {
    if (schema.$ref !== undefined) return this.compileNamed(nameOfRef(schema.$ref));
    if (schema['x-kubernetes-int-or-string'] === true) return { type: 'int-or-string', goType: 'int32' };
    if (schema.format === 'quantity') return { type: 'quantity', goType: context.goType ?? 'resource.Quantity' };
    switch (schema.type) {
      case 'string':
        return schema.format === 'byte' ? { type: 'bytes', goType: '[]byte' } : { type: 'string', goType: 'string' };
      case 'boolean':
        return { type: 'boolean', goType: 'bool' };
      case 'integer':
        return { type: 'integer', goType: schema.format ?? 'int64' };
      case 'number':
        return { type: 'number', goType: 'float64' };
      case 'array': {
        const items = schema.items === undefined ? anyNode : this.compile(schema.items, { typed: context.typed });
        return { type: 'array', goType: `[]${items.goType}`, items };
      }
      case 'object':
        return this.compileObject(schema, context.typed);
      case undefined:
        return anyNode;
      default:
        return schema.type satisfies never;
    }
  }

  private compileObject(schema: Schema, typed: boolean): Node {
    if (schema.additionalProperties !== undefined) {
      const values = this.compile(schema.additionalProperties, { typed });
      return { type: 'map', goType: `map[string]${values.goType}`, values };
    }
    const preserveUnknown = schema['x-kubernetes-preserve-unknown-fields'] === true;
    if (preserveUnknown && schema.properties === undefined) return anyNode;
    const node: ObjectNode = { type: 'object', goType: 'struct', fields: new Map(), defaulted: [], preserveUnknown };
    this.compileFields(schema, node, typed);
    return node;
  }
}

const implied: Readonly<Record<string, Schema>> = {
  apiVersion: { type: 'string' },
  kind: { type: 'string' },
  metadata: { $ref: '#/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta', default: {} },
};

/** `io.k8s.api.apps.v1.DeploymentSpec` to `v1.DeploymentSpec`. */
function goTypeOf(name: string): string {
  return name.split('.').slice(-2).join('.');
}

function sharedDefault(node: Node, fallback: unknown): () => unknown {
  let shared: unknown;
  return () => {
    if (shared === undefined) shared = fallback === null ? null : freezeDeep(new Run().decode(node, fallback, undefined));
    return shared;
  };
}

function freezeDeep(value: unknown): unknown {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    for (const child of Object.values(value)) freezeDeep(child);
    Object.freeze(value);
  }
  return value;
}

// ------------------------------------------------------------------------------------------------------------------------- one decoding

type JsonObject = Record<string, unknown>;

/** A map's key on the path; unlike a field it is not part of the names that type errors show. */
class MapKey {
  readonly key: string;
  constructor(key: string) {
    this.key = key;
  }
}

const noFields: string[] = [];

class Run {
  unknownFields: string[] = noFields;
  /** Field names, array indexes and map keys from the root; scalars are not pushed, so that leaves cost nothing. */
  private readonly path: (string | number | MapKey)[] = [];
  private readonly items = new ItemCounter();
  /** Name of the innermost structure, for errors. */
  private struct = '';

  decode(node: Node, value: unknown, before: unknown): unknown {
    if (value === before && typeof value === 'object') return value;
    switch (node.type) {
      case 'object':
        return this.decodeObject(node, value, before);
      case 'map':
        return this.decodeMap(node, value, before);
      case 'array':
        return this.decodeArray(node, value, before);
      case 'any':
        return value;
      default:
        return this.decodeScalar(node, value, undefined);
    }
  }

  private decodeObject(node: ObjectNode, value: unknown, before: unknown): unknown {
    if (!isObject(value)) throw this.typeError(value, node.goType, undefined);
    if (this.path.length > maxDepth) throw new DecodeError('exceeded max depth');
    const previous = isObject(before) ? before : undefined;
    const outer = this.struct;
    this.struct = node.goType;
    let changed: JsonObject | undefined;
    let dropped: Set<string> | undefined;
    const keys = Object.keys(value);
    this.items.add(keys.length);
    for (const key of keys) {
      const field = node.fields.get(key);
      const child = value[key];
      if (field === undefined) {
        if (node.preserveUnknown) continue;
        if (child !== undefined) this.reportUnknown(key);
        dropped ??= new Set();
        dropped.add(key);
        continue;
      }
      if (child === undefined || (child === null && !field.keepNull)) {
        dropped ??= new Set();
        dropped.add(key);
        continue;
      }
      if (child === null) continue;
      const given = this.decodeField(field, child, previous);
      const decoded = field.fillsEmpty && given === '' ? field.defaultOf?.() : given;
      if (isLeftOut(field, decoded)) {
        dropped ??= new Set();
        dropped.add(key);
      } else if (decoded !== child) {
        changed ??= { ...value };
        changed[key] = decoded;
      }
    }
    this.struct = outer;
    let result: JsonObject = changed ?? value;
    if (dropped !== undefined) result = without(result, dropped);
    for (const field of node.defaulted) {
      if (Object.hasOwn(result, field.name)) continue;
      if (result === value) result = { ...value };
      result[field.name] = field.defaultOf?.();
    }
    return result;
  }

  private decodeField(field: Field, child: unknown, previous: JsonObject | undefined): unknown {
    const { node } = field;
    if (node.type === 'any') return child;
    if (node.type !== 'object' && node.type !== 'map' && node.type !== 'array') return this.decodeScalar(node, child, field.name);
    this.path.push(field.name);
    const decoded = this.decode(node, child, previous?.[field.name]);
    this.path.pop();
    return decoded;
  }

  private decodeMap(node: MapNode, value: unknown, before: unknown): unknown {
    if (!isObject(value)) throw this.typeError(value, node.goType, undefined);
    const previous = isObject(before) ? before : undefined;
    const { values } = node;
    if (values.type === 'any') return value;
    const isLeaf = values.type !== 'object' && values.type !== 'map' && values.type !== 'array';
    let changed: JsonObject | undefined;
    let dropped: Set<string> | undefined;
    const keys = Object.keys(value);
    this.items.add(keys.length);
    for (const key of keys) {
      const child = value[key];
      if (child === undefined) {
        dropped ??= new Set();
        dropped.add(key);
        continue;
      }
      let decoded: unknown;
      if (child === null) {
        decoded = zeroOf(values);
      } else if (isLeaf) {
        decoded = this.decodeScalar(values, child, undefined);
        // Maps of quantities are amounts of resources.
        if (values.type === 'quantity') decoded = roundToMilli(String(decoded));
      } else {
        this.path.push(new MapKey(key));
        decoded = this.decode(values, child, previous !== undefined && Object.hasOwn(previous, key) ? previous[key] : undefined);
        this.path.pop();
      }
      if (decoded !== child) {
        changed ??= { ...value };
        setOwn(changed, key, decoded);
      }
    }
    const result = changed ?? value;
    return dropped === undefined ? result : without(result, dropped);
  }

  private decodeArray(node: ArrayNode, value: unknown, before: unknown): unknown {
    if (!Array.isArray(value)) throw this.typeError(value, node.goType, undefined);
    const previous: readonly unknown[] | undefined = Array.isArray(before) ? before : undefined;
    const { items } = node;
    if (items.type === 'any') return value;
    this.items.add(value.length);
    let changed: unknown[] | undefined;
    for (let index = 0; index < value.length; index++) {
      const child: unknown = value[index];
      let decoded: unknown;
      if (child === null || child === undefined) {
        decoded = zeroOf(items);
      } else {
        this.path.push(index);
        decoded = this.decode(items, child, previous?.[index]);
        this.path.pop();
      }
      if (decoded !== child) {
        changed ??= [...value];
        changed[index] = decoded;
      }
    }
    return changed ?? value;
  }

  /** @param name  of the field, when it is not on the path */
  private decodeScalar(node: ScalarNode, value: unknown, name: string | undefined): unknown {
    switch (node.type) {
      case 'string':
        if (typeof value !== 'string') throw this.typeError(value, node.goType, name);
        return value;
      case 'boolean':
        if (typeof value !== 'boolean') throw this.typeError(value, node.goType, name);
        return value;
      case 'integer':
        if (typeof value !== 'number' || !fitsInteger(value, node.goType)) throw this.typeError(value, node.goType, name);
        return value;
      case 'number':
        if (typeof value !== 'number') throw this.typeError(value, node.goType, name);
        return value;
      case 'bytes':
        if (typeof value !== 'string') throw this.typeError(value, node.goType, name);
        return decodeBytes(value);
      case 'quantity':
        return decodeQuantity(value);
      case 'int-or-string':
        if (typeof value === 'string') return value;
        // Such types decode themselves, so the error knows no field.
        if (typeof value !== 'number' || !fitsInteger(value, 'int32')) throw valueError(value, node.goType);
        return value;
      case 'seconds':
      case 'micros':
        if (typeof value !== 'string') throw valueError(value, node.goType);
        return decodeTime(value, node.type);
      default:
        return node.type satisfies never;
    }
  }

  private reportUnknown(key: string): void {
    if (this.unknownFields === noFields) this.unknownFields = [];
    if (this.unknownFields.length >= maxReportedFields) return;
    let text = '';
    for (const segment of [...this.path, key]) {
      if (typeof segment === 'number') text += `[${segment}]`;
      else text += `${text === '' ? '' : '.'}${typeof segment === 'string' ? segment : segment.key}`;
    }
    this.unknownFields.push(text);
  }

  private typeError(value: unknown, goType: string, name: string | undefined): DecodeError {
    const fields: string[] = this.path.filter((segment) => typeof segment === 'string');
    if (name !== undefined) fields.push(name);
    if (fields.length === 0) return valueError(value, goType);
    const struct = this.struct.slice(this.struct.indexOf('.') + 1);
    return new DecodeError(
      `json: cannot unmarshal ${describeJson(value, goType)} into Go struct field ${struct}.${fields.join('.')} of type ${goType}`,
    );
  }
}

const valueError = (value: unknown, goType: string): DecodeError =>
  new DecodeError(`json: cannot unmarshal ${describeJson(value, goType)} into Go value of type ${goType}`);

/** `number 1.5` where a number was wanted, as Go shows what did not fit. */
function describeJson(value: unknown, goType: string): string {
  if (Array.isArray(value)) return 'array';
  if (typeof value === 'boolean') return 'bool';
  if (typeof value === 'number' && /^(int|float)/.test(goType)) return `number ${value}`;
  return typeof value;
}

function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isLeftOut(field: Field, value: unknown): boolean {
  if (field.omitZero) return value === '' || value === 0 || value === false;
  if (!field.omitEmpty || typeof value !== 'object' || value === null) return false;
  if (Array.isArray(value)) return value.length === 0;
  for (const _ in value) return false;
  return true;
}

function without(object: JsonObject, dropped: ReadonlySet<string>): JsonObject {
  const rest: JsonObject = {};
  for (const key of Object.keys(object)) if (!dropped.has(key)) setOwn(rest, key, object[key]);
  return rest;
}

/** Replacement of null as an item of a list or a value of a map. */
function zeroOf(node: Node): unknown {
  switch (node.type) {
    case 'string':
    case 'bytes':
      return '';
    case 'boolean':
      return false;
    case 'integer':
    case 'number':
    case 'int-or-string':
      return 0;
    case 'quantity':
      return '0';
    case 'object':
      return new Run().decode(node, {}, undefined);
    case 'map':
    case 'array':
    case 'any':
    case 'seconds':
    case 'micros':
      return null;
    default:
      return node satisfies never;
  }
}

function fitsInteger(value: number, goType: string): boolean {
  if (!Number.isSafeInteger(value)) return false;
  return goType !== 'int32' || (value >= -2147483648 && value <= 2147483647);
}

const wholeBase64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

function decodeBytes(text: string): string {
  if (wholeBase64.test(text)) return text;
  const illegal = illegalBase64At(text);
  if (illegal !== undefined) throw new DecodeError(`illegal base64 data at input byte ${illegal}`);
  // Only line breaks were the problem; they are allowed and removed.
  return text.replace(/[\r\n]/g, '');
}

/** Position of the error of Go's decoder: the first invalid character, or the start of an incomplete group of four. */
function illegalBase64At(text: string): number | undefined {
  let at = 0;
  const skipBreaks = (): void => {
    while (text[at] === '\n' || text[at] === '\r') at++;
  };
  for (;;) {
    for (let inGroup = 0; inGroup < 4; inGroup++) {
      skipBreaks();
      const char = text[at];
      if (char === undefined) return inGroup === 0 ? undefined : at - inGroup;
      at++;
      if (/[A-Za-z0-9+/]/.test(char)) continue;
      if (char !== '=' || inGroup < 2) return at - 1;
      skipBreaks();
      if (inGroup === 2) {
        if (at === text.length) return at;
        if (text[at] !== '=') return at - 1;
        at++;
        skipBreaks();
      }
      return at < text.length ? at : undefined;
    }
  }
}

/** Quantities repeat: the same handful of requests and limits is in every pod. */
const canonicalQuantities = new BoundedMap<string, string>(2_000);

function decodeQuantity(value: unknown): string {
  if (typeof value === 'string') {
    const known = canonicalQuantities.get(value);
    if (known !== undefined) return known;
  }
  const canonical = canonicalQuantity(value);
  if (typeof value === 'string') canonicalQuantities.set(value, canonical);
  return canonical;
}

function canonicalQuantity(value: unknown): string {
  try {
    return formatQuantity(parseQuantity(typeof value === 'string' || typeof value === 'number' ? value : 'none'));
  } catch (err) {
    if (err instanceof QuantityError) throw new DecodeError(err.message);
    throw err;
  }
}

function decodeTime(text: string, precision: TimePrecision): string {
  try {
    return normalizeTime(text, precision);
  } catch (err) {
    if (err instanceof TimeError) throw new DecodeError(err.message);
    throw err;
  }
}
