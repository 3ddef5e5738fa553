import { type Deployment, deployments } from '../../api/apps/v1/deployment.ts';
import { type ReplicaSet, replicaSets } from '../../api/apps/v1/replica-set.ts';
import { annotations, labels as wellKnown } from '../../api/well-known.ts';
import type { Log } from '../../base/log.ts';
import type { Client, New } from '../../client/client.ts';
import { revisionOf, sameTemplate } from '../../lifecycle/deployment-templates.ts';
import { controllerOf, keyOf } from '../../machinery/object.ts';
import { isAlreadyExists, isNotFound } from '../../machinery/status-error.ts';
import type { EventRecorder } from '../../reconcile/event-recorder.ts';
import { controllerReference } from '../ownership.ts';
import { annotationsFor, nextRevision } from './revisions.ts';
import { type Generations, isResized, newSize, type Resize, sizeAnnotations, sizeOf } from './rollout-plan.ts';
import { templateHash, withHash } from './template.ts';

export interface ReplicaSetWritesOptions {
  readonly client: Client;
  readonly recorder: EventRecorder;
  readonly log: Log;
}

/** Outcome of a creation: `there` is one that the cache does not show yet, `collided` a template that has the name of another one. */
export type Creation = { readonly type: 'created'; readonly name: string } | { readonly type: 'there' } | { readonly type: 'collided' };

/** Writes the ReplicaSets of one Deployment. */
export interface ReplicaSetWrites {
  /**
   * Gives the new ReplicaSet the newest revision and the Deployment's annotations, and the Deployment that revision. Going back to an old
   * template makes its ReplicaSet the newest.
   */
  syncRevision(generations: Generations, signal: AbortSignal): Promise<Generations>;
  writeRevision(deployment: Deployment, revision: number, signal: AbortSignal): Promise<Deployment>;
  /** Creates the ReplicaSet of the template, as large as the strategy allows. */
  create(generations: Generations, signal: AbortSignal): Promise<Creation>;
  resize(deployment: Deployment, resizes: readonly Resize[], signal: AbortSignal): Promise<void>;
  /** Deletes each as the cache shows it, not one that grew since. */
  delete(surplus: readonly ReplicaSet[], signal: AbortSignal): Promise<void>;
}

export function createReplicaSetWrites({ client, recorder, log }: ReplicaSetWritesOptions): ReplicaSetWrites {
  return { syncRevision, writeRevision, create: createReplicaSet, resize, delete: deleteReplicaSets };

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

  async function createReplicaSet(generations: Generations, signal: AbortSignal): Promise<Creation> {
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
export const nameOf = (deployment: Deployment): string => `${deployment.metadata.name}-${hashOf(deployment)}`;

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
