import type { NodeRecord } from './cache.ts';
import type { NamedFilter } from './feasibility.ts';
import type { PodRecord } from './pod-record.ts';

/**
 * A node with other pods than it has. Pods come and go on a copy of its record, and filters that count pods of other nodes are kept in
 * step. Those counts are shared: `undo` has to run before anything else is asked of the filters.
 */
export class Trial {
  readonly node: NodeRecord;
  readonly #filters: readonly NamedFilter[];
  readonly #changes: { readonly pod: PodRecord; readonly sign: 1 | -1 }[] = [];

  constructor(filters: readonly NamedFilter[], node: NodeRecord) {
    this.#filters = filters;
    this.node = node.copy();
  }

  add(pod: PodRecord): void {
    this.node.add(pod);
    this.#shift(pod, 1);
    this.#changes.push({ pod, sign: 1 });
  }

  remove(pod: PodRecord): void {
    this.node.remove(pod);
    this.#shift(pod, -1);
    this.#changes.push({ pod, sign: -1 });
  }

  undo(): void {
    for (const { pod, sign } of this.#changes.splice(0)) this.#shift(pod, sign === 1 ? -1 : 1);
  }

  #shift(pod: PodRecord, sign: 1 | -1): void {
    for (const { prepared } of this.#filters) prepared.shift?.(pod, this.node, sign);
  }
}
