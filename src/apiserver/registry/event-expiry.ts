import { type Event, events } from '../../api/core/v1/event.ts';
import { type Clock, timestampOf } from '../../base/clock.ts';
import type { Log } from '../../base/log.ts';
import { keyOf } from '../../machinery/object.ts';
import { isConflict, isNotFound } from '../../machinery/status-error.ts';
import { apiServerUser } from '../user.ts';
import { storeKeyOf } from './keys.ts';
import type { Registry } from './registry.ts';
import { settle } from './write-steps.ts';
import type { Writer } from './writes.ts';

/** The real server's default for Events. */
const keepMs = 60 * 60_000;
/** Events kept at most: a crash loop in every pod must not fill the memory within the hour. */
const keepCount = 20_000;
const everyMs = 30_000;
/** A flood of Events must not wait for the next round: 500 pods a second make 75,000 in that time. */
const floodEveryMs = 5_000;
const floodCount = keepCount + 5_000;
/** Deletions under way at once; they share commits and leave room for others. */
const chunk = 128;

export interface EventExpiryOptions {
  readonly registry: Pick<Registry, 'stateOf' | 'storage'>;
  readonly writer: Writer;
  readonly clock: Clock;
  readonly log: Log;
}

/**
 * Deletes Events an hour after they were last written, and the oldest when there are too many.
 *
 * Each is a deletion in the store and no request: nothing is asked and nothing audited, as when a lease of etcd ends. One takes 23 instead
 * of 60 microseconds.
 */
export function startEventExpiry({ registry, writer, clock, log }: EventExpiryOptions): { stop(): void } {
  const kept = () => registry.stateOf(events).all.objects;
  let stopped = false;
  let sinceRoundMs = 0;
  let cancel = wait();

  function wait(): () => void {
    return clock.after(floodEveryMs, () => {
      sinceRoundMs += floodEveryMs;
      if (sinceRoundMs >= everyMs || kept().size > floodCount) void round();
      else cancel = wait();
    });
  }

  async function round(): Promise<void> {
    sinceRoundMs = 0;
    try {
      const expired = expiredEvents([...kept().values()] as Event[], clock.now());
      for (let from = 0; from < expired.length && !stopped; from += chunk) {
        await Promise.all(expired.slice(from, from + chunk).map(expire));
      }
    } catch (err) {
      log.warn({ err }, 'Could not delete expired Events');
    }
    if (!stopped) cancel = wait();
  }

  /** An Event that was just counted up again has another version, and is alive. */
  async function expire(event: Event): Promise<void> {
    const { metadata } = event;
    const { resourceVersion } = metadata;
    if ((metadata.finalizers ?? []).length > 0) await deleteByRequest(writer, event);
    else await settle(registry.storage.delete(storeKeyOf(events, keyOf(event)), Number(resourceVersion)));
  }

  return {
    stop() {
      stopped = true;
      cancel();
    },
  };
}

/** Those that are too old, and the oldest beyond the count. */
export function expiredEvents(all: readonly Event[], nowMs: number): readonly Event[] {
  const surplus = all.length - keepCount;
  // No Event of the last hour has expired: its text shows this for the many young ones, without parsing times.
  const youngFrom = timestampOf(nowMs - keepMs);
  const candidates = surplus > 0 ? all : all.filter(({ metadata }) => (metadata.creationTimestamp ?? '') <= youngFrom);
  const byAge = candidates.map((event) => ({ event, at: lastSeenMs(event) })).sort((a, b) => a.at - b.at);
  return byAge.filter(({ at }, index) => index < surplus || at <= nowMs - keepMs).map(({ event }) => event);
}

function lastSeenMs({ metadata, lastTimestamp, series, eventTime }: Event): number {
  const times = [metadata.creationTimestamp, lastTimestamp, series?.lastObservedTime, eventTime];
  return Math.max(0, ...times.map((time) => (typeof time === 'string' ? Date.parse(time) : Number.NaN)).filter(Number.isFinite));
}

/** Someone waits for the deletion of an Event with finalizers. */
async function deleteByRequest(writer: Writer, { metadata }: Event): Promise<void> {
  const { resourceVersion } = metadata;
  try {
    await writer.delete({ kind: events, user: apiServerUser, userAgent: 'midship-apiserver' }, metadata, {
      ...(resourceVersion === undefined ? {} : { preconditions: { resourceVersion } }),
    });
  } catch (err) {
    if (!isNotFound(err) && !isConflict(err)) throw err;
  }
}
