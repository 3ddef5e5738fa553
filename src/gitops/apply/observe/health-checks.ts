import type { Kustomization } from '../../../api/kustomize/v1/kustomization.ts';
import { parseApiVersion } from '../../../machinery/resource.ts';
import { idOf, type ObjectId } from '../objects/object-id.ts';
import type { ResourceMapper } from '../objects/resource-mapper.ts';
import type { AppRecords } from '../records/app-records.ts';
import type { CheckedObject } from '../records/object-healths.ts';
import type { Ownership } from '../records/ownership.ts';
import type { OwnedObjects } from './owned-objects.ts';

/**
 * Follows the objects that an app's `spec.healthChecks` name. They need not be the app's own. An object that a
 * controller creates for a custom resource may be named, and so may one that another app applies. A missing one is not healthy.
 */
export interface HealthChecks {
  /** Makes the checks of an app what the spec says. True when a kind is not known yet, which nothing announces. */
  follow(app: Kustomization, state: Pick<AppRecords, 'key' | 'ownership' | 'health'>): Promise<boolean>;
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
      if (state.health.checkedFor === wanted) return false;
      const before = state.health.checks;
      const checks = new Map<ObjectId, CheckedObject>();
      for (const check of wanted) {
        const { id, checked } = await locate(check, metadata.namespace);
        checks.set(id, checked);
        state.health.mark([id]);
        if (checked.resource !== undefined) owned.own(state.key, id, { resource: checked.resource, ref: checked.ref });
      }
      const isComplete = [...checks.values()].every(({ resource }) => resource !== undefined);
      state.health.follow(checks, isComplete ? wanted : undefined);
      for (const [id, { resource, ref }] of before) {
        if (checks.has(id)) continue;
        state.health.mark([id]);
        if (resource !== undefined && !isOwn(state.ownership, id)) owned.disown(state.key, resource, ref);
      }
      return !isComplete;
    },
  };
}

type Check = NonNullable<Kustomization['spec']['healthChecks']>[number];

const none: readonly Check[] = [];

/** The app gets events of the object for another reason, too. */
const isOwn = ({ applied, pending, doomed, hookObjects }: Ownership, id: ObjectId): boolean =>
  applied.has(id) || pending.has(id) || doomed.has(id) || hookObjects.has(id);
