import type { Kustomization } from '../../api/kustomize/v1/kustomization.ts';
import { annotations, labels } from '../../api/well-known.ts';
import type { ObjectChange } from '../../base/activity.ts';
import { type Clock, sleep } from '../../base/clock.ts';
import type { Redactor } from '../../base/redactor.ts';
import type { Client } from '../../client/client.ts';
import { type DynamicObject, deepEqual, keyOf } from '../../machinery/object.ts';
import { isConflict, isInvalid, isNotFound, isStatusError, type StatusError } from '../../machinery/status-error.ts';
import type { EventRecorder } from '../../reconcile/event-recorder.ts';
import { type AppliedObject, type ApplyMode, type AppState, doubt } from './app-state.ts';
import { changesBetween, fieldManager, ownFieldsOf, type Redact } from './fields.ts';
import { type IgnoredFields, withoutForeign } from './ignored-fields.ts';
import { isImmutable } from './object-errors.ts';
import { describeObject, type ObjectId } from './object-id.ts';
import { isSuspended, leftAlone, policyOf } from './object-policy.ts';
import type { OwnedObjects } from './owned-objects.ts';
import type { DesiredObject } from './plan.ts';

export interface ObjectWriterOptions {
  readonly client: Client;
  readonly owned: OwnedObjects;
  readonly recorder: EventRecorder;
  readonly ignored: IgnoredFields;
  readonly clock: Clock;
  readonly redactor: Redactor;
  /** Looks for drift again once our own write is known; `answer` is what the server said to it. */
  recheck(state: AppState, id: ObjectId, answer: DynamicObject | undefined): void;
}

export interface Write {
  readonly app: Kustomization;
  readonly state: AppState;
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

export function createObjectWriter({ client, owned, recorder, ignored, clock, redactor, recheck }: ObjectWriterOptions): ObjectWriter {
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
            (cause: unknown) => {
              if (mayRecreate(app, desired, cause)) return 'recreate' as const;
              throw cause;
            },
          );
        }
        if (mayRecreate(app, desired, err)) return 'recreate';
        throw err;
      }
    },
    async apply(write) {
      const { app, state, desired, mode, signal } = write;
      const { id, resource } = desired;
      const { before, skipped } = await standing(write);
      if (skipped !== undefined) {
        if (skipped === 'exists' && mode === 'force' && before !== undefined) await takeOver(write, before);
        const { uid, resourceVersion } = before?.metadata ?? {};
        const ownFields = before === undefined ? undefined : ownFieldsOf(before);
        state.applied.set(id, { desired, ownFields, uid, resourceVersion: Number(resourceVersion ?? 0), skipped });
        state.pending.delete(id);
        state.drifts.delete(id);
        state.healthDirty.add(id);
        return undefined;
      }
      state.writing.add(id);
      let answer: DynamicObject | undefined;
      try {
        if (mode === 'recreate') await remove(write);
        answer = await send(write, { dryRun: false, force: mode === 'force' }).catch((err: unknown) => {
          // Someone took a field between dry run and apply.
          if (!isStatusError(err) || !isFieldConflict(err) || !mayTake(app, desired, err)) throw err;
          signal.throwIfAborted();
          return send(write, { dryRun: false, force: true });
        });
        const { uid, resourceVersion } = answer.metadata;
        owned.wrote(resource, answer);
        state.applied.set(id, { desired, ownFields: ownFieldsOf(answer), uid, resourceVersion: Number(resourceVersion ?? 0) });
        state.pending.delete(id);
        state.drifts.delete(id);
        state.healthDirty.add(id);
        if (before?.metadata.uid === uid && before?.metadata.resourceVersion === resourceVersion) return undefined;
        const object = describeObject(desired.object);
        return before === undefined || before.metadata.uid !== uid
          ? { action: 'created', object, fields: [] }
          : { action: 'configured', object, fields: changesBetween(before, desired.object, quoted(app)) };
      } catch (err) {
        doubt(state, id);
        throw err;
      } finally {
        state.writing.delete(id);
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
      state.applied.set(id, skipped === undefined ? seen : { ...seen, skipped });
      state.healthDirty.add(id);
      const drift = (change: string): void => void state.drifts.set(id, { id, change, by: '', detectedAt: clock.now() });
      if (skipped !== undefined) return;
      if (live === undefined) return drift('deleted');
      try {
        const result = await send(write, { dryRun: true, force: true });
        const [first, ...more] = changesBetween(live, result, quoted(app));
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

  /** A dry run. */
  async function ask(write: Write, { force }: { readonly force: boolean }): Promise<void> {
    const answer = await send(write, { dryRun: true, force });
    if (isSuspended(policyOf(answer), clock.now())) suspendedLive.add(write.desired);
  }

  /** Fields that a person set with kubectl are taken silently, those of other programs with a warning, unless conflicts are to fail. */
  function mayTake(app: Kustomization, { object, policy }: DesiredObject, err: StatusError): boolean {
    const causes = err.details?.causes ?? [];
    const managers = [...new Set(causes.map(({ message = '' }) => /conflict with "([^"]*)"/.exec(message)?.[1] ?? '?'))];
    if (managers.every((manager) => manager.startsWith('kubectl') || manager === 'before-first-apply')) return true;
    if (policy.failsOnConflict ?? app.metadata.annotations?.[annotations.onConflict] === 'fail') return false;
    recorder.record(app, {
      type: 'Warning',
      reason: 'FieldConflict',
      message: `${describeObject(object)}: took ${causes.map(({ field = '' }) => field).join(', ')} from ${managers.join(', ')}`,
    });
    return true;
  }

  async function send(write: Write, { dryRun, force }: { readonly dryRun: boolean; readonly force: boolean }): Promise<DynamicObject> {
    const { app, state, desired, signal } = write;
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
    const body = withoutForeign(object, owned.live(resource, ref), ignored.pointersOf(app, object, state.scaled));
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
    const { app, state, desired } = write;
    const pointers = await ignored.pointersNow(app, desired.object, state.scaled);
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
      if (clock.monotonicMs() > deadline) throw new Error(`${describeObject(object)} was deleted to be made anew and is not gone yet`);
      await sleep(clock, removalPollMs, signal);
    }
  }
}

const isFieldConflict = (err: StatusError): boolean =>
  isConflict(err) && (err.details?.causes ?? []).some(({ reason }) => reason === 'FieldManagerConflict');

export const mayRecreate = (app: Kustomization, { policy }: DesiredObject, err: unknown): boolean =>
  isInvalid(err) && isImmutable(err) && (app.spec.force === true || policy.recreates);
