import type { Pod } from '../api/core/v1/pod.ts';
import type { Informer } from '../client/informer.ts';
import { nodeNameOf } from '../lifecycle/pod-scheduling.facts.ts';

const byNode = 'node-name';

/** Lets `podsOn` find the pods of a node without a scan. */
export const indexByNode = (informer: Informer<Pod>): void => informer.addIndex(byNode, nodeNamesOf);

/** Pods that are bound to the node, finished ones included; needs `indexByNode`. */
export const podsOn = (informer: Informer<Pod>, node: string): readonly Pod[] => informer.byIndex(byNode, node);

function nodeNamesOf(pod: Pod): readonly string[] {
  const name = nodeNameOf(pod);
  return name === undefined ? none : [name];
}

const none: readonly string[] = [];
