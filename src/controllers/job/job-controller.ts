import { type Job, jobs } from '../../api/batch/v1/job.ts';
import { type Pod, pods } from '../../api/core/v1/pod.ts';
import { finalizers } from '../../api/well-known.ts';
import { timestampOf } from '../../base/clock.ts';
import type { New } from '../../client/client.ts';
import { deadlineOf, eventsOf, failureOf, type JobWorld, missingPods, stateOf, statusOf } from '../../lifecycle/job.facts.ts';
import { jobMachine } from '../../lifecycle/job.machine.ts';
import { controllerOf, deepEqual, keyOf } from '../../machinery/object.ts';
import { isNotFound } from '../../machinery/status-error.ts';
import type { Controller, ReconcileContext, Result } from '../../reconcile/controller.ts';
import type { ControllerDependencies } from '../../reconcile/dependencies.ts';
import { advance } from '../../reconcile/effects.ts';
import { createExpectations } from '../../reconcile/expectations.ts';
import { createInformedController } from '../../reconcile/informed-controller.ts';
import { createStatusPace } from '../../reconcile/status-pace.ts';
import { deletionOrder } from '../deletion-order.ts';
import { controllerKeyOf, indexByOwner, ownedBy } from '../ownership.ts';
import { isPodActive, isPodTerminating } from '../pod-conditions.ts';
import { inBatches } from '../slow-start.ts';
import { createPods, podFromTemplate } from '../workload.ts';
import { accountPods, isTracked } from './pod-accounting.ts';

/** Pods created in one pass; the rest follows in the next one, after others had their turn. */
const maxPodsAPass = 500;

/** Index of pods that carry the tracking finalizer, by key of the Job they were made for. */
const trackedByJob = 'tracked-by-job';

/** False for a Job that names the controller of somebody else. */
export const isManagedHere = ({ spec: { managedBy } }: Job): boolean =>
  managedBy === undefined || managedBy === 'kubernetes.io/job-controller';

/**
 * Runs the pods of each Job until enough of them succeeded.
 *
 * A pass: count pods, decide, create or delete pods, write the status. Only then take the finalizer from the pods that the status
 * accounts for.
 */
export function createJobController(dependencies: ControllerDependencies): Controller {
  const { client, informers, clock, recorder, steps } = dependencies;
  const jobInformer = informers.get(jobs);
  const podInformer = informers.get(pods);
  indexByOwner(podInformer);
  podInformer.addIndex(trackedByJob, trackedJobKeysOf);
  const expectations = createExpectations(clock);
  const pace = createStatusPace(clock);

  const controller = createInformedController(dependencies, {
    name: 'job',
    reconcile,
  });
  jobInformer.addHandler(({ before, after }) => {
    const job = after ?? before;
    if (job !== undefined) controller.enqueue(keyOf(job));
    if (after === undefined && before !== undefined) {
      expectations.forget(before.metadata.uid ?? '');
      pace.forget(before.metadata.uid ?? '');
    }
  });
  podInformer.addHandler(({ before, after }) => {
    const pod = after ?? before;
    const key = pod === undefined ? undefined : controllerKeyOf(jobs, pod);
    if (pod === undefined || key === undefined) return;
    const owner = controllerOf(pod)?.uid ?? '';
    if (before === undefined) expectations.creationObserved(owner);
    if (after === undefined || isPodTerminating(after)) expectations.deletionObserved(owner, pod.metadata.uid ?? '');
    controller.enqueue(key);
  });
  return controller;

  async function reconcile(key: string, { signal }: ReconcileContext): Promise<Result | undefined> {
    const job = jobInformer.getByKey(key);
    await releaseOrphans(key, job, signal);
    if (job === undefined || !isManagedHere(job)) return undefined;
    const uid = job.metadata.uid ?? '';
    const owned = ownedBy(podInformer, job);
    const world: JobWorld = { ...accountPods(job, owned, clock.now()), expecting: !expectations.satisfied(uid) };
    const active = owned.filter(isPodActive);
    let failure: unknown;

    const snapshot = await advance({
      machine: jobMachine,
      key,
      from: stateOf(job),
      events: eventsOf(job, world),
      effects: {
        createPods: async () => {
          const count = Math.min(missingPods(job, world), maxPodsAPass);
          failure = await createPods({ client, recorder, expectations, owner: job, pod: podOf(job), count, signal });
        },
        deletePods: () => {
          const victims = deletionOrder(active, { relatedOnNode: () => 0, now: clock.now() }).slice(0, -missingPods(job, world));
          return deletePods(job, victims, { counted: false, signal });
        },
        abortPods: () => deletePods(job, active, { counted: true, signal }),
        withdrawPods: () => deletePods(job, active, { counted: false, signal }),
        reportSuspended: () => recorder.record(job, { type: 'Normal', reason: 'Suspended', message: 'Job suspended' }),
        reportResumed: () => recorder.record(job, { type: 'Normal', reason: 'Resumed', message: 'Job resumed' }),
        reportCompleted: () => recorder.record(job, { type: 'Normal', reason: 'Completed', message: 'Job completed' }),
        reportFailed: () => {
          const { reason, message } = failureOf(job, world) ?? { reason: 'Failed', message: 'Job failed' };
          recorder.record(job, { type: 'Warning', reason, message });
        },
      },
      steps,
    });

    const state = snapshot.value;
    if (state === 'Deleting') {
      await untrack(owned.filter(isTracked), signal);
      return undefined;
    }
    const status = statusOf(state, job, { world, timestamp: timestampOf(clock.now()) });
    if (!deepEqual(job.status, status)) {
      const delay = pace.delay(uid, { final: state !== stateOf(job) || failure !== undefined });
      if (delay > 0) return { requeueAfterMs: delay };
      try {
        await client.update(jobs, { ...job, status }, { subresource: 'status', signal });
      } catch (err) {
        if (!isNotFound(err)) throw err;
        return undefined;
      }
    }
    const over = state === 'Complete' || state === 'Failed';
    const noted = new Set([...world.uncounted.succeeded, ...world.uncounted.failed]);
    await untrack(
      owned.filter((pod) => isTracked(pod) && (over || noted.has(pod.metadata.uid ?? ''))),
      signal,
    );
    if (failure !== undefined) throw failure;
    return nextLook({ ...job, status }, world);
  }

  /** When time alone changes something: a back-off ends, or a deadline passes. */
  function nextLook(job: Job, world: JobWorld): Result | undefined {
    const now = clock.now();
    const state = stateOf(job);
    const waits: number[] = [];
    if (state === 'Active' && world.backoffMs > 0 && missingPods(job, world) > 0) waits.push(world.backoffMs);
    const deadline = state === 'Active' ? deadlineOf(job) : undefined;
    if (deadline !== undefined) waits.push(Math.max(1, deadline - now));
    return waits.length === 0 ? undefined : { requeueAfterMs: Math.min(...waits) };
  }

  /** Pods whose Job is gone, or is another one by that name: nobody will count them, so nothing may keep them. */
  async function releaseOrphans(key: string, job: Job | undefined, signal: AbortSignal): Promise<void> {
    const orphans = podInformer.byIndex(trackedByJob, key).filter((pod) => controllerOf(pod)?.uid !== job?.metadata.uid);
    await untrack(orphans, signal);
  }

  /** A pod that is deleted while it carries the finalizer counts as failed. */
  async function deletePods(
    job: Job,
    victims: readonly Pod[],
    { counted, signal }: { readonly counted: boolean; readonly signal: AbortSignal },
  ): Promise<void> {
    const uid = job.metadata.uid ?? '';
    const uids = victims.map(({ metadata }) => metadata.uid ?? '');
    expectations.expectDeletions(uid, uids);
    try {
      if (!counted) await untrack(victims.filter(isTracked), signal);
      await inBatches(victims, async ({ metadata: { namespace, name, uid: podUid = '' } }) => {
        try {
          await client.delete(pods, { namespace, name }, { preconditions: { uid: podUid }, signal });
          recorder.record(job, { type: 'Normal', reason: 'SuccessfulDelete', message: `Deleted pod: ${name}` });
        } catch (err) {
          if (!isNotFound(err)) throw err;
          expectations.deletionObserved(uid, podUid);
        }
      });
    } catch (err) {
      // The next pass finds out which are left.
      expectations.forget(uid);
      throw err;
    }
  }

  async function untrack(tracked: readonly Pod[], signal: AbortSignal): Promise<void> {
    await inBatches(tracked, async ({ metadata: { namespace, name, uid, resourceVersion, finalizers: present = [] } }) => {
      const others = present.filter((finalizer) => finalizer !== finalizers.jobTracking);
      const body = { metadata: { uid, resourceVersion, finalizers: others.length === 0 ? null : others } };
      try {
        await client.patch(pods, { namespace, name }, { type: 'merge', body }, { signal });
      } catch (err) {
        if (!isNotFound(err)) throw err;
      }
    });
  }
}

/** A pod of the template that stays until it is counted. */
function podOf(job: Job): New<Pod> {
  const pod = podFromTemplate(jobs, job, job.spec.template);
  return { ...pod, metadata: { ...pod.metadata, finalizers: [...(pod.metadata.finalizers ?? []), finalizers.jobTracking] } };
}

function trackedJobKeysOf(pod: Pod): readonly string[] {
  const key = isTracked(pod) ? controllerKeyOf(jobs, pod) : undefined;
  return key === undefined ? [] : [key];
}
