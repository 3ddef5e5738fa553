import { type Job, jobs } from '../../api/batch/v1/job.ts';
import type { Pod } from '../../api/core/v1/pod.ts';
import { timestampOf } from '../../base/clock.ts';
import { deadlineOf, eventsOf, isOver, type JobState, type JobWorld, missingPods, stateOf, statusOf } from '../../lifecycle/job.facts.ts';
import { jobMachine } from '../../lifecycle/job.machine.ts';
import { isConditionTrue } from '../../machinery/conditions.ts';
import { deepEqual } from '../../machinery/object.ts';
import { isNotFound } from '../../machinery/status-error.ts';
import type { Result } from '../../reconcile/controller.ts';
import type { ControllerDependencies } from '../../reconcile/dependencies.ts';
import { advance, type Effects } from '../../reconcile/effects.ts';
import type { Expectations } from '../../reconcile/expectations.ts';
import type { StatusPace } from '../../reconcile/status-pace.ts';
import { deletionOrder } from '../deletion-order.ts';
import { isPodActive } from '../pod-conditions.ts';
import { soonest } from '../workload.ts';
import type { JobMetrics, SyncAction } from './job-metrics.ts';
import type { JobPods } from './job-pods.ts';
import { type Account, accountPods } from './pod-accounting.ts';
import { isTracked } from './pod-facts.ts';

/** One look at one Job. */
export interface JobPass {
  readonly key: string;
  readonly job: Job;
  readonly owned: readonly Pod[];
  readonly signal: AbortSignal;
  action: SyncAction;
  /** The first refusal of a pod. The status is written nevertheless. */
  failure: unknown;
}

interface JobSyncOptions {
  readonly dependencies: Pick<ControllerDependencies, 'client' | 'clock' | 'recorder' | 'steps'>;
  readonly expectations: Expectations;
  readonly pace: StatusPace;
  readonly jobPods: JobPods;
  readonly metrics: JobMetrics;
  /** The Job as the server has it after its status was written. */
  noteWritten(job: Job): void;
}

/** Decides about one Job, acts, and writes its status; then takes the finalizer from the pods that the status accounts for. */
export function createJobSync(options: JobSyncOptions): (pass: JobPass) => Promise<Result | undefined> {
  const { expectations, pace, jobPods, metrics, noteWritten } = options;
  const { client, clock, recorder, steps } = options.dependencies;

  return async (pass) => {
    const { key, job, owned, signal } = pass;
    const account = accountPods(job, owned, clock.now());
    const world: JobWorld = { ...account.world, expecting: !expectations.satisfied(job.metadata.uid ?? '') };
    const snapshot = await advance({
      machine: jobMachine,
      key,
      from: stateOf(job),
      events: eventsOf(job, world),
      effects: effectsOf(pass, account, world),
      steps,
    });
    if (snapshot.value === 'Deleting') {
      await jobPods.untrack(owned.filter(isTracked), signal);
      return undefined;
    }
    const after: Job = { ...job, status: statusOf(snapshot.value, job, { world, timestamp: timestampOf(clock.now()) }) };
    const delay = await writeStatus(pass, after, snapshot.value);
    if (delay === 'gone') return undefined;
    if (delay > 0) return { requeueAfterMs: delay };
    metrics.podsFinished(job, account.fresh);
    metrics.indexesFinished(job, after);
    reportOutcome(job, after);
    const isFinal = snapshot.value === 'Complete' || snapshot.value === 'Failed';
    await jobPods.untrack(isFinal ? owned.filter(isTracked) : account.settled, signal);
    if (pass.failure !== undefined) throw pass.failure;
    return soonest(untilNextLook(after, world), expectations.waitMs(job.metadata.uid ?? ''));
  };

  function effectsOf(pass: JobPass, account: Account, world: JobWorld): Effects<typeof jobMachine> {
    const { job, owned, signal } = pass;
    const active = owned.filter(isPodActive);
    const remove = async (victims: readonly Pod[], counted: boolean): Promise<void> => {
      pass.action = 'pods_deleted';
      await jobPods.remove(job, victims, { counted, signal });
    };
    return {
      createPods: async () => {
        pass.action = 'pods_created';
        const count = missingPods(job, world);
        pass.failure = await jobPods.create(job, { count, indexes: account.indexes }, signal);
        metrics.podsCreated(job, pass.failure === undefined ? { succeeded: count, failed: 0 } : { succeeded: 0, failed: 1 });
      },
      deletePods: () => {
        const first = account.indexes?.surplus ?? [];
        const rest = active.filter((pod) => !first.includes(pod));
        const order = [...first, ...deletionOrder(rest, { relatedOnNode: () => 0, now: clock.now() })];
        return remove(order.slice(0, -missingPods(job, world)), false);
      },
      abortPods: () => remove(active, true),
      withdrawPods: () => remove(active, false),
      reportSuspended: () => recorder.record(job, { type: 'Normal', reason: 'Suspended', message: 'Job suspended' }),
      reportResumed: () => recorder.record(job, { type: 'Normal', reason: 'Resumed', message: 'Job resumed' }),
    };
  }

  /** Gives the milliseconds to wait first, or that the Job is gone. */
  async function writeStatus({ job, signal, failure }: JobPass, after: Job, state: JobState): Promise<number | 'gone'> {
    if (deepEqual(job.status, after.status)) return 0;
    const delay = pace.delay(job.metadata.uid ?? '', { final: state !== stateOf(job) || failure !== undefined });
    if (delay > 0) return delay;
    try {
      noteWritten(await client.update(jobs, after, { subresource: 'status', signal }));
    } catch (err) {
      if (!isNotFound(err)) throw err;
      return 'gone';
    }
    return 0;
  }

  /** The end of a Job, once the status that says so is stored. */
  function reportOutcome(before: Job, after: Job): void {
    for (const type of ['Complete', 'Failed'] as const) {
      const condition = after.status?.conditions?.find((one) => one.type === type && one.status === 'True');
      if (condition === undefined || isConditionTrue(before.status?.conditions, type)) continue;
      const { reason = type, message = '' } = condition;
      if (type === 'Failed') recorder.record(after, { type: 'Warning', reason, message });
      else {
        const { completions } = after.spec;
        if (completions !== undefined && (after.status?.succeeded ?? 0) > completions) {
          const tooMany = 'Too many succeeded pods running after completion count reached';
          recorder.record(after, { type: 'Warning', reason: 'TooManySucceededPods', message: tooMany });
        }
        recorder.record(after, { type: 'Normal', reason: 'Completed', message: 'Job completed' });
      }
      metrics.finished(after, type === 'Complete' ? 'succeeded' : 'failed', reason);
    }
  }
}

/** Milliseconds until time alone changes something: a back-off ends, or a deadline passes. */
function untilNextLook(job: Job, world: JobWorld): number | undefined {
  if (isOver(job) || stateOf(job) === 'Suspended') return undefined;
  const waits: number[] = [];
  if (world.retryMs > 0 && missingPods(job, world) > 0) waits.push(world.retryMs);
  const deadline = deadlineOf(job);
  if (deadline !== undefined) waits.push(Math.max(1, deadline - world.now));
  return waits.length === 0 ? undefined : Math.min(...waits);
}
