import { FieldError, type FieldSpec, visitField } from './field-spec.ts';
import { type NameReference, nameReferences } from './field-specs.ts';
import {
  currentId,
  describeId,
  effectiveNamespace,
  isClusterScoped,
  isMap,
  isSelected,
  type JsonMap,
  originalId,
  previousIds,
  type Resource,
  type ResourceId,
} from './resource.ts';
import { spend } from './work.ts';

/**
 * Gives every reference the present name of the object it meant. Prefixes, suffixes, hashes and namespaces change names,
 * and each object remembers its former names.
 *
 * @throws FieldError when a name could mean several objects
 */
export function fixReferences(
  resources: readonly Resource[],
  references: readonly NameReference[],
  onError: (resource: Resource, err: FieldError) => never,
): void {
  const fieldsByKind = references === nameReferences ? builtInIndex() : indexByKind(references);
  const byOldName = indexByOldName(resources);
  for (const referrer of resources) {
    if (hasBlankSubject(referrer)) onError(referrer, new FieldError('namespace is blank in subjects'));
    for (const { target, field } of [...(fieldsByKind.get(originalId(referrer).kind) ?? []), ...(fieldsByKind.get('') ?? [])]) {
      if (!isSelected(originalId(referrer), field)) continue;
      const fixer = new Fixer({ referrer, target, field, byOldName });
      try {
        // The object's kind may have changed since; the field is looked for in what it is now.
        visitField(referrer, { path: field.path }, { visit: (value, replace) => fixer.fix(value, replace) });
      } catch (err) {
        if (!(err instanceof FieldError)) throw err;
        onError(referrer, err);
      }
    }
  }
}

function indexByOldName(resources: readonly Resource[]): ReadonlyMap<string, readonly Resource[]> {
  const index = new Map<string, Resource[]>();
  for (const resource of resources) {
    for (const name of new Set(resource.previous.map((id) => id.name))) {
      const list = index.get(name);
      if (list === undefined) index.set(name, [resource]);
      else list.push(resource);
    }
  }
  return index;
}

interface ReferenceField {
  readonly target: NameReference;
  readonly field: FieldSpec;
}

/** Fields by the kind that has them; those of any kind by the empty one. */
type FieldsByKind = ReadonlyMap<string, readonly ReferenceField[]>;

let builtIn: FieldsByKind | undefined;

function builtInIndex(): FieldsByKind {
  builtIn ??= indexByKind(nameReferences);
  return builtIn;
}

function indexByKind(references: readonly NameReference[]): FieldsByKind {
  const index = new Map<string, ReferenceField[]>();
  for (const target of references) {
    for (const field of target.fields) {
      const list = index.get(field.kind ?? '');
      if (list === undefined) index.set(field.kind ?? '', [{ target, field }]);
      else list.push({ target, field });
    }
  }
  return index;
}

interface FixerOptions extends ReferenceField {
  readonly referrer: Resource;
  readonly byOldName: ReadonlyMap<string, readonly Resource[]>;
}

class Fixer {
  readonly #options: FixerOptions;

  constructor(options: FixerOptions) {
    this.#options = options;
  }

  fix(value: unknown, replace: (value: unknown) => void): void {
    if (value === null || value === undefined) return;
    if (Array.isArray(value)) {
      for (const [index, item] of value.entries()) {
        this.fix(item, (other) => {
          value[index] = other;
        });
      }
    } else if (isMap(value)) this.#fixMap(value);
    else this.#fixName(String(value), replace);
  }

  #fixName(name: string, replace: (value: unknown) => void): void {
    const found = this.#find(name, undefined, ({ name: other }) => other);
    if (found === undefined) return;
    const current = currentId(found);
    if (current.name !== name) replace(current.name);
  }

  /** A reference with `name` and `namespace`, as subjects and webhooks have. */
  #fixMap(reference: JsonMap): void {
    if (!Object.hasOwn(reference, 'name')) throw new FieldError("path config error; no 'name' field in node");
    const name = String(reference.name);
    const namespace = typeof reference.namespace === 'string' ? reference.namespace : undefined;
    const found = this.#find(name, namespace, (id) => `${id.namespace}/${id.name}`);
    if (found === undefined) return;
    const current = currentId(found);
    if (current.name === name && current.namespace === '') return;
    reference.name = current.name;
    if (current.namespace !== '') reference.namespace = current.namespace;
  }

  #find(name: string, namespace: string | undefined, identity: (id: ResourceId) => string): Resource | undefined {
    const { referrer, target, byOldName } = this.#options;
    const named = byOldName.get(name) ?? [];
    spend(named.length);
    let candidates = named.filter(
      (resource) =>
        this.#isReachable(resource) &&
        previousIds(resource).some((id) => id.name === name) &&
        previousIds(resource).some((id) => isSelected(id, target)) &&
        this.#fitsRole(resource),
    );
    if (namespace !== undefined) {
      const original = candidates.filter((resource) => effectiveNamespace(originalId(resource)) === namespace);
      candidates = original.length > 0 ? original : candidates.filter((resource) => effectiveNamespace(currentId(resource)) === namespace);
    }
    if (candidates.length > 1) candidates = candidates.filter((resource) => sameContext(resource, referrer, true));
    if (candidates.length > 1) candidates = candidates.filter((resource) => sameContext(resource, referrer, false));
    const [first, ...others] = candidates;
    if (first === undefined) return undefined;
    const chosen = identity(currentId(first));
    if (others.some((resource) => identity(currentId(resource)) !== chosen)) {
      throw new FieldError(
        `found multiple possible referrals: ${candidates.map((resource) => describeId(currentId(resource))).join(', ')}`,
      );
    }
    return first;
  }

  /** Objects of another namespace cannot be meant, but for service accounts that a role binding names. */
  #isReachable(resource: Resource): boolean {
    const referrer = currentId(this.#options.referrer);
    const id = currentId(resource);
    if (isClusterScoped(referrer) || isClusterScoped(id)) return true;
    if (effectiveNamespace(referrer) === effectiveNamespace(id)) return true;
    return id.kind === 'ServiceAccount' && this.#subjectNamespaces().has(id.namespace);
  }

  #subjectNamespaces(): ReadonlySet<string> {
    const { object } = this.#options.referrer;
    if (object.kind !== 'RoleBinding' || !Array.isArray(object.subjects)) return new Set();
    return new Set(
      object.subjects.flatMap((subject) =>
        isMap(subject) && subject.kind === 'ServiceAccount' && typeof subject.namespace === 'string' ? [subject.namespace] : [],
      ),
    );
  }

  /** A role binding says whether it means a Role or a ClusterRole. */
  #fitsRole(resource: Resource): boolean {
    const { field, referrer } = this.#options;
    if (!field.path.endsWith('roleRef/name') || !isMap(referrer.object.roleRef)) return true;
    const { apiGroup, kind } = referrer.object.roleRef;
    if (typeof apiGroup !== 'string' || typeof kind !== 'string') return true;
    return previousIds(resource).some((id) => isSelected(id, { group: apiGroup, kind }));
  }
}

/** A `namespace:` without a value is no namespace, and no text that could be one. */
function hasBlankSubject({ object }: Resource): boolean {
  if (object.kind !== 'RoleBinding' || !Array.isArray(object.subjects)) return false;
  return object.subjects.some((subject) => isMap(subject) && subject.kind === 'ServiceAccount' && subject.namespace === null);
}

/** True when two objects went through the same prefixes and suffixes, and so come from the same place. */
function sameContext(a: Resource, b: Resource, allowEmpty: boolean): boolean {
  const same = (left: readonly string[], right: readonly string[]): boolean =>
    (allowEmpty && (left.length === 0 || right.length === 0)) || haveSameEnd(left, right);
  return same(a.prefixes, b.prefixes) && same(a.suffixes, b.suffixes);
}

function haveSameEnd(a: readonly string[], b: readonly string[]): boolean {
  const length = Math.min(a.length, b.length);
  if (length === 0) return a.length === b.length;
  return a.slice(-length).every((value, index) => value === b.slice(-length)[index]);
}
