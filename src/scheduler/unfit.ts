import type { NodeRecord } from './cache.ts';

/** Reasons why no node fits a pod. */
export interface Unfit {
  readonly nodes: number;
  /** A refusal by one plugin, whatever the nodes are like. */
  readonly refusal: string | undefined;
  /** Number of nodes for each reason; a node may give several. */
  readonly reasons: ReadonlyMap<string, number>;
  /** Nodes on which removing pods may help. */
  readonly resolvable: readonly NodeRecord[];
  /** Names of the plugins that rejected some node. */
  readonly plugins: ReadonlySet<string>;
}

/**
 * The text of `FailedScheduling`, as kube-scheduler words it. `preemption` says why no pod is removed, and is absent when some are, or when
 * the profile removes none.
 */
export function describeUnfit({ nodes, refusal, reasons }: Unfit, preemption: string | undefined): string {
  if (nodes === 0) return 'no nodes available to schedule pods';
  const why = `0/${nodes} nodes are available: ${refusal ?? textOfCounts(reasons)}.`;
  return preemption === undefined ? why : `${why} preemption: ${preemption}`;
}

/** `1 Insufficient cpu, 2 Too many pods`: sorted as text, numbers included, as upstream does. */
export function textOfCounts(reasons: ReadonlyMap<string, number>): string {
  return [...reasons]
    .map(([reason, count]) => `${count} ${reason}`)
    .sort()
    .join(', ');
}
