import { createHash } from 'node:crypto';
import { type Job, jobs } from '../../../api/batch/v1/job.ts';
import { isConditionTrue } from '../../../machinery/conditions.ts';
import { canonicalJson } from '../../../machinery/json.ts';
import type { DynamicObject } from '../../../machinery/object.ts';
import { parseApiVersion } from '../../../machinery/resource.ts';
import type { DesiredObject } from '../plan/plan.ts';
import type { ObjectRecords } from '../records/app-records.ts';

/** A Job with a time to live has done its work once it completed; one that failed has not. */
const isDoneForGood = (object: DynamicObject): boolean =>
  object.kind === jobs.kind &&
  parseApiVersion(object.apiVersion).group === jobs.group &&
  typeof (object as Partial<Job>).spec?.ttlSecondsAfterFinished === 'number' &&
  isConditionTrue((object as Partial<Job>).status?.conditions, 'Complete');

const digestOf = ({ object }: DesiredObject): string => createHash('sha256').update(canonicalJson(object)).digest('base64');

/** Notes a Job that has completed and has a time to live, with its manifest. Other objects cost a comparison. */
export function noteCompletion({ ownership }: Pick<ObjectRecords, 'ownership'>, desired: DesiredObject, live: DynamicObject): void {
  if (isDoneForGood(live)) ownership.noteCompleted(desired.id, digestOf(desired));
}

/** True when the object is a Job that completed as this manifest has it. Made again, it would run again. */
export const hasCompleted = ({ ownership }: Pick<ObjectRecords, 'ownership'>, desired: DesiredObject): boolean => {
  const digest = ownership.completed.get(desired.id);
  return digest !== undefined && digest === digestOf(desired);
};
