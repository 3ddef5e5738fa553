import { customResourceDefinitions } from '../../api/apiextensions/v1/custom-resource-definition.ts';
import { finalizers } from '../../api/well-known.ts';
import type { DiscoveredResource } from '../../client/client.ts';
import { eachPage } from '../../client/each-page.ts';
import type { KubeObject } from '../../machinery/object.ts';
import { isNotFound } from '../../machinery/status-error.ts';
import type { Controller, ReconcileContext, Result } from '../../reconcile/controller.ts';
import type { ControllerDependencies } from '../../reconcile/dependencies.ts';
import { createInformedController } from '../../reconcile/informed-controller.ts';
import { inBatches } from '../slow-start.ts';
import type { ObjectId } from './dependents.ts';
import { createDiscoveryLoop } from './discovery-loop.ts';
import { createFollowedResources, type FoundObject } from './followed-resources.ts';
import { createObjectGraph } from './object-graph.ts';
import { createObjectWrites } from './object-writes.ts';
import { createOwnerStates } from './owner-states.ts';
import { hasFinalizer, isBelow, isDeletingForeground, verdictOf } from './verdict.ts';

/** An owner of a kind that is unknown now may become known. */
const unknownKindMs = 30_000;

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
  const { client, informers, clock, log, recorder } = dependencies;
  const resources = createFollowedResources({ informers, onChange: (resource, change) => graph.observe(resource, change) });
  const owners = createOwnerStates({ client, resources, recorder, log });
  const graph = createObjectGraph({ findOwner: resources.findOwner, enqueue, onGone: owners.noteAbsent });
  const writes = createObjectWrites({ client, log });
  const discovery = createDiscoveryLoop({ clock, log, discover });
  /** Queued objects with an owner of a kind that is not known. */
  const unjudged = new Set<string>();
  informers.get(customResourceDefinitions).addHandler(() => discovery.hurry());

  const controller = createInformedController(dependencies, {
    name: 'garbage-collector',
    workers: 20,
    async waitForSync({ signal }) {
      await discover(signal);
      await informers.waitForSync({ signal });
    },
    onStarted: () => discovery.start(),
    onStopping: () => discovery.stop(),
    reconcile,
  });
  return controller;

  async function discover(signal: AbortSignal): Promise<void> {
    const found = await client.discover();
    signal.throwIfAborted();
    // A new resource may be the kind that an owner was missing.
    if (resources.update(found)) for (const queued of unjudged) controller.enqueue(queued);
  }

  function enqueue({ resource, key }: Pick<ObjectId, 'resource' | 'key'>): void {
    controller.enqueue(`${resource} ${key}`);
  }

  async function reconcile(queued: string, { signal }: ReconcileContext): Promise<Result | undefined> {
    const space = queued.indexOf(' ');
    const found = resources.find(queued.slice(0, space), queued.slice(space + 1));
    unjudged.delete(queued);
    if (found === undefined) return undefined;
    if (found.object.metadata.deletionTimestamp !== undefined) {
      if (isDeletingForeground(found.object)) await deleteAfterDependents(found, signal);
      else if (hasFinalizer(found.object, finalizers.orphan)) await orphanDependents(found, signal);
      return undefined;
    }
    if (await collect(found, signal)) return undefined;
    unjudged.add(queued);
    return { requeueAfterMs: unknownKindMs };
  }

  /** Carries out the verdict on an object that nobody has deleted; false when there is none yet. */
  async function collect(found: FoundObject, signal: AbortSignal): Promise<boolean> {
    const ownerStates = await owners.read(found, signal);
    const verdict = verdictOf(found.object, { ownerStates, hasDependents: graph.hasDependents(uidOf(found)) });
    switch (verdict.action) {
      case 'keep':
        return true;
      case 'wait':
        return false;
      case 'drop-owners':
        await writes.dropOwners(found, verdict.lost, signal);
        return true;
      case 'delete':
        await writes.delete(found, verdict.propagationPolicy, signal);
        return true;
      default:
        return verdict satisfies never;
    }
  }

  /** Foreground deletion: dependents that block go first, then the object. */
  async function deleteAfterDependents(found: FoundObject, signal: AbortSignal): Promise<void> {
    const uid = uidOf(found);
    let blocked = false;
    for (const id of graph.dependentsOf(uid)) {
      const dependent = resources.find(id.resource, id.key);
      if (dependent === undefined) continue;
      enqueue(id);
      const blocks = dependent.object.metadata.ownerReferences?.some((owner) => owner.uid === uid && owner.blockOwnerDeletion === true);
      if (blocks === true && !waitFor(found, dependent)) blocked = true;
    }
    if (!blocked) await writes.dropFinalizer(found, finalizers.foregroundDeletion, signal);
  }

  /** True in a cycle of owners, where an object and a dependent would wait for each other. */
  function waitFor(found: FoundObject, dependent: FoundObject): boolean {
    return isDeletingForeground(dependent.object) && isBelow(found.object, uidOf(dependent), resources.findOwner);
  }

  /**
   * Orphaning deletion: dependents forget the object, then it goes. The server is asked for them: one that the caches lack would be
   * deleted as soon as its owner is gone. Upstream relies on its caches here.
   */
  async function orphanDependents(found: FoundObject, signal: AbortSignal): Promise<void> {
    const uid = uidOf(found);
    for (const resource of resources.thatMayDependOn(found)) {
      for await (const dependents of dependentsOnServer(resource, found, signal)) {
        await inBatches(dependents, async (dependent) => {
          const lost = (dependent.object.metadata.ownerReferences ?? []).filter((owner) => owner.uid === uid);
          await writes.dropOwners(dependent, lost, signal);
        });
      }
    }
    await writes.dropFinalizer(found, finalizers.orphan, signal);
  }

  /** By page. A resource that is not served any more has none. */
  async function* dependentsOnServer(
    resource: DiscoveredResource,
    owner: FoundObject,
    signal: AbortSignal,
  ): AsyncGenerator<readonly FoundObject[]> {
    const uid = uidOf(owner);
    try {
      for await (const { items } of eachPage<KubeObject>(client, resource, { namespace: owner.object.metadata.namespace, signal })) {
        const dependents = items.filter(({ metadata }) => metadata.ownerReferences?.some((reference) => reference.uid === uid));
        yield dependents.map((object) => ({ resource, object }));
      }
    } catch (err) {
      if (!isNotFound(err)) throw err;
    }
  }
}

const uidOf = ({ object }: FoundObject): string => object.metadata.uid ?? '';
