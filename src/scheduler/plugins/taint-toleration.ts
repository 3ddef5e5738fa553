import { toleratesTaint } from '../../lifecycle/tolerations.ts';
import type { NodeRecord } from '../cache.ts';
import type { PluginFactory, Rejection } from '../plugin.ts';
import type { PodRecord } from '../pod-record.ts';

const untolerated: Rejection = { reasons: ['node(s) had untolerated taint(s)'], resolvable: false };

const mayHelp = ({ shape }: PodRecord, { node }: { readonly node?: NodeRecord }): boolean =>
  node === undefined || node.hardTaints.every((taint) => toleratesTaint(shape.tolerations, taint));

/**
 * Leaves out nodes with a NoSchedule or NoExecute taint that the pod does not tolerate. It prefers nodes with fewer
 * PreferNoSchedule taints that the pod does not tolerate.
 */
export const taintToleration: PluginFactory = () => ({
  name: 'TaintToleration',
  filter: {
    helpedBy: { NodeAdded: mayHelp, NodeTaintsChanged: mayHelp, PodChanged: 'always' },
    prepare({ shape }) {
      const { tolerations } = shape;
      return {
        filter(node) {
          if (node.hardTaints.length === 0) return undefined;
          return node.hardTaints.every((taint) => toleratesTaint(tolerations, taint)) ? undefined : untolerated;
        },
      };
    },
  },
  score: {
    prepare({ shape }, { nodes }) {
      if (nodes.every((node) => node.softTaints.length === 0)) return undefined;
      // Only these tolerations count for a taint that merely asks to be avoided.
      const tolerations = shape.tolerations.filter(({ effect }) => effect === undefined || effect === '' || effect === 'PreferNoSchedule');
      return {
        scale: 'highest-is-0',
        score(node) {
          let count = 0;
          for (const taint of node.softTaints) if (!toleratesTaint(tolerations, taint)) count += 1;
          return count;
        },
      };
    },
  },
});
