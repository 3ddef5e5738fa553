import { nodes } from '../api/core/v1/node.ts';
import { type Pod, pods } from '../api/core/v1/pod.ts';
import { taints } from '../api/well-known.ts';
import { timestampOf } from '../base/clock.ts';
import { nodeNameOf } from '../lifecycle/pod-scheduling.facts.ts';
import { setCondition } from '../machinery/conditions.ts';
import { keyOf, refOf } from '../machinery/object.ts';
import { isConflict, isNotFound } from '../machinery/status-error.ts';
import type { Controller, ReconcileContext, Result } from '../reconcile/controller.ts';
import type { ControllerDependencies } from '../reconcile/dependencies.ts';
import { createInformedController } from '../reconcile/informed-controller.ts';
import { indexByNode, podsOn } from '../reconcile/pods-by-node.ts';
import { isPodFinished, isPodTerminating } from './pod-conditions.ts';

export interface PodGcOptions extends ControllerDependencies {
  /** Interval between two passes over the pods. */
  readonly periodMs?: number;
  /** Time that a node must be gone before its pods are removed: it may be registering again. */
  readonly quarantineMs?: number;
  /** Finished pods that are kept; the oldest beyond go. */
  readonly terminatedPodThreshold?: number;
}

/** The one key of the queue: a pass over all pods. */
const pass = 'all';

const createdAt = ({ metadata }: Pod): number => Date.parse(metadata.creationTimestamp ?? '') || 0;

/**
 * Removes pods that no other controller removes. They are on nodes that are gone, deleted before they had a node, deleted on an
 * out-of-service node, or finished pods beyond a bound.
 */
export function createPodGcController(options: PodGcOptions): Controller {
  const { client, informers, clock, log } = options;
  const { periodMs = 20_000, quarantineMs = 40_000, terminatedPodThreshold = 12_500 } = options;
  const nodeInformer = informers.get(nodes);
  const podInformer = informers.get(pods);
  indexByNode(podInformer);
  /** Since when a node that pods name has been missing; monotonic. */
  const missing = new Map<string, number>();

  const controller = createInformedController(options, {
    name: 'pod-gc',
    workers: 1,
    waitForSync: async (wait) => {
      await informers.waitForSync(wait);
      controller.enqueue(pass);
    },
    reconcile,
  });
  nodeInformer.addHandler(({ before, after }) => {
    // Looked at as soon as the quarantine ends, not up to a period later.
    if (after === undefined && before !== undefined) {
      missing.set(before.metadata.name, clock.monotonicMs());
      controller.enqueueAfter(pass, quarantineMs);
    } else if (before === undefined && after !== undefined) missing.delete(after.metadata.name);
  });
  return controller;

  async function reconcile(_key: string, { signal }: ReconcileContext): Promise<Result> {
    const finished: Pod[] = [];
    const stranded: Pod[] = [];
    const named = new Set<string>();
    for (const pod of podInformer.list()) {
      const nodeName = nodeNameOf(pod);
      if (nodeName === undefined) {
        if (isPodTerminating(pod)) stranded.push(pod);
      } else if (isGone(nodeName)) named.add(nodeName);
      else if (isPodTerminating(pod) && isOutOfService(nodeName)) stranded.push(pod);
      if (isPodFinished(pod) && !isPodTerminating(pod)) finished.push(pod);
    }
    for (const name of missing.keys()) if (!named.has(name)) missing.delete(name);

    for (const pod of stranded) await remove(pod, signal);
    await removeOrphans(named, signal);
    finished.sort((a, b) => createdAt(a) - createdAt(b));
    for (const pod of finished.slice(0, Math.max(0, finished.length - terminatedPodThreshold))) await remove(pod, signal);
    return { requeueAfterMs: periodMs };
  }

  function isGone(nodeName: string): boolean {
    if (nodeInformer.get({ name: nodeName }) !== undefined) return false;
    if (!missing.has(nodeName)) missing.set(nodeName, clock.monotonicMs());
    return true;
  }

  function isOutOfService(nodeName: string): boolean {
    return nodeInformer.get({ name: nodeName })?.spec?.taints?.some(({ key }) => key === taints.outOfService) === true;
  }

  async function removeOrphans(nodeNames: ReadonlySet<string>, signal: AbortSignal): Promise<void> {
    const now = clock.monotonicMs();
    for (const name of nodeNames) {
      if (now - (missing.get(name) ?? now) < quarantineMs) continue;
      // The cache may be behind; what is deleted by force cannot be brought back.
      if (await nodeExists(name, signal)) continue;
      for (const pod of podsOn(podInformer, name)) {
        log.info({ pod: keyOf(pod), node: name }, 'Removed pod of a node that is gone');
        await remove(pod, signal, 'PodGC: node no longer exists');
      }
      missing.delete(name);
    }
  }

  async function nodeExists(name: string, signal: AbortSignal): Promise<boolean> {
    try {
      await client.get(nodes, { name }, { signal });
      return true;
    } catch (err) {
      if (isNotFound(err)) return false;
      throw err;
    }
  }

  /** Deletes by force, since no agent will confirm it. With `message` the pod is first marked as ended by a disruption. */
  async function remove(pod: Pod, signal: AbortSignal, message?: string): Promise<void> {
    const { uid } = pod.metadata;
    try {
      if (message !== undefined && !isPodFinished(pod)) {
        const conditions = setCondition(
          pod.status?.conditions,
          { type: 'DisruptionTarget', status: 'True', reason: 'DeletionByPodGC', message },
          timestampOf(clock.now()),
        );
        await client.update(pods, { ...pod, status: { ...pod.status, phase: 'Failed', conditions } }, { subresource: 'status', signal });
      }
      await client.delete(pods, refOf(keyOf(pod)), {
        gracePeriodSeconds: 0,
        signal,
        ...(uid === undefined ? {} : { preconditions: { uid } }),
      });
    } catch (err) {
      // Gone, or changed while we looked: the next pass sees what is true.
      if (isNotFound(err) || isConflict(err)) return;
      throw err;
    }
  }
}
