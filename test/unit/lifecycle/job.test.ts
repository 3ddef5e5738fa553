import { describe, expect, it } from 'vitest';
import type { Job } from '../../../src/api/batch/v1/job.ts';
import { eventsOf, type JobState, type JobWorld, missingPods, stateOf, statusOf } from '../../../src/lifecycle/job.facts.ts';
import { type JobEvent, jobMachine } from '../../../src/lifecycle/job.machine.ts';
import { type IndexSet, sizeOf } from '../../../src/machinery/index-set.ts';
import { machineSuite } from '../../support/machine-suite.ts';

const timestamp = '2026-01-01T00:00:00Z';
const now = Date.parse(timestamp);

const job = (spec: Partial<Job['spec']> = {}): Job => ({
  apiVersion: 'batch/v1',
  kind: 'Job',
  metadata: { name: 'migrate', namespace: 'default' },
  spec: { parallelism: 1, completions: 1, backoffLimit: 2, template: { spec: { containers: [], restartPolicy: 'Never' } }, ...spec },
});

const world = (overrides: Partial<JobWorld> = {}): JobWorld => ({
  active: 0,
  ready: 0,
  terminating: 0,
  succeeded: 0,
  failed: 0,
  delayedFailures: 0,
  uncounted: { succeeded: [], failed: [] },
  indexes: undefined,
  failJobMessage: undefined,
  restarts: 0,
  backoffMs: 0,
  retryMs: 0,
  expecting: false,
  now,
  ...overrides,
});

function written(state: JobState, before = job(), seen = world()): Job {
  const status = statusOf(state, before, { world: seen, timestamp });
  return { ...before, metadata: { ...before.metadata, ...(state === 'Deleting' ? { deletionTimestamp: timestamp } : {}) }, status };
}

machineSuite({
  machine: jobMachine,
  samples: [
    { type: 'SUSPENDED' },
    { type: 'RESUMED' },
    { type: 'PODS_MISSING' },
    { type: 'PODS_SURPLUS' },
    { type: 'BACKOFF_LIMIT_EXCEEDED' },
    { type: 'DEADLINE_EXCEEDED' },
    { type: 'POD_FAILURE_MATCHED' },
    { type: 'INDEXES_FAILED' },
    { type: 'SUCCESS_POLICY_MET' },
    { type: 'SUCCEEDED' },
    { type: 'PODS_LEFT' },
    { type: 'PODS_SETTLED' },
    { type: 'DELETED' },
  ],
  terminal: ['Complete', 'Failed'],
  deletion: { event: { type: 'DELETED' }, states: ['Deleting'] },
  roundTrip: (value) => stateOf(written(value)),
});

describe('job events', () => {
  const types = (object: Job, seen: JobWorld = world()): readonly JobEvent['type'][] => eventsOf(object, seen).map(({ type }) => type);

  it('ask for pods, unless they were asked for or have to wait', () => {
    expect(types(job())).toEqual(['PODS_MISSING']);
    expect(types(job(), world({ expecting: true }))).toEqual([]);
    expect(types(job(), world({ failed: 1, backoffMs: 5_000 }))).toEqual([]);
    expect(types(job({ parallelism: 1, completions: 5 }), world({ active: 3 }))).toEqual(['PODS_SURPLUS']);
  });

  it('settle the outcome only when every pod has ended and is counted', () => {
    expect(types(job(), world({ succeeded: 1, uncounted: { succeeded: ['a'], failed: [] } }))).toEqual(['SUCCEEDED']);
    expect(types(written('Succeeding'), world({ succeeded: 1 }))).toEqual(['PODS_SETTLED']);
    expect(types(written('Succeeding'), world({ succeeded: 1, terminating: 1 }))).toEqual([]);
    expect(types(job({ completions: 0 }))).toEqual(['SUCCEEDED', 'PODS_SETTLED']);
  });

  it('fail after too many failures, or restarts with OnFailure', () => {
    expect(types(job(), world({ failed: 2 }))).toEqual(['PODS_MISSING']);
    expect(types(job(), world({ failed: 3, active: 1 }))).toEqual(['BACKOFF_LIMIT_EXCEEDED']);
    const restarting = job({ template: { spec: { containers: [], restartPolicy: 'OnFailure' } } });
    expect(types(restarting, world({ active: 1, restarts: 1 }))).toEqual([]);
    // A pod that is deleted takes its restarts with it: the outcome is stored before.
    expect(types(restarting, world({ active: 1, restarts: 2 }))).toEqual(['BACKOFF_LIMIT_EXCEEDED']);
    expect(types(written('Failing', restarting, world({ active: 1, restarts: 2 })), world({ active: 1 }))).toEqual(['PODS_LEFT']);
  });

  it('fail after the deadline, counted from the start', () => {
    const started = written('Active', job({ activeDeadlineSeconds: 60 }), world({ active: 1 }));
    expect(types(started, world({ active: 1, now: now + 59_000 }))).toEqual([]);
    expect(types(started, world({ active: 1, now: now + 60_000 }))).toEqual(['DEADLINE_EXCEEDED']);
  });

  it('with a deadline of 0 fail before they have a pod', () => {
    expect(types(job({ activeDeadlineSeconds: 0 }), world())).toEqual(['DEADLINE_EXCEEDED', 'PODS_SETTLED']);
  });

  it('suspend and resume, and start the time again', () => {
    const suspended = job({ suspend: true, activeDeadlineSeconds: 60 });
    expect(types(suspended, world({ active: 1 }))).toEqual(['SUSPENDED', 'PODS_LEFT']);
    const waiting = written('Suspended', suspended);
    expect(waiting.status?.startTime).toBeUndefined();
    expect(waiting.status?.conditions).toMatchObject([
      { type: 'Suspended', status: 'True', reason: 'JobSuspended', message: 'Job suspended' },
    ]);
    const resumed: Job = { ...waiting, spec: { ...waiting.spec, suspend: false } };
    expect(types(resumed)).toEqual(['RESUMED', 'PODS_MISSING']);
    const later = '2026-01-01T01:00:00Z';
    const status = statusOf('Active', resumed, { world: world(), timestamp: later });
    expect(status.startTime).toBe(later);
    expect(status.conditions).toMatchObject([{ type: 'Suspended', status: 'False', reason: 'JobResumed', message: 'Job resumed' }]);
  });

  const indexed = (spec: Partial<Job['spec']> = {}) => job({ completionMode: 'Indexed', completions: 5, parallelism: 5, ...spec });
  const indexes = (overrides: Partial<NonNullable<JobWorld['indexes']>> = {}): Partial<JobWorld> => {
    const all = { succeeded: [], failed: undefined, pending: [], surplusCount: 0, ...overrides };
    return { indexes: all, succeeded: sizeOf(all.succeeded) };
  };

  it('fail by a rule of the pod failure policy before anything else', () => {
    const seen = world({ failed: 9, failJobMessage: 'Container c for pod ns/p failed with exit code 42 matching FailJob rule at index 0' });
    expect(types(job(), seen)).toEqual(['POD_FAILURE_MATCHED', 'PODS_SETTLED']);
    expect(written('Failed', job(), seen).status?.conditions).toMatchObject(
      ['FailureTarget', 'Failed'].map((type) => ({ type, reason: 'PodFailurePolicy', message: seen.failJobMessage })),
    );
  });

  it('fail when too many indexes failed, or when some did and no other is left', () => {
    const perIndex = indexed({ backoffLimitPerIndex: 1, maxFailedIndexes: 1 });
    const seen = (failed: IndexSet, succeeded: IndexSet = []) => world(indexes({ failed, succeeded }));
    expect(types(perIndex, seen([[0, 0]]))).toEqual([]);
    expect(types(perIndex, seen([[0, 1]]))).toEqual(['INDEXES_FAILED', 'PODS_SETTLED']);
    expect(written('Failing', perIndex, seen([[0, 1]])).status).toMatchObject({
      failedIndexes: '0,1',
      conditions: [{ reason: 'MaxFailedIndexesExceeded', message: 'Job has exceeded the specified maximal number of failed indexes' }],
    });
    expect(written('Failing', perIndex, seen([[4, 4]], [[0, 3]])).status?.conditions).toMatchObject([
      { reason: 'FailedIndexes', message: 'Job has failed indexes' },
    ]);
  });

  it.each<[string, object, IndexSet, boolean]>([
    ['the named indexes', { succeededIndexes: '1,3-4' }, [[1, 1]], false],
    [
      'the named indexes',
      { succeededIndexes: '1,3' },
      [
        [0, 1],
        [3, 3],
      ],
      true,
    ],
    [
      'so many of the named indexes',
      { succeededIndexes: '1,3-4', succeededCount: 2 },
      [
        [0, 1],
        [4, 4],
      ],
      true,
    ],
    ['so many of any index', { succeededCount: 2 }, [[0, 0]], false],
    [
      'so many of any index',
      { succeededCount: 2 },
      [
        [0, 0],
        [4, 4],
      ],
      true,
    ],
  ])('succeed by a policy that wants %s: %j of %j', (_, rule, succeeded, met) => {
    const policy = indexed({ successPolicy: { rules: [{ succeededIndexes: '0-4', succeededCount: 5 }, rule] } });
    const seen = world({ ...indexes({ succeeded }), active: 1 });
    expect(types(policy, seen)).toEqual(met ? ['SUCCESS_POLICY_MET'] : []);
    if (!met) return;
    const done = written('Complete', written('Succeeding', policy, seen), seen);
    expect(done.status?.conditions).toMatchObject(
      ['SuccessCriteriaMet', 'Complete'].map((type) => ({ type, reason: 'SuccessPolicy', message: 'Matched rules at index 1' })),
    );
  });

  it('wait for an index in back-off, and count no failed index as missing', () => {
    const perIndex = indexed({ backoffLimitPerIndex: 1 });
    expect(types(perIndex, world({ ...indexes({ failed: [[0, 0]], pending: [1] }), active: 3 }))).toEqual(['PODS_MISSING']);
    expect(types(perIndex, world({ ...indexes({ failed: [[0, 0]] }), active: 3, backoffMs: 5, retryMs: 5 }))).toEqual([]);
    expect(missingPods(perIndex, world({ ...indexes({ failed: [[0, 0]] }), active: 4 }))).toBe(0);
  });

  it('remove pods of indexes that are not theirs alone', () => {
    expect(types(indexed(), world({ ...indexes({ surplusCount: 1 }), active: 5 }))).toEqual(['PODS_SURPLUS']);
    expect(missingPods(indexed(), world({ ...indexes({ surplusCount: 2 }), active: 5 }))).toBe(-2);
  });
});

describe('missing pods', () => {
  it('are bounded by parallelism and by what is left to do', () => {
    expect(missingPods(job({ parallelism: 3, completions: 10 }), world({ active: 1, succeeded: 2 }))).toBe(2);
    expect(missingPods(job({ parallelism: 3, completions: 10 }), world({ active: 1, succeeded: 8 }))).toBe(1);
  });

  it('are none for a work queue after the first success', () => {
    const { completions: _, ...spec } = job({ parallelism: 3 }).spec;
    expect(missingPods({ ...job(), spec }, world())).toBe(3);
    expect(missingPods({ ...job(), spec }, world({ active: 2, succeeded: 1 }))).toBe(0);
  });

  it('wait for terminating ones only when the policy says so', () => {
    expect(missingPods(job(), world({ terminating: 1 }))).toBe(1);
    expect(missingPods(job({ podReplacementPolicy: 'Failed' }), world({ terminating: 1 }))).toBe(0);
  });
});

describe('job status', () => {
  it('looks as the real controller writes it', () => {
    expect(written('Complete', job(), world({ succeeded: 1 })).status).toEqual({
      ready: 0,
      terminating: 0,
      succeeded: 1,
      uncountedTerminatedPods: {},
      startTime: timestamp,
      completionTime: timestamp,
      conditions: ['SuccessCriteriaMet', 'Complete'].map((type) => ({
        type,
        status: 'True',
        lastProbeTime: timestamp,
        lastTransitionTime: timestamp,
        reason: 'CompletionsReached',
        message: 'Reached expected number of succeeded pods',
      })),
    });
  });

  it('keeps the reason of a failure from when it was certain', () => {
    const failing = written('Failing', job(), world({ failed: 3 }));
    expect(written('Failed', failing, world({ failed: 4 })).status?.conditions?.at(-1)).toMatchObject({
      type: 'Failed',
      reason: 'BackoffLimitExceeded',
      message: 'Job has reached the specified backoff limit',
    });
  });

  it('counts only what is not noted as uncounted', () => {
    const seen = world({ succeeded: 3, failed: 1, uncounted: { succeeded: ['a'], failed: ['b'] } });
    const { status } = written('Active', job({ completions: 5 }), seen);
    expect(status).toMatchObject({ succeeded: 2, uncountedTerminatedPods: { succeeded: ['a'], failed: ['b'] } });
    expect(status?.failed).toBeUndefined();
  });
});
