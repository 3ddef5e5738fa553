import { describe, expect, it } from 'vitest';
import type { Job } from '../../../src/api/batch/v1/job.ts';
import type { Pod } from '../../../src/api/core/v1/pod.ts';
import { accountPods as account } from '../../../src/controllers/job/pod-accounting.ts';

const accountPods = (...given: Parameters<typeof account>) => account(...given).world;
const now = Date.parse('2026-01-01T01:00:00Z');
const ago = (seconds: number): string => new Date(now - seconds * 1000).toISOString();

const job = (status: Job['status'] = {}, spec: Partial<Job['spec']> = {}): Job => ({
  apiVersion: 'batch/v1',
  kind: 'Job',
  metadata: { name: 'migrate', namespace: 'default', uid: 'job' },
  spec: { template: { spec: { containers: [], restartPolicy: 'Never' } }, ...spec },
  status,
});

interface Shape {
  readonly tracked?: boolean;
  readonly deleted?: boolean;
  readonly finishedAgo?: number;
}

function pod(uid: string, phase: string, { tracked = true, deleted = false, finishedAgo = 1 }: Shape = {}): Pod {
  const isFinished = phase === 'Succeeded' || phase === 'Failed';
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name: uid,
      uid,
      ...(tracked ? { finalizers: ['batch.kubernetes.io/job-tracking'] } : {}),
      ...(deleted ? { deletionTimestamp: ago(finishedAgo) } : {}),
    },
    spec: { containers: [] },
    status: {
      phase,
      containerStatuses: [
        {
          name: 'run',
          image: '',
          imageID: '',
          ready: false,
          restartCount: 1,
          state: isFinished ? { terminated: { exitCode: 0, finishedAt: ago(finishedAgo) } } : {},
        },
      ],
    },
  };
}

describe('pod accounting', () => {
  it('notes a finished pod, then counts it when its finalizer is gone, or the pod', () => {
    const first = accountPods(job(), [pod('a', 'Succeeded'), pod('b', 'Failed'), pod('c', 'Running')], now);
    expect(first).toMatchObject({ active: 1, succeeded: 1, failed: 1, uncounted: { succeeded: ['a'], failed: ['b'] } });
    const noted = job({ uncountedTerminatedPods: first.uncounted });
    // A crash before the finalizers went: nothing changes.
    expect(accountPods(noted, [pod('a', 'Succeeded'), pod('b', 'Failed')], now)).toMatchObject({
      succeeded: 1,
      failed: 1,
      uncounted: first.uncounted,
    });
    const settled = accountPods(noted, [pod('a', 'Succeeded', { tracked: false })], now);
    expect(settled).toMatchObject({ succeeded: 1, failed: 1, uncounted: { succeeded: [], failed: [] } });
    const counted = job({ succeeded: 1, failed: 1, uncountedTerminatedPods: {} });
    expect(accountPods(counted, [pod('a', 'Succeeded', { tracked: false })], now)).toMatchObject({ succeeded: 1, failed: 1 });
  });

  it('counts a pod that someone deletes as failed, unless only failed pods are replaced', () => {
    expect(accountPods(job(), [pod('a', 'Running', { deleted: true })], now)).toMatchObject({ active: 0, terminating: 1, failed: 1 });
    const patient = job({}, { podReplacementPolicy: 'Failed' });
    expect(accountPods(patient, [pod('a', 'Running', { deleted: true })], now)).toMatchObject({ terminating: 1, failed: 0 });
  });

  it('does not count pods that were withdrawn', () => {
    expect(accountPods(job(), [pod('a', 'Running', { deleted: true, tracked: false })], now)).toMatchObject({ failed: 0, backoffMs: 0 });
  });

  it('takes no more than 500 finished pods into one status', () => {
    const many = Array.from({ length: 700 }, (_, index) => pod(`p${index}`, 'Succeeded'));
    expect(accountPods(job(), many, now).uncounted.succeeded).toHaveLength(500);
  });
});

describe('back-off', () => {
  const backoffAfter = (...pods: readonly Pod[]) => accountPods(job(), pods, now).backoffMs;

  it('doubles with each failure in a row, from the last one, up to ten minutes', () => {
    expect(backoffAfter(pod('a', 'Failed', { finishedAgo: 4 }))).toBe(6_000);
    expect(backoffAfter(pod('a', 'Failed', { finishedAgo: 40 }), pod('b', 'Failed', { finishedAgo: 4 }))).toBe(16_000);
    expect(backoffAfter(pod('a', 'Failed', { finishedAgo: 60 }))).toBe(0);
    const row = Array.from({ length: 12 }, (_, index) => pod(`p${index}`, 'Failed', { finishedAgo: 100 + index }));
    expect(backoffAfter(...row)).toBe(500_000);
  });

  it('starts again after a success', () => {
    expect(backoffAfter(pod('a', 'Failed', { finishedAgo: 40 }), pod('b', 'Succeeded', { finishedAgo: 20 }))).toBe(0);
  });
});
