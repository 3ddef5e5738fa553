import type { Kustomization } from '../../../api/kustomize/v1/kustomization.ts';
import { annotations } from '../../../api/well-known.ts';
import type { DynamicObject, ManagedFieldsEntry } from '../../../machinery/object.ts';
import {
  childOf,
  difference,
  elementsOf,
  type FieldSet,
  fieldSetFrom,
  isMember,
  type MaybeFieldSet,
  nodeOf,
  union,
} from '../../../machinery/structured-merge/field-set.ts';
import { type FieldPath, fieldManager, ownEntryOf, valueAt } from '../objects/fields.ts';
import { isIgnored, type Pointer } from '../objects/ignored-fields.ts';
import { type ObjectPolicy, policyOf } from '../objects/object-policy.ts';
import type { DesiredObject } from '../plan/plan.ts';

/**
 * Decides if fields of a manager become the app's, so that an apply removes those that Git does not have. Fields of
 * people and of former appliers do. Fields of all other managers (operators, webhooks, autoscalers) stay theirs.
 *
 * Flux does the same before each apply, with two differences. A restart that `kubectl rollout restart` asked for stays,
 * and so do annotations and labels by which people speak to the engine.
 *
 * @see https://fluxcd.io/flux/faq/#why-are-kubectl-edits-rolled-back-by-flux
 */
export type IsOverridden = (manager: string) => boolean;

/** A person with kubectl, and what the API server calls writers of before the first apply. */
export const isPerson: IsOverridden = (manager) => manager.startsWith('kubectl') || manager === 'before-first-apply';

/** Those that applied an object before the app did. Their names are compared as a whole: `helm` is not `helm-operator`. */
const formerAppliers: ReadonlySet<string> = new Set([
  'kustomize-controller',
  'helm',
  'helm-controller',
  'argocd-controller',
  'argocd-application-controller',
]);

/** @param more  names beyond the usual ones, each as a whole */
export function overriddenBy(more: readonly string[] = []): IsOverridden {
  const names = new Set([...formerAppliers, ...more]);
  return (manager) => isPerson(manager) || names.has(manager);
}

/** Decides whose fields become the app's on one object. */
export interface TakeoverRules {
  /** The object of the manifest. */
  readonly object: DynamicObject;
  /** Fields that others may have, by `spec.ignore` and autoscalers. */
  readonly pointers: readonly Pointer[];
  /** Fields that the server did not let go when they were taken over before. */
  readonly refused?: FieldSet | undefined;
  readonly isTaken: IsOverridden;
}

/** @param live  undefined: only what Git says counts */
export function takeoverRules(options: {
  readonly app: Kustomization;
  readonly desired: DesiredObject;
  readonly live: DynamicObject | undefined;
  readonly pointers: readonly Pointer[];
  readonly refused?: FieldSet | undefined;
  readonly isOverridden: IsOverridden;
}): TakeoverRules {
  const { app, desired, live, pointers, refused, isOverridden } = options;
  const { object, policy } = desired;
  const isMerged = policy.isMerged || (live !== undefined && policyOf(live).isMerged);
  const isTaken = isMerged ? () => false : failsOnConflict(app, policy) ? isPerson : isOverridden;
  return { object, pointers, refused, isTaken };
}

/** Fields of other programs are not taken, which is an error instead. */
export const failsOnConflict = ({ metadata }: Kustomization, policy: ObjectPolicy): boolean =>
  policy.failsOnConflict ?? metadata.annotations?.[annotations.onConflict] === 'fail';

/** One field that another manager added: the field, or the list item that it came with. */
export interface Addition {
  readonly path: FieldPath;
  readonly manager: string;
}

/** True when an object has an entry whose fields may be the app's: most have none, and cost no more than this. */
export const hasOverridden = ({ metadata }: DynamicObject, isOverridden: IsOverridden): boolean =>
  metadata.managedFields?.some(({ manager = '', subresource = '' }) => subresource === '' && isOverridden(manager)) === true;

/** Additions that are named of one object. */
const maxAdditions = 5;

/** Additions of overridden managers, which an apply removes. Costs a look at the entries' names when there are none. */
export function additionsIn(live: DynamicObject, own: object | undefined, rules: TakeoverRules): readonly Addition[] {
  const found: Addition[] = [];
  for (const entry of live.metadata.managedFields ?? []) {
    if (isTaken(entry, rules)) addTo(found, entry, { added: difference(takenOf(entry, rules), fieldSetFrom(own)), own });
  }
  return found;
}

/** Additions of all other managers, which stay; not those of the cluster's own controllers and of the engine's commands. */
export function additionsOfOthers(live: DynamicObject, own: object | undefined, isOverridden: IsOverridden): readonly Addition[] {
  const found: Addition[] = [];
  for (const entry of live.metadata.managedFields ?? []) {
    const { manager = '', subresource = '' } = entry;
    if (subresource !== '' || isOverridden(manager) || isOfCluster(manager)) continue;
    addTo(found, entry, { added: difference(fieldSetFrom(entry.fieldsV1), fieldSetFrom(own)), own });
  }
  return found;
}

const clusterManagers: ReadonlySet<string> = new Set([
  'kube-controller-manager',
  'cloud-controller-manager',
  'kube-scheduler',
  'kube-apiserver',
  'kubelet',
]);
const isOfCluster: IsOverridden = (manager) => clusterManagers.has(manager) || manager.startsWith(fieldManager);

export interface Folded {
  /** As they are to be written. */
  readonly managedFields: readonly ManagedFieldsEntry[];
  /** Fields that become the app's. */
  readonly taken: FieldSet;
  /** Managers that had them. */
  readonly managers: readonly string[];
}

/**
 * `managedFields` with the fields of overridden managers in the engine's own entry; undefined when there is nothing to take over. The
 * apply that follows removes those that Git does not say, unless another manager owns them, too.
 */
export function foldOwners(live: DynamicObject, rules: TakeoverRules): Folded | undefined {
  const entries = live.metadata.managedFields ?? [];
  if (!entries.some((entry) => isTaken(entry, rules))) return undefined;
  const own = ownEntryOf(live);
  const version = own?.apiVersion ?? rules.object.apiVersion;
  const others: ManagedFieldsEntry[] = [];
  const managers = new Set<string>();
  let taken: MaybeFieldSet;
  for (const entry of entries) {
    if (entry === own) continue;
    const all = isTaken(entry, rules) ? takenOf(entry, rules) : undefined;
    // Paths of another version are those of this one where the object has them; an unknown field would make every apply fail.
    const part = entry.apiVersion === version ? all : presentIn(live, all);
    if (part === undefined) {
      others.push(entry);
      continue;
    }
    taken = union(taken, part);
    managers.add(entry.manager ?? '');
    const rest = difference(fieldSetFrom(entry.fieldsV1), all);
    if (rest !== undefined) others.push({ ...entry, fieldsV1: rest });
  }
  if (taken === undefined) return undefined;
  const fieldsV1 = union(fieldSetFrom(own?.fieldsV1), taken);
  const time = own?.time ?? entries[0]?.time;
  const folded: ManagedFieldsEntry = {
    manager: fieldManager,
    operation: 'Apply',
    apiVersion: version,
    ...(time === undefined ? {} : { time }),
    fieldsType: 'FieldsV1',
    ...(fieldsV1 === undefined ? {} : { fieldsV1 }),
  };
  return { managedFields: [...others, folded], taken, managers: [...managers] };
}

/** Predicts the object that the apply after a takeover leaves: without fields that Git does not say and nobody else owns. */
export function withoutTaken(applied: DynamicObject, { taken, managedFields }: Folded): DynamicObject {
  let gone = difference(taken, fieldSetFrom(ownEntryOf(applied)?.fieldsV1));
  for (const { manager, fieldsV1 } of managedFields) if (manager !== fieldManager) gone = difference(gone, fieldSetFrom(fieldsV1));
  return gone === undefined ? applied : (without(applied, gone) as DynamicObject);
}

function without(value: unknown, gone: FieldSet): unknown {
  if (Array.isArray(value)) {
    let items: readonly unknown[] = value;
    for (const element of elementsOf(gone)) {
      const below = childOf(gone, element);
      const item = valueAt(items, [element]);
      if (below === undefined || item === undefined) continue;
      items = isMember(below) ? items.filter((each) => each !== item) : items.map((each) => (each === item ? without(each, below) : each));
    }
    return items;
  }
  if (typeof value !== 'object' || value === null) return value;
  const result: Record<string, unknown> = { ...value };
  for (const element of elementsOf(gone)) {
    const name = element.slice(2);
    const below = childOf(gone, element);
    if (below === undefined || !Object.hasOwn(result, name)) continue;
    if (elementsOf(below).length === 0) delete result[name];
    else result[name] = without(result[name], below);
  }
  return result;
}

function isTaken({ manager = '', subresource = '' }: ManagedFieldsEntry, rules: TakeoverRules): boolean {
  return subresource === '' && rules.isTaken(manager);
}

/** Leaves out the fields that stay with their owner, and the members above them: an owner keeps the map that holds its field. */
function takenOf(entry: ManagedFieldsEntry, rules: TakeoverRules): MaybeFieldSet {
  const stayingIn = (node: FieldSet, path: FieldPath): MaybeFieldSet => {
    if (path.length > 0 && stays(entry, path, rules)) return node;
    const children = elementsOf(node).flatMap((element): readonly [string, FieldSet][] => {
      const below = childOf(node, element);
      const staying = below === undefined ? undefined : stayingIn(below, [...path, element]);
      return staying === undefined ? [] : [[element, staying]];
    });
    return children.length === 0 ? undefined : nodeOf(isMember(node), [...children]);
  };
  const all = fieldSetFrom(entry.fieldsV1);
  return all === undefined ? undefined : difference(all, stayingIn(all, []));
}

/** Annotations and labels with which people speak to the engine: a suspension, an approval, a request. */
const spokenPrefixes: readonly string[] = ['f:midship.dev/', 'f:kustomize.toolkit.fluxcd.io/', 'f:reconcile.fluxcd.io/'];

/** A single edit speaks to the engine; a whole manifest does not. */
const isSpoken = ({ manager = '', operation }: ManagedFieldsEntry): boolean =>
  operation === 'Update' && manager.startsWith('kubectl') && manager !== 'kubectl-client-side-apply';

function stays(entry: ManagedFieldsEntry, path: FieldPath, { object, pointers, refused }: TakeoverRules): boolean {
  const [first, second, third = ''] = path;
  const isRestart = path.at(-1) === `f:${annotations.restartedAt}` && path.at(-2) === 'f:annotations';
  const isKey = first === 'f:metadata' && path.length === 3 && (second === 'f:annotations' || second === 'f:labels');
  const speaks = isKey && isSpoken(entry) && spokenPrefixes.some((prefix) => third.startsWith(prefix));
  if ((isRestart || speaks) && valueAt(object, path) === undefined) return true;
  return isIgnored(object, path, pointers) || (refused !== undefined && isMember(nodeAt(refused, path)));
}

function nodeAt(set: FieldSet, path: FieldPath): MaybeFieldSet {
  let node: MaybeFieldSet = set;
  for (const segment of path) node = childOf(node, segment);
  return node;
}

/** The members of a set whose fields an object has. */
function presentIn(live: DynamicObject, set: MaybeFieldSet): MaybeFieldSet {
  const visit = (node: FieldSet, value: unknown, isRoot: boolean): MaybeFieldSet => {
    if (!isRoot && value === undefined) return undefined;
    const children = elementsOf(node).flatMap((element): readonly [string, FieldSet][] => {
      const below = childOf(node, element);
      const present = below === undefined ? undefined : visit(below, valueAt(value, [element]), false);
      return present === undefined ? [] : [[element, present]];
    });
    return nodeOf(!isRoot && isMember(node), [...children]);
  };
  return set === undefined ? undefined : visit(set, live, true);
}

/** Each member that has none below it, as the first list item on its way that is not ours, or else as itself. */
function addTo(
  found: Addition[],
  { manager = '' }: ManagedFieldsEntry,
  { added, own }: { readonly added: MaybeFieldSet; readonly own: object | undefined },
): void {
  const visit = (node: FieldSet, ours: unknown, path: FieldPath): void => {
    const last = path.at(-1) ?? '';
    const isItem = last.startsWith('k:') || last.startsWith('v:');
    const elements = elementsOf(node);
    if (elements.length === 0 || (isItem && ours === undefined)) {
      // A field that is ours as well was not added.
      if (ours === undefined && found.length < maxAdditions) found.push({ path, manager });
      return;
    }
    for (const element of elements) {
      const below = childOf(node, element);
      if (below !== undefined) visit(below, (ours as Readonly<Record<string, unknown>> | undefined)?.[element], [...path, element]);
    }
  };
  if (added !== undefined) visit(added, own, []);
}
