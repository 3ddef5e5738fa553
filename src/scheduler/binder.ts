import { pods } from '../api/core/v1/pod.ts';
import type { Clock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import type { Client } from '../client/client.ts';
import { refOf } from '../machinery/object.ts';
import { isNotFound, isRefusal } from '../machinery/status-error.ts';
import type { EventRecorder } from '../reconcile/event-recorder.ts';
import type { NodeRecord, SchedulerCache } from './cache.ts';
import type { ConditionWriter } from './condition-writer.ts';
import type { Extenders } from './extenders/extenders.ts';
import type { SchedulerMetrics } from './metrics.ts';
import type { PodRecord } from './pod-record.ts';
import type { PodSteps } from './pod-steps.ts';
import type { QueuedPod, SchedulingQueue } from './queue.ts';
import type { Reservations } from './reservations.ts';

/** Bindings under way at the same time. The store takes them in commits of 128. */
const maxBindings = 1_024;
const timedBindingEvery = 10;

/** Tells the API which node each pod gets; many at the same time. */
export interface Binder {
  /** Prepares an assumed pod for the node, as its PreBind plugins want, and binds it. A failure takes the pod to its next state. */
  bind(pod: QueuedPod, node: NodeRecord): void;
  /** No more bindings may begin now; `onEnded` says when they may. */
  readonly isFull: boolean;
  /** Resolves when no binding is under way. */
  stop(): Promise<void>;
}

export interface BinderOptions {
  readonly client: Client;
  readonly clock: Clock;
  readonly log: Log;
  readonly recorder: EventRecorder;
  readonly measuresOf: (pod: PodRecord) => SchedulerMetrics;
  readonly queue: SchedulingQueue;
  readonly cache: SchedulerCache;
  readonly reservations: Reservations;
  readonly conditions: Pick<ConditionWriter, 'underWay'>;
  readonly extenders: Extenders;
  readonly advance: PodSteps['advance'];
  /** A binding ended; `wasFull`: no other could begin before. */
  onEnded(wasFull: boolean): void;
}

export function createBinder(options: BinderOptions): Binder {
  const { client, clock, log, recorder, measuresOf, queue, cache, reservations, conditions, extenders, advance, onEnded } = options;
  const abort = new AbortController();
  let underWay = 0;
  let bound = 0;
  let onIdle: (() => void) | undefined;

  /** Waits for others are not counted as bindings: pods without volumes must not wait behind those with some. */
  async function prepareAndBind(pod: QueuedPod, node: NodeRecord, prepared: Promise<void>): Promise<void> {
    try {
      await prepared;
    } catch (err) {
      measuresOf(pod.record).attempted('error', clock.monotonicMs() - pod.triedAt);
      onRefused(pod, node, err instanceof Error ? err : new Error(String(err)));
      onEnded(false);
      return;
    }
    if (queue.get(pod.record.key) === pod && !abort.signal.aborted) await bind(pod, node);
    else reservations.unreserve(pod.record, node);
  }

  async function bind(pod: QueuedPod, node: NodeRecord): Promise<void> {
    const { record, triedAt } = pod;
    const measures = measuresOf(record);
    const { name: nodeName } = node;
    const { key } = record;
    underWay += 1;
    const startedAt = clock.monotonicMs();
    try {
      const byExtender = extenders.bind(record, nodeName, abort.signal);
      if (byExtender === undefined || !(await byExtender)) await bindByApi(record, nodeName);
      const now = clock.monotonicMs();
      cache.bindingFinished(key);
      measures.attempted('scheduled', now - triedAt);
      measures.scheduled(pod.attempts, now - pod.addedAt);
      bound += 1;
      if (bound % timedBindingEvery === 0) measures.extensionPointTook('Bind', true, now - startedAt);
      recorder.record(pod.record.pod, { type: 'Normal', reason: 'Scheduled', message: `Successfully assigned ${key} to ${nodeName}` });
    } catch (err) {
      const now = clock.monotonicMs();
      measures.extensionPointTook('Bind', false, now - startedAt);
      measures.attempted('error', now - triedAt);
      onRefused(pod, node, err instanceof Error ? err : new Error(String(err)));
    } finally {
      underWay -= 1;
      if (underWay === 0) onIdle?.();
      onEnded(underWay === maxBindings - 1);
    }
  }

  async function bindByApi({ key, uid }: PodRecord, nodeName: string): Promise<void> {
    const ref = refOf(key);
    try {
      await client.createSubresource(pods, ref, 'binding', {
        apiVersion: 'v1',
        kind: 'Binding',
        metadata: { ...ref, ...(uid === '' ? {} : { uid }) },
        target: { kind: 'Node', name: nodeName },
      });
    } catch (err) {
      if (!isRefusal(err) && (await isStored({ key, uid }, nodeName))) return;
      throw new Error(`running Bind plugin "DefaultBinder": ${err instanceof Error ? err.message : String(err)}`, { cause: err });
    }
  }

  /**
   * The binding was done, and its answer got lost. The pod has the node then, and nothing that it reserved may go to others. No answer to
   * this either counts as a failure: the next attempt of a bound pod is refused.
   */
  async function isStored({ key, uid }: Pick<PodRecord, 'key' | 'uid'>, nodeName: string): Promise<boolean> {
    try {
      const { metadata, spec } = await client.get(pods, refOf(key), { signal: abort.signal });
      return metadata.uid === uid && spec.nodeName === nodeName;
    } catch (err) {
      log.debug({ pod: key, err }, 'Could not find out if pod was bound');
      return false;
    }
  }

  function onRefused(pod: QueuedPod, node: NodeRecord, err: Error): void {
    const { key } = pod.record;
    reservations.unreserve(pod.record, node);
    // Meanwhile bound by someone else, or gone: the cache has the truth already.
    if (queue.get(key) !== pod) return;
    if (isNotFound(err.cause)) {
      cache.forget(key);
      advance(pod, { type: 'DELETED' });
      return;
    }
    log.warn({ pod: key, err }, 'Could not bind pod');
    pod.failure = `binding rejected: ${err.message}`;
    advance(pod, { type: 'BIND_FAILED' });
  }

  return {
    bind(pod, node) {
      const prepared = reservations.preBind(pod.record, node);
      // `PodScheduled=False` of the attempt before must not come after the binding: nobody would correct it then.
      const written = conditions.underWay(pod.record.key);
      const first = written === undefined ? prepared : Promise.all([prepared, written]).then(() => undefined);
      void (first === undefined ? bind(pod, node) : prepareAndBind(pod, node, first));
    },
    get isFull() {
      return underWay >= maxBindings;
    },
    async stop() {
      abort.abort(new Error('the scheduler stops'));
      if (underWay === 0) return;
      await new Promise<void>((resolve) => {
        onIdle = resolve;
      });
    },
  };
}
