import { afterEach, describe, expect, it } from 'vitest';
import { type Job, jobs } from '../../../src/api/batch/v1/job.ts';
import { type Pod, pods } from '../../../src/api/core/v1/pod.ts';
import { createExpiryController } from '../../../src/controllers/expiry/expiry-controller.ts';
import { finishedJobs } from '../../../src/controllers/expiry/rules.ts';
import { createJobController } from '../../../src/controllers/job/job-controller.ts';
import { isConflict, isNotFound } from '../../../src/machinery/status-error.ts';
import { type ControlPlane, finishedStatus, playPods, readyStatus, setStatus, startControlPlane } from '../../support/control-plane.ts';
import { until } from '../../support/until.ts';

const namespace = 'default';
const name = 'migrate';

let plane: ControlPlane | undefined;
afterEach(async () => {
  await plane?.stop();
  plane = undefined;
});

async function start(statusOf: (pod: Pod) => Pod['status'] | undefined): Promise<ControlPlane> {
  plane = await startControlPlane({
    controllers: [createJobController, (dependencies) => createExpiryController(finishedJobs, dependencies)],
  });
  playPods(plane, { statusOf });
  return plane;
}

const job = (spec: Partial<Job['spec']> = {}): Job => ({
  apiVersion: 'batch/v1',
  kind: 'Job',
  metadata: { name, namespace },
  spec: { template: { spec: { containers: [{ name: 'run', image: 'host/sh' }], restartPolicy: 'Never' } }, ...spec },
});

const get = ({ client }: ControlPlane) => client.get(jobs, { namespace, name });
const all = async ({ client }: ControlPlane): Promise<readonly Pod[]> => (await client.list(pods, { namespace })).items;
const isTrue = ({ status }: Job, type: string) => status?.conditions?.some((one) => one.type === type && one.status === 'True') === true;

const finished = (plane: ControlPlane, type: 'Complete' | 'Failed') =>
  until(
    async () => {
      const current = await get(plane);
      return isTrue(current, type) && current;
    },
    { what: `job to be ${type}`, timeoutMs: 15_000, intervalMs: 5 },
  );

async function change({ client }: ControlPlane, edit: (current: Job) => Job): Promise<void> {
  for (;;) {
    try {
      await client.update(jobs, edit(await client.get(jobs, { namespace, name })));
      return;
    } catch (err) {
      if (!isConflict(err)) throw err;
    }
  }
}

describe('a Job', () => {
  it('runs its pod and completes, and keeps the pod without the finalizer', async () => {
    const plane = await start(() => finishedStatus('Succeeded'));
    await plane.client.create(jobs, job());
    const done = await finished(plane, 'Complete');
    expect(done.status).toMatchObject({ succeeded: 1, ready: 0, terminating: 0, uncountedTerminatedPods: {} });
    expect(done.status?.conditions?.map(({ type }) => type)).toEqual(['SuccessCriteriaMet', 'Complete']);
    const [pod] = await all(plane);
    expect(pod?.metadata.finalizers).toBeUndefined();
    expect(pod?.metadata.labels).toMatchObject({
      'batch.kubernetes.io/job-name': name,
      'batch.kubernetes.io/controller-uid': done.metadata.uid,
    });
  });

  it('runs as many pods as it needs, never more at once than allowed, and counts each once', async () => {
    const plane = await start(readyStatus);
    await plane.client.create(jobs, job({ parallelism: 4, completions: 25 }));
    let most = 0;
    for (;;) {
      const live = (await all(plane)).filter(({ status }) => status?.phase === 'Running');
      most = Math.max(most, live.length);
      const current = await get(plane);
      if (isTrue(current, 'Complete')) break;
      for (const pod of live) await setStatus(plane.client, pod, finishedStatus('Succeeded'));
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(most).toBeLessThanOrEqual(4);
    expect((await get(plane)).status?.succeeded).toBe(25);
    expect(await all(plane)).toHaveLength(25);
  });

  it('counts a finished pod that is deleted before it was seen', async () => {
    const plane = await start(() => undefined);
    await plane.client.create(jobs, job({ parallelism: 1, completions: 2 }));
    const [pod] = await until(
      async () => {
        const list = await all(plane);
        return list.length === 1 && list;
      },
      { what: 'first pod' },
    );
    if (pod === undefined) throw new Error('no pod');
    await Promise.all([
      setStatus(plane.client, pod, finishedStatus('Succeeded')),
      plane.client.delete(pods, { namespace, name: pod.metadata.name }, { gracePeriodSeconds: 0 }),
    ]);
    await until(async () => (await get(plane)).status?.succeeded === 1, { what: 'success to be counted' });
    await until(async () => (await all(plane)).every(({ metadata }) => metadata.uid !== pod.metadata.uid), { what: 'pod to go' });
  });

  it('fails after its back-off limit and says why', async () => {
    const plane = await start(() => finishedStatus('Failed'));
    await plane.client.create(jobs, job({ backoffLimit: 0 }));
    const failed = await finished(plane, 'Failed');
    expect(failed.status?.failed).toBe(1);
    expect(failed.status?.conditions?.map(({ type, reason }) => `${type} ${reason}`)).toEqual([
      'FailureTarget BackoffLimitExceeded',
      'Failed BackoffLimitExceeded',
    ]);
    expect(await all(plane)).toHaveLength(1);
  });

  it('waits before it replaces a failed pod', async () => {
    const plane = await start(() => finishedStatus('Failed'));
    await plane.client.create(jobs, job());
    await until(async () => (await get(plane)).status?.failed === 1, { what: 'failure to be counted' });
    expect(await all(plane)).toHaveLength(1);
    expect((await get(plane)).status?.active).toBeUndefined();
  });

  it('fails at its deadline, and its running pod with it', async () => {
    const plane = await start(readyStatus);
    await plane.client.create(jobs, job({ activeDeadlineSeconds: 1 }));
    const failed = await finished(plane, 'Failed');
    expect(failed.status).toMatchObject({ failed: 1, uncountedTerminatedPods: {} });
    expect(failed.status?.conditions?.at(-1)).toMatchObject({
      reason: 'DeadlineExceeded',
      message: 'Job was active longer than specified deadline',
    });
    expect(await all(plane)).toHaveLength(0);
  });

  it('stops its pods while suspended and goes on when resumed', async () => {
    const plane = await start(readyStatus);
    await plane.client.create(jobs, job({ parallelism: 2, completions: 2 }));
    await until(async () => (await get(plane)).status?.ready === 2, { what: 'two ready pods' });
    await change(plane, (current) => ({ ...current, spec: { ...current.spec, suspend: true } }));
    // The status of the pods follows later; until then it would count for the new ones.
    const isIdle = ({ status }: Job): boolean => (status?.ready ?? 0) === 0 && (status?.active ?? 0) === 0;
    const isSuspended = async (current: Job): Promise<boolean> =>
      isTrue(current, 'Suspended') && isIdle(current) && (await all(plane)).length === 0;
    await until(async () => isSuspended(await get(plane)), { what: 'suspension' });
    expect((await get(plane)).status?.failed).toBeUndefined();
    await change(plane, (current) => ({ ...current, spec: { ...current.spec, suspend: false } }));
    await until(async () => (await get(plane)).status?.ready === 2, { what: 'two ready pods again' });
    for (const pod of await all(plane)) await setStatus(plane.client, pod, finishedStatus('Succeeded'));
    await finished(plane, 'Complete');
  });

  it('is deleted when its time to live is over', async () => {
    const plane = await start(() => finishedStatus('Succeeded'));
    await plane.client.create(jobs, job({ ttlSecondsAfterFinished: 1 }));
    await finished(plane, 'Complete');
    // Without the garbage collector the object stays, marked as being deleted.
    await until(
      async () => {
        try {
          return (await get(plane)).metadata.deletionTimestamp !== undefined;
        } catch (err) {
          if (isNotFound(err)) return true;
          throw err;
        }
      },
      { what: 'job to be deleted' },
    );
  });

  it('that is deleted leaves no pod behind that cannot go', async () => {
    const plane = await start(readyStatus);
    await plane.client.create(jobs, job());
    await until(async () => (await get(plane)).status?.ready === 1, { what: 'a ready pod' });
    await plane.client.delete(jobs, { namespace, name }, { propagationPolicy: 'Background' });
    await until(async () => (await all(plane)).every(({ metadata }) => metadata.finalizers === undefined), { what: 'finalizers to go' });
  });
});
