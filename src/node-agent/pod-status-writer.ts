import { type Pod, type PodStatus, pods } from '../api/core/v1/pod.ts';
import { isConflict, isNotFound } from '../machinery/status-error.ts';
import type { AgentContext } from './agent-context.ts';

export interface PodStatusWriterOptions {
  readonly context: AgentContext;
  /** The pod as it is known, and its status as it should be; undefined when there is nothing to write any more. */
  readonly read: () => { readonly pod: Pod; readonly status: PodStatus } | undefined;
  /** Takes a version of the pod that the API gave. */
  readonly take: (pod: Pod) => void;
  readonly onWritten: () => void;
  readonly retry: (delayMs: number) => void;
}

const maxTries = 4;
const retryMs = 1_000;

export class PodStatusWriter {
  readonly #options: PodStatusWriterOptions;
  /** Writes under way, one after the other. A pod at rest holds no promise. */
  #tail: Promise<void> | undefined;
  #writing: PodStatus | undefined;

  constructor(options: PodStatusWriterOptions) {
    this.#options = options;
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
    const { context, read, retry } = this.#options;
    try {
      await this.#write();
    } catch (err) {
      const { namespace, name } = read()?.pod.metadata ?? {};
      context.log.warn({ err, pod: `${namespace}/${name}` }, 'Could not write pod status');
      retry(retryMs);
    }
  }

  async #write(): Promise<void> {
    const { context, read, take, onWritten } = this.#options;
    for (let tries = 1; ; tries += 1) {
      const wanted = read();
      if (wanted === undefined || wanted.status === wanted.pod.status) return;
      this.#writing = wanted.status;
      try {
        take(await context.client.update(pods, { ...wanted.pod, status: wanted.status }, { subresource: 'status' }));
        onWritten();
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
    const { context, take } = this.#options;
    try {
      const newest = await context.client.get(pods, { namespace, name });
      if (newest.metadata.uid !== uid) return false;
      take(newest);
      return true;
    } catch (err) {
      if (isNotFound(err)) return false;
      throw err;
    }
  }
}
