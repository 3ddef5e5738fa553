import { parseYamlDocuments } from '../../src/machinery/yaml.ts';
import { type Exchange, isObject, type Json, type JsonObject, type Transcript } from './transcript.ts';

/** The objects that the recordings tell of, and where in an answer they are. */

export interface RecordedObject {
  readonly object: JsonObject;
  /** False for a row of a table or another reduced form, which has metadata only. */
  readonly whole: boolean;
  /** For a row. */
  readonly cells?: readonly Json[];
}

export const metadataOf = (object: Json | undefined): JsonObject =>
  isObject(object) && isObject(object.metadata) ? object.metadata : ({} as JsonObject);

export const textOf = (value: Json | undefined): string => (typeof value === 'string' ? value : '');

/** Objects in `body`: itself, the items of a list, the rows of a table, the object of an event. */
export function objectsIn(body: Json | undefined): readonly RecordedObject[] {
  if (!isObject(body)) return [];
  const kind = textOf(body.kind);
  if (kind === 'Table') return (Array.isArray(body.rows) ? (body.rows as readonly Json[]) : []).filter(isObject).flatMap(objectOfRow);
  if (Array.isArray(body.items)) {
    return (body.items as readonly Json[]).flatMap((item) => {
      // For some lists only the names were kept.
      if (typeof item === 'string') return [named(item)];
      if (!isObject(item)) return [];
      const object = { kind: kind.replace(/List$/, ''), apiVersion: body.apiVersion ?? '', ...item };
      return [{ object, whole: !kind.startsWith('PartialObjectMetadata') }];
    });
  }
  if (isObject(body.object) && typeof body.type === 'string') return objectsIn(body.object);
  if (kind === '' || kind === 'Status' || textOf(metadataOf(body).name) === '') return [];
  // Some answers were cut down to the fields that their request is about.
  const whole = kind !== 'PartialObjectMetadata' && typeof metadataOf(body).uid === 'string' && textOf(body.apiVersion) !== '';
  return [{ object: body, whole }];
}

const named = (name: string): RecordedObject => ({ object: { metadata: { name } }, whole: false });

function objectOfRow({ object, cells }: JsonObject): readonly RecordedObject[] {
  const values = Array.isArray(cells) ? (cells as readonly Json[]) : [];
  if (isObject(object) && isObject(object.metadata)) {
    return [{ object, whole: object.kind !== 'PartialObjectMetadata', cells: values }];
  }
  // Long tables were cut to names, and rows without objects have only the first cell.
  const name = isObject(object) ? textOf(object.name) : textOf(values[0]);
  return name === '' ? [] : [{ ...named(name), cells: values }];
}

const objectsOf = ({ recorded }: Exchange): readonly RecordedObject[] => [
  ...objectsIn(recorded.body),
  ...(recorded.events ?? []).flatMap(({ ev }) => objectsIn(ev)),
];

export const revisionOf = (object: JsonObject): number => Number(metadataOf(object).resourceVersion ?? 0);

/** Change of a request to an object, and the object's name. */
export interface RecordedWrite {
  readonly manager: string;
  /** For server-side apply. */
  readonly patch: unknown;
  readonly object: JsonObject;
}

const yamlLimits = { maxBytes: 10_000_000, maxDepth: 50, maxAliases: 100, maxDocuments: 2 };

const kindsWithoutStore = new Set(['Scale', 'TokenRequest', 'Eviction', 'Binding', 'DeleteOptions', 'Table']);

/** Every whole object of the recordings of one cluster. */
export class ObjectIndex {
  readonly #byUid = new Map<string, JsonObject[]>();
  readonly #writes = new Map<string, RecordedWrite[]>();
  readonly #byName = new Map<string, JsonObject[]>();

  constructor(transcripts: readonly Transcript[]) {
    for (const { exchanges } of transcripts) {
      for (const exchange of exchanges) {
        this.#noteWrite(exchange);
        for (const { object, whole } of objectsOf(exchange)) if (whole && !kindsWithoutStore.has(textOf(object.kind))) this.#add(object);
      }
    }
    for (const versions of [...this.#byUid.values(), ...this.#byName.values()]) versions.sort((a, b) => revisionOf(a) - revisionOf(b));
  }

  #add(object: JsonObject): void {
    const { uid, resourceVersion, namespace, name } = metadataOf(object);
    if (typeof uid !== 'string' || typeof resourceVersion !== 'string') return;
    const key = `${textOf(object.kind)} ${textOf(namespace)}/${textOf(name)}`;
    for (const [map, id] of [
      [this.#byUid, uid],
      [this.#byName, key],
    ] as const) {
      const versions = map.get(id);
      if (versions === undefined) map.set(id, [object]);
      else versions.push(object);
    }
  }

  /** Remembers who made the version that a write answered with. */
  #noteWrite({ method, path, headers, body, recorded }: Exchange): void {
    const [target = '', query] = path.split('?');
    const isWrite = method === 'POST' || method === 'PUT' || method === 'PATCH';
    const [found] = objectsIn(recorded.body);
    if (
      !isWrite ||
      recorded.status >= 300 ||
      found?.whole !== true ||
      /\/(status|scale)$/.test(target) ||
      query?.includes('dryRun=') === true
    )
      return;
    const manager = new URLSearchParams(query ?? '').get('fieldManager') ?? 'unknown';
    const isApply = headers['content-type'] === 'application/apply-patch+yaml' && typeof body === 'string';
    const patch: unknown = isApply ? parseYamlDocuments(body, yamlLimits)[0]?.value : undefined;
    const uid = textOf(metadataOf(found.object).uid);
    const writes = this.#writes.get(uid) ?? [];
    writes.push({ manager, patch, object: found.object });
    this.#writes.set(uid, writes);
  }

  /** Recorded writes of an object up to a version, oldest first. */
  writesOf(object: JsonObject): readonly RecordedWrite[] {
    const writes = this.#writes.get(textOf(metadataOf(object).uid)) ?? [];
    return writes
      .filter((write) => revisionOf(write.object) <= revisionOf(object))
      .sort((a, b) => revisionOf(a.object) - revisionOf(b.object));
  }

  /** Owners of an object's fields at its version: most answers leave them out, but not all. */
  ownersOf(object: JsonObject): Json | undefined {
    const versions = this.#byUid.get(textOf(metadataOf(object).uid)) ?? [];
    const same = versions.filter((version) => revisionOf(version) === revisionOf(object) && version.apiVersion === object.apiVersion);
    return same.map((version) => metadataOf(version).managedFields).find((owners) => owners !== undefined);
  }

  /** The version of an object at `revision`, or the newest before, or else its oldest. */
  find({ uid, apiVersion, kind, namespace, name, revision }: ObjectQuery): JsonObject | undefined {
    const found = (uid === undefined ? undefined : this.#byUid.get(uid)) ?? this.#byName.get(`${kind} ${namespace ?? ''}/${name}`) ?? [];
    const versions = found.filter((version) => version.apiVersion === apiVersion);
    return versions.findLast((version) => revisionOf(version) <= revision) ?? versions[0];
  }
}

interface ObjectQuery {
  readonly uid: string | undefined;
  readonly apiVersion: string;
  readonly kind: string;
  readonly namespace: string | undefined;
  readonly name: string;
  readonly revision: number;
}
