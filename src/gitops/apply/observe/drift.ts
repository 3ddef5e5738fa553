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
import type { Drift, Drifts } from '../records/drifts.ts';
import type { AppliedObject } from '../records/object-sets.ts';
import { hasCompleted, noteCompletion } from './completed-jobs.ts';
import type { OwnedObjects } from './owned-objects.ts';
import { additionsIn, additionsOfOthers, hasOverridden, type IsOverridden, type TakeoverRules } from './takeover.ts';

/** The records that a drift watch reads and changes. */
export type DriftRecords = Pick<AppRecords, 'key' | 'ownership' | 'drifts'>;

export interface DriftWatchOptions {
  readonly clock: Clock;
  readonly recorder: EventRecorder;
  readonly redactor: Redactor;
  readonly owned: Pick<OwnedObjects, 'live' | 'isGoneSince'>;
  /** Decides whose fields become the app's, and which ones others may have. */
  rulesOf(state: Pick<AppRecords, 'key'>, applied: AppliedObject, live: DynamicObject): TakeoverRules;
  readonly isOverridden: IsOverridden;
  autoscalerOf(object: DynamicObject): string | undefined;
  onDrift(app: string): void;
}

/** An owned object as it is now: `object` is undefined when it was deleted, and `before` is the version that was known until now. */
export interface ObservedObject {
  readonly id: ObjectId;
  readonly object: DynamicObject | undefined;
  readonly before?: DynamicObject | undefined;
}

/**
 * Notices that someone changed the objects that an app applied.
 *
 * Server-side apply has a record of it. A manager that changes one of our fields takes it over, and it leaves our entry in
 * `managedFields`. The additions of people and former appliers are in their own entries. That is exact, whatever the server defaulted or
 * normalized. It costs a comparison of references and names as long as nothing happened.
 */
export interface DriftWatch {
  observe(state: DriftRecords, seen: ObservedObject): void;
  /** Another app has applied the object of this one, so it is not as this app has it, whoever owns the fields. */
  noteTakeover(state: DriftRecords, id: ObjectId, by: string): void;
  /** An autoscaler begins or ends to scale the object: from now on other rules say who may set its replicas. */
  noteScaling(state: DriftRecords, id: ObjectId): void;
  /** Compares again what was skipped while our own write was under way; `answer` is the server's answer to it. */
  recheck(state: DriftRecords, id: ObjectId, answer: DynamicObject | undefined): void;
  /**
   * The time to leave a field alone that was put back too often within a minute, in milliseconds. The app backs off and says who it is
   * fighting with. Undefined when it may be put back now.
   */
  heldForMs(app: Kustomization, state: DriftRecords, drift: Drift): number | undefined;
  /** Counts a change of somebody else that was put back. A try that failed is none. */
  countCorrection(state: DriftRecords, drift: Drift): void;
  /** The time until an object may be put back that could not be until now; undefined when there is none. */
  retryAfterMs(state: DriftRecords): number | undefined;
}

/** A label on an object names the app that it belongs to. */
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
/** A look that is due now comes after this time. */
const minRetryMs = 100;

export function createDriftWatch(options: DriftWatchOptions): DriftWatch {
  const { clock, recorder, owned, onDrift } = options;
  const comparison = createComparison(options);
  const { note } = comparison;

  function observe(state: DriftRecords, seen: ObservedObject): void {
    const { id, object } = seen;
    const applied = state.ownership.applied.get(id);
    if (applied === undefined || state.ownership.isWriting(id)) return;
    if (object === undefined) {
      observeDeletion(state, seen, applied);
      return;
    }
    // A cache that is behind our own write shows the state before that write.
    if (versionOf(object) < applied.resourceVersion) return;
    noteCompletion(state, applied.desired, object);
    // An object that is being deleted cannot be put back before it is gone.
    if (object.metadata.deletionTimestamp !== undefined) return;
    const isHeldBack = [policyOf(object), applied.desired.policy].some((policy) => isSuspended(policy, clock.now()));
    if (applied.skipped !== undefined || isHeldBack) {
      // An object that nothing holds back any more is applied as Git has it.
      if (applied.skipped === 'suspended' && !isHeldBack) report(state, { id, change: 'resumed', by: '', detectedAt: clock.now() });
      return;
    }
    note(state, id, object);
    // Another app of ours has it now, which is for the claims of both to settle.
    const own = ownFieldsOf(object);
    if (own !== undefined && owns(own, ownerLabel) && ownerOf(object) !== state.key) return;
    const difference = comparison.differenceOf(state, applied, { ...seen, object });
    if (difference === 'none' || difference === 'ignored') {
      if (difference === 'ignored') state.ownership.amend(id, { ownFields: own });
      if (state.drifts.found.get(id)?.isAddition === true) state.drifts.settle(id);
      return;
    }
    report(state, { id, ...difference, detectedAt: clock.now() });
  }

  function observeDeletion(state: DriftRecords, { id, before }: ObservedObject, applied: AppliedObject): void {
    const { desired, uid, resourceVersion } = applied;
    state.drifts.forgetNotes(id);
    if (applied.skipped === 'expired') return;
    if (before !== undefined) noteCompletion(state, desired, before);
    if (hasCompleted(state, desired)) {
      state.ownership.amend(id, { skipped: 'expired' });
      return;
    }
    // An object that Git says to leave alone is not made either.
    if (isSuspended(desired.policy, clock.now())) return;
    if (!owned.isGoneSince(desired.resource, desired.ref, resourceVersion)) return;
    report(state, { id, change: uid === undefined ? 'resumed' : 'deleted', by: '', detectedAt: clock.now() });
  }

  function report(state: DriftRecords, drift: Drift): void {
    const before = state.drifts.found.get(drift.id);
    // A drift that is left and changes once more is reported as it is now.
    if (before !== undefined && (before.left === undefined || before.change === drift.change)) return;
    state.drifts.find(before?.left === undefined ? drift : { ...drift, left: before.left });
    onDrift(state.key);
  }

  return {
    observe,
    noteTakeover(state, id, by) {
      const applied = state.ownership.applied.get(id);
      if (applied !== undefined && applied.skipped !== 'suspended' && !state.ownership.isWriting(id))
        report(state, { id, change: `applied by app ${by}`, by: '', detectedAt: clock.now() });
    },
    noteScaling(state, id) {
      const applied = state.ownership.applied.get(id);
      if (applied === undefined || applied.skipped !== undefined || state.ownership.isWriting(id)) return;
      const { desired } = applied;
      const object = owned.live(desired.resource, desired.ref);
      if (object !== undefined) note(state, id, object);
      const own = object === undefined ? undefined : ownFieldsOf(object);
      if (object === undefined || own === undefined || isSuspended(policyOf(object), clock.now())) return;
      if (owns(own, replicasPath) || valueAt(desired.object, replicasPath) === undefined) return;
      const change = comparison.replicasOf(state, applied, object);
      if (change === 'ignored') {
        // The work of the autoscaler looked like drift before the cache had the autoscaler.
        state.drifts.settle(id);
        state.ownership.amend(id, { ownFields: own });
      } else if (change !== undefined) {
        // The autoscaler that left this number is gone, and no other may set it.
        report(state, { id, ...change, by: managerOf(object, replicasPath) ?? '', detectedAt: clock.now() });
      }
    },
    recheck(state, id, answer) {
      const applied = state.ownership.applied.get(id);
      if (applied === undefined) return;
      if (answer !== undefined) {
        note(state, id, answer);
        noteCompletion(state, applied.desired, answer);
      }
      const object = owned.live(applied.desired.resource, applied.desired.ref);
      // A cache that is behind our own write still gets its event. A newer object was written by someone else.
      if (object === undefined || versionOf(object) > applied.resourceVersion) observe(state, { id, object, before: answer });
    },
    heldForMs(app, { drifts, ownership }, { id, change, by }) {
      const now = clock.monotonicMs();
      const recent = drifts.recentCorrections({ id, change }, { now, windowMs: fightWindowMs });
      const [first] = recent;
      if (first === undefined || recent.length < maxCorrections) return undefined;
      const applied = ownership.applied.get(id);
      recorder.record(app, {
        type: 'Warning',
        reason: 'DriftFight',
        message: `${applied === undefined ? id : describeObject(applied.desired.object)}: ${change} was put back ${maxCorrections} times within a minute${by === '' ? '' : `; ${by} changes it again each time`}`,
      });
      return first + fightWindowMs - now;
    },
    countCorrection: ({ drifts }, drift) => drifts.correct(drift, { now: clock.monotonicMs(), windowMs: fightWindowMs }),
    retryAfterMs: ({ drifts }) => soonestRetryMs(drifts, clock.monotonicMs()),
  };
}

/** A difference that counts; `ignored`: only fields that others may have differ. */
type Difference = Pick<Drift, 'change' | 'by' | 'isAddition'> | 'ignored' | 'none';

/** Compares live objects with the objects that were applied. */
function createComparison({ redactor, rulesOf, isOverridden, autoscalerOf }: DriftWatchOptions) {
  return { differenceOf, replicasOf, note };

  function differenceOf(
    state: DriftRecords,
    applied: AppliedObject,
    { before, object }: { readonly before?: DynamicObject | undefined; readonly object: DynamicObject },
  ): Difference {
    const own = ownFieldsOf(object);
    const isOurs = own === applied.ownFields || deepEqual(own, applied.ownFields);
    const changed = isOurs
      ? overwrittenFields(applied, { before, object })
      : [...lostFields(applied.ownFields ?? {}, own), ...gainedFields(applied, own)];
    if (isOurs && changed.length === 0 && !hasOverridden(object, isOverridden)) return 'none';
    const rules = rulesOf(state, applied, object);
    const lost = changed.filter((path) => !isIgnored(applied.desired.object, path, rules.pointers));
    const texts = new Set(lost.map(formatPath));
    const added = additionsIn(object, own, rules).filter(({ path }) => !texts.has(formatPath(path)));
    const first = lost[0] ?? added[0]?.path;
    if (first === undefined) return isOurs ? 'none' : 'ignored';
    const more = lost.length + added.length - 1;
    const change = `${changeOf(state.key, first, [applied.desired.object, object])}${more > 0 ? ` and ${more} more` : ''}`;
    if (lost.length === 0) return { change, by: added[0]?.manager ?? '', isAddition: true };
    const manager = isOurs ? undefined : managerOf(object, first);
    return { change, by: manager ?? (own !== undefined && owns(own, first) ? fieldManager : '') };
  }

  /** Compares an object whose replicas the app has lost. `ignored`: only fields that an autoscaler may have differ. */
  function replicasOf(state: DriftRecords, applied: AppliedObject, object: DynamicObject): Pick<Drift, 'change'> | 'ignored' | undefined {
    const { desired, ownFields = {} } = applied;
    const ignored = rulesOf(state, applied, object).pointers;
    if (!isIgnored(desired.object, replicasPath, ignored)) return { change: changeOf(state.key, replicasPath, [desired.object, object]) };
    return lostFields(ownFields, ownFieldsOf(object)).every((path) => isIgnored(desired.object, path, ignored)) ? 'ignored' : undefined;
  }

  /** Notes fields that are not as Git has them and that stay, for the app's status. */
  function note(state: DriftRecords, id: ObjectId, object: DynamicObject): void {
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

  /** `spec.replicas 3 → 9` */
  function changeOf(key: string, path: FieldPath, [desired, live]: readonly [DynamicObject, DynamicObject]): string {
    const redact = (text: string): string => redactor.quoted(text, key);
    const values = [valueAt(desired, path), valueAt(live, path)] as const;
    return `${redact(formatPath(path))} ${formatChange({ kind: live.kind, path, redact }, values)}`;
  }
}

/**
 * Fields that have another value than before although all of them are ours still. Someone wrote under our name: an earlier process, for
 * example, whose request came late. The version before has our values, as the answer to our last write had them.
 */
function overwrittenFields(
  { ownFields, resourceVersion, inDoubt }: AppliedObject,
  { before, object }: { readonly before?: DynamicObject | undefined; readonly object: DynamicObject },
): readonly FieldPath[] {
  if (before === undefined || ownFields === undefined || inDoubt === true) return [];
  if (versionOf(before) < resourceVersion || before.metadata.uid !== object.metadata.uid) return [];
  return changedFields(ownFields, before, object);
}

/** Fields that someone made ours: nobody else can write them under our name. */
function gainedFields({ ownFields, inDoubt }: AppliedObject, own: FieldTree | undefined): readonly FieldPath[] {
  return ownFields === undefined || own === undefined || inDoubt === true ? [] : lostFields(own, ownFields);
}

/** The time until the next try to put something back; `now` is of the monotonic clock. */
function soonestRetryMs({ found, blockedNamespaces, unhealed, corrections }: Drifts, now: number): number | undefined {
  if (found.size === 0) return undefined;
  const times: number[] = [];
  for (const { since, triedAt } of blockedNamespaces.values()) {
    times.push(triedAt + Math.min(maxNamespaceWaitMs, Math.max(minNamespaceWaitMs, (triedAt - since) / 4)));
  }
  for (const [id, { tries, triedAt }] of unhealed) {
    if (found.has(id)) times.push(triedAt + Math.min(maxUnhealedWaitMs, minUnhealedWaitMs * 2 ** (tries - 1)));
  }
  for (const recent of corrections()) {
    if (recent.length >= maxCorrections) times.push((recent[0] ?? now) + fightWindowMs);
  }
  return times.length === 0 ? undefined : Math.max(Math.min(...times) - now, minRetryMs);
}

/** Empty when no autoscaler decides the replicas, or when they are what Git says. */
function replicasText(desired: DynamicObject, live: DynamicObject, autoscaler: string | undefined): string {
  const [said, has] = [valueAt(desired, replicasPath), valueAt(live, replicasPath)];
  if (autoscaler === undefined || said === undefined || has === said) return '';
  return `replicas: ${String(has)} by HorizontalPodAutoscaler ${autoscaler} (Git says ${String(said)})`;
}
