import type { Job } from '../../api/batch/v1/job.ts';
import type { Pod } from '../../api/core/v1/pod.ts';
import type { JobIndexes } from '../../lifecycle/job.facts.ts';
import { hasIndex, type IndexSet, IndexSetError, indexesOutside, parseIndexSet, withIndexes } from '../../machinery/index-set.ts';
import { deletionOrder } from '../deletion-order.ts';
import { isPodActive, isPodFinished, isPodTerminating } from '../pod-conditions.ts';
import { backoffAfter, endOf } from './pod-backoff.ts';
import { failureCountsOf, indexOf, isTracked } from './pod-facts.ts';
import { hasPodFailed, judgeFailure } from './pod-failure-policy.ts';

/** Indexes that are looked at for one pass; others follow in the next one. */
const maxPending = 500;

export interface PodIndexes extends JobIndexes {
  /** For each index in back-off the failed pod that knows how often it failed. It keeps its finalizer until its successor is there. */
  readonly predecessors: ReadonlyMap<number, Pod>;
  /** Active pods whose index is another's too, or beyond the completions. */
  readonly surplus: readonly Pod[];
  /** Milliseconds until an index that waits may have its next pod; 0: none waits. */
  readonly retryMs: number;
}

/** Reads from the pods of an Indexed Job which indexes succeeded, failed, run, wait or may start. */
export function readIndexes(
  job: Job,
  pods: readonly Pod[],
  { now, isOver }: { readonly now: number; readonly isOver: boolean },
): PodIndexes {
  const { completions = 0, backoffLimitPerIndex } = job.spec;
  const isValid = (index: number | undefined): index is number => index !== undefined && index < completions;
  const succeeded = withIndexes(
    readSet(job.status?.completedIndexes, completions),
    pods
      .filter((pod) => isTracked(pod) && pod.status?.phase === 'Succeeded')
      .map(indexOf)
      .filter(isValid),
  );
  const active = activeByIndex(pods, isValid, now);
  const failed = backoffLimitPerIndex === undefined ? undefined : failedIndexes(job, isOver ? [] : pods, succeeded);
  const predecessors = new Map<number, Pod>();
  if (failed !== undefined && !isOver) {
    for (const pod of pods) {
      const index = indexOf(pod);
      if (!isValid(index) || !hasPodFailed(job, pod)) continue;
      if (hasIndex(succeeded, index) || hasIndex(failed, index) || active.indexes.has(index)) continue;
      const known = predecessors.get(index);
      if (known === undefined || attemptsOf(known) <= attemptsOf(pod)) predecessors.set(index, pod);
    }
  }
  const ending = new Set(
    job.spec.podReplacementPolicy === 'Failed' ? pods.filter((pod) => isPodTerminating(pod) && !isPodFinished(pod)).map(indexOf) : [],
  );
  const pending: number[] = [];
  let retryMs = 0;
  for (const index of indexesOutside(succeeded, completions)) {
    if (pending.length >= maxPending) break;
    if (active.indexes.has(index) || ending.has(index) || hasIndex(failed ?? [], index)) continue;
    const waitMs = untilRetry(predecessors.get(index), now);
    if (waitMs === 0) pending.push(index);
    else retryMs = retryMs === 0 ? waitMs : Math.min(retryMs, waitMs);
  }
  return { succeeded, failed, pending, predecessors, surplus: active.surplus, surplusCount: active.surplus.length, retryMs };
}

/** Failures of an index before its next pod; counted ones reach `backoffLimitPerIndex`. */
export function nextFailureCounts(job: Job, predecessor: Pod | undefined): { readonly counted: number; readonly ignored: number } {
  if (predecessor === undefined) return { counted: 0, ignored: 0 };
  const { counted, ignored } = failureCountsOf(predecessor);
  return judgeFailure(job, predecessor).counts ? { counted: counted + 1, ignored } : { counted, ignored: ignored + 1 };
}

/** Pods that were deleted because the Job is over fail no index. */
function failedIndexes(job: Job, pods: readonly Pod[], succeeded: IndexSet): IndexSet {
  const { completions = 0, backoffLimitPerIndex = 0 } = job.spec;
  const known = readSet(job.status?.failedIndexes, completions);
  const added: number[] = [];
  for (const pod of pods) {
    const index = indexOf(pod);
    if (index === undefined || index >= completions || hasIndex(succeeded, index)) continue;
    if (!isTracked(pod) || !hasPodFailed(job, pod)) continue;
    const { action, counts } = judgeFailure(job, pod);
    if (action === 'FailIndex' || (counts && failureCountsOf(pod).counted >= backoffLimitPerIndex)) added.push(index);
  }
  return withIndexes(known, added);
}

/** Keeps the pod of an index that serves most, and gives the others as surplus. */
function activeByIndex(pods: readonly Pod[], isValid: (index: number | undefined) => boolean, now: number) {
  const indexes = new Set<number>();
  const surplus: Pod[] = [];
  for (const pod of [...deletionOrder(pods.filter(isPodActive), { relatedOnNode: () => 0, now })].reverse()) {
    const index = indexOf(pod);
    if (index === undefined || !isValid(index) || indexes.has(index)) surplus.push(pod);
    else indexes.add(index);
  }
  return { indexes, surplus };
}

function attemptsOf(pod: Pod): number {
  const { counted, ignored } = failureCountsOf(pod);
  return counted + ignored;
}

/** The pod is one failure more than its annotations count. */
const untilRetry = (predecessor: Pod | undefined, now: number): number =>
  predecessor === undefined ? 0 : Math.max(0, endOf(predecessor) + backoffAfter(attemptsOf(predecessor) + 1) - now);

/** A text that another writer of the status broke says nothing; the pods that are left still do. */
export function readSet(text: string | undefined, completions: number): IndexSet {
  try {
    return parseIndexSet(text ?? '', completions);
  } catch (err) {
    if (err instanceof IndexSetError) return [];
    throw err;
  }
}
