import type { Clock } from '../base/clock.ts';
import type { SchedulerHold } from '../lifecycle/pod-scheduling.facts.ts';
import type { NodeRecord } from './cache.ts';
import { createHeap } from './heap.ts';
import type { PodRecord } from './pod-record.ts';
import type { Victims } from './victims.ts';

/** A pod without a node, from the moment it is seen until it is bound or gone. */
export interface QueuedPod {
  record: PodRecord;
  hold: SchedulerHold;
  /** Times it was tried. */
  attempts: number;
  /** Monotonic time when it was first ready to be tried. */
  readonly addedAt: number;
  /** Counts up with every pod that comes into the active queue: the order among equal priorities. */
  activeSince: number;
  /** Monotonic time before which it is not tried again. */
  backoffUntil: number;
  /** Since when it waits for the cluster to change. */
  parkedAt: number;
  /** Monotonic time when the last attempt began. */
  triedAt: number;
  /** Message about the failure of the last attempt, for the condition and the event. */
  failure: string;
  /** The last attempt ended in an error, not with a rejection: its back-off is kept in any case. */
  erred: boolean;
  /** Plugins that rejected it last. */
  rejectedBy: ReadonlySet<string>;
  /** The node that the last attempt chose. */
  node: NodeRecord | undefined;
  /** Pods that the last attempt wants to remove. */
  victims: Victims | undefined;
  /** Its victims are being deleted: it is not tried before that has ended. */
  isPreempting: boolean;
  /** The cluster changed in its favour meanwhile. */
  hasMissedChange: boolean;
}

/**
 * Pods to schedule. The active queue is by priority and age. Other pods wait for their back-off, or for a change that may help them. The
 * three are holds of one table, so that a pod is in one of them at most. The number of entries is bounded by the number of pods.
 */
export interface SchedulingQueue {
  get(key: string): QueuedPod | undefined;
  /** A new entry, held by its gates until it is activated. */
  add(record: PodRecord): QueuedPod;
  delete(pod: QueuedPod): void;
  activate(pod: QueuedPod): void;
  backOff(pod: QueuedPod): void;
  park(pod: QueuedPod): void;
  /** Takes it out of its queue while it is tried and bound. */
  assume(pod: QueuedPod): void;
  /** The next pod to try; it stays held as active until it is put elsewhere. Counts an attempt. */
  take(): QueuedPod | undefined;
  /** Back-off of the last attempt still runs. */
  isBackingOff(pod: QueuedPod): boolean;
  /** Pods whose back-off is over. */
  expiredBackoffs(): readonly QueuedPod[];
  /** The pod with the shortest back-off left that may be cut short. */
  peekBackoff(): QueuedPod | undefined;
  /** When the next back-off ends, in monotonic time. */
  readonly nextBackoffAt: number | undefined;
  parked(): Iterable<QueuedPod>;
  count(hold: SchedulerHold): number;
  readonly size: number;
}

export interface QueueOptions {
  readonly clock: Clock;
  readonly initialBackoffMs?: number;
  readonly maxBackoffMs?: number;
}

export function createSchedulingQueue({ clock, initialBackoffMs = 1_000, maxBackoffMs = 10_000 }: QueueOptions): SchedulingQueue {
  const all = new Map<string, QueuedPod>();
  const active = createHeap<QueuedPod>((a, b) => {
    const byPriority = a.record.shape.priority - b.record.shape.priority;
    return byPriority === 0 ? a.activeSince < b.activeSince : byPriority > 0;
  });
  const backoff = createHeap<QueuedPod>((a, b) => a.backoffUntil < b.backoffUntil);
  const parked = new Set<QueuedPod>();
  const held = { gated: 0, active: 0, backoff: 0, unschedulable: 0, assumed: 0 };
  let sequence = 0;

  function leave(pod: QueuedPod): void {
    switch (pod.hold) {
      case 'active':
        active.remove(pod);
        break;
      case 'backoff':
        backoff.remove(pod);
        break;
      case 'unschedulable':
        parked.delete(pod);
        break;
      case 'assumed':
      case 'gated':
        break;
      default:
        pod.hold satisfies never;
    }
    held[pod.hold] -= 1;
  }

  function enter(pod: QueuedPod, hold: SchedulerHold): void {
    leave(pod);
    pod.hold = hold;
    held[hold] += 1;
  }

  return {
    get: (key) => all.get(key),
    add(record) {
      const pod: QueuedPod = {
        record,
        hold: 'gated',
        attempts: 0,
        addedAt: clock.monotonicMs(),
        activeSince: 0,
        backoffUntil: 0,
        parkedAt: 0,
        triedAt: 0,
        failure: '',
        erred: false,
        rejectedBy: noPlugins,
        node: undefined,
        victims: undefined,
        isPreempting: false,
        hasMissedChange: false,
      };
      held.gated += 1;
      all.set(record.key, pod);
      return pod;
    },
    delete(pod) {
      if (all.get(pod.record.key) !== pod) return;
      leave(pod);
      all.delete(pod.record.key);
    },
    activate(pod) {
      enter(pod, 'active');
      // A number instead of the time: pods of one batch keep their order.
      sequence += 1;
      pod.activeSince = sequence;
      active.push(pod);
    },
    backOff(pod) {
      enter(pod, 'backoff');
      backoff.push(pod);
    },
    park(pod) {
      enter(pod, 'unschedulable');
      pod.parkedAt = clock.monotonicMs();
      parked.add(pod);
    },
    assume(pod) {
      enter(pod, 'assumed');
    },
    take() {
      const pod = active.pop();
      if (pod === undefined) return undefined;
      pod.attempts += 1;
      pod.erred = false;
      pod.backoffUntil = clock.monotonicMs() + Math.min(maxBackoffMs, initialBackoffMs * 2 ** Math.min(pod.attempts - 1, 30));
      return pod;
    },
    isBackingOff: (pod) => pod.backoffUntil > clock.monotonicMs(),
    expiredBackoffs() {
      const now = clock.monotonicMs();
      const expired: QueuedPod[] = [];
      for (let pod = backoff.peek(); pod !== undefined && pod.backoffUntil <= now; pod = backoff.peek()) {
        backoff.pop();
        expired.push(pod);
      }
      return expired;
    },
    peekBackoff() {
      const pod = backoff.peek();
      return pod?.erred === false ? pod : undefined;
    },
    get nextBackoffAt() {
      return backoff.peek()?.backoffUntil;
    },
    parked: () => parked,
    count: (hold) => held[hold],
    get size() {
      return all.size;
    },
  };
}

const noPlugins: ReadonlySet<string> = new Set();
