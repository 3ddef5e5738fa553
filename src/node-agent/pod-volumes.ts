import type { Pod } from '../api/core/v1/pod.ts';
import type { AgentContext } from './agent-context.ts';
import { recordPodEvent } from './pod-events.ts';
import type { PreparedVolumes } from './volumes.ts';

/** The volumes of one pod: prepared for its first container, and written again when their content has changed. */
export class PodVolumes {
  readonly #context: AgentContext;
  #prepared: PreparedVolumes | undefined;
  #areStale = false;

  constructor(context: AgentContext) {
    this.#context = context;
  }

  get arePrepared(): boolean {
    return this.#prepared !== undefined;
  }

  get areStale(): boolean {
    return this.#areStale;
  }

  /** The next `prepare` writes them again. */
  markStale(): void {
    this.#areStale = true;
  }

  /** @throws Error when a volume cannot be had; an Event says so, and the next call tries again */
  async prepare(pod: Pod, podIP: string): Promise<PreparedVolumes> {
    if (this.#prepared !== undefined && !this.#areStale) return this.#prepared;
    const { hostIP, allocatable, volumes } = this.#context;
    try {
      this.#areStale = false;
      this.#prepared = await volumes.prepare({ pod, podIP, hostIP, allocatable });
      return this.#prepared;
    } catch (err) {
      this.#areStale = true;
      const message = err instanceof Error ? err.message : String(err);
      recordPodEvent(this.#context, pod, { type: 'Warning', reason: 'FailedMount', message });
      throw err;
    }
  }

  /** Writes them again for programs that run. They keep what they have when that fails. */
  async refresh(pod: Pod, podIP: string): Promise<void> {
    try {
      await this.prepare(pod, podIP);
    } catch (err) {
      this.#areStale = false;
      this.#context.log.warn({ err, pod: `${pod.metadata.namespace}/${pod.metadata.name}` }, 'Could not update volumes');
    }
  }
}
