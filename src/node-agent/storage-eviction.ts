import type { AgentContext } from './agent-context.ts';
import { findExcess, hasStorageBounds } from './local-storage.ts';
import { recordPodEvent } from './pod-events.ts';
import type { PodWorker } from './pod-worker.ts';

/** Evicts pods that fill more of the disk than they may. Looks at one after the other, which spreads the cost. */
export async function evictThoseOverStorage(context: AgentContext, workers: readonly PodWorker[]): Promise<void> {
  const { volumes, signal, log } = context;
  for (const worker of workers) {
    if (signal.aborted) return;
    if (!hasStorageBounds(worker.pod)) continue;
    try {
      const { excess, uncounted } = await findExcess(worker.pod, { volumes: volumes.emptyDirs(worker.uid), logs: worker.logs });
      if (excess !== undefined) worker.evict(excess);
      else if (uncounted !== undefined)
        recordPodEvent(context, worker.pod, { type: 'Warning', reason: 'StorageNotCounted', message: uncounted });
    } catch (err) {
      log.warn({ err, pod: worker.key }, 'Could not measure the disk that a pod uses');
    }
  }
}
