import type { Kustomization } from '../../../api/kustomize/v1/kustomization.ts';
import { annotations, labels } from '../../../api/well-known.ts';
import { type Clock, sleep } from '../../../base/clock.ts';
import type { ObjectChange } from '../../../base/contracts/activity.ts';
import type { Redactor } from '../../../base/redactor.ts';
import type { Client } from '../../../client/client.ts';
import { type DynamicObject, deepEqual, keyOf, type ManagedFieldsEntry } from '../../../machinery/object.ts';
import { isConflict, isInvalid, isNotFound, isStatusError, type StatusError } from '../../../machinery/status-error.ts';
import { type FieldSet, union } from '../../../machinery/structured-merge/field-set.ts';
import type { EventRecorder } from '../../../reconcile/event-recorder.ts';
import {
  changesBetween,
  type FieldPath,
  fieldManager,
  fieldsOf,
  formatChange,
  formatPath,
  formatValue,
  isOwned,
  lostFields,
  ownEntryOf,
  ownFieldsOf,
  type Redact,
  valueAt,
} from '../objects/fields.ts';
import { type IgnoredFields, withoutForeign } from '../objects/ignored-fields.ts';
import { describeObject, type ObjectId, versionOf } from '../objects/object-id.ts';
import { isSuspended, leftAlone, policyOf } from '../objects/object-policy.ts';
import type { OwnedObjects } from '../observe/owned-objects.ts';
import {
  additionsIn,
  type Folded,
  failsOnConflict,
  foldOwners,
  type IsOverridden,
  isPerson,
  type TakeoverRules,
  takeoverRules,
} from '../observe/takeover.ts';
import { FixedFieldError } from '../plan/object-errors.ts';
import type { DesiredObject } from '../plan/plan.ts';
import type { AppRecords } from '../records/app-records.ts';
import type { ApplyMode } from '../records/attempt.ts';
import type { AppliedObject } from '../records/ownership.ts';
import { isFixedField } from './trial.ts';

export interface ObjectWriterOptions {
  readonly client: Client;
  readonly owned: OwnedObjects;
  readonly recorder: EventRecorder;
  readonly ignored: IgnoredFields;
  /** Managers whose fields become the app's. */
  readonly isOverridden: IsOverridden;
  readonly clock: Clock;
  readonly redactor: Redactor;
  /** Looks for drift again once our own write is known; `answer` is what the server said to it. */
  recheck(state: AppRecords, id: ObjectId, answer: DynamicObject | undefined): void;
}

export interface Write {
  readonly app: Kustomization;
  readonly state: AppRecords;
  readonly desired: DesiredObject;
  readonly signal: AbortSignal;
}

/** Writes single objects of an app by server-side apply, with what their annotations ask for. */
export interface ObjectWriter {
  /**
   * Asks the server what it would say, and gives the mode in which the object can be applied.
   *
   * @throws StatusError when there is none
   */
  tryOut(write: Write): Promise<ApplyMode>;
  /** Gives what changed; undefined when nothing did or the object is left alone. */
  apply(write: Write & { readonly mode: ApplyMode }): Promise<ObjectChange | undefined>;
  /** Takes the object for applied as it is, and notes as drift what an apply would change of it. */
  survey(write: Write): Promise<void>;
}

/** An object that is deleted to be made anew must be gone within this time; a sync that waited longer would hold up other apps. */
const maxRemovalMs = 5_000;
const removalPollMs = 100;

/** Someone else writes the object at the same time now and then, not again and again. */
const maxTakeoverTries = 3;

export function createObjectWriter({
  client,
  owned,
  recorder,
  ignored,
  isOverridden,
  clock,
  redactor,
  recheck,
}: ObjectWriterOptions): ObjectWriter {
  const quoted =
    (app: Kustomization): Redact =>
    (text) =>
      redactor.quoted(text, keyOf(app));
  /** What the answer to a dry run showed and the cache may not know yet: someone told us on the live object to leave it alone. */
  const suspendedLive = new WeakSet<DesiredObject>();

  return {
    async tryOut(write) {
      if ((await standing(write)).skipped !== undefined) return 'apply';
      const { app, desired, signal } = write;
      try {
        await ask(write, { force: false });
        return 'apply';
      } catch (err) {
        if (!isStatusError(err)) throw err;
        if (isFieldConflict(err) && mayTake(app, desired, err)) {
          // What is taken by force is checked as well: it may be refused for another reason.
          signal.throwIfAborted();
          return await ask(write, { force: true }).then(
            () => 'force' as const,
            (cause: unknown) => recreateAfter(write, cause),
          );
        }
        return recreateAfter(write, err);
      }
    },
    async apply(write) {
      const { app, state, desired, mode } = write;
      const { id, resource } = desired;
      const { before, skipped } = await standing(write);
      if (skipped !== undefined) {
        if (skipped === 'exists' && mode === 'force' && before !== undefined) await takeOver(write, before);
        const { uid, resourceVersion } = before?.metadata ?? {};
        const ownFields = before === undefined ? undefined : ownFieldsOf(before);
        setApplied(state, id, { desired, ownFields, uid, resourceVersion: Number(resourceVersion ?? 0), skipped });
        return undefined;
      }
      state.ownership.beginWrite(id);
      let answer: DynamicObject | undefined;
      try {
        if (mode === 'recreate') await remove(write);
        const taken = mode === 'recreate' || before === undefined ? undefined : await takeOverFields(write, before);
        const written = await applyTaken(write, taken);
        answer = written.answer;
        const leftOver = await leftOverIn(write, taken?.after ?? before, answer);
        if (leftOver.length > 0 && mayBeMadeAnew(app, desired)) {
          await remove(write);
          answer = await send(write, { dryRun: false, force: true });
        } else if (leftOver.length > 0) tellLeftOver(write, leftOver, answer);
        const { uid, resourceVersion } = answer.metadata;
        owned.wrote(resource, answer);
        const refused = written.refused === undefined ? {} : { refused: written.refused };
        setApplied(state, id, { desired, ownFields: ownFieldsOf(answer), uid, resourceVersion: versionOf(answer), ...refused });
        if (before?.metadata.uid === uid && before?.metadata.resourceVersion === resourceVersion) return undefined;
        const object = describeObject(desired.object);
        if (before === undefined || before.metadata.uid !== uid) return { action: 'created', object, fields: [] };
        // The fields have other owners now, and nothing else changed.
        if (taken !== undefined && isSameContent(taken.before, answer)) return undefined;
        const gone = taken === undefined ? [] : goneFields(taken, answer, quoted(app));
        return { action: 'configured', object, fields: [...changesBetween(before, desired.object, quoted(app)), ...gone] };
      } catch (err) {
        state.ownership.amend(id, { inDoubt: true });
        throw err;
      } finally {
        state.ownership.endWrite(id);
        recheck(state, id, answer);
      }
    },
    async survey(write) {
      const { app, state, desired } = write;
      const { id, resource, ref } = desired;
      const live = owned.live(resource, ref);
      const { uid, resourceVersion } = live?.metadata ?? {};
      const ownFields = live === undefined ? undefined : ownFieldsOf(live);
      const skipped = leftAlone(desired.policy, live, clock.now());
      const seen = { desired, ownFields, uid, resourceVersion: Number(resourceVersion ?? 0) };
      state.ownership.apply(id, skipped === undefined ? seen : { ...seen, skipped });
      state.health.mark([id]);
      const drift = (change: string): void => state.drifts.find({ id, change, by: '', detectedAt: clock.now() });
      if (skipped !== undefined) return;
      if (live === undefined) return drift('deleted');
      try {
        const result = await send(write, { dryRun: true, force: true });
        const added = additionsIn(live, ownFields, rulesFor(write, live)).map(
          ({ path }) => `${quoted(app)(formatPath(path))} ${formatChange(live.kind, path, [undefined, valueAt(live, path)], quoted(app))}`,
        );
        const [first, ...more] = [...changesBetween(live, result, quoted(app)), ...added];
        if (first !== undefined) drift(`${first}${more.length === 0 ? '' : ` and ${more.length} more`}`);
      } catch (err) {
        if (!isStatusError(err)) throw err;
        drift(`cannot be compared: ${quoted(app)(err.message)}`);
      }
    },
  };

  /** The live object, and why it is not touched. Where a cache that is behind would have us write over it, the server is asked. */
  async function standing(
    write: Write,
  ): Promise<{ readonly before: DynamicObject | undefined; readonly skipped: AppliedObject['skipped'] }> {
    const { desired } = write;
    const { resource, ref, policy } = desired;
    const cached = owned.live(resource, ref);
    const skipped = leftAlone(policy, cached, clock.now());
    if (skipped !== undefined && cached !== undefined) return { before: cached, skipped };
    const isInDoubt = suspendedLive.has(desired) || (cached === undefined && (policy.createsOnly || isSuspended(policy, clock.now())));
    if (!isInDoubt) return { before: cached, skipped };
    const before = await find(write);
    return { before, skipped: leftAlone(policy, before, clock.now()) };
  }

  /** An object that is made once goes from app to app as it is: all that changes is whose it is. */
  async function takeOver({ desired: { resource, ref, object } }: Write, { metadata }: DynamicObject): Promise<void> {
    const names = [labels.fluxKustomizeName, labels.fluxKustomizeNamespace];
    const [before, after] = [metadata, object.metadata].map((each) => names.map((name) => [name, each.labels?.[name]] as const));
    // What no app made is nobody's to delete.
    if (before === undefined || after === undefined || before.some(([, value]) => value === undefined) || deepEqual(before, after)) return;
    const body = { metadata: { uid: metadata.uid, labels: Object.fromEntries(after) } };
    await client.patch(resource, ref, { type: 'merge', body }, { fieldManager });
  }

  interface TakenOver {
    readonly folded: Folded;
    /** As it was, and with the fields in our entry. */
    readonly before: DynamicObject;
    readonly after: DynamicObject;
  }

  function rulesFor({ app, state, desired }: Write, live: DynamicObject): TakeoverRules {
    const known = state.ownership.applied.get(desired.id);
    const refused = known?.desired.object === desired.object ? known.refused : undefined;
    return takeoverRules({ app, desired, live, pointers: ignored.pointersOf(app, desired.object), refused, isOverridden });
  }

  /**
   * Puts the fields of overridden managers into our entry, so that the apply that follows removes what Git does not say. No request when
   * there are none, which is nearly always.
   */
  async function takeOverFields(write: Write, seen: DynamicObject): Promise<TakenOver | undefined> {
    let before = seen;
    for (let tries = 1; ; tries += 1) {
      const folded = foldOwners(before, rulesFor(write, before));
      if (folded === undefined) return undefined;
      try {
        const after = await writeOwners(write, before, folded.managedFields);
        return { folded, before, after };
      } catch (err) {
        if (isNotFound(err)) return undefined;
        if (!isConflict(err) || tries === maxTakeoverTries) throw err;
      }
      write.signal.throwIfAborted();
      const now = await find(write);
      if (now === undefined) return undefined;
      before = now;
    }
  }

  async function writeOwners(
    { desired: { resource, ref } }: Write,
    { metadata }: DynamicObject,
    managedFields: readonly ManagedFieldsEntry[] | undefined,
  ): Promise<DynamicObject> {
    const body = [
      { op: 'replace', path: '/metadata/managedFields', value: managedFields },
      { op: 'replace', path: '/metadata/resourceVersion', value: metadata.resourceVersion },
    ];
    const answer = await client.patch<DynamicObject>(resource, ref, { type: 'json', body }, { fieldManager });
    owned.wrote(resource, answer);
    return answer;
  }

  /** Applies the object. Fields that were taken over and that the server does not let go are given back to their manager. */
  async function applyTaken(
    write: Write & { readonly mode: ApplyMode },
    taken: TakenOver | undefined,
  ): Promise<{ readonly answer: DynamicObject; readonly refused: FieldSet | undefined }> {
    const { app, state, desired, mode, signal } = write;
    const known = state.ownership.applied.get(desired.id);
    const refused = known?.desired.object === desired.object ? known.refused : undefined;
    try {
      const answer = await send(write, { dryRun: false, force: mode === 'force' }).catch((err: unknown) => {
        // Someone took a field between dry run and apply.
        if (!isStatusError(err) || !isFieldConflict(err) || !mayTake(app, desired, err)) throw err;
        signal.throwIfAborted();
        return send(write, { dryRun: false, force: true });
      });
      const programs = taken?.folded.managers.filter((manager) => !isPerson(manager)) ?? [];
      if (programs.length > 0) {
        const message = `${describeObject(desired.object)}: took over the fields of ${programs.join(', ')}`;
        recorder.record(app, { type: 'Normal', reason: 'FieldsTakenOver', message });
      }
      return { answer, refused };
    } catch (err) {
      if (taken === undefined || !isStatusError(err) || !isInvalid(err)) throw err;
      if (await mayRecreate(client, app, desired, err)) {
        await remove(write);
        return { answer: await send(write, { dryRun: false, force: true }), refused: undefined };
      }
      await writeOwners(write, taken.after, taken.before.metadata.managedFields);
      const answer = await send(write, { dryRun: false, force: true });
      const message = `${describeObject(desired.object)}: what ${taken.folded.managers.join(', ')} set beside Git stays: ${quoted(app)(err.message)}`;
      recorder.record(app, { type: 'Warning', reason: 'FieldsStay', message });
      return { answer, refused: union(refused, taken.folded.taken) };
    }
  }

  /**
   * Fields that Git said before and does not say now, that nobody owns and that are there all the same: the server keeps them (a Service
   * stays headless). A fresh object tells them from defaults, and is asked for only when such a field has its old value.
   */
  async function leftOverIn(write: Write, before: DynamicObject | undefined, answer: DynamicObject): Promise<readonly FieldPath[]> {
    if (before === undefined || before.metadata.uid !== answer.metadata.uid) return [];
    const [was, is] = [ownEntryOf(before), ownEntryOf(answer)];
    if (was?.fieldsV1 === undefined || is === undefined || was.fieldsV1 === is.fieldsV1) return [];
    const isSameVersion = was.apiVersion === is.apiVersion;
    const candidates = isSameVersion
      ? lostFields(was.fieldsV1, is.fieldsV1, maxLeftOverCandidates).filter((path) => hasOldValue(path, before, answer))
      : // Fields of another version have other paths.
        fieldsOf(answer).filter((path) => !isOwned(answer, path));
    if (candidates.length === 0) return [];
    const fresh = await makeFresh(write);
    if (fresh === undefined) return [];
    return candidates
      .filter((path) => (isSameVersion ? !deepEqual(valueAt(fresh, path), valueAt(answer, path)) : valueAt(fresh, path) === undefined))
      .slice(0, maxLeftOver);
  }

  /** The object as the server would create it now; undefined when it refuses to. */
  async function makeFresh({ desired: { resource, object }, signal }: Write): Promise<DynamicObject | undefined> {
    const { name, ...metadata } = object.metadata;
    const body = { ...object, metadata: { ...metadata, generateName: `${name.slice(0, maxGeneratedName)}-` } };
    try {
      return await client.create<DynamicObject>(resource, body as unknown as DynamicObject, { fieldManager, dryRun: true, signal });
    } catch (err) {
      // Names may be rules themselves (CustomResourceDefinitions); then nothing is claimed.
      if (isStatusError(err)) return undefined;
      throw err;
    }
  }

  function tellLeftOver({ app, state, desired }: Write, paths: readonly FieldPath[], live: DynamicObject): void {
    const leftOver = paths.map((path) => ({
      path,
      text: `${quoted(app)(formatPath(path))} ${formatValue(desired.object.kind, path, valueAt(live, path), quoted(app))}`,
    }));
    state.drifts.note(desired.id, { leftOver });
    recorder.record(app, {
      type: 'Warning',
      reason: 'LeftOver',
      message: `${describeObject(desired.object)}: ${leftOver.map(({ text }) => text).join(', ')} left Git, and the server keeps it. Annotate the object with ${annotations.fluxForce}: enabled to have it deleted and made again`,
    });
  }

  /** @throws the refusal when the object may not be recreated for it */
  async function recreateAfter({ app, desired, signal }: Write, err: unknown): Promise<'recreate'> {
    if (!isStatusError(err) || owned.live(desired.resource, desired.ref) === undefined) throw err;
    if (!(await isFixedField(err, { client, desired, signal }))) throw err;
    if (mayBeMadeAnew(app, desired)) return 'recreate';
    throw new FixedFieldError(err);
  }

  /** A dry run. */
  async function ask(write: Write, { force }: { readonly force: boolean }): Promise<void> {
    const answer = await send(write, { dryRun: true, force });
    if (isSuspended(policyOf(answer), clock.now())) suspendedLive.add(write.desired);
  }

  /** Fields that a person set with kubectl are taken silently, those of other programs with a warning, unless conflicts are to fail. */
  function mayTake(app: Kustomization, { object, policy }: DesiredObject, err: StatusError): boolean {
    const causes = err.details?.causes ?? [];
    const managers = [...new Set(causes.map(({ message = '' }) => /conflict with "([^"]*)"/.exec(message)?.[1] ?? '?'))];
    if (managers.every(isPerson)) return true;
    if (failsOnConflict(app, policy)) return false;
    recorder.record(app, {
      type: 'Warning',
      reason: 'FieldConflict',
      message: `${describeObject(object)}: took ${causes.map(({ field = '' }) => field).join(', ')} from ${managers.join(', ')}`,
    });
    return true;
  }

  async function send(write: Write, { dryRun, force }: { readonly dryRun: boolean; readonly force: boolean }): Promise<DynamicObject> {
    const { app, desired, signal } = write;
    const { resource, ref, object } = desired;
    const apply = (body: DynamicObject): Promise<DynamicObject> =>
      client.patch<DynamicObject>(
        resource,
        ref,
        { type: 'apply', body },
        // A write that was begun is finished, so that its outcome is known; a question may be dropped.
        { fieldManager, force, dryRun, fieldValidation: 'Strict', ...(dryRun ? { signal } : {}) },
      );
    // Force takes what it names: what is ignored, and whose that is, must not be known from a cache that may be behind.
    if (force) return apply(await bodyNow(write));
    const body = withoutForeign(object, owned.live(resource, ref), ignored.pointersOf(app, object));
    try {
      return await apply(body);
    } catch (err) {
      if (!isStatusError(err) || !isFieldConflict(err)) throw err;
      signal.throwIfAborted();
      const newer = await bodyNow(write);
      if (deepEqual(newer, body)) throw err;
      return apply(newer);
    }
  }

  /** The object without the ignored fields that someone else has, as the server knows it now. */
  async function bodyNow(write: Write): Promise<DynamicObject> {
    const { app, desired } = write;
    const pointers = await ignored.pointersNow(app, desired.object);
    return pointers.length === 0 ? desired.object : withoutForeign(desired.object, await find(write), pointers);
  }

  function find({ desired: { resource, ref } }: Write): Promise<DynamicObject | undefined> {
    return client.get(resource, ref).catch((err: unknown) => {
      if (isNotFound(err)) return undefined;
      throw err;
    });
  }

  /** Deletes what cannot be changed and waits until it is gone. A StatefulSet's pods stay and are taken over by the new one. */
  async function remove(write: Write): Promise<void> {
    const { resource, ref, object } = write.desired;
    const { signal } = write;
    const uid = (await find(write))?.metadata.uid;
    if (uid === undefined) return;
    const propagationPolicy = object.kind === 'StatefulSet' ? 'Orphan' : 'Background';
    try {
      await client.delete(resource, ref, { propagationPolicy, preconditions: { uid } });
    } catch (err) {
      if (!isNotFound(err)) throw err;
    }
    const deadline = clock.monotonicMs() + maxRemovalMs;
    while ((await find(write))?.metadata.uid === uid) {
      if (clock.monotonicMs() > deadline) throw new Error(`${describeObject(object)} was deleted to be created again and is not gone yet`);
      await sleep(clock, removalPollMs, signal);
    }
  }
}

function setApplied({ ownership, drifts, health }: AppRecords, id: ObjectId, applied: AppliedObject): void {
  ownership.apply(id, applied);
  drifts.heal(id);
  health.mark([id]);
}

/** Fields that are compared with a fresh object, and those of them that are named. */
const maxLeftOverCandidates = 50;
const maxLeftOver = 5;
/** Leaves room for what the server adds, in names of 63 characters. */
const maxGeneratedName = 50;
const maxGone = 4;

const hasOldValue = (path: FieldPath, before: DynamicObject, answer: DynamicObject): boolean => {
  const value = valueAt(answer, path);
  return value !== undefined && deepEqual(valueAt(before, path), value) && !isOwned(answer, path);
};

/** Fields that were taken over and that the apply removed, `spec.hostNetwork true → absent`; an item of a list as a whole. */
function goneFields(
  { folded, before }: { readonly folded: Folded; readonly before: DynamicObject },
  answer: DynamicObject,
  redact: Redact,
) {
  const gone = new Map<string, string>();
  for (const path of lostFields(folded.taken, undefined, maxLeftOverCandidates)) {
    const length = path.findIndex((_, index) => valueAt(answer, path.slice(0, index + 1)) === undefined) + 1;
    const top = path.slice(0, length);
    if (length === 0 || valueAt(before, top) === undefined || gone.size === maxGone) continue;
    const text = formatPath(top);
    gone.set(text, `${redact(text)} ${formatChange(before.kind, top, [valueAt(before, top), undefined], redact)}`);
  }
  return [...gone.values()];
}

/** Whether two versions of an object differ in more than who owns what. */
function isSameContent(before: DynamicObject, after: DynamicObject): boolean {
  const contentOf = ({ metadata: { managedFields, resourceVersion, generation, ...metadata }, ...rest }: DynamicObject) => ({
    ...rest,
    metadata,
  });
  return deepEqual(contentOf(before), contentOf(after));
}

const isFieldConflict = (err: StatusError): boolean =>
  isConflict(err) && (err.details?.causes ?? []).some(({ reason }) => reason === 'FieldManagerConflict');

/** Whether an object is to be deleted and made again after its apply was refused. */
export const mayRecreate = async (client: Client, app: Kustomization, desired: DesiredObject, err: unknown): Promise<boolean> =>
  mayBeMadeAnew(app, desired) && (await isFixedField(err, { client, desired }));

const mayBeMadeAnew = (app: Kustomization, { policy }: DesiredObject): boolean => app.spec.force === true || policy.recreates;
