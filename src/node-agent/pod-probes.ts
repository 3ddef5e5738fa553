import type { ContainerProbes } from './probes.ts';

/** The probes of a pod's containers that run, by container id. */
export class PodProbes {
  // Most pods have no probes, and need no map for them.
  #byContainer: Map<string, ContainerProbes> | undefined;

  add(containerId: string, probes: ContainerProbes): void {
    this.#byContainer ??= new Map();
    this.#byContainer.set(containerId, probes);
  }

  /** The container is to end, or the whole pod is: a failing liveness probe no longer matters. */
  stopKilling(containerId?: string): void {
    if (containerId !== undefined) this.#byContainer?.get(containerId)?.stopKilling();
    else for (const probes of this.#byContainer?.values() ?? []) probes.stopKilling();
  }

  end(containerId: string): void {
    this.#byContainer?.get(containerId)?.stop();
    this.#byContainer?.delete(containerId);
  }

  endAll(): void {
    for (const probes of this.#byContainer?.values() ?? []) probes.stop();
    this.#byContainer = undefined;
  }
}
