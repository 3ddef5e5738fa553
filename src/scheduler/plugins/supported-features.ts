import type { FilterPlugin } from '../plugin.ts';

/**
 * Refuses pods that ask for something no node offers here, so that it is said and never ignored.
 */
export const supportedFeatures: FilterPlugin = {
  name: 'SupportedFeatures',
  helpedBy: ['PodChanged'],
  refuse: ({ shape }) => shape.unsupported,
  prepare: () => undefined,
};
