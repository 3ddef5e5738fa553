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
  /** The node that the pod made room on. */
  readonly nominatedNodeName?: string | undefined;
}

/** A write to a pod has the condition, the nominated node, or both. */
interface PodWrite {
  readonly pod: Pod;
  readonly condition: Omit<ScheduledCondition, 'nominatedNodeName'> | undefined;
  /** null takes it away, undefined leaves it as it is. */
  readonly nominatedNodeName: string | null | undefined;
}

/**
 * Writes `PodScheduled=False` and the nominated node to pods. Only the newest condition of a waiting pod is written, and a bounded number
 * at a time. Pods that do not fit must not crowd out those that do. A failed write is not repeated, since the next attempt to schedule
 * writes the condition again.
 *
 * Writes to one pod go out one after the other, so that none that takes a node away comes after the next nomination.
 */
export interface ConditionWriter {
  write(pod: Pod, condition: ScheduledCondition): void;
  /** Takes the nominated node away. A condition that waits to be written is written with that. */
  clearNomination(pod: Pod): void;
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
  const waiting = new Map<string, PodWrite>();
  const inFlight = new Map<string, Promise<void>>();

  function pump(): void {
    for (const [key, next] of waiting) {
      if (inFlight.size >= maxInFlight) return;
      if (inFlight.has(key)) continue;
      waiting.delete(key);
      inFlight.set(
        key,
        send(key, next).finally(() => {
          inFlight.delete(key);
          pump();
        }),
      );
    }
  }

  async function send(key: string, { pod, condition, nominatedNodeName }: PodWrite): Promise<void> {
    const { uid } = pod.metadata;
    const body = {
      ...(uid === undefined ? {} : { metadata: { uid } }),
      status: {
        ...(condition === undefined ? {} : { conditions: [conditionFor(pod, condition)] }),
        ...(nominatedNodeName === undefined ? {} : { nominatedNodeName }),
      },
    };
    try {
      await client.patch(pods, refOf(key), { type: 'strategic', body }, { subresource: 'status' });
    } catch (err) {
      if (!isNotFound(err)) log.warn({ pod: key, err }, 'Could not write pod condition');
    }
  }

  function conditionFor(pod: Pod, { reason, message }: Omit<ScheduledCondition, 'nominatedNodeName'>) {
    const known = conditionOf(pod.status?.conditions, 'PodScheduled');
    const { generation } = pod.metadata;
    return {
      type: 'PodScheduled',
      status: 'False',
      reason,
      message,
      lastProbeTime: null,
      lastTransitionTime: transitionTimeOf(known, 'False', timestampOf(clock.now())),
      ...(generation === undefined ? {} : { observedGeneration: generation }),
    };
  }

  /** The cache shows that node, and no write is under way that may change it. */
  const isNominatedFor = (key: string, { status }: Pod, nodeName = ''): boolean =>
    (status?.nominatedNodeName ?? '') === nodeName && !inFlight.has(key);

  return {
    write(pod, { nominatedNodeName, ...condition }) {
      const known = pod.status?.conditions?.find(({ type }) => type === 'PodScheduled');
      const key = keyOf(pod);
      const isNominatedSo = isNominatedFor(key, pod, nominatedNodeName);
      if (isNominatedSo && known?.status === 'False' && known.reason === condition.reason && known.message === condition.message) {
        waiting.delete(key);
        return;
      }
      waiting.set(key, { pod, condition, nominatedNodeName: isNominatedSo ? undefined : (nominatedNodeName ?? null) });
      pump();
    },
    clearNomination(pod) {
      const key = keyOf(pod);
      const condition = waiting.get(key)?.condition;
      const isClear = isNominatedFor(key, pod);
      if (isClear && condition === undefined) return;
      waiting.set(key, { pod, condition, nominatedNodeName: isClear ? undefined : null });
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
