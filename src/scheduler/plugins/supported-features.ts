import type { PluginFactory } from '../plugin.ts';

/**
 * Refuses pods that ask for something no node offers here, so that it is said and never ignored.
 */
export const supportedFeatures: PluginFactory = () => ({
  name: 'SupportedFeatures',
  filter: { helpedBy: { PodChanged: 'always' }, refuse: ({ shape }) => shape.unsupported, prepare: () => undefined },
});
