import type { NodeRecord } from './cache.ts';
import { maxScore } from './plugin.ts';
import type { PodRequests } from './requests.ts';

/** A resource and how much it counts. */
export interface WeighedResource {
  readonly name: string;
  readonly weight: number;
}

/** The way nodes are preferred by what is left of their resources. */
export type ResourceStrategy = { readonly resources: readonly WeighedResource[] } & (
  | { readonly type: 'LeastAllocated' | 'MostAllocated' }
  | {
      readonly type: 'RequestedToCapacityRatio';
      /** Points (0 to 100) by utilization in percent, in rising order. Between two points the line is straight. */
      readonly shape: readonly { readonly utilization: number; readonly score: number }[];
    }
);

export const defaultResources: readonly WeighedResource[] = [
  { name: 'cpu', weight: 1 },
  { name: 'memory', weight: 1 },
];

/** Amounts of one resource on a node and in a pod. */
interface Gauge {
  total(node: NodeRecord): number;
  used(node: NodeRecord): number;
  wanted(requests: PodRequests): number;
}

/** With what pods without requests are taken to use. */
const scoredGauges: Readonly<Record<string, Gauge>> = {
  cpu: { total: (node) => node.milliCpu, used: (node) => node.scoredMilliCpu, wanted: (requests) => requests.scoredMilliCpu },
  memory: { total: (node) => node.memory, used: (node) => node.scoredMemory, wanted: (requests) => requests.scoredMemory },
};

const plainGauges: Readonly<Record<string, Gauge>> = {
  cpu: { total: (node) => node.milliCpu, used: (node) => node.usedMilliCpu, wanted: (requests) => requests.milliCpu },
  memory: { total: (node) => node.memory, used: (node) => node.usedMemory, wanted: (requests) => requests.memory },
  'ephemeral-storage': {
    total: (node) => node.ephemeralStorage,
    used: (node) => node.usedEphemeralStorage,
    wanted: (requests) => requests.ephemeralStorage,
  },
};

/** A resource that the pod does not request says nothing when it is an extended one. */
const extendedGauge = (name: string): Gauge => ({
  total: (node) => node.extended?.get(name) ?? 0,
  used: (node) => node.usedExtended?.get(name) ?? 0,
  wanted: (requests) => requests.extended?.get(name) ?? 0,
});

const isFlat = (name: string): boolean => plainGauges[name] !== undefined;

function gaugesFor(
  resources: readonly WeighedResource[],
  requests: PodRequests,
  assumed: boolean,
): readonly { readonly gauge: Gauge; readonly wanted: number; readonly weight: number }[] {
  return resources.flatMap(({ name, weight }) => {
    const gauge = (assumed ? scoredGauges[name] : undefined) ?? plainGauges[name] ?? extendedGauge(name);
    const wanted = gauge.wanted(requests);
    return wanted === 0 && !isFlat(name) ? [] : [{ gauge, wanted, weight }];
  });
}

/** Gives a node 0 to 100 for a pod with these requests; whole numbers, rounded as upstream rounds them. */
export function strategyScorer(strategy: ResourceStrategy, requests: PodRequests): (node: NodeRecord) => number {
  const gauges = gaugesFor(strategy.resources, requests, true);
  const points = pointsOf(strategy);
  const isRatio = strategy.type === 'RequestedToCapacityRatio';
  return (node) => {
    let sum = 0;
    let weights = 0;
    for (const { gauge, wanted, weight } of gauges) {
      const total = gauge.total(node);
      if (total === 0) continue;
      const score = points(gauge.used(node) + wanted, total);
      // Resources without points do not count against the others in a ratio.
      if (isRatio && score <= 0) continue;
      sum += score * weight;
      weights += weight;
    }
    if (weights === 0) return 0;
    return isRatio ? Math.round(sum / weights) : Math.floor(sum / weights);
  };
}

function pointsOf(strategy: ResourceStrategy): (requested: number, total: number) => number {
  switch (strategy.type) {
    case 'LeastAllocated':
      return (requested, total) => (requested > total ? 0 : Math.floor(((total - requested) * maxScore) / total));
    case 'MostAllocated':
      return (requested, total) => Math.floor((Math.min(requested, total) * maxScore) / total);
    case 'RequestedToCapacityRatio':
      return (requested, total) => lineAt(strategy.shape, requested > total ? 100 : Math.floor((requested * 100) / total));
    default:
      return strategy satisfies never;
  }
}

function lineAt(shape: readonly { readonly utilization: number; readonly score: number }[], utilization: number): number {
  for (const [index, point] of shape.entries()) {
    if (utilization > point.utilization) continue;
    const before = shape[index - 1];
    if (before === undefined) return point.score;
    const rise = (point.score - before.score) * (utilization - before.utilization);
    return before.score + Math.trunc(rise / (point.utilization - before.utilization));
  }
  return shape.at(-1)?.score ?? 0;
}

/**
 * Gives a node up to 100 when its resources would be used to the same degree: 100 less the standard deviation of the shares. Undefined for
 * a pod that requests none of them, since an empty node would otherwise draw all such pods.
 */
export function balanceScorer(resources: readonly WeighedResource[], requests: PodRequests): ((node: NodeRecord) => number) | undefined {
  const gauges = gaugesFor(resources, requests, false);
  if (gauges.every(({ wanted }) => wanted === 0)) return undefined;
  return (node) => {
    const shares: number[] = [];
    for (const { gauge, wanted } of gauges) {
      const total = gauge.total(node);
      if (total > 0) shares.push(Math.min(1, (gauge.used(node) + wanted) / total));
    }
    return Math.trunc((1 - deviationOf(shares)) * maxScore);
  };
}

function deviationOf(shares: readonly number[]): number {
  const [first = 0, second = 0] = shares;
  if (shares.length < 2) return 0;
  if (shares.length === 2) return Math.abs((first - second) / 2);
  const mean = shares.reduce((sum, share) => sum + share, 0) / shares.length;
  return Math.sqrt(shares.reduce((sum, share) => sum + (share - mean) ** 2, 0) / shares.length);
}
