import { BoundedMap } from '../../base/bounded-map.ts';
import { type DynamicObject, deepFreeze, type KubeObject, type ManagedFieldsEntry, type ObjectMeta } from '../../machinery/object.ts';
import { fieldSetFrom } from '../../machinery/structured-merge/field-set.ts';

/**
 * The form of objects in the store: JSON without `metadata.resourceVersion`, because the revision is known only when
 * the text is already on its way. `kind`, `apiVersion` and `metadata` come first, which makes splicing the version in
 * safe.
 */

const metadataStart = '"metadata":{';

/**
 * `object` must not carry a resourceVersion.
 *
 * The owners of fields are half of a pod's text, and the same for all pods that one manager wrote in one second. A
 * pod's spec is mostly that of the pod before. Their text is therefore inserted, not encoded again. The pieces are
 * joined because the text goes to the store in one run of bytes. The engine would first flatten a concatenation, in
 * memory of its own.
 */
export function encode(object: KubeObject): string {
  const { kind, apiVersion, metadata } = object;
  const { managedFields } = metadata;
  const pieces: string[] = ['{"kind":', JSON.stringify(kind), ',"apiVersion":', JSON.stringify(apiVersion), ',"metadata":'];
  if (managedFields === undefined) {
    pieces.push(JSON.stringify(metadata));
  } else {
    pieces.push(JSON.stringify({ ...metadata, managedFields: undefined }).slice(0, -1), ',"managedFields":[');
    for (const [index, entry] of managedFields.entries()) pieces.push(index === 0 ? '' : ',', ownerText(entry));
    pieces.push(']}');
  }
  for (const field in object) {
    if (field === 'kind' || field === 'apiVersion' || field === 'metadata') continue;
    const value = (object as DynamicObject)[field];
    if (field === 'spec' && isMap(value)) pushMembers(pieces, value);
    else if (value !== undefined) pieces.push(',', JSON.stringify(field), ':', JSON.stringify(value));
  }
  pieces.push('}');
  return pieces.join('');
}

const isMap = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

function pushMembers(pieces: string[], spec: Readonly<Record<string, unknown>>): void {
  let before = ',"spec":{';
  for (const name in spec) {
    const value = spec[name];
    if (value === undefined) continue;
    pieces.push(before, sharedText(memberTexts, name, value, name));
    before = ',';
  }
  pieces.push(before === ',' ? '}' : ',"spec":{}');
}

/** The last written value of a name, with its text. */
interface LastText {
  value: unknown;
  text: string;
}

const maxTexts = 256;
/** Longer ones are rarely shared, and not worth the memory. */
const maxTextChars = 16 * 1024;

const ownerTexts: Map<string, LastText> = new BoundedMap(maxTexts);
const memberTexts: Map<string, LastText> = new BoundedMap(maxTexts);

const ownerText = (entry: ManagedFieldsEntry): string => sharedText(ownerTexts, `${entry.manager}/${entry.subresource}`, entry);

/**
 * The text of `value`, as the member `field` where that is given.
 *
 * Runs for several fields of each write, so the parameters are positional: an object for each call would be garbage. A value that differs
 * takes the place of the last one in its record. A new record, made the newest of the map, took a tenth of the encoding.
 */
function sharedText(texts: Map<string, LastText>, name: string, value: unknown, field?: string): string {
  const last = texts.get(name);
  if (last !== undefined && last.value === value) return last.text;
  const text = field === undefined ? JSON.stringify(value) : `${JSON.stringify(field)}:${JSON.stringify(value)}`;
  if (!Object.isFrozen(value) || text.length > maxTextChars) return text;
  if (last === undefined) {
    texts.set(name, { value, text });
  } else {
    last.value = value;
    last.text = text;
  }
  return text;
}

/** Bytes an object takes beside its text, for its place in the indexes and its metadata at its revision. */
const objectBytes = 512;

/** Bytes a field takes beside its text, for its name, its place and the object its value may be. Measured: 63 to 66. */
const fieldBytes = 72;
/** In smaller texts fields are not counted, because that would take longer than a write may. */
const minCountedChars = 6 * 1024;

/**
 * Memory of a stored object, by its text. A text with a single letter that is not ASCII takes two bytes a letter, and so may what it is
 * decoded to. A large text of many short fields takes five times its bytes.
 */
export function memoryOf(text: string): number {
  const bytes = Buffer.byteLength(text);
  const letters = bytes === text.length ? bytes : Math.max(bytes, text.length * 2);
  return objectBytes + letters + (text.length < minCountedChars ? 0 : fieldsOf(text) * fieldBytes);
}

function fieldsOf(text: string): number {
  let fields = 0;
  for (let at = text.indexOf('":'); at !== -1; at = text.indexOf('":', at + 2)) {
    // JSON within a value has its quotes escaped.
    if (text.charCodeAt(at - 1) !== 0x5c) fields += 1;
  }
  return fields;
}

/** JSON of the object at its revision, made from the text that was stored. */
export function spliceRevision(text: string, revision: number): string {
  const at = text.indexOf(metadataStart) + metadataStart.length;
  return `${text.slice(0, at)}"resourceVersion":"${revision}",${text.slice(at)}`;
}

/**
 * The frozen object of a stored text. It shares its sets of fields with other objects, as it did before it was stored. A field of a
 * set takes 56 bytes otherwise, so a full cluster would not fit into the same heap after its next start.
 */
export function decode(text: string, revision: number): KubeObject {
  const object = JSON.parse(text) as KubeObject;
  const { metadata } = object;
  const { managedFields } = metadata;
  const owners = managedFields === undefined ? {} : { managedFields: managedFields.map(shareFields) };
  return deepFreeze({ ...object, metadata: { ...metadata, ...owners, resourceVersion: String(revision) } });
}

function shareFields(entry: ManagedFieldsEntry): ManagedFieldsEntry {
  const fieldsV1 = fieldSetFrom(entry.fieldsV1);
  return fieldsV1 === undefined ? entry : { ...entry, fieldsV1 };
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
