import type { Pod } from '../../api/core/v1/pod.ts';
import type { PodCounts, Replicated } from '../../lifecycle/replica-set.facts.ts';
import { deepEqual } from '../../machinery/object.ts';
import type { LabelSelector, Labels } from '../../machinery/selector.ts';
import { isPodActive, isPodFinished, isPodReady, isPodTerminating } from '../pod-conditions.ts';

/**
 * Counts pods by owner as changes come in, so that a pass over a ReplicaSet of thousands of pods does not read each of
 * them.
 * `available` equals `ready`; an owner with `minReadySeconds` counts available pods itself, since these change with
 * time.
 */
export interface PodCounter {
  /** A pod came, changed or went. */
  change(uid: string, before: Pod | undefined, after: Pod | undefined): void;
  /** Counts from the start: the owner came into the cache after its pods, or its labels changed. */
  recount(owner: Replicated, pods: Iterable<Pod>): void;
  forget(uid: string): void;
  /** `released` pods do not match the selector any more. */
  countsOf(owner: Replicated, pods: () => Iterable<Pod>): PodCounts & { readonly released: number };
}

interface Counts {
  readonly owner: Replicated;
  active: number;
  fullyLabeled: number;
  ready: number;
  terminating: number;
  released: number;
}

export function createPodCounter(selectorOf: (owner: Replicated) => LabelSelector): PodCounter {
  const byUid = new Map<string, Counts>();

  function add(counts: Counts, pod: Pod, sign: 1 | -1): void {
    if (!isPodTerminating(pod) && !selectorOf(counts.owner).matches(pod.metadata.labels)) counts.released += sign;
    if (isPodActive(pod)) {
      counts.active += sign;
      if (hasLabels(pod.metadata.labels, counts.owner.spec.template?.metadata?.labels)) counts.fullyLabeled += sign;
      if (isPodReady(pod)) counts.ready += sign;
    } else if (isPodTerminating(pod) && !isPodFinished(pod)) counts.terminating += sign;
  }

  function recount(owner: Replicated, pods: Iterable<Pod>): Counts {
    const counts: Counts = { owner, active: 0, fullyLabeled: 0, ready: 0, terminating: 0, released: 0 };
    for (const pod of pods) add(counts, pod, 1);
    byUid.set(owner.metadata.uid ?? '', counts);
    return counts;
  }

  return {
    change(uid, before, after) {
      const counts = byUid.get(uid);
      if (counts === undefined) return;
      if (before !== undefined) add(counts, before, -1);
      if (after !== undefined) add(counts, after, 1);
    },
    recount,
    forget(uid) {
      byUid.delete(uid);
    },
    countsOf(owner, pods) {
      let counts = byUid.get(owner.metadata.uid ?? '');
      if (counts === undefined || !sameLabels(counts.owner, owner)) counts = recount(owner, pods());
      const { active, fullyLabeled, ready, terminating, released } = counts;
      return { active, fullyLabeled, ready, available: ready, terminating, released };
    },
  };
}

/** True when the fields behind the counts are unchanged. Mostly these are the very same frozen parts. */
function sameLabels(a: Replicated, b: Replicated): boolean {
  return (
    a === b ||
    (deepEqual(a.spec.selector, b.spec.selector) && deepEqual(a.spec.template?.metadata?.labels, b.spec.template?.metadata?.labels))
  );
}

function hasLabels(labels: Labels | undefined, wanted: Labels | undefined): boolean {
  if (wanted === undefined || labels === wanted) return true;
  if (labels === undefined) return false;
  for (const key in wanted) if (labels[key] !== wanted[key]) return false;
  return true;
}
