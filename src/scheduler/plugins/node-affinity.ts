import type { FilterPlugin, Rejection, ScorePlugin } from '../plugin.ts';

const mismatch: Rejection = { reasons: ["node(s) didn't match Pod's node affinity/selector"], resolvable: false };

/** Leaves out nodes that `nodeSelector` or required node affinity do not select. */
export const nodeAffinity: FilterPlugin = {
  name: 'NodeAffinity',
  helpedBy: ['NodeAdded', 'NodeLabelsChanged', 'PodChanged'],
  prepare({ shape }) {
    const { nodeMatcher } = shape;
    if (nodeMatcher === undefined) return undefined;
    return { filter: (node) => (nodeMatcher(node.labels, node.name) ? undefined : mismatch) };
  },
};

/** Prefers nodes by the weights of preferred node affinity. */
export const nodeAffinityScore: ScorePlugin = {
  name: 'NodeAffinity',
  weight: 2,
  prepare({ shape }) {
    const { preferredNodes } = shape;
    if (preferredNodes.length === 0) return undefined;
    return {
      scale: 'highest-is-100',
      score: (node) => preferredNodes.reduce((sum, { weight, matches }) => (matches(node.labels, node.name) ? sum + weight : sum), 0),
    };
  },
};
