import type { Taint } from '../../api/core/v1/node.ts';
import { BoundedMap } from '../../base/bounded-map.ts';
import { toleratesTaint } from '../../lifecycle/tolerations.ts';
import type { FilterPlugin, Rejection, ScorePlugin } from '../plugin.ts';

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

/** Leaves out nodes with a NoSchedule or NoExecute taint that the pod does not tolerate. */
export const taintToleration: FilterPlugin = {
  name: 'TaintToleration',
  helpedBy: ['NodeAdded', 'NodeTaintsChanged', 'PodChanged'],
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
};

/** Prefers nodes with fewer PreferNoSchedule taints that the pod does not tolerate. */
export const taintTolerationScore: ScorePlugin = {
  name: 'TaintToleration',
  weight: 3,
  prepare({ shape }, { nodes }) {
    if (nodes.every((node) => node.softTaints.length === 0)) return undefined;
    return {
      scale: 'highest-is-0',
      score: (node) => node.softTaints.filter((taint) => !toleratesTaint(shape.tolerations, taint)).length,
    };
  },
};
