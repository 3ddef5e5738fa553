import { nameOfRef, type Schema, type SchemaSet } from '../schema.ts';
import { type CelType, dynType, listOf, mapOf, objectOf, stringType } from './types.ts';

/** Location of a schema; `path` distinguishes the types of objects. */
export interface SchemaPlace {
  /** It has kind, apiVersion and metadata of its own, whatever it says. */
  readonly isResource: boolean;
  readonly path: string;
}

/** Types of values in expressions, made once for each schema: rules at many levels look at the same ones. */
export class SchemaTypes {
  readonly #known = new Map<Schema, CelType | undefined>();
  readonly #named: SchemaSet;
  readonly #open = new Set<Schema>();

  /** @param named  what `$ref` can name; structural schemas have none */
  constructor(named: SchemaSet = {}) {
    this.#named = named;
  }

  /** Undefined for values that expressions do not see. */
  typeOf(schema: Schema, place: SchemaPlace): CelType | undefined {
    if (schema.$ref !== undefined) return this.#typeOfRef(nameOfRef(schema.$ref));
    if (this.#known.has(schema)) return this.#known.get(schema);
    // A schema within itself: nothing is known below.
    if (this.#open.has(schema)) return dynType;
    this.#open.add(schema);
    const type = this.#make(schema, place);
    this.#open.delete(schema);
    this.#known.set(schema, type);
    return type;
  }

  #typeOfRef(name: string): CelType {
    const schema = this.#named[name];
    const type = schema === undefined ? undefined : this.typeOf(schema, { isResource: false, path: name });
    return type ?? dynType;
  }

  #below(schema: Schema, path: string): CelType | undefined {
    return this.typeOf(schema, { isResource: schema['x-kubernetes-embedded-resource'] === true, path });
  }

  #make(schema: Schema, { isResource, path }: SchemaPlace): CelType | undefined {
    if (schema['x-kubernetes-int-or-string'] === true || schema.format === 'quantity') return dynType;
    switch (schema.type) {
      case 'string':
        return textTypes[schema.format ?? ''] ?? stringType;
      case 'boolean':
        return { kind: 'bool' };
      case 'integer':
        return { kind: 'int' };
      case 'number':
        return { kind: 'double' };
      case 'array': {
        const items = schema.items === undefined ? undefined : this.#below(schema.items, `${path}.@items`);
        return items === undefined ? undefined : listOf(items);
      }
      case 'object': {
        const values = openValues(schema.additionalProperties);
        if (values === undefined) return this.#object(schema, { isResource, path });
        const type = this.#below(values, `${path}.@values`);
        return type === undefined ? undefined : mapOf(stringType, type);
      }
      case undefined:
        return undefined;
      default:
        return schema.type satisfies never;
    }
  }

  #object(schema: Schema, { isResource, path }: SchemaPlace): CelType {
    const fields = new Map<string, CelType>();
    if (isResource) {
      fields.set('apiVersion', stringType).set('kind', stringType);
      fields.set('metadata', objectOf(`${path}.metadata`, { name: stringType, generateName: stringType }));
    }
    for (const [name, property] of Object.entries(schema.properties ?? {})) {
      if (isResource && name === 'metadata') continue;
      const type = this.#below(property, `${path}.${name}`);
      if (type !== undefined) fields.set(name, type);
    }
    return objectOf(path === 'self' ? 'object' : path, Object.fromEntries(fields));
  }
}

/** `additionalProperties: true` takes any member; `false` is the same as nothing. */
export function openValues(additionalProperties: unknown): Schema | undefined {
  if (additionalProperties === true) return {};
  return typeof additionalProperties === 'object' && additionalProperties !== null ? (additionalProperties as Schema) : undefined;
}

const textTypes: Readonly<Record<string, CelType>> = {
  byte: { kind: 'bytes' },
  duration: { kind: 'duration' },
  date: { kind: 'timestamp' },
  'date-time': { kind: 'timestamp' },
};
