import { events, type Event as KubeEvent } from '../api/core/v1/event.ts';
import { BoundedMap } from '../base/bounded-map.ts';
import { type Clock, timestampOf } from '../base/clock.ts';
import type { Component } from '../base/component.ts';
import type { Log } from '../base/log.ts';
import type { Metrics } from '../base/metrics.ts';
import type { Client, New } from '../client/client.ts';
import type { KubeObject } from '../machinery/object.ts';
import { isAlreadyExists, isNotFound, isStatusError } from '../machinery/status-error.ts';

/** Writes Events, for users, about objects. Never fails and never waits: an Event is worth less than the work it tells of. */
export interface EventRecorder {
  record(about: KubeObject, event: RecordedEvent): void;
}

export interface RecordedEvent {
  readonly type: 'Normal' | 'Warning';
  /** Equals the reason of the condition, where there is one. */
  readonly reason: string;
  readonly message: string;
  /** The part of the object: `spec.containers{web}`. */
  readonly fieldPath?: string;
}

/**
 * The queue behind all recorders of a process.
 *
 * The same event again raises `count` of the one that is there. An object that gets many different messages of one reason in ten minutes
 * gets one Event for the rest, marked as combined, as with client-go. Writes go out in batches every 20 ms, one batch at a time; at 10,000
 * waiting Events the oldest is dropped and counted.
 */
export interface EventQueue extends Component {
  /** `component` becomes `source.component`; `host` is the node of an agent. */
  recorder(component: string, host?: string): EventRecorder;
  readonly pending: number;
}

export interface EventQueueOptions {
  readonly client: Client;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
  /** Takes values of Secrets out of a message about an object. */
  readonly redact?: (message: string, about: KubeObject) => string;
}

const flushIntervalMs = 20;
/** Writes under way at the same time; a batch that is full is followed by the next one without a pause longer than the interval. */
const batchSize = 256;
const maxPending = 10_000;
/** Groups remembered for counting; client-go's LRU has the same size. A forgotten one only starts a new Event. */
const maxGroups = 4_096;
const maxMessages = 10;
const groupWindowMs = 10 * 60_000;
const maxAttempts = 3;
/** Longest time that `stop` keeps writing events that wait. */
const drainMs = 2_000;

/** One Event object, as it should be in the store. */
interface Entry {
  readonly source: Source;
  readonly event: RecordedEvent;
  readonly involvedObject: KubeEvent['involvedObject'];
  readonly namespace: string;
  readonly firstAt: number;
  name: string;
  message: string;
  lastAt: number;
  count: number;
  stored: boolean;
  attempts: number;
}

interface Group {
  readonly byMessage: Map<string, Entry>;
  combined: Entry | undefined;
  lastAt: number;
}

interface Source {
  readonly component: string;
  readonly host: string | undefined;
}

export function createEventQueue({ client, clock, log, metrics, redact = (message) => message }: EventQueueOptions): EventQueue {
  const groups = new BoundedMap<string, Group>(maxGroups);
  const pending = new Set<Entry>();
  const dropped = metrics.counter({
    name: 'midship_events_dropped_total',
    help: 'Events that were not written, by why.',
    labelNames: ['reason'],
  });
  for (const reason of ['queue_full', 'refused', 'failed']) dropped.inc({ reason }, 0);
  let cancelTimer: (() => void) | undefined;
  let flushing: Promise<void> | undefined;
  let stopped = false;
  let sequence = 0;

  function record(source: Source, about: KubeObject, given: RecordedEvent): void {
    if (stopped) return;
    const message = redact(given.message, about);
    const event = message === given.message ? given : { ...given, message };
    const now = clock.now();
    const entry = entryOf(source, about, event, now);
    entry.count += 1;
    entry.lastAt = now;
    if (!pending.has(entry)) {
      if (pending.size >= maxPending) dropOldest();
      pending.add(entry);
    }
    schedule();
  }

  function dropOldest(): void {
    for (const oldest of pending) {
      pending.delete(oldest);
      dropped.inc({ reason: 'queue_full' });
      return;
    }
  }

  function entryOf(source: Source, about: KubeObject, event: RecordedEvent, now: number): Entry {
    const id = `${about.metadata.uid ?? about.metadata.name}|${source.component}|${event.type}|${event.reason}|${event.fieldPath ?? ''}`;
    let group = groups.get(id);
    if (group === undefined || now - group.lastAt > groupWindowMs) group = { byMessage: new Map(), combined: undefined, lastAt: now };
    group.lastAt = now;
    groups.set(id, group);
    const known = group.byMessage.get(event.message);
    if (known !== undefined) return known;
    if (group.byMessage.size < maxMessages) {
      const entry = createEntry(source, about, event, now);
      group.byMessage.set(event.message, entry);
      return entry;
    }
    group.combined ??= createEntry(source, about, event, now);
    group.combined.message = `(combined from similar events): ${event.message}`;
    return group.combined;
  }

  function createEntry(source: Source, about: KubeObject, event: RecordedEvent, now: number): Entry {
    const { namespace, name, uid, resourceVersion } = about.metadata;
    return {
      source,
      event,
      involvedObject: {
        apiVersion: about.apiVersion,
        kind: about.kind,
        name,
        ...(namespace === undefined ? {} : { namespace }),
        ...(uid === undefined ? {} : { uid }),
        ...(resourceVersion === undefined ? {} : { resourceVersion }),
        ...(event.fieldPath === undefined ? {} : { fieldPath: event.fieldPath }),
      },
      // Events of cluster-scoped objects are in `default`, as with client-go.
      namespace: namespace ?? 'default',
      name: nameFor(name, now),
      message: event.message,
      firstAt: now,
      lastAt: now,
      count: 0,
      stored: false,
      attempts: 0,
    };
  }

  /** `web-0.18cf…`: the object's name and nanoseconds in hex, made unique by a counter in place of what the clock cannot tell. */
  function nameFor(objectName: string, now: number): string {
    sequence = (sequence + 1) % 1_000_000;
    return `${objectName.slice(0, 236)}.${(BigInt(Math.trunc(now)) * 1_000_000n + BigInt(sequence)).toString(16)}`;
  }

  function schedule(): void {
    if (stopped || cancelTimer !== undefined || flushing !== undefined || pending.size === 0) return;
    cancelTimer = clock.after(flushIntervalMs, () => {
      cancelTimer = undefined;
      flushing = flush().finally(() => {
        flushing = undefined;
        schedule();
      });
    });
  }

  async function flush(signal?: AbortSignal): Promise<void> {
    const batch: Entry[] = [];
    for (const entry of pending) {
      batch.push(entry);
      pending.delete(entry);
      if (batch.length === batchSize) break;
    }
    await Promise.all(batch.map((entry) => write(entry, signal)));
  }

  async function write(entry: Entry, signal: AbortSignal | undefined): Promise<void> {
    const options = signal === undefined ? {} : { signal };
    try {
      if (entry.stored) {
        const body = { count: entry.count, lastTimestamp: timestampOf(entry.lastAt), message: entry.message };
        await client.patch(events, { namespace: entry.namespace, name: entry.name }, { type: 'merge', body }, options);
      } else {
        await client.create(events, objectOf(entry), options);
        entry.stored = true;
      }
      entry.attempts = 0;
    } catch (err) {
      entry.attempts += 1;
      if (entry.stored ? isNotFound(err) : isAlreadyExists(err)) {
        // The old Event expired, or the name is taken: a new one, under a new name.
        entry.stored = false;
        entry.name = nameFor(entry.involvedObject.name ?? '', clock.now());
      } else if (isStatusError(err) && err.code < 500 && err.code !== 429) {
        // The refusal is permanent, as in a namespace that is being deleted.
        dropped.inc({ reason: 'refused' });
        log.debug({ err, reason: entry.event.reason }, 'Dropped event that was refused');
        return;
      }
      if (entry.attempts >= maxAttempts || pending.size >= maxPending) {
        dropped.inc({ reason: 'failed' });
        entry.attempts = 0;
        log.warn({ err, reason: entry.event.reason }, 'Dropped event that could not be written');
        return;
      }
      pending.add(entry);
    }
  }

  return {
    name: 'event-recorder',
    recorder: (component, host) => {
      const source: Source = { component, host };
      return { record: (about, event) => record(source, about, event) };
    },
    get pending() {
      return pending.size;
    },
    async start() {
      stopped = false;
    },
    async stop() {
      if (stopped) return;
      stopped = true;
      cancelTimer?.();
      cancelTimer = undefined;
      const abort = new AbortController();
      const cancel = clock.after(drainMs, () => abort.abort(new Error('event recorder stops')));
      await flushing;
      while (pending.size > 0 && !abort.signal.aborted) await flush(abort.signal);
      cancel();
    },
  };
}

function objectOf({ source, event, involvedObject, namespace, name, message, firstAt, lastAt, count }: Entry): New<KubeEvent> {
  return {
    apiVersion: 'v1',
    kind: 'Event',
    metadata: { name, namespace },
    involvedObject,
    reason: event.reason,
    message,
    type: event.type,
    source: { component: source.component, ...(source.host === undefined ? {} : { host: source.host }) },
    reportingComponent: source.component,
    reportingInstance: source.host ?? '',
    firstTimestamp: timestampOf(firstAt),
    lastTimestamp: timestampOf(lastAt),
    count,
  };
}
