import { type DynamicObject, deepFreeze, type KubeObject, type ManagedFieldsEntry, type ObjectMeta } from '../../machinery/object.ts';

/**
 * How objects lie in the store: JSON without `metadata.resourceVersion`, because the revision is known only when the text is already on
 * its way. `kind`, `apiVersion` and `metadata` come first, which is what makes splicing the version in safe.
 */

const metadataStart = '"metadata":{';

/**
 * `object` must not carry a resourceVersion.
 *
 * The owners of fields are half of a pod's text and the same for all pods that one manager wrote in one second: their text is put in, not
 * made again.
 */
export function encode(object: KubeObject): string {
  const { kind, apiVersion, metadata } = object;
  const { managedFields } = metadata;
  if (managedFields === undefined || managedFields.length === 0) return JSON.stringify(object);
  const head = JSON.stringify({ ...metadata, managedFields: undefined });
  const rest = JSON.stringify({ ...object, kind: undefined, apiVersion: undefined, metadata: undefined });
  const owners = managedFields.map(ownerText).join();
  return `{"kind":${JSON.stringify(kind)},"apiVersion":${JSON.stringify(apiVersion)},${metadataStart}${head.slice(1, -1)},"managedFields":[${owners}]}${
    rest === '{}' ? '}' : `,${rest.slice(1)}`
  }`;
}

/** The latest entry of each manager with its text; cleared when full. */
const ownerTexts = new Map<string, { readonly entry: ManagedFieldsEntry; readonly text: string }>();
const maxOwnerTexts = 256;

function ownerText(entry: ManagedFieldsEntry): string {
  const id = `${entry.manager}/${entry.subresource}`;
  const known = ownerTexts.get(id);
  if (known?.entry === entry) return known.text;
  const text = JSON.stringify(entry);
  if (Object.isFrozen(entry)) {
    if (ownerTexts.size >= maxOwnerTexts) ownerTexts.clear();
    ownerTexts.set(id, { entry, text });
  }
  return text;
}

/** JSON of the object at its revision, made from the text that was stored. */
export function spliceRevision(text: string, revision: number): string {
  const at = text.indexOf(metadataStart) + metadataStart.length;
  return `${text.slice(0, at)}"resourceVersion":"${revision}",${text.slice(at)}`;
}

/** The frozen object that a stored text stands for. */
export function decode(text: string, revision: number): KubeObject {
  const object = JSON.parse(text) as KubeObject;
  return deepFreeze({ ...object, metadata: { ...object.metadata, resourceVersion: String(revision) } });
}

/** A copy at `revision`; everything but root and metadata is shared. The parts of `object` must be frozen. */
export function atRevision(object: KubeObject, revision: number): KubeObject {
  const metadata: ObjectMeta = Object.freeze({ ...object.metadata, resourceVersion: String(revision) });
  return Object.freeze({ ...object, metadata });
}

/** The object as it is stored: no resourceVersion, and the three leading fields in their place. */
export function withoutRevision(object: KubeObject): KubeObject {
  const { resourceVersion: _, ...metadata } = object.metadata;
  return inFieldOrder(object, metadata);
}

/** A copy of `object` with other metadata and the leading fields in front. */
export function inFieldOrder(object: KubeObject, metadata: ObjectMeta): DynamicObject {
  const { kind, apiVersion, metadata: _, ...rest } = object as DynamicObject;
  return { kind, apiVersion, metadata, ...rest };
}
