import type { Affinity } from '../../api/core/v1/pod.ts';
import { compileNodeSelector, compileNodeTerm, type NodeMatcher } from '../../lifecycle/node-selector.ts';
import type { NodeRecord } from '../cache.ts';
import type { PluginFactory, Rejection } from '../plugin.ts';
import type { PodRecord } from '../pod-record.ts';

const mismatch: Rejection = { reasons: ["node(s) didn't match Pod's node affinity/selector"], resolvable: false };
const addedMismatch: Rejection = { reasons: ["node(s) didn't match scheduler-enforced node affinity"], resolvable: false };

/** Arguments of the plugin in a profile. */
interface NodeAffinityArgs {
  /** Holds for every pod of the profile, besides its own. */
  readonly addedAffinity?: NonNullable<Affinity['nodeAffinity']>;
}

/**
 * Leaves out nodes that `nodeSelector` or required node affinity do not select, and prefers nodes by the weights of preferred node
 * affinity.
 */
export const nodeAffinity: PluginFactory = (_, args) => {
  const { addedAffinity } = (args ?? {}) as NodeAffinityArgs;
  const addedMatcher = compileNodeSelector(undefined, addedAffinity?.requiredDuringSchedulingIgnoredDuringExecution);
  const addedPreferred = (addedAffinity?.preferredDuringSchedulingIgnoredDuringExecution ?? []).map(({ weight, preference }) => ({
    weight,
    matches: compileNodeTerm(preference),
  }));
  const selects = (matcher: NodeMatcher | undefined, { labels, name }: NodeRecord) => matcher === undefined || matcher(labels, name);
  const mayHelp = ({ shape }: PodRecord, { node }: { readonly node?: NodeRecord }) =>
    node === undefined || (selects(addedMatcher, node) && selects(shape.nodeMatcher, node));

  return {
    name: 'NodeAffinity',
    filter: {
      refuse: ({ shape }) => (shape.namedNodes?.size === 0 ? 'pod affinity terms conflict' : undefined),
      helpedBy: { NodeAdded: mayHelp, NodeLabelsChanged: mayHelp, PodChanged: 'always' },
      namedNodes: ({ shape }) => shape.namedNodes,
      prepare({ shape }) {
        const { nodeMatcher } = shape;
        if (nodeMatcher === undefined && addedMatcher === undefined) return undefined;
        return {
          filter(node) {
            if (!selects(addedMatcher, node)) return addedMismatch;
            return selects(nodeMatcher, node) ? undefined : mismatch;
          },
        };
      },
    },
    score: {
      prepare({ shape }) {
        const preferred = addedPreferred.length === 0 ? shape.preferredNodes : [...addedPreferred, ...shape.preferredNodes];
        if (preferred.length === 0) return undefined;
        return {
          scale: 'highest-is-100',
          score(node) {
            let sum = 0;
            for (const { weight, matches } of preferred) if (matches(node.labels, node.name)) sum += weight;
            return sum;
          },
        };
      },
    },
  };
};
