import type { Kustomization } from '../../../api/kustomize/v1/kustomization.ts';
import { labels } from '../../../api/well-known.ts';
import type { Clock } from '../../../base/clock.ts';
import type { Redactor } from '../../../base/redactor.ts';
import { type DynamicObject, deepEqual } from '../../../machinery/object.ts';
import type { EventRecorder } from '../../../reconcile/event-recorder.ts';
import {
  changedFields,
  type FieldPath,
  type FieldTree,
  fieldManager,
  formatChange,
  formatPath,
  isOwned,
  lostFields,
  managerOf,
  ownFieldsOf,
  owns,
  valueAt,
} from '../objects/fields.ts';
import { isIgnored, replicasPath } from '../objects/ignored-fields.ts';
import { describeObject, type ObjectId, ownerOf, versionOf } from '../objects/object-id.ts';
import { isSuspended, policyOf } from '../objects/object-policy.ts';
import type { AppRecords } from '../records/app-records.ts';
import type { Drift } from '../records/drifts.ts';
import type { AppliedObject } from '../records/ownership.ts';
import type { OwnedObjects } from './owned-objects.ts';
import { additionsIn, additionsOfOthers, hasOverridden, type IsOverridden, type TakeoverRules } from './takeover.ts';

export interface DriftWatchOptions {
  readonly clock: Clock;
  readonly recorder: EventRecorder;
  readonly redactor: Redactor;
  readonly owned: Pick<OwnedObjects, 'live' | 'isGoneSince'>;
  /** Decides whose fields become the app's, and which ones others may have. */
  rulesOf(state: AppRecords, applied: AppliedObject, live: DynamicObject): TakeoverRules;
  readonly isOverridden: IsOverridden;
  autoscalerOf(object: DynamicObject): string | undefined;
  onDrift(app: string): void;
}

/**
 * Notices that someone changed what an app applied.
 *
 * By server-side apply's own record: whoever changes one of our fields takes it over, so it is gone from our entry in `managedFields`; what
 * people and former appliers add is in an entry of theirs. That is exact whatever the server defaulted or normalized, and costs a
 * comparison of references and names as long as nothing happened.
 */
export interface DriftWatch {
  /** An owned object changed; `object` is absent when it was deleted, `before` is the one that was known until now. */
  observe(state: AppRecords, id: ObjectId, object: DynamicObject | undefined, before?: DynamicObject): void;
  /** Another app has the object that this one is to have: what it applied is not in force, though none of its fields is anybody else's. */
  taken(state: AppRecords, id: ObjectId, by: string): void;
  /** An autoscaler begins or ends to scale the object: whether its replicas may be anybody's is another thing than before. */
  scaleChanged(state: AppRecords, id: ObjectId): void;
  /** Compares again what was skipped while our own write was under way; `answer` is what the server said to it. */
  recheck(state: AppRecords, id: ObjectId, answer: DynamicObject | undefined): void;
  /**
   * The time to leave a field alone that was put back too often within a minute, in milliseconds. The app backs off and says who it is
   * fighting with. Undefined when it may be put back now.
   */
  heldForMs(app: Kustomization, state: AppRecords, drift: Drift): number | undefined;
  /** Counts a change of somebody else that was put back. A try that failed is none. */
  corrected(state: AppRecords, drift: Drift): void;
  /** When a fight is over, a namespace may be there again, or a refused object is due once more; undefined when there is nothing to put back then. */
  retryAfterMs(state: AppRecords): number | undefined;
}

/** By a label an object says whose it is. */
const ownerLabel: FieldPath = ['f:metadata', 'f:labels', `f:${labels.fluxKustomizeName}`];
const fightWindowMs = 60_000;
/** Within that time; then the field is left to whoever writes it until the time is over. */
export const maxCorrections = 3;
/** A namespace that is being deleted is usually gone soon; one that nobody makes is looked for more and more seldom. */
const minNamespaceWaitMs = 1_000;
const maxNamespaceWaitMs = 30_000;
/** Between tries to put back an object that the server refuses; twice as long each time. */
const minUnhealedWaitMs = 1_000;
const maxUnhealedWaitMs = 60_000;

export function createDriftWatch(options: DriftWatchOptions): DriftWatch {
  const { clock, recorder, redactor, owned, rulesOf, isOverridden, autoscalerOf, onDrift } = options;

  function observe(state: AppRecords, id: ObjectId, object: DynamicObject | undefined, before?: DynamicObject): void {
    const applied = state.ownership.applied.get(id);
    if (applied === undefined || state.ownership.isWriting(id)) return;
    if (object === undefined) {
      state.drifts.forgetNotes(id);
      // What Git says to leave alone is not made either.
      if (isSuspended(applied.desired.policy, clock.now())) return;
      if (!owned.isGoneSince(applied.desired.resource, applied.desired.ref, applied.resourceVersion)) return;
      found(state, { id, change: applied.uid === undefined ? 'resumed' : 'deleted', by: '', detectedAt: clock.now() });
      return;
    }
    // A cache that is behind our own write tells what that has changed since.
    if (versionOf(object) < applied.resourceVersion) return;
    // What is being deleted cannot be put back before it is gone.
    if (object.metadata.deletionTimestamp !== undefined) return;
    const isHeldBack = [policyOf(object), applied.desired.policy].some((policy) => isSuspended(policy, clock.now()));
    if (applied.skipped !== undefined || isHeldBack) {
      // What nobody holds back any more is applied as Git has it.
      if (applied.skipped === 'suspended' && !isHeldBack) {
        found(state, { id, change: 'resumed', by: '', detectedAt: clock.now() });
      }
      return;
    }
    const own = ownFieldsOf(object);
    note(state, id, object);
    const isOurs = own === applied.ownFields || deepEqual(own, applied.ownFields);
    // Another app of ours has it now, which is for the claims of both to settle.
    if (own !== undefined && owns(own, ownerLabel) && ownerOf(object) !== state.key) return;
    const changed = isOurs
      ? overwritten(applied, { before, object })
      : [...lostFields(applied.ownFields ?? {}, own), ...gainedFields(applied, own)];
    if (isOurs && changed.length === 0 && !hasOverridden(object, isOverridden)) {
      if (state.drifts.found.get(id)?.isAddition === true) state.drifts.settle(id);
      return;
    }
    const rules = rulesOf(state, applied, object);
    const lost = changed.filter((path) => !isIgnored(applied.desired.object, path, rules.pointers));
    const texts = new Set(lost.map(formatPath));
    const added = additionsIn(object, own, rules).filter(({ path }) => !texts.has(formatPath(path)));
    const first = lost[0] ?? added[0]?.path;
    if (first === undefined) {
      if (!isOurs) state.ownership.amend(id, { ownFields: own });
      if (state.drifts.found.get(id)?.isAddition === true) state.drifts.settle(id);
      return;
    }
    const more = lost.length + added.length - 1;
    const change = `${changeOf(state, applied.desired.object, object, first)}${more > 0 ? ` and ${more} more` : ''}`;
    const isAddition = lost.length === 0;
    found(state, {
      id,
      change,
      by: isAddition
        ? (added[0]?.manager ?? '')
        : ((isOurs ? undefined : managerOf(object, first)) ?? (own !== undefined && owns(own, first) ? fieldManager : '')),
      ...(isAddition ? { isAddition } : {}),
      detectedAt: clock.now(),
    });
  }

  /** Notes fields that are not what Git says and that stay, for the app's status. */
  function note(state: AppRecords, id: ObjectId, object: DynamicObject): void {
    const applied = state.ownership.applied.get(id);
    if (applied === undefined || applied.skipped !== undefined) return;
    const { desired } = applied;
    const redact = (text: string): string => redactor.quoted(text, state.key);
    const additions = additionsOfOthers(object, ownFieldsOf(object), isOverridden).map(
      ({ path, manager }) => `${redact(formatPath(path))} by ${manager}`,
    );
    const replicas = replicasText(desired.object, object, autoscalerOf(desired.object));
    const known = state.drifts.notes.get(id)?.leftOver ?? [];
    const leftOver = known.filter(({ path }) => valueAt(object, path) !== undefined && !isOwned(object, path));
    state.drifts.note(id, { additions, replicas, leftOver });
  }

  /**
   * Fields that have another value than before although all of them are ours still: someone wrote under our name, an earlier process whose
   * request came late, for one. What was there before has our values, as the answer to our last write had them.
   */
  function overwritten(
    { ownFields, resourceVersion, inDoubt }: AppliedObject,
    { before, object }: { readonly before: DynamicObject | undefined; readonly object: DynamicObject },
  ): readonly FieldPath[] {
    if (before === undefined || ownFields === undefined || inDoubt === true) return [];
    if (versionOf(before) < resourceVersion || before.metadata.uid !== object.metadata.uid) return [];
    return changedFields(ownFields, before, object);
  }

  /** Fields that someone made ours: nobody else can write them under our name. */
  function gainedFields({ ownFields, inDoubt }: AppliedObject, own: FieldTree | undefined): readonly FieldPath[] {
    return ownFields === undefined || own === undefined || inDoubt === true ? [] : lostFields(own, ownFields);
  }

  function found(state: AppRecords, drift: Drift): void {
    const before = state.drifts.found.get(drift.id);
    // A drift that is left and changes once more is reported as it is now.
    if (before !== undefined && (before.left === undefined || before.change === drift.change)) return;
    state.drifts.find(before?.left === undefined ? drift : { ...drift, left: before.left });
    onDrift(state.key);
  }

  /** `spec.replicas 3 → 9` */
  function changeOf({ key }: AppRecords, desired: DynamicObject, live: DynamicObject, path: FieldPath): string {
    const redact = (text: string): string => redactor.quoted(text, key);
    return `${redact(formatPath(path))} ${formatChange(live.kind, path, [valueAt(desired, path), valueAt(live, path)], redact)}`;
  }

  return {
    observe,
    taken(state, id, by) {
      const applied = state.ownership.applied.get(id);
      if (applied !== undefined && applied.skipped !== 'suspended' && !state.ownership.isWriting(id))
        found(state, { id, change: `applied by app ${by}`, by: '', detectedAt: clock.now() });
    },
    scaleChanged(state, id) {
      const applied = state.ownership.applied.get(id);
      if (applied === undefined || applied.skipped !== undefined || state.ownership.isWriting(id)) return;
      const { desired, ownFields = {} } = applied;
      const object = owned.live(desired.resource, desired.ref);
      if (object !== undefined) note(state, id, object);
      const own = object === undefined ? undefined : ownFieldsOf(object);
      if (object === undefined || own === undefined || isSuspended(policyOf(object), clock.now())) return;
      if (owns(own, replicasPath) || valueAt(desired.object, replicasPath) === undefined) return;
      const ignored = rulesOf(state, applied, object).pointers;
      if (!isIgnored(desired.object, replicasPath, ignored)) {
        // What the autoscaler left behind is nobody's any more.
        const change = changeOf(state, desired.object, object, replicasPath);
        found(state, { id, change, by: managerOf(object, replicasPath) ?? '', detectedAt: clock.now() });
      } else if (lostFields(ownFields, own).every((path) => isIgnored(desired.object, path, ignored))) {
        // Its work was taken for drift before it was heard of.
        state.drifts.settle(id);
        state.ownership.amend(id, { ownFields: own });
      }
    },
    recheck(state, id, answer) {
      const applied = state.ownership.applied.get(id);
      if (applied === undefined) return;
      if (answer !== undefined) note(state, id, answer);
      const object = owned.live(applied.desired.resource, applied.desired.ref);
      // The cache may be behind our own write; its event is still to come then. What is newer was written by someone else.
      if (object === undefined || versionOf(object) > applied.resourceVersion) observe(state, id, object, answer);
    },
    heldForMs(app, state, { id, change, by }) {
      const now = clock.monotonicMs();
      const recent = state.drifts.recentCorrections({ id, change }, { now, windowMs: fightWindowMs });
      const [first] = recent;
      if (first === undefined || recent.length < maxCorrections) return undefined;
      const applied = state.ownership.applied.get(id);
      recorder.record(app, {
        type: 'Warning',
        reason: 'DriftFight',
        message: `${applied === undefined ? id : describeObject(applied.desired.object)}: ${change} was put back ${maxCorrections} times within a minute${by === '' ? '' : `; ${by} changes it again each time`}`,
      });
      return first + fightWindowMs - now;
    },
    corrected: (state, drift) => state.drifts.correct(drift, { now: clock.monotonicMs(), windowMs: fightWindowMs }),
    retryAfterMs(state) {
      if (state.drifts.found.size === 0) return undefined;
      const now = clock.monotonicMs();
      let earliest: number | undefined;
      for (const { since, triedAt } of state.drifts.blockedNamespaces.values()) {
        const waitMs = Math.min(maxNamespaceWaitMs, Math.max(minNamespaceWaitMs, (triedAt - since) / 4));
        earliest = Math.min(earliest ?? Number.POSITIVE_INFINITY, triedAt + waitMs - now);
      }
      for (const [id, { tries, triedAt }] of state.drifts.unhealed) {
        if (!state.drifts.found.has(id)) continue;
        const waitMs = Math.min(maxUnhealedWaitMs, minUnhealedWaitMs * 2 ** (tries - 1));
        earliest = Math.min(earliest ?? Number.POSITIVE_INFINITY, triedAt + waitMs - now);
      }
      for (const times of state.drifts.corrections()) {
        if (times.length < maxCorrections) continue;
        const at = (times[0] ?? now) + fightWindowMs - now;
        if (earliest === undefined || at < earliest) earliest = at;
      }
      return earliest === undefined ? undefined : Math.max(earliest, 100);
    },
  };
}

/** Empty when no autoscaler decides the replicas, or when they are what Git says. */
function replicasText(desired: DynamicObject, live: DynamicObject, autoscaler: string | undefined): string {
  const [said, has] = [valueAt(desired, replicasPath), valueAt(live, replicasPath)];
  if (autoscaler === undefined || said === undefined || has === said) return '';
  return `replicas: ${String(has)} by HorizontalPodAutoscaler ${autoscaler} (Git says ${String(said)})`;
}
