import type { Pod } from '../api/core/v1/pod.ts';
import type { Mutable } from '../machinery/object.ts';
import type { AgentContext } from './agent-context.ts';
import { recordPodEvent } from './pod-events.ts';
import type { PreparedVolumes } from './volumes.ts';

/** The volumes of one pod: prepared for its first container, and written again when their content has changed. */
export interface PodVolumes {
  readonly arePrepared: boolean;
  readonly areStale: boolean;
  /** The next `prepare` writes them again. */
  markStale(): void;
  /** @throws Error when a volume cannot be had; an Event says so, and the next call tries again */
  prepare(pod: Pod, podIP: string): Promise<PreparedVolumes>;
  /** Writes them again for programs that run. They keep what they have when that fails. */
  refresh(pod: Pod, podIP: string): Promise<void>;
}

export function createPodVolumes(context: AgentContext): PodVolumes {
  const { hostIP, allocatable, volumes, log } = context;
  let prepared: PreparedVolumes | undefined;

  async function prepare(pod: Pod, podIP: string): Promise<PreparedVolumes> {
    if (prepared !== undefined && !state.areStale) return prepared;
    try {
      state.areStale = false;
      prepared = await volumes.prepare({ pod, podIP, hostIP, allocatable });
      state.arePrepared = true;
      return prepared;
    } catch (err) {
      state.areStale = true;
      recordPodEvent(context, pod, { type: 'Warning', reason: 'FailedMount', message: err instanceof Error ? err.message : String(err) });
      throw err;
    }
  }

  const state: Mutable<PodVolumes> = {
    arePrepared: false,
    areStale: false,
    markStale() {
      state.areStale = true;
    },
    prepare,
    async refresh(pod, podIP) {
      try {
        await prepare(pod, podIP);
      } catch (err) {
        state.areStale = false;
        log.warn({ err, pod: `${pod.metadata.namespace}/${pod.metadata.name}` }, 'Could not update volumes');
      }
    },
  };
  return state;
}
