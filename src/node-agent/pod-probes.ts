import type { ContainerProbes } from './probes.ts';

/** The probes of a pod's containers that run, by container id. */
export interface PodProbes {
  add(containerId: string, probes: ContainerProbes): void;
  /** The container is to end, or the whole pod is: a failing liveness probe no longer matters. */
  stopKilling(containerId?: string): void;
  end(containerId: string): void;
  endAll(): void;
}

export function createPodProbes(): PodProbes {
  // Most pods have no probes, and an empty map of each of 20,000 pods is 4 MiB.
  let byContainer: Map<string, ContainerProbes> | undefined;
  return {
    add(containerId, probes) {
      byContainer ??= new Map();
      byContainer.set(containerId, probes);
    },
    stopKilling(containerId) {
      if (containerId !== undefined) byContainer?.get(containerId)?.stopKilling();
      else for (const probes of byContainer?.values() ?? []) probes.stopKilling();
    },
    end(containerId) {
      byContainer?.get(containerId)?.stop();
      byContainer?.delete(containerId);
    },
    endAll() {
      for (const probes of byContainer?.values() ?? []) probes.stop();
      byContainer = undefined;
    },
  };
}
