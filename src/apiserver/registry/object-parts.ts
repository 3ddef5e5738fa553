import { finalizeErrors, type Namespace } from '../../api/core/v1/namespace.ts';
import type { KindDefinition } from '../../machinery/kind.ts';
import { type DynamicObject, deepEqual, type KubeObject, type ObjectMeta } from '../../machinery/object.ts';
import { invalid } from '../../machinery/status-error.ts';
import { inFieldOrder, withoutRevision } from './encoding.ts';
import { sameMetadata, updatedMetadata } from './metadata.ts';
import type { WritePart } from './write.ts';

/**
 * Splits an update into the client's fields and those that are restored. Equal parts are shared with the stored object.
 */

/** The stored object with `part` of `wanted`. */
export function withPart(part: WritePart, kind: KindDefinition, { before, wanted }: Change): KubeObject {
  switch (part) {
    case 'main':
      return mainUpdate(kind, before, wanted);
    case 'status':
      return statusUpdate(kind, before, wanted);
    case 'finalize':
      return finalizeUpdate(kind, before, wanted);
    case 'whole':
      return inFieldOrder(wanted, updatedMetadata(before.metadata, wanted.metadata));
    default:
      return part satisfies never;
  }
}

interface Change {
  readonly before: KubeObject;
  readonly wanted: KubeObject;
}

/** The client's object, with the stored status and the stored metadata of the server. */
function mainUpdate(kind: KindDefinition, before: KubeObject, wanted: KubeObject): KubeObject {
  const metadata = updatedMetadata(before.metadata, wanted.metadata);
  let next: DynamicObject = inFieldOrder(wanted, metadata);
  if (kind.subresources.some(({ name }) => name === 'status')) {
    const { status: _, ...rest } = next;
    const { status } = before as DynamicObject;
    next = status === undefined ? (rest as DynamicObject) : ({ ...rest, status } as DynamicObject);
  }
  let object: KubeObject = shareParts(before, next);
  object = kind.defaults?.(object, before) ?? object;
  return kind.prepareForUpdate?.(object, before) ?? object;
}

/** The stored object with the client's status, and with the metadata that a write of status may change. */
function statusUpdate(kind: KindDefinition, before: KubeObject, wanted: KubeObject): KubeObject {
  const { status } = wanted as DynamicObject;
  const { status: _, ...rest } = withoutRevision(before) as DynamicObject;
  const metadata = updatedMetadata(before.metadata, metadataForStatus(kind, before.metadata, wanted.metadata));
  return (status === undefined ? { ...rest, metadata } : { ...rest, metadata, status }) as DynamicObject;
}

function metadataForStatus({ statusKeeps = [] }: KindDefinition, stored: ObjectMeta, given: ObjectMeta): ObjectMeta {
  if (statusKeeps === 'metadata') return given.managedFields === undefined ? stored : { ...stored, managedFields: given.managedFields };
  return statusKeeps.length === 0 ? given : { ...given, ...Object.fromEntries(statusKeeps.map((field) => [field, stored[field]])) };
}

function finalizeUpdate(kind: KindDefinition, before: KubeObject, wanted: KubeObject): KubeObject {
  const errors = finalizeErrors(wanted as Namespace);
  if (errors.length > 0) throw invalid(kind, before.metadata.name, errors);
  const spec = (before as DynamicObject).spec as Readonly<Record<string, unknown>> | undefined;
  const { finalizers: _, ...rest } = spec ?? {};
  const finalizers = ((wanted as DynamicObject).spec as { readonly finalizers?: readonly string[] } | undefined)?.finalizers ?? [];
  return { ...withoutRevision(before), spec: finalizers.length === 0 ? rest : { ...rest, finalizers } } as DynamicObject;
}

/** `next`, holding the stored parts wherever they are equal: less memory, and later steps compare references to see what changed. */
export function shareParts(before: KubeObject, next: KubeObject): DynamicObject {
  const old = before as DynamicObject;
  const fresh = next as DynamicObject;
  let copy: Record<string, unknown> | undefined;
  for (const field in fresh) {
    if (field === 'metadata' || fresh[field] === old[field] || !deepEqual(fresh[field], old[field])) continue;
    copy ??= { ...fresh };
    copy[field] = old[field];
  }
  return (copy ?? fresh) as DynamicObject;
}

export function withoutOwners(object: KubeObject): KubeObject {
  const { managedFields: _, ...metadata } = object.metadata;
  return { ...object, metadata };
}

/** `next` with its generation, which counts changes of what is wanted; `next` shares the equal parts of `before`. */
export function withGeneration(kind: KindDefinition, before: KubeObject, next: DynamicObject): KubeObject {
  if (!kind.hasGeneration) return next;
  const { annotations } = before.metadata;
  const isCounted = kind.countsAnnotations === true && !deepEqual(next.metadata.annotations, annotations);
  // Without a subresource of its own the status is a field like any other.
  const isPlainStatus = kind.custom !== undefined && !kind.subresources.some(({ name }) => name === 'status');
  const hasNewStatus = isPlainStatus && (before as DynamicObject).status !== next.status;
  if (!isCounted && !hasNewStatus && !wantsOther(before as DynamicObject, next)) return next;
  return { ...next, metadata: { ...next.metadata, generation: (before.metadata.generation ?? 0) + 1 } };
}

/** True when anything but metadata and status differs. */
function wantsOther(before: DynamicObject, next: DynamicObject): boolean {
  for (const field in next) if (field !== 'metadata' && field !== 'status' && next[field] !== before[field]) return true;
  for (const field in before) if (field !== 'metadata' && field !== 'status' && !Object.hasOwn(next, field)) return true;
  return false;
}

/** True when a write changes nothing. `next` shares the equal parts of `before`, so references decide. */
export function isNoop(before: KubeObject, next: KubeObject): boolean {
  return (
    !wantsOther(before as DynamicObject, next as DynamicObject) &&
    (before as DynamicObject).status === (next as DynamicObject).status &&
    sameMetadata(before.metadata, next.metadata)
  );
}
