import { type Pod, type PodStatus, pods } from '../api/core/v1/pod.ts';
import { isConflict, isNotFound } from '../machinery/status-error.ts';
import type { AgentContext } from './agent-context.ts';

export interface PodOfStatus {
  readonly context: AgentContext;
  /** The pod as it is known, and its status as it should be; undefined when there is nothing to write any more. */
  wantedStatus(): { readonly pod: Pod; readonly status: PodStatus } | undefined;
  /** Takes a version of the pod that the API gave. */
  update(pod: Pod): void;
  /** A status is written. */
  noteRunning(): void;
  wake(delayMs: number): void;
}

const maxTries = 4;
const retryMs = 1_000;

export class PodStatusWriter {
  readonly #pod: PodOfStatus;
  /** Writes under way, one after the other. A pod at rest holds no promise. */
  #tail: Promise<void> | undefined;
  #writing: PodStatus | undefined;

  constructor(pod: PodOfStatus) {
    this.#pod = pod;
  }

  /** The status on its way to the API. The watch may deliver it before the answer comes. */
  get writing(): PodStatus | undefined {
    return this.#writing;
  }

  /** Writes the status when it differs from that of the API, after the writes before. Never rejects: a failure asks for another pass. */
  async flush(): Promise<void> {
    const mine = this.#after(this.#tail);
    this.#tail = mine;
    await mine;
    if (this.#tail === mine) this.#tail = undefined;
  }

  async #after(before: Promise<void> | undefined): Promise<void> {
    await before;
    try {
      await this.#write();
    } catch (err) {
      const { namespace, name } = this.#pod.wantedStatus()?.pod.metadata ?? {};
      this.#pod.context.log.warn({ err, pod: `${namespace}/${name}` }, 'Could not write pod status');
      this.#pod.wake(retryMs);
    }
  }

  async #write(): Promise<void> {
    const { client } = this.#pod.context;
    for (let tries = 1; ; tries += 1) {
      const wanted = this.#pod.wantedStatus();
      if (wanted === undefined || wanted.status === wanted.pod.status) return;
      this.#writing = wanted.status;
      try {
        this.#pod.update(await client.update(pods, { ...wanted.pod, status: wanted.status }, { subresource: 'status' }));
        this.#pod.noteRunning();
        return;
      } catch (err) {
        // The watch will say so, and the worker ends.
        if (isNotFound(err)) return;
        if (!isConflict(err) || tries >= maxTries) throw err;
        if (!(await this.#readAgain(wanted.pod))) return;
      } finally {
        this.#writing = undefined;
      }
    }
  }

  /** False when the pod is gone, or another has its name. */
  async #readAgain({ metadata: { namespace, name, uid } }: Pod): Promise<boolean> {
    try {
      const newest = await this.#pod.context.client.get(pods, { namespace, name });
      if (newest.metadata.uid !== uid) return false;
      this.#pod.update(newest);
      return true;
    } catch (err) {
      if (isNotFound(err)) return false;
      throw err;
    }
  }
}
