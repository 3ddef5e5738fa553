import type { DaemonSet } from '../../api/apps/v1/daemon-set.ts';
import type { Pod } from '../../api/core/v1/pod.ts';
import { BoundedMap } from '../../base/bounded-map.ts';
import type { Clock } from '../../base/clock.ts';
import { keyOf } from '../../machinery/object.ts';
import type { EventRecorder } from '../../reconcile/event-recorder.ts';
import type { FinishedPod } from './plan.ts';

/**
 * Delays the deletion of failed pods. A node may refuse a pod each time. Without a delay the pod would be made and refused
 * without end.
 */
export interface FailedPodBackoff {
  /** Milliseconds until a failed pod may be deleted. */
  wait(key: string): number;
  /** A failed pod was deleted. */
  note(key: string): void;
}

const firstDelayMs = 1_000;
const maxDelayMs = 15 * 60_000;
/** Nodes with failed pods that are remembered; beyond that the oldest is deleted at once again. */
const maxKeys = 10_000;

export function createFailedPodBackoff(clock: Clock): FailedPodBackoff {
  const entries = new BoundedMap<string, { readonly at: number; readonly delayMs: number }>(maxKeys);
  /** Forgotten when no pod has failed for twice the longest delay. */
  const entryOf = (key: string) => {
    const entry = entries.get(key);
    return entry === undefined || clock.monotonicMs() - entry.at > 2 * maxDelayMs ? undefined : entry;
  };
  return {
    wait(key) {
      const entry = entryOf(key);
      return entry === undefined ? 0 : Math.max(0, entry.at + entry.delayMs - clock.monotonicMs());
    },
    note(key) {
      const entry = entryOf(key);
      entries.set(key, { at: clock.monotonicMs(), delayMs: entry === undefined ? firstDelayMs : Math.min(maxDelayMs, entry.delayMs * 2) });
    },
  };
}

/** A new template gets a new chance on each node. */
export const failedKey = ({ metadata, status }: DaemonSet, node: string): string =>
  `${metadata.uid}/${status?.observedGeneration ?? 0}/${node}`;

/** Tells of pods that ended, and gives them. */
export function reportFinished(
  set: DaemonSet,
  finished: readonly FinishedPod[],
  { recorder, failedPods }: { readonly recorder: EventRecorder; readonly failedPods: FailedPodBackoff },
): readonly Pod[] {
  for (const { node, pod } of finished) {
    const where = `daemon pod ${keyOf(pod)} on node ${node}`;
    if (pod.status?.phase === 'Failed') {
      failedPods.note(failedKey(set, node));
      recorder.record(set, { type: 'Warning', reason: 'FailedDaemonPod', message: `Found failed ${where}, will try to kill it` });
    } else
      recorder.record(set, { type: 'Normal', reason: 'SucceededDaemonPod', message: `Found succeeded ${where}, will try to delete it` });
  }
  return finished.map(({ pod }) => pod);
}
