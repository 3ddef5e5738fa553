import type { ReplicaSet } from '../../api/apps/v1/replica-set.ts';
import type { DeploymentWorld } from '../../lifecycle/deployment.facts.ts';
import { surplusHistory } from './revisions.ts';
import { type Generations, isResized, newSize, oldSizes, proportionalSizes, sizeOf } from './rollout-plan.ts';

export interface WorldOptions {
  hasUnfinishedPods(replicaSet: ReplicaSet): boolean;
  /** Milliseconds since the epoch. */
  readonly now: number;
}

/** Observations of one pass over a Deployment. */
export function worldOf(generations: Generations, { hasUnfinishedPods, now }: WorldOptions): DeploymentWorld {
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
    now,
  };
}
