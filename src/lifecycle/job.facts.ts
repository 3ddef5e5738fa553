import type { Job, JobCondition, JobSpec, JobStatus } from '../api/batch/v1/job.ts';
import { formatIndexSet, type IndexSet, overlapOf, parseIndexSet, sizeOf } from '../machinery/index-set.ts';
import { positive } from './counters.ts';
import type { JobEvent, jobMachine } from './job.machine.ts';
import type { StateValueOf } from './step.ts';

export type JobState = StateValueOf<typeof jobMachine>;

/** Observations of one pass besides the object itself. */
export interface JobWorld {
  /** Pods that run or will. */
  readonly active: number;
  readonly ready: number;
  /** Pods that are being deleted and have not ended. */
  readonly terminating: number;
  /** Finished pods, with those that are `uncounted`. */
  readonly succeeded: number;
  readonly failed: number;
  /** Among the failed ones, those that keep their finalizer until their index has its next pod. */
  readonly delayedFailures: number;
  /** Finished pods that still carry the tracking finalizer, by uid: noted in the status before the finalizer is taken away. */
  readonly uncounted: { readonly succeeded: readonly string[]; readonly failed: readonly string[] };
  /** Restarts of containers in running pods, for `restartPolicy: OnFailure`. */
  readonly restarts: number;
  /** Completion indexes; absent unless the Job is Indexed. */
  readonly indexes: JobIndexes | undefined;
  /** The sentence about a pod for which `podFailurePolicy` fails the Job. */
  readonly failJobMessage: string | undefined;
  /** Milliseconds until a new pod may follow a failed one. */
  readonly backoffMs: number;
  /** Milliseconds until the next one may, where some may at once. */
  readonly retryMs: number;
  /** Pods were asked for that the cache does not show yet. */
  readonly expecting: boolean;
  /** Milliseconds since the epoch. */
  readonly now: number;
}

export interface JobIndexes {
  readonly succeeded: IndexSet;
  /** Absent without `backoffLimitPerIndex`. */
  readonly failed: IndexSet | undefined;
  /** Indexes that may have a pod now, in order. */
  readonly pending: readonly number[];
  /** Active pods whose index another one has too, or that is beyond the completions. */
  readonly surplusCount: number;
}

export interface Verdict {
  readonly reason: string;
  readonly message: string;
}

export function stateOf({ metadata, status }: Job): JobState {
  if (metadata.deletionTimestamp !== undefined) return 'Deleting';
  if (isTrue(status, 'Complete')) return 'Complete';
  if (isTrue(status, 'Failed')) return 'Failed';
  if (isTrue(status, 'FailureTarget')) return 'Failing';
  if (isTrue(status, 'SuccessCriteriaMet')) return 'Succeeding';
  return isTrue(status, 'Suspended') ? 'Suspended' : 'Active';
}

/** The outcome is certain, or the Job is being deleted: no pod of it is replaced. */
export const isOver = (job: Job): boolean => stateOf(job) !== 'Active' && stateOf(job) !== 'Suspended';

/** Events in order, including those that follow from an earlier event of the same pass. */
export function eventsOf(job: Job, world: JobWorld): readonly JobEvent[] {
  if (job.metadata.deletionTimestamp !== undefined) return [{ type: 'DELETED' }];
  const events: JobEvent[] = [];
  let state = stateOf(job);
  const suspend = job.spec.suspend === true;
  if (state === 'Complete' || state === 'Failed') return events;
  if (state === 'Suspended' && !suspend) {
    events.push({ type: 'RESUMED' });
    state = 'Active';
  }
  if (state === 'Active') {
    const verdict = verdictOf(job, world);
    if (verdict !== undefined) {
      events.push({ type: verdict.event });
      state = isSuccess(verdict) ? 'Succeeding' : 'Failing';
    } else if (suspend) {
      events.push({ type: 'SUSPENDED' });
      state = 'Suspended';
    } else if (!world.expecting) {
      const missing = missingPods(job, world);
      if (missing < 0) events.push({ type: 'PODS_SURPLUS' });
      else if (missing > 0 && world.backoffMs === 0 && world.indexes?.pending.length !== 0) events.push({ type: 'PODS_MISSING' });
    }
  }
  if (state === 'Suspended' || state === 'Succeeding' || state === 'Failing') {
    // The restarts of a pod that is deleted are forgotten, so the outcome is stored first. Suspension is in the spec.
    if (world.active > 0) {
      if (state === 'Suspended' || state === stateOf(job)) events.push({ type: 'PODS_LEFT' });
    } else if (state !== 'Suspended' && isSettled(world)) events.push({ type: 'PODS_SETTLED' });
  }
  return events;
}

/** The status of a state. `world` has what the counters say now. */
export function statusOf(
  state: JobState,
  job: Job,
  { world, timestamp }: { readonly world: JobWorld; readonly timestamp: string },
): JobStatus {
  const before = job.status ?? {};
  const conditions = conditionsFor(state, job, world, timestamp);
  const startTime = startTimeFor(state, job, timestamp);
  const { uncounted } = world;
  return {
    ...positive('active', world.active),
    ready: world.ready,
    terminating: world.terminating,
    ...positive('succeeded', world.succeeded - uncounted.succeeded.length),
    ...positive('failed', world.failed - world.delayedFailures - uncounted.failed.length),
    ...indexTexts(job, world.indexes),
    uncountedTerminatedPods: {
      ...(uncounted.succeeded.length === 0 ? {} : { succeeded: uncounted.succeeded }),
      ...(uncounted.failed.length === 0 ? {} : { failed: uncounted.failed }),
    },
    ...(startTime === undefined ? {} : { startTime }),
    ...(state === 'Complete' ? { completionTime: before.completionTime ?? timestamp } : {}),
    ...(conditions.length === 0 ? {} : { conditions }),
  };
}

/** Number of pods to create; negative when there are too many. */
export function missingPods(job: Job, world: JobWorld): number {
  const { parallelism = 1, completions } = job.spec;
  const { indexes } = world;
  const failedIndexes = indexes?.failed === undefined ? 0 : sizeOf(indexes.failed);
  // Without `completions` the pods share a queue: the first success tells that the queue is empty, so no pod follows.
  const wanted =
    completions === undefined
      ? world.succeeded > 0
        ? Math.min(parallelism, world.active)
        : parallelism
      : Math.min(parallelism, Math.max(0, completions - world.succeeded - failedIndexes));
  const surplus = Math.max(world.active - wanted, indexes?.surplusCount ?? 0);
  if (surplus > 0) return -surplus;
  const running = world.active + (replacesOnlyFailed(job.spec) ? world.terminating : 0);
  return Math.max(0, wanted - running);
}

/** `podReplacementPolicy: Failed`: a pod that is being deleted is not replaced before it has ended. */
export const replacesOnlyFailed = (spec: JobSpec): boolean => spec.podReplacementPolicy === 'Failed';

/**
 * When the Job fails for its `activeDeadlineSeconds`, in milliseconds since the epoch. A Job without a start starts with this pass, so one
 * with a deadline of 0 never gets a pod.
 */
export function deadlineOf({ spec, status }: Job): number | undefined {
  if (spec.activeDeadlineSeconds === undefined || spec.suspend === true) return undefined;
  if (status?.startTime === undefined) return spec.activeDeadlineSeconds === 0 ? 0 : undefined;
  return Date.parse(status.startTime) + spec.activeDeadlineSeconds * 1000;
}

/** Reason why a Job failed, or will fail once its pods have ended. */
function failureOf(job: Job, world: JobWorld): Verdict | undefined {
  const verdict = certainOf(job, 'FailureTarget') ?? verdictOf(job, world);
  return verdict === undefined || isSuccess(verdict) ? undefined : verdict;
}

/** Reason why a Job succeeded, or will once its pods have ended. */
function successOf(job: Job, world: JobWorld): Verdict {
  const verdict = certainOf(job, 'SuccessCriteriaMet') ?? verdictOf(job, world);
  return verdict !== undefined && isSuccess(verdict) ? verdict : completionsReached;
}

/** An outcome that was certain before stays, with its reason. */
function certainOf(job: Job, type: 'FailureTarget' | 'SuccessCriteriaMet'): (Verdict & { readonly event: Outcome }) | undefined {
  const condition = job.status?.conditions?.find((one) => one.type === type && one.status === 'True');
  if (condition === undefined) return undefined;
  const event = type === 'FailureTarget' ? 'BACKOFF_LIMIT_EXCEEDED' : 'SUCCEEDED';
  return { event, reason: condition.reason ?? '', message: condition.message ?? '' };
}

type Outcome =
  | 'POD_FAILURE_MATCHED'
  | 'BACKOFF_LIMIT_EXCEEDED'
  | 'DEADLINE_EXCEEDED'
  | 'INDEXES_FAILED'
  | 'SUCCESS_POLICY_MET'
  | 'SUCCEEDED';

const isSuccess = ({ event }: { readonly event: Outcome }): boolean => event === 'SUCCEEDED' || event === 'SUCCESS_POLICY_MET';

const completionsReached: Verdict & { readonly event: Outcome } = {
  event: 'SUCCEEDED',
  reason: 'CompletionsReached',
  message: 'Reached expected number of succeeded pods',
};

/** The outcome that the pods' state makes certain. A failure comes before a success, as upstream has it. */
function verdictOf(job: Job, world: JobWorld): (Verdict & { readonly event: Outcome }) | undefined {
  const { spec } = job;
  if (world.failJobMessage !== undefined) {
    return { event: 'POD_FAILURE_MATCHED', reason: 'PodFailurePolicy', message: world.failJobMessage };
  }
  const limit = spec.backoffLimit ?? 6;
  const restarted = spec.template.spec?.restartPolicy === 'OnFailure' && world.restarts > 0 && world.restarts >= limit;
  if (world.failed > limit || restarted) {
    return { event: 'BACKOFF_LIMIT_EXCEEDED', reason: 'BackoffLimitExceeded', message: 'Job has reached the specified backoff limit' };
  }
  const deadline = deadlineOf(job);
  if (deadline !== undefined && deadline <= world.now) {
    return { event: 'DEADLINE_EXCEEDED', reason: 'DeadlineExceeded', message: 'Job was active longer than specified deadline' };
  }
  const byIndexes = world.indexes === undefined ? undefined : indexVerdict(spec, world.indexes);
  if (byIndexes !== undefined) return byIndexes;
  const enough = spec.completions === undefined ? world.succeeded > 0 && world.active === 0 : world.succeeded >= spec.completions;
  return enough && !world.expecting ? completionsReached : undefined;
}

function indexVerdict(spec: JobSpec, { succeeded, failed }: JobIndexes): (Verdict & { readonly event: Outcome }) | undefined {
  const { completions = 0, maxFailedIndexes, successPolicy } = spec;
  const failures = failed === undefined ? 0 : sizeOf(failed);
  if (maxFailedIndexes !== undefined && failures > maxFailedIndexes) {
    const message = 'Job has exceeded the specified maximal number of failed indexes';
    return { event: 'INDEXES_FAILED', reason: 'MaxFailedIndexesExceeded', message };
  }
  if (failures > 0 && failures + sizeOf(succeeded) >= completions) {
    return { event: 'INDEXES_FAILED', reason: 'FailedIndexes', message: 'Job has failed indexes' };
  }
  const rule = (successPolicy?.rules ?? []).findIndex(({ succeededIndexes, succeededCount }) => {
    const wanted = succeededIndexes === undefined ? undefined : parseIndexSet(succeededIndexes, completions);
    const reached = wanted === undefined ? sizeOf(succeeded) : overlapOf(wanted, succeeded);
    return reached > 0 && reached >= (succeededCount ?? (wanted === undefined ? completions : sizeOf(wanted)));
  });
  return rule === -1 ? undefined : { event: 'SUCCESS_POLICY_MET', reason: 'SuccessPolicy', message: `Matched rules at index ${rule}` };
}

/** Both texts once they say something. Upstream keeps an empty `failedIndexes` for a Job that counts failures for each index. */
function indexTexts(job: Job, indexes: JobIndexes | undefined): Pick<JobStatus, 'completedIndexes' | 'failedIndexes'> {
  if (indexes === undefined) {
    const { completedIndexes, failedIndexes } = job.status ?? {};
    return { ...(completedIndexes === undefined ? {} : { completedIndexes }), ...(failedIndexes === undefined ? {} : { failedIndexes }) };
  }
  const completed = formatIndexSet(indexes.succeeded);
  return {
    ...(completed === '' ? {} : { completedIndexes: completed }),
    ...(indexes.failed === undefined ? {} : { failedIndexes: formatIndexSet(indexes.failed) }),
  };
}

const isSettled = ({ active, terminating, uncounted, delayedFailures }: JobWorld): boolean =>
  active + terminating + uncounted.succeeded.length + uncounted.failed.length + delayedFailures === 0;

function conditionsFor(state: JobState, job: Job, world: JobWorld, timestamp: string): readonly JobCondition[] {
  let conditions: readonly JobCondition[] = job.status?.conditions ?? [];
  const set = (type: string, verdict: Verdict, status: 'True' | 'False' = 'True'): void => {
    conditions = withCondition(conditions, { ...verdict, type, status }, timestamp);
  };
  const reached = successOf(job, world);
  const failure = failureOf(job, world) ?? { reason: 'Failed', message: '' };
  switch (state) {
    case 'Active':
      if (isTrue(job.status, 'Suspended')) set('Suspended', { reason: 'JobResumed', message: 'Job resumed' }, 'False');
      break;
    case 'Suspended':
      set('Suspended', { reason: 'JobSuspended', message: 'Job suspended' });
      break;
    case 'Succeeding':
      set('SuccessCriteriaMet', reached);
      break;
    case 'Complete':
      set('SuccessCriteriaMet', reached);
      set('Complete', reached);
      break;
    case 'Failing':
      set('FailureTarget', failure);
      break;
    case 'Failed':
      set('FailureTarget', failure);
      set('Failed', failure);
      break;
    case 'Deleting':
      break;
    default:
      return state satisfies never;
  }
  return conditions;
}

/** The time runs from the first pass, and starts again after a suspension. */
function startTimeFor(state: JobState, job: Job, timestamp: string): string | undefined {
  if (state === 'Suspended') return undefined;
  const resumed = state === 'Active' && isTrue(job.status, 'Suspended');
  return resumed ? timestamp : (job.status?.startTime ?? timestamp);
}

function withCondition(
  conditions: readonly JobCondition[],
  fields: Verdict & { readonly type: string; readonly status: string },
  timestamp: string,
): readonly JobCondition[] {
  const index = conditions.findIndex(({ type }) => type === fields.type);
  if (conditions[index]?.status === fields.status) return conditions;
  const condition: JobCondition = {
    type: fields.type,
    status: fields.status,
    lastProbeTime: timestamp,
    lastTransitionTime: timestamp,
    reason: fields.reason,
    message: fields.message,
  };
  return index === -1 ? [...conditions, condition] : conditions.with(index, condition);
}

const isTrue = (status: JobStatus | undefined, type: string): boolean =>
  status?.conditions?.some((condition) => condition.type === type && condition.status === 'True') === true;
