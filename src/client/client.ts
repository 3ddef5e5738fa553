import type { KubeObject, List, ObjectRef } from '../machinery/object.ts';
import { groupResourceOf, type Resource } from '../machinery/resource.ts';

/**
 * The one way components reach the API. Two implementations: `apiserver/local-client.ts` (in process, same validation, admission and
 * audit path, no serialization) and `client/http-client.ts` (any Kubernetes API server). Both pass `test/conformance/client.test.ts`.
 *
 * Objects that come back are frozen. Failures are `StatusError`.
 */
export interface Client {
  /** With a `subresource` the answer is that of the subresource, such as a Scale. */
  get<T extends KubeObject>(resource: Resource<T>, ref: ObjectRef, options?: GetOptions): Promise<T>;

  list<T extends KubeObject>(resource: Resource<T>, options?: ListOptions): Promise<List<T>>;

  /**
   * Streams changes after `resourceVersion` until `signal` is aborted (resolves) or the server ends the stream (resolves too: watch
   * again from the last version seen).
   *
   * `onEvents` only notes what it is given: it is called with batches in resourceVersion order and must return at once.
   *
   * @throws StatusError `Expired` (410) when `resourceVersion` is too old: list again
   */
  watch<T extends KubeObject>(resource: Resource<T>, options: WatchOptions<T>): Promise<void>;

  create<T extends KubeObject>(resource: Resource<T>, object: New<T>, options?: WriteOptions): Promise<T>;

  /** Replaces the object; conflicts when `metadata.resourceVersion` is set and not the newest. */
  update<T extends KubeObject>(resource: Resource<T>, object: T, options?: WriteOptions & SubresourceOption): Promise<T>;

  patch<T extends KubeObject>(
    resource: Resource<T>,
    ref: ObjectRef,
    patch: Patch,
    options?: WriteOptions & SubresourceOption & { readonly force?: boolean },
  ): Promise<T>;

  delete<T extends KubeObject>(resource: Resource<T>, ref: ObjectRef, options?: DeleteOptions): Promise<void>;

  deleteCollection<T extends KubeObject>(resource: Resource<T>, options: DeleteOptions & ListOptions): Promise<void>;

  /** POST to a subresource that is an action: `binding`, `eviction`, `token`. */
  createSubresource<T extends KubeObject, R extends KubeObject>(
    resource: Resource<T>,
    ref: ObjectRef,
    subresource: string,
    body: KubeObject | Readonly<Record<string, unknown>>,
    options?: WriteOptions,
  ): Promise<R>;

  /** Every resource the server has in each of its versions, the preferred one first; subresources left out. */
  discover(): Promise<readonly DiscoveredResource[]>;
}

/** An object that was not stored yet: the server fills in the rest of metadata. */
export type New<T extends KubeObject> = Omit<T, 'metadata'> & {
  readonly metadata: Omit<T['metadata'], 'name'> & { readonly name?: string };
};

export interface DiscoveredResource extends Resource {
  readonly verbs: readonly string[];
  readonly shortNames: readonly string[];
  readonly subresources: readonly string[];
}

/** Each resource once, in the version that the server prefers: for those who look at all objects. */
export function inPreferredVersion(resources: readonly DiscoveredResource[]): readonly DiscoveredResource[] {
  const preferred = new Map<string, DiscoveredResource>();
  for (const resource of resources) {
    const name = groupResourceOf(resource);
    if (!preferred.has(name)) preferred.set(name, resource);
  }
  return [...preferred.values()];
}

export interface GetOptions {
  readonly signal?: AbortSignal;
  readonly subresource?: 'scale';
}

export interface ListOptions {
  /** All namespaces when absent. */
  readonly namespace?: string | undefined;
  readonly labelSelector?: string | undefined;
  readonly fieldSelector?: string | undefined;
  readonly limit?: number;
  readonly continue?: string;
  /** `0`: whatever the server has in memory. */
  readonly resourceVersion?: string;
  readonly signal?: AbortSignal;
}

export interface WatchOptions<T extends KubeObject> {
  readonly namespace?: string | undefined;
  readonly labelSelector?: string | undefined;
  readonly fieldSelector?: string | undefined;
  readonly resourceVersion: string;
  readonly signal: AbortSignal;
  onEvents(events: readonly WatchEvent<T>[]): void;
}

/** A bookmark's object has only `metadata.resourceVersion`. */
export interface WatchEvent<T extends KubeObject = KubeObject> {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK';
  readonly object: T;
}

export interface WriteOptions {
  readonly fieldManager?: string;
  readonly dryRun?: boolean;
  readonly fieldValidation?: 'Strict' | 'Warn' | 'Ignore';
  readonly signal?: AbortSignal;
  /** Receives the texts of `Warning` headers. */
  onWarning?(text: string): void;
}

export interface SubresourceOption {
  readonly subresource?: 'status' | 'scale' | 'finalize' | 'resize' | 'ephemeralcontainers' | 'approval';
}

export type PatchType = 'json' | 'merge' | 'strategic' | 'apply';

/** `apply` needs `fieldManager` in the options. */
export interface Patch {
  readonly type: PatchType;
  readonly body: unknown;
}

export interface DeleteOptions {
  readonly gracePeriodSeconds?: number;
  readonly propagationPolicy?: 'Orphan' | 'Background' | 'Foreground';
  readonly preconditions?: { readonly uid?: string; readonly resourceVersion?: string };
  readonly dryRun?: boolean;
  readonly signal?: AbortSignal;
}
