import type { Deployment } from '../../api/apps/v1/deployment.ts';
import type { ReplicaSet } from '../../api/apps/v1/replica-set.ts';
import { annotations } from '../../api/well-known.ts';
import { desiredReplicas, fencepostsOf } from '../../lifecycle/deployment.facts.ts';

/** The size a ReplicaSet should get. */
export interface Resize {
  readonly replicaSet: ReplicaSet;
  readonly replicas: number;
}

export interface Generations {
  readonly deployment: Deployment;
  readonly newReplicaSet: ReplicaSet | undefined;
  /** Oldest first. */
  readonly oldReplicaSets: readonly ReplicaSet[];
}

export const sizeOf = (replicaSet: ReplicaSet): number => replicaSet.spec.replicas ?? 0;
const availableOf = (replicaSet: ReplicaSet): number => replicaSet.status?.availableReplicas ?? 0;
const sum = (replicaSets: readonly ReplicaSet[], of: (replicaSet: ReplicaSet) => number): number =>
  replicaSets.reduce((total, replicaSet) => total + of(replicaSet), 0);

/** The size that the new ReplicaSet may have now; what there is and what is asked for elsewhere leaves room for no more. */
export function newSize({ deployment, newReplicaSet, oldReplicaSets }: Generations): number {
  const desired = desiredReplicas(deployment);
  if (deployment.spec.strategy?.type === 'Recreate') return desired;
  const current = newReplicaSet === undefined ? 0 : sizeOf(newReplicaSet);
  if (current >= desired) return desired;
  const room = desired + fencepostsOf(deployment).maxSurge - sum(oldReplicaSets, sizeOf) - current;
  return current + Math.max(0, Math.min(room, desired - current));
}

/**
 * Pods that old ReplicaSets can give up. Unavailable pods of all of them go first, since no traffic depends on them;
 * then others, as long as enough stay available.
 */
export function oldSizes({ deployment, newReplicaSet, oldReplicaSets }: Generations): readonly Resize[] {
  const sizes = new Map(oldReplicaSets.map((replicaSet) => [replicaSet, sizeOf(replicaSet)]));
  const give = (replicaSet: ReplicaSet, count: number): void => {
    sizes.set(replicaSet, (sizes.get(replicaSet) ?? 0) - count);
  };
  if (deployment.spec.strategy?.type === 'Recreate') {
    for (const replicaSet of oldReplicaSets) sizes.set(replicaSet, 0);
  } else {
    const minAvailable = desiredReplicas(deployment) - fencepostsOf(deployment).maxUnavailable;
    const created = newReplicaSet === undefined ? [] : [newReplicaSet];
    const newUnavailable = sum(created, sizeOf) - sum(created, availableOf);
    const total = sum(oldReplicaSets, sizeOf) + sum(created, sizeOf);
    let spare = total - minAvailable - newUnavailable;
    for (const replicaSet of oldReplicaSets) {
      const unhealthy = Math.max(0, Math.min(spare, sizeOf(replicaSet) - availableOf(replicaSet)));
      give(replicaSet, unhealthy);
      spare -= unhealthy;
    }
    // The unhealthy ones were never available, so giving them up does not change this sum.
    let dispensable = spare <= 0 ? 0 : Math.min(spare, sum(oldReplicaSets, availableOf) + sum(created, availableOf) - minAvailable);
    for (const replicaSet of oldReplicaSets) {
      const count = Math.max(0, Math.min(dispensable, sizes.get(replicaSet) ?? 0));
      give(replicaSet, count);
      dispensable -= count;
    }
  }
  return [...sizes]
    .filter(([replicaSet, replicas]) => replicas !== sizeOf(replicaSet))
    .map(([replicaSet, replicas]) => ({ replicaSet, replicas }));
}

/** True when `spec.replicas` changed since the active ReplicaSets were last sized. */
export function isResized({ deployment, newReplicaSet, oldReplicaSets }: Generations): boolean {
  const desired = String(desiredReplicas(deployment));
  return [...oldReplicaSets, ...(newReplicaSet === undefined ? [] : [newReplicaSet])].some((replicaSet) => {
    const noted = replicaSet.metadata.annotations?.[annotations.deploymentDesiredReplicas];
    return sizeOf(replicaSet) > 0 && noted !== undefined && noted !== desired;
  });
}

/**
 * Divides a change of `spec.replicas` among the ReplicaSets of a rollout that is under way, in proportion to their sizes. The share of new
 * pods stays the same. The result has every ReplicaSet of the rollout, also those of unchanged size: their annotations change.
 */
export function proportionalSizes(generations: Generations): readonly Resize[] {
  const { deployment, newReplicaSet, oldReplicaSets } = generations;
  const desired = desiredReplicas(deployment);
  const all = newReplicaSet === undefined ? [...oldReplicaSets] : [...oldReplicaSets, newReplicaSet];
  const active = all.filter((replicaSet) => sizeOf(replicaSet) > 0);
  if (active.length <= 1) {
    const only = active[0] ?? newReplicaSet ?? all.at(-1);
    return only === undefined || isSizedFor(only, desired, deployment) ? [] : [{ replicaSet: only, replicas: desired }];
  }
  if (newReplicaSet !== undefined && isSaturated(newReplicaSet, desired)) {
    return active.filter((replicaSet) => replicaSet !== newReplicaSet).map((replicaSet) => ({ replicaSet, replicas: 0 }));
  }
  if (deployment.spec.strategy?.type === 'Recreate') return [];

  const { maxSurge } = fencepostsOf(deployment);
  const allowed = desired > 0 ? desired + maxSurge : 0;
  const toAdd = allowed - sum(active, sizeOf);
  const newestFirst = [...active].reverse();
  const ordered = (toAdd > 0 ? newestFirst : active).toSorted((a, b) => sizeOf(b) - sizeOf(a));
  let added = 0;
  const sizes = ordered.map((replicaSet) => {
    const share = toAdd === 0 ? 0 : shareOf({ replicaSet, deployment, toAdd, added, maxSurge });
    added += share;
    return { replicaSet, replicas: Math.max(0, sizeOf(replicaSet) + share) };
  });
  const [largest, ...others] = sizes;
  // Rounding leaves some over: the largest takes them.
  return largest === undefined ? [] : [{ ...largest, replicas: Math.max(0, largest.replicas + toAdd - added) }, ...others];
}

/** The annotations by which the next change of the number is noticed. */
export const sizeAnnotations = (deployment: Deployment): Readonly<Record<string, string>> => ({
  [annotations.deploymentDesiredReplicas]: String(desiredReplicas(deployment)),
  [annotations.deploymentMaxReplicas]: String(desiredReplicas(deployment) + fencepostsOf(deployment).maxSurge),
});

interface ShareOptions {
  readonly replicaSet: ReplicaSet;
  readonly deployment: Deployment;
  readonly toAdd: number;
  readonly added: number;
  readonly maxSurge: number;
}

function shareOf({ replicaSet, deployment, toAdd, added, maxSurge }: ShareOptions): number {
  const left = toAdd - added;
  const size = sizeOf(replicaSet);
  if (left === 0) return 0;
  if (desiredReplicas(deployment) === 0) return Math.max(-size, left);
  const noted = Number(replicaSet.metadata.annotations?.[annotations.deploymentMaxReplicas]);
  const before = Number.isFinite(noted) && noted > 0 ? noted : (deployment.status?.replicas ?? 0);
  if (before === 0) return 0;
  const wanted = Math.round((size * (desiredReplicas(deployment) + maxSurge)) / before) - size;
  return toAdd > 0 ? Math.min(wanted, left) : Math.max(wanted, left);
}

function isSizedFor(replicaSet: ReplicaSet, desired: number, deployment: Deployment): boolean {
  const noted = replicaSet.metadata.annotations;
  const wanted = sizeAnnotations(deployment);
  return sizeOf(replicaSet) === desired && (desired === 0 || Object.entries(wanted).every(([name, value]) => noted?.[name] === value));
}

function isSaturated(replicaSet: ReplicaSet, desired: number): boolean {
  const noted = replicaSet.metadata.annotations?.[annotations.deploymentDesiredReplicas];
  return sizeOf(replicaSet) === desired && noted === String(desired) && availableOf(replicaSet) === desired;
}
