import { type Pod, pods } from '../api/core/v1/pod.ts';
import { type Clock, timestampOf } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import type { Client } from '../client/client.ts';
import { conditionOf, transitionTimeOf } from '../machinery/conditions.ts';
import { refOf } from '../machinery/object.ts';
import { isNotFound } from '../machinery/status-error.ts';
import type { EventRecorder } from '../reconcile/event-recorder.ts';
import { defaultSchedulerName, type PodRecord } from './pod-record.ts';
import { disruption } from './preemption.ts';
import type { QueuedPod } from './queue.ts';
import type { Victims } from './victims.ts';

/** Preemptions whose victims are being deleted at the same time; others wait, as many as there are pods. */
const maxUnderWay = 16;

/** Removes the victims of a preemption through the API, each with its own grace period. */
export interface Evictor {
  /** Begins to delete the victims. `onEnded` says when the last deletion was asked for, or that one failed. */
  evict(pod: QueuedPod, victims: Victims): void;
  /** Resolves when nothing is under way; what waits is given up. */
  stop(): Promise<void>;
}

export interface EvictorOptions {
  readonly client: Client;
  readonly clock: Clock;
  readonly log: Log;
  readonly recorder: EventRecorder;
  /** The pod as the API has it now; undefined when it is gone. */
  readonly podOf: (key: string) => Pod | undefined;
  onEnded(pod: QueuedPod, outcome: 'deleted' | 'failed'): void;
}

export function createEvictor({ client, clock, log, recorder, podOf, onEnded }: EvictorOptions): Evictor {
  let waiting: (() => Promise<void>)[] = [];
  const underWay = new Set<Promise<void>>();

  function run(work: () => Promise<void>): void {
    if (underWay.size >= maxUnderWay) {
      waiting.push(work);
      return;
    }
    const promise = work().finally(() => {
      underWay.delete(promise);
      const next = waiting.shift();
      if (next !== undefined) run(next);
    });
    underWay.add(promise);
  }

  /** All but the last at once. The deletion of the last is what wakes the pod, so it has to come when nothing else is missing. */
  async function evictAll(preemptor: QueuedPod, { node, pods: victims }: Victims): Promise<void> {
    const [last, ...others] = [...victims].reverse();
    // Its turn came late: nobody needs the room any more.
    if (podOf(preemptor.record.key)?.metadata.uid !== preemptor.record.uid) return;
    try {
      await Promise.all(others.map((victim) => evictOne(preemptor.record, victim, node.name)));
      if (last !== undefined) await evictOne(preemptor.record, last, node.name);
      onEnded(preemptor, 'deleted');
    } catch (err) {
      log.warn({ pod: preemptor.record.key, node: node.name, err }, 'Could not preempt pods');
      onEnded(preemptor, 'failed');
    }
  }

  async function evictOne({ pod: preemptor }: PodRecord, { key, uid }: PodRecord, nodeName: string): Promise<void> {
    const victim = podOf(key);
    if (victim === undefined || victim.metadata.uid !== uid || victim.metadata.deletionTimestamp !== undefined) return;
    const ref = refOf(key);
    const known = conditionOf(victim.status?.conditions, disruption.type);
    const { generation } = victim.metadata;
    const condition = {
      ...disruption,
      status: 'True',
      message: `${preemptor.spec.schedulerName ?? defaultSchedulerName}: preempting to accommodate a higher priority pod`,
      lastProbeTime: null,
      lastTransitionTime: transitionTimeOf(known, 'True', timestampOf(clock.now())),
      ...(generation === undefined ? {} : { observedGeneration: generation }),
    };
    try {
      await client.patch(
        pods,
        ref,
        { type: 'strategic', body: { metadata: { uid }, status: { conditions: [condition] } } },
        { subresource: 'status' },
      );
      await client.delete(pods, ref, { preconditions: { uid } });
    } catch (err) {
      if (isNotFound(err)) return;
      throw err;
    }
    recorder.record(victim, {
      type: 'Normal',
      reason: 'Preempted',
      message: `Preempted by pod ${preemptor.metadata.uid ?? ''} on node ${nodeName}`,
    });
  }

  return {
    evict: (pod, victims) => run(() => evictAll(pod, victims)),
    async stop() {
      waiting = [];
      await Promise.all(underWay);
    },
  };
}
