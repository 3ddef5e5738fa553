import { type Clock, within } from '../../base/clock.ts';
import { serviceUnavailable } from '../../machinery/status-error.ts';
import type { Storage } from '../../storage/storage.ts';

/**
 * Says how new the memory of this server is, where other servers write to the store, too.
 *
 * A read that must not miss an acknowledged write waits at the barrier: the store names its newest revision, and the memory reaches it. All
 * who came before a round began share it, and all who come during it share the next one. So a reader in a loop cannot starve others.
 *
 * @see KEP-2340, consistent reads from cache
 */
export interface Freshness {
  /** Resolves when the memory has all that was acknowledged before this call; undefined when this process alone writes to the store. */
  barrier(): Promise<void> | undefined;
  /** The reason for which clients get nothing at present: the newest state that this server knows of is too old. */
  readonly staleness: Error | undefined;
  /** Time since the newest barrier that was passed; 0 when this process alone writes. */
  readonly ageMs: number;
  /** @throws Error when no barrier was passed for 3 s, for the readiness of the server */
  check(): void;
  stop(): void;
}

export interface FreshnessOptions {
  readonly storage: Pick<Storage, 'isShared' | 'latest'>;
  readonly clock: Clock;
  /** Resolves with true once `revision` is in memory. */
  waitFor(revision: number, timeoutMs: number): Promise<boolean>;
  /** The memory has just become too old to be shown. */
  onStale(err: Error): void;
}

/** Longest time for one round. */
const roundMs = 3_000;
/** Without requests there is a round this often, so that a server which is cut off notices. */
const idleMs = 1_000;
const notReadyAfterMs = 3_000;
const staleAfterMs = 10_000;

export function createFreshness(options: FreshnessOptions): Freshness {
  return options.storage.isShared ? new SharedFreshness(options) : alwaysFresh;
}

const alwaysFresh: Freshness = { barrier: () => undefined, staleness: undefined, ageMs: 0, check: () => undefined, stop: () => undefined };

class SharedFreshness implements Freshness {
  readonly #options: FreshnessOptions;
  /** When the newest round began that succeeded. */
  #freshAt: number;
  #running: Promise<void> | undefined;
  #next: Promise<void> | undefined;
  #staleness: Error | undefined;
  #cancelTick: () => void;
  #stopped = false;

  constructor(options: FreshnessOptions) {
    this.#options = options;
    this.#freshAt = options.clock.monotonicMs();
    this.#cancelTick = options.clock.after(idleMs, () => this.#tick());
  }

  get staleness(): Error | undefined {
    return this.#staleness;
  }

  get ageMs(): number {
    return this.#options.clock.monotonicMs() - this.#freshAt;
  }

  barrier(): Promise<void> {
    if (this.#running === undefined) return this.#begin();
    this.#next ??= this.#running.then(ignore, ignore).then(() => {
      this.#next = undefined;
      return this.#running ?? this.#begin();
    });
    return this.#next;
  }

  #begin(): Promise<void> {
    const round = this.#round().finally(() => {
      if (this.#running === round) this.#running = undefined;
    });
    this.#running = round;
    return round;
  }

  async #round(): Promise<void> {
    const { storage, clock, waitFor } = this.#options;
    const begunAt = clock.monotonicMs();
    try {
      const revision = await within(clock, roundMs, storage.latest());
      if (revision === 'late') throw new Error(`no answer for ${roundMs / 1_000} s`);
      const reached = await waitFor(revision, Math.max(roundMs - (clock.monotonicMs() - begunAt), 0));
      if (!reached) throw new Error(`its watch did not deliver revision ${revision}`);
    } catch (err) {
      throw unasked(err);
    }
    this.#freshAt = Math.max(this.#freshAt, begunAt);
    this.#staleness = undefined;
  }

  #tick(): void {
    if (this.ageMs >= idleMs) this.barrier().catch(ignore);
    if (this.ageMs > staleAfterMs && this.#staleness === undefined) {
      this.#staleness = serviceUnavailable('this server has lost the store, and knows no state that is new enough', 1);
      this.#options.onStale(this.#staleness);
    }
    if (!this.#stopped) this.#cancelTick = this.#options.clock.after(idleMs, () => this.#tick());
  }

  check(): void {
    if (this.ageMs > notReadyAfterMs) throw new Error(`the store has not answered for ${Math.round(this.ageMs / 1_000)} s`);
  }

  stop(): void {
    this.#stopped = true;
    this.#cancelTick();
  }
}

const ignore = (): void => undefined;

const unasked = (err: unknown): Error =>
  serviceUnavailable(`the store cannot say which state is the newest: ${err instanceof Error ? err.message : String(err)}`, 1);
