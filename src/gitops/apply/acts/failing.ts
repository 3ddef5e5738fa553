import { namespaces } from '../../../api/core/v1/namespace.ts';
import type { DynamicObject, ObjectRef } from '../../../machinery/object.ts';
import type { Resource } from '../../../machinery/resource.ts';
import { type ObjectId, tryParseId } from '../objects/object-id.ts';
import type { AppRecords } from '../records/app-records.ts';
import { contentOf, type Target } from '../target/target.ts';

/** Reads the objects that keep the revision from being in force, as they are. A Namespace of others is followed only meanwhile. */
export function failingAmong(
  { state, target: { owned } }: { readonly state: AppRecords; readonly target: Pick<Target, 'owned'> },
  ids: Iterable<ObjectId>,
): ReadonlyMap<ObjectId, string> {
  const { applied, pending, doomed } = state.ownership;
  const known = (id: ObjectId) => applied.get(id)?.desired ?? pending.get(id) ?? doomed.get(id);
  const failing = new Map<ObjectId, string>();
  for (const id of ids) {
    const { resource, ref } = known(id) ?? namespaceOf(id) ?? {};
    failing.set(id, contentOf(resource === undefined || ref === undefined ? undefined : owned.live(resource, ref)));
  }
  for (const id of state.attempt.failing.keys()) {
    const namespace = namespaceOf(id);
    if (namespace !== undefined && known(id) === undefined && !failing.has(id) && !state.health.checks.has(id))
      owned.disown(state.key, namespace.resource, namespace.ref);
  }
  return failing;
}

function namespaceOf(id: ObjectId): { readonly resource: Resource<DynamicObject>; readonly ref: ObjectRef } | undefined {
  const parsed = tryParseId(id);
  if (parsed?.kind !== namespaces.kind || parsed.group !== namespaces.group) return undefined;
  return { resource: namespaces as unknown as Resource<DynamicObject>, ref: parsed.ref };
}
