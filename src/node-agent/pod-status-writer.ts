import { type Pod, type PodStatus, pods } from '../api/core/v1/pod.ts';
import type { Mutable } from '../machinery/object.ts';
import { isConflict, isNotFound } from '../machinery/status-error.ts';
import type { AgentContext } from './agent-context.ts';

export interface PodStatusWriter {
  /** The status on its way to the API. The watch may deliver it before the answer comes. */
  readonly writing: PodStatus | undefined;
  /** Writes the status when it differs from that of the API, after the writes before. Never rejects: a failure asks for another pass. */
  flush(): Promise<void>;
}

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

export function createPodStatusWriter({ context, read, take, onWritten, retry }: PodStatusWriterOptions): PodStatusWriter {
  const { client, log } = context;
  let tail: Promise<void> = Promise.resolve();

  async function write(): Promise<void> {
    for (let tries = 1; ; tries += 1) {
      const wanted = read();
      if (wanted === undefined || wanted.status === wanted.pod.status) return;
      writer.writing = wanted.status;
      try {
        take(await client.update(pods, { ...wanted.pod, status: wanted.status }, { subresource: 'status' }));
        onWritten();
        return;
      } catch (err) {
        // The watch will say so, and the worker ends.
        if (isNotFound(err)) return;
        if (!isConflict(err) || tries >= maxTries) throw err;
        if (!(await readAgain(wanted.pod))) return;
      } finally {
        writer.writing = undefined;
      }
    }
  }

  /** False when the pod is gone, or another has its name. */
  async function readAgain({ metadata: { namespace, name, uid } }: Pod): Promise<boolean> {
    try {
      const newest = await client.get(pods, { namespace, name });
      if (newest.metadata.uid !== uid) return false;
      take(newest);
      return true;
    } catch (err) {
      if (isNotFound(err)) return false;
      throw err;
    }
  }

  const writer: Mutable<PodStatusWriter> = {
    writing: undefined,
    flush() {
      tail = tail.then(write).catch((err: unknown) => {
        const { namespace, name } = read()?.pod.metadata ?? {};
        log.warn({ err, pod: `${namespace}/${name}` }, 'Could not write pod status');
        retry(retryMs);
      });
      return tail;
    },
  };
  return writer;
}
