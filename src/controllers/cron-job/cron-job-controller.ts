import { type CronJob, cronJobs } from '../../api/batch/v1/cron-job.ts';
import { type Job, jobs } from '../../api/batch/v1/job.ts';
import { annotations } from '../../api/well-known.ts';
import { timestampOf } from '../../base/clock.ts';
import type { New } from '../../client/client.ts';
import { tryGet } from '../../client/try-get.ts';
import {
  type ActiveJob,
  type CronJobWorld,
  dueStartOf,
  eventsOf,
  jobNameOf,
  lastSuccessOf,
  outcomeOf,
  stateOf,
  statusOf,
  surplusHistory,
  UnsatisfiableSchedule,
  untilNextStart,
} from '../../lifecycle/cron-job.facts.ts';
import { type CronJobEvent, cronJobMachine } from '../../lifecycle/cron-job.machine.ts';
import { CronError, parseCron, type Schedule } from '../../machinery/cron.ts';
import { controllerOf, deepEqual, keyOf } from '../../machinery/object.ts';
import { isAlreadyExists, isNotFound } from '../../machinery/status-error.ts';
import { isTimeZone, zonedTimestampOf } from '../../machinery/time-zone.ts';
import type { Controller, ReconcileContext, Result } from '../../reconcile/controller.ts';
import type { ControllerDependencies } from '../../reconcile/dependencies.ts';
import { advance } from '../../reconcile/effects.ts';
import { createInformedController } from '../../reconcile/informed-controller.ts';
import { controllerKeyOf, controllerReference, indexByOwner, ownedBy } from '../ownership.ts';
import { isNamespaceTerminating, messageOf } from '../refusals.ts';
import { inBatches } from '../slow-start.ts';

/** From 1 s to 300 s, upstream's buckets: 1 s times powers of 2. */
const skewBuckets = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512];

/**
 * Makes a Job at each time of a CronJob's schedule, and deletes the finished ones that its history limits leave out.
 *
 * A pass: drop Jobs that ended from the active list, decide, make or replace Jobs, write the status, shorten the history.
 */
export function createCronJobController(dependencies: ControllerDependencies): Controller {
  const { client, informers, clock, recorder, steps, metrics } = dependencies;
  const cronJobInformer = informers.get(cronJobs);
  const jobInformer = informers.get(jobs);
  indexByOwner(jobInformer);
  const skew = metrics.registry.histogram({
    name: 'cronjob_controller_job_creation_skew_duration_seconds',
    help: 'Time from the scheduled moment of a CronJob to the creation of its Job.',
    buckets: skewBuckets,
  });

  const controller = createInformedController(dependencies, { name: 'cronjob', reconcile });
  cronJobInformer.addHandler(({ before, after }) => {
    if (after === undefined) return;
    const delay = before === undefined || !isRescheduled(before, after) ? undefined : nextStart(after);
    if (delay === undefined) controller.enqueue(keyOf(after));
    else controller.enqueueAfter(keyOf(after), delay);
  });
  jobInformer.addHandler(({ before, after }) => {
    for (const job of [before, after]) {
      const key = job === undefined ? undefined : controllerKeyOf(cronJobs, job);
      if (key !== undefined) controller.enqueue(key);
    }
  });
  return controller;

  async function reconcile(key: string, { signal }: ReconcileContext): Promise<Result | undefined> {
    const cached = cronJobInformer.getByKey(key);
    if (cached === undefined) return undefined;
    const owned = ownedBy(jobInformer, cached);
    const cronJob = await withNewestActive(cached, owned);
    if (cronJob === undefined) return undefined;
    const schedule = scheduleOf(cronJob);
    let active = await stillActive(cronJob, owned);
    let lastScheduleTime = cronJob.status?.lastScheduleTime;
    const now = clock.now();
    const due = schedule === undefined ? undefined : dueStart(cronJob, schedule, now);
    const world: CronJobWorld = { active, due, now };
    let failure: unknown;

    const snapshot = await advance({
      machine: cronJobMachine,
      key,
      from: stateOf(cronJob),
      events: eventsOf(cronJob, world),
      effects: {
        startJob: async (): Promise<CronJobEvent | undefined> => {
          if (due === undefined || failure !== undefined) return undefined;
          const outcome = await startJob(cronJob, due.at, signal);
          failure = outcome.failure;
          if (outcome.job !== undefined) {
            active = [...active, referenceTo(outcome.job)];
            lastScheduleTime = timestampOf(due.at);
          }
          return active.length === 0 ? { type: 'JOBS_ENDED' } : undefined;
        },
        deleteActiveJobs: async () => {
          for (const job of active) failure ??= await deleteJob(cronJob, job, signal);
          if (failure === undefined) active = [];
        },
        reportStillActive: () => {
          const message = 'Not starting job because prior execution is running and concurrency policy is Forbid';
          recorder.record(cronJob, { type: 'Normal', reason: 'JobAlreadyActive', message });
        },
        reportMissed: () => {
          const message = `Missed scheduled time to start a job: ${new Date(due?.at ?? now).toUTCString().replace('GMT', '+0000')}`;
          recorder.record(cronJob, { type: 'Warning', reason: 'MissSchedule', message });
        },
      },
      steps,
    });

    const status = statusOf({ active, lastScheduleTime, lastSuccessfulTime: lastSuccessOf(cronJob, owned) });
    const after: CronJob = { ...cronJob, status };
    if (!deepEqual(cronJob.status ?? {}, status)) {
      try {
        await client.update(cronJobs, after, { subresource: 'status', signal });
      } catch (err) {
        if (!isNotFound(err)) throw err;
        return undefined;
      }
    }
    if (failure !== undefined) throw failure;
    if (snapshot.value === 'Deleting') return undefined;
    await inBatches(surplusHistory(cronJob, owned), async (job) => {
      const refused = await deleteJob(cronJob, job.metadata, signal);
      if (refused !== undefined) throw refused;
    });
    const delay = schedule === undefined ? undefined : untilNextStart(after, schedule, clock.now());
    return delay === undefined ? undefined : { requeueAfterMs: delay };
  }

  /**
   * A running Job that the status does not list was made by another hand, or the cache is behind the last status. The server knows which.
   */
  async function withNewestActive(cronJob: CronJob, owned: readonly Job[]): Promise<CronJob | undefined> {
    const unlisted = (listing: CronJob): readonly Job[] =>
      owned.filter(({ status, metadata }) => outcomeOf(status) === undefined && !isListed(listing, metadata.uid));
    if (unlisted(cronJob).length === 0) return cronJob;
    const { namespace, name, uid } = cronJob.metadata;
    const live = await tryGet(client, cronJobs, { namespace, name });
    if (live === undefined || live.metadata.uid !== uid) return undefined;
    for (const { metadata } of unlisted(live)) {
      const message = `Saw a job that the controller did not create or forgot: ${metadata.name}`;
      recorder.record(live, { type: 'Warning', reason: 'UnexpectedJob', message });
    }
    return live;
  }

  /** The active list without Jobs that ended or are gone. */
  async function stillActive(cronJob: CronJob, owned: readonly Job[]): Promise<readonly ActiveJob[]> {
    const byUid = new Map(owned.map((job) => [job.metadata.uid, job]));
    const active: ActiveJob[] = [];
    for (const reference of cronJob.status?.active ?? []) {
      const { name = '', namespace, uid } = reference;
      const known = byUid.get(uid);
      const outcome = outcomeOf(known?.status);
      if (outcome !== undefined) {
        const message = `Saw completed job: ${name}, condition: ${outcome}`;
        recorder.record(cronJob, { type: 'Normal', reason: 'SawCompletedJob', message });
        continue;
      }
      // The cache may be behind: a Job that was just made is not in it.
      const live = known ?? (await tryGet(client, jobs, { namespace, name }));
      if (live?.metadata.uid === uid) active.push(reference);
      else recorder.record(cronJob, { type: 'Normal', reason: 'MissingJob', message: `Active job went missing: ${name}` });
    }
    return active;
  }

  /** Undefined while nothing is due: the CronJob is suspended or being deleted, or its schedule cannot be read. */
  function scheduleOf(cronJob: CronJob): Schedule | undefined {
    const { schedule, suspend, timeZone } = cronJob.spec;
    if (cronJob.metadata.deletionTimestamp !== undefined) return undefined;
    if (timeZone !== undefined && !isTimeZone(timeZone)) {
      const message = `invalid timeZone: ${JSON.stringify(timeZone)}: unknown time zone ${timeZone}`;
      recorder.record(cronJob, { type: 'Warning', reason: 'UnknownTimeZone', message });
      return undefined;
    }
    if (suspend === true) return undefined;
    try {
      return parseCron(schedule);
    } catch (err) {
      if (!(err instanceof CronError)) throw err;
      const message = `unparseable schedule: ${JSON.stringify(schedule)} : ${err.message}`;
      recorder.record(cronJob, { type: 'Warning', reason: 'UnparseableSchedule', message });
      return undefined;
    }
  }

  /** A changed schedule counts from now on: its times before the change were never due. */
  function nextStart(cronJob: CronJob): number | undefined {
    const { schedule, timeZone } = cronJob.spec;
    try {
      return timeZone === undefined || isTimeZone(timeZone) ? untilNextStart(cronJob, parseCron(schedule), clock.now()) : undefined;
    } catch (err) {
      // The pass reports what is wrong with it.
      if (err instanceof CronError) return undefined;
      throw err;
    }
  }

  function dueStart(cronJob: CronJob, schedule: Schedule, now: number): CronJobWorld['due'] {
    try {
      const due = dueStartOf(cronJob, schedule, now);
      if (due?.isOneOfMany === true) {
        const message = 'too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew';
        recorder.record(cronJob, { type: 'Warning', reason: 'TooManyMissedTimes', message });
      }
      return due;
    } catch (err) {
      if (!(err instanceof UnsatisfiableSchedule)) throw err;
      const message = `invalid schedule: ${cronJob.spec.schedule} : ${err.message}`;
      recorder.record(cronJob, { type: 'Warning', reason: 'InvalidSchedule', message });
      return undefined;
    }
  }

  /** A Job of that name that is this CronJob's own was made by a pass that was interrupted before its status. */
  async function startJob(cronJob: CronJob, at: number, signal: AbortSignal): Promise<{ readonly job?: Job; readonly failure?: unknown }> {
    const made = jobFrom(cronJob, at);
    try {
      const job = await client.create(jobs, made, { signal });
      skew.observe(Math.max(0, (Date.parse(job.metadata.creationTimestamp ?? '') - at) / 1_000));
      recorder.record(cronJob, { type: 'Normal', reason: 'SuccessfulCreate', message: `Created job ${job.metadata.name}` });
      return { job };
    } catch (err) {
      if (isAlreadyExists(err)) {
        const { namespace } = cronJob.metadata;
        const job = await tryGet(client, jobs, { namespace, name: jobNameOf(cronJob, at) });
        return job !== undefined && controllerOf(job)?.uid === cronJob.metadata.uid ? { job } : {};
      }
      if (!isNamespaceTerminating(err)) {
        recorder.record(cronJob, { type: 'Warning', reason: 'FailedCreate', message: `Error creating job: ${messageOf(err)}` });
      }
      return { failure: err };
    }
  }

  /** Gives the refusal; a Job that is gone is none. */
  async function deleteJob(
    cronJob: CronJob,
    { namespace, name = '', uid = '' }: Pick<ActiveJob, 'namespace' | 'name' | 'uid'>,
    signal: AbortSignal,
  ): Promise<unknown> {
    try {
      await client.delete(jobs, { namespace, name }, { preconditions: { uid }, propagationPolicy: 'Background', signal });
      recorder.record(cronJob, { type: 'Normal', reason: 'SuccessfulDelete', message: `Deleted job ${name}` });
    } catch (err) {
      if (isNotFound(err)) return undefined;
      recorder.record(cronJob, { type: 'Warning', reason: 'FailedDelete', message: `Deleted job: ${messageOf(err)}` });
      return err;
    }
    return undefined;
  }
}

const isRescheduled = ({ spec: before }: CronJob, { spec: after }: CronJob): boolean =>
  before.schedule !== after.schedule || before.timeZone !== after.timeZone;

const isListed = ({ status }: CronJob, uid: string | undefined): boolean => status?.active?.some((job) => job.uid === uid) === true;

function jobFrom(cronJob: CronJob, at: number): New<Job> {
  const { metadata, spec } = cronJob.spec.jobTemplate;
  const { namespace } = cronJob.metadata;
  return {
    apiVersion: 'batch/v1',
    kind: 'Job',
    metadata: {
      name: jobNameOf(cronJob, at),
      ...(namespace === undefined ? {} : { namespace }),
      ...(metadata?.labels === undefined ? {} : { labels: metadata.labels }),
      annotations: {
        ...metadata?.annotations,
        [annotations.cronJobScheduledTimestamp]: zonedTimestampOf(at, cronJob.spec.timeZone ?? 'UTC'),
      },
      ownerReferences: [controllerReference(cronJobs, cronJob)],
    },
    spec: spec as Job['spec'],
  };
}

function referenceTo({ metadata: { namespace, name, uid, resourceVersion } }: Job): ActiveJob {
  return {
    apiVersion: 'batch/v1',
    kind: 'Job',
    name,
    ...(namespace === undefined ? {} : { namespace }),
    ...(uid === undefined ? {} : { uid }),
    ...(resourceVersion === undefined ? {} : { resourceVersion }),
  };
}
