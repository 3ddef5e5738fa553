import { JsonPathError, parseJsonPath } from '../../../machinery/json-path.ts';
import { deepEqual } from '../../../machinery/object.ts';
import type { Schema } from '../../../machinery/schema.ts';
import type { FieldError } from '../../../machinery/status-error.ts';
import { isAbsent } from '../../copy-on-write.ts';
import { duplicate, forbidden, immutable, invalidValue, notSupported, required, tooMany } from '../../field-errors.ts';
import { check, dns1035LabelErrors, dnsSubdomainErrors } from '../../formats.ts';
import type {
  CustomResourceDefinition,
  CustomResourceDefinitionCondition,
  CustomResourceDefinitionSpec,
  CustomResourceNames,
  CustomResourceVersion,
  PrinterColumn,
} from './definition.ts';
import { isEstablished } from './definition.ts';
import { schemaAt, validateSchema } from './schema-validation.ts';

/** Rules of CustomResourceDefinitions, worded as the real server words them. */

export function validateDefinition(definition: CustomResourceDefinition, before?: CustomResourceDefinition): readonly FieldError[] {
  const errors: FieldError[] = [];
  const { metadata, spec } = definition;
  if (isAbsent(spec)) return [required('spec')];
  const { group = '', names, scope = '', versions = [] } = spec;
  if (before === undefined && metadata.name !== `${names?.plural ?? ''}.${group}`) {
    errors.push(invalidValue('metadata.name', metadata.name, 'must be spec.names.plural+"."+spec.group'));
  }
  if (group === '') errors.push(required('spec.group'));
  else if (dnsSubdomainErrors(group).length > 0) errors.push(invalidValue('spec.group', group, dnsSubdomainErrors(group).join(',')));
  else if (!group.includes('.')) errors.push(invalidValue('spec.group', group, 'should be a domain with at least one dot'));
  if ((scope as string) === '') errors.push(required('spec.scope'));
  else if (scope !== 'Cluster' && scope !== 'Namespaced') errors.push(notSupported('spec.scope', scope, ['Cluster', 'Namespaced']));
  checkVersions(errors, spec, versions, before);
  checkNames(errors, names ?? { plural: '', kind: '' });
  checkConversion(errors, spec);
  checkApproval(errors, definition, before);
  if (spec.preserveUnknownFields === true && before?.spec.preserveUnknownFields !== true) {
    errors.push(
      invalidValue(
        'spec.preserveUnknownFields',
        true,
        'cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead',
      ),
    );
  }
  if (before !== undefined) checkUpdate(errors, definition, before);
  return errors;
}

function checkUpdate(errors: FieldError[], { spec, status }: CustomResourceDefinition, before: CustomResourceDefinition): void {
  const old = before.spec;
  if (isEstablished(before)) {
    if (spec.scope !== old.scope) errors.push(immutable('spec.scope', spec.scope));
    if (spec.names.kind !== old.names.kind) errors.push(immutable('spec.names.kind', spec.names.kind));
  }
  if (spec.group !== old.group) errors.push(immutable('spec.group', spec.group));
  if (spec.names.plural !== old.names.plural) errors.push(immutable('spec.names.plural', spec.names.plural));
  const known = new Set((spec.versions ?? []).map(({ name }) => name));
  for (const [index, name] of (status?.storedVersions ?? []).entries()) {
    if (known.has(name)) continue;
    const why = `missing from spec.versions; ${name} was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in ${name} and removes ${name} from status.storedVersions`;
    errors.push(invalidValue(`status.storedVersions[${index}]`, name, why));
  }
}

// ------------------------------------------------------------------------------------------------------------------------------- versions

/** Upstream treats a value that all versions share as one value, and reports its errors at the top. */
function place(versions: readonly CustomResourceVersion[], index: number, part: keyof CustomResourceVersion, top: string): string {
  const isShared = versions.every((version) => !isAbsent(version[part]) && deepEqual(version[part], versions[0]?.[part]));
  return isShared ? `spec.${top}` : `spec.versions[${index}].${part}`;
}

function checkVersions(
  errors: FieldError[],
  spec: CustomResourceDefinitionSpec,
  versions: readonly CustomResourceVersion[],
  before: CustomResourceDefinition | undefined,
): void {
  const seen = new Set<string>();
  for (const [index, version] of versions.entries()) {
    const at = `spec.versions[${index}]`;
    const nameErrors = dns1035LabelErrors(version.name ?? '');
    if (nameErrors.length > 0) errors.push(invalidValue(`${at}.name`, version.name, nameErrors.join(',')));
    checkDeprecation(errors, at, version);
    const schema = version.schema?.openAPIV3Schema;
    if (isAbsent(schema)) errors.push(required(`${at}.schema.openAPIV3Schema`));
    else {
      const path = `${place(versions, index, 'schema', 'validation')}.openAPIV3Schema`;
      const isFirst = !path.startsWith('spec.validation') || index === 0;
      const hasStatus = !isAbsent(version.subresources?.status);
      const old = before?.spec.versions?.find(({ name }) => name === version.name)?.schema?.openAPIV3Schema;
      // A schema that was accepted once stays so.
      if (isFirst && (old === undefined || !deepEqual(old, schema))) validateSchema(errors, schema, { path, hasStatus });
    }
    const scalePath = place(versions, index, 'subresources', 'subresources');
    if (scalePath !== 'spec.subresources' || index === 0) checkScale(errors, `${scalePath}.scale`, version);
    const columnsPath = place(versions, index, 'additionalPrinterColumns', 'additionalPrinterColumns');
    if (!columnsPath.startsWith('spec.additional') || index === 0) {
      for (const [column, definition] of (version.additionalPrinterColumns ?? []).entries()) {
        checkColumn(errors, `${columnsPath}[${column}]`, definition);
      }
    }
    const selectablePath = place(versions, index, 'selectableFields', 'selectableFields');
    if (selectablePath !== 'spec.selectableFields' || index === 0) checkSelectableFields(errors, selectablePath, version, schema);
  }
  for (const { name } of versions) seen.add(name);
  if (seen.size < versions.length)
    errors.push(invalidValue('spec.versions', versions.map(shownVersion), 'must contain unique version names'));
  if (versions.filter(({ storage }) => storage).length !== 1) {
    errors.push(invalidValue('spec.versions', versions.map(shownVersion), 'must have exactly one version marked as storage version'));
  }
  if (spec.versions === undefined) errors.push(required('spec.versions'));
}

const shownVersion = ({ name, served, storage, deprecated = false, deprecationWarning = undefined }: CustomResourceVersion): unknown => ({
  Name: name,
  Served: served,
  Storage: storage,
  Deprecated: deprecated,
  DeprecationWarning: deprecationWarning ?? null,
});

function checkDeprecation(errors: FieldError[], at: string, { deprecated, deprecationWarning }: CustomResourceVersion): void {
  if (isAbsent(deprecationWarning)) return;
  const complain = (why: string): void => void errors.push(invalidValue(`${at}.deprecationWarning`, deprecationWarning, why));
  if (deprecated !== true) complain('can only be set for deprecated versions');
  if (deprecationWarning.length > 256) complain('must be <= 256 characters long');
  if (deprecationWarning === '') complain('must not be an empty string');
  const bad = [...deprecationWarning].findIndex((char) => /\p{C}/u.test(char));
  if (bad !== -1) complain(`must only contain printable UTF-8 characters; non-printable character found at index ${bad}`);
}

function checkScale(errors: FieldError[], at: string, { subresources }: CustomResourceVersion): void {
  const scale = subresources?.scale;
  if (isAbsent(scale)) return;
  const checkPath = (name: string, path: string | undefined, roots: readonly string[], why: string): void => {
    const field = `${at}.${name}`;
    if (isAbsent(path) || path === '') return;
    if (!path.startsWith('.')) errors.push(invalidValue(field, path, 'must be a simple json path starting with .'));
    else if (!roots.some((root) => path.startsWith(root))) errors.push(invalidValue(field, path, why));
  };
  for (const name of ['specReplicasPath', 'statusReplicasPath'] as const) {
    if ((scale[name] ?? '') === '') errors.push(required(`${at}.${name}`));
  }
  checkPath('specReplicasPath', scale.specReplicasPath, ['.spec.'], 'should be a json path under .spec');
  checkPath('statusReplicasPath', scale.statusReplicasPath, ['.status.'], 'should be a json path under .status');
  checkPath('labelSelectorPath', scale.labelSelectorPath, ['.spec.', '.status.'], 'should be a json path under either .spec or .status');
}

const columnTypes = ['boolean', 'date', 'integer', 'number', 'string'];
const columnFormats = ['byte', 'date', 'date-time', 'double', 'float', 'int32', 'int64', 'password'];

function checkColumn(errors: FieldError[], at: string, { name, type, format = '', jsonPath }: PrinterColumn): void {
  if ((name ?? '') === '') errors.push(required(`${at}.name`));
  const oneOf = `must be one of ${columnTypes.join(',')}`;
  if ((type ?? '') === '') errors.push(required(`${at}.type`, oneOf));
  else if (!columnTypes.includes(type)) errors.push(invalidValue(`${at}.type`, type, oneOf));
  if (format !== '' && !columnFormats.includes(format)) {
    errors.push(invalidValue(`${at}.format`, format, `must be one of ${columnFormats.join(',')}`));
  }
  if ((jsonPath ?? '') === '') errors.push(required(`${at}.JSONPath`));
  else if (!jsonPath.startsWith('.')) errors.push(invalidValue(`${at}.JSONPath`, jsonPath, 'must be a simple json path starting with .'));
  else {
    try {
      parseJsonPath(jsonPath);
    } catch (err) {
      if (!(err instanceof JsonPathError)) throw err;
      errors.push(invalidValue(`${at}.JSONPath`, jsonPath, err.message));
    }
  }
}

const maxSelectableFields = 8;

function checkSelectableFields(
  errors: FieldError[],
  at: string,
  { selectableFields = [] }: CustomResourceVersion,
  schema: Schema | undefined,
): void {
  const seen = new Set<string>();
  for (const [index, { jsonPath }] of (selectableFields ?? []).entries()) {
    const field = `${at}[${index}].jsonPath`;
    if ((jsonPath ?? '') === '') {
      errors.push(required(field));
      continue;
    }
    const found = schemaAt(schema, jsonPath);
    if (typeof found === 'string') errors.push(invalidValue(field, jsonPath, `is an invalid path: ${found}`));
    else {
      if (/^\.metadata(\.|$)/.test(jsonPath)) errors.push(invalidValue(field, jsonPath, 'must not point to fields in metadata'));
      if (!['string', 'boolean', 'integer'].includes(found.type ?? '')) {
        const why = 'must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.';
        errors.push(invalidValue(field, jsonPath, why));
      }
      if (seen.has(jsonPath)) errors.push(duplicate(field, jsonPath));
    }
    seen.add(jsonPath);
  }
  if (seen.size > maxSelectableFields) errors.push(tooMany(at, seen.size, maxSelectableFields));
}

// ---------------------------------------------------------------------------------------------------------------------------------- names

function checkNames(errors: FieldError[], names: CustomResourceNames): void {
  for (const name of ['plural', 'singular', 'kind', 'listKind'] as const) {
    if ((names[name] ?? '') === '') errors.push(required(`spec.names.${name}`));
  }
  for (const name of ['plural', 'singular'] as const) checkLabel(errors, `spec.names.${name}`, names[name]);
  for (const name of ['kind', 'listKind'] as const) {
    const value = names[name] ?? '';
    const sentences = value === '' ? [] : dns1035LabelErrors(value.toLowerCase());
    if (sentences.length > 0) {
      errors.push(invalidValue(`spec.names.${name}`, value, `may have mixed case, but should otherwise match: ${sentences.join(',')}`));
    }
  }
  for (const [index, name] of (names.shortNames ?? []).entries()) checkLabel(errors, `spec.names.shortNames[${index}]`, name, true);
  if ((names.kind ?? '') !== '' && names.kind === names.listKind) {
    errors.push(invalidValue('spec.names.listKind', names.listKind, 'kind and listKind may not be the same'));
  }
  for (const [index, name] of (names.categories ?? []).entries()) checkLabel(errors, `spec.names.categories[${index}]`, name, true);
}

function checkLabel(errors: FieldError[], field: string, value = '', always = false): void {
  if (value === '' && !always) return;
  const sentences = dns1035LabelErrors(value);
  if (sentences.length > 0) errors.push(invalidValue(field, value, sentences.join(',')));
}

function checkConversion(errors: FieldError[], { conversion }: CustomResourceDefinitionSpec): void {
  if (isAbsent(conversion)) return;
  const { strategy, webhook } = conversion;
  const at = 'spec.conversion';
  if ((strategy ?? '') === '') errors.push(required(`${at}.strategy`));
  else if (strategy !== 'None' && strategy !== 'Webhook') errors.push(notSupported(`${at}.strategy`, strategy, ['None', 'Webhook']));
  if (strategy !== 'Webhook') {
    if (!isAbsent(webhook?.clientConfig)) {
      errors.push(forbidden(`${at}.webhookClientConfig`, 'should not be set when strategy is not set to Webhook'));
    }
    if ((webhook?.conversionReviewVersions ?? []).length > 0) {
      errors.push(forbidden(`${at}.conversionReviewVersions`, 'should not be set when strategy is not set to Webhook'));
    }
    return;
  }
  const client = webhook?.clientConfig;
  if (isAbsent(client)) errors.push(required(`${at}.webhookClientConfig`, 'required when strategy is set to Webhook'));
  else if (isAbsent(client.url) === isAbsent(client.service)) {
    errors.push(required(`${at}.webhookClientConfig`, 'exactly one of url or service is required'));
  }
  const versions = webhook?.conversionReviewVersions ?? [];
  if (versions.length === 0) errors.push(required(`${at}.conversionReviewVersions`));
  else {
    for (const [index, version] of versions.entries()) {
      check(errors, `${at}.conversionReviewVersions[${index}]`, version, dns1035LabelErrors(version));
    }
    if (!versions.some((version) => version === 'v1' || version === 'v1beta1')) {
      errors.push(invalidValue(`${at}.conversionReviewVersions`, versions, 'must include at least one of v1, v1beta1'));
    }
  }
}

const approval = 'api-approved.kubernetes.io';
const proposal = 'https://github.com/kubernetes/enhancements/pull/1111';
const missingText = `protected groups must have approval annotation "${approval}", see ${proposal}`;
const invalidText = `protected groups must have approval annotation "${approval}" with either a URL or a reason starting with "unapproved", see ${proposal}`;

/** True for groups of the Kubernetes project. */
const isProtected = (group: string): boolean => /(^|\.)(k8s|kubernetes)\.io$/.test(group);
const isUrl = (text: string): boolean => /^[A-Za-z][A-Za-z0-9+.-]*:\/\/[^/]/.test(text);

/** Groups of the Kubernetes project say who approved them. */
function checkApproval(
  errors: FieldError[],
  { metadata, spec }: CustomResourceDefinition,
  before: CustomResourceDefinition | undefined,
): void {
  if (!isProtected(spec.group ?? '')) return;
  const given = metadata.annotations?.[approval];
  if (before !== undefined && given === before.metadata.annotations?.[approval]) return;
  const field = `metadata.annotations[${approval}]`;
  if (isAbsent(given) || given === '') errors.push(required(field, missingText));
  else if (!given.startsWith('unapproved') && !isUrl(given)) errors.push(invalidValue(field, given, invalidText));
}

/** The condition that tells users whether a group of the Kubernetes project was approved; undefined for other groups. */
export function approvalOf({ metadata, spec }: CustomResourceDefinition): CustomResourceDefinitionCondition | undefined {
  if (!isProtected(spec.group)) return undefined;
  const type = 'KubernetesAPIApprovalPolicyConformant';
  const given = metadata.annotations?.[approval] ?? '';
  if (given === '') return { type, status: 'False', reason: 'MissingAnnotation', message: missingText };
  if (given.startsWith('unapproved')) {
    return { type, status: 'False', reason: 'UnapprovedAnnotation', message: `not approved: ${JSON.stringify(given)}` };
  }
  if (!isUrl(given)) return { type, status: 'False', reason: 'InvalidAnnotation', message: invalidText };
  return { type, status: 'True', reason: 'ApprovedAnnotation', message: `approved in ${given}` };
}
