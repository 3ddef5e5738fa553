import type { PodShape } from './pod-record.ts';

/** Reasons why no node fits a pod. */
export interface Unfit {
  readonly nodes: number;
  /** A refusal by one plugin, whatever the nodes are like. */
  readonly refusal: string | undefined;
  /** Number of nodes for each reason; a node may give several. */
  readonly reasons: ReadonlyMap<string, number>;
  /** Nodes on which removing pods would help. */
  readonly resolvable: number;
  /** Names of the plugins that rejected some node. */
  readonly plugins: ReadonlySet<string>;
}

/**
 * The text of `FailedScheduling`, as kube-scheduler words it. Preemption does not exist here. The text therefore ends
 * as upstream's does when there is nothing to preempt. Or it says that preemption is not supported when upstream might
 * have found victims.
 */
export function describeUnfit(unfit: Unfit, shape: PodShape): string {
  const { nodes, refusal, reasons } = unfit;
  if (nodes === 0) return 'no nodes available to schedule pods';
  const why = refusal ?? counted(reasons);
  return `0/${nodes} nodes are available: ${why}. preemption: ${describePreemption(unfit, shape)}.`;
}

function describePreemption({ nodes, resolvable }: Unfit, { mayPreempt, priority }: PodShape): string {
  if (!mayPreempt) return 'not eligible due to preemptionPolicy=Never';
  if (resolvable > 0 && priority > 0) return 'not supported: preemption of pods with a lower priority';
  const told = new Map<string, number>();
  if (resolvable > 0) told.set('No preemption victims found for incoming pod', resolvable);
  if (resolvable < nodes) told.set('Preemption is not helpful for scheduling', nodes - resolvable);
  return `0/${nodes} nodes are available: ${counted(told)}`;
}

/** `1 Insufficient cpu, 2 Too many pods`: sorted as text, numbers included, as upstream does. */
function counted(reasons: ReadonlyMap<string, number>): string {
  return [...reasons]
    .map(([reason, count]) => `${count} ${reason}`)
    .sort()
    .join(', ');
}
