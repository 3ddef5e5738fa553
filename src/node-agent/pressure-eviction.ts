import type { Pod } from '../api/core/v1/pod.ts';
import { podResources } from '../api/core/v1/pod-resources.ts';
import { tryQuantity, wholeValueOf } from '../machinery/quantity.ts';
import type { AgentContext } from './agent-context.ts';
import type { ContainerStats } from './container-runtime.ts';
import { byteText, localUsage } from './local-storage.ts';
import { isCritical } from './machine-shutdown.ts';
import type { NodePressure, PressedResource, Shortage } from './node-pressure.ts';
import type { PodWorker } from './pod-worker.ts';

export interface ContainerUsage {
  readonly name: string;
  /** Bytes of memory or disk. */
  readonly used: number;
}

/** A pod that may be evicted, with its usage of the resource that runs out: bytes, inodes or processes. */
export interface Candidate {
  readonly pod: Pod;
  /** Empty for a resource that no container requests. */
  readonly containers: readonly ContainerUsage[];
  /** Usage of the whole pod, its volumes included. */
  readonly used: number;
}

export interface PressureEviction {
  /** Evicts at most one pod, for the first shortage of the last look. */
  relieve(workers: readonly PodWorker[]): Promise<void>;
}

/** Upstream's wait for an evicted pod to end before the next one is chosen. */
const endTimeoutMs = 30_000;

/** A pod that writes may grow without an end, so none of its time is left to it, as upstream. */
const hardGraceSeconds = 1;

export interface PressureEvictionOptions {
  readonly pressure: Pick<NodePressure, 'shortages'>;
  /** The longest that a pod gets to end in, when a soft threshold evicts it. */
  readonly maxPodGraceSeconds: number;
}

/**
 * Evicts pods of a node that runs out of memory, disk or process ids, one at a time. The next follows after a look that still finds the
 * shortage.
 *
 * @see Kubernetes documentation, "Node-pressure Eviction", pod selection for kubelet eviction
 */
export const createPressureEviction = (context: AgentContext, options: PressureEvictionOptions): PressureEviction =>
  new EvictionOneByOne(context, options);

class EvictionOneByOne implements PressureEviction {
  readonly #context: AgentContext;
  readonly #options: PressureEvictionOptions;
  #last: { readonly worker: PodWorker; readonly at: number } | undefined;

  constructor(context: AgentContext, options: PressureEvictionOptions) {
    this.#context = context;
    this.#options = options;
  }

  async relieve(workers: readonly PodWorker[]): Promise<void> {
    const { clock, log, runtime } = this.#context;
    const { pressure, maxPodGraceSeconds } = this.#options;
    const last = this.#last;
    const [shortage] = pressure.shortages;
    if (shortage === undefined) return;
    if (last !== undefined && !last.worker.hasEnded && clock.monotonicMs() - last.at < endTimeoutMs) return;
    const evictable = workers.filter(({ pod, hasEnded, uid }) => !hasEnded && uid !== last?.worker.uid && !isCritical(pod));
    const stats = shortage.resource === 'pids' ? [] : await runtime.stats();
    const candidates: Candidate[] = [];
    for (const worker of evictable) candidates.push(await this.#candidateOf(worker, shortage.resource, stats));
    const [chosen] = rankForEviction(candidates, shortage.resource);
    const worker = evictable.find(({ pod }) => pod === chosen?.pod);
    if (chosen === undefined || worker === undefined) {
      log.warn({ shortage }, 'Found no pod to evict');
      return;
    }
    worker.evict(evictionMessage(chosen, shortage), shortage.isHard ? hardGraceSeconds : Math.max(hardGraceSeconds, maxPodGraceSeconds));
    this.#last = { worker, at: clock.monotonicMs() };
  }

  async #candidateOf(worker: PodWorker, resource: PressedResource, stats: readonly ContainerStats[]): Promise<Candidate> {
    const { runtime, volumes } = this.#context;
    const { pod, uid, logs } = worker;
    const own = stats.filter(({ podUid }) => podUid === uid);
    const sumOf = (amounts: readonly number[]): number => amounts.reduce((sum, amount) => sum + amount, 0);
    switch (resource) {
      case 'memory': {
        const containers = own.map(({ container, memoryWorkingSetBytes = 0 }) => ({ name: container, used: memoryWorkingSetBytes }));
        return { pod, containers, used: sumOf(containers.map(({ used }) => used)) };
      }
      case 'ephemeral-storage': {
        const local = await localUsage(pod, { volumes: volumes.emptyDirs(uid), logs });
        const writtenBy = (name: string): number => own.find(({ container }) => container === name)?.writableLayerBytes ?? 0;
        const containers = local.containers.map(({ name, bytes }) => ({ name, used: bytes + writtenBy(name) }));
        return { pod, containers, used: local.bytes + sumOf(own.map(({ writableLayerBytes = 0 }) => writableLayerBytes)) };
      }
      case 'inodes': {
        const local = await localUsage(pod, { volumes: volumes.emptyDirs(uid), logs });
        return { pod, containers: [], used: local.entries + sumOf(own.map(({ writableLayerInodes = 0 }) => writableLayerInodes)) };
      }
      case 'pids':
        return { pod, containers: [], used: (await runtime.countProcesses?.(uid)) ?? 0 };
    }
  }
}

/**
 * Pods beyond their requests come first, then by priority, then by what they use beyond their requests. Nobody requests processes, so
 * there the priority comes first.
 */
export function rankForEviction(candidates: readonly Candidate[], resource: PressedResource): readonly Candidate[] {
  const excessOf = ({ pod, used }: Candidate): number => {
    const request = podResources(pod.spec, 'requests', { overhead: true }).get(resource);
    return used - (request === undefined ? 0 : wholeValueOf(request));
  };
  const isBeyond = (excess: number): number => Number(resource !== 'pids' && excess > 0);
  return candidates
    .map((candidate) => ({ candidate, excess: excessOf(candidate), priority: candidate.pod.spec.priority ?? 0 }))
    .sort((a, b) => isBeyond(b.excess) - isBeyond(a.excess) || a.priority - b.priority || b.excess - a.excess)
    .map(({ candidate }) => candidate);
}

export function evictionMessage({ pod, containers }: Candidate, { resource, threshold, available }: Shortage): string {
  const isBytes = resource === 'memory' || resource === 'ephemeral-storage';
  const text = (amount: number): string => (isBytes ? byteText(amount) : String(amount));
  const sentences = containers.flatMap(({ name, used }) => {
    const request = tryQuantity(pod.spec.containers.find((each) => each.name === name)?.resources?.requests?.[resource] ?? '0');
    const requested = request === undefined ? 0 : wholeValueOf(request);
    if (used <= requested) return [];
    return [`Container ${name} was using ${text(used)}, request is ${text(requested)}, has larger consumption of ${resource}. `];
  });
  const first = `The node was low on resource: ${resource}. Threshold quantity: ${text(threshold)}, available: ${text(available)}. `;
  return [first, ...sentences].join('');
}
