import type { NodeRecord } from '../cache.ts';
import type { Changed, PluginFactory, Rejection } from '../plugin.ts';
import type { PodRecord, PodShape } from '../pod-record.ts';
import type { PodRequests } from '../requests.ts';
import { defaultResources, type ResourceStrategy, strategyScorer } from '../resource-scores.ts';

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

function shortage(requests: PodRequests, node: NodeRecord, isIgnored: (name: string) => boolean): Rejection | undefined {
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
    if (amount <= total - (node.usedExtended?.get(name) ?? 0) || amount === 0 || isIgnored(name)) continue;
    reasons.push(insufficient(name));
    if (amount > total) resolvable = false;
  }
  if (reasons.length === 0) return flat;
  return { reasons: [...(flat?.reasons ?? []), ...reasons], resolvable: resolvable && flat?.resolvable !== false };
}

/** A pod was resized to less of something that the waiting one requests. */
function givesBack({ shape: { requests: wanted } }: PodRecord, { pod, podBefore }: Changed): boolean {
  if (pod === undefined || podBefore === undefined) return true;
  const [now, before] = [pod.shape.requests, podBefore.shape.requests];
  if (now === before) return false;
  const flat = (['milliCpu', 'memory', 'ephemeralStorage'] as const).some((name) => wanted[name] > 0 && now[name] < before[name]);
  const amountOf = ({ extended }: PodRequests, name: string) => extended?.get(name) ?? 0;
  return flat || [...(wanted.extended?.keys() ?? [])].some((name) => amountOf(now, name) < amountOf(before, name));
}

/** Arguments of the plugin in a profile. */
export interface NodeResourcesFitArgs {
  /** Names and, for groups, names before the slash of extended resources that are not looked at. */
  readonly ignoredResources: ReadonlySet<string>;
  readonly ignoredResourceGroups: ReadonlySet<string>;
  readonly strategy: ResourceStrategy;
}

/** Upstream's defaults. */
export const nodeResourcesFitDefaults: NodeResourcesFitArgs = {
  ignoredResources: new Set(),
  ignoredResourceGroups: new Set(),
  strategy: { type: 'LeastAllocated', resources: defaultResources },
};

/**
 * Leaves out nodes that have not enough left of what the pod requests, or as many pods as they may have. Prefers nodes by the strategy of
 * the profile, by default those with the largest share of CPU and memory left.
 */
export const nodeResourcesFit: PluginFactory = (_, args) => {
  const { strategy, ignoredResources, ignoredResourceGroups } = (args as NodeResourcesFitArgs | undefined) ?? nodeResourcesFitDefaults;
  const isIgnored = (name: string) => ignoredResources.has(name) || ignoredResourceGroups.has(name.split('/')[0] ?? '');
  const shortageOf = ({ requests }: PodShape, node: NodeRecord) => shortage(requests, node, isIgnored);
  const mayHoldIt = ({ shape }: PodRecord, { node }: Changed) => node === undefined || shortageOf(shape, node) === undefined;
  return {
    name: 'NodeResourcesFit',
    filter: {
      helpedBy: {
        NodeAdded: mayHoldIt,
        NodeAllocatableChanged: mayHoldIt,
        // Every pod that leaves makes room for one more, whatever it had requested.
        AssignedPodDeleted: 'always',
        AssignedPodChanged: givesBack,
        PodChanged: 'always',
      },
      prepare: ({ shape }) => ({ filter: (node) => shortageOf(shape, node) }),
    },
    score: {
      prepare: ({ shape }) => ({ score: strategyScorer(strategy, shape.requests) }),
    },
  };
};
