import type { NodeRecord } from '../cache.ts';
import { type FilterPlugin, maxScore, type Rejection, type ScorePlugin } from '../plugin.ts';
import type { PodRequests } from '../requests.ts';

const tooManyPods = 'Too many pods';
const insufficient = (resource: string): string => `Insufficient ${resource}`;

/** Rejections for the resources every node has, by bit set; others are made when needed. */
const flatRejections: readonly Rejection[] = Array.from({ length: 32 }, (_, bits) => ({
  reasons: [
    ...((bits & 1) === 0 ? [] : [tooManyPods]),
    ...((bits & 2) === 0 ? [] : [insufficient('cpu')]),
    ...((bits & 4) === 0 ? [] : [insufficient('memory')]),
    ...((bits & 8) === 0 ? [] : [insufficient('ephemeral-storage')]),
  ],
  // Bit 16: even the empty node is too small, so that removing pods does not help.
  resolvable: (bits & 16) === 0,
}));

function shortage(requests: PodRequests, node: NodeRecord): Rejection | undefined {
  let bits = 0;
  if (node.pods.size + 1 > node.maxPods) bits |= 1;
  if (requests.milliCpu > 0 && requests.milliCpu > node.milliCpu - node.usedMilliCpu) {
    bits |= 2;
    if (requests.milliCpu > node.milliCpu) bits |= 16;
  }
  if (requests.memory > 0 && requests.memory > node.memory - node.usedMemory) {
    bits |= 4;
    if (requests.memory > node.memory) bits |= 16;
  }
  if (requests.ephemeralStorage > 0 && requests.ephemeralStorage > node.ephemeralStorage - node.usedEphemeralStorage) {
    bits |= 8;
    if (requests.ephemeralStorage > node.ephemeralStorage) bits |= 16;
  }
  const flat = bits === 0 ? undefined : flatRejections[bits];
  if (requests.extended === undefined) return flat;
  const reasons: string[] = [];
  let resolvable = true;
  for (const [name, amount] of requests.extended) {
    const total = node.extended?.get(name) ?? 0;
    if (amount <= total - (node.usedExtended?.get(name) ?? 0) || amount === 0) continue;
    reasons.push(insufficient(name));
    if (amount > total) resolvable = false;
  }
  if (reasons.length === 0) return flat;
  return { reasons: [...(flat?.reasons ?? []), ...reasons], resolvable: resolvable && flat?.resolvable !== false };
}

/** Leaves out nodes that have not enough left of what the pod requests, or as many pods as they may have. */
export const nodeResourcesFit: FilterPlugin = {
  name: 'NodeResourcesFit',
  helpedBy: ['NodeAdded', 'NodeAllocatableChanged', 'AssignedPodDeleted', 'PodChanged'],
  prepare({ shape }) {
    const { requests } = shape;
    return { filter: (node) => shortage(requests, node) };
  },
};

/** Prefers nodes with the largest share of CPU and memory left (LeastAllocated). */
export const leastAllocated: ScorePlugin = {
  name: 'NodeResourcesFit',
  weight: 1,
  prepare({ shape }) {
    const { scoredMilliCpu, scoredMemory } = shape.requests;
    return {
      score: (node) =>
        (shareLeft(node.scoredMilliCpu + scoredMilliCpu, node.milliCpu) + shareLeft(node.scoredMemory + scoredMemory, node.memory)) / 2,
    };
  },
};

const shareLeft = (used: number, total: number): number => (used >= total ? 0 : ((total - used) * maxScore) / total);

/** Prefers nodes on which CPU and memory would be used to the same degree. Says nothing about pods that request neither. */
export const balancedAllocation: ScorePlugin = {
  name: 'NodeResourcesBalancedAllocation',
  weight: 1,
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
};
