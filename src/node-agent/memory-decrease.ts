import type { ContainerStats, PodResources } from './container-runtime.ts';

/** A container whose memory limit changes while it runs. Undefined: it has none. */
export interface LimitChange {
  readonly container: string;
  readonly beforeBytes: number | undefined;
  readonly afterBytes: number | undefined;
}

export interface MemoryChanges {
  /** Limits of the pod as a whole; undefined when they are not known. */
  readonly podBefore: Pick<PodResources, 'memoryLimitBytes'> | undefined;
  readonly podAfter: Pick<PodResources, 'memoryLimitBytes'>;
  readonly containers: readonly LimitChange[];
}

/** True when a limit becomes lower, so that the usage has to be looked at. */
export const lowersMemory = ({ podBefore, podAfter, containers }: MemoryChanges): boolean =>
  isLower(podBefore?.memoryLimitBytes, podAfter.memoryLimitBytes) ||
  containers.some(({ beforeBytes, afterBytes }) => isLower(beforeBytes, afterBytes));

/**
 * The reason against limits below what is in use, in the words of the kubelet; undefined when there is room. The kernel would take
 * such a limit and end a program for it.
 *
 * @param stats  of the containers of this pod; one without a measurement counts as empty
 * @see KEP-1287, "Memory Limit Decreases"
 */
export function whyNotLower({ podBefore, podAfter, containers }: MemoryChanges, stats: readonly ContainerStats[]): string | undefined {
  const usageOf = ({ memoryUsageBytes, memoryWorkingSetBytes = 0 }: ContainerStats): number => memoryUsageBytes ?? memoryWorkingSetBytes;
  const reasons: string[] = [];
  const check = (what: string, limit: number, usage: number): void => {
    if (usage > limit) reasons.push(`attempting to set ${what} memory limit (${limit}) below current usage (${usage})`);
  };
  const { memoryLimitBytes: podLimit } = podAfter;
  if (podLimit !== undefined && isLower(podBefore?.memoryLimitBytes, podLimit))
    check(
      'pod',
      podLimit,
      stats.reduce((sum, each) => sum + usageOf(each), 0),
    );
  for (const { container, beforeBytes, afterBytes } of containers) {
    const found = stats.find((each) => each.container === container);
    if (found !== undefined && afterBytes !== undefined && isLower(beforeBytes, afterBytes))
      check(`container ${JSON.stringify(container)}`, afterBytes, usageOf(found));
  }
  if (reasons.length === 0) return undefined;
  return `cannot decrease memory limits: ${reasons.length === 1 ? reasons[0] : `[${reasons.join(', ')}]`}`;
}

/** No limit, which may be written as 0, is the highest. */
const isLower = (before: number | undefined, after: number | undefined): boolean =>
  after !== undefined && after > 0 && (before === undefined || before === 0 || after < before);
