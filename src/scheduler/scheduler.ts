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
import { createAttempts } from './attempts.ts';
import { createBackoffTimer } from './backoff-timer.ts';
import { createBinder } from './binder.ts';
import { createSchedulerCache } from './cache.ts';
import { createClusterFacts } from './cluster-facts.ts';
import { watchCluster } from './cluster-watch.ts';
import { createConditionWriter } from './condition-writer.ts';
import { defaultProfile, type SchedulerConfiguration } from './configuration/configuration.ts';
import { createEarlyRetries } from './early-retries.ts';
import { createEvictor } from './evictor.ts';
import { createConfiguredExtenders } from './extenders/create-extenders.ts';
import { createFrameworks } from './frameworks.ts';
import { createHelpedPods } from './helped-pods.ts';
import { startHousekeeping } from './housekeeping.ts';
import { createSchedulerMetrics } from './metrics.ts';
import { createNominator } from './nominator.ts';
import type { Changed, ClusterChange } from './plugin.ts';
import { createPodSteps, type PodEffects } from './pod-steps.ts';
import { createProfile } from './profile.ts';
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
  /** Profiles and back-off; absent: those of upstream's defaults. */
  readonly configuration?: SchedulerConfiguration | undefined;
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
  const { clock, log } = options;
  const parts = createParts(options);
  const { podInformer, nodeInformer, facts, profiles, queue, cache, nominator, frameworks, conditions, helped, reservations, extenders } =
    parts;
  const earlyRetries = createEarlyRetries({ clock, queue });
  const loop = createSliceLoop({ beforeSlice: retryHelped, work: tryNext });
  const abort = new AbortController();
  /** Extenders are asked about a pod. */
  let asking: Promise<void> | undefined;
  const backoffTimer = createBackoffTimer({ clock, queue, onExpired: (pod) => advance(pod, { type: 'BACKOFF_EXPIRED' }) });
  const evictor = createEvictor({ ...options, podOf: (key) => podInformer.getByKey(key), onEnded: onPreempted });
  const binder = createBinder({
    ...options,
    measuresOf: (pod) => frameworks.of(pod).measures,
    queue,
    cache,
    reservations,
    conditions,
    extenders,
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
    preempt(pod) {
      const { record, victims } = pod;
      invariant(victims !== undefined, `pod ${record.key} preempts before victims were found`);
      pod.victims = undefined;
      pod.isPreempting = true;
      for (const other of nominator.after(record, victims.node.name)) {
        nominator.clear(other.key);
        conditions.clearNomination(podInformer.getByKey(other.key) ?? other.pod);
        // It waits for victims whose room goes to this one: another node may do.
        const displaced = queue.get(other.key);
        if (displaced !== undefined) retryAfterChange(displaced);
      }
      nominator.nominate(record, victims.node.name);
      frameworks.of(record).measures.preempted(victims.pods.length);
      evictor.evict(pod, victims);
    },
    bind(pod) {
      const { node, record } = pod;
      invariant(node !== undefined, `pod ${record.key} is bound before a node was chosen`);
      cache.assume(record, node);
      queue.assume(pod);
      giveUpNomination(pod, node.name);
      conditions.drop(record.key);
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
      giveUpNomination(pod, pod.node?.name);
      reservations.release(pod.record.key);
      conditions.drop(pod.record.key);
    },
  };
  const { advance, observe } = createPodSteps({ effects, steps: options.steps });
  const attempt = createAttempts({
    frameworkOf: (pod) => frameworks.of(pod),
    clock,
    log,
    reservations,
    advance,
    onNotGivenBack(pod, err) {
      log.warn({ pod: pod.record.key, err }, 'Could not give back what was reserved for pod');
      if (queue.get(pod.record.key) !== pod) return;
      pod.erred = true;
      retryAfterChange(pod);
    },
    clearNomination: (pod) => giveUpNomination(pod, undefined),
    extenders,
    isWanted: (pod) => queue.get(pod.record.key) === pod && pod.hold === 'active',
  });

  /** The room that was kept for the pod on a node is free for others, unless it took that node. */
  function giveUpNomination({ record }: QueuedPod, takenNode: string | undefined): void {
    const nodeName = nominator.clear(record.key);
    if (nodeName !== undefined && nodeName !== takenNode) onChange('AssignedPodDeleted', { pod: record });
  }

  function onPreempted(pod: QueuedPod, outcome: 'deleted' | 'failed'): void {
    pod.isPreempting = false;
    const isDue = pod.hasMissedChange || outcome === 'failed';
    pod.hasMissedChange = false;
    // No victim goes, so nothing would wake the pod. Its back-off is kept, since the API may refuse again.
    if (outcome === 'failed') pod.erred = true;
    if (isDue && queue.get(pod.record.key) === pod) retryAfterChange(pod);
  }

  function onChange(change: ClusterChange, changed?: Changed): void {
    helped.note(change, changed);
    loop.wake();
  }

  function retryAfterChange(pod: QueuedPod): void {
    if (pod.isPreempting) pod.hasMissedChange = true;
    else advance(pod, { type: 'CLUSTER_CHANGED', backingOff: queue.isBackingOff(pod) });
  }

  /** Changes are kept while extenders are asked: that pod is not parked yet, and they may help it. */
  function retryHelped(): void {
    if (asking === undefined) helped.take(queue.parked()).forEach(retryAfterChange);
  }

  function tryNext(): boolean {
    if (binder.isFull || asking !== undefined) return false;
    const pod = queue.take();
    if (pod !== undefined) {
      asking = attempt(pod, abort.signal)?.finally(() => {
        asking = undefined;
        loop.wake();
      });
      return true;
    }
    const early = earlyRetries.take();
    if (early !== undefined) advance(early, { type: 'QUEUE_IDLE' });
    return early !== undefined;
  }

  /** Says on the pod why its last attempt failed, and which node it made room on. */
  function report({ record, failure }: QueuedPod, reason: string): void {
    const current = podInformer.getByKey(record.key) ?? record.pod;
    const nominated = nominator.nodeOf(record.key);
    conditions.write(current, { reason, message: failure, nominatedNodeName: nominated });
    options.recorder.record(current, { type: 'Warning', reason: 'FailedScheduling', message: failure });
  }

  const stopWatching: (() => void)[] = [];
  return {
    name: 'scheduler',
    count: (hold) => queue.count(hold),
    async start({ signal }) {
      await options.informers.waitForSync({ signal });
      loop.start();
      stopWatching.push(
        watchCluster({
          nodes: nodeInformer,
          pods: podInformer,
          owns: (pod) => frameworks.owns(pod),
          cache,
          queue,
          nominator,
          observe,
          onChange,
          onParkedPodChanged: retryAfterChange,
          onGated: (pod) => conditions.write(pod, { reason: podScheduledReasons.gated, message: gatedMessage }),
        }),
        facts.watch(cache, onChange),
      );
      for (const { watch } of profiles.flatMap(({ plugins }) => plugins)) if (watch !== undefined) stopWatching.push(watch(onChange));
      stopWatching.push(startHousekeeping({ clock, log, cache, queue, advance, retry: retryAfterChange }));
      const { ignored = [] } = options.configuration ?? {};
      if (ignored.length > 0) log.warn({ fields: ignored }, 'Left out fields of the scheduler configuration that change nothing here');
      log.info({ nodes: cache.nodes.length, pending: queue.size }, 'Started scheduler');
    },
    async stop() {
      loop.stop();
      for (const stop of stopWatching.splice(0)) stop();
      reservations.stop();
      backoffTimer.stop();
      abort.abort(new Error('the scheduler stops'));
      await asking;
      await binder.stop();
      await evictor.stop();
      await conditions.stop();
      extenders.close();
    },
  };
}

/** The parts that know nothing of each other's steps. */
function createParts(options: SchedulerOptions) {
  const { client, informers, clock, log } = options;
  const podInformer = informers.get(pods);
  const nodeInformer = informers.get(nodes);
  const facts = createClusterFacts(informers);
  const { configuration } = options;
  const handle = { client, informers, clock, log };
  const profiles = (configuration?.profiles ?? [defaultProfile]).map((one) => createProfile(handle, one));
  const queue = createSchedulingQueue({ clock, ...configuration });
  const cache = createSchedulerCache({ clock, ...facts });
  const nominator = createNominator();
  const measuresOf = createSchedulerMetrics({
    metrics: options.metrics,
    queue,
    cache,
    reusedSamples: () => frameworks.reusedSamples,
  });
  const frameworks = createFrameworks({
    profiles,
    cluster: cache,
    nominator,
    clock,
    random: options.random ?? Math.random,
    budgets: facts.budgets,
    podOf: ({ key, pod }) => podInformer.getByKey(key) ?? pod,
    measuresOf,
  });
  const conditions = createConditionWriter({ client, clock, log });
  const helped = createHelpedPods((pod) => frameworks.profileOf(pod));
  const reservations = createReservations((pod) => frameworks.profileOf(pod));
  const extenders = createConfiguredExtenders(configuration?.extenders ?? [], { informers, log });
  return { podInformer, nodeInformer, facts, profiles, queue, cache, nominator, frameworks, conditions, helped, reservations, extenders };
}
