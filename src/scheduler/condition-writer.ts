import { type Pod, pods } from '../api/core/v1/pod.ts';
import { type Clock, timestampOf } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import type { Client } from '../client/client.ts';
import { conditionOf, transitionTimeOf } from '../machinery/conditions.ts';
import { keyOf, refOf } from '../machinery/object.ts';
import { isNotFound } from '../machinery/status-error.ts';

interface ScheduledCondition {
  readonly reason: string;
  readonly message: string;
  /** The node that the pod made room on; null takes it away, undefined leaves it as it is. */
  readonly nominatedNodeName?: string | null | undefined;
}

/**
 * Writes `PodScheduled=False` to pods. Only the newest condition of a waiting pod is written, and a bounded number at a time. Pods that do
 * not fit must not crowd out those that do. A failed write is not repeated, since the next attempt to schedule writes the condition again.
 */
export interface ConditionWriter {
  write(pod: Pod, condition: ScheduledCondition): void;
  /** Forgets what waits for the pod: it is about to be bound, or gone. */
  drop(key: string): void;
  /** Resolves when the write for the pod that is under way has ended; undefined without one. It never rejects. */
  underWay(key: string): Promise<void> | undefined;
  /** Resolves when nothing is under way; what waits is given up. */
  stop(): Promise<void>;
}

const maxInFlight = 16;

export interface ConditionWriterOptions {
  readonly client: Client;
  readonly clock: Clock;
  readonly log: Log;
}

export function createConditionWriter({ client, clock, log }: ConditionWriterOptions): ConditionWriter {
  const waiting = new Map<string, { readonly pod: Pod; readonly condition: ScheduledCondition }>();
  const inFlight = new Map<string, Promise<void>>();

  function pump(): void {
    for (const [key, { pod, condition }] of waiting) {
      if (inFlight.size >= maxInFlight) return;
      if (inFlight.has(key)) continue;
      waiting.delete(key);
      inFlight.set(
        key,
        send(key, pod, condition).finally(() => {
          inFlight.delete(key);
          pump();
        }),
      );
    }
  }

  async function send(key: string, pod: Pod, { reason, message, nominatedNodeName }: ScheduledCondition): Promise<void> {
    const known = conditionOf(pod.status?.conditions, 'PodScheduled');
    const { generation, uid } = pod.metadata;
    const condition = {
      type: 'PodScheduled',
      status: 'False',
      reason,
      message,
      lastProbeTime: null,
      lastTransitionTime: transitionTimeOf(known, 'False', timestampOf(clock.now())),
      ...(generation === undefined ? {} : { observedGeneration: generation }),
    };
    const body = {
      ...(uid === undefined ? {} : { metadata: { uid } }),
      status: { conditions: [condition], ...(nominatedNodeName === undefined ? {} : { nominatedNodeName }) },
    };
    try {
      await client.patch(pods, refOf(key), { type: 'strategic', body }, { subresource: 'status' });
    } catch (err) {
      if (!isNotFound(err)) log.warn({ pod: key, err }, 'Could not write pod condition');
    }
  }

  return {
    write(pod, condition) {
      const known = pod.status?.conditions?.find(({ type }) => type === 'PodScheduled');
      const key = keyOf(pod);
      const isNominatedSo = condition.nominatedNodeName === undefined;
      if (isNominatedSo && known?.status === 'False' && known.reason === condition.reason && known.message === condition.message) {
        waiting.delete(key);
        return;
      }
      waiting.set(key, { pod, condition });
      pump();
    },
    drop: (key) => waiting.delete(key),
    underWay: (key) => inFlight.get(key),
    async stop() {
      waiting.clear();
      await Promise.all(inFlight.values());
    },
  };
}
