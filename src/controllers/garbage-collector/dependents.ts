import type { KubeObject } from '../../machinery/object.ts';

/** Finds an object again: the id of its resource and its key. */
export interface ObjectId {
  readonly resource: string;
  readonly key: string;
  readonly uid: string;
}

/**
 * Index of dependents by the uid of their owner, kept by events. It holds only objects with owners. The caches answer
 * whether an owner exists, so the graph needs no node for the rest of the cluster.
 */
export interface Dependents {
  set(id: ObjectId, before: KubeObject | undefined, after: KubeObject): void;
  delete(id: ObjectId, object: KubeObject): void;
  /** Objects that name this uid as owner. */
  of(ownerUid: string): Iterable<ObjectId>;
}

export function createDependents(): Dependents {
  const byOwner = new Map<string, Map<string, ObjectId>>();

  function add(owner: string, id: ObjectId): void {
    const known = byOwner.get(owner);
    if (known === undefined) byOwner.set(owner, new Map([[id.uid, id]]));
    else known.set(id.uid, id);
  }

  function remove(owner: string, uid: string): void {
    const known = byOwner.get(owner);
    if (known === undefined) return;
    known.delete(uid);
    if (known.size === 0) byOwner.delete(owner);
  }

  return {
    set(id, before, after) {
      const was = before?.metadata.ownerReferences;
      const is = after.metadata.ownerReferences;
      if (before !== undefined && was === is) return;
      for (const { uid } of was ?? []) if (!(is ?? []).some((owner) => owner.uid === uid)) remove(uid, id.uid);
      for (const { uid } of is ?? []) add(uid, id);
    },
    delete(id, object) {
      for (const { uid } of object.metadata.ownerReferences ?? []) remove(uid, id.uid);
    },
    of: (ownerUid) => byOwner.get(ownerUid)?.values() ?? [],
  };
}
