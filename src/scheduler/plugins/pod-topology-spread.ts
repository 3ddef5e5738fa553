import { toleratesTaint } from '../../lifecycle/tolerations.ts';
import type { NodeRecord } from '../cache.ts';
import type { ClusterView, FilterPlugin, PluginFactory, Rejection, ScorePlugin } from '../plugin.ts';
import type { PodRecord, SpreadConstraint } from '../pod-record.ts';

const skewed: Rejection = { reasons: ["node(s) didn't match pod topology spread constraints"], resolvable: true };
const missingLabel: Rejection = {
  reasons: ["node(s) didn't match pod topology spread constraints (missing required label)"],
  resolvable: false,
};

/** Leaves out nodes that would make the pods of a `DoNotSchedule` constraint more uneven than it allows. */
const filter: FilterPlugin = {
  helpedBy: {
    NodeAdded: 'always',
    // Its domain may have been the emptiest.
    NodeRemoved: 'always',
    NodeLabelsChanged: 'always',
    NodeTaintsChanged: 'always',
    AssignedPodAdded: 'always',
    AssignedPodChanged: 'always',
    AssignedPodDeleted: 'always',
    PodChanged: 'always',
  },
  prepare(pod, cluster) {
    const { hardSpread } = pod.shape;
    if (hardSpread.length === 0) return undefined;
    const rules = hardSpread.map((constraint) => {
      const counts = countsOf(pod, constraint, hardSpread, cluster);
      const least = counts.size < constraint.minDomains ? 0 : Math.min(...counts.values());
      const own = constraint.selector.matches(pod.pod.metadata.labels) ? 1 : 0;
      return { key: constraint.topologyKey, counts, most: constraint.maxSkew + (Number.isFinite(least) ? least : 0) - own };
    });
    return {
      looksAround: true,
      filter(node) {
        for (const { key, counts, most } of rules) {
          const value = node.labels[key];
          if (value === undefined) return missingLabel;
          if ((counts.get(value) ?? 0) > most) return skewed;
        }
        return undefined;
      },
    };
  },
};

/**
 * Prefers domains with few pods of a `ScheduleAnyway` constraint. Without constraints it prefers nodes with few pods of the same owner,
 * so that losing a node does not take all replicas. Upstream does this by default constraints over the selectors of Services and owners;
 * counting by owner is what those come to.
 */
const score: ScorePlugin = {
  prepare(pod, cluster) {
    const { softSpread, hardSpread, ownerUid } = pod.shape;
    if (softSpread.length === 0) {
      if (ownerUid === undefined || hardSpread.length > 0) return undefined;
      return { scale: 'highest-is-0', score: (node) => node.podsByOwner.get(ownerUid) ?? 0 };
    }
    const rules = softSpread.map((constraint) => {
      const counts = countsOf(pod, constraint, softSpread, cluster);
      // A constraint over many domains counts for more than one over few, as upstream weighs them.
      return { key: constraint.topologyKey, counts, weight: Math.log(counts.size + 2), most: Math.max(0, ...counts.values()) };
    });
    return {
      looksAround: true,
      scale: 'highest-is-0',
      score(node) {
        let sum = 0;
        for (const { key, counts, weight, most } of rules) {
          const value = node.labels[key];
          sum += weight * (value === undefined ? most + 1 : (counts.get(value) ?? 0));
        }
        return sum;
      },
    };
  },
};

/** Spreads alike pods over the domains of a label. */
export const podTopologySpread: PluginFactory = () => ({ name: 'PodTopologySpread', filter, score });

/**
 * Pods that the constraint counts, by domain; a domain without any has 0. It runs for each pod with a constraint, and `isDomain` for each
 * node, so their parameters are positional: objects would be garbage.
 */
function countsOf(
  pod: PodRecord,
  constraint: SpreadConstraint,
  all: readonly SpreadConstraint[],
  { nodes }: ClusterView,
): Map<string, number> {
  const counts = new Map<string, number>();
  for (const node of nodes) {
    const value = node.labels[constraint.topologyKey];
    if (value === undefined || !isDomain(node, pod, constraint, all)) continue;
    let count = counts.get(value) ?? 0;
    for (const there of node.pods.values()) {
      if (there.namespace !== pod.namespace || there.pod.metadata.deletionTimestamp !== undefined) continue;
      if (constraint.selector.matches(there.pod.metadata.labels)) count += 1;
    }
    counts.set(value, count);
  }
  return counts;
}

function isDomain(node: NodeRecord, { shape }: PodRecord, constraint: SpreadConstraint, all: readonly SpreadConstraint[]): boolean {
  if (all.some(({ topologyKey }) => node.labels[topologyKey] === undefined)) return false;
  if (constraint.honorNodeAffinity && shape.nodeMatcher !== undefined && !shape.nodeMatcher(node.labels, node.name)) return false;
  return !constraint.honorTaints || node.hardTaints.every((taint) => toleratesTaint(shape.tolerations, taint));
}
