import { controllerRevisions } from '../../api/apps/v1/controller-revision.ts';
import { type StatefulSet, statefulSets } from '../../api/apps/v1/stateful-set.ts';
import { persistentVolumeClaims } from '../../api/core/v1/persistent-volume-claim.ts';
import { pods } from '../../api/core/v1/pod.ts';
import { labels } from '../../api/well-known.ts';
import { eventsOf, isRollingUpdate, partitionOf, type StatefulSetWorld, stateOf, statusOf } from '../../lifecycle/stateful-set.facts.ts';
import { statefulSetMachine } from '../../lifecycle/stateful-set.machine.ts';
import { deepEqual, keyOf } from '../../machinery/object.ts';
import { compileLabelSelector } from '../../machinery/selector.ts';
import type { Controller, ReconcileContext, Result } from '../../reconcile/controller.ts';
import type { ControllerDependencies } from '../../reconcile/dependencies.ts';
import { advance } from '../../reconcile/effects.ts';
import { createExpectations } from '../../reconcile/expectations.ts';
import { createInformedController } from '../../reconcile/informed-controller.ts';
import { createStatusPace } from '../../reconcile/status-pace.ts';
import { watchOwnedPods, watchOwners } from '../owned-pods.ts';
import { claim, indexByOwner, ownedBy } from '../ownership.ts';
import { isNamespaceTerminating } from '../refusals.ts';
import { createRevisionHistory, type History, surplusRevisions } from '../revisions/history.ts';
import { templateIn } from '../revisions/revision.ts';
import { soonest, writePacedStatus } from '../workload.ts';
import { mayHaveMade } from './claims.ts';
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
  watchOwners(setInformer, controller.enqueue, [expectations, pace]);
  watchOwnedPods({
    pods: podInformer,
    owners: setInformer,
    expectations,
    selectorOf: ({ spec }) => compileLabelSelector(spec.selector),
    mayAdopt: (set, orphan) => ordinalOf(set, orphan) !== undefined,
    enqueue: controller.enqueue,
  });
  history.watch(controller.enqueue);
  // A pod may wait until an old claim of its name is gone.
  claims.addHandler(({ before, after }) => {
    if (before === undefined || after !== undefined) return;
    const { namespace, name } = before.metadata;
    for (const set of setInformer.list({ namespace })) if (mayHaveMade(set, name)) controller.enqueue(keyOf(set));
  });
  return controller;

  async function reconcile(key: string, { signal }: ReconcileContext): Promise<Result | undefined> {
    const set = setInformer.getByKey(key);
    if (set === undefined || set.metadata.deletionTimestamp !== undefined) return undefined;
    if (await claimPods(set, signal)) return undefined;
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
    return soonest(statusAfterMs, msUntilAvailable(view), expectations.waitMs(set.metadata.uid ?? ''));
  }

  async function claimPods(set: StatefulSet, signal: AbortSignal): Promise<boolean> {
    return await claim({
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
