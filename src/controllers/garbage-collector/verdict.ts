import { finalizers } from '../../api/well-known.ts';
import type { KubeObject, OwnerReference } from '../../machinery/object.ts';

/** State of the object that an owner reference names. */
export type OwnerState = 'solid' | 'dangling' | 'waiting-for-dependents' | 'unknown-kind';

export type PropagationPolicy = 'Foreground' | 'Background' | 'Orphan';

/** Decision about an object that nobody has deleted. */
export type Verdict =
  | { readonly action: 'keep' }
  /** An owner has a kind that is not known, or is not known now. */
  | { readonly action: 'wait' }
  | { readonly action: 'drop-owners'; readonly lost: readonly OwnerReference[] }
  | { readonly action: 'delete'; readonly propagationPolicy: PropagationPolicy };

export interface VerdictFacts {
  /** By uid; each owner of the object has an entry. */
  readonly ownerStates: ReadonlyMap<string, OwnerState>;
  readonly hasDependents: boolean;
}

/**
 * An object goes when it had owners and none of them is left, and loses the references to lost ones while another is left.
 *
 * An object that cannot be judged counts as existing: deletion is the one mistake that cannot be undone.
 */
export function verdictOf(object: KubeObject, { ownerStates, hasDependents }: VerdictFacts): Verdict {
  const owners = object.metadata.ownerReferences ?? [];
  if (owners.length === 0) return { action: 'keep' };
  const isAny = (state: OwnerState): boolean => owners.some(({ uid }) => ownerStates.get(uid) === state);
  if (isAny('unknown-kind')) return { action: 'wait' };
  if (isAny('solid')) {
    const lost = owners.filter(({ uid }) => ownerStates.get(uid) !== 'solid');
    return lost.length === 0 ? { action: 'keep' } : { action: 'drop-owners', lost };
  }
  const isForeground = hasDependents && isAny('waiting-for-dependents');
  return { action: 'delete', propagationPolicy: isForeground ? 'Foreground' : requestedPolicyOf(object) };
}

/** The finalizer records the way of deletion that a client requested. */
function requestedPolicyOf(object: KubeObject): PropagationPolicy {
  if (hasFinalizer(object, finalizers.orphan)) return 'Orphan';
  return hasFinalizer(object, finalizers.foregroundDeletion) ? 'Foreground' : 'Background';
}

export const hasFinalizer = ({ metadata }: KubeObject, finalizer: string): boolean => metadata.finalizers?.includes(finalizer) === true;

/** It is being deleted, after its dependents. */
export const isDeletingForeground = (object: KubeObject): boolean =>
  object.metadata.deletionTimestamp !== undefined && hasFinalizer(object, finalizers.foregroundDeletion);

/** Longer chains of owners are no cycle that anybody made by mistake. */
const maxAncestors = 1_000;

/** True when the uid is that of an owner of `object`, or of an owner of one. In a cycle this is so for its own uid, too. */
export function isBelow(
  object: KubeObject,
  uid: string,
  findOwner: (owner: OwnerReference, dependent: KubeObject) => { readonly object: KubeObject } | undefined,
): boolean {
  const seen = new Set<string>();
  const waiting: KubeObject[] = [object];
  for (let next = waiting.pop(); next !== undefined && seen.size < maxAncestors; next = waiting.pop()) {
    for (const owner of next.metadata.ownerReferences ?? []) {
      if (owner.uid === uid) return true;
      if (seen.has(owner.uid)) continue;
      seen.add(owner.uid);
      const found = findOwner(owner, next);
      if (found !== undefined) waiting.push(found.object);
    }
  }
  return false;
}
