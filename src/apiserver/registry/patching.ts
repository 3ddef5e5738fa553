import type { Patch } from '../../client/client.ts';
import { goTextOf, jsonTypeOf } from '../../machinery/go-text.ts';
import { applyJsonPatch } from '../../machinery/json-patch.ts';
import { applyMergePatch } from '../../machinery/merge-patch.ts';
import type { KubeObject } from '../../machinery/object.ts';
import type { SchemaSet } from '../../machinery/schema.ts';
import { badRequest, invalid, StatusError } from '../../machinery/status-error.ts';
import { applyStrategicMergePatch } from '../../machinery/strategic-merge-patch.ts';

/** The error for a patch whose result is no object of the kind. As the real server's, it says neither kind nor name. */
export function invalidPatch({ type, body }: Patch, why: string): StatusError {
  const shown = type === 'strategic' ? goTextOf(body) : JSON.stringify(body);
  return invalid({ group: '', kind: '' }, '', [
    { type: 'FieldValueInvalid', field: 'patch', message: `Invalid value: ${JSON.stringify(shown)}: ${why}` },
  ]);
}

/** `object` with a patch of a type that needs no more than the object: `apply` is done elsewhere. */
export function patchObject(object: KubeObject, patch: Patch, schema: SchemaOfObject): KubeObject {
  const result = resultOf(object, patch, schema);
  if (typeof result !== 'object' || result === null || Array.isArray(result)) throw badRequest('the patched object is not an object');
  return result as KubeObject;
}

interface SchemaOfObject {
  readonly schemas: SchemaSet;
  readonly schemaName: string;
}

function resultOf(object: KubeObject, { type, body }: Patch, { schemas, schemaName }: SchemaOfObject): unknown {
  switch (type) {
    case 'json':
      return applyJsonPatch(object, body);
    case 'merge':
      if (body === null) throw badRequest('Invalid JSON Patch');
      if (typeof body !== 'object' || Array.isArray(body)) {
        throw badRequest(`error decoding patch: json: cannot unmarshal ${jsonTypeOf(body)} into Go value of type map[string]interface {}`);
      }
      return applyMergePatch(object, body);
    case 'strategic': {
      const schema = schemas[schemaName];
      // Custom resources have no merge keys; the real server declines this type for them.
      if (schema === undefined)
        throw new StatusError({ code: 415, reason: 'UnsupportedMediaType', message: '415: Unsupported Media Type', details: {} });
      return applyStrategicMergePatch({ object, patch: body, schema, set: schemas });
    }
    case 'apply':
      throw new Error('apply patches need the managed fields of the object');
    default:
      return type satisfies never;
  }
}
