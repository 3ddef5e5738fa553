import { type ReplicaSet, replicaSets } from '../../api/apps/v1/replica-set.ts';
import { type Pod, pods } from '../../api/core/v1/pod.ts';
import { timestampOf } from '../../base/clock.ts';
import { desiredReplicas, eventsOf, type PodCounts, type Refusal, stateOf, statusOf } from '../../lifecycle/replica-set.facts.ts';
import { replicaSetMachine } from '../../lifecycle/replica-set.machine.ts';
import { controllerOf, keyOf } from '../../machinery/object.ts';
import { compileLabelSelector } from '../../machinery/selector.ts';
import type { Controller, ReconcileContext, Result } from '../../reconcile/controller.ts';
import type { ControllerDependencies } from '../../reconcile/dependencies.ts';
import { advance } from '../../reconcile/effects.ts';
import { createExpectations } from '../../reconcile/expectations.ts';
import { createInformedController } from '../../reconcile/informed-controller.ts';
import { createStatusPace } from '../../reconcile/status-pace.ts';
import { deletionOrder } from '../deletion-order.ts';
import { claim, controllerKeyOf, indexByOwner, orphansIn, ownedBy, ownedByUid } from '../ownership.ts';
import { availableAt, isPodActive, isPodTerminating } from '../pod-conditions.ts';
import { messageOf } from '../refusals.ts';
import { createPods, deletePods, podFromTemplate, soonest, writePacedStatus } from '../workload.ts';
import { createPodCounter } from './pod-counter.ts';

/** Pods created or deleted in one pass; the rest follows in the next one, after others had their turn. */
const maxPodsAPass = 500;

const refused = { type: 'PODS_REFUSED' } as const;

/**
 * Keeps as many pods as each ReplicaSet requests.
 *
 * A pass: claim pods by selector, count them, create or delete the difference, write the status. Expectations remember
 * the requested writes until the cache shows them.
 */
export function createReplicaSetController(dependencies: ControllerDependencies): Controller {
  const { client, informers, clock, recorder, steps } = dependencies;
  const replicaSetInformer = informers.get(replicaSets);
  const podInformer = informers.get(pods);
  indexByOwner(podInformer);
  indexByOwner(replicaSetInformer);
  const expectations = createExpectations(clock);
  const pace = createStatusPace(clock);
  const counter = createPodCounter();

  const controller = createInformedController(dependencies, {
    name: 'replicaset',
    workers: 8,
    reconcile,
  });
  replicaSetInformer.addHandler(({ before, after }) => {
    if (after !== undefined) controller.enqueue(keyOf(after));
    else if (before !== undefined) forget(before);
  });
  podInformer.addHandler(onPodChange);
  return controller;

  function forget({ metadata: { uid = '' } }: ReplicaSet): void {
    expectations.forget(uid);
    counter.forget(uid);
    pace.forget(uid);
  }

  function onPodChange({ before, after }: { readonly before?: Pod; readonly after?: Pod }): void {
    const ownerBefore = before === undefined ? undefined : controllerOf(before)?.uid;
    const ownerAfter = after === undefined ? undefined : controllerOf(after)?.uid;
    if (ownerBefore !== undefined && ownerBefore !== ownerAfter) {
      counter.change(ownerBefore, before, undefined);
      expectations.deletionObserved(ownerBefore, before?.metadata.uid ?? '');
      enqueueOwner(before);
    }
    if (after === undefined) return;
    if (ownerAfter === undefined) {
      enqueueAdopters(after);
      return;
    }
    counter.change(ownerAfter, ownerBefore === ownerAfter ? before : undefined, after);
    if (before === undefined) expectations.creationObserved(ownerAfter);
    if (isPodTerminating(after)) expectations.deletionObserved(ownerAfter, after.metadata.uid ?? '');
    enqueueOwner(after);
  }

  function enqueueOwner(pod: Pod | undefined): void {
    const key = pod === undefined ? undefined : controllerKeyOf(replicaSets, pod);
    if (key !== undefined) controller.enqueue(key);
  }

  /** An orphan may match any ReplicaSet of its namespace. */
  function enqueueAdopters(orphan: Pod): void {
    for (const replicaSet of replicaSetInformer.list({ namespace: orphan.metadata.namespace })) {
      if (compileLabelSelector(replicaSet.spec.selector).matches(orphan.metadata.labels)) controller.enqueue(keyOf(replicaSet));
    }
  }

  async function reconcile(key: string, { signal }: ReconcileContext): Promise<Result | undefined> {
    const replicaSet = replicaSetInformer.getByKey(key);
    if (replicaSet === undefined) return undefined;
    await claimPods(replicaSet, signal);
    const counts = countsOf(replicaSet);
    const desired = desiredReplicas(replicaSet);
    let failure: unknown;
    let refusal: Refusal | undefined;

    const snapshot = await advance({
      machine: replicaSetMachine,
      key,
      from: stateOf(replicaSet),
      events: eventsOf(replicaSet, { counts, expecting: !expectations.satisfied(replicaSet.metadata.uid ?? '') }),
      effects: {
        createPods: async () => {
          const pod = podFromTemplate(replicaSets, replicaSet, replicaSet.spec.template);
          const count = Math.min(desired - counts.active, maxPodsAPass);
          failure = await createPods({ client, recorder, expectations, owner: replicaSet, pod, count, signal });
          if (failure === undefined) return undefined;
          refusal = { reason: 'FailedCreate', message: messageOf(failure) };
          return refused;
        },
        deletePods: async () => {
          const victims = victimsOf(replicaSet, Math.min(counts.active - desired, maxPodsAPass));
          failure = await deletePods({ client, recorder, expectations, owner: replicaSet, victims, signal });
          if (failure === undefined) return undefined;
          refusal = { reason: 'FailedDelete', message: messageOf(failure) };
          return refused;
        },
      },
      steps,
    });

    const status = statusOf(snapshot.value, replicaSet, { counts, refusal, timestamp: timestampOf(clock.now()) });
    const final = failure !== undefined || (counts.active === desired && counts.available === desired);
    const after = { ...replicaSet, status };
    const statusAfterMs = await writePacedStatus({ client, pace, resource: replicaSets, before: replicaSet, after, final, signal });
    // The condition says so already; the error brings the back-off.
    if (failure !== undefined) throw failure;
    return soonest(statusAfterMs, msUntilAvailable(replicaSet, counts));
  }

  /** Looks at single pods only when the counter or an orphan says that there is something to claim. */
  async function claimPods(replicaSet: ReplicaSet, signal: AbortSignal): Promise<void> {
    const selector = compileLabelSelector(replicaSet.spec.selector);
    const orphans = orphansIn(podInformer, replicaSet.metadata.namespace);
    if (countsWithReleased(replicaSet).released === 0 && !orphans.some(({ metadata }) => selector.matches(metadata.labels))) return;
    await claim({
      client,
      ownerResource: replicaSets,
      owner: replicaSet,
      selector,
      resource: pods,
      informer: podInformer,
      adoptable: isPodActive,
      signal,
    });
  }

  function countsWithReleased(replicaSet: ReplicaSet) {
    return counter.countsOf(replicaSet, () => ownedBy(podInformer, replicaSet));
  }

  function countsOf(replicaSet: ReplicaSet): PodCounts {
    const counts = countsWithReleased(replicaSet);
    const { minReadySeconds = 0 } = replicaSet.spec;
    if (minReadySeconds === 0 || counts.ready === 0) return counts;
    const now = clock.now();
    let available = 0;
    for (const pod of ownedBy(podInformer, replicaSet)) {
      if (isPodActive(pod) && (availableAt(pod, minReadySeconds) ?? Number.POSITIVE_INFINITY) <= now) available += 1;
    }
    return { ...counts, available };
  }

  function msUntilAvailable(replicaSet: ReplicaSet, counts: PodCounts): number | undefined {
    const { minReadySeconds = 0 } = replicaSet.spec;
    if (minReadySeconds === 0 || counts.available === counts.ready) return undefined;
    const now = clock.now();
    let next: number | undefined;
    for (const pod of ownedBy(podInformer, replicaSet)) {
      const at = isPodActive(pod) ? availableAt(pod, minReadySeconds) : undefined;
      if (at !== undefined && at > now && (next === undefined || at < next)) next = at;
    }
    return next === undefined ? undefined : next - now;
  }

  function victimsOf(replicaSet: ReplicaSet, count: number): readonly Pod[] {
    const active = ownedBy(podInformer, replicaSet).filter(isPodActive);
    if (count >= active.length) return active;
    const related = new Map<string, number>();
    for (const sibling of siblingsOf(replicaSet)) {
      for (const pod of ownedBy(podInformer, sibling)) {
        const node = pod.spec.nodeName ?? '';
        if (node !== '' && isPodActive(pod)) related.set(node, (related.get(node) ?? 0) + 1);
      }
    }
    const relatedOnNode = (pod: Pod): number => related.get(pod.spec.nodeName ?? '') ?? 0;
    return deletionOrder(active, { relatedOnNode, now: clock.now() }).slice(0, count);
  }

  /** The ReplicaSets of the same Deployment, or only itself. */
  function siblingsOf(replicaSet: ReplicaSet): readonly ReplicaSet[] {
    const owner = controllerOf(replicaSet);
    if (owner === undefined) return [replicaSet];
    return ownedByUid(replicaSetInformer, owner.uid);
  }
}
