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
  /** Another number after each change of the pods that are nominated for the node; 0 without any. */
  versionOn(nodeName: string): number;
  /** Other pods nominated for the node that come before `pod`, or are as important. */
  before(pod: PodRecord, nodeName: string): readonly PodRecord[];
  /** Pods nominated for the node that are less important than `pod`. */
  after(pod: PodRecord, nodeName: string): readonly PodRecord[];
}

export function createNominator(): Nominator {
  const byKey = new Map<string, { readonly pod: PodRecord; readonly nodeName: string }>();
  const byNode = new Map<string, { readonly pods: Map<string, PodRecord>; version: number }>();
  let version = 0;

  function clear(key: string): string | undefined {
    const known = byKey.get(key);
    if (known === undefined) return undefined;
    version += 1;
    byKey.delete(key);
    const there = byNode.get(known.nodeName);
    if (there === undefined) return known.nodeName;
    there.pods.delete(key);
    there.version = version;
    if (there.pods.size === 0) byNode.delete(known.nodeName);
    return known.nodeName;
  }

  const on = (nodeName: string): readonly PodRecord[] => [...(byNode.get(nodeName)?.pods.values() ?? [])];

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
      const there = byNode.get(nodeName) ?? { pods: new Map<string, PodRecord>(), version };
      there.pods.set(pod.key, pod);
      there.version = version;
      byNode.set(nodeName, there);
    },
    clear,
    nodeOf: (key) => byKey.get(key)?.nodeName,
    versionOn: (nodeName) => (byNode.size === 0 ? 0 : (byNode.get(nodeName)?.version ?? 0)),
    before: (pod, nodeName) => {
      if (!byNode.has(nodeName)) return none;
      return on(nodeName).filter(({ key, shape }) => key !== pod.key && shape.priority >= pod.shape.priority);
    },
    after: (pod, nodeName) => on(nodeName).filter(({ shape }) => shape.priority < pod.shape.priority),
  };
}

const none: readonly PodRecord[] = [];
