import type { FieldSpec } from './field-spec.ts';
import {
  commonAnnotations,
  imageFields,
  metadataLabels,
  type NameReference,
  nameReferences,
  namespaceFields,
  replicaFields,
  selectorLabels,
  templateLabels,
  variableFields,
} from './field-specs.ts';
import { customFieldOf, FieldProblem, Reader } from './kustomization.ts';
import { isMap, isSelected, type JsonMap } from './resource.ts';
import { spend, spendText } from './work.ts';

export class TransformError extends Error {}

const transformers = [
  'namePrefix',
  'nameSuffix',
  'namespace',
  'commonLabels',
  'labels',
  'templateLabels',
  'commonAnnotations',
  'images',
  'replicas',
  'varReference',
] as const;

type Transformer = (typeof transformers)[number];
type FieldLists = Readonly<Record<Transformer, readonly FieldSpec[]>>;

/** Fields that each transformer changes: those of the built-in kinds, and additions of a kustomization's files. */
export interface FieldConfig extends FieldLists {
  readonly nameReference: readonly NameReference[];
}

const listsOf = (fieldsOf: (transformer: Transformer) => readonly FieldSpec[]): FieldLists =>
  Object.fromEntries(transformers.map((transformer) => [transformer, fieldsOf(transformer)])) as unknown as FieldLists;

export const builtInFields: FieldConfig = {
  namePrefix: [{ path: 'metadata/name' }],
  nameSuffix: [{ path: 'metadata/name' }],
  namespace: namespaceFields,
  commonLabels: selectorLabels,
  labels: [metadataLabels],
  templateLabels,
  commonAnnotations,
  images: imageFields,
  replicas: replicaFields,
  varReference: variableFields,
  nameReference: nameReferences,
};

/** @throws TransformError where one says to make a field that the other says not to */
export function mergeFields(a: FieldConfig | undefined, b: FieldConfig): FieldConfig {
  if (a === undefined || a === b) return b;
  return {
    ...listsOf((transformer) => mergeSpecs(a[transformer], b[transformer])),
    nameReference: mergeReferences(a.nameReference, b.nameReference),
  };
}

/**
 * Adds missing fields. A field for some kinds also covers a later one for all kinds: the first to name a field decides.
 */
export function mergeSpecs(specs: readonly FieldSpec[], more: readonly FieldSpec[]): readonly FieldSpec[] {
  const merged = [...specs];
  spend(specs.length * more.length);
  for (const spec of more) {
    const same = merged.find(
      ({ path, group = '', version = '', kind = '' }) => path === spec.path && isSelected({ group, version, kind }, spec),
    );
    if (same === undefined) merged.push(spec);
    else if ((same.create ?? false) !== (spec.create ?? false)) throw new TransformError('conflicting fieldspecs');
  }
  return merged;
}

function mergeReferences(references: readonly NameReference[], more: readonly NameReference[]): readonly NameReference[] {
  const keyOf = ({ group = '', version = '', kind }: NameReference): string => JSON.stringify([group, version, kind]);
  const merged = new Map(references.map((reference) => [keyOf(reference), reference]));
  for (const reference of more) {
    const key = keyOf(reference);
    const known = merged.get(key);
    merged.set(key, known === undefined ? reference : { ...known, fields: mergeSpecs(known.fields, reference.fields) });
  }
  return [...merged.values()];
}

/** A file of `configurations`. @throws FieldProblem */
export function parseConfiguration(value: unknown): FieldConfig {
  const root = new Reader(value ?? {}, { path: '' });
  const config = {
    ...listsOf((transformer) => root.children(transformer).map(customFieldOf)),
    nameReference: root.children('nameReference').map((target) => {
      const reference = {
        group: target.text('group'),
        version: target.text('version'),
        kind: target.text('kind'),
        fields: target.children('fieldSpecs').map(customFieldOf),
      };
      target.end();
      return reference;
    }),
  };
  root.end();
  return config;
}

/**
 * A file of `crds`: OpenAPI definitions by the name of their Go type, whose properties are marked `x-kubernetes-annotation`,
 * `-label-selector`, `-identity` or `-object-ref-kind`. The kind is the last part of a type's name; its group is not known.
 *
 * @throws FieldProblem
 */
export function fieldsOfDefinitions(value: unknown): FieldConfig {
  const found = { ...parseConfiguration({}), namePrefix: [], commonLabels: [], commonAnnotations: [], nameReference: [] };
  const types = isMap(value) ? value : {};
  for (const [name, type] of Object.entries(types)) {
    if (!isMap(type)) {
      throw new FieldProblem(name, `${name} is not an OpenAPI definition`, 'A CustomResourceDefinition is listed under resources.');
    }
    const properties = propertiesOf(type);
    if (!['kind', 'apiVersion', 'metadata'].every((key) => Object.hasOwn(properties, key))) continue;
    collect({ found, types, kind: name.slice(name.lastIndexOf('.') + 1), path: [] }, properties);
  }
  return found;
}

/** References deeper than this are in a circle. */
const maxDepth = 64;

type MutableFields = FieldConfig & {
  readonly namePrefix: FieldSpec[];
  readonly commonLabels: FieldSpec[];
  readonly commonAnnotations: FieldSpec[];
  readonly nameReference: NameReference[];
};

interface Collecting {
  readonly found: MutableFields;
  readonly types: JsonMap;
  readonly kind: string;
  readonly path: readonly string[];
}

function collect(at: Collecting, properties: JsonMap): void {
  const { found, types, kind } = at;
  if (at.path.length > maxDepth) return;
  for (const [name, property] of Object.entries(properties)) {
    spend(1);
    if (!isMap(property)) continue;
    const path = [...at.path, name];
    const field = { kind, path: path.join('/') };
    spendText(field.path.length);
    if (typeof property['x-kubernetes-annotation'] === 'string') found.commonAnnotations.push(field);
    if (typeof property['x-kubernetes-label-selector'] === 'string') found.commonLabels.push(field);
    if (typeof property['x-kubernetes-identity'] === 'string') found.namePrefix.push(field);
    const version = property['x-kubernetes-object-ref-api-version'];
    const target = property['x-kubernetes-object-ref-kind'];
    if (typeof version === 'string' && typeof target === 'string') {
      const key = property['x-kubernetes-object-ref-name-key'];
      found.nameReference.push({
        version,
        kind: target,
        fields: [{ kind, path: [...path, typeof key === 'string' ? key : 'name'].join('/') }],
      });
    }
    const { $ref: reference } = property;
    if (typeof reference === 'string' && Object.hasOwn(types, reference)) collect({ ...at, path }, propertiesOf(types[reference]));
  }
}

function propertiesOf(type: unknown): JsonMap {
  const schema = isMap(type) ? (type.Schema ?? type.schema) : undefined;
  return isMap(schema) && isMap(schema.properties) ? schema.properties : {};
}
