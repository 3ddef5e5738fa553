import type {
  CustomResourceDefinition,
  CustomResourceNames,
  CustomResourceVersion,
  PrinterColumn,
} from '../../api/apiextensions/v1/definition.ts';
import { ageOf, nameColumn } from '../../api/columns.ts';
import { parseJsonPath } from '../../machinery/json-path.ts';
import type { Column, Conversion, FieldReader, KindDefinition, Subresource, Verb } from '../../machinery/kind.ts';
import type { DynamicObject, KubeObject } from '../../machinery/object.ts';
import type { Schema } from '../../machinery/schema.ts';
import { type FieldError, notImplemented } from '../../machinery/status-error.ts';
import { withStructuralDefaults } from '../../machinery/structural-schema/defaults.ts';
import { pruneFields } from '../../machinery/structural-schema/prune.ts';
import { ruleErrors } from '../../machinery/structural-schema/rules.ts';
import { compiledStructureOf, type Structure } from '../../machinery/structural-schema/structure.ts';
import { listErrors, schemaErrors } from '../../machinery/structural-schema/validate.ts';

/** The kinds of a CustomResourceDefinition: one for each version. One of them is stored. */
export interface CustomKinds {
  /** The stored version, served or not. */
  readonly stored: KindDefinition;
  /** Those that clients can name, the one that is preferred first. */
  readonly served: readonly KindDefinition[];
}

export interface CustomKindOptions {
  /** Those that were accepted. */
  readonly names: CustomResourceNames;
  isTerminating(): boolean;
}

export function customKindsOf(definition: CustomResourceDefinition, options: CustomKindOptions): CustomKinds | undefined {
  const { spec } = definition;
  const storage = spec.versions.find((version) => version.storage);
  if (storage === undefined) return undefined;
  const stored = kindOf(definition, storage, options);
  const served = [...spec.versions]
    .filter((version) => version.served)
    .sort((a, b) => compareVersions(a.name, b.name))
    .map((version) =>
      version === storage ? stored : { ...kindOf(definition, version, options), storedAs: conversionOf(definition, version, stored) },
    );
  return { stored, served };
}

/** The order of discovery: `v2`, `v1`, `v1beta1`, `v1alpha1`, then other names by the alphabet. */
export function compareVersions(a: string, b: string): number {
  const [left, right] = [rankOf(a), rankOf(b)];
  if (left === undefined || right === undefined) return left === right ? (a < b ? -1 : a > b ? 1 : 0) : left === undefined ? 1 : -1;
  for (const [index, rank] of left.entries()) {
    const other = right[index] ?? 0;
    if (rank !== other) return other - rank;
  }
  return 0;
}

function rankOf(version: string): readonly number[] | undefined {
  const [, major, stage, minor] = /^v([1-9]\d*)(?:(alpha|beta)([1-9]\d*))?$/.exec(version) ?? [];
  if (major === undefined) return undefined;
  return [stage === undefined ? 2 : stage === 'beta' ? 1 : 0, Number(major), Number(minor ?? 0)];
}

/** The order of upstream's custom resources. */
const verbs: readonly Verb[] = ['delete', 'deletecollection', 'get', 'list', 'patch', 'create', 'update', 'watch'];

function kindOf(
  { spec }: CustomResourceDefinition,
  version: CustomResourceVersion,
  { names, isTerminating }: CustomKindOptions,
): KindDefinition {
  const { group, scope } = spec;
  const schema = version.schema?.openAPIV3Schema ?? { type: 'object', 'x-kubernetes-preserve-unknown-fields': true };
  const { root } = compiledStructureOf(schema);
  const subresources = subresourcesOf(version);
  const hasStatus = subresources.some(({ name }) => name === 'status');
  const apiVersion = `${group}/${version.name}`;
  const selectablePaths = (version.selectableFields ?? []).map(({ jsonPath }) => jsonPath.replace(/^\./, ''));
  const schemaName = `${group.split('.').reverse().join('.')}.${version.name}.${names.kind}`;
  const complete = (object: KubeObject, before?: KubeObject): KubeObject => withStructuralDefaults(root, object, before);
  const prune: NonNullable<KindDefinition['custom']>['prune'] = (object, before, readMetadata) => {
    const { value, unknownFields } = pruneFields(root, object as DynamicObject, before as DynamicObject | undefined, readMetadata);
    return { object: value as unknown as KubeObject, unknownFields };
  };
  const validate = (object: KubeObject, before?: KubeObject): readonly FieldError[] => errorsOf(root, object, before);
  return {
    group,
    version: version.name,
    resource: names.plural,
    kind: names.kind,
    namespaced: scope === 'Namespaced',
    singular: names.singular ?? names.kind.toLowerCase(),
    shortNames: names.shortNames ?? [],
    categories: names.categories ?? [],
    schemaName,
    schemas: { [schemaName]: publishedSchema(schema, { group, version: version.name, kind: names.kind }, selectablePaths) },
    verbs,
    hasGeneration: true,
    statusKeeps: 'metadata',
    nameRule: 'subdomain',
    ...(version.deprecated === true ? { deprecation: version.deprecationWarning ?? `${apiVersion} ${names.kind} is deprecated` } : {}),
    subresources,
    columns: columnsOf(version),
    selectableFields: Object.fromEntries(selectablePaths.map((path) => [path, fieldReader(path)])),
    shortFieldLabelError: true,
    deleteAnswer: 'status',
    custom: {
      listKind: names.listKind ?? `${names.kind}List`,
      prune,
      fromStore(object) {
        const named = object.apiVersion === apiVersion ? object : { ...object, apiVersion };
        return complete(prune(named).object);
      },
      isTerminating,
      selectablePaths,
    },
    defaults: complete,
    ...(hasStatus ? { prepareForCreate: withoutStatus } : {}),
    validate,
    validateStatus: validate,
  };
}

function withoutStatus(object: KubeObject): KubeObject {
  const { status, ...rest } = object as DynamicObject;
  return status === undefined ? object : (rest as DynamicObject);
}

function errorsOf(root: Structure, object: KubeObject, before: KubeObject | undefined): readonly FieldError[] {
  const found = [...schemaErrors(root, object, before)];
  // An object that was stored with such a list can still change elsewhere.
  if (before === undefined || listErrors(root, before).length === 0) found.push(...listErrors(root, object));
  return [...found, ...ruleErrors(root, object, found, before)];
}

// ------------------------------------------------------------------------------------------------------------------------------- versions

/**
 * Without a webhook the versions are the same objects under other names, each with the fields of its own schema. Reads
 * get the defaults of the stored version alone, as upstream.
 */
function conversionOf({ spec }: CustomResourceDefinition, version: CustomResourceVersion, stored: KindDefinition): Conversion<KubeObject> {
  const apiVersion = `${spec.group}/${version.name}`;
  const storedVersion = `${stored.group}/${stored.version}`;
  const { root } = compiledStructureOf(version.schema?.openAPIV3Schema ?? {});
  const isUnsupported = spec.conversion?.strategy === 'Webhook';
  const checkStrategy = (): void => {
    if (isUnsupported) throw notImplemented(`conversion of ${stored.resource}.${spec.group} by webhook`);
  };
  return {
    kind: stored,
    hasOwnRules: true,
    isUnsupported,
    toStored(object) {
      checkStrategy();
      return { ...object, apiVersion: storedVersion };
    },
    fromStored(object) {
      checkStrategy();
      const named = { ...object, apiVersion };
      return pruneFields(root, named as DynamicObject).value as unknown as KubeObject;
    },
  };
}

// --------------------------------------------------------------------------------------------------------------------------- subresources

function subresourcesOf({ subresources }: CustomResourceVersion): readonly Subresource[] {
  const served: Subresource[] = [];
  if (subresources?.status !== undefined && subresources.status !== null)
    served.push({ name: 'status', verbs: ['get', 'patch', 'update'] });
  const scale = subresources?.scale;
  if (scale !== undefined && scale !== null) {
    served.push({
      name: 'scale',
      verbs: ['get', 'patch', 'update'],
      body: { group: 'autoscaling', version: 'v1', kind: 'Scale' },
      scale: {
        specReplicasPath: scale.specReplicasPath,
        statusReplicasPath: scale.statusReplicasPath,
        selectorPath: scale.labelSelectorPath ?? '',
      },
    });
  }
  return served;
}

// --------------------------------------------------------------------------------------------------------------------------------- columns

const defaultColumns: readonly PrinterColumn[] = [{ name: 'Age', type: 'date', jsonPath: '.metadata.creationTimestamp' }];

function columnsOf({ additionalPrinterColumns }: CustomResourceVersion): readonly Column<KubeObject>[] {
  const named = (additionalPrinterColumns ?? []).length === 0 ? defaultColumns : (additionalPrinterColumns ?? []);
  return [nameColumn, ...named.map(columnOf)];
}

function columnOf({ name, type, format, description, priority, jsonPath }: PrinterColumn): Column<KubeObject> {
  const path = parseJsonPath(jsonPath);
  const kind = type as Column<KubeObject>['type'];
  return {
    name,
    type: kind,
    ...(format === undefined ? {} : { format }),
    description: description ?? `Custom resource definition column (in JSONPath format): ${jsonPath}`,
    ...(priority === undefined ? {} : { priority }),
    cell(object, { now }) {
      const [value] = path.find(object);
      return value === undefined || value === null ? null : cellOf(kind, value, now);
    },
  };
}

/** A value of another type than the column's is not shown. */
function cellOf(type: Column<KubeObject>['type'], value: unknown, now: number): string | number | boolean | null {
  switch (type) {
    case 'string':
      return typeof value === 'string' ? value : JSON.stringify(value);
    case 'integer':
      return typeof value === 'number' ? Math.trunc(value) : null;
    case 'number':
      return typeof value === 'number' ? value : null;
    case 'boolean':
      return typeof value === 'boolean' ? value : null;
    case 'date':
      return typeof value === 'string' ? dateCell(value, now) : null;
    default:
      return type satisfies never;
  }
}

const dateCell = (value: string, now: number): string => (Number.isNaN(Date.parse(value)) ? '<invalid>' : ageOf(value, now));

function fieldReader(path: string): FieldReader<KubeObject> {
  const found = parseJsonPath(`.${path}`);
  return (object) => {
    const [value] = found.find(object);
    return typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean' ? String(value) : '';
  };
}

// ---------------------------------------------------------------------------------------------------------------------------------- schema

/** The schema with what every object has, as OpenAPI shows it and as ownership of fields is decided by. */
function publishedSchema(
  schema: Schema,
  gvk: { readonly group: string; readonly version: string; readonly kind: string },
  selectablePaths: readonly string[],
): Schema {
  const { apiVersion: _, kind: __, metadata: ___, ...properties } = schema.properties ?? {};
  return {
    ...schema,
    properties: {
      apiVersion: { type: 'string' },
      kind: { type: 'string' },
      metadata: { $ref: '#/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta' },
      ...properties,
    },
    'x-kubernetes-group-version-kind': [gvk],
    ...(selectablePaths.length === 0 ? {} : { 'x-kubernetes-selectable-fields': selectablePaths.map((fieldPath) => ({ fieldPath })) }),
  };
}
