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

  function end(reason: Error): void {
    if (ended !== undefined) return;
    ended = reason;
    abort.abort(reason);
    for (const handler of handlers) handler.onEnd(reason);
    handlers.clear();
    for (const waiter of waiters) waiter.reject(reason);
    waiters.clear();
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
      try {
        stream = client.watch({ key, rangeEnd, startRevision: lastChange + 1, withBefore: false }, abort.signal);
        await read(stream.answers);
      } catch (err) {
        stream = undefined;
        if (ended !== undefined) return;
        if (failure === undefined) log.warn({ err }, 'The watch of etcd broke');
        else await new Promise<void>((resolve) => void clock.after(retryMs, resolve));
        failure = err as Error;
        client.moveOn();
      }
    }
  }

  /** Returns when a new watch has to begin, at another revision. */
  async function read(answers: AsyncIterable<WatchAnswer>): Promise<void> {
    for await (const { revision, created, canceled, compactRevision, events } of answers) {
      if (compactRevision > 0) {
        // No change of ours lies between the last one and the position, so a compaction up to there lost nothing.
        if (compactRevision > position) {
          log.warn({ position, compactedRevision: compactRevision }, 'Missed changes that etcd has compacted');
          for (const handler of handlers) handler.onGap?.(compactRevision);
        }
        lastChange = compactRevision;
        moveTo(compactRevision);
        return;
      }
      if (canceled !== undefined) throw new Error(`etcd canceled the watch: ${canceled}`);
      failure = undefined;
      if (created) continue;
      if (events.length === 0) {
        moveTo(revision);
        continue;
      }
      // A stream that was replaced, or a member that lags, may send what is known.
      const fresh = events.filter((event) => event.revision > lastChange);
      const newest = fresh.at(-1);
      if (newest === undefined) continue;
      lastChange = newest.revision;
      for (const handler of handlers) handler.onEvents(fresh);
      moveTo(newest.revision);
    }
    throw new Error('etcd ended the watch');
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
      const timers = new Set<() => void>();
      const later = (delayMs: number, action: () => void): void => {
        const cancel = clock.after(delayMs, () => {
          timers.delete(cancel);
          action();
        });
        timers.add(cancel);
      };
      const ask = (): void => {
        stream?.askProgress();
        later(askAgainMs, ask);
      };
      try {
        await new Promise<void>((resolve, reject) => {
          const waiter: Waiter = { revision, resolve, reject };
          waiters.add(waiter);
          later(askAfterMs, ask);
          later(settleMs, () => {
            waiters.delete(waiter);
            reject(unseen(revision, failure));
          });
        });
      } finally {
        for (const cancel of timers) cancel();
      }
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
    stop: end,
  };
}

const unseen = (revision: number, cause: Error | undefined): StatusError =>
  new StatusError({
    code: 504,
    reason: 'Timeout',
    message: `etcd did not deliver revision ${revision} within ${settleMs / 1000} s${cause === undefined ? '' : `: ${cause.message}`}`,
  });
