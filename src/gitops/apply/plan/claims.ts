import { holdOf } from '../../../api/kustomize/v1/hold.ts';
import type { Kustomization } from '../../../api/kustomize/v1/kustomization.ts';
import { keyOf } from '../../../machinery/object.ts';
import type { ObjectId } from '../objects/object-id.ts';
import { deletesObjects, sourceKeyOf, targetKeyOf } from './app-spec.ts';
import { type Claim, type ClaimTablesOptions, createClaimTables } from './claim-tables.ts';

/**
 * Apps by the objects that they name at the newest revision of their source, applied or not. An object that moves from
 * one app to another in one commit changes hands by it; one that two apps name is an error.
 */
export interface Claims {
  /** Looks up who beside `app` names an object, one of the same source first. The tables are made once a revision. */
  othersThan(app: Kustomization, signal: AbortSignal): Promise<(id: ObjectId) => Claim | undefined>;
  /**
   * True when an object that an app of another source names as well belongs to this app. The app that has it in its
   * inventory owns it, or else the older app. Writers of one repository must not block the apps of another; within one
   * repository neither app is right.
   */
  isFirst(app: Kustomization, claim: Claim, id: ObjectId): boolean;
  /** Looks up which apps of the same cluster name an object, `app` among them, by key. */
  claimants(app: Kustomization, signal: AbortSignal): Promise<(id: ObjectId) => readonly string[]>;
  /**
   * Looks up if another app of the same cluster is about to delete an object that it has. It is when it prunes, its newest revision can be
   * built, and no app names the object.
   */
  lettingGo(app: Kustomization, signal: AbortSignal): Promise<(owner: string, id: ObjectId) => boolean>;
  /** The set of apps, or what one of them follows, changed. */
  invalidate(): void;
}

export function createClaims(options: ClaimTablesOptions): Claims {
  const { apps } = options;
  const tables = createClaimTables(options);

  async function claimants(app: Kustomization, signal: AbortSignal): Promise<(id: ObjectId) => readonly string[]> {
    const found = await tables.read(app, signal);
    const target = targetKeyOf(app);
    return (id) => found.flatMap(({ claims }) => (claims.get(id) ?? []).flatMap((each) => (each.target === target ? [each.app] : [])));
  }

  return {
    claimants,
    async lettingGo(app, signal) {
      const [found, claimantsOf] = await Promise.all([tables.read(app, signal), claimants(app, signal)]);
      const inventories = new Map<string, ReadonlySet<ObjectId>>();
      const inventoryOf = (owner: string): ReadonlySet<ObjectId> => {
        const known = inventories.get(owner);
        if (known !== undefined) return known;
        const other = apps.getByKey(owner);
        const deletes =
          other !== undefined &&
          targetKeyOf(other) === targetKeyOf(app) &&
          (other.metadata.deletionTimestamp !== undefined
            ? deletesObjects(other)
            : other.spec.prune &&
              other.spec.suspend !== true &&
              holdOf(other) === undefined &&
              found.some(({ built }) => built.has(owner)));
        const ids = new Set(deletes ? other.status?.inventory?.entries.map(({ id }) => id) : []);
        inventories.set(owner, ids);
        return ids;
      };
      return (owner, id) => inventoryOf(owner).has(id) && claimantsOf(id).length === 0;
    },
    async othersThan(app, signal) {
      const found = await tables.read(app, signal);
      const key = keyOf(app);
      const target = targetKeyOf(app);
      return (id) => {
        for (const table of found) {
          const claim = table.claims.get(id)?.find((each) => each.app !== key && each.target === target);
          if (claim !== undefined) return claim;
        }
        return undefined;
      };
    },
    isFirst(app, claim, id) {
      if (claim.source === sourceKeyOf(app)) return false;
      const other = apps.getByKey(claim.app);
      if (other === undefined) return true;
      const [mine, theirs] = [app, other].map(({ status }) => status?.inventory?.entries.some((entry) => entry.id === id) === true);
      if (mine !== theirs) return mine === true;
      const [own, others] = [app, other].map(({ metadata }) => `${metadata.creationTimestamp} ${metadata.namespace}/${metadata.name}`);
      return own !== undefined && others !== undefined && own < others;
    },
    invalidate: tables.invalidate,
  };
}
