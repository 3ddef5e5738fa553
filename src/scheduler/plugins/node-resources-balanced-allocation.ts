import { maxScore, type PluginFactory } from '../plugin.ts';

/** Prefers nodes on which CPU and memory would be used to the same degree. Says nothing about pods that request neither. */
export const nodeResourcesBalancedAllocation: PluginFactory = () => ({
  name: 'NodeResourcesBalancedAllocation',
  score: {
    prepare({ shape }) {
      const { milliCpu, memory } = shape.requests;
      if (milliCpu === 0 && memory === 0) return undefined;
      return {
        score(node) {
          const cpuShare = Math.min(1, node.milliCpu === 0 ? 1 : (node.usedMilliCpu + milliCpu) / node.milliCpu);
          const memoryShare = Math.min(1, node.memory === 0 ? 1 : (node.usedMemory + memory) / node.memory);
          // The standard deviation of two numbers is half their distance.
          return (1 - Math.abs(cpuShare - memoryShare) / 2) * maxScore;
        },
      };
    },
  },
});
