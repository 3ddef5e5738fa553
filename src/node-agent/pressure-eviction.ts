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
  readonly bytes: number;
}

/** A pod that may be evicted, with its usage of the resource that runs out. */
export interface Candidate {
  readonly pod: Pod;
  readonly containers: readonly ContainerUsage[];
  /** Usage of the whole pod, its volumes included. */
  readonly bytes: number;
}

export interface PressureEviction {
  /** Evicts at most one pod, for the first shortage of the last look. */
  relieve(workers: readonly PodWorker[]): Promise<void>;
}

/** Upstream's wait for an evicted pod to end before the next one is chosen. */
const endTimeoutMs = 30_000;

/**
 * Evicts pods of a node that runs out of memory or disk, one at a time. The next follows after a look that still finds the shortage.
 *
 * @see Kubernetes documentation, "Node-pressure Eviction", pod selection for kubelet eviction
 */
export function createPressureEviction(context: AgentContext, pressure: NodePressure): PressureEviction {
  const { clock, log, runtime, volumes } = context;
  let last: { readonly worker: PodWorker; readonly at: number } | undefined;

  async function candidateOf(worker: PodWorker, resource: PressedResource, stats: readonly ContainerStats[]): Promise<Candidate> {
    const { pod, uid, logs } = worker;
    if (resource === 'ephemeral-storage') return { pod, ...(await localUsage(pod, { volumes: volumes.emptyDirs(uid), logs })) };
    const containers = stats
      .filter(({ podUid }) => podUid === uid)
      .map(({ container, memoryWorkingSetBytes = 0 }) => ({ name: container, bytes: memoryWorkingSetBytes }));
    return { pod, containers, bytes: containers.reduce((sum, { bytes }) => sum + bytes, 0) };
  }

  return {
    async relieve(workers) {
      const [shortage] = pressure.shortages;
      if (shortage === undefined) return;
      if (last !== undefined && !last.worker.hasEnded && clock.monotonicMs() - last.at < endTimeoutMs) return;
      const evictable = workers.filter(({ pod, hasEnded, uid }) => !hasEnded && uid !== last?.worker.uid && !isCritical(pod));
      const stats = shortage.resource === 'memory' ? await runtime.stats() : [];
      const candidates: Candidate[] = [];
      for (const worker of evictable) candidates.push(await candidateOf(worker, shortage.resource, stats));
      const [chosen] = rankForEviction(candidates, shortage.resource);
      const worker = evictable.find(({ pod }) => pod === chosen?.pod);
      if (chosen === undefined || worker === undefined) {
        log.warn({ shortage }, 'Found no pod to evict');
        return;
      }
      worker.evict(evictionMessage(chosen, shortage));
      last = { worker, at: clock.monotonicMs() };
    },
  };
}

/** Pods beyond their requests come first, then by priority, then by what they use beyond their requests. */
export function rankForEviction(candidates: readonly Candidate[], resource: PressedResource): readonly Candidate[] {
  const excessOf = ({ pod, bytes }: Candidate): number => {
    const request = podResources(pod.spec, 'requests', { overhead: true }).get(resource);
    return bytes - (request === undefined ? 0 : wholeValueOf(request));
  };
  return candidates
    .map((candidate) => ({ candidate, excess: excessOf(candidate), priority: candidate.pod.spec.priority ?? 0 }))
    .sort((a, b) => Number(b.excess > 0) - Number(a.excess > 0) || a.priority - b.priority || b.excess - a.excess)
    .map(({ candidate }) => candidate);
}

export function evictionMessage({ pod, containers }: Candidate, { resource, thresholdBytes, availableBytes }: Shortage): string {
  const sentences = containers.flatMap(({ name, bytes }) => {
    const request = tryQuantity(pod.spec.containers.find((each) => each.name === name)?.resources?.requests?.[resource] ?? '0');
    const requested = request === undefined ? 0 : wholeValueOf(request);
    if (bytes <= requested) return [];
    return [`Container ${name} was using ${byteText(bytes)}, request is ${byteText(requested)}, has larger consumption of ${resource}. `];
  });
  const first = `The node was low on resource: ${resource}. Threshold quantity: ${byteText(thresholdBytes)}, available: ${byteText(availableBytes)}. `;
  return [first, ...sentences].join('');
}
