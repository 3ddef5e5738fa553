import { type Deployment, deployments } from '../../api/apps/v1/deployment.ts';
import { type ReplicaSet, replicaSets } from '../../api/apps/v1/replica-set.ts';
import { pods } from '../../api/core/v1/pod.ts';
import { annotations, labels as wellKnown } from '../../api/well-known.ts';
import { timestampOf } from '../../base/clock.ts';
import type { New } from '../../client/client.ts';
import {
  type DeploymentWorld,
  deadlineOf,
  eventsOf,
  isRolledOut,
  type RolloutNews,
  stateOf,
  statusOf,
} from '../../lifecycle/deployment.facts.ts';
import { deploymentMachine } from '../../lifecycle/deployment.machine.ts';
import { byTemplate, revisionOf, sameTemplate } from '../../lifecycle/deployment-templates.ts';
import { controllerOf, keyOf } from '../../machinery/object.ts';
import { compileLabelSelector } from '../../machinery/selector.ts';
import { isAlreadyExists, isNotFound } from '../../machinery/status-error.ts';
import type { Controller, ReconcileContext, Result } from '../../reconcile/controller.ts';
import type { ControllerDependencies } from '../../reconcile/dependencies.ts';
import { advance } from '../../reconcile/effects.ts';
import { createInformedController } from '../../reconcile/informed-controller.ts';
import { createStatusPace } from '../../reconcile/status-pace.ts';
import { claim, controllerKeyOf, controllerReference, indexByOwner, ownedBy } from '../ownership.ts';
import { isPodFinished } from '../pod-conditions.ts';
import { isNamespaceTerminating, messageOf } from '../refusals.ts';
import { writePacedStatus } from '../workload.ts';
import { annotationsFor, nextRevision, surplusHistory } from './revisions.ts';
import { type Generations, isResized, newSize, oldSizes, proportionalSizes, type Resize, sizeAnnotations, sizeOf } from './rollout-plan.ts';
import { templateHash, withHash } from './template.ts';

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

  const controller = createInformedController(dependencies, {
    name: 'deployment',
    workers: 8,
    reconcile,
  });
  deploymentInformer.addHandler(({ before, after }) => {
    if (after !== undefined) controller.enqueue(keyOf(after));
    else pace.forget(before?.metadata.uid ?? '');
  });
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
    await claimReplicaSets(deployment, signal);
    let generations = generationsOf(deployment);
    if (deployment.metadata.deletionTimestamp === undefined) {
      generations = await syncRevision(generations, signal);
      deployment = generations.deployment;
    }
    const world = worldOf(generations);
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
            const outcome = await createReplicaSet(generations, signal);
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
            await resize(generations.deployment, [{ replicaSet: newReplicaSet, replicas: newSize(generations) }], signal);
        },
        shrinkOldReplicaSets: () => resize(generations.deployment, oldSizes(generations), signal),
        scaleReplicaSets: () => resize(generations.deployment, proportionalSizes(generations), signal),
        deleteOldReplicaSets: () => deleteReplicaSets(surplusHistory(generations.deployment, generations.oldReplicaSets), signal),
      },
      steps,
    });

    // A first revision is written with the ReplicaSet, not only when the cache shows it: `kubectl rollout history` may ask at once.
    if (news.createdReplicaSet !== undefined)
      deployment = await writeRevision(deployment, nextRevision(generations.oldReplicaSets), signal);
    const status = statusOf(snapshot.value, deployment, { world, news, timestamp: timestampOf(clock.now()) });
    const final = isRolledOut(deployment, world) || failure !== undefined;
    const after = { ...deployment, status };
    const statusAfterMs = await writePacedStatus({ client, pace, resource: deployments, before: deployment, after, final, signal });
    if (failure !== undefined && !isNamespaceTerminating(failure)) throw failure;
    if (statusAfterMs !== undefined) return { requeueAfterMs: statusAfterMs };
    return untilDeadline({ ...deployment, status });
  }

  /** The queue is asked again when the progress deadline has passed: no change of an object will tell. */
  function untilDeadline(deployment: Deployment): Result | undefined {
    const deadline = deadlineOf(deployment);
    if (deadline === undefined) return undefined;
    // Timestamps have seconds only.
    return { requeueAfterMs: Math.max(deadline - clock.now(), 0) + 1_000 };
  }

  async function claimReplicaSets(deployment: Deployment, signal: AbortSignal): Promise<void> {
    const selector = compileLabelSelector(deployment.spec.selector);
    await claim({
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

  function worldOf(generations: Generations): DeploymentWorld {
    const { deployment, newReplicaSet, oldReplicaSets } = generations;
    const recreate = deployment.spec.strategy?.type === 'Recreate';
    const paused = deployment.spec.paused === true;
    const active = [...oldReplicaSets, ...(newReplicaSet === undefined ? [] : [newReplicaSet])].filter((one) => sizeOf(one) > 0);
    // A paused Deployment takes no step of a rollout, but its only ReplicaSet keeps the wanted size.
    const mayResize = isResized(generations) || (paused && active.length <= 1);
    return {
      newReplicaSet,
      oldReplicaSets,
      oldPodsMustGo: recreate && oldReplicaSets.some((old) => sizeOf(old) > 0 || hasUnfinishedPods(old)),
      resized: mayResize && proportionalSizes(generations).length > 0,
      newReplicasDue: newReplicaSet !== undefined && newSize(generations) !== sizeOf(newReplicaSet),
      oldReplicasDispensable: oldSizes(generations).length > 0,
      historyTooLong: surplusHistory(deployment, oldReplicaSets).length > 0,
      now: clock.now(),
    };
  }

  function hasUnfinishedPods(replicaSet: ReplicaSet): boolean {
    return ownedBy(podInformer, replicaSet).some((pod) => !isPodFinished(pod));
  }

  /**
   * Gives the new ReplicaSet the newest revision and the Deployment's annotations, and the Deployment that revision. Going back to an old
   * template makes its ReplicaSet the newest.
   */
  async function syncRevision(generations: Generations, signal: AbortSignal): Promise<Generations> {
    const { deployment, newReplicaSet, oldReplicaSets } = generations;
    if (newReplicaSet === undefined || deployment.spec.paused === true || isResized(generations)) return generations;
    const revision = Math.max(nextRevision(oldReplicaSets), revisionOf(newReplicaSet));
    const wanted = annotationsFor(deployment, revision, newReplicaSet.metadata.annotations);
    let updated = newReplicaSet;
    if (
      wanted !== newReplicaSet.metadata.annotations ||
      (newReplicaSet.spec.minReadySeconds ?? 0) !== (deployment.spec.minReadySeconds ?? 0)
    ) {
      updated = await client.update(
        replicaSets,
        {
          ...newReplicaSet,
          metadata: { ...newReplicaSet.metadata, annotations: wanted },
          spec: { ...newReplicaSet.spec, minReadySeconds: deployment.spec.minReadySeconds ?? 0 },
        },
        { signal },
      );
    }
    return { deployment: await writeRevision(deployment, revisionOf(updated), signal), newReplicaSet: updated, oldReplicaSets };
  }

  async function writeRevision(deployment: Deployment, revision: number, signal: AbortSignal): Promise<Deployment> {
    if (revisionOf(deployment) === revision) return deployment;
    const body = { metadata: { annotations: { [annotations.deploymentRevision]: String(revision) } } };
    // Through the status, as upstream: the Deployment's own annotations count for its generation.
    return client.patch(deployments, refOfObject(deployment), { type: 'merge', body }, { subresource: 'status', signal });
  }

  async function createReplicaSet(
    generations: Generations,
    signal: AbortSignal,
  ): Promise<{ readonly type: 'created'; readonly name: string } | { readonly type: 'there' } | { readonly type: 'collided' }> {
    const { deployment, oldReplicaSets } = generations;
    const replicaSet = replicaSetOf(deployment, { replicas: newSize(generations), revision: nextRevision(oldReplicaSets) });
    try {
      const created = await client.create(replicaSets, replicaSet, { signal });
      if (sizeOf(created) > 0) recordScaling(deployment, created, { from: 0, to: sizeOf(created) });
      return { type: 'created', name: created.metadata.name };
    } catch (err) {
      if (!isAlreadyExists(err)) throw err;
      const there = await client.get(replicaSets, { namespace: deployment.metadata.namespace, name: nameOf(deployment) }, { signal });
      // Its own, which the cache does not show yet.
      if (controllerOf(there)?.uid === deployment.metadata.uid && sameTemplate(there.spec.template, deployment.spec.template))
        return { type: 'there' };
      log.info({ deployment: keyOf(deployment), replicaSet: keyOf(there) }, 'Found hash collision of pod templates');
      return { type: 'collided' };
    }
  }

  async function resize(deployment: Deployment, resizes: readonly Resize[], signal: AbortSignal): Promise<void> {
    const sizes = sizeAnnotations(deployment);
    for (const { replicaSet, replicas } of resizes) {
      const from = sizeOf(replicaSet);
      const { metadata, spec } = replicaSet;
      const noted = Object.entries(sizes).every(([name, value]) => metadata.annotations?.[name] === value);
      if (from === replicas && noted) continue;
      await client.update(
        replicaSets,
        { ...replicaSet, metadata: { ...metadata, annotations: { ...metadata.annotations, ...sizes } }, spec: { ...spec, replicas } },
        { signal },
      );
      if (from !== replicas) recordScaling(deployment, replicaSet, { from, to: replicas });
    }
  }

  function recordScaling(
    deployment: Deployment,
    replicaSet: ReplicaSet,
    { from, to }: { readonly from: number; readonly to: number },
  ): void {
    recorder.record(deployment, {
      type: 'Normal',
      reason: 'ScalingReplicaSet',
      message: `Scaled ${to > from ? 'up' : 'down'} replica set ${replicaSet.metadata.name} from ${from} to ${to}`,
    });
  }

  async function deleteReplicaSets(surplus: readonly ReplicaSet[], signal: AbortSignal): Promise<void> {
    for (const replicaSet of surplus) {
      const { uid, resourceVersion } = replicaSet.metadata;
      if (uid === undefined || resourceVersion === undefined) continue;
      try {
        await client.delete(replicaSets, refOfObject(replicaSet), { preconditions: { uid, resourceVersion }, signal });
      } catch (err) {
        if (!isNotFound(err)) throw err;
      }
    }
  }
}

const hashOf = ({ spec, status }: Deployment): string => templateHash(spec.template, status?.collisionCount ?? 0);

/** The name of the ReplicaSet of the current template. */
const nameOf = (deployment: Deployment): string => `${deployment.metadata.name}-${hashOf(deployment)}`;

const refOfObject = ({ metadata: { namespace, name } }: Deployment | ReplicaSet) => ({ namespace, name });

function replicaSetOf(
  deployment: Deployment,
  { replicas, revision }: { readonly replicas: number; readonly revision: number },
): New<ReplicaSet> {
  const { metadata, spec } = deployment;
  const hash = hashOf(deployment);
  const template = withHash(spec.template, hash);
  return {
    apiVersion: 'apps/v1',
    kind: 'ReplicaSet',
    metadata: {
      name: nameOf(deployment),
      ...(metadata.namespace === undefined ? {} : { namespace: metadata.namespace }),
      ...(template.metadata?.labels === undefined ? {} : { labels: template.metadata.labels }),
      annotations: { ...annotationsFor(deployment, revision), ...sizeAnnotations(deployment) },
      ownerReferences: [controllerReference(deployments, deployment)],
    },
    spec: {
      replicas,
      ...(spec.minReadySeconds === undefined ? {} : { minReadySeconds: spec.minReadySeconds }),
      selector: { ...spec.selector, matchLabels: { ...spec.selector.matchLabels, [wellKnown.podTemplateHash]: hash } },
      template,
    },
  };
}
