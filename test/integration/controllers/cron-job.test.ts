import { afterEach, describe, expect, it } from 'vitest';
import { type CronJob, cronJobs } from '../../../src/api/batch/v1/cron-job.ts';
import { type Job, jobs } from '../../../src/api/batch/v1/job.ts';
import { events } from '../../../src/api/core/v1/event.ts';
import { createCronJobController } from '../../../src/controllers/cron-job/cron-job-controller.ts';
import { createGarbageCollector } from '../../../src/controllers/garbage-collector/garbage-collector.ts';
import { type ControlPlane, startControlPlane } from '../../support/control-plane.ts';
import { createManualClock, type ManualClock } from '../../support/manual-clock.ts';
import { until } from '../../support/until.ts';

const namespace = 'default';
const name = 'backup';
const minute = 60_000;

let plane: ControlPlane | undefined;
let clock: ManualClock;
afterEach(async () => {
  await plane?.stop();
  plane = undefined;
});

async function start(spec: Partial<CronJob['spec']> = {}): Promise<ControlPlane> {
  clock = createManualClock(Date.parse('2026-01-01T00:00:30Z'));
  plane = await startControlPlane({ controllers: [createCronJobController, createGarbageCollector], clock });
  const template = { spec: { containers: [{ name: 'run', image: 'host/sh' }], restartPolicy: 'Never' } };
  await plane.client.create(cronJobs, {
    apiVersion: 'batch/v1',
    kind: 'CronJob',
    metadata: { name, namespace },
    spec: { schedule: '* * * * *', jobTemplate: { metadata: { labels: { app: 'backup' } }, spec: { template } }, ...spec },
  });
  await until(() => plane?.informers.get(cronJobs).getByKey(`${namespace}/${name}`) !== undefined, { what: 'the CronJob in the cache' });
  return plane;
}

const get = ({ client }: ControlPlane) => client.get(cronJobs, { namespace, name });
const all = async ({ client }: ControlPlane): Promise<readonly Job[]> => (await client.list(jobs, { namespace })).items;
const names = async (at: ControlPlane) => (await all(at)).map(({ metadata }) => metadata.name).sort();
const jobAt = (time: string): string => `${name}-${Date.parse(`2026-01-01T${time}Z`) / minute}`;

/** Moves time in steps in which a queue takes up what fell due. */
async function pass(ms: number, isDone: () => Promise<boolean>, what: string): Promise<void> {
  clock.advance(ms);
  await until(
    async () => {
      clock.advance(20);
      return await isDone();
    },
    { what: () => `${what}; now ${new Date(clock.now()).toISOString()}`, intervalMs: 5 },
  );
}

async function reasons({ client }: ControlPlane): Promise<readonly string[]> {
  const { items } = await client.list(events, { namespace, fieldSelector: `involvedObject.name=${name}` });
  return items.map(({ reason, message }) => `${reason}: ${message}`);
}

const told = (at: ControlPlane, text: string) => pass(0, async () => (await reasons(at)).includes(text), `the Event ${text}`);

/** Gives the time at which the Job ended. */
async function finish({ client }: ControlPlane, job: string, type: 'Complete' | 'Failed'): Promise<string> {
  const time = new Date(clock.now()).toISOString().replace(/\.\d+Z/, 'Z');
  const live = await client.get(jobs, { namespace, name: job });
  const target = type === 'Complete' ? 'SuccessCriteriaMet' : 'FailureTarget';
  await client.update(
    jobs,
    {
      ...live,
      status: {
        startTime: time,
        ...(type === 'Complete' ? { completionTime: time } : {}),
        conditions: [target, type].map((name) => ({ type: name, status: 'True', lastTransitionTime: time, reason: 'Test' })),
      },
    },
    { subresource: 'status' },
  );
  return time;
}

const activeNames = async (at: ControlPlane) => ((await get(at)).status?.active ?? []).map((job) => job.name);

describe('a CronJob', () => {
  it('should schedule multiple jobs concurrently', async () => {
    const plane = await start();
    await pass(30_100, async () => (await activeNames(plane)).length === 1, 'the first Job');
    await pass(minute, async () => (await activeNames(plane)).length === 2, 'the second Job');
    expect(await names(plane)).toEqual([jobAt('00:01:00'), jobAt('00:02:00')]);
    expect((await get(plane)).status).toMatchObject({ lastScheduleTime: '2026-01-01T00:02:00Z' });
    const [job] = await all(plane);
    expect(job?.metadata).toMatchObject({
      labels: { app: 'backup' },
      annotations: { 'batch.kubernetes.io/cronjob-scheduled-timestamp': '2026-01-01T00:01:00Z' },
      ownerReferences: [{ apiVersion: 'batch/v1', kind: 'CronJob', name, controller: true, blockOwnerDeletion: true }],
    });
    await told(plane, `SuccessfulCreate: Created job ${jobAt('00:01:00')}`);
  });

  it('should not schedule new jobs when ForbidConcurrent', async () => {
    const plane = await start({ concurrencyPolicy: 'Forbid' });
    await pass(30_100, async () => (await activeNames(plane)).length === 1, 'the first Job');
    const isTold = async () => (await reasons(plane)).some((text) => text.startsWith('JobAlreadyActive: '));
    await pass(minute, isTold, 'the Event');
    expect(await names(plane)).toEqual([jobAt('00:01:00')]);
    const completed = await finish(plane, jobAt('00:01:00'), 'Complete');
    // The start that was held back is made up for.
    await pass(0, async () => (await names(plane)).length === 2, 'the second Job');
    await told(plane, `SawCompletedJob: Saw completed job: ${jobAt('00:01:00')}, condition: Complete`);
    // The status is written after the Event.
    await pass(0, async () => (await get(plane)).status?.lastSuccessfulTime !== undefined, 'the time of the completed Job');
    expect((await get(plane)).status?.lastSuccessfulTime).toBe(completed);
  });

  it('should replace jobs when ReplaceConcurrent', async () => {
    const plane = await start({ concurrencyPolicy: 'Replace' });
    await pass(30_100, async () => (await activeNames(plane)).length === 1, 'the first Job');
    await pass(minute, async () => (await names(plane)).join() === jobAt('00:02:00'), 'the second Job alone');
    await pass(0, async () => (await activeNames(plane)).join() === jobAt('00:02:00'), 'the second Job in the active list');
  });

  it('should not schedule jobs when suspended', async () => {
    const plane = await start({ suspend: true });
    clock.advance(5 * minute);
    await plane.client.patch(cronJobs, { namespace, name }, { type: 'merge', body: { spec: { suspend: false } } });
    // Only the newest of the missed times is made up for.
    await pass(0, async () => (await names(plane)).length > 0, 'a Job');
    expect(await names(plane)).toEqual([jobAt('00:05:00')]);
  });

  it('should remove from active list jobs that have been deleted', async () => {
    const plane = await start({ concurrencyPolicy: 'Forbid', schedule: '*/30 * * * *' });
    await pass(30 * minute, async () => (await activeNames(plane)).length === 1, 'the first Job');
    await plane.client.delete(jobs, { namespace, name: jobAt('00:30:00') }, { propagationPolicy: 'Background' });
    await pass(0, async () => (await activeNames(plane)).length === 0, 'an empty active list');
    await told(plane, `MissingJob: Active job went missing: ${jobAt('00:30:00')}`);
    expect(await names(plane)).toEqual([]);
  });

  it('should delete successful finished jobs with limit of one successful job, and failed ones likewise', async () => {
    const plane = await start({ successfulJobsHistoryLimit: 1, failedJobsHistoryLimit: 0 });
    for (const [time, outcome] of [
      ['00:01:00', 'Complete'],
      ['00:02:00', 'Failed'],
      ['00:03:00', 'Complete'],
    ] as const) {
      await pass(time === '00:01:00' ? 30_100 : minute, async () => (await activeNames(plane)).includes(jobAt(time)), time);
      await finish(plane, jobAt(time), outcome);
      await pass(0, async () => (await activeNames(plane)).length === 0, `the end of ${time}`);
    }
    await until(async () => (await names(plane)).join() === jobAt('00:03:00'), { what: 'one Job of the history' });
  });

  it('misses a start when the starting deadline has passed', async () => {
    const plane = await start({ startingDeadlineSeconds: 10, suspend: true });
    clock.advance(50_000);
    await plane.client.patch(cronJobs, { namespace, name }, { type: 'merge', body: { spec: { suspend: false } } });
    await pass(0, async () => (await plane.client.list(cronJobs, { namespace })).items[0]?.spec.suspend === false, 'the change');
    expect(await names(plane)).toEqual([]);
    await pass(40_100, async () => (await names(plane)).length === 1, 'the next start');
    expect(await names(plane)).toEqual([jobAt('00:02:00')]);
  });

  it('takes up the Job that an interrupted pass made, and makes none twice', async () => {
    const plane = await start();
    await pass(30_100, async () => (await activeNames(plane)).length === 1, 'the first Job');
    // As after a crash between the creation and the status.
    const live = await get(plane);
    await plane.client.update(cronJobs, { ...live, status: {} }, { subresource: 'status' });
    await plane.restart();
    await pass(0, async () => (await activeNames(plane)).length === 1, 'the Job in the list again');
    expect(await names(plane)).toEqual([jobAt('00:01:00')]);
    expect((await get(plane)).status?.lastScheduleTime).toBe('2026-01-01T00:01:00Z');
  });

  it('reports a Job of its own that it did not make, and counts it nowhere', async () => {
    const plane = await start({ concurrencyPolicy: 'Forbid' });
    const { metadata, spec } = await get(plane);
    await plane.client.create(jobs, {
      apiVersion: 'batch/v1',
      kind: 'Job',
      metadata: {
        name: 'by-hand',
        namespace,
        annotations: { 'cronjob.kubernetes.io/instantiate': 'manual' },
        ownerReferences: [{ apiVersion: 'batch/v1', kind: 'CronJob', name, uid: metadata.uid ?? '', controller: true }],
      },
      spec: spec.jobTemplate.spec as Job['spec'],
    });
    await told(plane, 'UnexpectedJob: Saw a job that the controller did not create or forgot: by-hand');
    await pass(30_100, async () => (await activeNames(plane)).length === 1, 'the first Job');
    expect(await activeNames(plane)).toEqual([jobAt('00:01:00')]);
  });

  it('runs by the clocks of its time zone, and says so in the annotation', async () => {
    const plane = await start({ schedule: '31 5 * * *', timeZone: 'Asia/Kolkata' });
    await pass(30_100, async () => (await names(plane)).length === 1, 'the Job of 05:31');
    const [job] = await all(plane);
    expect(job?.metadata.annotations).toEqual({ 'batch.kubernetes.io/cronjob-scheduled-timestamp': '2026-01-01T05:31:00+05:30' });
  });

  it('counts a changed schedule from the change on', async () => {
    const plane = await start({ schedule: '0 12 * * *' });
    clock.advance(10 * minute);
    await plane.client.patch(cronJobs, { namespace, name }, { type: 'merge', body: { spec: { schedule: '*/15 * * * *' } } });
    await until(() => plane.informers.get(cronJobs).getByKey(`${namespace}/${name}`)?.spec.schedule === '*/15 * * * *', {
      what: 'the change',
    });
    await pass(5 * minute, async () => (await names(plane)).length === 1, 'the Job of 00:15');
    expect(await names(plane)).toEqual([jobAt('00:15:00')]);
  });
});
