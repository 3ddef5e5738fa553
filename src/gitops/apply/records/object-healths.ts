import type { Kustomization } from '../../../api/kustomize/v1/kustomization.ts';
import type { Health } from '../../../lifecycle/reasons.ts';
import type { DynamicObject, ObjectRef } from '../../../machinery/object.ts';
import type { Resource } from '../../../machinery/resource.ts';
import type { ObjectId } from '../objects/object-id.ts';

/** An object that `spec.healthChecks` names; without a resource while the cluster does not know its kind. */
export interface CheckedObject {
  readonly kind: string;
  readonly ref: ObjectRef;
  readonly resource: Resource<DynamicObject> | undefined;
}

/** An explanation from the API for the pods of an object, beyond the object and the pods themselves. */
export interface Cause {
  /** `instead`: a sentence that says all; `beside`: one that the reason of the object is completed with. */
  readonly place: 'instead' | 'beside';
  readonly text: string;
  /** A command that shows more. */
  readonly fix?: string;
}

/** The reason of an object with what was found about it. */
export const withCause = (reason: string, { place, text }: Cause): string =>
  place === 'instead' ? text : `${reason.replace(/\.$/, '')}; ${text}`;

/** The search for the cause of `of`, the object and reason that the app is not healthy for. */
export interface CauseSearch {
  readonly of: string;
  /** Time of the next look; milliseconds since the epoch. */
  readonly at: number;
  readonly looks: number;
  readonly found: Cause | undefined;
}

/** The health of each object of an app, and how long the app has waited for it. */
export interface ObjectHealths {
  readonly known: ReadonlyMap<ObjectId, Health>;
  /** Times at which the health of an object changes by time alone; milliseconds since the epoch. */
  readonly due: ReadonlyMap<ObjectId, number>;
  /** Objects that `spec.healthChecks` names. */
  readonly checks: ReadonlyMap<ObjectId, CheckedObject>;
  /** The list that `checks` was made of; undefined while a kind of it is not known. */
  readonly checkedFor: Kustomization['spec']['healthChecks'];
  /** Reason that the app is not healthy yet, and the time since when it is just this. */
  readonly progress: { readonly reason: string; readonly since: number } | undefined;
  readonly cause: CauseSearch | undefined;
  /** Health did not come in time after what was applied last. */
  readonly isOverdue: boolean;
  /** The objects are judged with the next look. */
  mark(ids: Iterable<ObjectId>): void;
  /** The object does not count for the app's health any more. */
  drop(id: ObjectId): void;
  /** Judges what was marked and what is due; `judge` gives undefined for an object that does not count. */
  refresh(now: number, judge: (id: ObjectId) => Health | undefined): void;
  follow(checks: ReadonlyMap<ObjectId, CheckedObject>, checkedFor: ObjectHealths['checkedFor']): void;
  wait(progress: ObjectHealths['progress']): void;
  setOverdue(isOverdue: boolean): void;
  search(cause: CauseSearch | undefined): void;
}

export function createObjectHealths(): ObjectHealths {
  const known = new Map<ObjectId, Health>();
  const due = new Map<ObjectId, number>();
  const marked = new Set<ObjectId>();
  let checks: ObjectHealths['checks'] = new Map();
  let checkedFor: ObjectHealths['checkedFor'];
  let progress: ObjectHealths['progress'];
  let cause: CauseSearch | undefined;
  let isOverdue = false;

  return {
    known,
    due,
    get checks() {
      return checks;
    },
    get checkedFor() {
      return checkedFor;
    },
    get progress() {
      return progress;
    },
    get cause() {
      return cause;
    },
    get isOverdue() {
      return isOverdue;
    },
    mark(ids) {
      for (const id of ids) marked.add(id);
    },
    drop: (id) => void known.delete(id),
    refresh(now, judge) {
      for (const [id, at] of due) if (at <= now) marked.add(id);
      for (const id of marked) {
        const health = judge(id);
        if (health === undefined) known.delete(id);
        else known.set(id, health);
        if (health?.recheckAt === undefined) due.delete(id);
        else due.set(id, health.recheckAt);
      }
      marked.clear();
    },
    follow(next, of) {
      checks = next;
      checkedFor = of;
    },
    wait(next) {
      progress = next;
    },
    setOverdue(next) {
      isOverdue = next;
    },
    search(next) {
      cause = next;
    },
  };
}
