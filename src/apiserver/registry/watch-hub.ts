import type { KindDefinition } from '../../machinery/kind.ts';
import type { KubeObject } from '../../machinery/object.ts';
import type { WatchRecord } from '../kube-api.ts';
import { exactKeyOf, type Filter, fieldValueOf, indexedField, matches } from './filter.ts';
import type { RegistryCounters, SharedChange } from './watch-record.ts';

interface WatchConsumer {
  onEvents(records: readonly WatchRecord[]): void;
  onEnd(err?: Error): void;
}

/** One watch of one resource. */
export interface Watcher {
  readonly filter: Filter;
  readonly consumer: WatchConsumer;
  readonly bookmarks: boolean;
  /** True for a part of this server, which goes on where clients would be shown a state that is too old. */
  readonly isInternal?: boolean;
  /** Changes at or before it were delivered already or not asked for. */
  readonly after: number;
  pending: WatchRecord[];
}

/** An object that leaves a place of the index or enters it has one side for the watchers of that place. */
type OfferedAs = 'change' | 'leave' | 'enter';

/**
 * The watchers of one resource, indexed by their filters. A change looks into the maps of its key, its node and its
 * namespace. With 5,000 agents that each watch their own pods it costs one look-up. Other selectors are predicates.
 */
export class WatchHub {
  readonly #kind: KindDefinition;
  readonly #counters: RegistryCounters;
  readonly #all = new Set<Watcher>();
  readonly #byNamespace = new Map<string, Set<Watcher>>();
  readonly #byKey = new Map<string, Set<Watcher>>();
  readonly #byIndexed = new Map<string, Set<Watcher>>();
  readonly #touched: Watcher[] = [];
  readonly #indexes: boolean;

  constructor(kind: KindDefinition, counters: RegistryCounters) {
    this.#kind = kind;
    this.#counters = counters;
    this.#indexes = Object.hasOwn(kind.selectableFields, indexedField);
  }

  get size(): number {
    let size = this.#all.size;
    for (const map of [this.#byNamespace, this.#byKey, this.#byIndexed]) for (const set of map.values()) size += set.size;
    return size;
  }

  add(watcher: Watcher): void {
    const [map, value] = this.#placeOf(watcher.filter);
    if (map === undefined) {
      this.#all.add(watcher);
      return;
    }
    const set = map.get(value);
    if (set === undefined) map.set(value, new Set([watcher]));
    else set.add(watcher);
  }

  remove(watcher: Watcher): void {
    const [map, value] = this.#placeOf(watcher.filter);
    if (map === undefined) {
      this.#all.delete(watcher);
      return;
    }
    const set = map.get(value);
    set?.delete(watcher);
    if (set?.size === 0) map.delete(value);
  }

  #placeOf(filter: Filter): [Map<string, Set<Watcher>> | undefined, string] {
    const key = exactKeyOf(this.#kind, filter);
    if (key !== undefined) return [this.#byKey, key];
    if (filter.indexed !== undefined) return [this.#byIndexed, filter.indexed];
    if (filter.namespace !== undefined) return [this.#byNamespace, filter.namespace];
    return [undefined, ''];
  }

  /** Queues one change for everyone it concerns; `flush` delivers what a commit brought. */
  dispatch(shared: SharedChange): void {
    const { key, before, after } = shared.change;
    for (const watcher of this.#all) this.#offer(watcher, shared, 'change');
    if (this.#byKey.size > 0) this.#offerAll(this.#byKey.get(key), shared, 'change');
    if (this.#byNamespace.size > 0) {
      this.#offerAll(this.#byNamespace.get((after ?? before)?.metadata.namespace ?? ''), shared, 'change');
    }
    if (this.#indexes && this.#byIndexed.size > 0) {
      const left = before === undefined ? undefined : fieldValueOf(this.#kind, before, indexedField);
      const entered = after === undefined ? undefined : fieldValueOf(this.#kind, after, indexedField);
      if (left === entered && left !== undefined) this.#offerAll(this.#byIndexed.get(left), shared, 'change');
      else {
        if (left !== undefined) this.#offerAll(this.#byIndexed.get(left), shared, 'leave');
        if (entered !== undefined) this.#offerAll(this.#byIndexed.get(entered), shared, 'enter');
      }
    }
  }

  #offerAll(watchers: Set<Watcher> | undefined, shared: SharedChange, as: OfferedAs): void {
    if (watchers === undefined) return;
    for (const watcher of watchers) this.#offer(watcher, shared, as);
  }

  /** An object that leaves the watcher's set is DELETED for it, one that enters is ADDED. */
  #offer(watcher: Watcher, shared: SharedChange, as: OfferedAs): void {
    if (shared.change.revision <= watcher.after) return;
    const before = as === 'enter' ? undefined : shared.change.before;
    const after = as === 'leave' ? undefined : shared.change.after;
    const had = before !== undefined && this.#passes(watcher.filter, before) ? before : undefined;
    const has = after !== undefined && this.#passes(watcher.filter, after) ? after : undefined;
    const record =
      has !== undefined
        ? had === undefined
          ? shared.added(has)
          : shared.modified(has)
        : had === undefined
          ? undefined
          : shared.deleted(had);
    if (record === undefined) return;
    if (watcher.pending.length === 0) this.#touched.push(watcher);
    watcher.pending.push(record);
  }

  /** Rest of a watcher's filter after its place in the index. */
  #passes(filter: Filter, object: KubeObject): boolean {
    if (filter.predicate === undefined && filter.name === undefined) {
      return filter.indexed === undefined || filter.namespace === undefined || object.metadata.namespace === filter.namespace;
    }
    if (filter.predicate !== undefined) this.#counters.watchPredicateCalls += 1;
    return matches(this.#kind, filter, object);
  }

  flush(): void {
    if (this.#touched.length === 0) return;
    for (const watcher of this.#touched.splice(0)) {
      const records = watcher.pending;
      watcher.pending = [];
      this.#deliver(watcher, records);
    }
  }

  #deliver(watcher: Watcher, records: readonly WatchRecord[]): void {
    try {
      watcher.consumer.onEvents(records);
    } catch (err) {
      // A consumer that breaks its promise must not take the others with it.
      this.remove(watcher);
      watcher.consumer.onEnd(err instanceof Error ? err : new Error(String(err)));
    }
  }

  *#watchers(): Iterable<Watcher> {
    yield* this.#all;
    for (const map of [this.#byNamespace, this.#byKey, this.#byIndexed]) for (const set of map.values()) yield* set;
  }

  /** Gives `bookmark` to every watcher that wants bookmarks. */
  bookmark(bookmark: WatchRecord): void {
    for (const watcher of [...this.#watchers()]) if (watcher.bookmarks) this.#deliver(watcher, [bookmark]);
  }

  /** Ends the watches of clients; the state is too old to be shown. */
  endClients(err: Error): void {
    for (const watcher of [...this.#watchers()]) {
      if (watcher.isInternal === true) continue;
      this.remove(watcher);
      watcher.consumer.onEnd(err);
    }
  }

  /** Ends all watches; the server stops or the store is gone. */
  end(err?: Error): void {
    for (const watcher of [...this.#watchers()]) {
      this.remove(watcher);
      watcher.consumer.onEnd(err);
    }
  }
}
