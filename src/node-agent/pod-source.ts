import { type Pod, pods } from '../api/core/v1/pod.ts';
import type { InformerHandler, InformerSet } from '../client/informer.ts';
import { indexByNode, podsOn } from '../reconcile/pods-by-node.ts';

/** The pods of one node. */
export interface PodSource {
  /** Resolves when `list` is complete. */
  ready(signal: AbortSignal): Promise<void>;
  list(): Iterable<Pod>;
  /** Calls back for every pod there is now, then for every change. Returns a function that removes the handler. */
  subscribe(handler: InformerHandler<Pod>): () => void;
}

/**
 * Sources over the pods of all nodes, for many agents in the process of the control plane. One handler passes each
 * change to its node. A watch for each node would cost memory, and a handler for each would be called for all pods.
 */
export function createSharedPodSources(informers: InformerSet): (nodeName: string) => PodSource {
  const informer = informers.get(pods);
  const handlers = new Map<string, Set<InformerHandler<Pod>>>();
  indexByNode(informer);
  informer.addHandler((change) => {
    // A pod never moves from one node to another.
    const nodeName = change.after?.spec.nodeName ?? change.before?.spec.nodeName;
    if (nodeName === undefined) return;
    for (const handler of handlers.get(nodeName) ?? []) handler(change);
  });

  /** One wait for all agents that start together. */
  let syncing: Promise<void> | undefined;
  return (nodeName) => ({
    async ready(signal) {
      if (informer.synced) return;
      syncing ??= informers.waitForSync({ signal }).finally(() => {
        syncing = undefined;
      });
      await syncing;
    },
    list: () => podsOn(informer, nodeName),
    subscribe(handler) {
      const ours = handlers.get(nodeName) ?? new Set();
      handlers.set(nodeName, ours);
      ours.add(handler);
      for (const pod of podsOn(informer, nodeName)) handler({ after: pod });
      return () => {
        ours.delete(handler);
        if (ours.size === 0) handlers.delete(nodeName);
      };
    },
  });
}

/** The pods of the only node of this process. The server sends those alone, as to every kubelet. */
export function createPodSource(informers: InformerSet, nodeName: string): PodSource {
  const informer = informers.get(pods, { fieldSelector: `spec.nodeName=${nodeName}` });
  return {
    ready: (signal) => informers.waitForSync({ signal }),
    list: () => informer.list(),
    subscribe: (handler) => informer.addHandler(handler),
  };
}
