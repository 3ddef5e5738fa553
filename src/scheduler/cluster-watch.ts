import type { Node } from '../api/core/v1/node.ts';
import type { Pod } from '../api/core/v1/pod.ts';
import type { Informer } from '../client/informer.ts';
import { isGated, isPodLeaving, nodeNameOf } from '../lifecycle/pod-scheduling.facts.ts';
import { keyOf } from '../machinery/object.ts';
import type { SchedulerCache } from './cache.ts';
import { holdSame } from './held-requests.ts';
import type { Nominator } from './nominator.ts';
import type { ChangeListener } from './plugin.ts';
import { createShapeReader, type PodRecord } from './pod-record.ts';
import type { PodSteps } from './pod-steps.ts';
import type { QueuedPod, SchedulingQueue } from './queue.ts';

export interface ClusterWatchOptions {
  readonly nodes: Informer<Node>;
  readonly pods: Informer<Pod>;
  /** Pods of other schedulers are left alone. */
  readonly owns: (pod: Pod) => boolean;
  readonly cache: SchedulerCache;
  readonly queue: SchedulingQueue;
  readonly nominator: Nominator;
  readonly observe: PodSteps['observe'];
  /** Something changed that may help a parked pod. */
  onChange: ChangeListener;
  /** A parked pod itself changed in a way that may help it. */
  onParkedPodChanged(pod: QueuedPod): void;
  /** Gates hold the pod. */
  onGated(pod: Pod): void;
}

/**
 * Keeps cache and queue as the API says: pods with a node are in the cache, pods without one are in the queue. Returns a function that
 * ends it.
 */
export function watchCluster(options: ClusterWatchOptions): () => void {
  const { owns, cache, queue, nominator, observe, onChange, onParkedPodChanged, onGated } = options;
  const shapes = createShapeReader();

  function onPod({ before, after }: { readonly before?: Pod; readonly after?: Pod }): void {
    if (after === undefined) {
      if (before !== undefined) onPodGone(keyOf(before));
      return;
    }
    if (before !== undefined && isSameForUs(before, after)) return;
    const nodeName = nodeNameOf(after);
    if (nodeName !== undefined) onPodPlaced(after, nodeName, before);
    else if (isPodLeaving(after)) onPodGone(keyOf(after));
    else if (owns(after)) onPodWaits(after, before);
  }

  function onPodGone(key: string): void {
    removePlaced(key);
    const queued = queue.get(key);
    if (queued !== undefined) observe(queued, undefined);
  }

  function removePlaced(key: string): void {
    const pod = cache.removePod(key);
    if (pod !== undefined) onChange('AssignedPodDeleted', { pod });
  }

  function onPodPlaced(pod: Pod, nodeName: string, before: Pod | undefined): void {
    const key = keyOf(pod);
    const queued = queue.get(key);
    const phase = pod.status?.phase;
    if (phase === 'Succeeded' || phase === 'Failed') {
      removePlaced(key);
    } else {
      const known = cache.recordOf(key);
      const record = shapes.read(pod, known);
      cache.setPod(record, nodeName);
      if (before === undefined || nodeNameOf(before) === undefined) onChange('AssignedPodAdded', { pod: record });
      // A shape is the same object as long as nothing that other pods look at has changed.
      else if (known?.shape !== record.shape || before.metadata.deletionTimestamp !== pod.metadata.deletionTimestamp)
        onChange('AssignedPodChanged', { pod: record, ...(known === undefined ? {} : { podBefore: known }) });
    }
    if (queued !== undefined) observe(queued, pod);
  }

  function onPodWaits(pod: Pod, before: Pod | undefined): void {
    let queued = queue.get(keyOf(pod));
    if (queued !== undefined && queued.record.uid !== (pod.metadata.uid ?? '')) {
      cache.removePod(queued.record.key);
      observe(queued, undefined);
      queued = undefined;
    }
    const record = shapes.read(pod, queued?.record);
    if (queued === undefined) queued = queue.add(record);
    else {
      const { status } = queued.record.pod;
      const hasNewClaims = status?.resourceClaimStatuses !== pod.status?.resourceClaimStatuses;
      const changed = queued.record.shape !== record.shape || hasNewClaims;
      queued.record = record;
      if (queued.hold === 'unschedulable' && changed) onParkedPodChanged(queued);
    }
    // A pod behind gates may wait for days: no room is kept for it, whatever its status says.
    if (!isGated(pod)) noteNomination(record, before);
    observe(queued, pod);
    if (queued.hold === 'gated') onGated(pod);
  }

  /** The API says which node the pod made room on; also who came before a restart of the scheduler. */
  function noteNomination(record: PodRecord, before: Pod | undefined): void {
    const { nominatedNodeName = '' } = record.pod.status ?? {};
    const { nominatedNodeName: last = '' } = before?.status ?? {};
    const known = nominator.nodeOf(record.key);
    // Unchanged, it says nothing: a newer decision may be on its way to the API.
    if (nominatedNodeName !== '' && (before === undefined || isGated(before) || nominatedNodeName !== last))
      nominator.nominate(record, nominatedNodeName);
    // So does the end of an older nomination.
    else if (nominatedNodeName === '' && last !== '' && last === known) nominator.clear(record.key);
    else if (known !== undefined) nominator.nominate(record, known);
  }

  function onNode({ before, after }: { readonly before?: Node; readonly after?: Node }): void {
    if (after !== undefined) {
      const { node, changes } = cache.setNode(after);
      for (const change of changes) onChange(change, { node });
    } else if (before !== undefined) {
      cache.removeNode(before.metadata.name);
      onChange('NodeRemoved');
    }
  }

  const removeHandlers = [options.nodes.addHandler(onNode), options.pods.addHandler(onPod)];
  return () => {
    for (const remove of removeHandlers) remove();
  };
}

/** True when no field that scheduling depends on differs: most updates of a running pod change its status. */
function isSameForUs(before: Pod, after: Pod): boolean {
  return (
    before.spec === after.spec &&
    before.metadata.labels === after.metadata.labels &&
    before.metadata.uid === after.metadata.uid &&
    before.metadata.deletionTimestamp === after.metadata.deletionTimestamp &&
    before.status?.nominatedNodeName === after.status?.nominatedNodeName &&
    before.status?.resourceClaimStatuses === after.status?.resourceClaimStatuses &&
    before.status?.phase === after.status?.phase &&
    // Preemption spares the pod that has run for longer.
    before.status?.startTime === after.status?.startTime &&
    holdSame(before, after)
  );
}
