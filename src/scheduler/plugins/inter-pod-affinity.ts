import type { NodeRecord } from '../cache.ts';
import { DomainSums } from '../domain-counts.ts';
import type { Changed, ClusterView, FilterPlugin, HelpTest, PluginFactory, PreparedFilter, Rejection, ScorePlugin } from '../plugin.ts';
import type { PodRecord, PodTerm } from '../pod-record.ts';

const affinityMismatch: Rejection = { reasons: ["node(s) didn't match pod affinity rules"], resolvable: false };
const antiAffinityMismatch: Rejection = { reasons: ["node(s) didn't match pod anti-affinity rules"], resolvable: true };
const existingAntiAffinity: Rejection = { reasons: ["node(s) didn't satisfy existing pods anti-affinity rules"], resolvable: true };

/** Arguments of the plugin in a profile. */
export interface InterPodAffinityArgs {
  /** Weight of the required affinity of pods that are there, 0 to 100. */
  readonly hardPodAffinityWeight: number;
  /** Preferred terms of pods that are there do not count for a pod without preferred terms. */
  readonly ignorePreferredTermsOfExistingPods: boolean;
}

/** Upstream's defaults. */
export const interPodAffinityDefaults: InterPodAffinityArgs = { hardPodAffinityWeight: 1, ignorePreferredTermsOfExistingPods: false };

/**
 * Terms of pods about other pods: who has to be near whom, and who would rather be. Terms of the pods that are there count for the one
 * that comes.
 */
export const interPodAffinity: PluginFactory = (_, args) => ({
  name: 'InterPodAffinity',
  filter,
  score: scoreOf((args as InterPodAffinityArgs | undefined) ?? interPodAffinityDefaults),
});

/** A pod came that the waiting one wants to be near, or one went (or changed) that keeps it away. */
const mayHelp: HelpTest = (pod, { pod: there }: Changed) => {
  if (there === undefined) return true;
  const { requiredAffinity, requiredAntiAffinity } = pod.shape;
  // Selectors of namespaces are not asked here: in doubt the pod is tried.
  const concerns = (terms: readonly PodTerm[], { pod: other }: PodRecord) =>
    terms.some(({ selector }) => selector.matches(other.metadata.labels));
  return concerns(requiredAffinity, there) || concerns(requiredAntiAffinity, there) || concerns(there.shape.requiredAntiAffinity, pod);
};

const filter: FilterPlugin = {
  helpedBy: {
    NodeAdded: 'always',
    // Its pods keep nobody away any more.
    NodeRemoved: 'always',
    NodeLabelsChanged: 'always',
    AssignedPodAdded: mayHelp,
    // Its labels may have been others before.
    AssignedPodChanged: 'always',
    AssignedPodDeleted: mayHelp,
    NamespaceChanged: 'always',
    PodChanged: 'always',
  },
  prepare(pod, cluster) {
    const { requiredAffinity, requiredAntiAffinity } = pod.shape;
    /** Domains with pods that every affinity term selects: the terms describe one pod together. */
    const wanted = new DomainSums();
    const avoided = new DomainSums();
    /** Domains of pods that want to be away from this one. */
    const refused = new DomainSums();
    const hasOwnTerms = requiredAffinity.length > 0 || requiredAntiAffinity.length > 0;

    const shift: PreparedFilter['shift'] = (there, node, sign) => {
      for (const term of there.shape.requiredAntiAffinity) if (selects(term, pod, cluster)) refused.add(term.topologyKey, node, sign);
      if (!hasOwnTerms) return;
      if (requiredAffinity.length > 0 && selectsByAll(requiredAffinity, there, cluster)) {
        for (const { topologyKey } of requiredAffinity) wanted.add(topologyKey, node, sign);
      }
      for (const term of requiredAntiAffinity) if (selects(term, there, cluster)) avoided.add(term.topologyKey, node, sign);
    };
    if (hasOwnTerms) eachPlaced(cluster, shift);
    else for (const [there, node] of cluster.podsWithAntiAffinity) if (node.present) shift(there, node, 1);
    const isItsOwnKind = requiredAffinity.length > 0 && selectsByAll(requiredAffinity, pod, cluster);

    return {
      shift,
      get looksAround() {
        return hasOwnTerms || !refused.isEmpty;
      },
      filter(node) {
        if (requiredAffinity.length > 0) {
          let isNear = true;
          for (const { topologyKey } of requiredAffinity) {
            const value = node.labels[topologyKey];
            if (value === undefined) return affinityMismatch;
            if (wanted.get(topologyKey, value) <= 0) isNear = false;
          }
          // The first pod of a group that wants to be with its own kind must be able to start somewhere.
          if (!isNear && !(wanted.isEmpty && isItsOwnKind)) return affinityMismatch;
        }
        if (avoided.hasAny(node)) return antiAffinityMismatch;
        return refused.hasAny(node) ? existingAntiAffinity : undefined;
      },
    };
  },
};

function scoreOf({ hardPodAffinityWeight, ignorePreferredTermsOfExistingPods }: InterPodAffinityArgs): ScorePlugin {
  return {
    prepare(pod, cluster) {
      const { preferredPods } = pod.shape;
      const hasOwnTerms = preferredPods.length > 0;
      if (!hasOwnTerms && ignorePreferredTermsOfExistingPods) return undefined;
      const sums = new DomainSums();
      const shift: PreparedFilter['shift'] = (there, node, sign) => {
        for (const { weight, term } of preferredPods) if (selects(term, there, cluster)) sums.add(term.topologyKey, node, sign * weight);
        const { requiredAffinity, preferredPods: theirs } = there.shape;
        for (const term of requiredAffinity) {
          if (selects(term, pod, cluster)) sums.add(term.topologyKey, node, sign * hardPodAffinityWeight);
        }
        for (const { weight, term } of theirs) if (selects(term, pod, cluster)) sums.add(term.topologyKey, node, sign * weight);
      };
      if (hasOwnTerms) eachPlaced(cluster, shift);
      else for (const [there, node] of cluster.podsWithAffinity) if (node.present) shift(there, node, 1);
      return {
        shift,
        scale: 'range',
        get looksAround() {
          return hasOwnTerms || !sums.isEmpty;
        },
        get isSilent() {
          return sums.isEmpty;
        },
        score: (node) => sums.totalOf(node),
      };
    },
  };
}

function eachPlaced({ nodes }: ClusterView, shift: (pod: PodRecord, node: NodeRecord, sign: 1 | -1) => void): void {
  for (const node of nodes) for (const pod of node.pods.values()) shift(pod, node, 1);
}

const selectsByAll = (terms: readonly PodTerm[], pod: PodRecord, cluster: ClusterView): boolean =>
  terms.every((term) => selects(term, pod, cluster));

function selects({ namespaces, namespaceSelector, selector }: PodTerm, { namespace, pod }: PodRecord, cluster: ClusterView): boolean {
  if (!selector.matches(pod.metadata.labels)) return false;
  return namespaces.has(namespace) || namespaceSelector?.matches(cluster.namespaceLabels(namespace)) === true;
}
