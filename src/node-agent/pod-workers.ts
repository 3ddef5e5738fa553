import type { Pod } from '../api/core/v1/pod.ts';
import { sumAmounts } from '../api/core/v1/pod-resources.ts';
import type { AgentContext } from './agent-context.ts';
import type { PodQueue } from './pod-queue.ts';
import { PodWorker } from './pod-worker.ts';

/** The workers of a node's pods, one each, by the pod's uid. */
export interface PodWorkers {
  all(): readonly PodWorker[];
  has(podUid: string): boolean;
  /** A pod came, changed or left the API. */
  onPod(change: { readonly before?: Pod; readonly after?: Pod }): void;
  /** An object that pods are configured by has changed. */
  onConfig(reference: string): void;
  /** The pod is to have its configuration again, whether or not an object has changed. */
  renew(podUid: string): void;
  /** Ends what is done for the pods, which run on. */
  detach(): Promise<void>;
}

export function createPodWorkers(context: AgentContext, queue: PodQueue): PodWorkers {
  const workers = new Map<string, PodWorker>();

  function add(uid: string, pod: Pod): void {
    const others = (): readonly PodWorker[] => [...workers.values()].filter((each) => each.uid !== uid);
    const worker = new PodWorker({
      context,
      pod,
      usedByOthers: () => sumAmounts(others().map(({ requests }) => requests)),
      portsOfOthers: () => others().flatMap(({ hostPorts }) => hostPorts),
      wake: (delayMs) => queue.wake(uid, delayMs),
      onGone: () => {
        workers.delete(uid);
        queue.remove(uid);
      },
    });
    workers.set(uid, worker);
    queue.add(uid, () => worker.sync());
    queue.wake(uid);
  }

  return {
    all: () => [...workers.values()],
    has: (podUid) => workers.has(podUid),

    onPod({ before, after }) {
      const left = before?.metadata.uid;
      if (left !== undefined && left !== after?.metadata.uid) {
        workers.get(left)?.remove();
        queue.wake(left);
      }
      const uid = after?.metadata.uid;
      if (after === undefined || uid === undefined) return;
      const known = workers.get(uid);
      if (known === undefined) add(uid, after);
      else if (known.update(after)) queue.wake(uid);
    },

    onConfig(reference) {
      for (const worker of workers.values()) {
        if (!worker.refersTo(reference)) continue;
        worker.configChanged();
        queue.wake(worker.uid);
      }
    },

    renew(podUid) {
      workers.get(podUid)?.configChanged();
      queue.wake(podUid);
    },

    async detach() {
      for (const { uid } of workers.values()) queue.remove(uid);
      await Promise.all([...workers.values()].map((worker) => worker.detach()));
    },
  };
}
