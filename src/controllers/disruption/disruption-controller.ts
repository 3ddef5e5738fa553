import { deployments } from '../../api/apps/v1/deployment.ts';
import { replicaSets } from '../../api/apps/v1/replica-set.ts';
import { statefulSets } from '../../api/apps/v1/stateful-set.ts';
import { type Pod, pods } from '../../api/core/v1/pod.ts';
import { replicationControllers } from '../../api/core/v1/replication-controller.ts';
import { type PodDisruptionBudget, podDisruptionBudgets } from '../../api/policy/v1/pod-disruption-budget.ts';
import { timestampOf } from '../../base/clock.ts';
import type { Informer } from '../../client/informer.ts';
import { setCondition } from '../../machinery/conditions.ts';
import { controllerOf, deepEqual, type KubeObject, keyOf, type OwnerReference } from '../../machinery/object.ts';
import { apiVersionOf, type Resource } from '../../machinery/resource.ts';
import { compileLabelSelector } from '../../machinery/selector.ts';
import { isNotFound } from '../../machinery/status-error.ts';
import type { Controller, ReconcileContext, Result } from '../../reconcile/controller.ts';
import type { ControllerDependencies } from '../../reconcile/dependencies.ts';
import { createInformedController } from '../../reconcile/informed-controller.ts';
import { messageOf } from '../refusals.ts';
import { createScaleTargets, NotScalable } from '../scale-targets.ts';
import { selectorTextOf } from '../selector-text.ts';
import { disruptionOf, expectationOf, healthyCount, needsScale, statusOf } from './plan.ts';

/** A kind that owns pods and says how many there should be. */
interface ScaledObject extends KubeObject {
  readonly spec?: { readonly replicas?: number };
}

/** Counts for every PodDisruptionBudget how many of its pods are healthy, how many have to be, and so how many may be evicted now. */
export function createDisruptionController(dependencies: ControllerDependencies): Controller {
  const { client, informers, clock, recorder } = dependencies;
  const budgetInformer = informers.get(podDisruptionBudgets);
  const podInformer = informers.get(pods);
  const targets = createScaleTargets({ client, clock });
  const scaled = [deployments, replicaSets, statefulSets, replicationControllers].map((resource) => ({
    resource: resource as Resource,
    informer: informers.get(resource as Resource<ScaledObject>),
  }));

  const controller = createInformedController(dependencies, {
    name: 'disruption',
    reconcile,
  });
  budgetInformer.addHandler(({ after }) => {
    if (after !== undefined) controller.enqueue(keyOf(after));
  });
  podInformer.addHandler(({ before, after }) => {
    const { namespace } = (after ?? before)?.metadata ?? {};
    if (after !== undefined && before !== undefined && !bearsOnHealth(before, after)) return;
    for (const budget of budgetInformer.list({ namespace })) {
      const { matches } = compileLabelSelector(budget.spec?.selector);
      if ((before !== undefined && matches(before.metadata.labels)) || (after !== undefined && matches(after.metadata.labels))) {
        controller.enqueue(keyOf(budget));
      }
    }
  });
  for (const { informer } of scaled) {
    informer.addHandler(({ before, after }) => {
      const { namespace } = (after ?? before)?.metadata ?? {};
      if (before !== undefined && after?.spec?.replicas === before.spec?.replicas) return;
      for (const budget of budgetInformer.list({ namespace })) if (needsScale(budget)) controller.enqueue(keyOf(budget));
    });
  }
  return controller;

  async function reconcile(key: string, { signal }: ReconcileContext): Promise<Result | undefined> {
    const budget = budgetInformer.getByKey(key);
    if (budget === undefined) return undefined;
    const selector = compileLabelSelector(budget.spec?.selector);
    const selected = [...podInformer.list({ namespace: budget.metadata.namespace, selector })];
    if (selected.length === 0) recorder.record(budget, { type: 'Normal', reason: 'NoPods', message: 'No matching pods found' });
    const nowMs = clock.now();
    let scale = 0;
    try {
      if (needsScale(budget)) scale = await scaleOf(budget, selected, signal);
      const disruption = disruptionOf(budget, selected, nowMs);
      for (const pod of disruption.overdue) {
        const message = `Pod was expected by PDB ${budget.metadata.namespace ?? ''}/${budget.metadata.name} to be deleted but it wasn't`;
        recorder.record(pod, { type: 'Warning', reason: 'NotDeleted', message });
      }
      const expectation = expectationOf(budget, selected.length, scale);
      const healthy = healthyCount(selected, disruption);
      await write(budget, statusOf(budget, { ...expectation, healthy, disruption }, nowMs), signal);
      return disruption.recheckAtMs === undefined ? undefined : { requeueAfterMs: Math.max(disruption.recheckAtMs - nowMs, 0) };
    } catch (err) {
      if (!(err instanceof UnknownScale)) throw err;
      const message = `Failed to calculate the number of expected pods: ${err.message}`;
      recorder.record(budget, { type: 'Warning', reason: 'CalculateExpectedPodCountFailed', message });
      await write(budget, failedStatus(budget, err, timestampOf(nowMs)), signal);
      return { requeueAfterMs: recountMs };
    }
  }

  async function write(budget: PodDisruptionBudget, status: PodDisruptionBudget['status'], signal: AbortSignal): Promise<void> {
    if (deepEqual(status, budget.status)) return;
    try {
      await client.update(
        podDisruptionBudgets,
        { ...budget, ...(status === undefined ? {} : { status }) },
        { subresource: 'status', signal },
      );
    } catch (err) {
      if (!isNotFound(err)) throw err;
    }
  }

  /** Sum of the pods that the owners of the selected pods want. */
  async function scaleOf(budget: PodDisruptionBudget, selected: readonly Pod[], signal: AbortSignal): Promise<number> {
    const known = new Set<string>();
    let total = 0;
    let hasUnmanaged = false;
    for (const pod of selected) {
      const owner = controllerOf(pod);
      if (owner === undefined) {
        hasUnmanaged = true;
        continue;
      }
      if (known.has(owner.uid)) continue;
      const { uid, replicas } = await scaleOfOwner(pod, owner, signal);
      if (!known.has(uid)) total += replicas;
      known.add(owner.uid).add(uid);
    }
    if (hasUnmanaged) {
      const shown = selectorTextOf(budget.spec?.selector);
      recorder.record(budget, {
        type: 'Warning',
        reason: 'UnmanagedPods',
        message: `Pods selected by this PodDisruptionBudget (selector: ${shown}) were found to be unmanaged. As a result, the status of the PDB cannot be calculated correctly, which may result in undefined behavior. To account for these pods please set ".spec.minAvailable" field of the PDB to an integer value.`,
      });
    }
    return total;
  }

  /** Replicas of a Deployment where the owner is one of its ReplicaSets, which have its pods together; else those of the owner itself. */
  async function scaleOfOwner(pod: Pod, owner: OwnerReference, signal: AbortSignal): Promise<OwnerScale> {
    const { namespace = '' } = pod.metadata;
    const known = informerOf(owner);
    const found = known === undefined ? await readScale(owner, namespace, signal) : scaleIn(known, owner, namespace);
    if (found === undefined) throw new UnknownScale(`found no controllers for pod ${JSON.stringify(pod.metadata.name)}`);
    return found;
  }

  function informerOf({ apiVersion, kind }: OwnerReference): Informer<ScaledObject> | undefined {
    return scaled.find(({ resource }) => resource.kind === kind && apiVersionOf(resource) === apiVersion)?.informer;
  }

  function scaleIn(informer: Informer<ScaledObject>, { name, uid }: OwnerReference, namespace: string): OwnerScale | undefined {
    const found = informer.get({ namespace, name });
    if (found === undefined || found.metadata.uid !== uid) return undefined;
    const outer = controllerOf(found);
    const above = outer?.kind === deployments.kind ? informerOf(outer) : undefined;
    if (outer !== undefined && above !== undefined) return scaleIn(above, outer, namespace) ?? { uid, replicas: found.spec?.replicas ?? 1 };
    return { uid, replicas: found.spec?.replicas ?? 1 };
  }

  /** Asks the server for the scale of an owner of any other kind; undefined when that object is gone. */
  async function readScale(owner: OwnerReference, namespace: string, signal: AbortSignal): Promise<OwnerScale | undefined> {
    try {
      const { scale } = await targets.read(owner, namespace, signal);
      return scale.metadata.uid === owner.uid ? { uid: owner.uid, replicas: scale.spec?.replicas ?? 0 } : undefined;
    } catch (err) {
      if (signal.aborted) throw err;
      if (isNotFound(err)) return undefined;
      if (err instanceof NotScalable)
        throw new UnknownScale(`${await targets.groupResourceOf(owner)} does not implement the scale subresource`);
      throw new UnknownScale(messageOf(err));
    }
  }
}

interface OwnerScale {
  readonly uid: string;
  readonly replicas: number;
}

/** The number of wanted pods is unknown; the budget allows no eviction until it is known. */
class UnknownScale extends Error {}

const recountMs = 10_000;

function failedStatus(budget: PodDisruptionBudget, err: Error, now: string): NonNullable<PodDisruptionBudget['status']> {
  const { metadata, status } = budget;
  type Condition = NonNullable<NonNullable<PodDisruptionBudget['status']>['conditions']>[number];
  const failed = {
    type: 'DisruptionAllowed',
    status: 'False',
    ...(metadata.generation === undefined ? {} : { observedGeneration: metadata.generation }),
    reason: 'SyncFailed',
    message: messageOf(err),
  } as const;
  return {
    ...(status ?? { currentHealthy: 0, desiredHealthy: 0, expectedPods: 0 }),
    disruptionsAllowed: 0,
    ...(metadata.generation === undefined ? {} : { observedGeneration: metadata.generation }),
    conditions: setCondition<Condition>(status?.conditions, failed as Omit<Condition, 'lastTransitionTime'>, now),
  };
}

function bearsOnHealth(before: Pod, after: Pod): boolean {
  return (
    before.metadata.labels !== after.metadata.labels ||
    before.metadata.deletionTimestamp !== after.metadata.deletionTimestamp ||
    before.metadata.ownerReferences !== after.metadata.ownerReferences ||
    before.status?.conditions !== after.status?.conditions
  );
}
