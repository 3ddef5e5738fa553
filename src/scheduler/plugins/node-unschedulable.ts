import { taints } from '../../api/well-known.ts';
import { toleratesTaint } from '../../lifecycle/tolerations.ts';
import type { PluginFactory, Rejection } from '../plugin.ts';

const unschedulable: Rejection = { reasons: ['node(s) were unschedulable'], resolvable: false };

/** Leaves out cordoned nodes, except for pods that tolerate that. */
export const nodeUnschedulable: PluginFactory = () => ({
  name: 'NodeUnschedulable',
  filter: {
    helpedBy: {
      NodeAdded: (_, { node }) => node?.unschedulable !== true,
      NodeTaintsChanged: (_, { node }) => node?.unschedulable !== true,
      PodChanged: 'always',
    },
    prepare({ shape }) {
      if (toleratesTaint(shape.tolerations, { key: taints.unschedulable, effect: 'NoSchedule' })) return undefined;
      return { filter: (node) => (node.unschedulable ? unschedulable : undefined) };
    },
  },
});
