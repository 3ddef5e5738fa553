import type { Client } from '../client/client.ts';
import type { Informer } from '../client/informer.ts';
import { controllerOf, type KubeObject, keyOf, type OwnerReference } from '../machinery/object.ts';
import { apiVersionOf, type Resource } from '../machinery/resource.ts';
import type { LabelSelector } from '../machinery/selector.ts';
import { isInvalid, isNotFound } from '../machinery/status-error.ts';

/** Names of the indexes that `indexByOwner` defines. */
const byController = 'controller-uid';
const orphans = 'orphan-namespace';

/** The reference that makes `owner` the controller of what it creates. */
export function controllerReference(resource: Resource, owner: KubeObject): OwnerReference {
  return {
    apiVersion: apiVersionOf(resource),
    kind: resource.kind,
    name: owner.metadata.name,
    uid: owner.metadata.uid ?? '',
    controller: true,
    blockOwnerDeletion: true,
  };
}

/** Lets `ownedBy` and `claim` find objects without a scan. */
export function indexByOwner<T extends KubeObject>(informer: Informer<T>): void {
  informer.addIndex(byController, controllerUidsOf);
  informer.addIndex(orphans, orphanNamespaceOf);
}

/** Objects whose controller is `owner`; needs `indexByOwner`. */
export const ownedBy = <T extends KubeObject>(informer: Informer<T>, owner: KubeObject): readonly T[] =>
  informer.byIndex(byController, owner.metadata.uid ?? '');

/** Objects whose controller has this uid; needs `indexByOwner`. */
export const ownedByUid = <T extends KubeObject>(informer: Informer<T>, uid: string): readonly T[] => informer.byIndex(byController, uid);

/** Objects without a controller in the namespace; needs `indexByOwner`. */
export const orphansIn = <T extends KubeObject>(informer: Informer<T>, namespace: string | undefined): readonly T[] =>
  informer.byIndex(orphans, namespace ?? '');

/** The key of the object that controls `object`, when it is one of `resource`. */
export function controllerKeyOf(resource: Resource, object: KubeObject): string | undefined {
  const owner = controllerOf(object);
  if (owner === undefined || owner.kind !== resource.kind || owner.apiVersion !== apiVersionOf(resource)) return undefined;
  const { namespace } = object.metadata;
  return namespace === undefined ? owner.name : `${namespace}/${owner.name}`;
}

export interface ClaimOptions<T extends KubeObject> {
  readonly client: Client;
  readonly ownerResource: Resource;
  readonly owner: KubeObject;
  readonly selector: LabelSelector;
  readonly resource: Resource<T>;
  readonly informer: Informer<T>;
  /** Objects that may be adopted beside matching the selector. */
  readonly adoptable?: (object: T) => boolean;
  /** Put on what is adopted, and taken from what is released. */
  readonly finalizer?: string;
  readonly signal: AbortSignal;
}

/**
 * Adopts orphans that match the selector and releases owned objects that no longer do. Gives true when something was written: the
 * cache will show it, and the next pass goes on from there. A pass that went on would not count what it has adopted.
 *
 * Before adopting, the owner is read from the server: a cache that has not seen its deletion must not adopt for the dead.
 */
export async function claim<T extends KubeObject>(options: ClaimOptions<T>): Promise<boolean> {
  const { client, owner, selector, informer, signal } = options;
  if (owner.metadata.deletionTimestamp !== undefined) return false;
  const adopt = orphansIn(informer, owner.metadata.namespace).filter(
    (orphan) =>
      orphan.metadata.deletionTimestamp === undefined &&
      selector.matches(orphan.metadata.labels) &&
      (options.adoptable === undefined || options.adoptable(orphan)),
  );
  const release = ownedBy(informer, owner).filter(
    (owned) => owned.metadata.deletionTimestamp === undefined && !selector.matches(owned.metadata.labels),
  );
  if (adopt.length === 0 && release.length === 0) return false;
  let hasWritten = false;
  if (adopt.length > 0) {
    const live = await client.get(options.ownerResource, { namespace: owner.metadata.namespace, name: owner.metadata.name }, { signal });
    if (live.metadata.uid !== owner.metadata.uid) throw new Error(`${keyOf(owner)} was replaced while it adopted`);
    if (live.metadata.deletionTimestamp !== undefined) return false;
    const reference = controllerReference(options.ownerResource, owner);
    for (const orphan of adopt) {
      if (await patchOwners(options, orphan, [...(orphan.metadata.ownerReferences ?? []), reference])) hasWritten = true;
    }
  }
  for (const owned of release) {
    const others = (owned.metadata.ownerReferences ?? []).filter(({ uid }) => uid !== owner.metadata.uid);
    if (await patchOwners(options, owned, others)) hasWritten = true;
  }
  return hasWritten;
}

/** False when the object is gone. */
async function patchOwners<T extends KubeObject>(
  { client, resource, finalizer, signal }: ClaimOptions<T>,
  object: T,
  ownerReferences: readonly OwnerReference[],
): Promise<boolean> {
  const { namespace, name, uid, resourceVersion, finalizers = [] } = object.metadata;
  const isAdopted = ownerReferences.length > (object.metadata.ownerReferences ?? []).length;
  const others = finalizers.filter((present) => present !== finalizer);
  const kept = finalizer !== undefined && isAdopted ? [...others, finalizer] : others;
  const body = {
    metadata: {
      uid,
      resourceVersion,
      ownerReferences: ownerReferences.length === 0 ? null : ownerReferences,
      ...(kept.length === finalizers.length ? {} : { finalizers: kept.length === 0 ? null : kept }),
    },
  };
  try {
    await client.patch(resource, { namespace, name }, { type: 'merge', body }, { signal });
    return true;
  } catch (err) {
    // Gone, or another object of that name by now: nothing left to adopt or release. No event of the owner's would follow.
    if (!isNotFound(err) && !isInvalid(err)) throw err;
    return false;
  }
}

function controllerUidsOf(object: KubeObject): readonly string[] {
  const uid = controllerOf(object)?.uid;
  return uid === undefined ? none : [uid];
}

function orphanNamespaceOf(object: KubeObject): readonly string[] {
  return controllerOf(object) === undefined ? [object.metadata.namespace ?? ''] : none;
}

const none: readonly string[] = [];
