import { controllerRevisions } from '../../api/apps/v1/controller-revision.ts';
import { type StatefulSet, statefulSets } from '../../api/apps/v1/stateful-set.ts';
import { type PersistentVolumeClaim, persistentVolumeClaims } from '../../api/core/v1/persistent-volume-claim.ts';
import { type Pod, pods } from '../../api/core/v1/pod.ts';
import { labels } from '../../api/well-known.ts';
import { eventsOf, isRollingUpdate, partitionOf, type StatefulSetWorld, stateOf, statusOf } from '../../lifecycle/stateful-set.facts.ts';
import { statefulSetMachine } from '../../lifecycle/stateful-set.machine.ts';
import { controllerOf, deepEqual, keyOf } from '../../machinery/object.ts';
import { compileLabelSelector } from '../../machinery/selector.ts';
import type { Controller, ReconcileContext, Result } from '../../reconcile/controller.ts';
import type { ControllerDependencies } from '../../reconcile/dependencies.ts';
import { advance } from '../../reconcile/effects.ts';
import { createExpectations } from '../../reconcile/expectations.ts';
import { createInformedController } from '../../reconcile/informed-controller.ts';
import { createStatusPace } from '../../reconcile/status-pace.ts';
import { claim, controllerKeyOf, indexByOwner, ownedBy } from '../ownership.ts';
import { isPodTerminating } from '../pod-conditions.ts';
import { isNamespaceTerminating } from '../refusals.ts';
import { createRevisionHistory, type History, surplusRevisions } from '../revisions/history.ts';
import { templateIn } from '../revisions/revision.ts';
import { writePacedStatus } from '../workload.ts';
import { ordinalOf, type PodRevision, revisionOf, startOrdinal } from './identity.ts';
import { countPods, msUntilAvailable, planOf, type StatefulSetPlan, type StatefulSetView } from './plan.ts';
import { createPodWrites } from './pod-writes.ts';

/** Pods created or deleted in one pass; the rest follows in the next one, after others had their turn. */
const maxPodsAPass = 500;

const noPlan: StatefulSetPlan = { finished: [], missing: [], damaged: [], surplus: [], outdated: [] };

/**
 * Keeps a pod with a lasting name, and lasting claims, for each ordinal of each StatefulSet.
 *
 * A pass: claim pods and revisions by selector, find or make the revision of the template, plan, do what the plan says, write the
 * status. Expectations hold the next plan back until the cache shows what was done.
 */
export function createStatefulSetController(dependencies: ControllerDependencies): Controller {
  const { client, informers, clock, recorder, steps } = dependencies;
  const setInformer = informers.get(statefulSets);
  const podInformer = informers.get(pods);
  const claims = informers.get(persistentVolumeClaims);
  indexByOwner(podInformer);
  const history = createRevisionHistory({
    client,
    informer: informers.get(controllerRevisions),
    resource: statefulSets,
    hashLabel: labels.revisionHash,
  });
  const expectations = createExpectations(clock);
  const pace = createStatusPace(clock);
  const writes = createPodWrites({ client, recorder, expectations, claims });

  const controller = createInformedController(dependencies, { name: 'statefulset', reconcile });
  setInformer.addHandler(({ before, after }) => {
    if (after !== undefined) controller.enqueue(keyOf(after));
    else if (before !== undefined) {
      expectations.forget(before.metadata.uid ?? '');
      pace.forget(before.metadata.uid ?? '');
    }
  });
  podInformer.addHandler(onPodChange);
  claims.addHandler(({ before, after }) => {
    if (before !== undefined && after === undefined) enqueueUsers(before);
  });
  return controller;

  function onPodChange({ before, after }: { readonly before?: Pod; readonly after?: Pod }): void {
    for (const pod of [before, after]) {
      const key = pod === undefined ? undefined : controllerKeyOf(statefulSets, pod);
      if (key !== undefined) controller.enqueue(key);
    }
    const ownerBefore = before === undefined ? undefined : controllerOf(before)?.uid;
    const ownerAfter = after === undefined ? undefined : controllerOf(after)?.uid;
    if (before !== undefined && ownerBefore !== undefined && ownerBefore !== ownerAfter)
      expectations.deletionObserved(ownerBefore, before.metadata.uid ?? '');
    if (after === undefined) return;
    if (ownerAfter === undefined) {
      enqueueAdopters(after);
      return;
    }
    if (before === undefined) expectations.creationObserved(ownerAfter);
    if (isPodTerminating(after)) expectations.deletionObserved(ownerAfter, after.metadata.uid ?? '');
  }

  /** An orphan may belong to any set of its namespace whose name it has. */
  function enqueueAdopters(orphan: Pod): void {
    for (const set of setInformer.list({ namespace: orphan.metadata.namespace })) {
      if (ordinalOf(set, orphan) === undefined) continue;
      if (compileLabelSelector(set.spec.selector).matches(orphan.metadata.labels)) controller.enqueue(keyOf(set));
    }
  }

  /** A pod may wait until an old claim of its name is gone. */
  function enqueueUsers({ metadata: { namespace, name } }: PersistentVolumeClaim): void {
    for (const set of setInformer.list({ namespace })) {
      const templates = set.spec.volumeClaimTemplates ?? [];
      if (templates.some(({ metadata }) => name.startsWith(`${metadata?.name ?? ''}-${set.metadata.name}-`)))
        controller.enqueue(keyOf(set));
    }
  }

  async function reconcile(key: string, { signal }: ReconcileContext): Promise<Result | undefined> {
    const set = setInformer.getByKey(key);
    if (set === undefined || set.metadata.deletionTimestamp !== undefined) return undefined;
    await claimPods(set, signal);
    const revisions = await history.sync(set, { signal });
    const view = viewOf(set, revisions);
    const isLive = isLiveIn(view);
    const plan = expectations.satisfied(set.metadata.uid ?? '') ? planOf(view) : noPlan;
    const world = worldOf(view, plan, { ...revisions, tooLong: surplusRevisions(set, revisions, isLive).length > 0 });
    let failure: unknown;
    /** The status says how far the pass came, so the pass goes on after a refusal. */
    const attempt = async (write: Promise<void>): Promise<void> => {
      try {
        await write;
      } catch (err) {
        failure ??= err;
      }
    };

    const snapshot = await advance({
      machine: statefulSetMachine,
      key,
      from: stateOf(set),
      events: eventsOf(set, world),
      effects: {
        deleteFinishedPods: () => attempt(writes.delete(set, plan.finished.slice(0, maxPodsAPass), { signal })),
        createPods: () =>
          attempt(
            writes.create(set, plan.missing.slice(0, maxPodsAPass), {
              revisionOf: (ordinal) => revisionFor(view, revisions, ordinal),
              signal,
            }),
          ),
        repairPods: () => attempt(writes.repair(set, plan.damaged, { signal })),
        deleteSurplusPods: () => attempt(writes.delete(set, plan.surplus.slice(0, maxPodsAPass), { signal })),
        deleteOutdatedPods: () => attempt(writes.delete(set, plan.outdated.slice(0, maxPodsAPass), { signal })),
        deleteOldRevisions: () => history.trim(set, revisions, { isLive, signal }),
      },
      steps,
    });

    const status = statusOf(snapshot.value, set, world);
    const final = failure !== undefined || deepEqual(snapshot.value, { Live: 'Available' });
    const after = { ...set, status };
    const statusAfterMs = await writePacedStatus({ client, pace, resource: statefulSets, before: set, after, final, signal });
    if (failure !== undefined && !isNamespaceTerminating(failure)) throw failure;
    const waits = [statusAfterMs, msUntilAvailable(view)].filter((wait) => wait !== undefined);
    return waits.length === 0 ? undefined : { requeueAfterMs: Math.min(...waits) };
  }

  async function claimPods(set: StatefulSet, signal: AbortSignal): Promise<void> {
    await claim({
      client,
      ownerResource: statefulSets,
      owner: set,
      selector: compileLabelSelector(set.spec.selector),
      resource: pods,
      informer: podInformer,
      adoptable: (pod) => ordinalOf(set, pod) !== undefined,
      signal,
    });
  }

  function viewOf(set: StatefulSet, { update, revisions }: History): StatefulSetView {
    const updateRevision = update.metadata.name;
    const { namespace } = set.metadata;
    const noted = set.status?.currentRevision;
    return {
      set,
      pods: ownedBy(podInformer, set),
      // The first revision is where updates start from.
      currentRevision: noted !== undefined && revisions.some(({ metadata }) => metadata.name === noted) ? noted : updateRevision,
      updateRevision,
      claim: (name) => claims.get({ namespace, name }),
      now: clock.now(),
    };
  }
}

function worldOf(
  view: StatefulSetView,
  plan: StatefulSetPlan,
  { collisionCount, tooLong }: { readonly collisionCount: number; readonly tooLong: boolean },
): StatefulSetWorld {
  const { currentRevision, updateRevision } = view;
  return {
    counts: countPods(view),
    currentRevision,
    updateRevision,
    collisionCount,
    due: {
      finished: plan.finished.length > 0,
      missing: plan.missing.length > 0,
      damaged: plan.damaged.length > 0,
      surplus: plan.surplus.length > 0,
      outdated: plan.outdated.length > 0,
    },
    historyTooLong: tooLong,
  };
}

/** Revisions that pods have, or from or to which an update goes. */
function isLiveIn({ pods: owned, currentRevision, updateRevision }: StatefulSetView) {
  const names = new Set([currentRevision, updateRevision, ...owned.map(revisionOf)]);
  return ({ metadata }: History['update']): boolean => names.has(metadata.name);
}

/** A pod below the partition comes back as it was. */
function revisionFor({ set, currentRevision }: StatefulSetView, { update, revisions }: History, ordinal: number): PodRevision {
  const isKept = isRollingUpdate(set) && ordinal < startOrdinal(set) + partitionOf(set);
  const revision = isKept ? revisions.find(({ metadata }) => metadata.name === currentRevision) : undefined;
  const template = revision === undefined ? undefined : templateIn(revision);
  if (revision === undefined || template === undefined) return { name: update.metadata.name, template: set.spec.template };
  return { name: revision.metadata.name, template };
}
