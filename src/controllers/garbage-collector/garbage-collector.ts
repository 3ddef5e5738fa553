import { customResourceDefinitions } from '../../api/apiextensions/v1/custom-resource-definition.ts';
import { events } from '../../api/core/v1/event.ts';
import { finalizers } from '../../api/well-known.ts';
import { type DiscoveredResource, inPreferredVersion } from '../../client/client.ts';
import type { Informer } from '../../client/informer.ts';
import { type KubeObject, keyOf, type OwnerReference, refOf } from '../../machinery/object.ts';
import { groupResourceOf, parseApiVersion } from '../../machinery/resource.ts';
import { isConflict, isNotFound, isUnknownResource } from '../../machinery/status-error.ts';
import { type Controller, createController, type ReconcileContext, type Result } from '../../reconcile/controller.ts';
import type { ControllerDependencies } from '../../reconcile/dependencies.ts';
import { messageOf } from '../refusals.ts';
import { inBatches } from '../slow-start.ts';
import { createDependents, type ObjectId } from './dependents.ts';

/** Interval between two discoveries of the resources. */
const discoveryMs = 30_000;
/** Delay of a discovery after a change of a definition, since definitions often change in groups. */
const definitionChangedMs = 100;
/** An owner of a kind that is unknown now may become known. */
const unknownKindMs = 30_000;
/** Uids that are known to be gone; uids never come back. */
const maxAbsent = 5_000;

/** A resource that is followed. */
interface Followed {
  readonly resource: DiscoveredResource;
  readonly informer: Informer<KubeObject>;
}

/** State of the object that an owner reference names. */
type OwnerState = 'solid' | 'dangling' | 'waiting-for-dependents' | 'unknown-kind';

/**
 * Deletes objects that have lost all of their owners, over every resource that discovery knows, and carries out
 * foreground and orphaning deletion.
 *
 * A cache alone never decides a deletion. The collector asks the server for an owner that is missing in the cache, and
 * deletes by the uid and version that it has judged.
 *
 * @see Kubernetes concepts, "Garbage Collection", "Owners and Dependents"
 */
export function createGarbageCollector(dependencies: ControllerDependencies): Controller {
  const { client, informers, clock, log, recorder, metrics } = dependencies;
  const followed = new Map<string, Followed>();
  /** By group and kind: any version of an owner reference finds the resource. */
  const byKind = new Map<string, Followed>();
  const dependents = createDependents();
  const absent = new Set<string>();
  /** Queued objects with an owner of a kind that is not known. */
  const unjudged = new Set<string>();
  let cancelDiscovery: (() => void) | undefined;
  const abort = new AbortController();
  informers.get(customResourceDefinitions).addHandler(() => {
    if (cancelDiscovery !== undefined && !abort.signal.aborted) discoverLater(definitionChangedMs);
  });

  const controller = createController({
    name: 'garbage-collector',
    clock,
    log,
    workers: 20,
    observer: metrics.observerOf('garbage-collector'),
    async waitForSync({ signal }) {
      await discover(signal);
      await informers.waitForSync({ signal });
    },
    reconcile,
  });

  return {
    name: controller.name,
    enqueue: controller.enqueue,
    enqueueAfter: controller.enqueueAfter,
    get depth() {
      return controller.depth;
    },
    get active() {
      return controller.active;
    },
    async start(start) {
      await controller.start(start);
      discoverLater();
    },
    async stop() {
      abort.abort(new Error('garbage collector stops'));
      cancelDiscovery?.();
      await controller.stop();
    },
  };

  function discoverLater(delayMs = discoveryMs): void {
    cancelDiscovery?.();
    cancelDiscovery = clock.after(delayMs, () => {
      void discover(abort.signal)
        .catch((err: unknown) => {
          if (!abort.signal.aborted) log.warn({ err }, 'Could not discover resources');
        })
        .finally(() => {
          if (!abort.signal.aborted) discoverLater();
        });
    });
  }

  async function discover(signal: AbortSignal): Promise<void> {
    const found = await client.discover();
    signal.throwIfAborted();
    for (const resource of inPreferredVersion(found)) {
      const { verbs } = resource;
      if (!verbs.includes('list') || !verbs.includes('watch') || !verbs.includes('delete')) continue;
      // Events expire by themselves, and there are too many to follow for this purpose.
      if (resource.resource === events.resource) continue;
      const known = followed.get(groupResourceOf(resource))?.resource;
      const isServed = ({ version, kind }: DiscoveredResource): boolean =>
        found.some((other) => other.version === version && other.kind === kind && groupResourceOf(other) === groupResourceOf(resource));
      if (known !== undefined && isServed(known)) continue;
      follow(resource);
      for (const queued of unjudged) controller.enqueue(queued);
    }
  }

  function follow(resource: DiscoveredResource): void {
    const id = groupResourceOf(resource);
    const entry: Followed = { resource, informer: informers.get(resource) };
    followed.set(id, entry);
    byKind.set(kindId(resource), entry);
    entry.informer.addHandler((change) => {
      // In a version that is not served any more there is nothing to see, and nothing to conclude from that.
      if (followed.get(id) === entry) onChange(id, change);
    });
  }

  function onChange(resource: string, { before, after }: { readonly before?: KubeObject; readonly after?: KubeObject }): void {
    const object = after ?? before;
    if (object === undefined) return;
    const id: ObjectId = { resource, key: keyOf(object), uid: object.metadata.uid ?? '' };
    if (after === undefined) {
      dependents.delete(id, object);
      noteAbsent(id.uid);
      for (const dependent of dependents.of(id.uid)) enqueue(dependent);
      enqueueWaitingOwners(object);
      return;
    }
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
    if (ownerReferences.some((owner) => cachedOwner(owner, after) === undefined)) enqueue(id);
    if (before !== undefined) enqueueWaitingOwners(before);
  }

  /** Owners that wait for their dependents look again when one of them goes. */
  function enqueueWaitingOwners(object: KubeObject): void {
    for (const owner of object.metadata.ownerReferences ?? []) {
      const cached = cachedOwner(owner, object);
      if (cached !== undefined && isDeletingForeground(cached.object)) enqueue(cached.id);
    }
  }

  function enqueue({ resource, key }: ObjectId): void {
    controller.enqueue(`${resource} ${key}`);
  }

  function noteAbsent(uid: string): void {
    absent.add(uid);
    if (absent.size <= maxAbsent) return;
    const oldest = absent.values().next();
    if (!oldest.done) absent.delete(oldest.value);
  }

  /** The owner as the cache has it; undefined when it is not there, or is another object of that name. */
  function cachedOwner(owner: OwnerReference, dependent: KubeObject): { readonly id: ObjectId; readonly object: KubeObject } | undefined {
    const entry = byKind.get(kindId({ group: parseApiVersion(owner.apiVersion).group, kind: owner.kind }));
    if (entry === undefined) return undefined;
    const key = ownerKey(entry, owner, dependent);
    const object = key === undefined ? undefined : entry.informer.getByKey(key);
    if (key === undefined || object?.metadata.uid !== owner.uid) return undefined;
    return { id: { resource: groupResourceOf(entry.resource), key, uid: owner.uid }, object };
  }

  async function reconcile(queued: string, { signal }: ReconcileContext): Promise<Result | undefined> {
    const space = queued.indexOf(' ');
    const id = queued.slice(0, space);
    const key = queued.slice(space + 1);
    const entry = followed.get(id);
    const object = entry?.informer.getByKey(key);
    unjudged.delete(queued);
    if (entry === undefined || object === undefined) return undefined;
    if (object.metadata.deletionTimestamp !== undefined) {
      if (isDeletingForeground(object)) return deleteDependents(entry, object, signal);
      if (hasFinalizer(object, finalizers.orphan)) return orphanDependents(entry, object, signal);
      return undefined;
    }
    if (await collect(entry, object, signal)) return undefined;
    unjudged.add(queued);
    return { requeueAfterMs: unknownKindMs };
  }

  /** Deletes the object, or takes away references, when owners are gone; false when that cannot be judged now. */
  async function collect(entry: Followed, object: KubeObject, signal: AbortSignal): Promise<boolean> {
    const owners = object.metadata.ownerReferences ?? [];
    if (owners.length === 0) return true;
    const states = new Map<string, OwnerState>();
    for (const owner of owners) states.set(owner.uid, await stateOfOwner(owner, object, entry, signal));
    const inState = (state: OwnerState): readonly OwnerReference[] => owners.filter(({ uid }) => states.get(uid) === state);
    // An object that cannot be judged counts as existing: deletion is the one mistake that cannot be undone.
    if (inState('unknown-kind').length > 0) return false;
    if (inState('solid').length > 0) {
      const lost = owners.filter(({ uid }) => states.get(uid) !== 'solid');
      if (lost.length > 0) await dropOwners(entry, object, lost, signal);
      return true;
    }
    const foreground = inState('waiting-for-dependents').length > 0 && hasDependents(object);
    await remove(entry, object, foreground ? 'Foreground' : policyOf(object), signal);
    return true;
  }

  async function stateOfOwner(owner: OwnerReference, object: KubeObject, dependent: Followed, signal: AbortSignal): Promise<OwnerState> {
    const cached = cachedOwner(owner, object);
    if (cached !== undefined) return isDeletingForeground(cached.object) ? 'waiting-for-dependents' : 'solid';
    if (absent.has(owner.uid)) return 'dangling';
    const entry = byKind.get(kindId({ group: parseApiVersion(owner.apiVersion).group, kind: owner.kind }));
    if (entry === undefined) {
      log.debug({ dependent: keyOf(object), kind: owner.kind, apiVersion: owner.apiVersion }, 'Owner has unknown kind');
      return 'unknown-kind';
    }
    const key = ownerKey(entry, owner, object);
    if (key === undefined) {
      const { resource } = dependent;
      recorder.record(object, {
        type: 'Warning',
        reason: 'OwnerRefInvalidNamespace',
        message: `ownerRef [${owner.apiVersion}/${owner.kind}, namespace: , name: ${owner.name}, uid: ${owner.uid}] does not exist in namespace "${object.metadata.namespace ?? ''}"`,
      });
      log.warn({ dependent: keyOf(object), resource: resource.resource }, 'Cluster-scoped object names an owner in a namespace');
      return 'unknown-kind';
    }
    try {
      const live = await client.get<KubeObject>(entry.resource, refOf(key), { signal });
      if (live.metadata.uid === owner.uid) return isDeletingForeground(live) ? 'waiting-for-dependents' : 'solid';
    } catch (err) {
      // Its definition changed: it may be served in another version.
      if (isUnknownResource(err)) return 'unknown-kind';
      if (!isNotFound(err)) throw err;
    }
    noteAbsent(owner.uid);
    return 'dangling';
  }

  /** Foreground deletion: dependents that block go first, then the object. */
  async function deleteDependents(entry: Followed, object: KubeObject, signal: AbortSignal): Promise<undefined> {
    const uid = object.metadata.uid ?? '';
    let blocked = false;
    for (const dependent of dependents.of(uid)) {
      const there = followed.get(dependent.resource)?.informer.getByKey(dependent.key);
      if (there === undefined) continue;
      enqueue(dependent);
      if (there.metadata.ownerReferences?.some((owner) => owner.uid === uid && owner.blockOwnerDeletion === true)) blocked = true;
    }
    if (!blocked) await dropFinalizer(entry, object, finalizers.foregroundDeletion, signal);
    return undefined;
  }

  /** Orphaning deletion: dependents forget the object, then it goes. */
  async function orphanDependents(entry: Followed, object: KubeObject, signal: AbortSignal): Promise<undefined> {
    const uid = object.metadata.uid ?? '';
    await inBatches([...dependents.of(uid)], async ({ resource, key }) => {
      const target = followed.get(resource);
      const dependent = target?.informer.getByKey(key);
      if (target === undefined || dependent === undefined) return;
      const lost = (dependent.metadata.ownerReferences ?? []).filter((owner) => owner.uid === uid);
      if (lost.length > 0) await dropOwners(target, dependent, lost, signal);
    });
    await dropFinalizer(entry, object, finalizers.orphan, signal);
    return undefined;
  }

  function hasDependents(object: KubeObject): boolean {
    for (const _ of dependents.of(object.metadata.uid ?? '')) return true;
    return false;
  }

  async function remove(
    { resource }: Followed,
    object: KubeObject,
    propagationPolicy: 'Foreground' | 'Background' | 'Orphan',
    signal: AbortSignal,
  ): Promise<void> {
    const { namespace, name, uid, resourceVersion } = object.metadata;
    log.debug({ resource: groupResourceOf(resource), object: keyOf(object), propagationPolicy }, 'Deleted object without owners');
    try {
      await client.delete(
        resource,
        { namespace, name },
        {
          propagationPolicy,
          preconditions: { ...(uid === undefined ? {} : { uid }), ...(resourceVersion === undefined ? {} : { resourceVersion }) },
          signal,
        },
      );
    } catch (err) {
      if (isNotFound(err)) return;
      // Changed since it was judged, for example adopted: judged again with what the cache shows then.
      throw isConflict(err) ? err : new Error(`delete ${groupResourceOf(resource)} ${keyOf(object)}: ${messageOf(err)}`, { cause: err });
    }
  }

  async function dropOwners(
    { resource }: Followed,
    object: KubeObject,
    lost: readonly OwnerReference[],
    signal: AbortSignal,
  ): Promise<void> {
    const gone = new Set(lost.map(({ uid }) => uid));
    const left = (object.metadata.ownerReferences ?? []).filter(({ uid }) => !gone.has(uid));
    await patchMetadata(resource, object, { ownerReferences: left.length === 0 ? null : left }, signal);
  }

  async function dropFinalizer({ resource }: Followed, object: KubeObject, finalizer: string, signal: AbortSignal): Promise<void> {
    const left = (object.metadata.finalizers ?? []).filter((other) => other !== finalizer);
    await patchMetadata(resource, object, { finalizers: left.length === 0 ? null : left }, signal);
  }

  async function patchMetadata(
    resource: DiscoveredResource,
    object: KubeObject,
    change: Readonly<Record<string, unknown>>,
    signal: AbortSignal,
  ): Promise<void> {
    const { namespace, name, uid, resourceVersion } = object.metadata;
    const body = { metadata: { uid, resourceVersion, ...change } };
    try {
      await client.patch(resource, { namespace, name }, { type: 'merge', body }, { signal });
    } catch (err) {
      if (!isNotFound(err)) throw err;
    }
  }
}

const kindId = ({ group, kind }: { readonly group: string; readonly kind: string }): string => `${group}/${kind}`;

/** Location of the owner; undefined when a cluster-scoped object names an owner in a namespace, which is invalid. */
function ownerKey({ resource }: Followed, owner: OwnerReference, { metadata }: KubeObject): string | undefined {
  if (!resource.namespaced) return owner.name;
  return metadata.namespace === undefined ? undefined : `${metadata.namespace}/${owner.name}`;
}

const hasFinalizer = ({ metadata }: KubeObject, finalizer: string): boolean => metadata.finalizers?.includes(finalizer) === true;

const isDeletingForeground = (object: KubeObject): boolean =>
  object.metadata.deletionTimestamp !== undefined && hasFinalizer(object, finalizers.foregroundDeletion);

/** The finalizer decides the way of deletion that the client requested. */
function policyOf(object: KubeObject): 'Foreground' | 'Background' | 'Orphan' {
  if (hasFinalizer(object, finalizers.orphan)) return 'Orphan';
  return hasFinalizer(object, finalizers.foregroundDeletion) ? 'Foreground' : 'Background';
}
