import type { KindDefinition } from '../../machinery/kind.ts';
import { deepFreeze, type KubeObject } from '../../machinery/object.ts';
import { Bucket } from './bucket.ts';
import { type Change, EventWindow } from './event-window.ts';
import { exactKeyOf, type Filter, fieldValueOf, indexedField } from './filter.ts';
import { WatchHub } from './watch-hub.ts';
import type { RegistryCounters } from './watch-record.ts';

const noObjects = new Bucket();

/** All that is known of one resource: its objects by key, namespace and node, its recent changes, and who watches. */
export class ResourceState {
  readonly kind: KindDefinition;
  readonly hub: WatchHub;
  readonly window: EventWindow;
  readonly all = new Bucket();
  readonly #namespaces = new Map<string, Bucket>();
  readonly #indexed: Map<string, Bucket> | undefined;

  /** Changes after it are told by `apply`. */
  readonly since: number;
  readonly #counters: RegistryCounters;

  /** @param window  that of the same resource before it was defined anew */
  constructor(kind: KindDefinition, since: number, counters: RegistryCounters, window = new EventWindow(since)) {
    this.kind = kind;
    this.since = since;
    this.hub = new WatchHub(kind, counters);
    this.window = window;
    this.#counters = counters;
    this.#indexed = Object.hasOwn(kind.selectableFields, indexedField) ? new Map() : undefined;
  }

  /** An object of the store as the kind has it. */
  seen(object: KubeObject): KubeObject {
    const seen = this.kind.custom?.fromStore(object) ?? object;
    return seen === object ? object : deepFreeze(seen);
  }

  /** The same objects under another definition. */
  redefined(kind: KindDefinition): ResourceState {
    const next = new ResourceState(kind, this.since, this.#counters, this.window);
    for (const [key, object] of this.all.objects) next.load(key, next.seen(object));
    return next;
  }

  get(key: string): KubeObject | undefined {
    return this.all.objects.get(key);
  }

  /** Puts in what the store held at start; it is no change that anyone watches. */
  load(key: string, object: KubeObject): void {
    this.#place(key, undefined, object);
  }

  apply(change: Change): void {
    this.#place(change.key, change.before, change.after);
    this.window.add(change);
  }

  #place(key: string, before: KubeObject | undefined, after: KubeObject | undefined): void {
    const namespace = (after ?? before)?.metadata.namespace;
    if (after === undefined) this.all.delete(key);
    else this.all.set(key, after);
    if (namespace !== undefined) move(this.#namespaces, key, namespace, after === undefined ? undefined : namespace, after);
    if (this.#indexed !== undefined) {
      const from = before === undefined ? undefined : fieldValueOf(this.kind, before, indexedField);
      const to = after === undefined ? undefined : fieldValueOf(this.kind, after, indexedField);
      move(this.#indexed, key, from, to, after);
    }
  }

  /** The smallest set that holds every object the filter can match; what is left to check is in the filter. */
  candidates(filter: Filter): Bucket {
    const key = exactKeyOf(this.kind, filter);
    if (key !== undefined) {
      const object = this.get(key);
      if (object === undefined) return noObjects;
      const only = new Bucket();
      only.set(key, object);
      return only;
    }
    if (filter.indexed !== undefined && this.#indexed !== undefined) return this.#indexed.get(filter.indexed) ?? noObjects;
    if (filter.namespace !== undefined) return this.#namespaces.get(filter.namespace) ?? noObjects;
    return this.all;
  }
}

function move(
  buckets: Map<string, Bucket>,
  key: string,
  from: string | undefined,
  to: string | undefined,
  object: KubeObject | undefined,
): void {
  if (from !== undefined && from !== to) {
    const bucket = buckets.get(from);
    bucket?.delete(key);
    if (bucket?.objects.size === 0) buckets.delete(from);
  }
  if (to === undefined || object === undefined) return;
  let bucket = buckets.get(to);
  if (bucket === undefined) {
    bucket = new Bucket();
    buckets.set(to, bucket);
  }
  bucket.set(key, object);
}
