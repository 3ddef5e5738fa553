import type { CronJob, CronJobStatus } from '../api/batch/v1/cron-job.ts';
import type { Job } from '../api/batch/v1/job.ts';
import { timestampOf } from '../base/clock.ts';
import type { Schedule } from '../machinery/cron.ts';
import type { CronJobEvent, cronJobMachine } from './cron-job.machine.ts';
import type { StateValueOf } from './step.ts';

export type CronJobState = StateValueOf<typeof cronJobMachine>;
export type ActiveJob = NonNullable<CronJobStatus['active']>[number];

/** Observations of one pass besides the object itself. Times are milliseconds since the epoch. */
export interface CronJobWorld {
  /** The status's list without Jobs that ended or are gone. */
  readonly active: readonly ActiveJob[];
  readonly due: DueStart | undefined;
  readonly now: number;
}

/** A time of the schedule at which a Job should have been made. */
export interface DueStart {
  readonly at: number;
  /** More than a hundred times have passed since the last one, so a clock or the deadline may be wrong. */
  readonly isOneOfMany: boolean;
}

/** Times that may have passed unnoticed before a person should look. */
const manyMissed = 100;

/** A schedule that never comes, such as the 31st of February. */
export class UnsatisfiableSchedule extends Error {
  override readonly name = 'UnsatisfiableSchedule';
}

export const stateOf = ({ metadata, status }: CronJob): CronJobState =>
  metadata.deletionTimestamp !== undefined ? 'Deleting' : (status?.active ?? []).length > 0 ? 'Running' : 'Idle';

export function eventsOf(cronJob: CronJob, { active, due, now }: CronJobWorld): readonly CronJobEvent[] {
  if (cronJob.metadata.deletionTimestamp !== undefined) return [{ type: 'DELETED' }];
  const events: CronJobEvent[] = [];
  if (active.length === 0 && stateOf(cronJob) === 'Running') events.push({ type: 'JOBS_ENDED' });
  if (due === undefined) return events;
  const { startingDeadlineSeconds, concurrencyPolicy } = cronJob.spec;
  if (startingDeadlineSeconds !== undefined && due.at + startingDeadlineSeconds * 1_000 < now) return [...events, { type: 'START_MISSED' }];
  const name = jobNameOf(cronJob, due.at);
  const isStarted = active.some((job) => job.name === name) || lastScheduleOf(cronJob) === due.at;
  if (isStarted) return events;
  const policy = concurrencyPolicy === 'Forbid' || concurrencyPolicy === 'Replace' ? concurrencyPolicy : 'Allow';
  return [...events, { type: 'START_DUE', policy }];
}

export interface CronJobCounts {
  readonly active: readonly ActiveJob[];
  /** RFC 3339. */
  readonly lastScheduleTime: string | undefined;
  readonly lastSuccessfulTime: string | undefined;
}

export const statusOf = ({ active, lastScheduleTime, lastSuccessfulTime }: CronJobCounts): CronJobStatus => ({
  ...(active.length === 0 ? {} : { active }),
  ...(lastScheduleTime === undefined ? {} : { lastScheduleTime }),
  ...(lastSuccessfulTime === undefined ? {} : { lastSuccessfulTime }),
});

/** The name is the same for the same time, so a Job is made once even when its maker was interrupted. */
export const jobNameOf = ({ metadata }: CronJob, at: number): string => `${metadata.name}-${Math.floor(at / 60_000)}`;

/**
 * The newest time of the schedule that has passed since the last Job, within the starting deadline.
 *
 * @throws UnsatisfiableSchedule
 */
export function dueStartOf(cronJob: CronJob, schedule: Schedule, now: number): DueStart | undefined {
  const { recent, missed } = missedStarts(cronJob, schedule, { now, hasDeadline: true });
  return recent === undefined ? undefined : { at: recent, isOneOfMany: missed > manyMissed };
}

/** Milliseconds until the next time of the schedule; undefined when it never comes. A tenth of a second late, as upstream's controller. */
export function untilNextStart(cronJob: CronJob, schedule: Schedule, now: number): number | undefined {
  let from = now;
  try {
    const { earliest, recent, missed } = missedStarts(cronJob, schedule, { now, hasDeadline: false });
    if (recent !== undefined) from = recent;
    else if (missed === 0) from = earliest;
  } catch (err) {
    if (!(err instanceof UnsatisfiableSchedule)) throw err;
  }
  const next = schedule.next(from, cronJob.spec.timeZone);
  return next === undefined ? undefined : Math.max(1, next + 100 - now);
}

interface MissedStarts {
  /** Times at or before this one are settled. */
  readonly earliest: number;
  readonly recent: number | undefined;
  /** An estimate from the first two times: a schedule may be uneven. */
  readonly missed: number;
}

function missedStarts(
  cronJob: CronJob,
  schedule: Schedule,
  { now, hasDeadline }: { readonly now: number; readonly hasDeadline: boolean },
): MissedStarts {
  const { startingDeadlineSeconds, timeZone } = cronJob.spec;
  let earliest = lastScheduleOf(cronJob) ?? Date.parse(cronJob.metadata.creationTimestamp ?? '');
  if (hasDeadline && startingDeadlineSeconds !== undefined) earliest = Math.max(earliest, now - startingDeadlineSeconds * 1_000);
  const first = schedule.next(earliest, timeZone);
  const second = first === undefined ? undefined : schedule.next(first, timeZone);
  if (first === undefined || second === undefined)
    throw new UnsatisfiableSchedule('time difference between two schedules is less than 1 second');
  if (now < first) return { earliest, recent: undefined, missed: 0 };
  if (now < second) return { earliest, recent: first, missed: 0 };
  const gap = second - first;
  const missed = Math.floor((now - first) / gap) + 1;
  // Near the end, but one gap earlier: the times of an uneven schedule are looked up from there.
  let recent: number | undefined;
  for (let at = schedule.next(first + (missed - 2) * gap, timeZone); at !== undefined && at <= now; at = schedule.next(at, timeZone))
    recent = at;
  return { earliest, recent, missed };
}

function lastScheduleOf({ status }: CronJob): number | undefined {
  return status?.lastScheduleTime === undefined ? undefined : Date.parse(status.lastScheduleTime);
}

/** Newest end of a Job that succeeded, of these and the one that is known. */
export function lastSuccessOf(cronJob: CronJob, jobs: readonly Job[]): string | undefined {
  let newest = cronJob.status?.lastSuccessfulTime;
  for (const { status } of jobs) {
    const ended = status?.completionTime;
    if (ended !== undefined && outcomeOf(status) === 'Complete' && (newest === undefined || Date.parse(ended) > Date.parse(newest)))
      newest = ended;
  }
  return newest === undefined ? undefined : timestampOf(Date.parse(newest));
}

/** The final condition of a Job; undefined while it runs. */
export const outcomeOf = (status: Job['status']): 'Complete' | 'Failed' | undefined =>
  status?.conditions?.find(({ type, status: value }) => (type === 'Complete' || type === 'Failed') && value === 'True')?.type as
    | 'Complete'
    | 'Failed'
    | undefined;

/** Finished Jobs beyond the history limits, the oldest first. */
export function surplusHistory({ spec }: CronJob, jobs: readonly Job[]): readonly Job[] {
  const limits = { Complete: spec.successfulJobsHistoryLimit, Failed: spec.failedJobsHistoryLimit } as const;
  return (['Complete', 'Failed'] as const).flatMap((outcome) => {
    const limit = limits[outcome];
    if (limit === undefined) return [];
    const finished = jobs.filter(({ status }) => outcomeOf(status) === outcome).sort(byStart);
    return finished.slice(0, Math.max(0, finished.length - limit));
  });
}

/** Jobs without a start come last; equal starts are ordered by name. */
function byStart(a: Job, b: Job): number {
  const [first, second] = [a, b].map(({ status }) =>
    status?.startTime === undefined ? Number.MAX_SAFE_INTEGER : Date.parse(status.startTime),
  );
  return (first ?? 0) - (second ?? 0) || (a.metadata.name < b.metadata.name ? -1 : 1);
}
