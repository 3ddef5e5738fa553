import type { DynamicObject, ObjectRef } from '../../../machinery/object.ts';
import type { Resource } from '../../../machinery/resource.ts';
import type { FieldSet } from '../../../machinery/structured-merge/field-set.ts';
import type { FieldTree } from '../objects/fields.ts';
import type { ObjectId } from '../objects/object-id.ts';
import type { DesiredObject, Plan } from '../plan/plan.ts';

/** An object that is in force: what was sent, and what we owned of it right after. */
export interface AppliedObject {
  readonly desired: DesiredObject;
  readonly ownFields: FieldTree | undefined;
  readonly uid: string | undefined;
  /** Version of our own write. */
  readonly resourceVersion: number;
  /**
   * It was not written: its annotations say that it is left alone for now, or that it is only to be there. `expired`: it was, and is a Job
   * that completed and that its time to live took away.
   */
  readonly skipped?: 'suspended' | 'exists' | 'expired';
  /** Fields of others that the server did not let go when they were taken over: they stay until Git changes the object. */
  readonly refused?: FieldSet;
  /** A later write was not answered with success: the server may hold what that one said, and its event is one of our own. */
  readonly inDoubt?: true;
}

/** An object of the inventory that the newest revision no longer names. */
export interface DoomedObject {
  readonly version: string;
  readonly uid: string | undefined;
  /** Known once discovery was asked. */
  readonly resource?: Resource<DynamicObject>;
  readonly ref?: ObjectRef;
}

/** The objects of an app, by their place between "sent" and "gone". An object leaves all sets only when it is gone or another app's. */
export interface ObjectSets {
  readonly applied: ReadonlyMap<ObjectId, AppliedObject>;
  readonly doomed: ReadonlyMap<ObjectId, DoomedObject>;
  /** Objects that were to be applied and of which no answer came that they are: they may still be there. */
  readonly pending: ReadonlyMap<ObjectId, DesiredObject>;
  /** Objects that the inventory lists because a hook made them. */
  readonly hookObjects: ReadonlyMap<ObjectId, DesiredObject>;
  /** True while the apply of the object is under way: its events are our own writes. */
  isWriting(id: ObjectId): boolean;

  /** Dooms what a plan does not name. An object that it names again and that is applied is not doomed any more. */
  compare(plan: Pick<Plan, 'objects' | 'hooks'>): void;
  /** Before the first write: whatever happens from here on, every object of the plan is known to be the app's. */
  intend(plan: Pick<Plan, 'objects' | 'hooks'>): void;
  /** A whole plan is in force: the doomed objects do not count as applied, and manifests that only moved are taken over. */
  complete(plan: Pick<Plan, 'objects'>): void;
  beginWrite(id: ObjectId): void;
  endWrite(id: ObjectId): void;
  /** The server has the object. */
  apply(id: ObjectId, applied: AppliedObject): void;
  /** Notes more of an object that is applied. */
  amend(id: ObjectId, change: Partial<AppliedObject>): void;
  /** An object that was made a moment ago is deleted again, and may take a moment to go. */
  unmake(id: ObjectId, desired: DesiredObject): void;
  /** Dooms everything: the app goes, or has to be compared as a whole. */
  doomAll(options: { readonly except: ObjectId | undefined }): void;
  /** Notes more of an object that is to go. */
  locate(id: ObjectId, doomed: DoomedObject): void;
  /** The object stays where it is and is not doomed. */
  spare(id: ObjectId): void;
  /** The object is gone or another app's. */
  forget(id: ObjectId): void;
}

/** Calls `onChange` when an object comes to the app or leaves it outside of a plan. */
export function createObjectSets({ onChange }: { readonly onChange: () => void }): ObjectSets {
  const applied = new Map<ObjectId, AppliedObject>();
  const doomed = new Map<ObjectId, DoomedObject>();
  const pending = new Map<ObjectId, DesiredObject>();
  const hookObjects = new Map<ObjectId, DesiredObject>();
  const writing = new Set<ObjectId>();

  const doom = (id: ObjectId, { resource, ref }: DesiredObject, uid: string | undefined): void => {
    doomed.set(id, { version: resource.version, uid, resource, ref });
  };

  return {
    applied,
    doomed,
    pending,
    hookObjects,
    isWriting: (id) => writing.has(id),

    compare(plan) {
      const isNamed = (id: ObjectId): boolean => plan.objects.has(id) || plan.hooks.has(id);
      for (const [id, desired] of [...hookObjects, ...pending]) if (!isNamed(id)) doom(id, desired, undefined);
      for (const [id, { desired, uid }] of applied) if (!isNamed(id)) doom(id, desired, uid);
      // Until the inventory intends an object that is not applied, the note that it is doomed is the only one.
      for (const id of doomed.keys()) if (isNamed(id) && applied.has(id)) doomed.delete(id);
    },
    intend(plan) {
      for (const [id, desired] of plan.objects) if (!applied.has(id)) pending.set(id, desired);
      for (const [id, hook] of plan.hooks) hookObjects.set(id, hook);
      for (const id of doomed.keys()) if (plan.objects.has(id) || plan.hooks.has(id)) doomed.delete(id);
    },
    complete(plan) {
      for (const id of doomed.keys()) {
        applied.delete(id);
        hookObjects.delete(id);
        pending.delete(id);
      }
      for (const [id, desired] of plan.objects) {
        const known = applied.get(id);
        if (known !== undefined && known.desired !== desired) applied.set(id, { ...known, desired });
      }
    },
    beginWrite: (id) => void writing.add(id),
    endWrite: (id) => void writing.delete(id),
    apply(id, object) {
      applied.set(id, object);
      pending.delete(id);
    },
    amend(id, change) {
      const known = applied.get(id);
      if (known !== undefined) applied.set(id, { ...known, ...change });
    },
    unmake(id, desired) {
      applied.delete(id);
      pending.set(id, desired);
      onChange();
    },
    doomAll({ except }) {
      for (const [id, { desired, uid }] of applied) doom(id, desired, uid);
      for (const [id, desired] of [...pending, ...hookObjects]) if (!doomed.has(id)) doom(id, desired, undefined);
      for (const map of [pending, hookObjects, applied]) map.clear();
      if (except !== undefined) doomed.delete(except);
      onChange();
    },
    locate(id, object) {
      doomed.set(id, object);
    },
    spare(id) {
      doomed.delete(id);
      onChange();
    },
    forget(id) {
      for (const map of [doomed, applied, pending, hookObjects]) map.delete(id);
      onChange();
    },
  };
}
