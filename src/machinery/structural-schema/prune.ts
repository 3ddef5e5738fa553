import { setOwn } from '../json.ts';
import type { Structure } from './structure.ts';

type JsonObject = Readonly<Record<string, unknown>>;

const isObject = (value: unknown): value is JsonObject => typeof value === 'object' && value !== null && !Array.isArray(value);

/** Unknown fields of one object that are reported; all are dropped. */
const maxReportedFields = 100;

/**
 * `value` without the fields that its schema does not name, and their paths, as kubectl shows them: `spec.list[0].other`.
 *
 * @param before  the stored object that `value` was made from: parts with the same reference are not looked at
 * @param readMetadata  of objects within the object; without it their metadata stays as it is
 */
export function pruneFields(
  root: Structure,
  value: JsonObject,
  before?: JsonObject,
  readMetadata?: MetadataReader,
): { readonly value: JsonObject; readonly unknownFields: readonly string[] } {
  const unknownFields: string[] = [];
  const pruner = new Pruner(unknownFields, readMetadata);
  return { value: pruner.prune(root, value, before, '') as JsonObject, unknownFields };
}

/** Reads the metadata of an object: what is of the wrong type is refused, what is unknown is left out and named. */
export type MetadataReader = (metadata: object) => { readonly object: object; readonly unknownFields: readonly string[] };

const resourceFields: ReadonlySet<string> = new Set(['apiVersion', 'kind', 'metadata']);

class Pruner {
  readonly #unknownFields: string[];
  readonly #readMetadata: MetadataReader | undefined;

  constructor(unknownFields: string[], readMetadata: MetadataReader | undefined) {
    this.#unknownFields = unknownFields;
    this.#readMetadata = readMetadata;
  }

  prune(node: Structure, value: unknown, before: unknown, path: string): unknown {
    if (typeof value !== 'object' || value === null || value === before) return value;
    if (Array.isArray(value)) return this.#list(node, value, before, path);
    return this.#object(node, value as JsonObject, before, path);
  }

  #list(node: Structure, value: readonly unknown[], before: unknown, path: string): unknown {
    if (node.items === undefined && node.preservesUnknown) return value;
    // Objects that no schema describes lose all their fields.
    const items = node.items ?? nothing;
    const previous = Array.isArray(before) ? before : undefined;
    let changed: unknown[] | undefined;
    for (let index = 0; index < value.length; index += 1) {
      const item = this.prune(items, value[index], previous?.[index], `${path}[${index}]`);
      if (item === value[index]) continue;
      changed ??= [...value];
      changed[index] = item;
    }
    return changed ?? value;
  }

  #object(node: Structure, value: JsonObject, before: unknown, path: string): unknown {
    const previous = isObject(before) ? before : undefined;
    let changed: Record<string, unknown> | undefined;
    let dropped: Set<string> | undefined;
    for (const key of Object.keys(value)) {
      const at = path === '' ? key : `${path}.${key}`;
      // Metadata has its own schema; that of the object itself is the caller's to apply.
      if (node.isResource && resourceFields.has(key)) {
        const kept = key === 'metadata' && path !== '' ? this.#metadata(value[key], previous?.[key], at) : value[key];
        if (kept === value[key]) continue;
        changed ??= { ...value };
        setOwn(changed, key, kept);
        continue;
      }
      const child = node.properties.get(key) ?? node.values;
      if (child === undefined) {
        if (node.preservesUnknown) continue;
        if (this.#unknownFields.length < maxReportedFields) this.#unknownFields.push(at);
        dropped ??= new Set();
        dropped.add(key);
        continue;
      }
      const kept = this.prune(child, value[key], previous !== undefined && Object.hasOwn(previous, key) ? previous[key] : undefined, at);
      if (kept === value[key]) continue;
      changed ??= { ...value };
      setOwn(changed, key, kept);
    }
    if (dropped === undefined) return changed ?? value;
    const rest: Record<string, unknown> = {};
    const source = changed ?? value;
    for (const key of Object.keys(source)) if (!dropped.has(key)) setOwn(rest, key, source[key]);
    return rest;
  }

  #metadata(metadata: unknown, before: unknown, path: string): unknown {
    if (this.#readMetadata === undefined || !isObject(metadata) || metadata === before) return metadata;
    const { object, unknownFields } = this.#readMetadata(metadata);
    for (const field of unknownFields) {
      if (this.#unknownFields.length < maxReportedFields) this.#unknownFields.push(`${path}.${field}`);
    }
    return object;
  }
}

const nothing = {
  properties: new Map(),
  values: undefined,
  items: undefined,
  preservesUnknown: false,
  isResource: false,
} as unknown as Structure;
