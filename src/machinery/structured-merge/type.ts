import { BoundedMap } from '../../base/bounded-map.ts';
import type { Mutable } from '../object.ts';
import { resolveSchema, type Schema, type SchemaSet } from '../schema.ts';
import { type FieldSet, fieldElement } from './field-set.ts';

/**
 * A type as comparing and merging need it, compiled once from its schema. A value may have more than one form when the
 * schema leaves it open.
 */
export interface Type {
  readonly scalar: Scalar | undefined;
  readonly list: ListType | undefined;
  readonly map: MapType | undefined;
  /** Sets of whole frozen values of this type, by the value. */
  readonly wholeSets: WeakMap<object, FieldSet>;
}

type Scalar = 'string' | 'numeric' | 'boolean' | 'untyped';

export interface ListType {
  readonly relation: 'atomic' | 'set' | 'map';
  readonly keys: readonly string[];
  /** Values that keys have when an item leaves them out. */
  readonly keyDefaults: Readonly<Record<string, unknown>>;
  readonly element: Type;
  /** Elements of items by the text of their only key: condition types, container names. Emptied at a bound. */
  readonly textElements: Map<string, string>;
}

export interface MapType {
  readonly isAtomic: boolean;
  readonly fields: ReadonlyMap<string, Field>;
  /** Type of members that are no fields; undefined when there must be none. */
  readonly element: Type | undefined;
  /** Sets of all that is in frozen values, without the value itself. */
  readonly memberSets: WeakMap<object, { readonly set: FieldSet | undefined }>;
}

export interface Field {
  readonly element: string;
  readonly type: Type;
  /**
   * Value of a missing field, since upstream's typed objects always have it: an empty struct, or null for a list
   * without omitempty. Such fields are never owned as a whole.
   */
  readonly implicit: 'struct' | 'null' | undefined;
  /** Owned by nobody: set by the server or the same in every version of an object. */
  readonly isIgnored: boolean;
}

const systemFields = new Set([
  'name',
  'namespace',
  'creationTimestamp',
  'selfLink',
  'uid',
  'clusterName',
  'generation',
  'managedFields',
  'resourceVersion',
]);
const objectMeta = 'io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta';

const compilers = new WeakMap<SchemaSet, Compiler>();

/** The type of a whole object: as its schema says, without the fields that nobody owns. Compiled once for each set and schema. */
export function objectTypeOf(set: SchemaSet, schema: Schema): Type {
  let compiler = compilers.get(set);
  if (compiler === undefined) {
    compiler = new Compiler(set);
    compilers.set(set, compiler);
  }
  return compiler.objectType(schema);
}

/** The untyped parts: maps are merged member by member, lists replaced. */
const maxTextElements = 1_000;

const deduced = (): Mutable<Type> => ({ scalar: 'untyped', list: undefined, map: undefined, wholeSets: new WeakMap() });
const untypedAtomic = deduced();
untypedAtomic.list = {
  relation: 'atomic',
  keys: [],
  keyDefaults: {},
  element: untypedAtomic,
  textElements: new BoundedMap(maxTextElements),
};
untypedAtomic.map = { isAtomic: true, fields: new Map(), element: untypedAtomic, memberSets: new WeakMap() };
const untypedGranular = deduced();
untypedGranular.list = {
  relation: 'atomic',
  keys: [],
  keyDefaults: {},
  element: untypedAtomic,
  textElements: new BoundedMap(maxTextElements),
};
untypedGranular.map = { isAtomic: false, fields: new Map(), element: untypedGranular, memberSets: new WeakMap() };

class Compiler {
  readonly #set: SchemaSet;
  readonly #objects = new Map<string | Schema, Type>();
  readonly #types = new WeakMap<Schema, Type>();
  /** Types below a schema that preserves unknown fields. */
  readonly #openTypes = new WeakMap<Schema, Type>();

  constructor(set: SchemaSet) {
    this.#set = set;
  }

  objectType(schema: Schema): Type {
    const id = schema.$ref ?? schema;
    const known = this.#objects.get(id);
    if (known !== undefined) return known;
    const whole = this.#type(resolveSchema(this.#set, schema), false);
    const fields = new Map(whole.map?.fields);
    const text: Type = { scalar: 'string', list: undefined, map: undefined, wholeSets: new WeakMap() };
    for (const name of ['apiVersion', 'kind']) {
      fields.set(name, { element: fieldElement(name), type: text, implicit: undefined, isIgnored: true });
    }
    fields.set('metadata', { element: fieldElement('metadata'), type: this.#metadataType(), implicit: 'struct', isIgnored: false });
    const type: Type = {
      scalar: undefined,
      list: undefined,
      map: { isAtomic: false, fields, element: whole.map?.element, memberSets: new WeakMap() },
      wholeSets: new WeakMap(),
    };
    this.#objects.set(id, type);
    return type;
  }

  #metadataType(): Type {
    const schema = this.#set[objectMeta];
    const whole = schema === undefined ? untypedGranular : this.#type(schema, false);
    const fields = new Map(whole.map?.fields);
    for (const name of systemFields) {
      const type = fields.get(name)?.type ?? untypedGranular;
      fields.set(name, { element: fieldElement(name), type, implicit: undefined, isIgnored: true });
    }
    const map: MapType = { isAtomic: false, fields, element: whole.map?.element, memberSets: new WeakMap() };
    return { scalar: undefined, list: undefined, map, wholeSets: new WeakMap() };
  }

  #type(schema: Schema, isOpen: boolean): Type {
    const types = isOpen ? this.#openTypes : this.#types;
    const known = types.get(schema);
    if (known !== undefined) return known;
    if (schema.$ref !== undefined && schema['x-kubernetes-map-type'] === undefined) {
      // The type itself, not a copy: of a type that contains itself it is not complete yet.
      const target = this.#type(resolveSchema(this.#set, schema), false);
      types.set(schema, target);
      return target;
    }
    const type: Mutable<Type> = { scalar: undefined, list: undefined, map: undefined, wholeSets: new WeakMap() };
    // Before its parts, which may refer back to it.
    types.set(schema, type);
    if (schema.$ref !== undefined) this.#fillReference(type, schema);
    else this.#fill(type, schema, isOpen || schema['x-kubernetes-preserve-unknown-fields'] === true);
    return type;
  }

  #fillReference(type: Mutable<Type>, schema: Schema): void {
    const target = this.#type(resolveSchema(this.#set, schema), false);
    const override = schema['x-kubernetes-map-type'];
    type.scalar = target.scalar;
    type.list = target.list;
    type.map = target.map === undefined || override === undefined ? target.map : { ...target.map, isAtomic: override === 'atomic' };
  }

  #fill(type: Mutable<Type>, schema: Schema, isOpen: boolean): void {
    switch (schema.type) {
      case 'object':
        type.map = this.#map(schema, isOpen);
        break;
      case 'array':
        type.list = this.#list(schema, isOpen);
        break;
      case 'integer':
      case 'number':
        type.scalar = 'numeric';
        break;
      case 'boolean':
        type.scalar = 'boolean';
        break;
      case 'string':
        type.scalar = schema.format === undefined || schema.format === 'byte' ? 'string' : 'untyped';
        break;
      case undefined:
        type.scalar = 'untyped';
        type.list = this.#list(schema, isOpen);
        type.map = this.#map(schema, isOpen);
        break;
      default:
        schema.type satisfies never;
    }
    if (schema['x-kubernetes-int-or-string'] === true) type.scalar = 'untyped';
  }

  #map(schema: Schema, isOpen: boolean): MapType {
    const fields = new Map<string, Field>();
    for (const [name, member] of Object.entries(schema.properties ?? {})) {
      fields.set(name, {
        element: fieldElement(name),
        type: this.#type(member, isOpen),
        implicit: implicitOf(member, schema.required?.includes(name) ?? false),
        isIgnored: false,
      });
    }
    const additionalProperties: Schema | boolean | undefined = schema.additionalProperties;
    const element =
      typeof additionalProperties === 'object'
        ? this.#type(additionalProperties, isOpen)
        : additionalProperties === true || isOpen || fields.size === 0
          ? untypedGranular
          : undefined;
    return { isAtomic: schema['x-kubernetes-map-type'] === 'atomic', fields, element, memberSets: new WeakMap() };
  }

  #list(schema: Schema, isOpen: boolean): ListType {
    const element = schema.items === undefined ? untypedAtomic : this.#type(schema.items, isOpen);
    const relation = schema['x-kubernetes-list-type'] ?? 'atomic';
    const keys = relation === 'map' ? (schema['x-kubernetes-list-map-keys'] ?? []) : [];
    const item = schema.items === undefined ? undefined : resolveSchema(this.#set, schema.items);
    const keyDefaults: Record<string, unknown> = {};
    for (const key of keys) {
      const value = item?.properties?.[key]?.default;
      if (value !== undefined) keyDefaults[key] = value;
    }
    return { relation, keys, keyDefaults, element, textElements: new BoundedMap(maxTextElements) };
  }
}

/** A struct field that is no pointer has the default `{}` in OpenAPI; a list without omitempty is required. */
function implicitOf(member: Schema, isRequired: boolean): Field['implicit'] {
  const { default: value, type } = member;
  if (typeof value === 'object' && value !== null && Object.keys(value).length === 0) return 'struct';
  return isRequired && type === 'array' ? 'null' : undefined;
}

/** The type of a member of a map, or undefined when the schema has none. */
export const memberType = (map: MapType, name: string): Type | undefined => map.fields.get(name)?.type ?? map.element;
