import type { Pod } from '../api/core/v1/pod.ts';
import type { PodDisruptionBudget } from '../api/policy/v1/pod-disruption-budget.ts';
import { compileLabelSelector, type LabelSelector } from '../machinery/selector.ts';
import type { NodeRecord } from './cache.ts';
import type { PodRecord } from './pod-record.ts';

/** Pods to remove from a node, the most important first, and how many disruption budgets that would break. */
export interface Victims {
  readonly node: NodeRecord;
  readonly pods: readonly PodRecord[];
  readonly violations: number;
}

/** Milliseconds since the epoch when the pod began to run; a pod that has not yet counts as begun now. */
export type StartOf = (pod: PodRecord) => number;

/** Higher priority first, then the one that has run for longer. */
export function byImportance(startOf: StartOf): (a: PodRecord, b: PodRecord) => number {
  return (a, b) => b.shape.priority - a.shape.priority || startOf(a) - startOf(b);
}

/**
 * Divides pods into those whose removal would break a budget, when all before them are removed too, and the others. Both keep their order.
 *
 * @see Kubernetes concepts, "Pod Priority and Preemption", "PodDisruptionBudget is supported, but not guaranteed"
 */
export function splitByBudgets(
  pods: readonly PodRecord[],
  budgets: readonly PodDisruptionBudget[],
): { readonly violating: readonly PodRecord[]; readonly others: readonly PodRecord[] } {
  const protecting = budgets.map((budget) => ({
    budget,
    selector: compileLabelSelector(budget.spec?.selector),
    left: budget.status?.disruptionsAllowed ?? 0,
  }));
  const violating: PodRecord[] = [];
  const others: PodRecord[] = [];
  for (const record of pods) {
    let violates = false;
    for (const one of protecting) {
      if (!protects(one, record.pod)) continue;
      one.left -= 1;
      if (one.left < 0) violates = true;
    }
    (violates ? violating : others).push(record);
  }
  return { violating, others };
}

interface Protection {
  readonly budget: PodDisruptionBudget;
  readonly selector: LabelSelector;
}

/**
 * In `policy/v1` an empty selector protects every pod of the namespace, also one without labels; no selector protects none.
 *
 * @see Kubernetes tasks, "Specifying a Disruption Budget for your Application"
 */
function protects({ budget: { metadata, status }, selector }: Protection, pod: Pod): boolean {
  const { labels, name, namespace } = pod.metadata;
  if (metadata.namespace !== namespace || !selector.matches(labels)) return false;
  // The API server has counted this pod as disrupted already.
  return status?.disruptedPods?.[name] === undefined;
}

/** Each number is smaller for the better node; the next one decides among equals. */
const rules: readonly ((victims: Victims, startOf: StartOf) => number)[] = [
  ({ violations }) => violations,
  ({ pods }) => pods[0]?.shape.priority ?? Number.NEGATIVE_INFINITY,
  // As upstream: each victim adds to the sum, even one of a negative priority.
  ({ pods }) => pods.reduce((sum, { shape }) => sum + shape.priority + 2 ** 31, 0),
  ({ pods }) => pods.length,
  (victims, startOf) => -earliestStart(victims, startOf),
];

/** The start of the pod that has run for longest among the most important victims. */
function earliestStart({ pods }: Victims, startOf: StartOf): number {
  const highest = pods[0]?.shape.priority;
  return Math.min(...pods.filter(({ shape }) => shape.priority === highest).map(startOf));
}

/** The node that is best to take, by upstream's rules in order; the first of equals. */
export function pickBest(candidates: readonly Victims[], startOf: StartOf): Victims | undefined {
  let left = candidates;
  for (const rule of rules) {
    if (left.length <= 1) break;
    const numbers = left.map((victims) => rule(victims, startOf));
    const least = Math.min(...numbers);
    left = left.filter((_, index) => numbers[index] === least);
  }
  return left[0];
}
