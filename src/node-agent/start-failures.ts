import type { Pod } from '../api/core/v1/pod.ts';
import type { ContainerMemory } from './container-plan.ts';
import type { PodEvent } from './pod-events.ts';
import { allContainers } from './pod-references.ts';
import { failureIsNewsMs } from './pod-status.ts';

type Memories = ReadonlyMap<string, ContainerMemory>;

/** Images that could not be pulled, which back off once that is no longer news. */
export class StartFailures {
  #announced: string | undefined;

  /** The Events of back-offs that have begun, each once. */
  newEvents(pod: Pod, memories: Memories, now: number): readonly PodEvent[] {
    const events: PodEvent[] = [];
    for (const container of allContainers(pod)) {
      const failure = memories.get(container.name)?.failure;
      if (failure?.later === undefined || now - failure.failedAt < failureIsNewsMs) continue;
      const id = `${container.name} ${failure.failedAt}`;
      if (this.#announced === id) continue;
      this.#announced = id;
      events.push({ type: 'Normal', reason: 'BackOff', message: `Back-off pulling image "${container.image}"`, container });
      events.push({ type: 'Warning', reason: 'Failed', message: `Error: ${failure.later.reason}`, container });
    }
    return events;
  }

  /** Milliseconds since the epoch at which the next back-off begins; infinite when none does. */
  nextAt(memories: Memories, now: number): number {
    const times = [...memories.values()].flatMap(({ failure }) =>
      failure?.later !== undefined && now - failure.failedAt < failureIsNewsMs ? [failure.failedAt + failureIsNewsMs] : [],
    );
    return Math.min(Number.POSITIVE_INFINITY, ...times);
  }
}
