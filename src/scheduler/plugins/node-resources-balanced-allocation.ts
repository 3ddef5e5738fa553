import type { PluginFactory } from '../plugin.ts';
import { balanceScorer, defaultResources, type WeighedResource } from '../resource-scores.ts';

/** Arguments of the plugin in a profile. */
export interface BalancedAllocationArgs {
  readonly resources: readonly WeighedResource[];
}

/** Upstream's defaults. */
const balancedAllocationDefaults: BalancedAllocationArgs = { resources: defaultResources };

/** Prefers nodes on which CPU and memory would be used to the same degree. Says nothing about pods that request neither. */
export const nodeResourcesBalancedAllocation: PluginFactory = (_, args) => {
  const { resources } = (args as BalancedAllocationArgs | undefined) ?? balancedAllocationDefaults;
  return {
    name: 'NodeResourcesBalancedAllocation',
    score: {
      prepare({ shape }) {
        const score = balanceScorer(resources, shape.requests);
        return score === undefined ? undefined : { score };
      },
    },
  };
};
