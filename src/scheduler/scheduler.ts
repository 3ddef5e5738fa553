import { namespaces } from '../api/core/v1/namespace.ts';
import { nodes } from '../api/core/v1/node.ts';
import { pods } from '../api/core/v1/pod.ts';
import type { Clock } from '../base/clock.ts';
import type { Component } from '../base/component.ts';
import { invariant } from '../base/invariant.ts';
import type { Log } from '../base/log.ts';
import type { Metrics } from '../base/metrics.ts';
import { createSliceLoop } from '../base/slice-loop.ts';
import type { Client } from '../client/client.ts';
import type { InformerSet } from '../client/informer.ts';
import { gatedMessage, podScheduledReasons, type SchedulerHold } from '../lifecycle/pod-scheduling.facts.ts';
import type { EventRecorder } from '../reconcile/event-recorder.ts';
import type { StepLog } from '../reconcile/step-log.ts';
import { createAlgorithm } from './algorithm.ts';
import { createAttempts } from './attempts.ts';
import { createBackoffTimer } from './backoff-timer.ts';
import { createBinder } from './binder.ts';
import { createSchedulerCache } from './cache.ts';
import { watchCluster } from './cluster-watch.ts';
import { createConditionWriter } from './condition-writer.ts';
import { createEarlyRetries } from './early-retries.ts';
import { createHelpedPods } from './helped-pods.ts';
import { startHousekeeping } from './housekeeping.ts';
import { createSchedulerMetrics } from './metrics.ts';
import type { Changed, ClusterChange } from './plugin.ts';
import type { PodRecord } from './pod-record.ts';
import { createPodSteps, type PodEffects } from './pod-steps.ts';
import { createProfile, type Profile } from './profile.ts';
import { createSchedulingQueue, type QueuedPod } from './queue.ts';
import { createReservations } from './reservations.ts';

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
}

export interface Scheduler extends Component {
  /** Pods held, by where; for the status page and tests that wait for quiet. */
  count(hold: SchedulerHold): number;
}

/**
 * Gives each pod a node. It takes unbound pods by priority and age, chooses a node from the cache, and assumes the pod
 * there at once. The binding through the API runs while the next pod is scheduled.
 *
 * `watchCluster` fills cache and queue. The machine of a pod decides what an event leads to, and `effects` does it.
 */
export function createScheduler(options: SchedulerOptions): Scheduler {
  const { client, informers, clock, log, recorder } = options;
  const profile = createProfile({ client, informers, clock, log });
  const profileOf = (_pod: PodRecord): Profile => profile;
  const podInformer = informers.get(pods);
  const nodeInformer = informers.get(nodes);
  const namespaceInformer = informers.get(namespaces);

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
  const helped = createHelpedPods(profileOf);
  const reservations = createReservations(profileOf);
  const earlyRetries = createEarlyRetries({ clock, queue });
  const loop = createSliceLoop({ beforeSlice: () => helped.take(queue.parked()).forEach(retryAfterChange), work: tryNext });
  const backoffTimer = createBackoffTimer({ clock, queue, onExpired: (pod) => advance(pod, { type: 'BACKOFF_EXPIRED' }) });
  const binder = createBinder({
    client,
    clock,
    log,
    recorder,
    measures,
    queue,
    cache,
    reservations,
    advance: (pod, event) => advance(pod, event),
    onEnded(wasFull) {
      if (wasFull || helped.hasChanges) loop.wake();
    },
  });

  const effects: PodEffects = {
    activate(pod) {
      queue.activate(pod);
      loop.wake();
    },
    backOff(pod) {
      queue.backOff(pod);
      backoffTimer.arm();
      loop.wake();
    },
    park(pod) {
      queue.park(pod);
      report(pod, podScheduledReasons.unschedulable);
    },
    bind(pod) {
      const { node } = pod;
      invariant(node !== undefined, `pod ${pod.record.key} is bound before a node was chosen`);
      cache.assume(pod.record, node);
      queue.assume(pod);
      binder.bind(pod, node);
    },
    forget(pod) {
      cache.forget(pod.record.key);
      helped.note('AssignedPodDeleted', { pod: pod.record });
    },
    reportFailure(pod) {
      pod.erred = true;
      report(pod, podScheduledReasons.error);
    },
    release(pod) {
      queue.delete(pod);
      reservations.release(pod.record.key);
      conditions.drop(pod.record.key);
    },
  };
  const { advance, observe } = createPodSteps({ effects, steps: options.steps });
  const attempt = createAttempts({ algorithm, clock, log, measures, reservations, advance });

  const stopWatching: (() => void)[] = [];
  let stopHousekeeping: (() => void) | undefined;

  function onChange(change: ClusterChange, changed?: Changed): void {
    helped.note(change, changed);
    loop.wake();
  }

  function retryAfterChange(pod: QueuedPod): void {
    advance(pod, { type: 'CLUSTER_CHANGED', backingOff: queue.isBackingOff(pod) });
  }

  function tryNext(): boolean {
    if (binder.isFull) return false;
    const pod = queue.take();
    if (pod !== undefined) {
      attempt(pod);
      return true;
    }
    const early = earlyRetries.take();
    if (early !== undefined) advance(early, { type: 'QUEUE_IDLE' });
    return early !== undefined;
  }

  /** Says on the pod why its last attempt failed. */
  function report({ record, failure }: QueuedPod, reason: string): void {
    const current = podInformer.getByKey(record.key) ?? record.pod;
    conditions.write(current, { reason, message: failure });
    recorder.record(current, { type: 'Warning', reason: 'FailedScheduling', message: failure });
  }

  return {
    name: 'scheduler',
    count: (hold) => queue.count(hold),
    async start({ signal }) {
      await informers.waitForSync({ signal });
      loop.start();
      stopWatching.push(
        watchCluster({
          nodes: nodeInformer,
          pods: podInformer,
          schedulerName: profile.schedulerName,
          cache,
          queue,
          observe,
          onChange,
          onParkedPodChanged: retryAfterChange,
          onGated: (pod) => conditions.write(pod, { reason: podScheduledReasons.gated, message: gatedMessage }),
        }),
      );
      for (const { watch } of profile.plugins) if (watch !== undefined) stopWatching.push(watch(onChange));
      stopHousekeeping = startHousekeeping({ clock, log, cache, queue, advance, retry: retryAfterChange });
      log.info({ nodes: cache.nodes.length, pending: queue.size }, 'Started scheduler');
    },
    async stop() {
      loop.stop();
      for (const stop of stopWatching.splice(0)) stop();
      reservations.stop();
      backoffTimer.stop();
      stopHousekeeping?.();
      await binder.stop();
      await conditions.stop();
    },
  };
}
