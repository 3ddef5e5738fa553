import type { PluginFactory } from '../plugin.ts';

/** Arguments of the plugin in a profile: how many nodes are tried out for victims. */
export interface DefaultPreemptionArgs {
  /** 0 to 100 */
  readonly minCandidateNodesPercentage: number;
  readonly minCandidateNodesAbsolute: number;
}

/** Upstream's defaults. */
export const defaultPreemptionDefaults: DefaultPreemptionArgs = { minCandidateNodesPercentage: 10, minCandidateNodesAbsolute: 100 };

/** Makes room for a pod that fits nowhere: `preemption.ts` finds the pods to remove. */
export const defaultPreemption: PluginFactory = (_, args) => ({
  name: 'DefaultPreemption',
  postFilter: (args as DefaultPreemptionArgs | undefined) ?? defaultPreemptionDefaults,
});
