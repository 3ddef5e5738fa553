import type { ScorePlugin } from '../plugin.ts';

/**
 * Prefers nodes with few pods of the same owner, so that losing a node does not take all replicas. Upstream does this by default
 * topology spread constraints over the selectors of Services and owners; counting by owner is what those come to.
 */
export const ownerSpread: ScorePlugin = {
  name: 'PodTopologySpread',
  weight: 2,
  prepare({ shape }) {
    const { ownerUid, softSpread, hardSpread } = shape;
    // Constraints in the pod's spec replace this default.
    if (ownerUid === undefined || softSpread.length > 0 || hardSpread.length > 0) return undefined;
    return { scale: 'highest-is-0', score: (node) => node.podsByOwner.get(ownerUid) ?? 0 };
  },
};
