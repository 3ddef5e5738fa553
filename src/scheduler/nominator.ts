import type { PodRecord } from './pod-record.ts';

/**
 * Pods that wait for their victims to leave a node, by node. Pods of a lower priority leave them the room they made. The number of entries
 * is bounded by the number of pods without a node.
 */
export interface Nominator {
  readonly size: number;
  /** Rises with every change. */
  readonly version: number;
  nominate(pod: PodRecord, nodeName: string): void;
  /** Gives the name of the node that the pod was nominated for. */
  clear(key: string): string | undefined;
  nodeOf(key: string): string | undefined;
  /** Some pod is nominated for the node. */
  isAwaited(nodeName: string): boolean;
  /** Other pods nominated for the node that come before `pod`, or are as important. */
  before(pod: PodRecord, nodeName: string): readonly PodRecord[];
  /** Pods nominated for the node that are less important than `pod`. */
  after(pod: PodRecord, nodeName: string): readonly PodRecord[];
}

export function createNominator(): Nominator {
  const byKey = new Map<string, { readonly pod: PodRecord; readonly nodeName: string }>();
  const byNode = new Map<string, Map<string, PodRecord>>();
  let version = 0;

  function clear(key: string): string | undefined {
    const known = byKey.get(key);
    if (known === undefined) return undefined;
    version += 1;
    byKey.delete(key);
    const there = byNode.get(known.nodeName);
    there?.delete(key);
    if (there?.size === 0) byNode.delete(known.nodeName);
    return known.nodeName;
  }

  const on = (nodeName: string): readonly PodRecord[] => [...(byNode.get(nodeName)?.values() ?? [])];

  return {
    get size() {
      return byKey.size;
    },
    get version() {
      return version;
    },
    nominate(pod, nodeName) {
      const known = byKey.get(pod.key);
      if (known?.pod === pod && known.nodeName === nodeName) return;
      clear(pod.key);
      version += 1;
      byKey.set(pod.key, { pod, nodeName });
      const there = byNode.get(nodeName) ?? new Map<string, PodRecord>();
      there.set(pod.key, pod);
      byNode.set(nodeName, there);
    },
    clear,
    nodeOf: (key) => byKey.get(key)?.nodeName,
    isAwaited: (nodeName) => byNode.size > 0 && byNode.has(nodeName),
    before: (pod, nodeName) => {
      if (!byNode.has(nodeName)) return none;
      return on(nodeName).filter(({ key, shape }) => key !== pod.key && shape.priority >= pod.shape.priority);
    },
    after: (pod, nodeName) => on(nodeName).filter(({ shape }) => shape.priority < pod.shape.priority),
  };
}

const none: readonly PodRecord[] = [];
