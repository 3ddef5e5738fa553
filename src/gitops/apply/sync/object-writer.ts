import type { Clock } from '../../../base/clock.ts';
import type { ObjectChange } from '../../../base/contracts/activity.ts';
import type { Redactor } from '../../../base/redactor.ts';
import type { Client } from '../../../client/client.ts';
import { type DynamicObject, deepEqual } from '../../../machinery/object.ts';
import { isStatusError } from '../../../machinery/status-error.ts';
import type { EventRecorder } from '../../../reconcile/event-recorder.ts';
import { changesBetween, formatChange, formatPath, lostFields, ownFieldsOf, type Redact, valueAt } from '../objects/fields.ts';
import type { IgnoredFields } from '../objects/ignored-fields.ts';
import { describeObject, type ObjectId, versionOf } from '../objects/object-id.ts';
import { isSuspended, policyOf, skipReasonOf } from '../objects/object-policy.ts';
import { hasCompleted } from '../observe/completed-jobs.ts';
import type { OwnedObjects } from '../observe/owned-objects.ts';
import { additionsIn, type IsOverridden } from '../observe/takeover.ts';
import type { DesiredObject } from '../plan/plan.ts';
import type { ObjectRecords } from '../records/app-records.ts';
import type { ApplyMode } from '../records/attempt.ts';
import type { AppliedObject } from '../records/object-sets.ts';
import { createFieldTakeover, type TakenOver } from './field-takeover.ts';
import { createLeftOverFields } from './left-over.ts';
import { createObjectRequests, isFieldConflict, type Write } from './object-requests.ts';
import { asksForRecreation, recreateAfter } from './recreate.ts';

export interface ObjectWriterOptions {
  readonly client: Client;
  readonly owned: Pick<OwnedObjects, 'live' | 'wrote'>;
  readonly recorder: EventRecorder;
  readonly ignored: Pick<IgnoredFields, 'pointersOf' | 'pointersNow'>;
  /** Managers whose fields become the app's. */
  readonly isOverridden: IsOverridden;
  readonly clock: Clock;
  readonly redactor: Redactor;
  /** Looks for drift again once our own write is known; `answer` is the server's answer to it. */
  recheck(state: ObjectRecords, id: ObjectId, answer: DynamicObject | undefined): void;
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

export function createObjectWriter(options: ObjectWriterOptions): ObjectWriter {
  const { client, owned, clock, redactor, recheck } = options;
  const requests = createObjectRequests(options);
  const takeover = createFieldTakeover({ ...options, requests });
  const leftOverFields = createLeftOverFields({ ...options, requests });
  /** Objects that the answer to a dry run showed suspended, which the cache may not know yet. */
  const suspendedLive = new WeakSet<DesiredObject>();

  return {
    async tryOut(write) {
      if ((await lookAt(write)).skipped !== undefined) return 'apply';
      const { app, desired, signal } = write;
      try {
        await ask(write, { force: false });
        return 'apply';
      } catch (err) {
        if (!isStatusError(err)) throw err;
        if (isFieldConflict(err) && takeover.mayTake(app, desired, err)) {
          // Fields that are taken by force are tried out as well: the server may refuse them for another reason.
          signal.throwIfAborted();
          return await ask(write, { force: true }).then(
            () => 'force' as const,
            (cause: unknown) => recreateAfter(cause, { client, owned, app, desired, signal }),
          );
        }
        return recreateAfter(err, { client, owned, app, desired, signal });
      }
    },
    async apply(write) {
      const { before, skipped } = await lookAt(write);
      if (skipped !== undefined) return skip(write, before, skipped);
      const { app, state, desired, mode } = write;
      const { id } = desired;
      state.ownership.beginWrite(id);
      let answer: DynamicObject | undefined;
      try {
        if (mode === 'recreate') await requests.remove(write);
        const taken = mode === 'recreate' || before === undefined ? undefined : await takeover.takeFields(write, before);
        const written = await takeover.apply(write, taken);
        answer = written.answer;
        const leftOver = await leftOverFields.find(write, taken?.after ?? before, answer);
        if (leftOver.length > 0 && asksForRecreation(app, desired)) {
          await requests.remove(write);
          answer = await requests.send(write, { dryRun: false, force: true });
        } else if (leftOver.length > 0) leftOverFields.report(write, leftOver, answer);
        owned.wrote(desired.resource, answer);
        const refused = written.refused === undefined ? {} : { refused: written.refused };
        const applied = { desired, ownFields: ownFieldsOf(answer), uid: answer.metadata.uid, resourceVersion: versionOf(answer) };
        setApplied(state, id, { ...applied, ...refused });
        if (!hasCompleted(state, desired)) state.ownership.forgetCompleted(id);
        return changeOf(desired, { before, taken, answer }, quotedFor(state));
      } catch (err) {
        state.ownership.amend(id, { inDoubt: true });
        throw err;
      } finally {
        state.ownership.endWrite(id);
        recheck(state, id, answer);
      }
    },
    survey,
  };

  /** Reads the live object, and the reason not to touch it. The server is asked where a late cache could make us write over the object. */
  async function lookAt(write: Write): Promise<{ readonly before: DynamicObject | undefined; readonly skipped: AppliedObject['skipped'] }> {
    const { desired, state } = write;
    const { resource, ref, policy } = desired;
    const cached = owned.live(resource, ref);
    if (cached === undefined && hasCompleted(state, desired)) return { before: undefined, skipped: 'expired' };
    const skipped = skipReasonOf(policy, cached, clock.now());
    if (skipped !== undefined && cached !== undefined) return { before: cached, skipped };
    const isInDoubt = suspendedLive.has(desired) || (cached === undefined && (policy.createsOnly || isSuspended(policy, clock.now())));
    if (!isInDoubt) return { before: cached, skipped };
    const before = await requests.find(write);
    return { before, skipped: skipReasonOf(policy, before, clock.now()) };
  }

  /** Takes an object that is left alone for applied. One that is made once goes from app to app by its labels. */
  async function skip(
    write: Write & { readonly mode: ApplyMode },
    before: DynamicObject | undefined,
    skipped: NonNullable<AppliedObject['skipped']>,
  ): Promise<undefined> {
    const { state, desired, mode } = write;
    if (skipped === 'exists' && mode === 'force' && before !== undefined) await takeover.takeLabels(write, before);
    setApplied(state, desired.id, { ...seenAs(desired, before), skipped });
  }

  async function survey(write: Write): Promise<void> {
    const { state, desired } = write;
    const { id, resource, ref } = desired;
    const live = owned.live(resource, ref);
    const hasExpired = live === undefined && hasCompleted(state, desired);
    const skipped = hasExpired ? 'expired' : skipReasonOf(desired.policy, live, clock.now());
    const seen = seenAs(desired, live);
    state.ownership.apply(id, skipped === undefined ? seen : { ...seen, skipped });
    state.health.mark([id]);
    const drift = (change: string): void => state.drifts.find({ id, change, by: '', detectedAt: clock.now() });
    if (skipped !== undefined) return;
    if (live === undefined) return drift('deleted');
    const redact = quotedFor(state);
    try {
      const result = await requests.send(write, { dryRun: true, force: true });
      const added = additionsIn(live, seen.ownFields, takeover.rulesFor(write, live)).map(
        ({ path }) => `${redact(formatPath(path))} ${formatChange({ kind: live.kind, path, redact }, [undefined, valueAt(live, path)])}`,
      );
      const [first, ...more] = [...changesBetween(live, result, redact), ...added];
      if (first !== undefined) drift(`${first}${more.length === 0 ? '' : ` and ${more.length} more`}`);
    } catch (err) {
      if (!isStatusError(err)) throw err;
      drift(`cannot be compared: ${redact(err.message)}`);
    }
  }

  /** Tries the apply out, and notes that the live object says to leave it alone. */
  async function ask(write: Write, { force }: { readonly force: boolean }): Promise<void> {
    const answer = await requests.send(write, { dryRun: true, force });
    if (isSuspended(policyOf(answer), clock.now())) suspendedLive.add(write.desired);
  }

  function quotedFor({ key }: Pick<ObjectRecords, 'key'>): Redact {
    return (text) => redactor.quoted(text, key);
  }
}

const seenAs = (desired: DesiredObject, live: DynamicObject | undefined): AppliedObject => ({
  desired,
  ownFields: live === undefined ? undefined : ownFieldsOf(live),
  uid: live?.metadata.uid,
  resourceVersion: Number(live?.metadata.resourceVersion ?? 0),
});

function setApplied({ ownership, drifts, health }: ObjectRecords, id: ObjectId, applied: AppliedObject): void {
  ownership.apply(id, applied);
  drifts.heal(id);
  health.mark([id]);
}

/** The change that an apply made; undefined when the object is as it was, but for the owners of its fields. */
function changeOf(
  desired: DesiredObject,
  {
    before,
    taken,
    answer,
  }: { readonly before: DynamicObject | undefined; readonly taken: TakenOver | undefined; readonly answer: DynamicObject },
  redact: Redact,
): ObjectChange | undefined {
  const { uid, resourceVersion } = answer.metadata;
  if (before?.metadata.uid === uid && before?.metadata.resourceVersion === resourceVersion) return undefined;
  const object = describeObject(desired.object);
  if (before === undefined || before.metadata.uid !== uid) return { action: 'created', object, fields: [] };
  if (taken !== undefined && isSameContent(taken.before, answer)) return undefined;
  const gone = taken === undefined ? [] : goneFields(taken, answer, redact);
  return { action: 'configured', object, fields: [...changesBetween(before, desired.object, redact), ...gone] };
}

/** Fields taken over that are looked at, and those of them that are named. */
const maxTaken = 50;
const maxGone = 4;

/** Fields that were taken over and that the apply removed, `spec.hostNetwork true → absent`; an item of a list as a whole. */
function goneFields({ folded, before }: TakenOver, answer: DynamicObject, redact: Redact) {
  const gone = new Map<string, string>();
  for (const path of lostFields(folded.taken, undefined, maxTaken)) {
    const length = path.findIndex((_, index) => valueAt(answer, path.slice(0, index + 1)) === undefined) + 1;
    const top = path.slice(0, length);
    if (length === 0 || valueAt(before, top) === undefined || gone.size === maxGone) continue;
    const text = formatPath(top);
    gone.set(text, `${redact(text)} ${formatChange({ kind: before.kind, path: top, redact }, [valueAt(before, top), undefined])}`);
  }
  return [...gone.values()];
}

/** True when two versions of an object differ in no more than the owners of fields. */
function isSameContent(before: DynamicObject, after: DynamicObject): boolean {
  const contentOf = ({ metadata: { managedFields, resourceVersion, generation, ...metadata }, ...rest }: DynamicObject) => ({
    ...rest,
    metadata,
  });
  return deepEqual(contentOf(before), contentOf(after));
}
