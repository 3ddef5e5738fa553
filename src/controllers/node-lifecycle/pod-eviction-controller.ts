import { type Node, nodes, type Taint } from '../../api/core/v1/node.ts';
import { type Pod, pods } from '../../api/core/v1/pod.ts';
import { microTimestampOf, timestampOf } from '../../base/clock.ts';
import { eventsOf, stateOf, stayOf } from '../../lifecycle/pod-eviction.facts.ts';
import { podEvictionMachine } from '../../lifecycle/pod-eviction.machine.ts';
import { nodeNameOf } from '../../lifecycle/pod-scheduling.facts.ts';
import { setCondition } from '../../machinery/conditions.ts';
import { deepEqual, keyOf, refOf } from '../../machinery/object.ts';
import { isConflict, isNotFound } from '../../machinery/status-error.ts';
import type { Controller, ReconcileContext, Result } from '../../reconcile/controller.ts';
import type { ControllerDependencies } from '../../reconcile/dependencies.ts';
import { advance } from '../../reconcile/effects.ts';
import { createInformedController } from '../../reconcile/informed-controller.ts';
import { indexByNode, podsOn } from '../../reconcile/pods-by-node.ts';
import { isPodFinished } from '../pod-conditions.ts';

/** Marks a pod as evicted for a reason outside of itself, so that its Job does not count it as failed. */
const disruption = {
  type: 'DisruptionTarget',
  status: 'True',
  reason: 'DeletionByTaintManager',
  message: 'Taint manager: deleting due to NoExecute taint',
} as const;

/**
 * Deletes pods from nodes with NoExecute taints that they do not tolerate, or no longer.
 *
 * Only nodes with such taints cost anything: their pods are looked at when the taints change, and when a pod comes to them.
 */
export function createPodEvictionController(dependencies: ControllerDependencies): Controller {
  const { client, informers, clock, log, recorder, steps } = dependencies;
  const nodeInformer = informers.get(nodes);
  const podInformer = informers.get(pods);
  indexByNode(podInformer);
  /** NoExecute taints of the nodes that have some. */
  const tainted = new Map<string, readonly Taint[]>();
  /** Pods that may stay for a while, by uid: a new pod of the same name gets the whole time. */
  const waiting = new Map<string, string>();

  const controller = createInformedController(dependencies, {
    name: 'pod-eviction',
    workers: 16,
    reconcile,
  });
  nodeInformer.addHandler(onNodeChange);
  podInformer.addHandler(({ before, after }) => {
    const pod = after ?? before;
    if (pod === undefined) return;
    const node = nodeNameOf(pod);
    if (node === undefined) return;
    if (tainted.has(node) || waiting.has(keyOf(pod))) controller.enqueue(keyOf(pod));
  });
  return controller;

  function onNodeChange({ before, after }: { readonly before?: Node; readonly after?: Node }): void {
    const name = (after ?? before)?.metadata.name;
    if (name === undefined) return;
    const known = tainted.get(name) ?? [];
    const taints = (after?.spec?.taints ?? []).filter(({ effect }) => effect === 'NoExecute').map((taint) => withTime(taint, known));
    if (deepEqual(taints, known)) return;
    if (taints.length === 0) tainted.delete(name);
    else tainted.set(name, taints);
    for (const pod of podsOn(podInformer, name)) controller.enqueue(keyOf(pod));
  }

  /** A person's taint says no time (`kubectl taint`): it counts from when it was first seen, since "now" would never be over. */
  function withTime(taint: Taint, known: readonly Taint[]): Taint {
    if (taint.timeAdded !== undefined) return taint;
    const seen = known.find(({ key, value }) => key === taint.key && value === taint.value);
    return { ...taint, timeAdded: seen?.timeAdded ?? microTimestampOf(clock.now()) };
  }

  async function reconcile(key: string, { signal }: ReconcileContext): Promise<Result | undefined> {
    const pod = podInformer.getByKey(key);
    if (pod === undefined || isPodFinished(pod)) {
      waiting.delete(key);
      return undefined;
    }
    const now = clock.now();
    const { uid = '' } = pod.metadata;
    const stay = stayOf(pod, tainted.get(nodeNameOf(pod) ?? '') ?? [], now);
    let requeueAfterMs: number | undefined;

    await advance({
      machine: podEvictionMachine,
      key,
      from: stateOf(pod, waiting.get(key) === uid),
      events: eventsOf(pod, stay, now),
      effects: {
        setDeadline() {
          if (typeof stay === 'string') return;
          waiting.set(key, uid);
          requeueAfterMs = stay.until - now;
        },
        cancel() {
          waiting.delete(key);
          recorder.record(pod, { type: 'Normal', reason: 'TaintManagerEviction', message: `Cancelling deletion of Pod ${key}` });
        },
        async evict() {
          recorder.record(pod, { type: 'Normal', reason: 'TaintManagerEviction', message: `Marking for deletion Pod ${key}` });
          await evict(pod, signal);
          waiting.delete(key);
        },
        forget() {
          waiting.delete(key);
        },
      },
      steps,
    });
    return requeueAfterMs === undefined ? undefined : { requeueAfterMs };
  }

  async function evict(pod: Pod, signal: AbortSignal): Promise<void> {
    const ref = refOf(keyOf(pod));
    const conditions = setCondition(pod.status?.conditions, disruption, timestampOf(clock.now()));
    try {
      if (conditions !== pod.status?.conditions) {
        await client.update(pods, { ...pod, status: { ...pod.status, conditions } }, { subresource: 'status', signal });
      }
      await client.delete(pods, ref, { signal, ...(pod.metadata.uid === undefined ? {} : { preconditions: { uid: pod.metadata.uid } }) });
    } catch (err) {
      if (isNotFound(err)) return;
      // Another pod of that name is no longer this one's business; a stale cache is settled by the next try.
      if (isConflict(err)) log.debug({ pod: keyOf(pod), err }, 'Pod changed while it was evicted');
      throw err;
    }
  }
}
