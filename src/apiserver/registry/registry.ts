import { type Clock, sleep } from '../../base/clock.ts';
import { watchHeapPressure } from '../../base/heap-pressure.ts';
import type { Log } from '../../base/log.ts';
import type { MemoryBudget } from '../../base/memory-budget.ts';
import type { Metrics } from '../../base/metrics.ts';
import type { KindDefinition } from '../../machinery/kind.ts';
import type { KubeObject } from '../../machinery/object.ts';
import { expired, isExpired } from '../../machinery/status-error.ts';
import type { Storage, StorageEvent, StoredEntry } from '../../storage/storage.ts';
import { type Unreadable, unreadableError } from '../encryption/value-seals.ts';
import { differences } from './differences.ts';
import { atRevision, decode, memoryOf } from './encoding.ts';
import { changeOf, WindowMemory } from './event-window.ts';
import { createFreshness, type Freshness } from './freshness.ts';
import { resourcePrefixOf, splitStoreKey, storeKeyOf } from './keys.ts';
import { ObjectQuota } from './object-quota.ts';
import { type Past, readPast } from './past.ts';
import { registryLines } from './registry-metrics.ts';
import { type RegistryMemory, ResourceState } from './resource-state.ts';
import { bookmarkOf, type RegistryCounters, SharedChange } from './watch-record.ts';

/**
 * The API server's memory: every object of every served kind, fed by one watch of the whole store. A write is in here
 * before its caller gets the answer, so that later reads and watches see it.
 */
export interface Registry {
  /** Revision up to which the memory is complete. */
  readonly revision: number;
  readonly counters: RegistryCounters;
  readonly storage: Storage;
  readonly quota: ObjectQuota;
  stateOf(kind: KindDefinition): ResourceState;
  /**
   * Adds a later kind, or another definition of an existing one. Its objects are read from the store, or taken over.
   * Watches of the kind end, since their objects may look different.
   */
  serve(kind: KindDefinition): Promise<void>;
  /** Forgets a kind and ends its watches. */
  withdraw(kind: KindDefinition): void;
  /** @throws StatusError `InternalError` for an object that is there and cannot be decrypted */
  get(kind: KindDefinition, key: string): KubeObject | undefined;
  /** Values that cannot be decrypted, by store key: lists leave them out, and all that can be done with one is to delete it. */
  readonly unreadable: ReadonlyMap<string, Unreadable>;
  /** Resolves with true once `revision` is in memory, with false when that takes longer than `timeoutMs`. */
  waitFor(revision: number, timeoutMs: number): Promise<boolean>;
  /** Receives each object that a part of this server fails on and leaves out. */
  readonly onSkipped?: ((object: KubeObject, err: unknown) => void) | undefined;
  /** Says whether the memory is new enough, where others write to the store, too. */
  readonly freshness: Freshness;
  /** Ends all watches and stops following the store. */
  stop(): void;
}

export interface RegistryOptions {
  readonly storage: Storage;
  readonly unreadable?: ReadonlyMap<string, Unreadable> | undefined;
  readonly kinds: readonly KindDefinition[];
  readonly clock: Clock;
  readonly log: Log;
  readonly memory: Pick<MemoryBudget, 'heapBytes' | 'objectBytes' | 'windowBytes'>;
  readonly metrics?: Metrics | undefined;
  /** The store ended the watch: nothing that happens from now on is seen. */
  readonly onFailure: (err: Error) => void;
  readonly onSkipped?: Registry['onSkipped'];
}

/** Objects decoded in one turn of the event loop at start. */
const loadSlice = 200;
const bookmarkEveryMs = 60_000;
const arrivalMs = 3_000;
/** Between two tries to read a store again. */
const reloadRetryMs = 1_000;

export async function startRegistry(options: RegistryOptions): Promise<Registry> {
  const registry = new StoreRegistry(options);
  await registry.start();
  return registry;
}

class StoreRegistry implements Registry {
  readonly counters: RegistryCounters = { encodes: 0, noopWrites: 0, watchPredicateCalls: 0 };
  readonly storage: Storage;
  readonly quota: ObjectQuota;
  readonly unreadable: ReadonlyMap<string, Unreadable>;
  readonly onSkipped: Registry['onSkipped'];
  readonly freshness: Freshness;
  readonly #options: RegistryOptions;
  readonly #abort = new AbortController();
  readonly #memory: RegistryMemory;
  readonly #pressure: ReturnType<typeof watchHeapPressure>;
  readonly #waiters = new Set<{ readonly revision: number; readonly done: () => void }>();
  readonly #states = new Map<string, ResourceState>();
  /** Kinds that are being read: what happens meanwhile, for as long as one read of the store takes. */
  readonly #arriving = new Map<string, StorageEvent[]>();
  #past: Past | undefined;
  #revision = 0;
  /** Reads of the whole store: a kind that is read meanwhile is read again. */
  #loads = 0;
  #cancelBookmarks: (() => void) | undefined;

  constructor(options: RegistryOptions) {
    const { storage, unreadable = new Map<string, Unreadable>(), memory: budget, metrics, onSkipped } = options;
    this.#options = options;
    this.storage = storage;
    this.unreadable = unreadable;
    this.onSkipped = onSkipped;
    this.freshness = createFreshness({
      storage,
      clock: options.clock,
      waitFor: (revision, timeoutMs) => this.waitFor(revision, timeoutMs),
      onStale: (err) => this.#endClients(err),
    });
    const windows = new WindowMemory(budget.windowBytes);
    this.#pressure = watchHeapPressure({ heapBytes: budget.heapBytes, onHigh: () => windows.halve() });
    this.quota = new ObjectQuota(budget.objectBytes, () => this.#pressure.isHigh);
    this.#memory = { windows, objects: this.quota };
    metrics?.addCollector(() =>
      registryLines({
        memory: this.#memory,
        counters: this.counters,
        states: this.#states,
        isHeapFull: this.#pressure.isHigh,
        revision: this.#revision,
        storage,
        ageMs: this.freshness.ageMs,
      }),
    );
  }

  get revision(): number {
    return this.#revision;
  }

  async start(): Promise<void> {
    const { kinds, clock, memory: budget } = this.#options;
    const { storage } = this;
    const { entries, revision } = await storage.range({ prefix: '' });
    this.#revision = revision;
    for (const kind of kinds) {
      const prefix = resourcePrefixOf(kind);
      if (!this.#states.has(prefix)) this.#states.set(prefix, this.#stateFrom(kind, revision));
    }
    await inSlices(entries, ({ key: storeKey, text, revision: at }) => {
      const { prefix, key } = splitStoreKey(storeKey);
      this.#states.get(prefix)?.load(key, decode(text, at), memoryOf(text));
    });
    this.#past = await readPast({ storage, states: this.#states, upTo: revision, clock, windowBytes: budget.windowBytes });
    await this.#follow(revision);
    this.#scheduleBookmarks();
  }

  #follow(afterRevision: number): Promise<void> {
    return this.storage.watch({
      prefix: '',
      afterRevision,
      signal: this.#abort.signal,
      onEvents: (events) => this.#onEvents(events),
      onProgress: (seen) => this.#onProgress(seen),
      onEnd: (err) => this.#onEnd(err),
    });
  }

  #stateFrom(kind: KindDefinition, revision: number): ResourceState {
    return new ResourceState(kind, revision, { counters: this.counters, memory: this.#memory });
  }

  #onEvents(events: readonly StorageEvent[]): void {
    const touched = new Set<ResourceState>();
    for (const event of events) {
      const { prefix, key } = splitStoreKey(event.key);
      const state = this.#states.get(prefix);
      if (state === undefined) {
        this.#past?.forget(prefix, event.revision);
        this.#arriving.get(prefix)?.push(event);
        continue;
      }
      // Changes that a late reader found in the store already.
      if (event.revision <= state.since) continue;
      this.#apply(state, key, event);
      touched.add(state);
    }
    this.#revision = events.at(-1)?.revision ?? this.#revision;
    for (const state of touched) state.hub.flush();
    this.#settleWaiters();
  }

  #onProgress(seen: number): void {
    if (seen <= this.#revision) return;
    this.#revision = seen;
    this.#settleWaiters();
  }

  #settleWaiters(): void {
    for (const waiter of this.#waiters) if (waiter.revision <= this.#revision) waiter.done();
  }

  /** Clients list again, or go to another server, which knows the newest state. Parts of this server go on. */
  #endClients(err: Error): void {
    for (const state of this.#states.values()) state.hub.endClients(err);
  }

  #apply(state: ResourceState, key: string, event: StorageEvent): void {
    const { counters } = this;
    const before = state.get(key);
    if (event.type === 'delete') {
      if (before === undefined) return;
      const change = changeOf({ revision: event.revision, key, before, after: undefined, beforeBytes: state.bytesOf(key), afterBytes: 0 });
      state.apply(change);
      state.hub.dispatch(new SharedChange(change, counters));
      return;
    }
    const { decoded: companion, text } = event.value;
    const stored = companion === undefined ? decode(text, event.revision) : atRevision(companion as KubeObject, event.revision);
    const after = companion === undefined ? state.seen(stored) : stored;
    const change = changeOf({ revision: event.revision, key, before, after, beforeBytes: state.bytesOf(key), afterBytes: memoryOf(text) });
    state.apply(change);
    state.hub.dispatch(after === stored ? new SharedChange(change, counters, text) : new SharedChange(change, counters));
  }

  async serve(kind: KindDefinition): Promise<void> {
    const prefix = resourcePrefixOf(kind);
    const present = this.#states.get(prefix);
    if (present !== undefined) {
      this.#states.set(prefix, present.redefined(kind));
      present.hub.end();
      return;
    }
    try {
      for (let load = -1; load !== this.#loads; ) {
        load = this.#loads;
        await this.#arrive(kind, prefix, () => load === this.#loads);
      }
    } finally {
      this.#arriving.delete(prefix);
    }
  }

  /** @param isComplete  false once changes were missed meanwhile: then the kind is not served yet */
  async #arrive(kind: KindDefinition, prefix: string, isComplete: () => boolean): Promise<void> {
    const events: StorageEvent[] = [];
    this.#arriving.set(prefix, events);
    const { entries, revision: at } = await this.storage.range({ prefix: `${prefix}/` });
    const state = this.#stateFrom(kind, at);
    await inSlices(entries, ({ key, text, revision: written }) => {
      state.load(splitStoreKey(key).key, state.seen(decode(text, written)), memoryOf(text));
    });
    // A reader must not see more than the rest of the memory.
    await this.waitFor(at, arrivalMs);
    if (!isComplete()) {
      state.close();
      return;
    }
    this.#past?.restore(prefix, state);
    for (const event of events) if (event.revision > at) this.#apply(state, splitStoreKey(event.key).key, event);
    this.#states.set(prefix, state);
  }

  withdraw(kind: KindDefinition): void {
    const prefix = resourcePrefixOf(kind);
    const state = this.#states.get(prefix);
    this.#states.delete(prefix);
    state?.close();
    state?.hub.end();
  }

  stateOf(kind: KindDefinition): ResourceState {
    const state = this.#states.get(resourcePrefixOf(kind));
    if (state === undefined) throw new Error(`resource ${resourcePrefixOf(kind)} is not served`);
    return state;
  }

  get(kind: KindDefinition, key: string): KubeObject | undefined {
    const object = this.#states.get(resourcePrefixOf(kind))?.get(key);
    if (object !== undefined || this.unreadable.size === 0) return object;
    const found = this.unreadable.get(storeKeyOf(kind, key));
    if (found !== undefined) throw unreadableError(storeKeyOf(kind, key), found);
    return undefined;
  }

  waitFor(wanted: number, timeoutMs: number): Promise<boolean> {
    if (wanted <= this.#revision) return Promise.resolve(true);
    return new Promise((resolve) => {
      const settle = (reached: boolean): void => {
        cancel();
        this.#waiters.delete(waiter);
        resolve(reached);
      };
      const cancel = this.#options.clock.after(timeoutMs, () => settle(false));
      const waiter = { revision: wanted, done: () => settle(true) };
      this.#waiters.add(waiter);
    });
  }

  #onEnd(err: Error): void {
    if (this.storage.isShared && isExpired(err) && !this.#abort.signal.aborted) {
      void this.#reload();
      return;
    }
    for (const state of this.#states.values()) state.hub.end(err);
    if (!this.#abort.signal.aborted) this.#options.onFailure(err);
  }

  /**
   * Reads the store again after changes were missed that it has no more. Until then a read that must not miss a write waits at the
   * barrier, and gets 503 when that takes too long.
   */
  async #reload(): Promise<void> {
    const { log, clock } = this.#options;
    const { signal } = this.#abort;
    while (!signal.aborted) {
      try {
        await this.#loadAgain();
        return;
      } catch (err) {
        log.warn({ err }, 'Could not read the store again');
        await sleep(clock, reloadRetryMs, signal).catch(() => undefined);
      }
    }
  }

  async #loadAgain(): Promise<void> {
    const missedAfter = this.#revision;
    const { entries, revision } = await this.storage.range({ prefix: '' });
    if (this.#abort.signal.aborted) return;
    // From here to the end nothing awaits, although that is a long turn where much has changed: nobody sees a state in between.
    const changes = [...differences(this.#states, entries, revision)];
    const missed = expired(`too old resource version: ${missedAfter} (${revision})`);
    this.#loads += 1;
    this.#past?.close();
    this.#past = undefined;
    this.#endClients(missed);
    for (const { state, key, event } of changes) this.#apply(state, key, event);
    for (const state of this.#states.values()) {
      state.hub.flush();
      state.window.close();
      state.window.startAt(Math.max(revision, state.since));
    }
    this.#onProgress(revision);
    this.#options.log.info({ missedAfter, revision, objects: changes.length }, 'Read the store again');
    await this.#follow(revision);
  }

  #scheduleBookmarks(): void {
    this.#cancelBookmarks = this.#options.clock.after(bookmarkEveryMs, () => {
      for (const state of this.#states.values()) state.hub.bookmark(bookmarkOf(state.kind, this.#revision));
      this.#scheduleBookmarks();
    });
  }

  stop(): void {
    this.#abort.abort();
    this.freshness.stop();
    this.#pressure.stop();
    this.#past?.close();
    this.#cancelBookmarks?.();
    for (const state of this.#states.values()) state.hub.end();
  }
}

/** Takes the entries in slices, so that no turn of the event loop decodes them all. */
async function inSlices(entries: readonly StoredEntry[], take: (entry: StoredEntry) => void): Promise<void> {
  let taken = 0;
  for (const entry of drained(entries)) {
    take(entry);
    taken += 1;
    if (taken % loadSlice === 0) await new Promise((resolve) => setImmediate(resolve));
  }
}

/** The entries in their order, each let go of as it is taken: all texts beside all objects would be twice the memory. */
function* drained(entries: readonly StoredEntry[]): Iterable<StoredEntry> {
  const left = entries as StoredEntry[];
  left.reverse();
  for (let entry = left.pop(); entry !== undefined; entry = left.pop()) yield entry;
}
