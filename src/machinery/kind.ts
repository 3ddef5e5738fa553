import type { KubeObject } from './object.ts';
import type { Resource } from './resource.ts';
import type { Schema } from './schema.ts';
import type { FieldError } from './status-error.ts';

/**
 * A kind as data: all that the API server must know of it. Built-in kinds are the files of `src/api`, listed in `src/api/kinds.ts`;
 * CustomResourceDefinitions become the same thing at run time. So there is one registry and one set of handlers.
 *
 * Functions are pure and copy on write: they get frozen or fresh objects and return the same reference when nothing changes. So a status
 * update of a pod does not pay for its spec. They are declared as methods so that a list can hold definitions of different kinds; none of
 * them uses `this`.
 */
export interface KindDefinition<T extends KubeObject = KubeObject> extends Resource<T> {
  readonly singular: string;
  readonly shortNames: readonly string[];
  readonly categories: readonly string[];
  /** Key into the schema set: `io.k8s.api.core.v1.Pod`. */
  readonly schemaName: string;
  /** For kinds whose schema is written here and not generated: types to add to the set. */
  readonly schemas?: Readonly<Record<string, Schema>>;
  readonly verbs: readonly Verb[];
  /** Objects are questions that the API server answers, or made by it when they are asked for; none is stored. */
  readonly transient?: true;
  /** `metadata.generation` rises when anything but metadata and status changes. */
  readonly hasGeneration: boolean;
  /** It also rises when annotations change: what a Deployment's controller copies is a wish, too. */
  readonly countsAnnotations?: true;
  /**
   * Parts of the metadata that a write to `status` keeps. Absent: it changes labels, annotations, finalizers and
   * owners, too.
   */
  readonly statusKeeps?: 'metadata' | readonly ('labels' | 'ownerReferences')[];
  /** Labels that an object without any takes from its template: they are checked there. */
  readonly labelsFromTemplate?: true;
  readonly nameRule: 'subdomain' | 'label' | 'path-segment';
  /** A PUT of an object that is not there makes it. */
  readonly createdByUpdate?: true;
  /** A PUT says which version it replaces. */
  readonly isReplacedByVersion?: true;
  /** Warning that every request for this version gets. */
  readonly deprecation?: string;
  /** Longest name, when shorter than the rule's. */
  readonly maxNameLength?: number;
  readonly subresources: readonly Subresource[];
  /** Columns of Table answers after the leading ones of every kind are NOT implied: `Name` and `Age` are in the list. */
  readonly columns: readonly Column<T>[];
  /** A row of a finished object carries this condition (Pods). */
  rowConditions?(object: T): readonly RowCondition[];
  /** Fields of field selectors besides metadata.name and metadata.namespace; cheap, called for each object and watcher. */
  readonly selectableFields: Readonly<Record<string, FieldReader<T>>>;
  /** True: an unknown field label answers `field label not supported: X`, as for pods; false: the long form. */
  readonly shortFieldLabelError?: boolean;
  /** Body of the answer to a DELETE that removes the object at once. */
  readonly deleteAnswer: 'status' | 'object';
  /** Policy when the client names none; Background for all but Job and ReplicationController. */
  readonly defaultPropagation?: 'Background' | 'Orphan';
  /** Put on an object when its deletion begins, for whoever cleans up after it. */
  readonly deletionFinalizer?: string;
  /** Present on kinds that users defined. */
  readonly custom?: CustomKind;

  /** Fills in what the client left out. `before` is the stored object on updates: a `spec` that is the same reference is not looked at. */
  defaults?(object: T, before?: T): T;
  /**
   * Runs on create, after defaulting, when `metadata.uid` is set. It drops status and sets server-owned fields (cluster
   * IPs are allocated in admission).
   */
  prepareForCreate?(object: T, context: WriteContext): T;
  /** On update of the main resource: keeps what clients may not change (status is handled by the registry). */
  prepareForUpdate?(object: T, before: T): T;
  /** Rules beyond the schema; on update `before` is given and immutability is checked. Worded as the real server words them. */
  validate?(object: T, before?: T): readonly FieldError[];
  /** On a write through `status` or another subresource with a part of the status: keeps what is not that subresource's to change. */
  prepareForStatus?(object: T, before: T, context: WriteContext & { readonly subresource: string }): T;
  /** Rules for a write to `status` or another subresource with a part of the status. */
  validateStatus?(object: T, before: T, subresource: string): readonly FieldError[];
  /** Warnings for the client, as `Warning` headers. */
  warnings?(object: T, before?: T): readonly string[];
  /** Reason why an object of this kind must not be deleted, or undefined. */
  refuseDeletion?(object: T): string | undefined;
  /** Deletion that waits for someone (a Pod on a node for its agent): seconds to wait, or 0 to remove at once. */
  gracefulDeletion?(object: T, requestedSeconds: number | undefined): number;
  /** For a version that is not the stored one. Field selectors read the stored form, all else that of this version. */
  readonly storedAs?: Conversion<T>;
}

/** Facts that the API server needs about a kind of a CustomResourceDefinition only. */
export interface CustomKind {
  /** `WidgetList` */
  readonly listKind: string;
  /**
   * Returns the client's object without the fields that the schema does not name, and the paths of these.
   *
   * @param readMetadata  as in `structural-schema/prune.ts`
   */
  prune(
    object: KubeObject,
    before?: KubeObject,
    readMetadata?: (metadata: object) => { readonly object: object; readonly unknownFields: readonly string[] },
  ): { readonly object: KubeObject; readonly unknownFields: readonly string[] };
  /** An object from the store, as this version of the schema has it. */
  fromStore(object: KubeObject): KubeObject;
  /** The definition is being deleted: nothing new is made. */
  isTerminating(): boolean;
  /** Paths of field selectors, for OpenAPI. */
  readonly selectablePaths: readonly string[];
}

/**
 * Conversion of objects of one version to the stored one and back. Both directions accept parts of objects (a patch to
 * be applied), keep unknown fields, and lose nothing that the other version can express.
 */
export interface Conversion<T extends KubeObject> {
  readonly kind: KindDefinition;
  /** The rules of the version that was spoken are all there are: those of the stored one are not asked. */
  readonly hasOwnRules?: boolean;
  /** The version is not served: requests get an error that says so, and discovery omits it. */
  readonly isUnsupported?: boolean;
  toStored(object: T): KubeObject;
  fromStored(object: KubeObject): T;
}

/** The kind's list: `PodList`. */
export const listKindOf = ({ kind, custom }: KindDefinition): string => custom?.listKind ?? `${kind}List`;

/** When and by whom something is written. */
export interface WriteContext {
  /** RFC 3339, seconds. */
  readonly now: string;
  readonly user: {
    readonly name: string;
    readonly groups: readonly string[];
    readonly uid?: string | undefined;
    readonly extra?: Readonly<Record<string, readonly string[]>> | undefined;
  };
}

/** Reads one field for a field selector; the empty string when it is absent. */
export type FieldReader<T extends KubeObject> = { read(object: T): string }['read'];

export type Verb = 'get' | 'list' | 'watch' | 'create' | 'update' | 'patch' | 'delete' | 'deletecollection';

export interface Subresource {
  /** `status`, `scale`, `binding`, `eviction`, `log`, `finalize`, … */
  readonly name: string;
  readonly verbs: readonly ('get' | 'create' | 'update' | 'patch' | 'delete')[];
  /** Kind of its body when it is not the object's own: `autoscaling/v1 Scale`. */
  readonly body?: { readonly group: string; readonly version: string; readonly kind: string };
  /** For one that writes a part of the object, under rules that take the place of the kind's. */
  readonly part?: SubresourcePart;
  /** For `scale`: where the numbers and the selector live. */
  readonly scale?: { readonly specReplicasPath: string; readonly statusReplicasPath: string; readonly selectorPath: string };
}

export interface SubresourcePart<T extends KubeObject = KubeObject> {
  /** `before` with what `wanted` says of the part. */
  take(before: T, wanted: T): T;
  validate(object: T, before: T): readonly FieldError[];
}

export interface Column<T extends KubeObject> {
  readonly name: string;
  readonly type: 'string' | 'integer' | 'number' | 'boolean' | 'date';
  /** `name` for the first column, else empty. */
  readonly format?: string;
  readonly description: string;
  /** Above 0: shown only with `-o wide`. */
  readonly priority?: number;
  cell(object: T, context: CellContext): string | number | boolean | null;
}

export interface CellContext {
  /** Milliseconds since the epoch; ages are counted from it. */
  readonly now: number;
}

export interface RowCondition {
  readonly type: string;
  readonly status: 'True' | 'False';
  readonly reason: string;
  readonly message: string;
}
