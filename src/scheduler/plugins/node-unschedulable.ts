import { taints } from '../../api/well-known.ts';
import { toleratesTaint } from '../../lifecycle/tolerations.ts';
import type { FilterPlugin, Rejection } from '../plugin.ts';

const unschedulable: Rejection = { reasons: ['node(s) were unschedulable'], resolvable: false };

/** Leaves out cordoned nodes, except for pods that tolerate that. */
export const nodeUnschedulable: FilterPlugin = {
  name: 'NodeUnschedulable',
  helpedBy: ['NodeAdded', 'NodeTaintsChanged', 'PodChanged'],
  prepare({ shape }) {
    if (toleratesTaint(shape.tolerations, { key: taints.unschedulable, effect: 'NoSchedule' })) return undefined;
    return { filter: (node) => (node.unschedulable ? unschedulable : undefined) };
  },
};
