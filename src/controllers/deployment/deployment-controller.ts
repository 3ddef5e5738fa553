import { type Deployment, deployments } from '../../api/apps/v1/deployment.ts';
import { type ReplicaSet, replicaSets } from '../../api/apps/v1/replica-set.ts';
import { pods } from '../../api/core/v1/pod.ts';
import { type Clock, timestampOf } from '../../base/clock.ts';
import { deadlineOf, eventsOf, isRolledOut, type RolloutNews, stateOf, statusOf } from '../../lifecycle/deployment.facts.ts';
import { deploymentMachine } from '../../lifecycle/deployment.machine.ts';
import { byTemplate } from '../../lifecycle/deployment-templates.ts';
import { controllerOf, keyOf } from '../../machinery/object.ts';
import { compileLabelSelector } from '../../machinery/selector.ts';
import type { Controller, ReconcileContext, Result } from '../../reconcile/controller.ts';
import type { ControllerDependencies } from '../../reconcile/dependencies.ts';
import { advance } from '../../reconcile/effects.ts';
import { createInformedController } from '../../reconcile/informed-controller.ts';
import { createStatusPace } from '../../reconcile/status-pace.ts';
import { watchOwners } from '../owned-pods.ts';
import { claim, controllerKeyOf, indexByOwner, ownedBy } from '../ownership.ts';
import { isPodFinished } from '../pod-conditions.ts';
import { isNamespaceTerminating, messageOf } from '../refusals.ts';
import { writePacedStatus } from '../workload.ts';
import { createReplicaSetWrites, nameOf } from './replica-set-writes.ts';
import { nextRevision, surplusHistory } from './revisions.ts';
import { type Generations, newSize, oldSizes, proportionalSizes } from './rollout-plan.ts';
import { worldOf } from './world.ts';

const refused = { type: 'REPLICA_SET_REFUSED' } as const;

/**
 * Brings each Deployment from one pod template to the next, through ReplicaSets.
 *
 * A pass: claim ReplicaSets by selector, give the new one its revision, take one step of the rollout, write the status. Each step is seen
 * in the cache before the next one is decided.
 */
export function createDeploymentController(dependencies: ControllerDependencies): Controller {
  const { client, informers, clock, log, recorder, steps } = dependencies;
  const deploymentInformer = informers.get(deployments);
  const replicaSetInformer = informers.get(replicaSets);
  const podInformer = informers.get(pods);
  indexByOwner(replicaSetInformer);
  indexByOwner(podInformer);
  const pace = createStatusPace(clock);
  const writes = createReplicaSetWrites({ client, recorder, log });

  const controller = createInformedController(dependencies, { name: 'deployment', workers: 8, reconcile });
  watchOwners(deploymentInformer, controller.enqueue, [pace]);
  replicaSetInformer.addHandler(({ before, after }) => {
    for (const replicaSet of [before, after]) {
      const key = replicaSet === undefined ? undefined : controllerKeyOf(deployments, replicaSet);
      if (key !== undefined) controller.enqueue(key);
    }
    if (after !== undefined && controllerOf(after) === undefined) enqueueAdopters(after);
  });
  // Recreate waits for old pods to end, and no ReplicaSet status tells of the last terminating one.
  podInformer.addHandler(({ before, after }) => {
    if (before === undefined || (after !== undefined && !isPodFinished(after))) return;
    const replicaSetKey = controllerKeyOf(replicaSets, before);
    const replicaSet = replicaSetKey === undefined ? undefined : replicaSetInformer.getByKey(replicaSetKey);
    const key = replicaSet === undefined ? undefined : controllerKeyOf(deployments, replicaSet);
    if (key !== undefined && deploymentInformer.getByKey(key)?.spec.strategy?.type === 'Recreate') controller.enqueue(key);
  });
  return controller;

  /** An orphan may match any Deployment of its namespace. */
  function enqueueAdopters(orphan: ReplicaSet): void {
    for (const deployment of deploymentInformer.list({ namespace: orphan.metadata.namespace })) {
      if (compileLabelSelector(deployment.spec.selector).matches(orphan.metadata.labels)) controller.enqueue(keyOf(deployment));
    }
  }

  async function reconcile(key: string, { signal }: ReconcileContext): Promise<Result | undefined> {
    let deployment = deploymentInformer.getByKey(key);
    if (deployment === undefined) return undefined;
    if (await claimReplicaSets(deployment, signal)) return undefined;
    let generations = generationsOf(deployment);
    if (deployment.metadata.deletionTimestamp === undefined) {
      generations = await writes.syncRevision(generations, signal);
      // The answer to a write has a spec that this pass did not look at: its status would say that this one is observed.
      if (isChanged(deployment, generations.deployment)) return undefined;
      deployment = generations.deployment;
    }
    const world = worldOf(generations, { hasUnfinishedPods, now: clock.now() });
    const news: { -readonly [K in keyof RolloutNews]: RolloutNews[K] } = {};
    let failure: unknown;

    const snapshot = await advance({
      machine: deploymentMachine,
      key,
      from: stateOf(deployment),
      events: eventsOf(deployment, world),
      effects: {
        createReplicaSet: async () => {
          try {
            const outcome = await writes.create(generations, signal);
            if (outcome.type === 'created') news.createdReplicaSet = outcome.name;
            if (outcome.type === 'collided') news.collided = true;
          } catch (err) {
            failure = err;
            if (isNamespaceTerminating(err)) return undefined;
            news.refusal = `Failed to create new replica set "${nameOf(generations.deployment)}": ${messageOf(err)}`;
            recorder.record(generations.deployment, { type: 'Warning', reason: 'ReplicaSetCreateError', message: news.refusal });
            return refused;
          }
          return undefined;
        },
        resizeNewReplicaSet: async () => {
          const { newReplicaSet } = generations;
          if (newReplicaSet !== undefined)
            await writes.resize(generations.deployment, [{ replicaSet: newReplicaSet, replicas: newSize(generations) }], signal);
        },
        shrinkOldReplicaSets: () => writes.resize(generations.deployment, oldSizes(generations), signal),
        scaleReplicaSets: () => writes.resize(generations.deployment, proportionalSizes(generations), signal),
        deleteOldReplicaSets: () => writes.delete(surplusHistory(generations.deployment, generations.oldReplicaSets), signal),
      },
      steps,
    });

    // A first revision is written with the ReplicaSet, not only when the cache shows it: `kubectl rollout history` may ask at once.
    if (news.createdReplicaSet !== undefined) {
      const written = await writes.writeRevision(deployment, nextRevision(generations.oldReplicaSets), signal);
      if (isChanged(deployment, written)) return undefined;
      deployment = written;
    }
    const status = statusOf(snapshot.value, deployment, { world, news, timestamp: timestampOf(clock.now()) });
    const final = isRolledOut(deployment, world) || failure !== undefined;
    const after = { ...deployment, status };
    const statusAfterMs = await writePacedStatus({ client, pace, resource: deployments, before: deployment, after, final, signal });
    if (failure !== undefined && !isNamespaceTerminating(failure)) throw failure;
    if (statusAfterMs !== undefined) return { requeueAfterMs: statusAfterMs };
    return untilDeadline({ ...deployment, status }, clock);
  }

  async function claimReplicaSets(deployment: Deployment, signal: AbortSignal): Promise<boolean> {
    const selector = compileLabelSelector(deployment.spec.selector);
    return await claim({
      client,
      ownerResource: deployments,
      owner: deployment,
      selector,
      resource: replicaSets,
      informer: replicaSetInformer,
      signal,
    });
  }

  function generationsOf(deployment: Deployment): Generations {
    return { deployment, ...byTemplate(deployment, ownedBy(replicaSetInformer, deployment)) };
  }

  function hasUnfinishedPods(replicaSet: ReplicaSet): boolean {
    return ownedBy(podInformer, replicaSet).some((pod) => !isPodFinished(pod));
  }
}

/** The cache will show it, and bring the next pass. */
const isChanged = (before: Deployment, after: Deployment): boolean => before.metadata.generation !== after.metadata.generation;

/** The queue is asked again when the progress deadline has passed: no change of an object will tell. */
function untilDeadline(deployment: Deployment, clock: Clock): Result | undefined {
  const deadline = deadlineOf(deployment);
  if (deadline === undefined) return undefined;
  // Timestamps have seconds only.
  return { requeueAfterMs: Math.max(deadline - clock.now(), 0) + 1_000 };
}
