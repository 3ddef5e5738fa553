import { describe, expect, it } from 'vitest';
import type { CronJob, CronJobStatus } from '../../../src/api/batch/v1/cron-job.ts';
import type { Job } from '../../../src/api/batch/v1/job.ts';
import {
  type CronJobState,
  dueStartOf,
  eventsOf,
  stateOf,
  statusOf,
  surplusHistory,
  UnsatisfiableSchedule,
  untilNextStart,
} from '../../../src/lifecycle/cron-job.facts.ts';
import { cronJobMachine } from '../../../src/lifecycle/cron-job.machine.ts';
import { parseCron } from '../../../src/machinery/cron.ts';
import { machineSuite } from '../../support/machine-suite.ts';

const createdAt = '2026-01-01T00:00:00Z';
const at = (time: string): number => Date.parse(`2026-01-01T${time}Z`);

const cronJob = (spec: Partial<CronJob['spec']> = {}, status?: CronJobStatus): CronJob => ({
  apiVersion: 'batch/v1',
  kind: 'CronJob',
  metadata: { name: 'backup', namespace: 'default', creationTimestamp: createdAt },
  spec: { schedule: '*/10 * * * *', concurrencyPolicy: 'Allow', jobTemplate: {}, ...spec },
  ...(status === undefined ? {} : { status }),
});

const reference = (name: string) => ({ apiVersion: 'batch/v1', kind: 'Job', namespace: 'default', name, uid: name });

function written(state: CronJobState): CronJob {
  const active = state === 'Running' ? [reference('backup-1')] : [];
  const object = cronJob({}, statusOf({ active, lastScheduleTime: undefined, lastSuccessfulTime: undefined }));
  return state === 'Deleting' ? { ...object, metadata: { ...object.metadata, deletionTimestamp: createdAt } } : object;
}

machineSuite({
  machine: cronJobMachine,
  samples: [
    { type: 'START_DUE', policy: 'Allow' },
    { type: 'START_DUE', policy: 'Forbid' },
    { type: 'START_DUE', policy: 'Replace' },
    { type: 'START_MISSED' },
    { type: 'JOBS_ENDED' },
    { type: 'DELETED' },
  ],
  terminal: [],
  deletion: { event: { type: 'DELETED' }, states: ['Deleting'] },
  roundTrip: (value) => stateOf(written(value)),
});

describe('the start that is due', () => {
  const due = (object: CronJob, now: number) => dueStartOf(object, parseCron(object.spec.schedule), now);

  it('is the newest time since the last one, or since the creation', () => {
    expect(due(cronJob(), at('00:09:59'))).toBeUndefined();
    expect(due(cronJob(), at('00:10:00'))).toEqual({ at: at('00:10:00'), isOneOfMany: false });
    expect(due(cronJob(), at('00:49:59'))).toEqual({ at: at('00:40:00'), isOneOfMany: false });
    expect(due(cronJob({}, { lastScheduleTime: '2026-01-01T00:40:00Z' }), at('00:49:59'))).toBeUndefined();
  });

  it('is not looked for before the starting deadline', () => {
    expect(due(cronJob({ startingDeadlineSeconds: 60 }), at('00:15:00'))).toBeUndefined();
    expect(due(cronJob({ startingDeadlineSeconds: 400 }), at('00:15:00'))?.at).toBe(at('00:10:00'));
  });

  it('is one of too many after a hundred missed times', () => {
    const everyMinute = cronJob({ schedule: '* * * * *' });
    expect(due(everyMinute, at('01:40:00'))).toEqual({ at: at('01:40:00'), isOneOfMany: false });
    expect(due(everyMinute, at('01:41:30'))).toEqual({ at: at('01:41:00'), isOneOfMany: true });
  });

  it('is found in an uneven schedule', () => {
    const uneven = cronJob({ schedule: '30 6-16/4 * * 1-5' });
    expect(due(uneven, Date.parse('2026-01-05T11:00:00Z'))?.at).toBe(Date.parse('2026-01-05T10:30:00Z'));
  });

  it('is none of a schedule that never comes', () => {
    expect(() => due(cronJob({ schedule: '59 23 31 2 *' }), at('01:00:00'))).toThrow(UnsatisfiableSchedule);
    expect(untilNextStart(cronJob(), parseCron('59 23 31 2 *'), at('01:00:00'))).toBeUndefined();
  });

  it('comes after the next time of the schedule, a tenth of a second late', () => {
    const schedule = parseCron('*/10 * * * *');
    expect(untilNextStart(cronJob(), schedule, at('00:04:00'))).toBe(360_100);
    expect(untilNextStart(cronJob({}, { lastScheduleTime: '2026-01-01T00:10:00Z' }), schedule, at('00:10:00'))).toBe(600_100);
    // A time that was missed since the creation is not looked for again.
    expect(untilNextStart(cronJob(), schedule, at('00:54:00'))).toBe(360_100);
  });
});

describe('cron job events', () => {
  const types = (object: CronJob, now = at('00:10:00')) =>
    eventsOf(object, { active: object.status?.active ?? [], due: { at: at('00:10:00'), isOneOfMany: false }, now });

  it('start a Job once for each time', () => {
    expect(types(cronJob())).toEqual([{ type: 'START_DUE', policy: 'Allow' }]);
    expect(types(cronJob({}, { lastScheduleTime: '2026-01-01T00:10:00Z' }))).toEqual([]);
    const name = `backup-${at('00:10:00') / 60_000}`;
    expect(types(cronJob({}, { active: [reference(name)] }))).toEqual([]);
  });

  it('miss a start whose deadline has passed', () => {
    expect(types(cronJob({ startingDeadlineSeconds: 30 }), at('00:10:30'))).toEqual([{ type: 'START_DUE', policy: 'Allow' }]);
    expect(types(cronJob({ startingDeadlineSeconds: 30 }), at('00:10:31'))).toEqual([{ type: 'START_MISSED' }]);
  });

  it('end the run with its last Job, before the next start', () => {
    const running = cronJob({ concurrencyPolicy: 'Forbid' }, { active: [reference('backup-1')] });
    const due = { at: at('00:10:00'), isOneOfMany: false };
    expect(eventsOf(running, { active: [], due, now: due.at })).toEqual([{ type: 'JOBS_ENDED' }, { type: 'START_DUE', policy: 'Forbid' }]);
  });
});

it('keeps the newest finished Jobs of each outcome', () => {
  const job = (name: string, type: string, startTime?: string): Job => ({
    apiVersion: 'batch/v1',
    kind: 'Job',
    metadata: { name },
    spec: { template: {} },
    status: { conditions: [{ type, status: 'True' }], ...(startTime === undefined ? {} : { startTime }) },
  });
  const jobs = [
    job('c', 'Complete', '2026-01-01T00:03:00Z'),
    job('a', 'Complete', '2026-01-01T00:01:00Z'),
    job('b', 'Complete', '2026-01-01T00:02:00Z'),
    job('failed', 'Failed', '2026-01-01T00:00:00Z'),
    job('failed-unstarted', 'Failed'),
    job('running', 'Suspended'),
  ];
  const names = (spec: Partial<CronJob['spec']>) => surplusHistory(cronJob(spec), jobs).map(({ metadata }) => metadata.name);
  expect(names({ successfulJobsHistoryLimit: 1, failedJobsHistoryLimit: 1 })).toEqual(['a', 'b', 'failed']);
  expect(names({ successfulJobsHistoryLimit: 3, failedJobsHistoryLimit: 0 })).toEqual(['failed', 'failed-unstarted']);
  expect(names({})).toEqual([]);
});
