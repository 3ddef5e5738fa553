import type { FilterPlugin, Plugin, PluginFactory, PluginHandle, ReservePlugin, ScorePlugin } from './plugin.ts';
import { defaultPreemption } from './plugins/default-preemption.ts';
import { dynamicResources } from './plugins/dynamic-resources.ts';
import { imageLocality } from './plugins/image-locality.ts';
import { interPodAffinity } from './plugins/inter-pod-affinity.ts';
import { nodeAffinity } from './plugins/node-affinity.ts';
import { nodePorts } from './plugins/node-ports.ts';
import { nodeResourcesBalancedAllocation } from './plugins/node-resources-balanced-allocation.ts';
import { nodeResourcesFit } from './plugins/node-resources-fit.ts';
import { nodeUnschedulable } from './plugins/node-unschedulable.ts';
import { nodeVolumeLimits } from './plugins/node-volume-limits.ts';
import { podTopologySpread } from './plugins/pod-topology-spread.ts';
import { taintToleration } from './plugins/taint-toleration.ts';
import { volumeBinding } from './plugins/volume-binding.ts';
import { volumeRestrictions } from './plugins/volume-restrictions.ts';
import { volumeZone } from './plugins/volume-zone.ts';

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

/** A plugin of a profile, and how much its scores count; 0 means 1, as upstream reads it. */
export interface PluginUse {
  readonly name: string;
  readonly weight: number;
}

/** Points of the framework at which a profile may leave out a plugin. */
export type ScheduledPoint = 'filter' | 'postFilter' | 'score' | 'reserve' | 'preBind';

/** A profile as the configuration wants it. */
export interface ProfileConfiguration {
  readonly schedulerName: string;
  readonly percentageOfNodesToScore: number;
  /** Plugins that are on at each point, in order; a plugin without that point is skipped. */
  readonly uses: Readonly<Record<ScheduledPoint, readonly PluginUse[]>>;
  /** Checked arguments of plugins that have other ones than by default. */
  readonly args: ReadonlyMap<string, unknown>;
}

/** In the order in which nodes are filtered: cheap ones and those that reject most come first. */
const plugins: readonly { readonly name: string; readonly weight: number; readonly make: PluginFactory }[] = [
  { name: 'NodeUnschedulable', weight: 0, make: nodeUnschedulable },
  { name: 'TaintToleration', weight: 3, make: taintToleration },
  { name: 'NodeAffinity', weight: 2, make: nodeAffinity },
  { name: 'NodePorts', weight: 0, make: nodePorts },
  { name: 'NodeResourcesFit', weight: 1, make: nodeResourcesFit },
  { name: 'VolumeRestrictions', weight: 0, make: volumeRestrictions },
  { name: 'NodeVolumeLimits', weight: 0, make: nodeVolumeLimits },
  { name: 'VolumeBinding', weight: 0, make: volumeBinding },
  { name: 'VolumeZone', weight: 0, make: volumeZone },
  { name: 'PodTopologySpread', weight: 2, make: podTopologySpread },
  { name: 'InterPodAffinity', weight: 2, make: interPodAffinity },
  { name: 'DynamicResources', weight: 0, make: dynamicResources },
  { name: 'DefaultPreemption', weight: 0, make: defaultPreemption },
  { name: 'NodeResourcesBalancedAllocation', weight: 1, make: nodeResourcesBalancedAllocation },
  { name: 'ImageLocality', weight: 1, make: imageLocality },
];

/** Plugins and weights of kube-scheduler's default profile, as far as what they look at exists here. */
export const defaultPlugins: readonly PluginUse[] = plugins.map(({ name, weight }) => ({ name, weight }));

/**
 * Plugins of upstream that are part of the scheduler here and always on. A pod that names a node never comes to the scheduler, so there is
 * nothing to do for NodeName.
 */
export const builtInPlugins: ReadonlySet<string> = new Set(['PrioritySort', 'SchedulingGates', 'NodeName', 'DefaultBinder']);

/** Makes the plugins of a profile, each once. */
export function createProfile(handle: PluginHandle, configuration: ProfileConfiguration): Profile {
  const { uses, args } = configuration;
  const made = new Map<string, Plugin>();
  const named = new Set(Object.values(uses).flatMap((list) => list.map(({ name }) => name)));
  for (const { name, make } of plugins) if (named.has(name)) made.set(name, make(handle, args.get(name)));
  const at = <T extends object>(point: ScheduledPoint, partOf: (plugin: Plugin) => T | undefined) =>
    uses[point].flatMap(({ name, weight }) => {
      const plugin = made.get(name);
      const part = plugin === undefined ? undefined : partOf(plugin);
      return part === undefined ? [] : [{ name, weight: weight === 0 ? 1 : weight, ...part }];
    });
  const reserves = at('reserve', ({ reserve }) => reserve);
  const bindsAt = new Set(uses.preBind.map(({ name }) => name));
  return {
    schedulerName: configuration.schedulerName,
    plugins: [...made.values()],
    filters: at('filter', ({ filter }) => filter),
    scores: at('score', ({ score }) => score),
    reserves: reserves.map((plugin) => (bindsAt.has(plugin.name) ? plugin : withoutPreBind(plugin))),
    preemption: at('postFilter', ({ postFilter }) => postFilter)[0],
    percentageOfNodesToScore: configuration.percentageOfNodesToScore,
  };
}

function withoutPreBind<T extends ReservePlugin>({ preBind: _, ...plugin }: T): Omit<T, 'preBind'> {
  return plugin;
}
