import type { Taint } from '../../api/core/v1/node.ts';
import { BoundedMap } from '../../base/bounded-map.ts';
import { toleratesTaint } from '../../lifecycle/tolerations.ts';
import type { NodeRecord } from '../cache.ts';
import type { PluginFactory, Rejection } from '../plugin.ts';
import type { PodRecord } from '../pod-record.ts';

/** Rejections by taint, so that a thousand nodes with the same taint share one. Taints come from few hands; still bounded. */
const rejections = new BoundedMap<string, Rejection>(1_000);

function rejectionOf({ key, value }: Taint): Rejection {
  const reason = `node(s) had untolerated taint {${key}: ${value ?? ''}}`;
  let rejection = rejections.get(reason);
  if (rejection === undefined) {
    rejection = { reasons: [reason], resolvable: false };
    rejections.set(reason, rejection);
  }
  return rejection;
}

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
          const untolerated = node.hardTaints.find((taint) => !toleratesTaint(tolerations, taint));
          return untolerated === undefined ? undefined : rejectionOf(untolerated);
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
