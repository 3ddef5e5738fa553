import type { Pod } from '../../api/core/v1/pod.ts';
import { disruptionConditions, disruptionTimeoutMs } from '../../api/policy/v1/disruption.ts';
import type { PodDisruptionBudget, PodDisruptionBudgetStatus } from '../../api/policy/v1/pod-disruption-budget.ts';
import { timestampOf } from '../../base/clock.ts';
import { scaledValueOf } from '../../machinery/int-or-string.ts';
import { isPodReady, isPodTerminating } from '../pod-conditions.ts';

/** Numbers of pods that a budget requires. */
export interface Expectation {
  readonly expected: number;
  readonly desiredHealthy: number;
}

/**
 * True when the budget depends on the number of pods that the owners want. A budget with an absolute `minAvailable`
 * does not.
 */
export const needsScale = ({ spec }: PodDisruptionBudget): boolean =>
  (spec?.maxUnavailable ?? undefined) !== undefined || typeof spec?.minAvailable === 'string';

/**
 * @param count  pods that the budget selects
 * @param scale  pods that their owners want, when `needsScale`
 */
export function expectationOf({ spec }: PodDisruptionBudget, count: number, scale: number): Expectation {
  const { maxUnavailable, minAvailable } = spec ?? {};
  if ((maxUnavailable ?? undefined) !== undefined) {
    return { expected: scale, desiredHealthy: Math.max(0, scale - scaled(maxUnavailable, scale)) };
  }
  if (typeof minAvailable === 'string') return { expected: scale, desiredHealthy: scaled(minAvailable, scale) };
  if (typeof minAvailable === 'number') return { expected: count, desiredHealthy: minAvailable };
  return { expected: 0, desiredHealthy: 0 };
}

/** Percentages are rounded up, for the pods that must stay as for those that may go. */
const scaled = (value: number | string | undefined, total: number): number => scaledValueOf(value ?? 0, { total, round: 'up' });

export interface Disruption {
  readonly disruptedPods: Readonly<Record<string, string>>;
  /** When the first of them is overdue. */
  readonly recheckAtMs: number | undefined;
  /** Pods whose eviction was granted and did not happen in time. */
  readonly overdue: readonly Pod[];
}

/** Evictions that were granted and whose pods are still there. */
export function disruptionOf({ status }: PodDisruptionBudget, pods: readonly Pod[], nowMs: number): Disruption {
  const disruptedPods: Record<string, string> = {};
  const overdue: Pod[] = [];
  let recheckAtMs: number | undefined;
  const granted = status?.disruptedPods;
  if (granted === undefined) return { disruptedPods, recheckAtMs, overdue };
  for (const pod of pods) {
    const { name } = pod.metadata;
    const at = Object.hasOwn(granted, name) ? granted[name] : undefined;
    if (at === undefined || isPodTerminating(pod)) continue;
    const untilMs = Date.parse(String(at)) + disruptionTimeoutMs;
    if (untilMs <= nowMs) overdue.push(pod);
    else {
      disruptedPods[name] = String(at);
      recheckAtMs = Math.min(recheckAtMs ?? untilMs, untilMs);
    }
  }
  return { disruptedPods, recheckAtMs, overdue };
}

/** Pods that serve, and are not about to go. */
export const healthyCount = (pods: readonly Pod[], { disruptedPods }: Disruption): number =>
  pods.filter((pod) => isPodReady(pod) && !isPodTerminating(pod) && !Object.hasOwn(disruptedPods, pod.metadata.name)).length;

/** The status, the same one when nothing changes. */
export function statusOf(
  { metadata, status }: PodDisruptionBudget,
  counted: Expectation & { readonly healthy: number; readonly disruption: Disruption },
  nowMs: number,
): PodDisruptionBudgetStatus {
  const { expected, desiredHealthy, healthy, disruption } = counted;
  const { generation } = metadata;
  const disruptionsAllowed = expected <= 0 ? 0 : Math.max(0, healthy - desiredHealthy);
  const hasDisrupted = Object.keys(disruption.disruptedPods).length > 0;
  const conditions = disruptionConditions({ conditions: status?.conditions, disruptionsAllowed } as never, generation, timestampOf(nowMs));
  return {
    ...(generation === undefined ? {} : { observedGeneration: generation }),
    ...(hasDisrupted ? { disruptedPods: disruption.disruptedPods } : {}),
    disruptionsAllowed,
    currentHealthy: healthy,
    desiredHealthy,
    expectedPods: expected,
    conditions,
  };
}
