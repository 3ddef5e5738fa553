import { maxScore, type PluginFactory } from '../plugin.ts';

/** Images smaller than this make no difference, and neither does what a container's images have beyond the largest. */
const smallest = 23 * 1024 * 1024;
const largestOfContainer = 1_000 * 1024 * 1024;

/**
 * Prefers nodes that have the pod's images already. An image counts by its size and by the share of nodes that have it. The one node that
 * happened to be first must not draw all pods.
 */
export const imageLocality: PluginFactory = () => ({
  name: 'ImageLocality',
  score: {
    prepare({ shape }, cluster) {
      const { containers, initContainers = [] } = shape.source;
      const names = [...initContainers, ...containers].flatMap(({ image }) => (image === undefined ? [] : [normalized(image)]));
      if (names.length === 0) return undefined;
      const largest = largestOfContainer * names.length;
      return {
        get isSilent() {
          return names.every((name) => cluster.nodesWithImage(name) === 0);
        },
        score(node) {
          let sum = 0;
          for (const name of names) {
            const bytes = node.images.get(name);
            if (bytes !== undefined) sum += Math.floor(bytes * (cluster.nodesWithImage(name) / cluster.nodes.length));
          }
          const bounded = Math.min(Math.max(sum, smallest), largest);
          return Math.floor((maxScore * (bounded - smallest)) / (largest - smallest));
        },
      };
    },
  },
});

/** The name as nodes report it: with a tag. */
const normalized = (image: string): string => (image.lastIndexOf(':') <= image.lastIndexOf('/') ? `${image}:latest` : image);
