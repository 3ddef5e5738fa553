import { sharesPort } from '../../api/core/v1/host-ports.ts';
import type { PluginFactory, Rejection } from '../plugin.ts';

const taken: Rejection = { reasons: ["node(s) didn't have free ports for the requested pod ports"], resolvable: true };

/** Leaves out nodes where another pod has one of the wanted host ports. */
export const nodePorts: PluginFactory = () => ({
  name: 'NodePorts',
  filter: {
    helpedBy: {
      NodeAdded: 'always',
      AssignedPodDeleted: ({ shape }, { pod }) => pod === undefined || sharesPort(shape.hostPorts, pod.shape.hostPorts),
      PodChanged: 'always',
    },
    prepare({ shape }) {
      const { hostPorts } = shape;
      if (hostPorts.length === 0) return undefined;
      return { filter: (node) => (node.hasPortOf(hostPorts) ? taken : undefined) };
    },
  },
});
