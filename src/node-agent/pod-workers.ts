import type { Pod } from '../api/core/v1/pod.ts';
import type { AgentContext } from './agent-context.ts';
import type { PodQueue } from './pod-queue.ts';
import { PodWorker, type PodWorkerOwner } from './pod-worker.ts';

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

export const createPodWorkers = (context: AgentContext, queue: PodQueue): PodWorkers => new WorkersOfNode(context, queue);

class WorkersOfNode implements PodWorkers, PodWorkerOwner {
  readonly #context: AgentContext;
  readonly #queue: PodQueue;
  readonly #workers = new Map<string, PodWorker>();

  constructor(context: AgentContext, queue: PodQueue) {
    this.#context = context;
    this.#queue = queue;
  }

  all(): readonly PodWorker[] {
    return [...this.#workers.values()];
  }

  has(podUid: string): boolean {
    return this.#workers.has(podUid);
  }

  others(worker: PodWorker): readonly PodWorker[] {
    return this.all().filter((each) => each !== worker);
  }

  wake(worker: PodWorker, delayMs?: number): void {
    this.#queue.wake(worker.uid, delayMs);
  }

  forget({ uid }: PodWorker): void {
    this.#workers.delete(uid);
    this.#queue.remove(uid);
  }

  onPod({ before, after }: { readonly before?: Pod; readonly after?: Pod }): void {
    const left = before?.metadata.uid;
    if (left !== undefined && left !== after?.metadata.uid) {
      this.#workers.get(left)?.remove();
      this.#queue.wake(left);
    }
    const uid = after?.metadata.uid;
    if (after === undefined || uid === undefined) return;
    const known = this.#workers.get(uid);
    if (known === undefined) this.#add(uid, after);
    else if (known.update(after)) this.#queue.wake(uid);
  }

  onConfig(reference: string): void {
    for (const worker of this.#workers.values()) {
      if (!worker.refersTo(reference)) continue;
      worker.configChanged();
      this.wake(worker);
    }
  }

  renew(podUid: string): void {
    this.#workers.get(podUid)?.configChanged();
    this.#queue.wake(podUid);
  }

  async detach(): Promise<void> {
    for (const uid of this.#workers.keys()) this.#queue.remove(uid);
    await Promise.all(this.all().map((worker) => worker.detach()));
  }

  #add(uid: string, pod: Pod): void {
    const worker = new PodWorker({ context: this.#context, pod, owner: this });
    this.#workers.set(uid, worker);
    this.#queue.add(uid, worker);
    this.#queue.wake(uid);
  }
}
