import { BoundedMap } from '../../base/bounded-map.ts';
import type { Log } from '../../base/log.ts';
import type { Client } from '../../client/client.ts';
import { type KubeObject, keyOf, type OwnerReference, refOf } from '../../machinery/object.ts';
import { isNotFound, isUnknownResource } from '../../machinery/status-error.ts';
import type { EventRecorder } from '../../reconcile/event-recorder.ts';
import { type FollowedResources, type FoundObject, ownerKeyOf } from './followed-resources.ts';
import { isDeletingForeground, type OwnerState } from './verdict.ts';

/** Uids that are known to be gone; uids never come back. */
const maxAbsent = 5_000;

/** Finds the states of owners: in the caches first, and on the server when a cache lacks one. */
export interface OwnerStates {
  /** By uid, for each owner that the object names. */
  read(dependent: FoundObject, signal: AbortSignal): Promise<ReadonlyMap<string, OwnerState>>;
  /** Remembers that no object has this uid any more. */
  noteAbsent(uid: string): void;
}

export interface OwnerStatesOptions {
  readonly client: Client;
  readonly resources: FollowedResources;
  readonly recorder: EventRecorder;
  readonly log: Log;
}

export function createOwnerStates({ client, resources, recorder, log }: OwnerStatesOptions): OwnerStates {
  const absent = new BoundedMap<string, true>(maxAbsent);

  async function stateOf(owner: OwnerReference, dependent: FoundObject, signal: AbortSignal): Promise<OwnerState> {
    const { object } = dependent;
    const cached = resources.findOwner(owner, object);
    if (cached !== undefined) return presentState(cached.object);
    if (absent.has(owner.uid)) return 'dangling';
    const resource = resources.resourceOf(owner);
    if (resource === undefined) {
      log.debug({ dependent: keyOf(object), kind: owner.kind, apiVersion: owner.apiVersion }, 'Owner has unknown kind');
      return 'unknown-kind';
    }
    const key = ownerKeyOf(resource, owner, object);
    if (key === undefined) {
      reportInvalidNamespace(owner, dependent);
      return 'unknown-kind';
    }
    try {
      const live = await client.get<KubeObject>(resource, refOf(key), { signal });
      if (live.metadata.uid === owner.uid) return presentState(live);
    } catch (err) {
      // Its definition changed: it may be served in another version.
      if (isUnknownResource(err)) return 'unknown-kind';
      if (!isNotFound(err)) throw err;
    }
    absent.set(owner.uid, true);
    return 'dangling';
  }

  function reportInvalidNamespace({ apiVersion, kind, name, uid }: OwnerReference, { resource, object }: FoundObject): void {
    recorder.record(object, {
      type: 'Warning',
      reason: 'OwnerRefInvalidNamespace',
      message: `ownerRef [${apiVersion}/${kind}, namespace: , name: ${name}, uid: ${uid}] does not exist in namespace "${object.metadata.namespace ?? ''}"`,
    });
    log.warn({ dependent: keyOf(object), resource: resource.resource }, 'Cluster-scoped object names an owner in a namespace');
  }

  return {
    async read(dependent, signal) {
      const states = new Map<string, OwnerState>();
      for (const owner of dependent.object.metadata.ownerReferences ?? []) states.set(owner.uid, await stateOf(owner, dependent, signal));
      return states;
    },
    noteAbsent: (uid) => void absent.set(uid, true),
  };
}

const presentState = (owner: KubeObject): OwnerState => (isDeletingForeground(owner) ? 'waiting-for-dependents' : 'solid');
