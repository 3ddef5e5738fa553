import type { Clock } from '../../base/clock.ts';
import type { Log } from '../../base/log.ts';
import { StatusError } from '../../machinery/status-error.ts';
import type { EtcdClient, WatchAnswer, WatchStream } from './client.ts';
import type { EtcdEvent } from './messages.ts';

/**
 * The one watch of all keys of the store. Its position is the revision up to which this process knows everything; writes are acknowledged
 * when it has passed them.
 *
 * A watch that breaks resumes after the last change that it delivered. It never resumes at the revision of a header: a member that lags
 * sends changes before that later. (etcd-io/etcd#20221) When etcd has compacted what comes next, the watch goes on after that, and says so.
 */
export interface LiveWatch {
  /** Every change up to here was delivered. */
  readonly position: number;
  /** The reason for which the watch is broken now; undefined while it works. */
  readonly failure: Error | undefined;
  /**
   * Waits until the position is at `revision` or after it.
   *
   * @throws StatusError `Timeout` (504) after 10 s, and the reason for which the watch was stopped
   */
  reach(revision: number): Promise<void>;
  /** Called with changes in the order of revisions, complete revisions only. */
  subscribe(handler: LiveHandler): () => void;
  start(afterRevision: number): void;
  /** Goes on with the watch at the member that the client asks now. */
  reopen(): void;
  stop(reason: Error): void;
}

export interface LiveHandler {
  onEvents(events: readonly EtcdEvent[]): void;
  /** Called after them: every change up to `revision` was delivered. */
  onProgress?(revision: number): void;
  /**
   * Changes up to `compacted` were not delivered, and etcd has them no more: what is in memory has to be read again. The watch goes on
   * after them.
   */
  onGap?(compacted: number): void;
  /** The watch was stopped. */
  onEnd(err: Error): void;
}

export interface LiveWatchOptions {
  readonly client: EtcdClient;
  readonly key: string;
  readonly rangeEnd: string;
  readonly clock: Clock;
  readonly log: Log;
}

/** Bound of waiting for a revision, and of what an unknown outcome is settled in. */
export const settleMs = 10_000;
/** A revision without a change of ours is known by asking; a change comes by itself, and sooner. */
const askAfterMs = 20;
const askAgainMs = 100;
/** Between two tries of a watch. The first one comes at once. */
export const retryMs = 200;

interface Waiter {
  readonly revision: number;
  readonly sinceMs: number;
  resolve(): void;
  reject(err: Error): void;
}

export function createLiveWatch({ client, key, rangeEnd, clock, log }: LiveWatchOptions): LiveWatch {
  const handlers = new Set<LiveHandler>();
  const waiters = new Set<Waiter>();
  const abort = new AbortController();
  let position = 0;
  /** The revision of the newest change; the watch resumes after it. */
  let lastChange = 0;
  let stream: WatchStream | undefined;
  let failure: Error | undefined;
  let ended: Error | undefined;
  /** Ends the stream for one at another member. */
  let reopening: AbortController | undefined;
  let cancelTick: (() => void) | undefined;
  let askedAtMs = Number.NEGATIVE_INFINITY;

  /** Runs while somebody waits: one timer for all of them. */
  function tick(): void {
    cancelTick = undefined;
    const nowMs = clock.monotonicMs();
    for (const waiter of waiters) {
      if (nowMs - waiter.sinceMs < settleMs) break;
      waiters.delete(waiter);
      waiter.reject(unseen(waiter.revision, failure));
    }
    const [oldest] = waiters;
    if (oldest === undefined) return;
    if (nowMs - oldest.sinceMs >= askAfterMs && nowMs - askedAtMs >= askAgainMs) {
      askedAtMs = nowMs;
      stream?.askProgress();
    }
    cancelTick = clock.after(askAfterMs, tick);
  }

  function end(reason: Error): void {
    if (ended !== undefined) return;
    ended = reason;
    abort.abort(reason);
    for (const handler of handlers) handler.onEnd(reason);
    handlers.clear();
    for (const waiter of waiters) waiter.reject(reason);
    waiters.clear();
    cancelTick?.();
  }

  function moveTo(revision: number): void {
    if (revision <= position) return;
    position = revision;
    for (const handler of handlers) handler.onProgress?.(revision);
    for (const waiter of waiters) {
      if (waiter.revision > position) continue;
      waiters.delete(waiter);
      waiter.resolve();
    }
  }

  async function follow(): Promise<void> {
    while (ended === undefined) {
      const own = new AbortController();
      reopening = own;
      try {
        const signal = AbortSignal.any([abort.signal, own.signal]);
        stream = client.watch({ key, rangeEnd, startRevision: lastChange + 1, withBefore: false }, signal);
        await read(stream.batches);
      } catch (err) {
        stream = undefined;
        if (ended !== undefined) return;
        if (own.signal.aborted) continue;
        if (failure === undefined) log.warn({ err }, 'The watch of etcd broke');
        else await new Promise<void>((resolve) => void clock.after(retryMs, resolve));
        failure = err as Error;
        client.moveOn();
      }
    }
  }

  /** Returns when a new watch has to begin, at another revision. */
  async function read(batches: AsyncIterable<readonly WatchAnswer[]>): Promise<void> {
    for await (const batch of batches) {
      const fresh: EtcdEvent[] = [];
      for (const { revision, created, canceled, compactRevision, events } of batch) {
        if (events.length > 0 && compactRevision === 0 && canceled === undefined) {
          // A stream that was replaced, or a member that lags, may send what is known.
          for (const event of events) if (event.revision > lastChange) fresh.push(event);
          lastChange = Math.max(lastChange, events.at(-1)?.revision ?? 0);
          continue;
        }
        hand(fresh.splice(0));
        if (compactRevision > 0) {
          skipTo(compactRevision);
          return;
        }
        if (canceled !== undefined) throw new Error(`etcd canceled the watch: ${canceled}`);
        failure = undefined;
        if (!created) moveTo(revision);
      }
      hand(fresh);
    }
    throw new Error('etcd ended the watch');
  }

  /** Delivers changes of complete revisions. */
  function hand(events: readonly EtcdEvent[]): void {
    const newest = events.at(-1);
    if (newest === undefined) return;
    failure = undefined;
    for (const handler of handlers) handler.onEvents(events);
    moveTo(newest.revision);
  }

  function skipTo(compacted: number): void {
    // No change of ours lies between the last one and the position, so a compaction up to there lost nothing.
    if (compacted > position) {
      log.warn({ position, compactedRevision: compacted }, 'Missed changes that etcd has compacted');
      for (const handler of handlers) handler.onGap?.(compacted);
    }
    lastChange = compacted;
    moveTo(compacted);
  }

  return {
    get position() {
      return position;
    },
    get failure() {
      return failure;
    },
    async reach(revision) {
      if (revision <= position) return;
      if (ended !== undefined) throw ended;
      await new Promise<void>((resolve, reject) => {
        waiters.add({ revision, sinceMs: clock.monotonicMs(), resolve, reject });
        cancelTick ??= clock.after(askAfterMs, tick);
      });
    },
    subscribe(handler) {
      handlers.add(handler);
      return () => void handlers.delete(handler);
    },
    start(afterRevision) {
      position = afterRevision;
      lastChange = afterRevision;
      void follow();
    },
    reopen: () => reopening?.abort(new Error('the watch moves to another member')),
    stop: end,
  };
}

const unseen = (revision: number, cause: Error | undefined): StatusError =>
  new StatusError({
    code: 504,
    reason: 'Timeout',
    message: `etcd did not deliver revision ${revision} within ${settleMs / 1000} s${cause === undefined ? '' : `: ${cause.message}`}`,
  });
