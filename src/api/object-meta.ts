import type { KindDefinition } from '../machinery/kind.ts';
import { qualifiedNameErrors } from '../machinery/label-syntax.ts';
import type { KubeObject, OwnerReference } from '../machinery/object.ts';
import type { FieldError } from '../machinery/status-error.ts';
import { isAbsent } from './copy-on-write.ts';
import { forbidden, immutable, invalidValue, required } from './field-errors.ts';
import { check, checkAnnotations, checkLabels, dnsLabelErrors, dnsSubdomainErrors, pathSegmentErrors } from './formats.ts';
import { finalizers as knownFinalizers } from './well-known.ts';

/** Sentences about what is wrong with the name of an object of this kind. */
function objectNameErrors(kind: Pick<KindDefinition, 'nameRule' | 'maxNameLength'>, name: string): readonly string[] {
  const errors = nameErrors(kind.nameRule, name);
  const { maxNameLength } = kind;
  return maxNameLength === undefined || name.length <= maxNameLength
    ? errors
    : [...errors, `must be no more than ${maxNameLength} characters`];
}

function nameErrors(rule: KindDefinition['nameRule'], name: string): readonly string[] {
  switch (rule) {
    case 'subdomain':
      return dnsSubdomainErrors(name);
    case 'label':
      return dnsLabelErrors(name);
    case 'path-segment':
      return pathSegmentErrors(name);
    default:
      return rule satisfies never;
  }
}

/**
 * The rules of `metadata` that hold for every kind, custom ones included. Parts of an update that are the stored ones by reference are
 * not looked at.
 */
export function validateObjectMeta(kind: KindDefinition, object: KubeObject, before?: KubeObject): readonly FieldError[] {
  const errors: FieldError[] = [];
  const meta = object.metadata;
  const old = before?.metadata;
  if (old === undefined) {
    if (!isAbsent(meta.generateName) && meta.generateName !== '') {
      // The letters that will follow make a trailing hyphen harmless.
      check(errors, 'metadata.generateName', meta.generateName, objectNameErrors(kind, meta.generateName.replace(/-$/, 'a')));
    }
    if (isAbsent(meta.name) || meta.name === '') errors.push(required('metadata.name', 'name or generateName is required'));
    else check(errors, 'metadata.name', meta.name, objectNameErrors(kind, meta.name));
    if (kind.namespaced) {
      if (isAbsent(meta.namespace) || meta.namespace === '') errors.push(required('metadata.namespace'));
      else check(errors, 'metadata.namespace', meta.namespace, dnsLabelErrors(meta.namespace));
    } else if (!isAbsent(meta.namespace) && meta.namespace !== '') {
      errors.push(forbidden('metadata.namespace', 'not allowed on this type'));
    }
  } else {
    if (old.deletionTimestamp !== undefined) checkNoNewFinalizers(errors, meta.finalizers ?? [], old.finalizers ?? []);
    for (const field of ['name', 'namespace', 'uid', 'creationTimestamp', 'deletionTimestamp', 'deletionGracePeriodSeconds'] as const) {
      if ((meta[field] ?? undefined) !== old[field]) errors.push(immutable(`metadata.${field}`, meta[field]));
    }
  }
  if (meta.labels !== old?.labels && !isOfTemplate(kind, object)) checkLabels(errors, 'metadata.labels', meta.labels);
  if (meta.annotations !== old?.annotations) checkAnnotations(errors, 'metadata.annotations', meta.annotations);
  if (meta.ownerReferences !== old?.ownerReferences) checkOwnerReferences(errors, meta.ownerReferences ?? []);
  if (meta.finalizers !== old?.finalizers) checkFinalizers(errors, kind, meta.finalizers ?? []);
  return errors;
}

function isOfTemplate({ labelsFromTemplate }: KindDefinition, object: KubeObject): boolean {
  const { spec } = object as KubeObject & { readonly spec?: { readonly template?: Partial<KubeObject> } };
  return labelsFromTemplate === true && object.metadata.labels === spec?.template?.metadata?.labels;
}

function checkOwnerReferences(errors: FieldError[], references: readonly OwnerReference[]): void {
  const field = 'metadata.ownerReferences';
  let controller: string | undefined;
  for (const reference of references) {
    if (isAbsent(reference.apiVersion) || /(^|\/)$/.test(reference.apiVersion)) {
      errors.push(invalidValue(`${field}.apiVersion`, reference.apiVersion ?? '', 'version must not be empty'));
    }
    for (const part of ['kind', 'name', 'uid'] as const) {
      if (isAbsent(reference[part]) || reference[part] === '') errors.push(invalidValue(`${field}.${part}`, '', 'must not be empty'));
    }
    if (reference.kind === 'Event' && (reference.apiVersion === 'v1' || reference.apiVersion.startsWith('events.k8s.io/'))) {
      errors.push(
        invalidValue(
          field,
          reference,
          `${reference.apiVersion === 'v1' ? '/v1' : reference.apiVersion}, Kind=Event is disallowed from being an owner`,
        ),
      );
    }
    if (reference.controller === true) {
      const name = `${reference.kind}/${reference.name}`;
      if (controller !== undefined) {
        const found = `Found "true" in references for ${controller} and ${name}`;
        errors.push(invalidValue(field, references, `Only one reference can have Controller set to true. ${found}`));
      }
      controller ??= name;
    }
  }
}

/** Finalizers that may have no domain, on Kubernetes' own kinds; on others the name alone is enough. */
const plainFinalizers = new Set(['kubernetes', knownFinalizers.orphan, knownFinalizers.foregroundDeletion]);

function checkFinalizers(errors: FieldError[], { group, custom }: KindDefinition, names: readonly string[]): void {
  const field = 'metadata.finalizers';
  const isCustom = custom !== undefined || (group.includes('.') && !group.endsWith('.k8s.io'));
  for (const [index, name] of names.entries()) {
    if (isCustom || name.includes('/') || plainFinalizers.has(name)) continue;
    errors.push(invalidValue(`${field}[${index}]`, name, 'name is neither a standard finalizer name nor is it fully qualified'));
  }
  for (const name of names) check(errors, field, name, qualifiedNameErrors(name));
  const { foregroundDeletion, orphan } = knownFinalizers;
  if (names.includes(foregroundDeletion) && names.includes(orphan)) {
    errors.push(invalidValue(field, names, `finalizer ${foregroundDeletion} and ${orphan} cannot be both set`));
  }
}

function checkNoNewFinalizers(errors: FieldError[], names: readonly string[], old: readonly string[]): void {
  const added = names.filter((name) => !old.includes(name)).sort();
  if (added.length === 0) return;
  const list = `[]string{${added.map((name) => JSON.stringify(name)).join(', ')}}`;
  const why = `no new finalizers can be added if the object is being deleted, found new finalizers ${list}`;
  // The real server comes by this rule twice, and says so once in its message.
  errors.push(forbidden('metadata.finalizers', why), forbidden('metadata.finalizers', why));
}
