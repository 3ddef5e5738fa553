import type { Kustomization } from '../../../api/kustomize/v1/kustomization.ts';
import type { DynamicObject, ObjectRef } from '../../../machinery/object.ts';
import { parseApiVersion, type Resource } from '../../../machinery/resource.ts';
import type { AppState } from '../app-state.ts';
import { idOf, type ObjectId } from '../objects/object-id.ts';
import type { ResourceMapper } from '../objects/resource-mapper.ts';
import type { OwnedObjects } from './owned-objects.ts';

/** An object that `spec.healthChecks` names; without a resource while the cluster does not know its kind. */
export interface CheckedObject {
  readonly kind: string;
  readonly ref: ObjectRef;
  readonly resource: Resource<DynamicObject> | undefined;
}

/**
 * Follows the objects that an app's `spec.healthChecks` name. They need not be the app's own: objects that a controller
 * creates for a custom resource, or that another app applies, may be named as well. A missing one is not healthy.
 */
export interface HealthChecks {
  /** Makes `state.checks` what the spec says. True when a kind is not known yet, which nothing announces. */
  follow(app: Kustomization, state: AppState): Promise<boolean>;
}

export function createHealthChecks({
  mapper,
  owned,
}: {
  readonly mapper: ResourceMapper;
  readonly owned: Pick<OwnedObjects, 'own' | 'disown'>;
}): HealthChecks {
  async function locate({ apiVersion = 'v1', kind, name, namespace }: Check, home: string | undefined) {
    const { group, version } = parseApiVersion(apiVersion);
    // As in Flux, the version is no more than a hint.
    const found = (await mapper.find(group, version, kind)) ?? (await mapper.findPreferred(group, kind));
    const place = found?.namespaced === false ? undefined : (namespace ?? home);
    const ref = place === undefined ? { name } : { namespace: place, name };
    return {
      id: idOf({ apiVersion, kind, metadata: ref }),
      checked: { kind, ref, resource: found as unknown as CheckedObject['resource'] },
    };
  }

  return {
    async follow(app, state) {
      const { spec, metadata } = app;
      const wanted = spec.wait === true ? none : (spec.healthChecks ?? none);
      if (state.checkedFor === wanted) return false;
      const before = state.checks;
      const checks = new Map<ObjectId, CheckedObject>();
      for (const check of wanted) {
        const { id, checked } = await locate(check, metadata.namespace);
        checks.set(id, checked);
        state.healthDirty.add(id);
        if (checked.resource !== undefined) owned.own(state.key, id, checked.resource, checked.ref);
      }
      state.checks = checks;
      for (const [id, { resource, ref }] of before) {
        if (checks.has(id)) continue;
        state.healthDirty.add(id);
        if (resource !== undefined && !isOwn(state, id)) owned.disown(state.key, resource, ref);
      }
      const isComplete = [...checks.values()].every(({ resource }) => resource !== undefined);
      state.checkedFor = isComplete ? wanted : undefined;
      return !isComplete;
    },
  };
}

type Check = NonNullable<Kustomization['spec']['healthChecks']>[number];

const none: readonly Check[] = [];

/** The app gets events of the object for another reason, too. */
const isOwn = ({ applied, pending, doomed, hookObjects }: AppState, id: ObjectId): boolean =>
  applied.has(id) || pending.has(id) || doomed.has(id) || hookObjects.has(id);
