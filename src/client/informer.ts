import type { KubeObject, ObjectRef } from '../machinery/object.ts';
import type { Resource } from '../machinery/resource.ts';
import type { LabelSelector } from '../machinery/selector.ts';

/**
 * A cache of one resource that follows the server by list and watch. Shared: components take it from an `InformerSet`, so that each
 * resource is listed once a process.
 *
 * Handlers run inside the delivery of a batch and must only note a key. Objects are frozen. An index function or a handler that throws
 * skips its object: the cache has it, every other reader sees it, and `ReportSkipped` gets it. An object
 * with a fault (`InformerSetOptions.faultOf`) is in no cache.
 */
export interface Informer<T extends KubeObject> {
  readonly resource: Resource<T>;
  /** True once the first list is in the cache. */
  readonly synced: boolean;
  /** Resolves when `synced` becomes true; never rejects, and never resolves for what the server does not list. */
  readonly whenSynced: Promise<void>;
  /** Version up to which the cache is complete: every write up to it is applied. 0 before the first list. */
  readonly resourceVersion: number;
  get(ref: ObjectRef): T | undefined;
  /** By key `namespace/name`. */
  getByKey(key: string): T | undefined;
  /** All objects, or those of one namespace; in no particular order. */
  list(options?: { readonly namespace?: string | undefined; readonly selector?: LabelSelector }): Iterable<T>;
  /** Objects under `value` of the index `name`, which `addIndex` defined; empty when there is none. */
  byIndex(name: string, value: string): readonly T[];
  /** Defines an index before or after start; `valuesOf` must be pure. Defining a name twice with the same function is allowed. */
  addIndex(name: string, valuesOf: (object: T) => readonly string[]): void;
  /** Calls `handler` for every object in the cache now, as added, then for every change. Returns a function that removes it. */
  addHandler(handler: InformerHandler<T>): () => void;
  /**
   * Calls `listener` each time a list replaces the cache. Handlers got no event for objects that came and went in
   * between.
   */
  onReplaced(listener: () => void): void;
  readonly size: number;
}

/** `before` is absent when added, `after` when deleted. A relist reports only what differs. */
export type InformerHandler<T extends KubeObject> = (change: { readonly before?: T; readonly after?: T }) => void;

/**
 * Receives each object with a fault, or that makes an index function or a handler throw. It is called for each failure, so it has to
 * bound its own output.
 */
export type ReportSkipped = (skipped: SkippedObject) => void;

export interface SkippedObject {
  readonly resource: Resource;
  readonly object: KubeObject;
  /** `index NAME`, `handler`, or `validation` of an object that is in no cache. */
  readonly part: string;
  readonly err: unknown;
}

/** The informers of one process or component, by resource and scope; started together. */
export interface InformerSet {
  get<T extends KubeObject>(resource: Resource<T>, options?: InformerScope): Informer<T>;
  /** Lists and watches every informer that was asked for, also later ones, until `signal` is aborted. */
  start(options: { readonly signal: AbortSignal }): void;
  /** Resolves when all informers asked for so far are synced; rejects when `signal` is aborted first. */
  waitForSync(options: { readonly signal: AbortSignal }): Promise<void>;
}

export interface InformerScope {
  readonly namespace?: string;
  readonly labelSelector?: string;
  readonly fieldSelector?: string;
}
