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

/** Reasons why nothing is done to make a node fit. Each is absent when its plugin is off. */
export interface NotHelped {
  /** The plugin DynamicResources gives it. */
  readonly claims?: string | undefined;
  /** The plugin DefaultPreemption gives it. */
  readonly preemption?: string | undefined;
}

/** The text of `FailedScheduling`, as kube-scheduler words it. `notHelped` is absent when pods are removed for this one. */
export function describeUnfit({ nodes, refusal, reasons }: Unfit, { claims, preemption }: NotHelped = {}): string {
  if (nodes === 0) return 'no nodes available to schedule pods';
  const why = `0/${nodes} nodes are available: ${refusal ?? textOfCounts(reasons)}.`;
  const helpless = [...(claims === undefined ? [] : [claims]), ...(preemption === undefined ? [] : [`preemption: ${preemption}`])];
  return helpless.length === 0 ? why : `${why} ${helpless.join(', ')}`;
}

/** Upstream says it of every pod, also of those without a claim. */
export function describeClaims(
  hasClaims: boolean,
  { refusal, isGivenBack }: Pick<Unfit, 'refusal'> & { readonly isGivenBack: boolean },
): string {
  if (isGivenBack) return 'deallocation of ResourceClaim completed';
  return hasClaims && refusal === undefined ? 'still not schedulable' : 'no new claims to deallocate';
}

/** `1 Insufficient cpu, 2 Too many pods`: sorted as text, numbers included, as upstream does. */
export function textOfCounts(reasons: ReadonlyMap<string, number>): string {
  return [...reasons]
    .map(([reason, count]) => `${count} ${reason}`)
    .sort()
    .join(', ');
}
