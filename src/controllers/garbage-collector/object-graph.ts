import { finalizers } from '../../api/well-known.ts';
import { type KubeObject, keyOf } from '../../machinery/object.ts';
import { groupResourceOf } from '../../machinery/resource.ts';
import { createDependents, type ObjectId } from './dependents.ts';
import type { FollowedResources } from './followed-resources.ts';
import { hasFinalizer, isDeletingForeground } from './verdict.ts';

/** Owners and their dependents, kept by events. It says which objects the collector has to judge after a change. */
export interface ObjectGraph {
  /** Takes in a change of the cache, and calls `enqueue` for each object whose verdict it may turn. */
  observe(resource: string, change: { readonly before?: KubeObject; readonly after?: KubeObject }): void;
  /** Objects that name this uid as owner. */
  dependentsOf(ownerUid: string): Iterable<ObjectId>;
  hasDependents(ownerUid: string): boolean;
}

export interface ObjectGraphOptions {
  readonly findOwner: FollowedResources['findOwner'];
  enqueue(id: ObjectId): void;
  /** The cache lost an object; its uid never comes back. */
  onGone(uid: string): void;
}

export function createObjectGraph({ findOwner, enqueue, onGone }: ObjectGraphOptions): ObjectGraph {
  const dependents = createDependents();

  function onDeleted(id: ObjectId, object: KubeObject): void {
    dependents.delete(id, object);
    onGone(id.uid);
    for (const dependent of dependents.of(id.uid)) enqueue(dependent);
    enqueueWaitingOwners(object);
  }

  function onWritten(id: ObjectId, before: KubeObject | undefined, after: KubeObject): void {
    dependents.set(id, before, after);
    const { ownerReferences, deletionTimestamp } = after.metadata;
    if (deletionTimestamp !== undefined) {
      if (isDeletingForeground(after)) {
        enqueue(id);
        for (const dependent of dependents.of(id.uid)) enqueue(dependent);
      } else if (hasFinalizer(after, finalizers.orphan)) enqueue(id);
    }
    if (ownerReferences === undefined || (before !== undefined && before.metadata.ownerReferences === ownerReferences)) return;
    // Owners that are in the cache are the common case and cost a look-up; all others have to be asked for.
    if (ownerReferences.some((owner) => findOwner(owner, after) === undefined)) enqueue(id);
    if (before !== undefined) enqueueWaitingOwners(before);
  }

  /** Owners that wait for their dependents look again when one of them goes. */
  function enqueueWaitingOwners(object: KubeObject): void {
    for (const reference of object.metadata.ownerReferences ?? []) {
      const owner = findOwner(reference, object);
      if (owner !== undefined && isDeletingForeground(owner.object)) enqueue(idOf(groupResourceOf(owner.resource), owner.object));
    }
  }

  return {
    observe(resource, { before, after }) {
      if (after !== undefined) onWritten(idOf(resource, after), before, after);
      else if (before !== undefined) onDeleted(idOf(resource, before), before);
    },
    dependentsOf: (ownerUid) => dependents.of(ownerUid),
    hasDependents(ownerUid) {
      for (const _ of dependents.of(ownerUid)) return true;
      return false;
    },
  };
}

const idOf = (resource: string, object: KubeObject): ObjectId => ({ resource, key: keyOf(object), uid: object.metadata.uid ?? '' });
