import type { Kustomization } from '../../../api/kustomize/v1/kustomization.ts';
import { labels } from '../../../api/well-known.ts';
import { type DynamicObject, deepEqual, type ManagedFieldsEntry } from '../../../machinery/object.ts';
import { isConflict, isInvalid, isNotFound, isStatusError, type StatusError } from '../../../machinery/status-error.ts';
import { type FieldSet, union } from '../../../machinery/structured-merge/field-set.ts';
import { fieldManager } from '../objects/fields.ts';
import { describeObject } from '../objects/object-id.ts';
import { type Folded, failsOnConflict, foldOwners, isPerson, type TakeoverRules, takeoverRules } from '../observe/takeover.ts';
import type { DesiredObject } from '../plan/plan.ts';
import type { ApplyMode } from '../records/attempt.ts';
import { isFieldConflict, type ObjectRequests, type Write } from './object-requests.ts';
import type { ObjectWriterOptions } from './object-writer.ts';
import { mayRecreate } from './recreate.ts';

/** An object whose fields were taken over. */
export interface TakenOver {
  readonly folded: Folded;
  /** As it was, and with the fields in our entry. */
  readonly before: DynamicObject;
  readonly after: DynamicObject;
}

/** Makes fields and objects of others the app's. */
export interface FieldTakeover {
  /** Decides whose fields become the app's on a live object. */
  rulesFor(write: Write, live: DynamicObject): TakeoverRules;
  /** True when fields that others have may be taken by force, which an Event says of programs. */
  mayTake(app: Kustomization, desired: DesiredObject, conflict: StatusError): boolean;
  /** Puts our labels on an object that is made once: it goes from app to app as it is. */
  takeLabels(write: Write, before: DynamicObject): Promise<void>;
  /**
   * Puts the fields of overridden managers into our entry, so that the apply that follows removes those that Git does not have. No request
   * when there are none, which is nearly always.
   */
  takeFields(write: Write, seen: DynamicObject): Promise<TakenOver | undefined>;
  /** Applies the object. Fields that were taken over and that the server does not let go are given back to their manager. */
  apply(
    write: Write & { readonly mode: ApplyMode },
    taken: TakenOver | undefined,
  ): Promise<{ readonly answer: DynamicObject; readonly refused: FieldSet | undefined }>;
}

export interface FieldTakeoverOptions
  extends Pick<ObjectWriterOptions, 'client' | 'owned' | 'recorder' | 'ignored' | 'isOverridden' | 'redactor'> {
  readonly requests: ObjectRequests;
}

/** Someone else writes the object at the same time now and then, not again and again. */
const maxTakeoverTries = 3;

export function createFieldTakeover(options: FieldTakeoverOptions): FieldTakeover {
  const { client, owned, recorder, ignored, isOverridden, redactor, requests } = options;
  const { find, remove, send } = requests;
  return { rulesFor, mayTake, takeLabels, takeFields, apply };

  function rulesFor({ app, state, desired }: Write, live: DynamicObject): TakeoverRules {
    const known = state.ownership.applied.get(desired.id);
    const refused = known?.desired.object === desired.object ? known.refused : undefined;
    return takeoverRules({ app, desired, live, pointers: ignored.pointersOf(app, desired.object), refused, isOverridden });
  }

  /** Fields that a person set with kubectl are taken silently, those of programs with a warning, unless conflicts are to fail. */
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

  async function takeLabels({ desired: { resource, ref, object } }: Write, { metadata }: DynamicObject): Promise<void> {
    const names = [labels.fluxKustomizeName, labels.fluxKustomizeNamespace];
    const [before, after] = [metadata, object.metadata].map((each) => names.map((name) => [name, each.labels?.[name]] as const));
    // No app may delete an object that no app made.
    if (before === undefined || after === undefined || before.some(([, value]) => value === undefined) || deepEqual(before, after)) return;
    const body = { metadata: { uid: metadata.uid, labels: Object.fromEntries(after) } };
    await client.patch(resource, ref, { type: 'merge', body }, { fieldManager });
  }

  async function takeFields(write: Write, seen: DynamicObject): Promise<TakenOver | undefined> {
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

  async function apply(
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
      if (await mayRecreate(err, { client, app, desired })) {
        await remove(write);
        return { answer: await send(write, { dryRun: false, force: true }), refused: undefined };
      }
      await writeOwners(write, taken.after, taken.before.metadata.managedFields);
      const answer = await send(write, { dryRun: false, force: true });
      const message = `${describeObject(desired.object)}: what ${taken.folded.managers.join(', ')} set beside Git stays: ${redactor.quoted(err.message, state.key)}`;
      recorder.record(app, { type: 'Warning', reason: 'FieldsStay', message });
      return { answer, refused: union(refused, taken.folded.taken) };
    }
  }
}
