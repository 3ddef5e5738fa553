import type { PodDisruptionBudget } from '../api/policy/v1/pod-disruption-budget.ts';
import { BoundedMap } from '../base/bounded-map.ts';
import type { NodeRecord } from './cache.ts';
import type { PodRecord, PodShape } from './pod-record.ts';
import type { Victims } from './victims.ts';

/** The pods to remove from a node, or why removing some does not help. */
export type TrialOutcome = Victims | { readonly reasons: readonly string[] };

/**
 * Outcomes of trials by shape of pods and node. A hundred replicas without a node try the same hundreds of nodes one after the other, and
 * each takes one of them. An outcome holds while its node has the same pods, which began to run at the same times. The pods nominated for
 * the node must be the same, too.
 */
export interface VictimMemory {
  /**
   * The outcome for such a pod on the node, from memory or else from `tryOut`.
   *
   * @param nominations  version of the pods that are nominated for the node
   */
  of(pod: PodRecord, { node, nominations }: Tried, tryOut: () => TrialOutcome): TrialOutcome;
}

interface Tried {
  readonly node: NodeRecord;
  readonly nominations: number;
}

interface Known {
  readonly nominations: number;
  readonly version: number;
  readonly podsVersion: number;
  readonly outcome: TrialOutcome;
}

/** Shapes whose outcomes are kept. Nodes that are gone keep none. */
const maxShapes = 8;

export function createVictimMemory(): {
  /** The memory under these budgets. Other ones than before make it empty. */
  under(budgets: readonly PodDisruptionBudget[]): VictimMemory;
} {
  const byShape = new BoundedMap<PodShape, WeakMap<NodeRecord, Known>>(maxShapes);
  let known: readonly PodDisruptionBudget[] = [];

  const memory: VictimMemory = {
    of(pod, { node, nominations }, tryOut) {
      let ofShape = byShape.get(pod.shape);
      if (ofShape === undefined) {
        ofShape = new WeakMap();
        byShape.set(pod.shape, ofShape);
      }
      const { version, podsVersion } = node;
      const before = ofShape.get(node);
      const isSame = before?.version === version && before.podsVersion === podsVersion && before.nominations === nominations;
      if (isSame) return before.outcome;
      const outcome = tryOut();
      ofShape.set(node, { version, podsVersion, nominations, outcome });
      return outcome;
    },
  };

  return {
    under(budgets) {
      if (budgets.length !== known.length || budgets.some((budget, index) => budget !== known[index])) byShape.clear();
      known = budgets;
      return memory;
    },
  };
}
