import { type Kustomization, kustomizations } from '../../../api/kustomize/v1/kustomization.ts';
import { annotations, labels } from '../../../api/well-known.ts';
import { mapBounded } from '../../../base/concurrency.ts';
import type { ObjectChange } from '../../../base/contracts/activity.ts';
import type { Client } from '../../../client/client.ts';
import type { DynamicObject } from '../../../machinery/object.ts';
import { isStatusError } from '../../../machinery/status-error.ts';
import { ownFieldsOf } from '../objects/fields.ts';
import { describe, type ObjectId } from '../objects/object-id.ts';
import { policyOf } from '../objects/object-policy.ts';
import { stagesOf } from '../objects/order.ts';
import type { ResourceMapper } from '../objects/resource-mapper.ts';
import type { OwnedObjects } from '../observe/owned-objects.ts';
import type { Claims } from '../plan/claims.ts';
import { exclusionOf } from '../plan/left-out.ts';
import { isDefinition } from '../plan/plan.ts';
import type { ObjectRecords } from '../records/app-records.ts';
import type { DoomedObject } from '../records/object-sets.ts';
import type { Ownership } from '../records/ownership.ts';
import { createDoomedObjects, type ObjectPlace } from './doomed-objects.ts';
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
  /** Reason that objects were held back, and the way to approve their deletion; empty when none was. */
  readonly blocked: string;
  /** Deletions that are not confirmed yet, without those that are held back. */
  readonly remaining: number;
}

/** Extent of a prune, and its care. */
export interface PruneOptions {
  readonly revision: string;
  /** Deletions that lose more than Git made wait for a person. An app that goes is not guarded. */
  readonly guarded: boolean;
  /** The revision in force takes an earlier one back, which may delete many objects. */
  readonly isRevert: boolean;
  /** Only objects that have to make room before others come. */
  readonly before?: boolean;
  readonly signal: AbortSignal;
}

/** Deletes objects that an app owned and no longer names: last, in reverse order, and only those with the app's label and the known UID. */
export interface Pruner {
  prune(app: Kustomization, state: ObjectRecords, options: PruneOptions): Promise<PruneOutcome>;
}

const concurrency = 16;
/** An object whose status changes all the time is deleted between two changes, sooner or later in the next pass. */
const maxDeleteTries = 5;

interface Candidate extends ObjectPlace {
  readonly id: ObjectId;
  readonly kind: string;
  readonly live: DynamicObject;
}

/** A prune of an app. */
interface Prune extends PruneOptions {
  readonly app: Kustomization;
  readonly state: ObjectRecords;
}

export function createPruner({ client, mapper, owned, claims, losses, onHandover }: PrunerOptions): Pruner {
  const { locate, find, deleteAsSeen } = createDoomedObjects({ client, mapper });

  return {
    async prune(app, state, options) {
      const prune: Prune = { ...options, app, state };
      const candidates = await findCandidates(prune);
      const undeleted = candidates.filter(({ live }) => live.metadata.deletionTimestamp === undefined);
      const { held, blocked } = options.guarded && undeleted.length > 0 ? await judge(prune, undeleted) : nothingHeld;
      const changes = await deleteInOrder(
        prune,
        undeleted.filter(({ id }) => !held.has(id)),
      );
      const { doomed } = state.ownership;
      const looked = options.before === true ? candidates.map(({ id }) => id) : [...doomed.keys()];
      return { changes, blocked, remaining: looked.filter((id) => doomed.has(id) && !held.has(id)).length };
    },
  };

  /** Finds the doomed objects that exist and are the app's. Others are forgotten, or handed to the app that names them. */
  async function findCandidates(prune: Prune): Promise<readonly Candidate[]> {
    const { app, state, guarded, before = false, signal } = prune;
    const claimOf = await claims.othersThan(app, signal);
    const candidates: Candidate[] = [];
    await mapBounded([...state.ownership.doomed], concurrency, async ([id, doomed]) => {
      const claim = claimOf(id);
      // An app that goes leaves the objects that another one names to that one.
      if (claim !== undefined && !guarded) return forget(state, id, doomed);
      const place = await locate(id, doomed).catch((err: unknown) => {
        // The object may have to make room, which cannot be asked now. The rest of the revision does not wait for that.
        if (before && isStatusError(err)) return null;
        throw err;
      });
      if (place === null) return;
      // A kind that is gone from the server took its objects with it.
      if (place === undefined) return forget(state, id, doomed);
      const live = await find(place);
      if (live === undefined || !isSame(doomed, live) || !mayDelete(app, live)) return forget(state, id, place);
      // It changes hands when the other app applies it, which takes the label over; until then it is ours. The other app may never come
      // to it, because a newer commit takes it away again, and then no other app would know of it.
      if (claim !== undefined) return onHandover(state.key, claim.app, id);
      state.ownership.locate(id, { ...doomed, ...place, uid: live.metadata.uid });
      owned.own(state.key, id, place);
      if (before && policyOf(live).prune !== 'before') return;
      candidates.push({ id, kind: live.kind, live, ...place });
    });
    return candidates;
  }

  async function deleteInOrder({ app, state, signal }: Prune, due: readonly Candidate[]): Promise<readonly ObjectChange[]> {
    const changes: ObjectChange[] = [];
    for (const stage of stagesOf(due, ({ kind, live }) => ({ kind, wave: policyOf(live).wave }), -1)) {
      await mapBounded(stage, concurrency, async ({ id, kind, live, resource, ref }) => {
        signal.throwIfAborted();
        const place = { resource, ref };
        let there: DynamicObject | undefined = live;
        for (let tries = 0; tries < maxDeleteTries && there !== undefined; tries += 1) {
          if (there.metadata.uid !== live.metadata.uid || !mayDelete(app, there)) break;
          const isDeleted = await deleteAsSeen(place, there);
          if (isDeleted) changes.push({ action: 'pruned', object: describe(kind, ref), fields: [] });
          there = await find(place);
          if (isDeleted) break;
        }
        if (there?.metadata.uid !== live.metadata.uid) forget(state, id, place);
      });
    }
    return changes;
  }

  /** The object is not the app's any more, so from now on the app does not get events of it. */
  function forget({ key, ownership, health, drifts }: ObjectRecords, id: ObjectId, { resource, ref }: Partial<ObjectPlace>): void {
    if (isDefinition(id)) mapper.forget();
    ownership.forget(id);
    health.drop(id);
    drifts.settle(id);
    if (health.checks.has(id)) health.mark([id]);
    else if (resource !== undefined && ref !== undefined) owned.disown(key, resource, ref);
  }

  /** Decides which deletions wait until a person approves them, and why. */
  async function judge(
    { app, state, revision, isRevert, signal }: Prune,
    undeleted: readonly Candidate[],
  ): Promise<{ readonly held: ReadonlySet<ObjectId>; readonly blocked: string }> {
    const { reasons, along } = await losses.lossesOf(app, undeleted, signal);
    const { namespace, name } = app.metadata;
    const { held, reason, approval } = judgePrune({
      revision,
      ids: undeleted.map(({ id }) => id),
      along,
      total: state.ownership.applied.size + state.ownership.doomed.size + sizeOfApps(state.ownership, along),
      isRevert,
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
}

const nothingHeld = { held: new Set<ObjectId>(), blocked: '' };

/** The object that was applied, or one that we made in its place, as of a drift that was put back before a crash. */
const isSame = ({ uid }: DoomedObject, live: DynamicObject): boolean =>
  uid === undefined || live.metadata.uid === uid || ownFieldsOf(live) !== undefined;

/** True when a live object is the app's, and neither it nor anybody says to keep it. */
export function mayDelete(app: Kustomization, live: DynamicObject): boolean {
  const { metadata } = live;
  const isOurs =
    metadata.labels?.[labels.fluxKustomizeName] === app.metadata.name &&
    metadata.labels[labels.fluxKustomizeNamespace] === app.metadata.namespace;
  return isOurs && policyOf(live).prune !== 'never' && exclusionOf(app, live) === undefined;
}
