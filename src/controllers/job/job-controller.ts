import { type Job, jobs } from '../../api/batch/v1/job.ts';
import { type Pod, pods } from '../../api/core/v1/pod.ts';
import { finalizers, labels as wellKnownLabels } from '../../api/well-known.ts';
import { tryGet } from '../../client/try-get.ts';
import { isOver } from '../../lifecycle/job.facts.ts';
import { controllerOf, keyOf, refOf } from '../../machinery/object.ts';
import { compileLabelSelector } from '../../machinery/selector.ts';
import type { Controller, ReconcileContext, Result } from '../../reconcile/controller.ts';
import type { ControllerDependencies } from '../../reconcile/dependencies.ts';
import { createExpectations } from '../../reconcile/expectations.ts';
import { createInformedController } from '../../reconcile/informed-controller.ts';
import { newerOf } from '../../reconcile/newer.ts';
import { createStatusPace } from '../../reconcile/status-pace.ts';
import { claim, controllerKeyOf, indexByOwner, ownedBy } from '../ownership.ts';
import { isPodTerminating } from '../pod-conditions.ts';
import { createJobInheritance } from './job-inheritance.ts';
import { createJobMetrics } from './job-metrics.ts';
import { createJobPods } from './job-pods.ts';
import { createJobSync, type JobPass } from './job-sync.ts';
import { isTracked } from './pod-facts.ts';

/** Index of pods that carry the tracking finalizer, by key of the Job they were made for. */
const trackedByJob = 'tracked-by-job';

/** Index of the Jobs whose user manages the selector, by namespace. */
const withManualSelector = 'manual-selector-namespace';

/** Begins the key of a pod that no Job controls and that carries the finalizer; names of Jobs have no space. */
const orphan = 'orphan ';

/** The event of what a cache lacks comes sooner; this is for one that got lost. */
const lateCacheMs = 1_000;

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
  const { client, informers, clock } = dependencies;
  const jobInformer = informers.get(jobs);
  const podInformer = informers.get(pods);
  indexByOwner(podInformer);
  podInformer.addIndex(trackedByJob, trackedJobKeysOf);
  jobInformer.addIndex(withManualSelector, manualNamespaceOf);
  const expectations = createExpectations(clock);
  const pace = createStatusPace(clock);
  const jobPods = createJobPods(dependencies, expectations);
  const metrics = createJobMetrics(dependencies.metrics.registry);
  /** By uid, until the cache shows it: a status that the cache lacks counts pods which have lost their finalizer since. */
  const written = new Map<string, Job>();
  const noteWritten = (job: Job): void => void written.set(job.metadata.uid ?? '', job);
  const inheritance = createJobInheritance({ client, podInformer });
  const sync = createJobSync({ dependencies, expectations, pace, jobPods, metrics, noteWritten });

  const controller = createInformedController(dependencies, {
    name: 'job',
    onStarted: inheritance.close,
    reconcile,
  });
  jobInformer.addHandler(({ before, after }) => {
    const job = after ?? before;
    if (before === undefined && after !== undefined && !isManagedHere(after)) metrics.leftToAnother(after.spec.managedBy ?? '');
    if (job !== undefined) controller.enqueue(keyOf(job));
    if (before === undefined && after !== undefined) inheritance.add(after);
    if (after === undefined && before !== undefined) {
      expectations.forget(before.metadata.uid ?? '');
      pace.forget(before.metadata.uid ?? '');
      written.delete(before.metadata.uid ?? '');
      inheritance.forget(before.metadata.uid ?? '');
    }
  });
  podInformer.addHandler(({ before, after }) => {
    const pod = after ?? before;
    if (pod === undefined) return;
    metrics.podTracked(before, after);
    const key = controllerKeyOf(jobs, pod);
    if (key === undefined) {
      if (after !== undefined) {
        for (const candidate of adoptersOf(after)) controller.enqueue(candidate);
        if (isTracked(after)) controller.enqueue(`${orphan}${keyOf(after)}`);
      }
      // A pod that lost its owner is missing from that Job.
      const former = before === undefined ? undefined : controllerKeyOf(jobs, before);
      if (former !== undefined) controller.enqueue(former);
      return;
    }
    const owner = controllerOf(pod)?.uid ?? '';
    if (before === undefined) expectations.creationObserved(owner);
    if (after === undefined || isPodTerminating(after)) expectations.deletionObserved(owner, pod.metadata.uid ?? '');
    controller.enqueue(key);
  });
  return controller;

  async function reconcile(key: string, { signal }: ReconcileContext): Promise<Result | undefined> {
    if (key.startsWith(orphan)) return await releaseOrphan(key.slice(orphan.length), signal);
    const job = newestOf(key);
    await releaseOrphans(key, job, signal);
    if (job === undefined || !isManagedHere(job)) return undefined;
    if (await inheritance.isBehind(job, signal)) return { requeueAfterMs: lateCacheMs };
    if (await claimPods(job, signal)) return undefined;
    const startedAt = clock.monotonicMs();
    const pass: JobPass = { key, job, owned: ownedBy(podInformer, job), signal, action: 'reconciling', failure: undefined };
    let result: 'success' | 'error' = 'error';
    try {
      const next = await sync(pass);
      result = 'success';
      return next;
    } finally {
      metrics.synced(job, { action: pass.action, result, durationMs: clock.monotonicMs() - startedAt });
    }
  }

  function newestOf(key: string): Job | undefined {
    const cached = jobInformer.getByKey(key);
    if (cached === undefined) return undefined;
    const newest = newerOf(cached, written.get(cached.metadata.uid ?? ''));
    if (newest === cached) written.delete(cached.metadata.uid ?? '');
    return newest;
  }

  /** Adopts pods that match and have no owner, and releases those that do not match any more. True: the cache will show it. */
  async function claimPods(job: Job, signal: AbortSignal): Promise<boolean> {
    if (isOver(job) || job.spec.selector === undefined) return false;
    const selector = compileLabelSelector(job.spec.selector);
    const finalizer = finalizers.jobTracking;
    return await claim({ client, ownerResource: jobs, owner: job, selector, resource: pods, informer: podInformer, finalizer, signal });
  }

  /** Jobs that may want this pod without an owner: the one that its label names, and those whose selector the user manages. */
  function adoptersOf(pod: Pod): readonly string[] {
    if (controllerOf(pod) !== undefined) return [];
    const { namespace = '', labels = {} } = pod.metadata;
    const named = labels[wellKnownLabels.jobName];
    const manual = jobInformer.byIndex(withManualSelector, namespace).map((job) => keyOf(job));
    return named === undefined ? manual : [...manual, `${namespace}/${named}`];
  }

  /** Pods whose Job is gone, or is another one by that name: nobody will count them, so nothing may keep them. */
  async function releaseOrphans(key: string, job: Job | undefined, signal: AbortSignal): Promise<void> {
    const isOf = (owner: Job | undefined, pod: Pod): boolean => controllerOf(pod)?.uid === owner?.metadata.uid;
    const orphans = podInformer.byIndex(trackedByJob, key).filter((pod) => !isOf(job, pod));
    if (orphans.length === 0) return;
    // The cache may not have the Job yet that an earlier leader made them for. A pod without the finalizer is counted by nobody.
    const stored = await tryGet(client, jobs, refOf(key));
    await jobPods.untrack(
      orphans.filter((pod) => !isOf(stored, pod)),
      signal,
    );
  }

  /** A pod that lost its Job before it lost the finalizer, as by an orphaning deletion. A Job that adopts it puts that on again. */
  async function releaseOrphan(podKey: string, signal: AbortSignal): Promise<undefined> {
    const pod = podInformer.getByKey(podKey);
    if (pod !== undefined && isTracked(pod) && controllerKeyOf(jobs, pod) === undefined) await jobPods.untrack([pod], signal);
  }
}

function trackedJobKeysOf(pod: Pod): readonly string[] {
  const key = isTracked(pod) ? controllerKeyOf(jobs, pod) : undefined;
  return key === undefined ? [] : [key];
}

const manualNamespaceOf = ({ spec, metadata }: Job): readonly string[] => (spec.manualSelector === true ? [metadata.namespace ?? ''] : []);
