import type { DeleteOptions } from '../../client/client.ts';
import type { KindDefinition } from '../../machinery/kind.ts';
import { type KubeObject, keyOf } from '../../machinery/object.ts';
import type { StatusError } from '../../machinery/status-error.ts';
import type { Operation } from '../admission/admission.ts';
import type { WriteRequest } from '../kube-api.ts';
import type { Deletion } from './deletion.ts';
import { storeKeyOf } from './keys.ts';

/** The fields that an update takes from its client: all but status, or that part alone. `whole` is for the server's own changes. */
export type WritePart = 'main' | 'status' | 'finalize' | 'whole';

/** The object as a subresource shows it, and back. */
export interface AdmissionView {
  show(object: KubeObject): KubeObject;
  /** `object` with what `shown` says. */
  apply(object: KubeObject, shown: KubeObject): KubeObject;
}

/**
 * A write on its way to the store. Each step (`write-steps.ts`) reads it and leaves its work in `object`, copy on write. A write that
 * loses against another process is given up, and its successor is a new record.
 */
export interface Write {
  readonly request: WriteRequest;
  readonly kind: KindDefinition;
  /** As admission names it. */
  readonly operation: Operation;
  /** A server-side apply: the owners of fields are settled before the first step. */
  readonly isApply: boolean;
  readonly part: WritePart;
  /** Empty for the object itself. */
  readonly subresource: string;
  readonly namespace: string | undefined;
  readonly name: string;
  /** The `generateName` that `name` was drawn for. */
  readonly prefix: string | undefined;
  /** `namespace/name`, or `name`. */
  readonly key: string;
  readonly storeKey: string;
  /** The stored object; undefined when there is none yet. */
  readonly before: KubeObject | undefined;
  /** The object that admission sees, where the body of the subresource is another kind. */
  readonly view: AdmissionView | undefined;
  /** Makes the error for a body that does not decode; undefined: the object is blamed. */
  readonly refuse: ((why: string) => StatusError) | undefined;
  /** An apply that leaves out every field that had an owner. */
  readonly abandonsOwners: boolean;
  readonly deleteOptions: DeleteOptions | undefined;
  /** First the object of the client, then the object that each step leaves. At the end as it was stored, or would be by a dry run. */
  object: KubeObject;
  /** RFC 3339, seconds: the time of the write, once a step asked for it. */
  time: string | undefined;
  deletion: Deletion | undefined;
  /** Nothing was written, since nothing would change from the object in memory. */
  isUnchanged: boolean;
  /** Revision of the stored object that came first, 0 when the object was deleted; undefined for a write that was made. */
  lostTo: number | undefined;
  /** Reservations of the steps until the write has settled. */
  releases: (() => Promise<void> | void)[] | undefined;
}

type Optional = 'isApply' | 'part' | 'subresource' | 'prefix' | 'before' | 'view' | 'refuse' | 'deleteOptions';

export type WriteStart = Pick<Write, 'request' | 'operation' | 'namespace' | 'name' | 'object'> & {
  readonly [K in Optional]?: Write[K] | undefined;
};

/** The record before its first step. All records have the same fields in the same order. */
export function startWrite(start: WriteStart): Write {
  const { request, namespace, name, object, isApply = false, part = 'main' } = start;
  const { kind } = request;
  const key = keyOfName(namespace, name);
  return {
    request,
    kind,
    operation: start.operation,
    isApply,
    part,
    subresource: start.subresource ?? subresourceOfPart[part],
    namespace,
    name,
    prefix: start.prefix,
    key,
    storeKey: storeKeyOf(kind, key),
    before: start.before,
    view: start.view,
    refuse: start.refuse,
    abandonsOwners: isApply && object.metadata.managedFields?.length === 0,
    deleteOptions: start.deleteOptions,
    object,
    time: undefined,
    deletion: undefined,
    isUnchanged: false,
    lostTo: undefined,
    releases: undefined,
  };
}

const subresourceOfPart = { main: '', status: 'status', finalize: 'finalize', whole: '' } as const;

export const keyOfName = (namespace: string | undefined, name: string): string =>
  namespace === undefined ? name : keyOf({ metadata: { namespace, name } });
