import type { NodeRecord } from './cache.ts';
import type { Nominator } from './nominator.ts';
import type { PreparedFilter, Rejection } from './plugin.ts';
import type { PodRecord } from './pod-record.ts';
import { Trial } from './trial.ts';

export interface NamedFilter {
  readonly name: string;
  readonly prepared: PreparedFilter;
}

/** Asks the filters of a pod about a node. */
export interface Feasibility {
  /**
   * The first rejection, or undefined when the node will do. It has to do with the pods that were nominated for it and come first. It has
   * to do as it is, too, since those may not arrive after all.
   */
  rejectionOf(pod: PodRecord, filters: readonly NamedFilter[], node: NodeRecord): Rejection | undefined;
  /** The plugin that gave the last rejection. A result with both would be one object for each node. */
  readonly rejectedBy: string;
}

export function createFeasibility(nominator: Nominator): Feasibility {
  let rejectedBy = '';

  function firstRejection(filters: readonly NamedFilter[], node: NodeRecord): Rejection | undefined {
    for (const { name, prepared } of filters) {
      const rejection = prepared.filter(node);
      if (rejection === undefined) continue;
      rejectedBy = name;
      return rejection;
    }
    return undefined;
  }

  function withNominated(filters: readonly NamedFilter[], node: NodeRecord, nominated: readonly PodRecord[]): Rejection | undefined {
    const trial = new Trial(filters, node);
    try {
      for (const pod of nominated) trial.add(pod);
      return firstRejection(filters, trial.node);
    } finally {
      trial.undo();
    }
  }

  return {
    rejectionOf(pod, filters, node) {
      if (nominator.size > 0) {
        const nominated = nominator.before(pod, node.name);
        const rejection = nominated.length === 0 ? undefined : withNominated(filters, node, nominated);
        if (rejection !== undefined) return rejection;
      }
      return firstRejection(filters, node);
    },
    get rejectedBy() {
      return rejectedBy;
    },
  };
}
