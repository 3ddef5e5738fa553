import { replicaSets } from '../../api/apps/v1/replica-set.ts';
import { type Pod, pods } from '../../api/core/v1/pod.ts';
import { untilAborted } from '../../base/concurrency.ts';
import type { InformerSet } from '../../client/informer.ts';
import { controllerOf, type DynamicObject, type KubeObject } from '../../machinery/object.ts';
import type { Resource } from '../../machinery/resource.ts';
import type { HealthView } from './health.ts';
import { addressOf, type ObjectId } from './object-id.ts';

/** An object of an app changed, or something its health depends on. */
export interface OwnedChange {
  readonly app: string;
  readonly id: ObjectId;
  /** Absent when it was deleted. */
  readonly object: DynamicObject | undefined;
  /** The object itself changed, not only its pods. */
  readonly direct: boolean;
}

/**
 * Follows the objects that apps own, by one informer for each kind, and tells which app a change concerns: for drift, health and
 * confirmed deletion. Costs nothing for an app whose objects do not change.
 */
export interface OwnedObjects extends HealthView {
  /** From now on `app` hears of the object. An address has one owner. */
  own(
    app: string,
    id: ObjectId,
    resource: Resource<DynamicObject>,
    ref: { readonly namespace?: string | undefined; readonly name: string },
  ): void;
  disown(app: string, resource: Resource<DynamicObject>, ref: { readonly namespace?: string | undefined; readonly name: string }): void;
  /** The app that owns what lives at this address. */
  ownerOf(resource: Resource, ref: { readonly namespace?: string | undefined; readonly name: string }): string | undefined;
  /** From the cache; undefined when it does not exist or the cache is not there yet. */
  live(
    resource: Resource<DynamicObject>,
    ref: { readonly namespace?: string | undefined; readonly name: string },
  ): DynamicObject | undefined;
  /** True when `live` can be believed for this kind. */
  isSynced(resource: Resource<DynamicObject>): boolean;
  /** Resolves when `live` can be believed for all of these kinds; rejects with the reason of `signal`. */
  waitForSync(resources: Iterable<Resource<DynamicObject>>, signal: AbortSignal): Promise<void>;
}

/** Index of pods and ReplicaSets by the uid of their controller. */
const byController = 'gitops-controller';
const controllerUid = (object: KubeObject): readonly string[] => {
  const uid = controllerOf(object)?.uid;
  return uid === undefined ? [] : [uid];
};

export function createOwnedObjects({
  informers,
  onChange,
}: {
  readonly informers: InformerSet;
  onChange(change: OwnedChange): void;
}): OwnedObjects {
  const owners = new Map<string, { readonly app: string; readonly id: ObjectId }>();
  /** Owned workloads by uid, so that a pod's change finds its app. */
  const workloads = new Map<string, { readonly app: string; readonly id: ObjectId }>();
  const followed = new Set<string>();
  const podInformer = informers.get(pods);
  const setInformer = informers.get(replicaSets);
  podInformer.addIndex(byController, controllerUid);
  setInformer.addIndex(byController, controllerUid);
  podInformer.addHandler(({ before, after }) => podChanged(after ?? before));

  function podChanged(pod: Pod | undefined): void {
    const owner = pod === undefined ? undefined : controllerOf(pod);
    if (pod === undefined || owner === undefined) return;
    let found = workloads.get(owner.uid);
    if (found === undefined && owner.kind === 'ReplicaSet') {
      const set = setInformer.get({ namespace: pod.metadata.namespace, name: owner.name });
      const above = set === undefined ? undefined : controllerOf(set);
      if (above !== undefined) found = workloads.get(above.uid);
    }
    if (found !== undefined) onChange({ ...found, object: undefined, direct: false });
  }

  function follow(resource: Resource<DynamicObject>): void {
    const key = `${resource.group}/${resource.version}/${resource.resource}`;
    if (followed.has(key)) return;
    followed.add(key);
    informers.get(resource).addHandler(({ before, after }) => {
      const object = after ?? before;
      if (object === undefined) return;
      const owner = owners.get(addressOf(resource, object.metadata));
      if (owner === undefined) return;
      if (before?.metadata.uid !== undefined && before.metadata.uid !== after?.metadata.uid) workloads.delete(before.metadata.uid);
      if (after?.metadata.uid !== undefined) workloads.set(after.metadata.uid, owner);
      onChange({ ...owner, object: after, direct: true });
    });
  }

  return {
    own(app, id, resource, ref) {
      const owner = { app, id };
      owners.set(addressOf(resource, ref), owner);
      follow(resource);
      const uid = informers.get(resource).get(ref)?.metadata.uid;
      if (uid !== undefined) workloads.set(uid, owner);
    },
    disown(app, resource, ref) {
      const address = addressOf(resource, ref);
      if (owners.get(address)?.app !== app) return;
      owners.delete(address);
      const uid = informers.get(resource).get(ref)?.metadata.uid;
      if (uid !== undefined) workloads.delete(uid);
    },
    ownerOf: (resource, ref) => owners.get(addressOf(resource, ref))?.app,
    live: (resource, ref) => informers.get(resource).get(ref),
    isSynced: (resource) => informers.get(resource).synced,
    async waitForSync(resources, signal) {
      const waiting = [...resources].map((resource) => informers.get(resource)).filter(({ synced }) => !synced);
      if (waiting.length > 0) await untilAborted(Promise.all(waiting.map(({ whenSynced }) => whenSynced)), signal);
    },
    podsOf(object) {
      const { uid } = object.metadata;
      if (uid === undefined) return [];
      if (object.kind !== 'Deployment') return podInformer.byIndex(byController, uid);
      return setInformer.byIndex(byController, uid).flatMap((set) => podInformer.byIndex(byController, set.metadata.uid ?? ''));
    },
  };
}
