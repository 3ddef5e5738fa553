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
  const byContainer = new Map<string, ContainerProbes>();
  return {
    add: (containerId, probes) => void byContainer.set(containerId, probes),
    stopKilling(containerId) {
      if (containerId !== undefined) byContainer.get(containerId)?.stopKilling();
      else for (const probes of byContainer.values()) probes.stopKilling();
    },
    end(containerId) {
      byContainer.get(containerId)?.stop();
      byContainer.delete(containerId);
    },
    endAll() {
      for (const probes of byContainer.values()) probes.stop();
      byContainer.clear();
    },
  };
}
