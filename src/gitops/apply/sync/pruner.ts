import { apiServices } from '../../../api/apiregistration/v1/api-service.ts';
import { type Kustomization, kustomizations } from '../../../api/kustomize/v1/kustomization.ts';
import { annotations, labels } from '../../../api/well-known.ts';
import { mapBounded } from '../../../base/concurrency.ts';
import type { ObjectChange } from '../../../base/contracts/activity.ts';
import type { Client } from '../../../client/client.ts';
import { isConditionTrue } from '../../../machinery/conditions.ts';
import type { DynamicObject, ObjectRef } from '../../../machinery/object.ts';
import type { Resource } from '../../../machinery/resource.ts';
import { isConflict, isNotFound, isStatusError, StatusError } from '../../../machinery/status-error.ts';
import { ownFieldsOf } from '../objects/fields.ts';
import { describe, type ObjectId, tryParseId } from '../objects/object-id.ts';
import { policyOf } from '../objects/object-policy.ts';
import { stagesOf } from '../objects/order.ts';
import type { ResourceMapper } from '../objects/resource-mapper.ts';
import type { OwnedObjects } from '../observe/owned-objects.ts';
import type { Claims } from '../plan/claims.ts';
import { leftOutReason } from '../plan/left-out.ts';
import { isDefinition } from '../plan/plan.ts';
import type { AppRecords } from '../records/app-records.ts';
import type { DoomedObject, Ownership } from '../records/ownership.ts';
import { judgePrune } from './prune-guard.ts';
import type { LossFinder } from './prune-losses.ts';

export interface PrunerOptions {
  readonly client: Client;
  readonly mapper: ResourceMapper;
  readonly owned: OwnedObjects;
  /** Objects that other apps of the same revision name change hands and are not deleted. */
  readonly claims: Claims;
  readonly losses: LossFinder;
  /** An object of `app` is still there that `claimant` is to have. */
  onHandover(app: string, claimant: string, id: ObjectId): void;
}

export interface PruneOutcome {
  readonly changes: readonly ObjectChange[];
  /** Why objects were held back, with how to approve their deletion; empty when none was. */
  readonly blocked: string;
  /** Deletions that are not confirmed yet, without those that are held back. */
  readonly remaining: number;
}

/** Deletes what an app owned and no longer names: last, in reverse order, and only what carries the app's label and the known UID. */
export interface Pruner {
  prune(
    app: Kustomization,
    state: AppRecords,
    options: {
      readonly revision: string;
      readonly guarded: boolean;
      /** Only what has to make room before other objects come. */
      readonly before?: boolean;
      readonly signal: AbortSignal;
    },
  ): Promise<PruneOutcome>;
}

const concurrency = 16;
/** An object whose status changes all the time is deleted between two changes, sooner or later in the next pass. */
const maxDeleteTries = 5;

interface Candidate {
  readonly id: ObjectId;
  readonly kind: string;
  readonly resource: Resource<DynamicObject>;
  readonly ref: ObjectRef;
  readonly live: DynamicObject;
}

export function createPruner({ client, mapper, owned, claims, losses, onHandover }: PrunerOptions): Pruner {
  return {
    async prune(app, state, { revision, guarded, before = false, signal }) {
      const forget = (id: ObjectId, { resource, ref }: Partial<DoomedObject>): void => {
        // Once it is not ours any more, its deletion is not heard of.
        if (isDefinition(id)) mapper.forget();
        state.ownership.forget(id);
        state.health.drop(id);
        state.drifts.settle(id);
        if (state.health.checks.has(id)) state.health.mark([id]);
        else if (resource !== undefined && ref !== undefined) owned.disown(state.key, resource, ref);
      };
      const claimOf = await claims.othersThan(app, signal);
      const candidates: Candidate[] = [];
      await mapBounded([...state.ownership.doomed], concurrency, async ([id, doomed]) => {
        const claim = claimOf(id);
        // An app that goes leaves to the other one what that one names.
        if (claim !== undefined && !guarded) return forget(id, doomed);
        const located = await locate(id, doomed).catch((err: unknown) => {
          // Whether it has to make room cannot be asked now; the rest of the revision does not wait for that.
          if (before && isStatusError(err)) return null;
          throw err;
        });
        if (located === null) return;
        // A kind that is gone from the server took its objects with it.
        if (located === undefined) return forget(id, doomed);
        const live = await find(located.resource, located.ref);
        if (live === undefined || !isSame(doomed, live) || !mayDelete(app, live)) return forget(id, located);
        // It changes hands when the other app applies it, which takes the label over; until then it is ours: should the other one never come
        // to it, because a newer commit takes it away again, nobody else would know of it.
        if (claim !== undefined) return onHandover(state.key, claim.app, id);
        state.ownership.locate(id, { ...doomed, resource: located.resource, ref: located.ref, uid: live.metadata.uid });
        owned.own(state.key, id, located.resource, located.ref);
        if (before && policyOf(live).prune !== 'before') return;
        candidates.push({ id, kind: live.kind, live, ...located });
      });

      const undeleted = candidates.filter(({ live }) => live.metadata.deletionTimestamp === undefined);
      const { held, blocked } = guarded && undeleted.length > 0 ? await judge(app, state, { undeleted, revision, signal }) : nothingHeld;
      const changes: ObjectChange[] = [];
      const left = (): number =>
        (before ? candidates.map(({ id }) => id) : [...state.ownership.doomed.keys()]).filter(
          (id) => state.ownership.doomed.has(id) && !held.has(id),
        ).length;
      for (const stage of stagesOf(
        undeleted.filter(({ id }) => !held.has(id)),
        ({ kind, live }) => ({ kind, wave: policyOf(live).wave }),
        -1,
      )) {
        await mapBounded(stage, concurrency, async ({ id, kind, resource, ref, live }) => {
          signal.throwIfAborted();
          let there: DynamicObject | undefined = live;
          for (let tries = 0; tries < maxDeleteTries && there !== undefined; tries += 1) {
            if (there.metadata.uid !== live.metadata.uid || !mayDelete(app, there)) break;
            const isDeleted = await deleteAsSeen(resource, ref, there);
            if (isDeleted) changes.push({ action: 'pruned', object: describe(kind, ref), fields: [] });
            there = await find(resource, ref);
            if (isDeleted) break;
          }
          if (there?.metadata.uid !== live.metadata.uid) forget(id, { resource, ref });
        });
      }
      return { changes, blocked, remaining: left() };
    },
  };

  /** Decides which deletions wait until a person approves them, and why. */
  async function judge(
    app: Kustomization,
    state: AppRecords,
    of: { readonly undeleted: readonly Candidate[]; readonly revision: string; readonly signal: AbortSignal },
  ): Promise<{ readonly held: ReadonlySet<ObjectId>; readonly blocked: string }> {
    const { undeleted, revision, signal } = of;
    const { reasons, along } = await losses.lossesOf(app, undeleted, signal);
    const { namespace, name } = app.metadata;
    const { held, reason, approval } = judgePrune({
      revision,
      ids: undeleted.map(({ id }) => id),
      along,
      total: state.ownership.applied.size + state.ownership.doomed.size + sizeOfApps(state.ownership, along),
      isRevert: state.inForce.isRollback,
      approved: app.metadata.annotations?.[annotations.approvePrune],
      losses: reasons,
    });
    if (held.size === 0) return nothingHeld;
    const toGoOn = `kubectl -n ${namespace} annotate --overwrite kustomization ${name} ${annotations.approvePrune}=${approval}`;
    return { held, blocked: `${reason}. To go on: ${toGoOn}` };
  }

  /** Objects of the apps whose Kustomizations are the app's: those that go, and those that stay. */
  function sizeOfApps({ applied }: Ownership, along: ReadonlyMap<ObjectId, readonly ObjectId[]>): number {
    let size = 0;
    for (const ids of along.values()) size += ids.length;
    if (size === 0) return 0;
    for (const { desired } of applied.values()) {
      if (desired.object.kind !== kustomizations.kind) continue;
      const live = owned.live(desired.resource, desired.ref) as Kustomization | undefined;
      size += live?.status?.inventory?.entries.length ?? 0;
    }
    return size;
  }

  async function locate(
    id: ObjectId,
    { version, resource, ref }: DoomedObject,
  ): Promise<{ readonly resource: Resource<DynamicObject>; readonly ref: ObjectRef } | undefined> {
    if (resource !== undefined && ref !== undefined) return { resource, ref };
    const parsed = tryParseId(id);
    if (parsed === undefined) return undefined;
    const found = (await mapper.find(parsed.group, version, parsed.kind)) ?? (await mapper.findPreferred(parsed.group, parsed.kind));
    if (found !== undefined) return { resource: found as unknown as Resource<DynamicObject>, ref: parsed.ref };
    await refuseUnavailable(parsed.group, version);
    return undefined;
  }

  /** A group whose server does not answer is left out of discovery: its objects are there all the same. */
  async function refuseUnavailable(group: string, version: string): Promise<void> {
    if (group === '') return;
    const name = `${version}.${group}`;
    try {
      const { status } = await client.get(apiServices, { name });
      if (isConditionTrue(status?.conditions, 'Available')) return;
    } catch (err) {
      if (isNotFound(err)) return;
      throw err;
    }
    throw new StatusError({ code: 503, reason: 'ServiceUnavailable', message: `APIService ${name} is not available` });
  }

  async function find(resource: Resource<DynamicObject>, ref: ObjectRef): Promise<DynamicObject | undefined> {
    try {
      return await client.get(resource, ref);
    } catch (err) {
      if (isNotFound(err)) return undefined;
      throw err;
    }
  }

  /** False when it is gone, or is not what was looked at any more: another app may have taken it over since. */
  async function deleteAsSeen(resource: Resource<DynamicObject>, ref: ObjectRef, { metadata }: DynamicObject): Promise<boolean> {
    const { uid, resourceVersion } = metadata;
    try {
      await client.delete(resource, ref, {
        propagationPolicy: 'Background',
        preconditions: { ...(uid === undefined ? {} : { uid }), ...(resourceVersion === undefined ? {} : { resourceVersion }) },
      });
      return true;
    } catch (err) {
      if (isNotFound(err) || isConflict(err)) return false;
      throw err;
    }
  }
}

const nothingHeld = { held: new Set<ObjectId>(), blocked: '' };

/** The object that was applied, or one that we made in its place: another UID may be our own, of a drift that was put back before a crash. */
const isSame = ({ uid }: DoomedObject, live: DynamicObject): boolean =>
  uid === undefined || live.metadata.uid === uid || ownFieldsOf(live) !== undefined;

/** Whether a live object is the app's, and neither it nor anybody says to keep it. */
export function mayDelete(app: Kustomization, live: DynamicObject): boolean {
  const { metadata } = live;
  const isOurs =
    metadata.labels?.[labels.fluxKustomizeName] === app.metadata.name &&
    metadata.labels[labels.fluxKustomizeNamespace] === app.metadata.namespace;
  return isOurs && policyOf(live).prune !== 'never' && leftOutReason(app, live) === undefined;
}
