import { namespaces } from '../api/core/v1/namespace.ts';
import { type Node, nodes } from '../api/core/v1/node.ts';
import { type Pod, pods } from '../api/core/v1/pod.ts';
import type { Clock } from '../base/clock.ts';
import type { Component } from '../base/component.ts';
import type { Log } from '../base/log.ts';
import type { Metrics } from '../base/metrics.ts';
import type { Client } from '../client/client.ts';
import type { InformerSet } from '../client/informer.ts';
import {
  eventsOf,
  gatedMessage,
  isPodLeaving,
  nodeNameOf,
  podScheduledReasons,
  type SchedulerHold,
  stateOf,
} from '../lifecycle/pod-scheduling.facts.ts';
import { podSchedulingMachine } from '../lifecycle/pod-scheduling.machine.ts';
import { type EventOf, nameOf, restore, step } from '../lifecycle/step.ts';
import { keyOf, refOf } from '../machinery/object.ts';
import { isNotFound } from '../machinery/status-error.ts';
import { type Effects, perform } from '../reconcile/effects.ts';
import type { EventRecorder } from '../reconcile/event-recorder.ts';
import type { StepLog } from '../reconcile/step-log.ts';
import { createAlgorithm } from './algorithm.ts';
import { createSchedulerCache, type NodeRecord } from './cache.ts';
import { createConditionWriter } from './condition-writer.ts';
import { createSchedulerMetrics } from './metrics.ts';
import type { ClusterChange } from './plugin.ts';
import { createShapeReader } from './pod-record.ts';
import { defaultProfile, type Profile } from './profile.ts';
import { createSchedulingQueue, type QueuedPod } from './queue.ts';
import { describeUnfit } from './unfit.ts';

export interface SchedulerOptions {
  readonly client: Client;
  readonly informers: InformerSet;
  readonly clock: Clock;
  readonly log: Log;
  /** Writes as `default-scheduler`. */
  readonly recorder: EventRecorder;
  /** Registry of the path `/metrics/scheduler`. */
  readonly metrics: Metrics;
  readonly steps: StepLog;
  /** Breaks ties between nodes; [0, 1). */
  readonly random?: () => number;
  readonly profile?: Profile;
}

export interface Scheduler extends Component {
  /** Pods held, by where; for the status page and tests that wait for quiet. */
  count(hold: SchedulerHold): number;
}

/** Longest stretch of one turn of the event loop. */
const sliceMs = 3;
/** Bindings under way at the same time. The store takes them in commits of 128. */
const maxBindings = 1_024;
const housekeepingMs = 5_000;
/** Back-offs that may be cut short in a second because the queue is empty: it makes small clusters quick and costs large ones little. */
const maxEarlyRetries = 200;
/** A pod that waits for a change of the cluster is tried again after this time in any case. A hint may have been too narrow. */
const maxParkedMs = 5 * 60_000;
const timedBindingEvery = 10;

/**
 * Gives each pod a node. It takes unbound pods by priority and age, chooses a node from the cache, and assumes the pod
 * there at once. The binding through the API runs while the next pod is scheduled.
 */
export function createScheduler(options: SchedulerOptions): Scheduler {
  const { client, informers, clock, log, recorder, steps } = options;
  const profile = options.profile ?? defaultProfile;
  const podInformer = informers.get(pods);
  const nodeInformer = informers.get(nodes);
  const namespaceInformer = informers.get(namespaces);

  const shapes = createShapeReader();
  const queue = createSchedulingQueue({ clock });
  const cache = createSchedulerCache({ clock, namespaceLabels: (name) => namespaceInformer.get({ name })?.metadata.labels });
  const conditions = createConditionWriter({ client, clock, log });
  const measures = createSchedulerMetrics({
    metrics: options.metrics,
    profile: profile.schedulerName,
    queue,
    cache,
    reusedSamples: () => algorithm.reused,
  });
  const algorithm = createAlgorithm({
    profile,
    cluster: cache,
    clock,
    random: options.random ?? Math.random,
    onTimed: (point, durationMs) => measures.extensionPointTook(point, true, durationMs),
  });
  const helpedPlugins = pluginsByChange(profile);

  let running = false;
  let drainScheduled = false;
  let bindings = 0;
  let bound = 0;
  let onIdle: (() => void) | undefined;
  let cancelBackoff: (() => void) | undefined;
  let cancelHousekeeping: (() => void) | undefined;
  let removeHandlers: (() => void)[] = [];
  const changes = new Set<ClusterChange>();
  let early = { since: 0, count: 0 };

  // Inputs of the effects below, set before each step.
  let subject: QueuedPod;
  let chosen: NodeRecord;
  let failure = '';
  let triedAt = 0;

  const effects: Effects<typeof podSchedulingMachine> = {
    activate() {
      queue.activate(subject);
      schedule();
    },
    backOff() {
      queue.backOff(subject);
      armBackoff();
      schedule();
    },
    park() {
      queue.park(subject);
      report(subject, podScheduledReasons.unschedulable, failure);
    },
    bind() {
      const pod = subject;
      cache.assume(pod.record, chosen);
      queue.assume(pod);
      void bind(pod, chosen, triedAt);
    },
    forget() {
      cache.forget(subject.record.key);
      changes.add('AssignedPodDeleted');
    },
    reportFailure() {
      subject.erred = true;
      report(subject, podScheduledReasons.error, failure);
    },
    release() {
      queue.delete(subject);
      conditions.drop(subject.record.key);
    },
  };

  function advance(pod: QueuedPod, event: EventOf<typeof podSchedulingMachine>): void {
    // The hold says all while the scheduler has the pod; what the pod itself says arrives as events.
    const from = restore(podSchedulingMachine, stateOf(pod.record.pod, pod.hold));
    const taken = step(podSchedulingMachine, from, event);
    if (!taken.changed && taken.intents.length === 0) return;
    steps.record({
      machine: podSchedulingMachine.id,
      key: pod.record.key,
      from: nameOf<typeof podSchedulingMachine>(from),
      event: event.type,
      to: nameOf<typeof podSchedulingMachine>(taken.next),
    });
    subject = pod;
    for (const intent of taken.intents) void perform(intent, effects);
  }

  /** Takes the machine through what the object says now. */
  function observe(queued: QueuedPod, pod: Pod | undefined): void {
    for (const event of eventsOf(pod, queued.hold)) advance(queued, event);
  }

  function onPodChange({ before, after }: { readonly before?: Pod; readonly after?: Pod }): void {
    if (after === undefined) {
      if (before !== undefined) onPodGone(keyOf(before));
      return;
    }
    if (before !== undefined && isSameForUs(before, after)) return;
    const nodeName = nodeNameOf(after);
    if (nodeName !== undefined) {
      onPodPlaced(after, nodeName, before);
      return;
    }
    const key = keyOf(after);
    if (isPodLeaving(after)) {
      onPodGone(key);
      return;
    }
    if ((after.spec.schedulerName ?? profile.schedulerName) !== profile.schedulerName) return;
    onPodWaits(after, queue.get(key));
  }

  function onPodGone(key: string): void {
    if (cache.removePod(key)) noteChange('AssignedPodDeleted');
    const queued = queue.get(key);
    if (queued !== undefined) observe(queued, undefined);
  }

  function onPodPlaced(pod: Pod, nodeName: string, before: Pod | undefined): void {
    const key = keyOf(pod);
    const queued = queue.get(key);
    const phase = pod.status?.phase;
    if (phase === 'Succeeded' || phase === 'Failed') {
      if (cache.removePod(key)) noteChange('AssignedPodDeleted');
    } else {
      cache.setPod(shapes.read(pod, cache.shapeOf(key)), nodeName);
      if (before === undefined || nodeNameOf(before) === undefined) noteChange('AssignedPodAdded');
      else if (before.metadata.labels !== pod.metadata.labels) noteChange('AssignedPodChanged');
    }
    if (queued !== undefined) observe(queued, pod);
  }

  function onPodWaits(pod: Pod, known: QueuedPod | undefined): void {
    let queued = known;
    if (queued !== undefined && queued.record.uid !== (pod.metadata.uid ?? '')) {
      cache.removePod(queued.record.key);
      observe(queued, undefined);
      queued = undefined;
    }
    const record = shapes.read(pod, queued?.record.shape);
    if (queued === undefined) queued = queue.add(record);
    else {
      const changed = queued.record.shape !== record.shape;
      queued.record = record;
      if (queued.hold === 'unschedulable' && changed) retryAfterChange(queued);
    }
    observe(queued, pod);
    if (queued.hold === 'gated') conditions.write(pod, { reason: podScheduledReasons.gated, message: gatedMessage });
  }

  function onNodeChange({ before, after }: { readonly before?: Node; readonly after?: Node }): void {
    if (after !== undefined) for (const change of cache.setNode(after)) noteChange(change);
    else if (before !== undefined) {
      cache.removeNode(before.metadata.name);
      noteChange('NodeRemoved');
    }
  }

  function noteChange(change: ClusterChange): void {
    changes.add(change);
    schedule();
  }

  /** Tries parked pods again that one of the noted changes may have helped. */
  function flushChanges(): void {
    if (changes.size === 0) return;
    const helped = new Set<string>();
    for (const change of changes) for (const plugin of helpedPlugins.get(change) ?? []) helped.add(plugin);
    changes.clear();
    for (const pod of [...queue.parked()]) {
      // Without a plugin to blame there were no nodes at all.
      let worthIt = pod.rejectedBy.size === 0;
      for (const plugin of pod.rejectedBy) if (helped.has(plugin)) worthIt = true;
      if (worthIt) retryAfterChange(pod);
    }
  }

  function retryAfterChange(pod: QueuedPod): void {
    advance(pod, { type: 'CLUSTER_CHANGED', backingOff: queue.isBackingOff(pod) });
  }

  function schedule(): void {
    if (drainScheduled || !running) return;
    drainScheduled = true;
    setImmediate(drain);
  }

  function drain(): void {
    drainScheduled = false;
    if (!running) return;
    const startedAt = performance.now();
    flushChanges();
    while (bindings < maxBindings) {
      if (performance.now() - startedAt > sliceMs) {
        schedule();
        return;
      }
      const pod = queue.take();
      if (pod !== undefined) attempt(pod);
      else if (!retryEarly()) return;
    }
  }

  /** With nothing else to do, a pod that a change may have helped need not sit out its back-off. True when there is one to try. */
  function retryEarly(): boolean {
    const pod = queue.peekBackoff();
    if (pod === undefined) return false;
    const now = clock.monotonicMs();
    if (now - early.since >= 1_000) early = { since: now, count: 0 };
    if (early.count >= maxEarlyRetries) return false;
    early.count += 1;
    advance(pod, { type: 'QUEUE_IDLE' });
    return true;
  }

  function attempt(pod: QueuedPod): void {
    triedAt = clock.monotonicMs();
    try {
      const decision = algorithm.choose(pod.record);
      measures.algorithmTook(clock.monotonicMs() - triedAt);
      if ('node' in decision) {
        chosen = decision.node;
        advance(pod, { type: 'NODE_FOUND' });
        return;
      }
      pod.rejectedBy = decision.unfit.plugins;
      failure = describeUnfit(decision.unfit, pod.record.shape);
      measures.attempted('unschedulable', clock.monotonicMs() - triedAt);
      advance(pod, { type: 'NODE_NOT_FOUND' });
    } catch (err) {
      log.error({ pod: pod.record.key, err }, 'Could not choose node for pod');
      failure = err instanceof Error ? err.message : String(err);
      measures.attempted('error', clock.monotonicMs() - triedAt);
      advance(pod, { type: 'ATTEMPT_FAILED' });
    }
  }

  async function bind(pod: QueuedPod, node: NodeRecord, attemptedAt: number): Promise<void> {
    const { key, uid } = pod.record;
    const ref = refOf(key);
    bindings += 1;
    const startedAt = clock.monotonicMs();
    try {
      await client.createSubresource(pods, ref, 'binding', {
        apiVersion: 'v1',
        kind: 'Binding',
        metadata: { ...ref, ...(uid === '' ? {} : { uid }) },
        target: { kind: 'Node', name: node.name },
      });
      const now = clock.monotonicMs();
      cache.bindingFinished(key);
      measures.attempted('scheduled', now - attemptedAt);
      measures.scheduled(pod.attempts, now - pod.addedAt);
      bound += 1;
      if (bound % timedBindingEvery === 0) measures.extensionPointTook('Bind', true, now - startedAt);
      recorder.record(pod.record.pod, { type: 'Normal', reason: 'Scheduled', message: `Successfully assigned ${key} to ${node.name}` });
    } catch (err) {
      const now = clock.monotonicMs();
      measures.extensionPointTook('Bind', false, now - startedAt);
      measures.attempted('error', now - attemptedAt);
      onBindingFailed(pod, err);
    } finally {
      bindings -= 1;
      if (bindings === 0) onIdle?.();
      // The bound may have held up the queue.
      if (bindings === maxBindings - 1 || changes.size > 0) schedule();
    }
  }

  function onBindingFailed(pod: QueuedPod, err: unknown): void {
    const { key } = pod.record;
    // Meanwhile bound by someone else, or gone: the cache has the truth already.
    if (queue.get(key) !== pod) return;
    if (isNotFound(err)) {
      cache.forget(key);
      advance(pod, { type: 'DELETED' });
      return;
    }
    log.warn({ pod: key, err }, 'Could not bind pod');
    failure = `binding rejected: running Bind plugin "DefaultBinder": ${err instanceof Error ? err.message : String(err)}`;
    advance(pod, { type: 'BIND_FAILED' });
  }

  function report(pod: QueuedPod, reason: string, message: string): void {
    const { key } = pod.record;
    const current = podInformer.getByKey(key) ?? pod.record.pod;
    conditions.write(current, { reason, message });
    recorder.record(current, { type: 'Warning', reason: 'FailedScheduling', message });
  }

  function armBackoff(): void {
    cancelBackoff?.();
    cancelBackoff = undefined;
    const at = queue.nextBackoffAt;
    if (at === undefined || !running) return;
    cancelBackoff = clock.after(Math.max(0, at - clock.monotonicMs()), () => {
      for (const pod of queue.expiredBackoffs()) advance(pod, { type: 'BACKOFF_EXPIRED' });
      armBackoff();
    });
  }

  function keepHouse(): void {
    for (const key of cache.expired()) {
      const pod = queue.get(key);
      log.warn({ pod: key }, 'Bound pod was not confirmed in time');
      if (pod === undefined) cache.forget(key);
      else advance(pod, { type: 'ASSUMPTION_EXPIRED' });
    }
    const now = clock.monotonicMs();
    for (const pod of [...queue.parked()]) if (now - pod.parkedAt > maxParkedMs) retryAfterChange(pod);
    cancelHousekeeping = clock.after(housekeepingMs, keepHouse);
  }

  return {
    name: 'scheduler',
    count: (hold) => queue.count(hold),
    async start({ signal }) {
      await informers.waitForSync({ signal });
      running = true;
      removeHandlers = [nodeInformer.addHandler(onNodeChange), podInformer.addHandler(onPodChange)];
      keepHouse();
      schedule();
      log.info({ nodes: cache.nodes.length, pending: queue.size }, 'Started scheduler');
    },
    async stop() {
      running = false;
      for (const remove of removeHandlers.splice(0)) remove();
      cancelBackoff?.();
      cancelHousekeeping?.();
      if (bindings > 0) {
        await new Promise<void>((resolve) => {
          onIdle = resolve;
        });
      }
      await conditions.stop();
    },
  };
}

/** Plugins whose answer each change may turn. */
function pluginsByChange(profile: Profile): ReadonlyMap<ClusterChange, readonly string[]> {
  const byChange = new Map<ClusterChange, string[]>();
  for (const { name, helpedBy } of profile.filters) {
    for (const change of helpedBy) byChange.set(change, [...(byChange.get(change) ?? []), name]);
  }
  return byChange;
}

/** True when no field that scheduling depends on differs: most updates of a running pod change its status. */
function isSameForUs(before: Pod, after: Pod): boolean {
  return (
    before.spec === after.spec &&
    before.metadata.labels === after.metadata.labels &&
    before.metadata.uid === after.metadata.uid &&
    before.metadata.deletionTimestamp === after.metadata.deletionTimestamp &&
    before.status?.phase === after.status?.phase
  );
}
