import type { Kustomization } from '../../../api/kustomize/v1/kustomization.ts';
import { type Clock, sleep } from '../../../base/clock.ts';
import type { Client } from '../../../client/client.ts';
import { type DynamicObject, deepEqual } from '../../../machinery/object.ts';
import { isConflict, isNotFound, isStatusError, type StatusError } from '../../../machinery/status-error.ts';
import { fieldManager } from '../objects/fields.ts';
import { type IgnoredFields, withoutForeign } from '../objects/ignored-fields.ts';
import { describeObject } from '../objects/object-id.ts';
import type { OwnedObjects } from '../observe/owned-objects.ts';
import type { DesiredObject } from '../plan/plan.ts';
import type { ObjectRecords } from '../records/app-records.ts';

/** An object of an app that is written, or tried out. */
export interface Write {
  readonly app: Kustomization;
  readonly state: ObjectRecords;
  readonly desired: DesiredObject;
  readonly signal: AbortSignal;
}

/** Requests to the server about single objects. */
export interface ObjectRequests {
  /** Reads the object as it is now; undefined when it does not exist. */
  find(write: Write): Promise<DynamicObject | undefined>;
  /**
   * Applies the object without the fields that others may have. `force` takes the other fields from whoever has them.
   *
   * @throws StatusError a field conflict without `force`, after a look at what the server has
   */
  send(write: Write, options: { readonly dryRun: boolean; readonly force: boolean }): Promise<DynamicObject>;
  /** Asks how the server would make the object now, with its defaults; undefined when it refuses to. */
  makeFresh(write: Write): Promise<DynamicObject | undefined>;
  /**
   * Deletes an object that cannot be changed, and waits until it is gone. The pods of a StatefulSet stay for the new one.
   *
   * @throws Error when it is not gone within 5 seconds
   */
  remove(write: Write): Promise<void>;
}

export interface ObjectRequestsOptions {
  readonly client: Client;
  readonly owned: Pick<OwnedObjects, 'live'>;
  readonly ignored: Pick<IgnoredFields, 'pointersOf' | 'pointersNow'>;
  readonly clock: Clock;
}

/** An object that is deleted to be made again must be gone within this time; a sync that waited longer would hold up other apps. */
const maxRemovalMs = 5_000;
const removalPollMs = 100;
/** Leaves room for what the server adds, in names of 63 characters. */
const maxGeneratedName = 50;

export function createObjectRequests({ client, owned, ignored, clock }: ObjectRequestsOptions): ObjectRequests {
  return { find, send, makeFresh, remove };

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
    const pointers = await ignored.pointersNow(app, desired.object, () => find(write));
    return pointers.length === 0 ? desired.object : withoutForeign(desired.object, await find(write), pointers);
  }

  function find({ desired: { resource, ref } }: Write): Promise<DynamicObject | undefined> {
    return client.get(resource, ref).catch((err: unknown) => {
      if (isNotFound(err)) return undefined;
      throw err;
    });
  }

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
}

/** True when the server refused an apply because other managers have some of its fields. */
export const isFieldConflict = (err: StatusError): boolean =>
  isConflict(err) && (err.details?.causes ?? []).some(({ reason }) => reason === 'FieldManagerConflict');
