import type { FilterPlugin, Plugin, PluginFactory, PluginHandle, ReservePlugin, ScorePlugin } from './plugin.ts';
import { defaultPreemption } from './plugins/default-preemption.ts';
import { imageLocality } from './plugins/image-locality.ts';
import { interPodAffinity } from './plugins/inter-pod-affinity.ts';
import { nodeAffinity } from './plugins/node-affinity.ts';
import { nodePorts } from './plugins/node-ports.ts';
import { nodeResourcesBalancedAllocation } from './plugins/node-resources-balanced-allocation.ts';
import { nodeResourcesFit } from './plugins/node-resources-fit.ts';
import { nodeUnschedulable } from './plugins/node-unschedulable.ts';
import { nodeVolumeLimits } from './plugins/node-volume-limits.ts';
import { podTopologySpread } from './plugins/pod-topology-spread.ts';
import { supportedFeatures } from './plugins/supported-features.ts';
import { taintToleration } from './plugins/taint-toleration.ts';
import { volumeBinding } from './plugins/volume-binding.ts';
import { volumeRestrictions } from './plugins/volume-restrictions.ts';
import { volumeZone } from './plugins/volume-zone.ts';
import { defaultSchedulerName } from './pod-record.ts';

/** The pods that a scheduler owns, and its plugins. */
export interface Profile {
  /** Pods with this `spec.schedulerName` are ours. */
  readonly schedulerName: string;
  readonly plugins: readonly Plugin[];
  /** In order: the first rejection of a node is the one that is reported. */
  readonly filters: readonly (FilterPlugin & Named)[];
  readonly scores: readonly (ScorePlugin & Named & { readonly weight: number })[];
  readonly reserves: readonly (ReservePlugin & Named)[];
  /** Absent: no pod is removed for another one. */
  readonly preemption: Plugin['postFilter'];
  /** Share of nodes to score; 0: by the size of the cluster. */
  readonly percentageOfNodesToScore: number;
}

interface Named {
  readonly name: string;
}

/**
 * Plugins and weights of kube-scheduler's default profile, as far as what they look at exists here. Its NodeName filter is not among
 * them: a pod that names a node never comes to the scheduler. The order is the one in which nodes are filtered.
 */
const defaultPlugins: readonly { readonly make: PluginFactory; readonly weight: number }[] = [
  { make: supportedFeatures, weight: 0 },
  { make: nodeUnschedulable, weight: 0 },
  { make: taintToleration, weight: 3 },
  { make: nodeAffinity, weight: 2 },
  { make: nodePorts, weight: 0 },
  { make: nodeResourcesFit, weight: 1 },
  { make: volumeRestrictions, weight: 0 },
  { make: nodeVolumeLimits, weight: 0 },
  { make: volumeBinding, weight: 0 },
  { make: volumeZone, weight: 0 },
  { make: podTopologySpread, weight: 2 },
  { make: interPodAffinity, weight: 2 },
  { make: defaultPreemption, weight: 0 },
  { make: nodeResourcesBalancedAllocation, weight: 1 },
  { make: imageLocality, weight: 1 },
];

export function createProfile(handle: PluginHandle): Profile {
  const made = defaultPlugins.map(({ make, weight }) => ({ plugin: make(handle, undefined), weight }));
  return {
    schedulerName: defaultSchedulerName,
    plugins: made.map(({ plugin }) => plugin),
    filters: made.flatMap(({ plugin: { name, filter } }) => (filter === undefined ? [] : [{ name, ...filter }])),
    scores: made.flatMap(({ plugin: { name, score }, weight }) => (score === undefined ? [] : [{ name, weight, ...score }])),
    preemption: made.find(({ plugin }) => plugin.postFilter !== undefined)?.plugin.postFilter,
    percentageOfNodesToScore: 0,
    reserves: made.flatMap(({ plugin: { name, reserve } }) => (reserve === undefined ? [] : [{ name, ...reserve }])),
  };
}
