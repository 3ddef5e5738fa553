import { loadSchemas } from '../../src/api/schemas.ts';
import type { KindDefinition } from '../../src/machinery/kind.ts';
import { applyPatch, updateManagedFields } from '../../src/machinery/managed-fields.ts';
import type { DynamicObject } from '../../src/machinery/object.ts';
import type { SchemaSet } from '../../src/machinery/schema.ts';
import type { JsonObject } from './transcript.ts';
import { metadataOf, type RecordedWrite, textOf } from './transcript-objects.ts';

/** Most recordings leave out who owned the fields of an object. Their requests tell it: who created it, and who wrote to it since. */
export class RecordedOwners {
  readonly #schemas: SchemaSet;

  constructor(kinds: readonly KindDefinition[]) {
    this.#schemas = loadSchemas(kinds.map(({ schemas }) => schemas));
  }

  /** `object` with its owners after `writes`, oldest first; of an object whose making was not recorded, nobody known owns all. */
  owned(kind: KindDefinition, object: JsonObject, writes: readonly RecordedWrite[]): JsonObject {
    const schema = this.#schemas[kind.schemaName];
    if (schema === undefined || metadataOf(object).managedFields !== undefined) return object;
    const hasStatus = kind.subresources.some(({ name }) => name === 'status');
    const common = {
      apiVersion: textOf(object.apiVersion),
      time: '2026-11-24T06:00:00Z',
      subresource: undefined,
      schema,
      set: this.#schemas,
      resetFields: hasStatus ? { 'f:status': {} } : undefined,
    };
    const known = writes.length > 0 ? writes : [{ manager: 'unknown', patch: undefined, object }];
    let before: DynamicObject | undefined;
    for (const { manager, patch, object: after } of known) {
      const result: DynamicObject =
        patch === undefined
          ? (updateManagedFields({ ...common, manager, before, after: withOwnersOf(after, before) }) as DynamicObject)
          : (applyPatch({ ...common, manager, kind: kind.kind, live: before, patch, force: true }) as DynamicObject);
      before = withOwnersOf(after, result);
    }
    return withOwnersOf(object, before) as unknown as JsonObject;
  }
}

function withOwnersOf(object: JsonObject, owned: DynamicObject | undefined): DynamicObject {
  const managedFields = owned?.metadata.managedFields;
  return {
    ...object,
    metadata: { ...metadataOf(object), ...(managedFields === undefined ? {} : { managedFields }) },
  } as unknown as DynamicObject;
}
