import type { Pod } from '../api/core/v1/pod.ts';
import { annotations } from '../api/well-known.ts';
import { readyConditionOf } from './pod-conditions.ts';

export interface DeletionOrderOptions {
  /** Active pods on the node that belong to the same Deployment or ReplicaSet, the pod itself included. */
  readonly relatedOnNode: (pod: Pod) => number;
  /** Milliseconds since the epoch. */
  readonly now: number;
}

/**
 * The pods in the order in which they should go: those first that serve least. Unassigned go before assigned, pending before running, not
 * ready before ready. Cheaper go before dearer (`controller.kubernetes.io/pod-deletion-cost`), then those from nodes with more of the same
 * pods. Younger readiness, more restarts and a younger pod decide at the end.
 *
 * Ages are compared by the power of two they fall in. So a pod is not always the victim for being seconds younger.
 *
 * @see Kubernetes concepts, "ReplicaSet", "Scaling a ReplicaSet"
 */
export function deletionOrder(pods: readonly Pod[], { relatedOnNode, now }: DeletionOrderOptions): readonly Pod[] {
  const ranked = pods.map((pod) => ({
    pod,
    rank: [
      pod.spec.nodeName === undefined || pod.spec.nodeName === '' ? 0 : 1,
      phaseRanks[pod.status?.phase ?? 'Pending'] ?? 1,
      readyConditionOf(pod)?.status === 'True' ? 1 : 0,
      Number(pod.metadata.annotations?.[annotations.podDeletionCost] ?? 0) || 0,
      -relatedOnNode(pod),
      ageRank(readyConditionOf(pod)?.lastTransitionTime, now),
      -restartsOf(pod),
      ageRank(pod.metadata.creationTimestamp, now),
    ],
    uid: pod.metadata.uid ?? '',
  }));
  ranked.sort((a, b) => {
    for (const [index, value] of a.rank.entries()) {
      const difference = value - (b.rank[index] ?? 0);
      if (difference !== 0) return difference;
    }
    return a.uid < b.uid ? -1 : 1;
  });
  return ranked.map(({ pod }) => pod);
}

const phaseRanks: Readonly<Record<string, number>> = { Pending: 0, Unknown: 1, Running: 2 };

/** Grows with age; an absent time is as young as can be. */
function ageRank(timestamp: string | undefined, now: number): number {
  if (timestamp === undefined) return -1;
  const seconds = Math.max(0, (now - Date.parse(timestamp)) / 1000);
  return seconds < 1 ? 0 : Math.floor(Math.log2(seconds)) + 1;
}

/** The most restarts of one of its containers. */
const restartsOf = (pod: Pod): number =>
  (pod.status?.containerStatuses ?? []).reduce((most, { restartCount = 0 }) => Math.max(most, restartCount), 0);
