import type { DeleteOptions, Patch } from '../client/client.ts';
import type { KindDefinition } from '../machinery/kind.ts';
import type { KubeObject, ObjectRef } from '../machinery/object.ts';
import type { UserInfo } from './user.ts';

/**
 * The API without a transport: authorization, admission, defaulting, validation, storage and audit of every verb. The HTTP handlers
 * (`http/`) and the local client (`local-client.ts`) are two doors to the same calls: each refuses what the other refuses.
 *
 * Failures are `StatusError`; objects are frozen.
 */
export interface KubeApi {
  readonly kinds: KindTable;

  /** Resolves when objects and kinds are here as they are in the store; absent where this server alone writes to it. */
  newest?(): Promise<void>;

  /** @param resourceVersion  the answer is not older; absent, empty or `0`: as it is known here */
  get(request: RequestInfo, ref: ObjectRef, resourceVersion?: string): Promise<KubeObject>;

  list(request: RequestInfo, options: ListRequest): Promise<ListPage>;

  /** Starts a watch. Errors that belong before the first event (bad selector, forbidden) reject; 410 does too (`Expired`). */
  watch(request: RequestInfo, options: WatchRequest): Promise<Watching>;

  create(request: WriteRequest, namespace: string | undefined, object: KubeObject): Promise<KubeObject>;

  update(request: WriteRequest, ref: ObjectRef, object: KubeObject): Promise<KubeObject>;

  /** `created` tells an apply that made the object (201). */
  patch(
    request: WriteRequest & { readonly force?: boolean },
    ref: ObjectRef,
    patch: Patch,
  ): Promise<{ readonly object: KubeObject; readonly created: boolean }>;

  /**
   * Body of the answer: the object or a Status, by `kind.deleteAnswer` and by finalizers or a grace period that keep
   * the object.
   */
  delete(request: WriteRequest, ref: ObjectRef, options: DeleteOptions): Promise<DeleteOutcome>;

  deleteCollection(
    request: WriteRequest,
    options: DeleteOptions,
    list: ListRequest,
  ): Promise<{ readonly items: readonly KubeObject[]; readonly resourceVersion: string }>;

  /** POST to an action subresource: `binding`, `eviction`, `token`. */
  createSubresource(request: WriteRequest, ref: ObjectRef, body: KubeObject): Promise<KubeObject>;

  /**
   * Lets admission see a connection before it is made to a pod, a Service or a node. The options are those of its client
   * (`PodExecOptions`). The caller has authorized it.
   */
  connect(request: RequestInfo, ref: ObjectRef, options: KubeObject): Promise<void>;

  /** Authorizes what has no kind: `/metrics`, `/version`, log and proxy subresources (`attributes.resource` set). */
  authorize(user: UserInfo, attributes: RequestAttributes): void;

  /** The same question, with the answer as a value. */
  decide(user: UserInfo, attributes: RequestAttributes): { readonly allowed: boolean; readonly reason: string };
}

/** The kinds that are served, by every name a request may use. */
export interface KindTable {
  all(): readonly KindDefinition[];
  find(group: string, version: string, resource: string): KindDefinition | undefined;
  findByKind(group: string, version: string, kind: string): KindDefinition | undefined;
  /** Rises when a kind comes or goes; discovery and OpenAPI documents are cached by it. */
  readonly revision: number;
}

export interface RequestInfo {
  /** The kind of the objects that are asked for. */
  readonly kind: KindDefinition;
  readonly user: UserInfo;
  readonly userAgent: string;
  readonly subresource?: string | undefined;
  readonly signal?: AbortSignal | undefined;
  /** The version that the client speaks, when it is not the stored one; see `versions.ts`. */
  readonly servedAs?: ServedVersion | undefined;
  /** Receives what admission notes for the audit log. */
  onAuditAnnotation?(key: string, value: string): void;
}

export interface ServedVersion {
  readonly kind: KindDefinition;
  /** For a patch: applies it to the stored object. */
  change?(stored: KubeObject): KubeObject;
  /** For an apply: shows the stored object in this version. */
  show?(stored: KubeObject): KubeObject;
  /** For an apply: checks its result by the rules of this version, and gives it as the stored kind has it. */
  accept?(applied: KubeObject, shown: KubeObject | undefined): KubeObject;
}

/** The path of a field, or what the reader of YAML says of a key. */
export type DuplicateField = string | { readonly yaml: string } | { readonly jsonPatch: string };

export interface WriteRequest extends RequestInfo {
  /** Defaults to the user agent up to the first `/`. */
  readonly fieldManager?: string | undefined;
  readonly dryRun?: boolean | undefined;
  readonly fieldValidation?: 'Strict' | 'Warn' | 'Ignore' | undefined;
  /** Duplicate keys of the body's text, and unknown members of the operations of a JSON patch, from its reader. */
  readonly duplicateFields?: readonly DuplicateField[] | undefined;
  onWarning?(text: string): void;
  /** An update made the object, as it does of a few kinds. */
  onCreated?(): void;
}

export interface ListRequest {
  readonly namespace?: string | undefined;
  readonly labelSelector?: string | undefined;
  readonly fieldSelector?: string | undefined;
  readonly limit?: number | undefined;
  readonly continue?: string | undefined;
  readonly resourceVersion?: string | undefined;
  readonly resourceVersionMatch?: string | undefined;
}

export interface ListPage {
  readonly items: readonly KubeObject[];
  readonly resourceVersion: string;
  readonly continue?: string;
  readonly remainingItemCount?: number;
}

export interface WatchRequest {
  readonly namespace?: string | undefined;
  readonly labelSelector?: string | undefined;
  readonly fieldSelector?: string | undefined;
  /** Absent or `0`: the current state first, as ADDED. */
  readonly resourceVersion?: string | undefined;
  readonly resourceVersionMatch?: string | undefined;
  readonly sendInitialEvents?: boolean | undefined;
  readonly allowBookmarks?: boolean | undefined;
  readonly signal: AbortSignal;
  /**
   * Must only note or write. The consumer buffers within a bound. If it falls behind, it aborts `signal` and answers
   * 410 to its client.
   */
  onEvents(events: readonly WatchRecord[]): void;
  /** The stream is over without `signal`: the watcher lagged (`Expired`) or the server stops. */
  onEnd(err?: Error): void;
}

/** A watch that goes on. */
export interface Watching {
  /** Gives the consumer a BOOKMARK of how far it has seen, after all events up to there, if it allows bookmarks. */
  bookmark(): void;
}

export interface WatchRecord {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK';
  readonly object: KubeObject;
  /** Absent for an object as it is, and for bookmarks. */
  readonly retains?: Retained;
  /** JSON of `object`, of a change encoded once and shared by all watchers; computed on first use. */
  json(): string;
}

/** Bytes that stay in memory while a record waits: all records of one change keep them once. */
export interface Retained {
  readonly bytes: number;
  /** Queues that hold it. */
  holders: number;
}

export type DeleteOutcome =
  | { readonly type: 'object'; readonly object: KubeObject }
  | { readonly type: 'status'; readonly ref: ObjectRef; readonly uid: string };

export interface RequestAttributes {
  readonly verb: string;
  readonly group?: string;
  readonly version?: string;
  readonly resource?: string;
  readonly subresource?: string | undefined;
  readonly namespace?: string | undefined;
  readonly name?: string | undefined;
  /** For lists and watches: a node may see the pods that are bound to it. */
  readonly fieldSelector?: string | undefined;
  /** Likewise: the volumes that it has. */
  readonly labelSelector?: string | undefined;
  /** For requests without a resource. */
  readonly path?: string;
}
