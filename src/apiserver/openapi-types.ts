import { type GroupVersionKind, nameOfRef, type Schema, type SchemaSet } from '../machinery/schema.ts';

/** Publishes types in the two versions of OpenAPI, without extensions that are internal. */

export interface Dialect {
  readonly refPrefix: string;
  /** A reference with something beside it. */
  readonly qualified: (ref: string, rest: Readonly<Record<string, unknown>>) => unknown;
  readonly quantity: unknown;
  readonly intOrString: unknown;
  /** Keywords of a user's schema that the version can express. */
  readonly adapted: (schema: Schema) => Schema;
}

const intOrStringPair: readonly Schema[] = [{ type: 'integer' }, { type: 'string' }];

export const version3: Dialect = {
  refPrefix: '#/components/schemas/',
  qualified: ($ref, rest) => ({ ...rest, allOf: [{ $ref }] }),
  quantity: { oneOf: [{ type: 'string' }, { type: 'number' }] },
  intOrString: { format: 'int-or-string', oneOf: [{ type: 'integer' }, { type: 'string' }] },
  adapted: (schema) =>
    schema['x-kubernetes-int-or-string'] === true && schema.anyOf === undefined ? { ...schema, anyOf: intOrStringPair } : schema,
};

export const version2: Dialect = {
  refPrefix: '#/definitions/',
  qualified: ($ref, rest) => ({ ...rest, $ref }),
  quantity: { type: 'string' },
  intOrString: { type: 'string', format: 'int-or-string' },
  adapted(schema) {
    const isOpen = schema['x-kubernetes-preserve-unknown-fields'] === true || schema.nullable === true;
    const isUntyped = isOpen || schema['x-kubernetes-int-or-string'] === true;
    const hasAlternatives = ['allOf', 'anyOf', 'oneOf', 'not', 'nullable'].some((key) => Object.hasOwn(schema, key));
    if (!isUntyped && !hasAlternatives) return schema;
    // Clients of version 2 know no alternatives: what may be several things is left open.
    const { allOf: _, anyOf: __, oneOf: ___, not: ____, nullable: _____, ...rest } = schema;
    if (!isUntyped) return rest;
    const { type: ______, ...untyped } = rest;
    if (!isOpen) return untyped;
    const { properties: _______, items: ________, ...open } = untyped;
    return open;
  },
};

/** Path of the types of `meta/v1`. */
export const metaTypes = 'io.k8s.apimachinery.pkg.apis.meta.v1';

const quantityType = 'io.k8s.apimachinery.pkg.api.resource.Quantity';
const intOrStringType = 'io.k8s.apimachinery.pkg.util.intstr.IntOrString';
/** Published as plain objects, as upstream does. */
const opaqueTypes = new Set([`${metaTypes}.FieldsV1`, 'io.k8s.apimachinery.pkg.runtime.RawExtension']);

/**
 * The published form of the type `name`.
 *
 * @param groupVersions  those of the document: some bodies go with every group, and clients look them up under it
 */
export function publicType(
  dialect: Dialect,
  name: string,
  { schema, groupVersions }: { readonly schema: Schema; readonly groupVersions: readonly Omit<GroupVersionKind, 'kind'>[] },
): unknown {
  if (name === quantityType) return dialect.quantity;
  if (name === intOrStringType) return dialect.intOrString;
  if (opaqueTypes.has(name)) return { type: 'object' };
  if (name !== `${metaTypes}.DeleteOptions` && name !== `${metaTypes}.WatchEvent`) return publicSchema(dialect, schema);
  const gvks = schema['x-kubernetes-group-version-kind'] ?? [];
  const kind = gvks[0]?.kind ?? '';
  const own = groupVersions.filter(({ group }) => group !== '').map(({ group, version }) => ({ group, version, kind }));
  return publicSchema(dialect, { ...schema, 'x-kubernetes-group-version-kind': [...gvks, ...own] });
}

function publicSchema(dialect: Dialect, given: Schema): unknown {
  // `additionalProperties: true`
  if (typeof given === 'boolean') return given;
  const schema = dialect.adapted(given);
  const { $ref, properties, items, additionalProperties, default: fallback, 'x-omit-zero': _omitZero, ...rest } = schema;
  const isQuantity = $ref?.endsWith(`/${quantityType}`) === true;
  const out: Record<string, unknown> = {
    ...rest,
    ...(fallback === undefined || fallback === null || isQuantity ? {} : { default: fallback }),
    ...(items === undefined ? {} : { items: publicSchema(dialect, items) }),
    ...(additionalProperties === undefined ? {} : { additionalProperties: publicSchema(dialect, additionalProperties) }),
    ...(properties === undefined
      ? {}
      : { properties: Object.fromEntries(Object.entries(properties).map(([name, property]) => [name, publicField(dialect, property)])) }),
  };
  if ($ref === undefined) return out;
  const ref = `${dialect.refPrefix}${nameOfRef($ref)}`;
  return Object.keys(out).length === 0 ? { $ref: ref } : dialect.qualified(ref, out);
}

/** Upstream qualifies the references of fields even when there is nothing to say; clients know the form. */
function publicField(dialect: Dialect, schema: Schema): unknown {
  const published = publicSchema(dialect, schema) as { readonly $ref?: string };
  return published.$ref === undefined || Object.keys(published).length > 1 ? published : dialect.qualified(published.$ref, {});
}

/** The named types and all they refer to. */
export function closureOf(schemas: SchemaSet, names: Iterable<string>): readonly string[] {
  const reached = new Set<string>();
  const visit = (schema: Schema): void => {
    if (schema.$ref !== undefined) reach(nameOfRef(schema.$ref));
    if (schema.items !== undefined) visit(schema.items);
    if (schema.additionalProperties !== undefined) visit(schema.additionalProperties);
    for (const property of Object.values(schema.properties ?? {})) visit(property);
  };
  const reach = (name: string): void => {
    if (reached.has(name)) return;
    reached.add(name);
    const schema = schemas[name];
    if (schema === undefined) throw new Error(`schema ${name} is not in the set`);
    visit(schema);
  };
  for (const name of names) reach(name);
  return [...reached].sort();
}
