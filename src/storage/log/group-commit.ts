import { insufficientStorage } from '../../machinery/status-error.ts';
import type { StorageEvent, WriteResult } from '../storage.ts';
import { StorageError } from '../storage-error.ts';
import type { LogDriver, LogRow } from './driver.ts';
import type { LogMetrics } from './metrics.ts';
import { type LogState, noteCommitted, noteFailed, type StagedWrite, stageWrite, type WriteRequest } from './state.ts';

/** Writes that wait for a commit: what is queued when the driver becomes free goes into the next one. */
export interface GroupCommit {
  /** Reason why writes fail: the newest commit failed, until one succeeds, or the disk is nearly full. */
  readonly failure: Error | undefined;
  readonly isWaiting: boolean;
  /** Stages a write; resolves when it is committed, or has lost at once. */
  stage(request: WriteRequest): Promise<WriteResult>;
  /** Hands the next batch to the driver. `done` is called when the driver is free again, before anybody gets the result. */
  begin(done: () => void): void;
}

export interface GroupCommitOptions {
  readonly driver: Pick<LogDriver, 'append' | 'refusal'>;
  readonly state: LogState;
  readonly metrics: Pick<LogMetrics, 'timed' | 'countRows'>;
  /** A write was queued. */
  readonly onStaged: () => void;
  /** A commit succeeded, and the driver is about to be free. */
  readonly beforeDone: () => void;
  readonly onEvents: (events: readonly StorageEvent[]) => void;
}

/**
 * Largest commit. Above this size commits take longer without a gain in rows a second (128 rows of 4 KB: 1.2 ms; 2 MB:
 * 11 ms). The event loop also stalls longer while watchers are notified.
 */
const maxCommitRows = 128;
const maxCommitChars = 512 * 1024;
const acknowledgedAtOnce = 32;

interface QueuedWrite {
  readonly write: StagedWrite;
  readonly resolve: (result: WriteResult) => void;
  readonly reject: (err: unknown) => void;
}

export function createGroupCommit({ driver, state, metrics, onStaged, beforeDone, onEvents }: GroupCommitOptions): GroupCommit {
  let queue: QueuedWrite[] = [];
  let failure: Error | undefined;
  /** The commit that comes was cut down to what may use the reserve of the disk. */
  let mayUseReserve = false;
  const acknowledge = createAcknowledger();
  const refusal = (): string | undefined => driver.refusal();

  function onCommitted(batch: readonly QueuedWrite[], done: () => void): void {
    failure = undefined;
    mayUseReserve = false;
    // State first, then the next batch goes to the driver. Only then watchers and callers get the result: the disk
    // does not wait for watchers.
    const events = batch.map(({ write }) => noteCommitted(state, write));
    beforeDone();
    done();
    onEvents(events);
    acknowledge(batch);
  }

  /**
   * Writes that were staged on top of the failed ones fail with them, since they were decided on values that never
   * existed.
   */
  function onFailed(batch: readonly QueuedWrite[], err: unknown, done: () => void): void {
    const noRoom = err instanceof StorageError && err.isFull;
    const reason = noRoom ? insufficientStorage(fullText(driver.refusal() ?? err.message)) : err;
    // The driver says itself how long a full disk is one.
    if (!noRoom) failure = err instanceof Error ? err : new Error(String(err));
    // On a full disk what needs room fails alone, once; the rest is what makes room.
    const isFull = noRoom && !mayUseReserve;
    const { kept, failed } = isFull ? partBySpace([...batch, ...queue]) : { kept: [], failed: [...batch, ...queue] };
    queue = kept;
    noteFailed(
      state,
      failed.map(({ write }) => write),
    );
    mayUseReserve = queue.length > 0;
    done();
    for (const { reject } of failed) reject(reason);
  }

  return {
    get failure() {
      if (failure !== undefined) return failure;
      const refused = driver.refusal();
      return refused === undefined ? undefined : insufficientStorage(fullText(refused));
    },
    get isWaiting() {
      return queue.length > 0;
    },
    stage(request) {
      const staging = stageWrite(state, request, refusal);
      if ('ok' in staging) return Promise.resolve(staging);
      if ('refusal' in staging) return Promise.reject(insufficientStorage(fullText(staging.refusal)));
      return new Promise((resolve, reject) => {
        queue.push({ write: staging, resolve, reject });
        onStaged();
      });
    },
    begin(done) {
      const size = batchSize(queue);
      const batch = queue.slice(0, size);
      queue = queue.slice(size);
      metrics.countRows(size);
      const rows: LogRow[] = batch.map(({ write: { revision, key, value } }) => ({ revision, key, text: value?.text ?? null }));
      metrics.timed('commit', driver.append(rows, { mayUseReserve })).then(
        () => onCommitted(batch, done),
        (err) => onFailed(batch, err, done),
      );
    },
  };
}

function batchSize(queue: readonly QueuedWrite[]): number {
  let chars = 0;
  let rows = 0;
  for (const {
    write: { key, value },
  } of queue) {
    if (rows === maxCommitRows) break;
    const size = key.length + (value?.text.length ?? 0);
    if (rows > 0 && chars + size > maxCommitChars) break;
    chars += size;
    rows += 1;
  }
  return rows;
}

/** Keeps the writes that may use the reserve, up to the first one of their key that may not. */
function partBySpace(writes: readonly QueuedWrite[]): { readonly kept: QueuedWrite[]; readonly failed: QueuedWrite[] } {
  const kept: QueuedWrite[] = [];
  const failed: QueuedWrite[] = [];
  const failedKeys = new Set<string>();
  for (const queued of writes) {
    const { key, mayUseReserve } = queued.write;
    if (mayUseReserve && !failedKeys.has(key)) {
      kept.push(queued);
    } else {
      failed.push(queued);
      failedKeys.add(key);
    }
  }
  return { kept, failed };
}

/**
 * Callers continue in the turn in which their promise resolves. All callers of a large commit at once would hold the
 * loop for 10 ms.
 */
function createAcknowledger(): (batch: readonly QueuedWrite[]) => void {
  const waiting: QueuedWrite[] = [];
  function next(): void {
    for (const { resolve, write } of waiting.splice(0, acknowledgedAtOnce)) resolve({ ok: true, revision: write.revision });
    if (waiting.length > 0) setImmediate(next);
  }
  return (batch) => {
    const isFirst = waiting.length === 0;
    waiting.push(...batch);
    if (isFirst) next();
  };
}

const fullText = (why: string): string =>
  `${why}: deletions and changes that need no room are accepted, all else is refused. Free some room; writes work again by themselves then.`;
