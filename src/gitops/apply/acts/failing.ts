import { customResourceDefinitions } from '../../../api/apiextensions/v1/custom-resource-definition.ts';
import { namespaces } from '../../../api/core/v1/namespace.ts';
import type { DynamicObject, ObjectRef } from '../../../machinery/object.ts';
import type { Resource } from '../../../machinery/resource.ts';
import { type ObjectId, tryParseId } from '../objects/object-id.ts';
import type { AppRecords } from '../records/app-records.ts';
import { contentOf, type Target } from '../target/target.ts';

/**
 * Reads the objects that keep the revision from being in force, as they are. Namespaces and definitions of others are followed only
 * meanwhile.
 */
export function failingAmong(
  { state, target: { owned } }: { readonly state: AppRecords; readonly target: Pick<Target, 'owned'> },
  ids: Iterable<ObjectId>,
): ReadonlyMap<ObjectId, string> {
  const { applied, pending, doomed } = state.ownership;
  const known = (id: ObjectId) => applied.get(id)?.desired ?? pending.get(id) ?? doomed.get(id);
  const failing = new Map<ObjectId, string>();
  for (const id of ids) {
    const { resource, ref } = known(id) ?? surroundingOf(id) ?? {};
    failing.set(id, contentOf(resource === undefined || ref === undefined ? undefined : owned.live(resource, ref)));
  }
  for (const id of state.attempt.failing.keys()) {
    const other = surroundingOf(id);
    if (other !== undefined && known(id) === undefined && !failing.has(id) && !state.health.checks.has(id))
      owned.disown(state.key, other.resource, other.ref);
  }
  return failing;
}

/** A Namespace or a definition, which an object needs and the app may not have. */
function surroundingOf(id: ObjectId): { readonly resource: Resource<DynamicObject>; readonly ref: ObjectRef } | undefined {
  const parsed = tryParseId(id);
  const resource = [namespaces, customResourceDefinitions].find(({ kind, group }) => parsed?.kind === kind && parsed.group === group);
  if (parsed === undefined || resource === undefined) return undefined;
  return { resource: resource as unknown as Resource<DynamicObject>, ref: parsed.ref };
}
