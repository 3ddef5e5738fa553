import type { KindDefinition } from '../../machinery/kind.ts';
import { applyPatch, type OtherVersion, updateManagedFields } from '../../machinery/managed-fields.ts';
import { type DynamicObject, deepEqual, type KubeObject, type ManagedFieldsEntry } from '../../machinery/object.ts';
import { apiVersionOf } from '../../machinery/resource.ts';
import type { Schema, SchemaSet } from '../../machinery/schema.ts';
import type { KindTable, WriteRequest } from '../kube-api.ts';

/** `metadata.managedFields` as every write leaves them, and the apply that builds on them. */
export class FieldOwners {
  readonly #schemas: SchemaSet;
  readonly #kinds: Pick<KindTable, 'findByKind'>;

  constructor(schemas: SchemaSet, kinds: Pick<KindTable, 'findByKind'>) {
    this.#schemas = schemas;
    this.#kinds = kinds;
  }

  /** `after` with the fields that differ from `before` in the hands of the request's manager. Both are in the stored version. */
  updated(request: WriteRequest, { before, after, time }: Change): KubeObject {
    const { kind } = request;
    const spoken = request.servedAs?.kind ?? kind;
    const schema = this.#schemaOf(spoken);
    if (schema === undefined) return after;
    const { subresource } = request;
    const { from } = crossing(kind, spoken);
    const seen = from(after);
    const owned = updateManagedFields({
      manager: managerOf(request),
      apiVersion: apiVersionOf(spoken),
      otherVersion: this.#otherVersions(kind, spoken),
      time,
      subresource,
      schema,
      set: this.#schemas,
      resetFields: resetFieldsOf(kind, subresource),
      isNullBlank: kind.custom === undefined,
      before: before === undefined ? undefined : from(before),
      after: seen,
    });
    if (spoken !== kind) return owned === seen ? after : withOwners(after, owned.metadata.managedFields);
    return kind.custom !== undefined && subresource === 'scale' ? withoutScaleOwners(owned) : owned;
  }

  /** Kinds that came later bring their own. */
  #schemaOf({ schemas, schemaName }: KindDefinition): Schema | undefined {
    return schemas?.[schemaName] ?? this.#schemas[schemaName];
  }

  /** The versions of `kind` beside the one that is spoken, by apiVersion. */
  #otherVersions(kind: KindDefinition, spoken: KindDefinition): (apiVersion: string) => OtherVersion | undefined {
    return (apiVersion) => {
      const other = apiVersion === apiVersionOf(kind) ? kind : this.#servedVersion(kind, apiVersion);
      const schema = other === undefined ? undefined : this.#schemaOf(other);
      if (other === undefined || schema === undefined) return undefined;
      const spokenWay = crossing(kind, spoken);
      const otherWay = crossing(kind, other);
      return {
        schema,
        keepsAbandoned: kind.custom === undefined,
        from: (written) => otherWay.from(spokenWay.back(written)) as DynamicObject,
        back: (object) => spokenWay.from(otherWay.back(object)) as DynamicObject,
      };
    };
  }

  #servedVersion(kind: KindDefinition, apiVersion: string): KindDefinition | undefined {
    const [version = '', group = ''] = apiVersion.split('/').reverse();
    const found = this.#kinds.findByKind(group, version, kind.kind);
    return found?.storedAs?.kind === kind && found.storedAs.isUnsupported !== true ? found : undefined;
  }

  /**
   * Returns `live` with `patch` applied; `live` itself when that changes nothing. All three are in the version that the request speaks.
   *
   * @throws StatusError as `applyPatch`
   */
  applied(request: WriteRequest & { readonly force?: boolean }, { live, patch, time }: Application): KubeObject {
    const { kind } = request;
    const spoken = request.servedAs?.kind ?? kind;
    const schema = this.#schemaOf(spoken) ?? {};
    const result = applyPatch({
      manager: managerOf(request),
      apiVersion: apiVersionOf(spoken),
      otherVersion: this.#otherVersions(kind, spoken),
      time,
      subresource: request.subresource,
      schema,
      set: this.#schemas,
      resetFields: resetFieldsOf(kind, request.subresource),
      isNullBlank: kind.custom === undefined,
      kind: kind.kind,
      live: live as DynamicObject | undefined,
      patch,
      force: request.force === true,
    });
    // Said outright: an object without the field is one whose owners stay.
    return live?.metadata.managedFields === undefined || result.metadata.managedFields !== undefined
      ? result
      : { ...result, metadata: { ...result.metadata, managedFields: [] } };
  }
}

interface Crossing {
  from(stored: KubeObject): KubeObject;
  back(object: KubeObject): KubeObject;
}

const staying: Crossing = { from: (object) => object, back: (object) => object };

/** Moves objects between the stored version and another, with the fields that only one of both has. */
function crossing(stored: KindDefinition, version: KindDefinition): Crossing {
  const { storedAs } = version;
  if (storedAs === undefined) return staying;
  if (storedAs.hasOwnRules !== true) return { from: (object) => storedAs.fromStored(object), back: (object) => storedAs.toStored(object) };
  const names = { from: apiVersionOf(version), back: apiVersionOf(stored) };
  return { from: (object) => ({ ...object, apiVersion: names.from }), back: (object) => ({ ...object, apiVersion: names.back }) };
}

function withOwners(object: KubeObject, managedFields: readonly ManagedFieldsEntry[] | undefined): KubeObject {
  const { managedFields: _, ...metadata } = object.metadata;
  return { ...object, metadata: managedFields === undefined ? metadata : { ...metadata, managedFields } };
}

interface Change {
  /** The stored object; undefined on creation. */
  readonly before: KubeObject | undefined;
  readonly after: KubeObject;
  /** RFC 3339, seconds. */
  readonly time: string;
}

interface Application {
  readonly live: KubeObject | undefined;
  readonly patch: unknown;
  readonly time: string;
}

/** Nobody owns the replicas of a custom resource that was scaled: the real server forgets who did it. */
function withoutScaleOwners(object: KubeObject): KubeObject {
  const managedFields = (object.metadata.managedFields ?? []).filter(({ subresource }) => subresource !== 'scale');
  return { ...object, metadata: { ...object.metadata, managedFields } };
}

const maxManagerLength = 128;

function managerOf({ fieldManager, userAgent }: WriteRequest): string {
  return fieldManager !== undefined && fieldManager !== '' ? fieldManager : (userAgent.split('/')[0] ?? '').slice(0, maxManagerLength);
}

const statusFields = Object.freeze({ 'f:status': Object.freeze({}) });

/** Fields that a write through this door does not reach, and so does not own. */
function resetFieldsOf({ subresources, statusKeeps = [] }: KindDefinition, subresource: string | undefined): object | undefined {
  if (subresource === undefined) return subresources.some(({ name }) => name === 'status') ? statusFields : undefined;
  if (subresource !== 'status') return undefined;
  if (statusKeeps === 'metadata') return { 'f:spec': {}, 'f:metadata': {} };
  // An empty set of fields would be all of the metadata.
  if (statusKeeps.length === 0) return { 'f:spec': {} };
  return { 'f:spec': {}, 'f:metadata': Object.fromEntries(statusKeeps.map((field) => [`f:${field}`, {}])) };
}

/** True when two lists of owners are equal except for their times. */
export function sameOwners(a: readonly ManagedFieldsEntry[] | undefined, b: readonly ManagedFieldsEntry[] | undefined): boolean {
  if (a === b) return true;
  if (a === undefined || b === undefined || a.length !== b.length) return false;
  return a.every((entry, index) => {
    const other = b[index];
    return entry === other || deepEqual({ ...entry, time: '' }, { ...other, time: '' });
  });
}
