import { finalizers as known } from '../../api/well-known.ts';
import { timestampOf } from '../../base/clock.ts';
import type { DeleteOptions } from '../../client/client.ts';
import type { KindDefinition } from '../../machinery/kind.ts';
import type { DynamicObject, KubeObject, ObjectMeta } from '../../machinery/object.ts';
import { conflict, invalid } from '../../machinery/status-error.ts';
import { inFieldOrder } from './encoding.ts';

/** Effect of a DELETE on an object, decided from the object alone. */
export type Deletion =
  | { readonly type: 'unchanged' }
  /** The object stays, marked, until finalizers, its agent or its contents are gone. */
  | { readonly type: 'mark'; readonly object: KubeObject }
  /** Gone at once; `object` is its last state, for the answer. */
  | { readonly type: 'remove'; readonly object: KubeObject };

export function deletionOf(asked: AskedDeletion): Deletion {
  const { kind, stored, options, nowMs } = asked;
  const finalizers = withDeletionFinalizer(kind, stored, finalizersAfter(kind, stored, options.propagationPolicy));
  if (isNamespace(kind)) return namespaceDeletion(stored, finalizers, nowMs);
  return stored.metadata.deletionTimestamp === undefined ? firstDeletion(asked, finalizers) : repeatedDeletion(asked, finalizers);
}

interface AskedDeletion {
  readonly kind: KindDefinition;
  readonly stored: KubeObject;
  readonly options: DeleteOptions;
  readonly nowMs: number;
}

function firstDeletion({ kind, stored, options, nowMs }: AskedDeletion, finalizers: readonly string[]): Deletion {
  const { gracePeriodSeconds } = options;
  const seconds = kind.gracefulDeletion?.(stored, gracePeriodSeconds) ?? 0;
  if (seconds > 0 || finalizers.length > 0 || kind.gracefulDeletion !== undefined) {
    const object = marked(stored, { nowMs, seconds: Math.max(seconds, 0), finalizers, counts: kind.hasGeneration });
    return { type: seconds > 0 || finalizers.length > 0 ? 'mark' : 'remove', object };
  }
  return { type: 'remove', object: stored };
}

/** Shortens the grace period when asked to; a longer one is ignored, and so is everything else. */
function repeatedDeletion({ kind, stored, options, nowMs }: AskedDeletion, finalizers: readonly string[]): Deletion {
  const { gracePeriodSeconds } = options;
  const left = stored.metadata.deletionGracePeriodSeconds ?? 0;
  const wanted = kind.gracefulDeletion?.(stored, gracePeriodSeconds) ?? 0;
  if (kind.gracefulDeletion !== undefined && gracePeriodSeconds !== undefined && wanted < left) {
    const object = marked(stored, { nowMs, seconds: Math.max(wanted, 0), finalizers, counts: false });
    return { type: wanted <= 0 && finalizers.length === 0 ? 'remove' : 'mark', object };
  }
  if (left === 0 && finalizers.length === 0) return { type: 'remove', object: stored };
  if (isSame(stored, finalizers)) return { type: 'unchanged' };
  return { type: 'mark', object: inFieldOrder(stored, { ...stored.metadata, finalizers }) };
}

interface Mark {
  readonly nowMs: number;
  readonly seconds: number;
  readonly finalizers: readonly string[];
  /** Deletion counts as a change of what is wanted. */
  readonly counts: boolean;
}

function marked(stored: KubeObject, { nowMs, seconds, finalizers, counts }: Mark): KubeObject {
  const { finalizers: _, generation, ...rest } = stored.metadata;
  const metadata: ObjectMeta = {
    ...rest,
    ...(generation === undefined ? {} : { generation: counts ? generation + 1 : generation }),
    deletionTimestamp: timestampOf(nowMs + seconds * 1000),
    deletionGracePeriodSeconds: seconds,
    ...(finalizers.length === 0 ? {} : { finalizers }),
  };
  return inFieldOrder(stored, metadata);
}

/** A namespace goes in two steps: it is marked, and removed once the namespace controller took `spec.finalizers` away. */
function namespaceDeletion(stored: KubeObject, finalizers: readonly string[], nowMs: number): Deletion {
  const done = finalizers.length === 0 && !hasContents(stored);
  if (stored.metadata.deletionTimestamp !== undefined) {
    if (done) return { type: 'remove', object: stored };
    return isSame(stored, finalizers)
      ? { type: 'unchanged' }
      : { type: 'mark', object: inFieldOrder(stored, { ...stored.metadata, finalizers }) };
  }
  const { finalizers: _, ...rest } = stored.metadata;
  const metadata: ObjectMeta = { ...rest, deletionTimestamp: timestampOf(nowMs), ...(finalizers.length === 0 ? {} : { finalizers }) };
  const object = inFieldOrder(stored, metadata);
  const status = { ...(object.status as object | undefined), phase: 'Terminating' };
  return { type: done ? 'remove' : 'mark', object: { ...object, status } as DynamicObject };
}

export const isNamespace = (kind: KindDefinition): boolean => kind.group === '' && kind.resource === 'namespaces';

/** True when a namespace is still held by its own finalizers, the ones in `spec`. */
function hasContents(namespace: KubeObject): boolean {
  const spec = (namespace as DynamicObject).spec as { readonly finalizers?: readonly string[] } | undefined;
  return (spec?.finalizers?.length ?? 0) > 0;
}

/** True when an update that leaves the object like this is the last step of its deletion. */
export function isReleased(kind: KindDefinition, object: KubeObject): boolean {
  const { metadata } = object;
  return (
    metadata.deletionTimestamp !== undefined &&
    (metadata.deletionGracePeriodSeconds ?? 0) === 0 &&
    (metadata.finalizers?.length ?? 0) === 0 &&
    !(isNamespace(kind) && hasContents(object))
  );
}

/**
 * The finalizers that a propagation policy calls for: with none given, what is on the object decides, then the kind. The same array
 * when nothing changes.
 */
function finalizersAfter(kind: KindDefinition, stored: KubeObject, policy: DeleteOptions['propagationPolicy']): readonly string[] {
  const current = stored.metadata.finalizers ?? [];
  const hadOrphan = current.includes(known.orphan);
  const hadForeground = current.includes(known.foregroundDeletion);
  const orphan = policy === undefined ? hadOrphan || (!hadForeground && kind.defaultPropagation === 'Orphan') : policy === 'Orphan';
  const foreground = policy === undefined ? hadForeground && !hadOrphan : policy === 'Foreground';
  if (orphan === hadOrphan && foreground === hadForeground) return current;
  return [
    ...current.filter((name) => name !== known.orphan && name !== known.foregroundDeletion),
    ...(orphan ? [known.orphan] : []),
    ...(foreground ? [known.foregroundDeletion] : []),
  ];
}

/** Some objects are cleaned up after; whoever does that takes the finalizer away. */
function withDeletionFinalizer(
  { deletionFinalizer }: KindDefinition,
  { metadata }: KubeObject,
  names: readonly string[],
): readonly string[] {
  const isFirst = metadata.deletionTimestamp === undefined;
  return deletionFinalizer === undefined || !isFirst || names.includes(deletionFinalizer) ? names : [...names, deletionFinalizer];
}

const isSame = ({ metadata }: KubeObject, finalizers: readonly string[]): boolean =>
  metadata.finalizers === finalizers || (finalizers.length === 0 && metadata.finalizers === undefined);

/** @throws StatusError `Conflict` when the object is not the one the client means, `Invalid` for options that cannot be */
export function checkDeleteOptions(kind: KindDefinition, stored: KubeObject, { preconditions, propagationPolicy }: DeleteOptions): void {
  if (propagationPolicy !== undefined && !['Foreground', 'Background', 'Orphan'].includes(propagationPolicy)) {
    throw invalid({ group: 'meta.k8s.io', kind: 'DeleteOptions' }, '', [
      {
        type: 'FieldValueNotSupported',
        field: 'propagationPolicy',
        message: `Unsupported value: ${JSON.stringify(propagationPolicy)}: supported values: "Foreground", "Background", "Orphan", "nil"`,
      },
    ]);
  }
  // The real server names the kind, not the resource, in these two.
  const what = { group: kind.group, resource: kind.kind };
  const { name, uid, resourceVersion } = stored.metadata;
  if (preconditions?.uid !== undefined && preconditions.uid !== uid) {
    throw conflict(
      what,
      name,
      `the UID in the precondition (${preconditions.uid}) does not match the UID in record (${uid ?? ''}). The object might have been deleted and then recreated`,
    );
  }
  if (preconditions?.resourceVersion !== undefined && preconditions.resourceVersion !== resourceVersion) {
    throw conflict(
      what,
      name,
      `the ResourceVersion in the precondition (${preconditions.resourceVersion}) does not match the ResourceVersion in record (${resourceVersion ?? ''}). The object might have been modified`,
    );
  }
}

/** Jobs are the one kind whose default surprises people. */
export function warningOfOrphans(kind: KindDefinition, { propagationPolicy }: DeleteOptions): string | undefined {
  if (kind.kind !== 'Job' || kind.defaultPropagation !== 'Orphan' || propagationPolicy !== undefined) return undefined;
  return 'child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set propagationPolicy=Orphan to suppress this warning';
}
