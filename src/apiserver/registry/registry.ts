import type { Clock } from '../../base/clock.ts';
import { watchHeapPressure } from '../../base/heap-pressure.ts';
import type { MemoryBudget } from '../../base/memory-budget.ts';
import type { Metrics } from '../../base/metrics.ts';
import type { KindDefinition } from '../../machinery/kind.ts';
import type { KubeObject } from '../../machinery/object.ts';
import type { Storage, StorageEvent, StoredEntry } from '../../storage/storage.ts';
import { type Unreadable, unreadableError } from '../encryption/encrypted-storage.ts';
import { atRevision, decode, memoryOf } from './encoding.ts';
import { changeOf, WindowMemory } from './event-window.ts';
import { resourcePrefixOf, splitStoreKey, storeKeyOf } from './keys.ts';
import { ObjectQuota } from './object-quota.ts';
import { readPast } from './past.ts';
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
  /** Ends all watches and stops following the store. */
  stop(): void;
}

export interface RegistryOptions {
  readonly storage: Storage;
  readonly unreadable?: ReadonlyMap<string, Unreadable> | undefined;
  readonly kinds: readonly KindDefinition[];
  readonly clock: Clock;
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

export async function startRegistry(options: RegistryOptions): Promise<Registry> {
  const { storage, unreadable = new Map<string, Unreadable>(), kinds, clock, memory: budget, metrics, onFailure } = options;
  const abort = new AbortController();
  const windows = new WindowMemory(budget.windowBytes);
  const pressure = watchHeapPressure({ heapBytes: budget.heapBytes, onHigh: () => windows.halve() });
  const memory: RegistryMemory = { windows, objects: new ObjectQuota(budget.objectBytes, () => pressure.isHigh) };
  const counters: RegistryCounters = { encodes: 0, noopWrites: 0, watchPredicateCalls: 0 };
  const waiters = new Set<{ readonly revision: number; readonly done: () => void }>();
  const states = new Map<string, ResourceState>();
  /** Kinds that are being read: what happens meanwhile, for as long as one read of the store takes. */
  const arriving = new Map<string, StorageEvent[]>();
  let revision = 0;
  let cancelBookmarks: (() => void) | undefined;

  const { entries, revision: loadedRevision } = await storage.range({ prefix: '' });
  revision = loadedRevision;
  for (const kind of kinds) {
    const prefix = resourcePrefixOf(kind);
    if (!states.has(prefix)) states.set(prefix, new ResourceState(kind, revision, { counters, memory }));
  }
  let decoded = 0;
  for (const { key: storeKey, text, revision: at } of drained(entries)) {
    const { prefix, key } = splitStoreKey(storeKey);
    states.get(prefix)?.load(key, decode(text, at), memoryOf(text));
    decoded += 1;
    if (decoded % loadSlice === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  const past = await readPast({ storage, states, clock, windowBytes: budget.windowBytes });
  await storage.watch({ prefix: '', afterRevision: revision, signal: abort.signal, onEvents, onEnd });
  scheduleBookmarks();

  function onEvents(events: readonly StorageEvent[]): void {
    const touched = new Set<ResourceState>();
    for (const event of events) {
      const { prefix, key } = splitStoreKey(event.key);
      const state = states.get(prefix);
      if (state === undefined) {
        past.forget(prefix, event.revision);
        arriving.get(prefix)?.push(event);
        continue;
      }
      // Changes that a late reader found in the store already.
      if (event.revision <= state.since) continue;
      apply(state, key, event);
      touched.add(state);
    }
    revision = events.at(-1)?.revision ?? revision;
    for (const state of touched) state.hub.flush();
    for (const waiter of waiters) if (waiter.revision <= revision) waiter.done();
  }

  function apply(state: ResourceState, key: string, event: StorageEvent): void {
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

  async function serve(kind: KindDefinition): Promise<void> {
    const prefix = resourcePrefixOf(kind);
    const present = states.get(prefix);
    if (present !== undefined) {
      states.set(prefix, present.redefined(kind));
      present.hub.end();
      return;
    }
    const events: StorageEvent[] = [];
    arriving.set(prefix, events);
    try {
      const { entries, revision: at } = await storage.range({ prefix: `${prefix}/` });
      const state = new ResourceState(kind, at, { counters, memory });
      let count = 0;
      for (const { key, text, revision: written } of drained(entries)) {
        state.load(splitStoreKey(key).key, state.seen(decode(text, written)), memoryOf(text));
        count += 1;
        if (count % loadSlice === 0) await new Promise((resolve) => setImmediate(resolve));
      }
      // A reader must not see more than the rest of the memory.
      await waitFor(at, arrivalMs);
      past.restore(prefix, state);
      for (const event of events) if (event.revision > at) apply(state, splitStoreKey(event.key).key, event);
      states.set(prefix, state);
    } finally {
      arriving.delete(prefix);
    }
  }

  function waitFor(wanted: number, timeoutMs: number): Promise<boolean> {
    if (wanted <= revision) return Promise.resolve(true);
    return new Promise((resolve) => {
      const settle = (reached: boolean): void => {
        cancel();
        waiters.delete(waiter);
        resolve(reached);
      };
      const cancel = clock.after(timeoutMs, () => settle(false));
      const waiter = { revision: wanted, done: () => settle(true) };
      waiters.add(waiter);
    });
  }

  function onEnd(err: Error): void {
    for (const state of states.values()) state.hub.end(err);
    if (!abort.signal.aborted) onFailure(err);
  }

  function scheduleBookmarks(): void {
    cancelBookmarks = clock.after(bookmarkEveryMs, () => {
      for (const state of states.values()) state.hub.bookmark(bookmarkOf(state.kind, revision));
      scheduleBookmarks();
    });
  }

  metrics?.addCollector(function* () {
    yield* gaugeLines('stored_object_bytes', 'Memory of all stored objects, which the storage quota limits.', memory.objects.bytes);
    yield* gaugeLines(
      'heap_is_full',
      '1 while writes that need memory are refused because the heap is nearly full.',
      pressure.isHigh ? 1 : 0,
    );
    yield* gaugeLines('event_window_bytes', 'Memory of the changes that watches may start after.', memory.windows.bytes);
    yield '# HELP apiserver_storage_objects Stored objects by resource.\n# TYPE apiserver_storage_objects gauge\n';
    for (const { kind, all } of states.values()) {
      const resource = kind.group === '' ? kind.resource : `${kind.resource}.${kind.group}`;
      yield `apiserver_storage_objects{resource="${resource}"} ${all.objects.size}\n`;
    }
    yield* counterLines('encodes_total', 'Objects encoded to JSON, for the store or a watch.', counters.encodes);
    yield* counterLines('noop_writes_total', 'Writes that changed nothing and were not made.', counters.noopWrites);
    yield* counterLines(
      'watch_predicate_calls_total',
      'Objects compared with a selector because no index answered.',
      counters.watchPredicateCalls,
    );
  });

  return {
    get revision() {
      return revision;
    },
    counters,
    storage,
    quota: memory.objects,
    stateOf(kind) {
      const state = states.get(resourcePrefixOf(kind));
      if (state === undefined) throw new Error(`resource ${resourcePrefixOf(kind)} is not served`);
      return state;
    },
    get(kind, key) {
      const object = states.get(resourcePrefixOf(kind))?.get(key);
      if (object !== undefined || unreadable.size === 0) return object;
      const found = unreadable.get(storeKeyOf(kind, key));
      if (found !== undefined) throw unreadableError(storeKeyOf(kind, key), found);
      return undefined;
    },
    unreadable,
    onSkipped: options.onSkipped,
    serve,
    withdraw(kind) {
      const prefix = resourcePrefixOf(kind);
      const state = states.get(prefix);
      states.delete(prefix);
      state?.close();
      state?.hub.end();
    },
    waitFor,
    stop() {
      abort.abort();
      pressure.stop();
      past.close();
      cancelBookmarks?.();
      for (const state of states.values()) state.hub.end();
    },
  };
}

function* counterLines(name: string, help: string, value: number): Iterable<string> {
  yield `# HELP ${name} ${help}\n# TYPE ${name} counter\n${name} ${value}\n`;
}

function* gaugeLines(name: string, help: string, value: number): Iterable<string> {
  yield `# HELP ${name} ${help}\n# TYPE ${name} gauge\n${name} ${value}\n`;
}

/** The entries in their order, each let go of as it is taken: all texts beside all objects would be twice the memory. */
function* drained(entries: readonly StoredEntry[]): Iterable<StoredEntry> {
  const left = entries as StoredEntry[];
  left.reverse();
  for (let entry = left.pop(); entry !== undefined; entry = left.pop()) yield entry;
}
