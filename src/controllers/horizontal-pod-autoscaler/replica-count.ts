import type { PodMetric, PodMetrics } from './metrics-client.ts';
import type { PodGroups } from './pod-groups.ts';

/** Shares by which a metric may differ from its target without consequence. */
export interface Tolerances {
  readonly up: number;
  readonly down: number;
}

/** Replicas that one metric asks for, and the value that the status shows. Values are in thousandths. */
export interface Proposal {
  readonly replicas: number;
  /** Per pod where the target is. */
  readonly value: number;
  /** Percent of what the pods request. */
  readonly utilization?: number;
}

const maxReplicas = 2 ** 31 - 1;

const isWithin = ({ up, down }: Tolerances, ratio: number): boolean => 1 - down <= ratio && ratio <= 1 + up;
const wholeReplicas = (count: number): number => Math.min(maxReplicas, Math.ceil(count));

export interface PodsTarget {
  readonly currentReplicas: number;
  readonly metrics: PodMetrics;
  readonly groups: PodGroups;
  readonly tolerances: Tolerances;
}

interface Usage {
  readonly ratio: number;
  readonly value: number;
  readonly utilization?: number;
}

/** The average use of pods against a value for each pod. */
export function byAverageValue(target: number, options: PodsTarget): Proposal {
  const usage = (metrics: PodMetrics): Usage => {
    const value = Math.trunc(sumOf(metrics) / metrics.size);
    return { ratio: value / target, value };
  };
  return proposeForPods(options, { usage, whenMissing: () => target });
}

/**
 * The use of pods as a share of what they request.
 *
 * @throws Error when no pod that was measured requests anything
 */
export function byUtilization(target: number, requests: ReadonlyMap<string, number>, options: PodsTarget): Proposal {
  const usage = (metrics: PodMetrics): Usage => {
    let used = 0;
    let requested = 0;
    let count = 0;
    for (const [name, { value }] of metrics) {
      const request = requests.get(name);
      if (request === undefined) continue;
      used += value;
      requested += request;
      count += 1;
    }
    if (requested === 0) throw new Error('no metrics returned matched known pods');
    const utilization = Math.trunc((used * 100) / requested);
    return { ratio: utilization / target, value: Math.trunc(used / count), utilization };
  };
  // On the way down a pod without a value counts as one that uses all of its request, or the target where that is more.
  const whenMissing = (name: string): number => Math.trunc(((requests.get(name) ?? 0) * Math.max(100, target)) / 100);
  return proposeForPods(options, { usage, whenMissing });
}

/** Pods without a value are assumed to be such that the change is smaller, and never such that it turns round. */
function proposeForPods(
  { currentReplicas, metrics: all, groups, tolerances }: PodsTarget,
  { usage, whenMissing }: { usage(metrics: PodMetrics): Usage; whenMissing(pod: string): number },
): Proposal {
  const metrics = new Map([...all].filter(([name]) => !groups.ignored.has(name) && !groups.unready.has(name)));
  if (metrics.size === 0) throw new Error('did not receive metrics for targeted pods (pods might be unready)');
  const { ratio, ...seen } = usage(metrics);
  const stay: Proposal = { replicas: currentReplicas, ...seen };
  const growsWithUnready = groups.unready.size > 0 && ratio > 1;
  if (!growsWithUnready && groups.missing.size === 0) {
    return isWithin(tolerances, ratio) ? stay : { replicas: wholeReplicas(ratio * groups.readyCount), ...seen };
  }
  const assumed = (value: number): PodMetric => ({ value, at: 0, windowMs: 0 });
  for (const name of groups.missing) {
    if (ratio < 1) metrics.set(name, assumed(whenMissing(name)));
    else if (ratio > 1) metrics.set(name, assumed(0));
  }
  if (growsWithUnready) for (const name of groups.unready) metrics.set(name, assumed(0));
  const { ratio: next } = usage(metrics);
  if (isWithin(tolerances, next) || (ratio < 1 && next > 1) || (ratio > 1 && next < 1)) return stay;
  const replicas = wholeReplicas(next * metrics.size);
  const turns = (next < 1 && replicas > currentReplicas) || (next > 1 && replicas < currentReplicas);
  return turns ? stay : { replicas, ...seen };
}

export interface ValueTarget {
  /** Replicas of `spec` for a value, and of `status` for an average. */
  readonly replicas: number;
  readonly value: number;
  readonly target: number;
  readonly tolerances: Tolerances;
}

/** One value against its target: the pods that are ready are scaled by the ratio. */
export function byValue({ replicas, value, target, tolerances }: ValueTarget, readyCount: () => number): Proposal {
  const ratio = value / target;
  if (replicas === 0) return { replicas: wholeReplicas(ratio), value };
  return { replicas: isWithin(tolerances, ratio) ? replicas : wholeReplicas(ratio * readyCount()), value };
}

/** One value, divided by the pods, against its target. */
export function byValuePerPod({ replicas, value, target, tolerances }: ValueTarget): Proposal {
  const stays = isWithin(tolerances, value / (target * replicas));
  return { replicas: stays ? replicas : wholeReplicas(value / target), value: replicas === 0 ? 0 : Math.ceil(value / replicas) };
}

function sumOf(metrics: PodMetrics): number {
  let sum = 0;
  for (const { value } of metrics.values()) sum += value;
  return sum;
}
