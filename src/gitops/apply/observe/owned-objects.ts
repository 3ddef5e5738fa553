import { replicaSets } from '../../../api/apps/v1/replica-set.ts';
import { type Pod, pods } from '../../../api/core/v1/pod.ts';
import { untilAborted } from '../../../base/concurrency.ts';
import type { Informer, InformerSet } from '../../../client/informer.ts';
import { controllerOf, type DynamicObject, type KubeObject } from '../../../machinery/object.ts';
import type { Resource } from '../../../machinery/resource.ts';
import { addressOf, type ObjectId, versionOf } from '../objects/object-id.ts';
import type { PodsView } from './pod-generations.ts';

/** An object of an app changed, or something its health depends on. */
export interface OwnedChange {
  readonly app: string;
  readonly id: ObjectId;
  /** Absent when it was deleted. */
  readonly object: DynamicObject | undefined;
  /** The version of `live` until now. */
  readonly before: DynamicObject | undefined;
  /** The object itself changed, not only its pods. */
  readonly direct: boolean;
}

interface OwnedRef {
  readonly namespace?: string | undefined;
  readonly name: string;
}

/**
 * Follows the objects that apps own, by one informer for each kind, and tells which app a change concerns: for drift, health and
 * confirmed deletion. Costs nothing for an app whose objects do not change.
 */
export interface OwnedObjects extends PodsView {
  /** From now on `app` gets events of the object. While it moves from one app to another, both do. */
  own(app: string, id: ObjectId, place: { readonly resource: Resource<DynamicObject>; readonly ref: OwnedRef }): void;
  /** The apps that have what is at an address, and the object's id in each. */
  ownersOf(address: string): readonly { readonly app: string; readonly id: ObjectId }[];
  disown(app: string, resource: Resource<DynamicObject>, ref: OwnedRef): void;
  /** From the cache, or what `wrote` said when that is newer; undefined when it does not exist or the cache is not there yet. */
  live(resource: Resource<DynamicObject>, ref: OwnedRef): DynamicObject | undefined;
  /** The server's answer to a write of ours. Over HTTP the cache gets it later than we do, and is older until then. */
  wrote(resource: Resource<DynamicObject>, answer: DynamicObject): void;
  /**
   * True when the object of this version is missing in the cache because it was deleted, and not because its event is
   * late.
   */
  isGoneSince(resource: Resource<DynamicObject>, ref: OwnedRef, resourceVersion: number): boolean;
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

/** An object and the apps that have it. */
interface Owned {
  /** Index of the informer that follows it. */
  readonly kind: string;
  readonly ref: OwnedRef;
  owners: readonly { readonly app: string; readonly id: ObjectId }[];
}

const kindOf = ({ group, version, resource }: Resource): string => `${group}/${version}/${resource}`;

export function createOwnedObjects({
  informers,
  onChange,
}: {
  readonly informers: InformerSet;
  onChange(change: OwnedChange): void;
}): OwnedObjects {
  const owned = new Map<string, Owned>();
  /** Owned workloads by uid, so that a pod's change finds its app. */
  const workloads = new Map<string, Owned>();
  /** Kinds that are followed, each as the one text that all its objects have. */
  const followed = new Map<string, string>();
  /** Answers that are newer than the cache, by address. */
  const answers = new Map<string, DynamicObject>();
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
    for (const owner of found?.owners ?? []) onChange({ ...owner, object: undefined, before: undefined, direct: false });
  }

  /** Gives the kind. */
  function follow(resource: Resource<DynamicObject>): string {
    const key = kindOf(resource);
    const known = followed.get(key);
    if (known !== undefined) return known;
    followed.set(key, key);
    const informer = informers.get(resource);
    informer.addHandler(({ before, after }) => {
      const object = after ?? before;
      const found = object === undefined ? undefined : owned.get(addressOf(resource, object.metadata));
      if (found === undefined) return;
      if (before?.metadata.uid !== undefined && before.metadata.uid !== after?.metadata.uid) workloads.delete(before.metadata.uid);
      if (after?.metadata.uid !== undefined) workloads.set(after.metadata.uid, found);
      const answer = answers.get(addressOf(resource, found.ref));
      const known = answer !== undefined && (before === undefined || versionOf(answer) > versionOf(before)) ? answer : before;
      forgetAnswer(informer, found.ref);
      for (const owner of found.owners) onChange({ ...owner, object: after, before: known, direct: true });
    });
    // An object that was created and deleted between the end of a watch and this list was never in the cache.
    informer.onReplaced(() => {
      for (const { kind, ref, owners } of owned.values()) {
        if (kind !== key) continue;
        forgetAnswer(informer, ref);
        if (informer.get(ref) !== undefined) continue;
        for (const owner of owners) onChange({ ...owner, object: undefined, before: undefined, direct: true });
      }
    });
    return key;
  }

  /** The cache has come as far as the answer: it knows as much, or more. */
  function forgetAnswer({ resource, resourceVersion }: Informer<DynamicObject>, ref: OwnedRef): void {
    const address = addressOf(resource, ref);
    const answer = answers.get(address);
    if (answer !== undefined && versionOf(answer) <= resourceVersion) answers.delete(address);
  }

  return {
    own(app, id, { resource, ref }) {
      const address = addressOf(resource, ref);
      const kind = follow(resource);
      const found: Owned = owned.get(address) ?? { kind, ref, owners: [] };
      owned.set(address, found);
      if (!found.owners.some((owner) => owner.app === app)) found.owners = [...found.owners, { app, id }];
      const uid = informers.get(resource).get(ref)?.metadata.uid;
      if (uid !== undefined) workloads.set(uid, found);
    },
    ownersOf: (address) => owned.get(address)?.owners ?? [],
    disown(app, resource, ref) {
      const address = addressOf(resource, ref);
      const found = owned.get(address);
      if (found === undefined) return;
      found.owners = found.owners.filter((owner) => owner.app !== app);
      if (found.owners.length > 0) return;
      owned.delete(address);
      answers.delete(address);
      const uid = informers.get(resource).get(ref)?.metadata.uid;
      if (uid !== undefined) workloads.delete(uid);
    },
    live(resource, ref) {
      const informer = informers.get(resource);
      const answer = answers.size === 0 ? undefined : answers.get(addressOf(resource, ref));
      return answer !== undefined && versionOf(answer) > informer.resourceVersion ? answer : informer.get(ref);
    },
    wrote(resource, answer) {
      if (versionOf(answer) > informers.get(resource).resourceVersion) answers.set(addressOf(resource, answer.metadata), answer);
    },
    isGoneSince(resource, ref, resourceVersion) {
      const informer = informers.get(resource);
      return informer.get(ref) === undefined && informer.resourceVersion >= resourceVersion;
    },
    isSynced: (resource) => informers.get(resource).synced,
    async waitForSync(resources, signal) {
      const waiting = [...resources].map((resource) => informers.get(resource)).filter(({ synced }) => !synced);
      if (waiting.length > 0) await untilAborted(Promise.all(waiting.map(({ whenSynced }) => whenSynced)), signal);
    },
    replicaSetsOf: ({ metadata: { uid } }) => (uid === undefined ? [] : setInformer.byIndex(byController, uid)),
    podsOf(object) {
      const { uid } = object.metadata;
      if (uid === undefined) return [];
      if (object.kind !== 'Deployment') return podInformer.byIndex(byController, uid);
      return setInformer.byIndex(byController, uid).flatMap((set) => podInformer.byIndex(byController, set.metadata.uid ?? ''));
    },
  };
}
