import { goQuote } from '../../../machinery/go-text.ts';
import type { KindDefinition } from '../../../machinery/kind.ts';
import type { Schema } from '../../../machinery/schema.ts';
import { isKnownFormat } from '../../../machinery/structural-schema/value-formats.ts';
import { allVerbs, createdAtColumn, nameColumn } from '../../columns.ts';
import { isAbsent, mapShared, withDefaults, withField } from '../../copy-on-write.ts';
import { finalizers } from '../../well-known.ts';
import type { CustomResourceDefinition, CustomResourceVersion } from './definition.ts';
import { validateDefinition } from './definition-validation.ts';
import { normalizedSchema } from './schema-shape.ts';

/** A kind that users define: its names, versions and schemas. The API server serves it once its names are accepted. */
export const customResourceDefinitions: KindDefinition<CustomResourceDefinition> = {
  group: 'apiextensions.k8s.io',
  version: 'v1',
  resource: 'customresourcedefinitions',
  kind: 'CustomResourceDefinition',
  namespaced: false,
  singular: 'customresourcedefinition',
  shortNames: ['crd', 'crds'],
  categories: ['api-extensions'],
  schemaName: 'io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition',
  verbs: allVerbs,
  hasGeneration: true,
  nameRule: 'subdomain',
  subresources: [{ name: 'status', verbs: ['get', 'patch', 'update'] }],
  columns: [nameColumn, createdAtColumn],
  selectableFields: {},
  deleteAnswer: 'status',
  deletionFinalizer: finalizers.customResourceCleanup,
  defaults: (definition, before) => (definition.spec === before?.spec ? definition : withSpecDefaults(definition)),
  prepareForCreate: (definition) => ({
    ...definition,
    status: { conditions: null, acceptedNames: { plural: '', kind: '' }, storedVersions: storageVersionsOf(definition) },
  }),
  prepareForUpdate: (definition, before) => {
    const stored = before.status?.storedVersions ?? [];
    const added = storageVersionsOf(definition).filter((name) => !stored.includes(name));
    if (added.length === 0) return definition;
    const status = {
      ...(before.status ?? { conditions: null, acceptedNames: { plural: '', kind: '' } }),
      storedVersions: [...stored, ...added],
    };
    return { ...definition, status };
  },
  warnings: (definition, before) => (definition.spec === before?.spec ? [] : warningsOf(definition)),
  validate: (definition, before) => (before !== undefined && definition.spec === before.spec ? [] : validateDefinition(definition, before)),
};

function withSpecDefaults(definition: CustomResourceDefinition): CustomResourceDefinition {
  const { spec } = definition;
  if (isAbsent(spec)) return definition;
  let next = spec;
  const { names } = spec;
  if (!isAbsent(names)) {
    const { kind = '' } = names;
    const singular = (names.singular ?? '') === '' ? { singular: kind.toLowerCase() } : {};
    const listKind = (names.listKind ?? '') === '' && kind !== '' ? { listKind: `${kind}List` } : {};
    const full = { ...names, ...singular, ...listKind };
    if (full.singular !== names.singular || full.listKind !== names.listKind) next = withField(next, 'names', full);
  }
  const conversion = withDefaults(next.conversion ?? { strategy: '' }, {});
  if (conversion.strategy === '' || isAbsent(conversion.strategy)) {
    next = withField(next, 'conversion', { ...conversion, strategy: 'None' });
  }
  if (Array.isArray(next.versions)) next = withField(next, 'versions', mapShared(next.versions, withNormalizedSchema));
  return withField(definition, 'spec', next);
}

function withNormalizedSchema(version: CustomResourceVersion): CustomResourceVersion {
  const given = version.schema?.openAPIV3Schema;
  if (isAbsent(given)) return version;
  const openAPIV3Schema = normalizedSchema(given);
  return openAPIV3Schema === given ? version : { ...version, schema: { ...version.schema, openAPIV3Schema } };
}

/** Names each unknown format once, numbers of bits included: nobody checks their values. */
const warningsOf = ({ spec }: CustomResourceDefinition): readonly string[] => {
  const formats = new Set<string>();
  for (const { schema } of spec?.versions ?? []) collectFormats(schema?.openAPIV3Schema, formats);
  return [...formats].filter((format) => !isKnownFormat(format)).map((format) => `unrecognized format ${goQuote(format)}`);
};

/** Walks every schema below; the reader of bodies bounds their depth and size. */
function collectFormats(schema: unknown, into: Set<string>): void {
  if (typeof schema !== 'object' || schema === null) return;
  const { format, items, additionalProperties, not, properties, allOf, anyOf, oneOf } = schema as Schema & Record<string, unknown>;
  if (typeof format === 'string' && format !== '') into.add(format);
  for (const inner of [items, additionalProperties, not]) collectFormats(inner, into);
  for (const list of [allOf, anyOf, oneOf]) if (Array.isArray(list)) for (const inner of list) collectFormats(inner, into);
  if (typeof properties === 'object' && properties !== null) for (const inner of Object.values(properties)) collectFormats(inner, into);
}

const storageVersionsOf = ({ spec }: CustomResourceDefinition): readonly string[] =>
  (spec?.versions ?? []).filter(({ storage }) => storage).map(({ name }) => name);
