import type { Pod } from '../api/core/v1/pod.ts';
import type { Informer } from '../client/informer.ts';
import { controllerOf, type KubeObject, keyOf } from '../machinery/object.ts';
import type { LabelSelector } from '../machinery/selector.ts';
import type { Expectations } from '../reconcile/expectations.ts';
import { controllerKeyOf } from './ownership.ts';
import { isPodTerminating } from './pod-conditions.ts';

/** Queues each owner that comes or changes. Memories forget one that is gone, by uid. */
export function watchOwners<T extends KubeObject>(
  owners: Informer<T>,
  enqueue: (key: string) => void,
  memories: readonly { forget(uid: string): void }[],
): void {
  owners.addHandler(({ before, after }) => {
    if (after !== undefined) enqueue(keyOf(after));
    else if (before !== undefined) for (const memory of memories) memory.forget(before.metadata.uid ?? '');
  });
}

export interface OwnedPodsOptions<T extends KubeObject> {
  readonly pods: Informer<Pod>;
  readonly owners: Informer<T>;
  readonly expectations: Expectations;
  selectorOf(owner: T): LabelSelector;
  /** False for an orphan that the owner leaves alone although its selector matches. Absent: it adopts them all. */
  readonly mayAdopt?: (owner: T, orphan: Pod) => boolean;
  /** Sees each change of a pod of the owner with this uid. */
  readonly onChange?: (uid: string, before: Pod | undefined, after: Pod | undefined) => void;
  enqueue(key: string): void;
}

/** Queues the owners of pods that change, and those that may adopt an orphan. A pod that the cache shows is expected no longer. */
export function watchOwnedPods<T extends KubeObject>(options: OwnedPodsOptions<T>): void {
  const { pods, owners, expectations, selectorOf, mayAdopt, onChange, enqueue } = options;

  function enqueueOwner(pod: Pod): void {
    const key = controllerKeyOf(owners.resource, pod);
    if (key !== undefined) enqueue(key);
  }

  function enqueueAdopters(orphan: Pod): void {
    for (const owner of owners.list({ namespace: orphan.metadata.namespace })) {
      if (!selectorOf(owner).matches(orphan.metadata.labels)) continue;
      if (mayAdopt === undefined || mayAdopt(owner, orphan)) enqueue(keyOf(owner));
    }
  }

  pods.addHandler(({ before, after }) => {
    const ownerBefore = before === undefined ? undefined : controllerOf(before)?.uid;
    const ownerAfter = after === undefined ? undefined : controllerOf(after)?.uid;
    if (before !== undefined && ownerBefore !== undefined && ownerBefore !== ownerAfter) {
      onChange?.(ownerBefore, before, undefined);
      expectations.deletionObserved(ownerBefore, before.metadata.uid ?? '');
      enqueueOwner(before);
    }
    if (after === undefined) return;
    if (ownerAfter === undefined) {
      enqueueAdopters(after);
      return;
    }
    onChange?.(ownerAfter, ownerBefore === ownerAfter ? before : undefined, after);
    if (before === undefined) expectations.creationObserved(ownerAfter);
    if (isPodTerminating(after)) expectations.deletionObserved(ownerAfter, after.metadata.uid ?? '');
    enqueueOwner(after);
  });
}
