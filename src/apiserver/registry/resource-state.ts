import type { KindDefinition } from '../../machinery/kind.ts';
import { deepFreeze, type KubeObject } from '../../machinery/object.ts';
import { Bucket } from './bucket.ts';
import { type Change, EventWindow, type WindowMemory } from './event-window.ts';
import { exactKeyOf, type Filter, fieldValueOf, indexedField } from './filter.ts';
import type { ObjectQuota } from './object-quota.ts';
import { WatchHub } from './watch-hub.ts';
import type { RegistryCounters } from './watch-record.ts';

const noObjects = new Bucket();

/** Memory that all resources share. */
export interface RegistryMemory {
  readonly windows: WindowMemory;
  readonly objects: ObjectQuota;
}

interface ResourceStateOptions {
  readonly counters: RegistryCounters;
  readonly memory: RegistryMemory;
  readonly window?: EventWindow;
}

/** All that is known of one resource: its objects by key, namespace and node, its recent changes, and who watches. */
export class ResourceState {
  readonly kind: KindDefinition;
  readonly hub: WatchHub;
  readonly window: EventWindow;
  readonly all = new Bucket();
  /** Memory of each object. */
  readonly #bytes = new Map<string, number>();
  readonly #namespaces = new Map<string, Bucket>();
  readonly #indexed: Map<string, Bucket> | undefined;

  /** `apply` delivers the changes after it. */
  readonly since: number;
  readonly #counters: RegistryCounters;

  readonly #memory: RegistryMemory;

  /** @param window  that of the same resource before it had another definition */
  constructor(kind: KindDefinition, since: number, { counters, memory, window }: ResourceStateOptions) {
    this.kind = kind;
    this.since = since;
    this.hub = new WatchHub(kind, counters);
    this.window = window ?? new EventWindow(since, memory.windows);
    this.#counters = counters;
    this.#memory = memory;
    this.#indexed = Object.hasOwn(kind.selectableFields, indexedField) ? new Map() : undefined;
  }

  /** An object of the store as the kind has it. */
  seen(object: KubeObject): KubeObject {
    const seen = this.kind.custom?.fromStore(object) ?? object;
    return seen === object ? object : deepFreeze(seen);
  }

  /** The same objects under another definition. */
  redefined(kind: KindDefinition): ResourceState {
    const next = new ResourceState(kind, this.since, { counters: this.#counters, memory: this.#memory, window: this.window });
    for (const [key, object] of this.all.objects) next.load(key, next.seen(object), this.bytesOf(key));
    this.#memory.objects.count(-this.all.bytes);
    return next;
  }

  /** Forgets all objects and changes. */
  close(): void {
    this.#memory.objects.count(-this.all.bytes);
    this.window.close();
  }

  get(key: string): KubeObject | undefined {
    return this.all.objects.get(key);
  }

  /** Memory of an object; 0 when it is not there. */
  bytesOf(key: string): number {
    return this.#bytes.get(key) ?? 0;
  }

  /** Puts in what the store held at start; it is no change that anyone watches. */
  load(key: string, object: KubeObject, bytes: number): void {
    this.#place({ key, before: undefined, after: object, beforeBytes: 0, afterBytes: bytes });
  }

  apply(change: Change): void {
    this.#place(change);
    this.window.add(change);
  }

  #place(change: Placement): void {
    const { key, before, after, beforeBytes, afterBytes } = change;
    const namespace = (after ?? before)?.metadata.namespace;
    if (after === undefined) {
      this.all.delete(key, beforeBytes);
      this.#bytes.delete(key);
    } else {
      this.all.set(key, after, afterBytes - beforeBytes);
      this.#bytes.set(key, afterBytes);
    }
    this.#memory.objects.count(afterBytes - beforeBytes);
    if (namespace !== undefined) move(this.#namespaces, namespace, after === undefined ? undefined : namespace, change);
    if (this.#indexed !== undefined) {
      const from = before === undefined ? undefined : fieldValueOf(this.kind, before, indexedField);
      const to = after === undefined ? undefined : fieldValueOf(this.kind, after, indexedField);
      move(this.#indexed, from, to, change);
    }
  }

  /** The smallest set that holds every object the filter can match; what is left to check is in the filter. */
  candidates(filter: Filter): Bucket {
    const key = exactKeyOf(this.kind, filter);
    if (key !== undefined) {
      const object = this.get(key);
      if (object === undefined) return noObjects;
      const only = new Bucket();
      only.set(key, object, this.bytesOf(key));
      return only;
    }
    if (filter.indexed !== undefined && this.#indexed !== undefined) return this.#indexed.get(filter.indexed) ?? noObjects;
    if (filter.namespace !== undefined) return this.#namespaces.get(filter.namespace) ?? noObjects;
    return this.all;
  }
}

type Placement = Pick<Change, 'key' | 'before' | 'after' | 'beforeBytes' | 'afterBytes'>;

/** Runs for each index of each write, so the parameters are positional: an object for each call would be garbage. */
function move(
  buckets: Map<string, Bucket>,
  from: string | undefined,
  to: string | undefined,
  { key, before, after, beforeBytes, afterBytes }: Placement,
): void {
  if (before !== undefined && from !== undefined && from !== to) {
    const bucket = buckets.get(from);
    bucket?.delete(key, beforeBytes);
    if (bucket?.objects.size === 0) buckets.delete(from);
  }
  if (to === undefined || after === undefined) return;
  let bucket = buckets.get(to);
  if (bucket === undefined) {
    bucket = new Bucket();
    buckets.set(to, bucket);
  }
  bucket.set(key, after, before !== undefined && from === to ? afterBytes - beforeBytes : afterBytes);
}
