import { type Pod, pods } from '../../api/core/v1/pod.ts';
import { timestampOf } from '../../base/clock.ts';
import {
  desiredReplicas,
  eventsOf,
  type PodCounts,
  type Refusal,
  type Replicated,
  stateOf,
  statusOf,
} from '../../lifecycle/replica-set.facts.ts';
import { replicaSetMachine } from '../../lifecycle/replica-set.machine.ts';
import { controllerOf } from '../../machinery/object.ts';
import type { Resource } from '../../machinery/resource.ts';
import type { LabelSelector } from '../../machinery/selector.ts';
import type { Controller, ReconcileContext, Result } from '../../reconcile/controller.ts';
import type { ControllerDependencies } from '../../reconcile/dependencies.ts';
import { advance } from '../../reconcile/effects.ts';
import { createExpectations } from '../../reconcile/expectations.ts';
import { createInformedController } from '../../reconcile/informed-controller.ts';
import { createStatusPace } from '../../reconcile/status-pace.ts';
import { deletionOrder } from '../deletion-order.ts';
import { watchOwnedPods, watchOwners } from '../owned-pods.ts';
import { claim, indexByOwner, orphansIn, ownedBy, ownedByUid } from '../ownership.ts';
import { isPodActive, isPodAvailable, untilPodAvailable } from '../pod-conditions.ts';
import { messageOf } from '../refusals.ts';
import { createPods, deletePods, podFromTemplate, soonest, writePacedStatus } from '../workload.ts';
import { createPodCounter } from './pod-counter.ts';

/** Pods created or deleted in one pass; the rest follows in the next one, after others had their turn. */
const maxPodsAPass = 500;

const refused = { type: 'PODS_REFUSED' } as const;

/** A kind whose objects keep a number of equal pods. */
export interface ReplicaKind<T extends Replicated> {
  readonly resource: Resource<T>;
  /** Names the queue, as upstream. */
  readonly name: string;
  selectorOf(owner: T): LabelSelector;
}

/**
 * Keeps as many pods as each object of a kind requests.
 *
 * A pass: claim pods by selector, count them, create or delete the difference, write the status. Expectations remember
 * the requested writes until the cache shows them.
 */
export function createReplicaController<T extends Replicated>(
  { resource, name, selectorOf }: ReplicaKind<T>,
  dependencies: ControllerDependencies,
): Controller {
  const { client, informers, clock, recorder, steps } = dependencies;
  const owners = informers.get(resource);
  const podInformer = informers.get(pods);
  indexByOwner(podInformer);
  indexByOwner(owners);
  const expectations = createExpectations(clock);
  const pace = createStatusPace(clock);
  const counter = createPodCounter((owner) => selectorOf(owner as T));

  const controller = createInformedController(dependencies, { name, workers: 8, reconcile });
  watchOwners(owners, controller.enqueue, [expectations, counter, pace]);
  watchOwnedPods({ pods: podInformer, owners, expectations, selectorOf, onChange: counter.change, enqueue: controller.enqueue });
  return controller;

  async function reconcile(key: string, { signal }: ReconcileContext): Promise<Result | undefined> {
    const owner = owners.getByKey(key);
    if (owner === undefined) return undefined;
    if (await claimPods(owner, signal)) return undefined;
    // A pod that gets available during this pass would be neither counted nor waited for by a second look at the clock.
    const now = clock.now();
    const counts = countsOf(owner, now);
    const desired = desiredReplicas(owner);
    let failure: unknown;
    let refusal: Refusal | undefined;

    const snapshot = await advance({
      machine: replicaSetMachine,
      key,
      from: stateOf(owner),
      events: eventsOf(owner, { counts, expecting: !expectations.satisfied(owner.metadata.uid ?? '') }),
      effects: {
        createPods: async () => {
          const pod = podFromTemplate(resource, owner, owner.spec.template);
          const count = Math.min(desired - counts.active, maxPodsAPass);
          failure = await createPods({ client, recorder, expectations, owner, pod, count, signal });
          if (failure === undefined) return undefined;
          refusal = { reason: 'FailedCreate', message: messageOf(failure) };
          return refused;
        },
        deletePods: async () => {
          const victims = victimsOf(owner, Math.min(counts.active - desired, maxPodsAPass));
          failure = await deletePods({ client, recorder, expectations, owner, victims, signal });
          if (failure === undefined) return undefined;
          refusal = { reason: 'FailedDelete', message: messageOf(failure) };
          return refused;
        },
      },
      steps,
    });

    const status = statusOf(snapshot.value, owner, { counts, refusal, timestamp: timestampOf(now) });
    const final = failure !== undefined || (counts.active === desired && counts.available === desired);
    const statusAfterMs = await writePacedStatus({ client, pace, resource, before: owner, after: { ...owner, status }, final, signal });
    // The condition says so already; the error brings the back-off.
    if (failure !== undefined) throw failure;
    return soonest(statusAfterMs, msUntilAvailable(owner, counts, now), expectations.waitMs(owner.metadata.uid ?? ''));
  }

  /** Looks at single pods only when the counter or an orphan says that there is something to claim. */
  async function claimPods(owner: T, signal: AbortSignal): Promise<boolean> {
    const selector = selectorOf(owner);
    const orphans = orphansIn(podInformer, owner.metadata.namespace);
    const { released } = counter.countsOf(owner, () => ownedBy(podInformer, owner));
    if (released === 0 && !orphans.some(({ metadata }) => selector.matches(metadata.labels))) return false;
    return await claim({
      client,
      ownerResource: resource,
      owner,
      selector,
      resource: pods,
      informer: podInformer,
      adoptable: isPodActive,
      signal,
    });
  }

  function countsOf(owner: T, now: number): PodCounts {
    const counts = counter.countsOf(owner, () => ownedBy(podInformer, owner));
    const { minReadySeconds = 0 } = owner.spec;
    if (minReadySeconds === 0 || counts.ready === 0) return counts;
    const available = ownedBy(podInformer, owner).filter((pod) => isPodActive(pod) && isPodAvailable(pod, minReadySeconds, now));
    return { ...counts, available: available.length };
  }

  function msUntilAvailable(owner: T, counts: PodCounts, now: number): number | undefined {
    const { minReadySeconds = 0 } = owner.spec;
    if (minReadySeconds === 0 || counts.available === counts.ready) return undefined;
    return untilPodAvailable(ownedBy(podInformer, owner).filter(isPodActive), minReadySeconds, now);
  }

  function victimsOf(owner: T, count: number): readonly Pod[] {
    const active = ownedBy(podInformer, owner).filter(isPodActive);
    if (count >= active.length) return active;
    const family = siblingsOf(owner).flatMap((sibling) => ownedBy(podInformer, sibling));
    const related = activePodsByNode(family);
    const relatedOnNode = (pod: Pod): number => related.get(pod.spec.nodeName ?? '') ?? 0;
    return deletionOrder(active, { relatedOnNode, now: clock.now() }).slice(0, count);
  }

  /** The ReplicaSets of the same Deployment, or only itself. */
  function siblingsOf(owner: T): readonly T[] {
    const above = controllerOf(owner);
    return above === undefined ? [owner] : ownedByUid(owners, above.uid);
  }
}

function activePodsByNode(family: readonly Pod[]): ReadonlyMap<string, number> {
  const byNode = new Map<string, number>();
  for (const pod of family) {
    const node = pod.spec.nodeName ?? '';
    if (node !== '' && isPodActive(pod)) byNode.set(node, (byNode.get(node) ?? 0) + 1);
  }
  return byNode;
}
