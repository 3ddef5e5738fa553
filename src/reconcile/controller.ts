import { createBackoff } from '../base/backoff.ts';
import type { Clock } from '../base/clock.ts';
import type { Component } from '../base/component.ts';
import type { Log } from '../base/log.ts';
import { createSliceLoop } from '../base/slice-loop.ts';
import { createWorkQueue, type WorkQueueObserver } from '../base/work-queue.ts';
import { isConflict } from '../machinery/status-error.ts';

/** Outcome of a reconcile that did not throw. Undefined: done until the next change. */
export interface Result {
  readonly requeueAfterMs?: number;
}

/**
 * The frame a controller runs in: a queue of names, workers, back-off and metrics. `reconcile` reads the world by name, decides, acts and
 * writes status; running it twice changes nothing.
 */
export interface ControllerOptions {
  /** Names the queue and the `controller` label. */
  readonly name: string;
  readonly clock: Clock;
  readonly log: Log;
  /** Reconciles under way at the same time, never two of one key. */
  readonly workers?: number;
  readonly minBackoffMs?: number;
  readonly maxBackoffMs?: number;
  reconcile(key: string, context: ReconcileContext): Promise<Result | undefined>;
  /** Resolves when the caches the reconciler reads are synced; informer handlers should enqueue from then on. */
  readonly waitForSync?: (options: { readonly signal: AbortSignal }) => Promise<void>;
  /** Starts timers of the controller, after the caches have synced. */
  readonly onStarted?: () => void;
  /** Ends those timers, before the queue closes. */
  readonly onStopping?: () => void;
  readonly observer?: ControllerObserver;
}

export interface ReconcileContext {
  readonly log: Log;
  /** Aborted when the controller stops. */
  readonly signal: AbortSignal;
}

/** Sees what the `controller_runtime_*` and `workqueue_*` metrics count. */
export interface ControllerObserver extends WorkQueueObserver {
  reconciled(result: 'success' | 'error' | 'requeue' | 'requeue_after', durationMs: number): void;
}

export interface Controller extends Component {
  enqueue(key: string): void;
  enqueueAfter(key: string, delayMs: number): void;
  /** Keys waiting now; for metrics and tests that wait for quiet. */
  readonly depth: number;
  readonly active: number;
}

export function createController(options: ControllerOptions): Controller {
  const { name, clock, log, reconcile, observer } = options;
  const workers = options.workers ?? 4;
  const backoff = createBackoff({ baseMs: options.minBackoffMs ?? 5, maxMs: options.maxBackoffMs ?? 60_000 });
  const abort = new AbortController();
  const idle: (() => void)[] = [];
  let active = 0;
  let sequence = 0;

  const loop = createSliceLoop({ work: startNext });
  const queue = createWorkQueue({ clock, backoff, onReady: loop.wake, ...(observer === undefined ? {} : { observer }) });

  function startNext(): boolean {
    if (active >= workers) return false;
    const key = queue.take();
    if (key === undefined) return false;
    active += 1;
    void work(key);
    return true;
  }

  async function work(key: string): Promise<void> {
    const startedAt = clock.monotonicMs();
    sequence += 1;
    const reconcileLog = log.isLevelEnabled('debug') ? log.child({ controller: name, reconcileId: sequence }) : log;
    try {
      const result = await reconcile(key, { log: reconcileLog, signal: abort.signal });
      queue.forget(key);
      if (result?.requeueAfterMs !== undefined) queue.addAfter(key, result.requeueAfterMs);
      observer?.reconciled(result?.requeueAfterMs === undefined ? 'success' : 'requeue_after', clock.monotonicMs() - startedAt);
    } catch (err) {
      observer?.reconciled('error', clock.monotonicMs() - startedAt);
      if (abort.signal.aborted) return;
      // A conflict means the cache was behind: normal, and settled by the next try.
      if (isConflict(err)) log.debug({ controller: name, key, err }, 'Retried after a conflict');
      else log.error({ controller: name, key, err }, 'Could not reconcile');
      queue.addRateLimited(key);
    } finally {
      active -= 1;
      queue.done(key);
      if (active === 0) for (const resolve of idle.splice(0)) resolve();
      loop.wake();
    }
  }

  return {
    name,
    enqueue: (key) => queue.add(key),
    enqueueAfter: (key, delayMs) => queue.addAfter(key, delayMs),
    get depth() {
      return queue.depth;
    },
    get active() {
      return active;
    },
    async start({ signal }) {
      await options.waitForSync?.({ signal });
      loop.start();
      options.onStarted?.();
    },
    async stop() {
      options.onStopping?.();
      loop.stop();
      abort.abort(new Error(`controller ${name} stops`));
      queue.close();
      if (active > 0) await new Promise<void>((resolve) => idle.push(resolve));
    },
  };
}
