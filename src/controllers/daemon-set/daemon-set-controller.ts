import { type ControllerRevision, controllerRevisions } from '../../api/apps/v1/controller-revision.ts';
import { type DaemonSet, daemonSets } from '../../api/apps/v1/daemon-set.ts';
import { type Node, nodes } from '../../api/core/v1/node.ts';
import { type Pod, pods } from '../../api/core/v1/pod.ts';
import { labels } from '../../api/well-known.ts';
import { type DaemonSetWorld, eventsOf, stateOf, statusOf } from '../../lifecycle/daemon-set.facts.ts';
import { daemonSetMachine } from '../../lifecycle/daemon-set.machine.ts';
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
import { isPodActive, untilPodAvailable } from '../pod-conditions.ts';
import { createRevisionHistory, surplusRevisions } from '../revisions/history.ts';
import { createPods, deletePods, soonest, writePacedStatus } from '../workload.ts';
import { createDaemonPods, hashOf } from './daemon-pods.ts';
import { mergeDuplicates } from './duplicates.ts';
import { createFailedPodBackoff, failedKey, reportFinished } from './failed-pods.ts';
import { nodeFitOf } from './node-fit.ts';
import { type DaemonPlan, type DaemonView, planOf } from './plan.ts';

/** Pods created or deleted in one pass, upstream's burst; the rest follows in the next one. */
const maxPodsAPass = 250;

/** Time for the cache to show pods with their new labels. */
const mergeMs = 100;

/**
 * Keeps one pod of each DaemonSet on every node that its pods fit.
 *
 * A pass: claim pods and revisions by selector, find or make the revision of the template, plan, do what the plan says, write the
 * status. Expectations hold the next plan back until the cache shows what was done.
 */
export function createDaemonSetController(dependencies: ControllerDependencies): Controller {
  const { client, informers, clock, recorder, steps } = dependencies;
  const setInformer = informers.get(daemonSets);
  const podInformer = informers.get(pods);
  const nodeInformer = informers.get(nodes);
  indexByOwner(podInformer);
  const history = createRevisionHistory({
    client,
    informer: informers.get(controllerRevisions),
    resource: daemonSets,
    hashLabel: labels.controllerRevisionHash,
  });
  const expectations = createExpectations(clock);
  const failedPods = createFailedPodBackoff(clock);
  const pace = createStatusPace(clock);

  const controller = createInformedController(dependencies, { name: 'daemonset', reconcile });
  watchOwners(setInformer, controller.enqueue, [expectations, pace]);
  watchOwnedPods({
    pods: podInformer,
    owners: setInformer,
    expectations,
    selectorOf: ({ spec }) => compileLabelSelector(spec.selector),
    enqueue: controller.enqueue,
  });
  nodeInformer.addHandler(({ before, after }) => onNodeChange(before, after));
  history.watch(controller.enqueue);
  return controller;

  /** A heartbeat changes no label and no taint, so it concerns no set. */
  function onNodeChange(before: Node | undefined, after: Node | undefined): void {
    if (before !== undefined && after !== undefined && hasSameFit(before, after)) return;
    for (const set of setInformer.list()) {
      const judge = nodeFitOf(set);
      const [was, is] = [before, after].map((node) => (node === undefined ? undefined : judge(node)));
      if (!deepEqual(was, is)) controller.enqueue(keyOf(set));
    }
  }

  async function reconcile(key: string, { signal }: ReconcileContext): Promise<Result | undefined> {
    const set = setInformer.getByKey(key);
    if (set === undefined || set.metadata.deletionTimestamp !== undefined) return undefined;
    if (await claimPods(set, signal)) return undefined;
    const revisions = await history.sync(set, { signal });
    // Their deletion brings the next pass, in which pods have their one label.
    if (revisions.duplicates.length > 0) {
      await mergeDuplicates(ownedBy(podInformer, set), revisions, { client, history, signal });
      return { requeueAfterMs: mergeMs };
    }
    const view = viewOf(set, hashOf(revisions.update));
    const plan = planOf(view);
    const isLive = isLiveIn(view);
    const expecting = !expectations.satisfied(set.metadata.uid ?? '');
    const historyTooLong = surplusRevisions(set, revisions, isLive).length > 0;
    const { collisionCount } = revisions;
    const world: DaemonSetWorld = { counts: plan.counts, due: dueIn(plan), expecting, historyTooLong, collisionCount };
    let failure: unknown;
    const create = async (names: readonly string[]): Promise<void> => {
      const podFor = createDaemonPods(set, view.hash);
      const pod = (index: number) => podFor(names[index] ?? '');
      const count = Math.min(names.length, maxPodsAPass);
      failure ??= await createPods({ client, recorder, expectations, owner: set, pod, count, signal });
    };
    const remove = async (victims: readonly Pod[]): Promise<void> => {
      failure ??= await deletePods({ client, recorder, expectations, owner: set, victims: victims.slice(0, maxPodsAPass), signal });
    };

    const snapshot = await advance({
      machine: daemonSetMachine,
      key,
      from: stateOf(set),
      events: eventsOf(set, world),
      effects: {
        createPods: () => create(plan.missing),
        deleteFinishedPods: () => remove(reportFinished(set, plan.finished, { recorder, failedPods })),
        deleteSurplusPods: () => remove(plan.surplus),
        deleteOutdatedPods: () => remove(plan.outdated),
        createSurgePods: () => create(plan.surge),
        deleteOldRevisions: () => history.trim(set, revisions, { isLive, signal }),
      },
      steps,
    });

    const after = { ...set, status: statusOf(snapshot.value, set, world) };
    const final = failure !== undefined || deepEqual(snapshot.value, { Live: 'Available' });
    const statusAfterMs = await writePacedStatus({ client, pace, resource: daemonSets, before: set, after, final, signal });
    if (failure !== undefined) throw failure;
    const availableAfterMs = untilPodAvailable(view.pods, set.spec.minReadySeconds ?? 0, view.now);
    return soonest(statusAfterMs, plan.failedAfterMs, availableAfterMs, expectations.waitMs(set.metadata.uid ?? ''));
  }

  async function claimPods(set: DaemonSet, signal: AbortSignal): Promise<boolean> {
    return await claim({
      client,
      ownerResource: daemonSets,
      owner: set,
      selector: compileLabelSelector(set.spec.selector),
      resource: pods,
      informer: podInformer,
      adoptable: isPodActive,
      signal,
    });
  }

  function viewOf(set: DaemonSet, hash: string): DaemonView {
    return {
      set,
      nodes: [...nodeInformer.list()],
      pods: ownedBy(podInformer, set),
      hash,
      failedWait: (node) => failedPods.wait(failedKey(set, node)),
      now: clock.now(),
    };
  }
}

const hasSameFit = (a: Node, b: Node): boolean =>
  deepEqual(a.metadata.labels, b.metadata.labels) && deepEqual(a.spec?.taints, b.spec?.taints);

const dueIn = ({ missing, finished, surplus, outdated, surge }: DaemonPlan): DaemonSetWorld['due'] => ({
  missing: missing.length > 0,
  finished: finished.length > 0,
  surplus: surplus.length > 0,
  outdated: outdated.length > 0,
  surge: surge.length > 0,
});

function isLiveIn({ pods: owned }: DaemonView) {
  const hashes = new Set(owned.map(hashOf));
  return (revision: ControllerRevision): boolean => hashes.has(hashOf(revision));
}
