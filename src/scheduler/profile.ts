import type { FilterPlugin, ScorePlugin } from './plugin.ts';
import { interPodAffinity, interPodAffinityScore } from './plugins/inter-pod-affinity.ts';
import { nodeAffinity, nodeAffinityScore } from './plugins/node-affinity.ts';
import { nodePorts } from './plugins/node-ports.ts';
import { balancedAllocation, leastAllocated, nodeResourcesFit } from './plugins/node-resources-fit.ts';
import { nodeUnschedulable } from './plugins/node-unschedulable.ts';
import { ownerSpread } from './plugins/owner-spread.ts';
import { podTopologySpread, podTopologySpreadScore } from './plugins/pod-topology-spread.ts';
import { supportedFeatures } from './plugins/supported-features.ts';
import { taintToleration, taintTolerationScore } from './plugins/taint-toleration.ts';

/** The pods that a scheduler owns, and its plugins. */
export interface Profile {
  /** Pods with this `spec.schedulerName` are ours. */
  readonly schedulerName: string;
  /** In order: the first rejection of a node is the one that is reported. */
  readonly filters: readonly FilterPlugin[];
  readonly scores: readonly ScorePlugin[];
}

/**
 * Plugins and weights of kube-scheduler's default profile, as far as what they look at exists here. Its NodeName filter is not among
 * them: a pod that names a node never comes to the scheduler.
 */
export const defaultProfile: Profile = {
  schedulerName: 'default-scheduler',
  filters: [
    supportedFeatures,
    nodeUnschedulable,
    taintToleration,
    nodeAffinity,
    nodePorts,
    nodeResourcesFit,
    podTopologySpread,
    interPodAffinity,
  ],
  scores: [
    taintTolerationScore,
    nodeAffinityScore,
    podTopologySpreadScore,
    ownerSpread,
    interPodAffinityScore,
    leastAllocated,
    balancedAllocation,
  ],
};
