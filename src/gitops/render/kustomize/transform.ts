import { TransformError } from './field-config.ts';
import { type FieldSpec, setEntry, setScalar, splitPath, visitField } from './field-spec.ts';
import { fixedNames, imageFields } from './field-specs.ts';
import { contentHash } from './generators.ts';
import type { ImageRule } from './kustomization.ts';
import { findPlaces } from './replacements.ts';
import {
  currentId,
  describeId,
  idKey,
  isClusterScoped,
  isMap,
  isSelected,
  type JsonMap,
  linkMembers,
  metadataOf,
  originalId,
  previousIds,
  type Resource,
  rememberId,
} from './resource.ts';
import { resolveScalar, textOfScalar } from './scalar.ts';
import { safePattern, select, type TargetSelector } from './selector.ts';
import { spend } from './work.ts';

/** The work of the transformers, each on all objects of a kustomization. They change objects in place. */

/** Subjects of a role binding whose namespace is set: those named `default`, all service accounts, or none. */
export type SubjectMode = 'defaultOnly' | 'allServiceAccounts' | 'none';

export const isSubjectMode = (text: string): text is SubjectMode => ['defaultOnly', 'allServiceAccounts', 'none'].includes(text);

export interface NamespaceRule {
  readonly namespace: string;
  /** Leaves a namespace that there is. */
  readonly unsetOnly?: boolean;
  readonly subjects?: SubjectMode;
}

export function setNamespace(resources: readonly Resource[], rule: NamespaceRule, fields: readonly FieldSpec[]): void {
  for (const resource of resources) {
    rememberId(resource);
    moveObject(resource, rule, fields);
  }
  const seen = new Set<string>();
  for (const resource of resources) {
    const id = currentId(resource);
    if (seen.has(idKey(id))) throw new TransformError(`namespace transformation produces ID conflict: ${describeId(id)}`);
    seen.add(idKey(id));
  }
}

function moveObject(
  resource: Resource,
  { namespace, unsetOnly = false, subjects = 'defaultOnly' }: NamespaceRule,
  fields: readonly FieldSpec[],
): void {
  const isKept = (value: unknown): boolean => unsetOnly && value !== undefined && value !== null && value !== '';
  const metadata = metadataOf(resource);
  const id = currentId(resource);
  if (!isClusterScoped(id) && !isKept(metadata.namespace)) metadata.namespace = namespace;
  const isBinding = id.kind === 'RoleBinding' || id.kind === 'ClusterRoleBinding';
  if (isBinding && Array.isArray(resource.object.subjects)) {
    // Other service accounts follow as references do; `default` is an object nobody writes.
    for (const subject of resource.object.subjects as readonly unknown[]) {
      if (!isMap(subject) || isKept(subject.namespace)) continue;
      const isMeant =
        subjects === 'defaultOnly' ? subject.name === 'default' : subjects === 'allServiceAccounts' && subject.kind === 'ServiceAccount';
      if (isMeant) subject.namespace = namespace;
    }
  }
  for (const field of fields) {
    if (field.path === 'metadata/namespace') continue;
    // The Namespace itself is renamed along; `v1` alone has that kind.
    if (field.path === 'metadata/name' && resource.object.apiVersion !== 'v1') continue;
    if (isBinding && field.path === 'subjects/namespace' && (field.kind === 'RoleBinding' || field.kind === 'ClusterRoleBinding')) continue;
    visitField(resource, field, {
      make: 'scalar',
      visit(value, replace) {
        if (!isKept(value)) setScalar(namespace)(value, replace);
      },
    });
  }
}

export function addPrefix(resources: readonly Resource[], prefix: string, fields: readonly FieldSpec[]): void {
  changeNames(resources, fields, { note: ({ prefixes }) => void prefixes.push(prefix), change: (text) => prefix + text });
}

export function addSuffix(resources: readonly Resource[], suffix: string, fields: readonly FieldSpec[]): void {
  changeNames(resources, fields, { note: ({ suffixes }) => void suffixes.push(suffix), change: (text) => text + suffix });
}

function changeNames(
  resources: readonly Resource[],
  fields: readonly FieldSpec[],
  { note, change }: { note(resource: Resource): void; change(text: string): string },
): void {
  for (const resource of nameable(resources)) {
    for (const field of fields) {
      if (!isSelected(currentId(resource), field)) continue;
      if (field.path === 'metadata/name') {
        note(resource);
        rename(resource, change);
      } else {
        visitField(resource, field, {
          make: 'scalar',
          visit: (value, replace) => setScalar(change(typeof value === 'object' ? '' : String(value)))(value, replace),
        });
      }
    }
  }
}

const nameable = (resources: readonly Resource[]): readonly Resource[] =>
  resources.filter((resource) => !fixedNames.some((kind) => isSelected(originalId(resource), kind)));

function rename(resource: Resource, change: (name: string) => string): void {
  rememberId(resource);
  metadataOf(resource).name = change(currentId(resource).name);
}

/** Gives generated objects a name that ends in a hash of their content. */
export function addHashes(resources: readonly Resource[]): void {
  for (const resource of resources) {
    if (!resource.needsHash) continue;
    const hash = contentHash(resource);
    rename(resource, (name) => `${name}-${hash}`);
  }
}

type Pairs = Readonly<Record<string, string>>;

/** Labels or annotations. */
export function setEntries(resources: readonly Resource[], pairs: Pairs, specs: readonly FieldSpec[]): void {
  const entries = Object.entries(pairs);
  spend(resources.length * specs.length);
  for (const resource of resources) {
    const id = currentId(resource);
    const selected = specs.filter((spec) => isSelected(id, spec));
    for (const [key, value] of entries) {
      const made: JsonMap[] = [];
      for (const spec of selected) visitField(resource, spec, { make: 'map', visit: setEntry(key, value, made) });
      linkMembers(made, key);
    }
  }
}

/** A field that a value is put into. */
export interface ValueTarget {
  /** Undefined: every object. */
  readonly selector: TargetSelector | undefined;
  /** `spec/template/spec/containers/[name=web]/image` */
  readonly fieldPath: string;
  /** Counted from 1, the place in the path of files that the field holds; 0 puts the value in place of what is there. */
  readonly position: number;
}

export function addValue(resources: readonly Resource[], value: string, { selector, fieldPath, position }: ValueTarget): void {
  const parts = splitPath(fieldPath, '/');
  for (const resource of selector === undefined ? resources : select(resources, selector)) {
    if (fieldPath === 'metadata/namespace') {
      moveObject(resource, { namespace: value }, []);
      continue;
    }
    for (const place of findPlaces(resource.object, parts, '')) {
      if (typeof place.value === 'object' && place.value !== null) throw new TransformError(`field ${fieldPath} holds no single value`);
      place.replace(resolveScalar(position === 0 ? value : insertPart(textOfScalar(place.value), position - 1, value)));
    }
  }
}

/** A path of files with one more part; one that is absolute stays so. */
function insertPart(path: string, index: number, part: string): string {
  const isAbsolute = path.startsWith('/');
  const parts = path.split('/').filter((each) => each !== '');
  parts.splice(index, 0, part);
  return `${isAbsolute ? '/' : ''}${parts.join('/')}`;
}

export function setReplicas(
  resources: readonly Resource[],
  { name, count }: { readonly name: string; readonly count: number },
  fields: readonly FieldSpec[],
): void {
  let found = false;
  spend(fields.length * resources.length);
  for (const field of fields) {
    for (const resource of resources) {
      const ids = [...previousIds(resource), currentId(resource)];
      if (!ids.some((id) => id.name === name && isSelected(id, field))) continue;
      found = true;
      visitField(resource, field, { make: 'scalar', visit: setScalar(count) });
    }
  }
  if (!found) {
    const kinds = fields.map(({ kind }) => `${kind}.[noVer].[noGrp]`).join(' ');
    throw new TransformError(`resource with name ${name} does not match a config with the following GVK [${kinds}]`);
  }
}

/**
 * Images of every list `containers` and `initContainers`, anywhere in an object. Those of pods and templates are
 * changed once more, as kustomize does, which shows with a suffix.
 */
export function setImage(resources: readonly Resource[], rule: ImageRule, fields: readonly FieldSpec[]): void {
  const pattern = safePattern(`^${rule.name}(:[a-zA-Z0-9_.{}-]*)?(@sha256:[a-zA-Z0-9_.{}-]*)?$`);
  const change = (image: string): string => (pattern.test(image) ? changedImage(image, rule) : image);
  const isWanted = ({ object }: Resource): boolean => object.kind !== 'CustomResourceDefinition';
  for (const resource of resources.filter(isWanted)) {
    setImages(resource.object, change);
    for (const field of fields) {
      if (rule.tagSuffix === '' && imageFields.includes(field)) continue;
      visitField(resource, field, { visit: (value, replace) => (typeof value === 'string' ? replace(change(value)) : undefined) });
    }
  }
}

function setImages(value: unknown, change: (image: string) => string): void {
  spend(1);
  if (Array.isArray(value)) for (const item of value) setImages(item, change);
  else if (isMap(value)) {
    for (const [key, child] of Object.entries(value)) {
      setImages(child, change);
      if ((key !== 'containers' && key !== 'initContainers') || !Array.isArray(child)) continue;
      for (const container of child as readonly unknown[]) {
        if (isMap(container) && typeof container.image === 'string') container.image = change(container.image);
      }
    }
  }
}

function changedImage(image: string, { newName, newTag, digest, tagSuffix }: ImageRule): string {
  const parts = splitImage(image);
  const name = newName || parts.name;
  if (newTag !== '' || digest !== '') return joinImage(name, newTag, digest);
  return tagSuffix === '' ? joinImage(name, parts.tag, parts.digest) : joinImage(name, parts.tag + tagSuffix, '');
}

const joinImage = (name: string, tag: string, digest: string): string =>
  `${name}${tag === '' ? '' : `:${tag}`}${digest === '' ? '' : `@${digest}`}`;

/** A colon before the first slash belongs to the registry's port. */
function splitImage(image: string): { readonly name: string; readonly tag: string; readonly digest: string } {
  const slash = Math.max(image.indexOf('/'), 0);
  const at = image.indexOf('@', slash);
  const name = at === -1 ? image : image.slice(0, at);
  const digest = at === -1 ? '' : image.slice(at + 1);
  const colon = name.indexOf(':', slash);
  return colon === -1 ? { name, tag: '', digest } : { name: name.slice(0, colon), tag: name.slice(colon + 1), digest };
}

export function setOwnLabel({ object }: Resource, key: string, value: string): void {
  const metadata = object.metadata as JsonMap;
  metadata.labels = { ...(isMap(metadata.labels) ? metadata.labels : {}), [key]: value };
}
