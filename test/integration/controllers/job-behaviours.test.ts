import { afterEach, describe, expect, it } from 'vitest';
import { type Job, jobs } from '../../../src/api/batch/v1/job.ts';
import { events } from '../../../src/api/core/v1/event.ts';
import { type Pod, pods } from '../../../src/api/core/v1/pod.ts';
import type { Metrics } from '../../../src/base/metrics.ts';
import { createJobController } from '../../../src/controllers/job/job-controller.ts';
import { isConflict } from '../../../src/machinery/status-error.ts';
import type { ControllerDependencies } from '../../../src/reconcile/dependencies.ts';
import { type ControlPlane, setStatus, startControlPlane } from '../../support/control-plane.ts';
import { createManualClock, type ManualClock } from '../../support/manual-clock.ts';
import { until } from '../../support/until.ts';

/** Titles are those of upstream's e2e suite `[sig-apps] Job`, where it has the behaviour. */

const namespace = 'default';
const name = 'work';
const indexLabel = 'batch.kubernetes.io/job-completion-index';

let plane: ControlPlane;
let clock: ManualClock;
let metrics: Metrics;
afterEach(() => plane.stop());

async function start(spec: Partial<Job['spec']> & { readonly pod?: object }): Promise<void> {
  clock = createManualClock();
  const controller = (dependencies: ControllerDependencies) => {
    metrics = dependencies.metrics.registry;
    return createJobController(dependencies);
  };
  plane = await startControlPlane({ controllers: [controller], clock });
  await create(spec);
}

async function create({ pod = {}, ...spec }: Partial<Job['spec']> & { readonly pod?: object }): Promise<Job> {
  return await plane.client.create(jobs, {
    apiVersion: 'batch/v1',
    kind: 'Job',
    metadata: { name, namespace },
    spec: { template: { spec: { containers: [{ name: 'c', image: 'host/sh' }], restartPolicy: 'Never', ...pod } }, ...spec },
  });
}

const get = () => plane.client.get(jobs, { namespace, name });
const all = async (): Promise<readonly Pod[]> => (await plane.client.list(pods, { namespace })).items;
const isActive = ({ status, metadata }: Pod): boolean =>
  metadata.deletionTimestamp === undefined && status?.phase !== 'Succeeded' && status?.phase !== 'Failed';
const indexOf = ({ metadata }: Pod): string => metadata.annotations?.[indexLabel] ?? '';
const activeIndexes = async (): Promise<string> => (await all()).filter(isActive).map(indexOf).sort().join(',');
const conditions = async (): Promise<readonly string[]> =>
  ((await get()).status?.conditions ?? []).map(({ type, status, reason }) => `${type}=${status} ${reason}`);

/** Waits for the controllers; time passes only by `advance`, but for the pauses of queues. */
async function see<T>(what: string, ask: () => Promise<T | undefined | false>): Promise<T> {
  return await until(
    async () => {
      clock.advance(100);
      return await ask();
    },
    { what: async () => `${what}; status ${JSON.stringify((await get()).status)}`, intervalMs: 5 },
  );
}

const activePods = (count: number) =>
  see(`${count} active pods`, async () => {
    const active = (await all()).filter(isActive);
    return active.length === count && active;
  });

const podOf = (index: number): Promise<Pod> =>
  see(`a pod of index ${index}`, async () => (await all()).filter(isActive).find((pod) => indexOf(pod) === String(index)));

function ended(exitCode: number, more: readonly object[] = []): NonNullable<Pod['status']> {
  const finishedAt = new Date(clock.now()).toISOString().replace(/\.\d+Z/, 'Z');
  return {
    phase: exitCode === 0 ? 'Succeeded' : 'Failed',
    conditions: more as NonNullable<Pod['status']>['conditions'] & object,
    containerStatuses: [
      { name: 'c', image: '', imageID: '', ready: false, restartCount: 0, state: { terminated: { exitCode, finishedAt } } },
    ],
  };
}

const end = (pod: Pod, exitCode: number, more: readonly object[] = []) => setStatus(plane.client, pod, ended(exitCode, more));

async function change(edit: (current: Job) => Job): Promise<void> {
  for (;;) {
    try {
      await plane.client.update(jobs, edit(await get()));
      return;
    } catch (err) {
      if (!isConflict(err)) throw err;
    }
  }
}

const finished = (type: 'Complete' | 'Failed') =>
  see(`the Job to be ${type}`, async () => {
    const job = await get();
    return job.status?.conditions?.some((one) => one.type === type && one.status === 'True') === true && job;
  });

const indexed = { completionMode: 'Indexed', backoffLimit: 100 };

describe('[sig-apps] Job', () => {
  it('should create pods for an Indexed job with completion indexes and specified hostname', async () => {
    await start({ ...indexed, completions: 4, parallelism: 2, pod: { initContainers: [{ name: 'i', image: 'host/sh' }] } });
    const [first] = await activePods(2);
    expect(await activeIndexes()).toBe('0,1');
    expect(first?.metadata.generateName).toMatch(/^work-[01]-$/);
    const pod = await podOf(1);
    expect(pod.metadata).toMatchObject({ annotations: { [indexLabel]: '1' }, labels: { [indexLabel]: '1' } });
    expect(pod.spec.hostname).toBe('work-1');
    const variable = { name: 'JOB_COMPLETION_INDEX', valueFrom: { fieldRef: { fieldPath: `metadata.labels['${indexLabel}']` } } };
    for (const { env } of [...pod.spec.containers, ...(pod.spec.initContainers ?? [])]) expect(env).toMatchObject([variable]);
    for (const index of [1, 0, 3, 2]) {
      await end(await podOf(index), 0);
      if (index === 1) await see('the text of indexes', async () => (await get()).status?.completedIndexes === '1');
    }
    expect((await finished('Complete')).status).toMatchObject({ succeeded: 4, completedIndexes: '0-3', uncountedTerminatedPods: {} });
    await see('finalizers to go', async () => (await all()).every(({ metadata }) => metadata.finalizers === undefined));
  });

  it('should allow to use the pod failure policy on exit code to fail the job early', async () => {
    const rules = [{ action: 'FailJob', onExitCodes: { operator: 'In', values: [42] } }];
    await start({ parallelism: 2, completions: 4, backoffLimit: 3, podFailurePolicy: { rules } });
    const [one, two] = await activePods(2);
    if (one === undefined || two === undefined) throw new Error('no pods');
    await end(one, 42);
    const deleted = async () =>
      (await all()).some(({ metadata }) => metadata.name === two.metadata.name && metadata.deletionTimestamp !== undefined);
    await see('the deletion of the other pod', deleted);
    await see('the target', async () => (await conditions()).join() === 'FailureTarget=True PodFailurePolicy');
    await end(two, 143);
    const failed = await finished('Failed');
    expect(await conditions()).toEqual(['FailureTarget=True PodFailurePolicy', 'Failed=True PodFailurePolicy']);
    expect(failed.status?.conditions?.at(-1)?.message).toBe(
      `Container c for pod default/${one.metadata.name} failed with exit code 42 matching FailJob rule at index 0`,
    );
  });

  it.each([
    ['exit code', { onExitCodes: { operator: 'In', values: [42] } }, 42, []],
    [
      'DisruptionTarget condition',
      { onPodConditions: [{ type: 'DisruptionTarget', status: 'True' }] },
      1,
      [{ type: 'DisruptionTarget', status: 'True' }],
    ],
  ])('should allow to use a pod failure policy to ignore failure matching on %s', async (_, pattern, exitCode, more) => {
    await start({ backoffLimit: 0, podFailurePolicy: { rules: [{ action: 'Ignore', ...pattern }] } });
    const [pod] = await activePods(1);
    if (pod === undefined) throw new Error('no pod');
    await end(pod, exitCode, more);
    await see('the finalizer to go', async () => (await all()).some(({ metadata }) => metadata.finalizers === undefined));
    // The failure holds up the next pod, and counts for nothing.
    clock.advance(10_000);
    const [next] = await activePods(1);
    expect((await get()).status?.failed).toBeUndefined();
    if (next !== undefined) await end(next, 0);
    await finished('Complete');
  });

  it('should mark indexes as failed when the FailIndex action is matched in podFailurePolicy', async () => {
    const rules = [{ action: 'FailIndex', onExitCodes: { operator: 'In', values: [42] } }];
    await start({ ...indexed, completions: 2, parallelism: 2, backoffLimitPerIndex: 1, podFailurePolicy: { rules } });
    await end(await podOf(0), 42);
    await see('the failed index', async () => (await get()).status?.failedIndexes === '0');
    await end(await podOf(1), 0);
    const failed = await finished('Failed');
    expect(failed.status).toMatchObject({ failedIndexes: '0', completedIndexes: '1', succeeded: 1, failed: 1 });
    expect(await conditions()).toEqual(['FailureTarget=True FailedIndexes', 'Failed=True FailedIndexes']);
  });

  it('should execute all indexes despite some failing when using backoffLimitPerIndex', async () => {
    await start({ ...indexed, completions: 2, parallelism: 2, backoffLimitPerIndex: 1 });
    await end(await podOf(0), 1);
    await see('the finalizer that keeps the count', async () =>
      (await all()).some((pod) => pod.status?.phase === 'Failed' && pod.metadata.finalizers !== undefined),
    );
    clock.advance(10_000);
    const second = await podOf(0);
    expect(second.metadata.annotations).toMatchObject({ 'batch.kubernetes.io/job-index-failure-count': '1' });
    await see('the first failure to count', async () => (await get()).status?.failed === 1);
    await end(second, 1);
    await see('the failed index', async () => (await get()).status?.failedIndexes === '0');
    await end(await podOf(1), 0);
    const failed = await finished('Failed');
    expect(failed.status).toMatchObject({ failedIndexes: '0', completedIndexes: '1', succeeded: 1, failed: 2 });
    await see('all pods without the finalizer', async () => (await all()).every((pod) => pod.metadata.finalizers === undefined));
    await see('that in the metrics', async () =>
      (await metrics.text()).includes('terminated_pods_tracking_finalizer_total{event="delete"} 3'),
    );
    const text = (await metrics.text()).split('\n').filter((line) => /^job_controller_(job_finished_indexes|terminated_pods)/.test(line));
    expect(text.filter((line) => !line.endsWith(' 0'))).toEqual([
      'job_controller_job_finished_indexes_total{status="succeeded",backoffLimit="perIndex"} 1',
      'job_controller_job_finished_indexes_total{status="failed",backoffLimit="perIndex"} 1',
      'job_controller_terminated_pods_tracking_finalizer_total{event="add"} 3',
      'job_controller_terminated_pods_tracking_finalizer_total{event="delete"} 3',
    ]);
  });

  it('should terminate job execution when the number of failed indexes exceeds maxFailedIndexes', async () => {
    await start({ ...indexed, completions: 10, parallelism: 10, backoffLimitPerIndex: 0, maxFailedIndexes: 1 });
    await activePods(10);
    for (const index of [0, 1]) await end(await podOf(index), 1);
    const failed = await finished('Failed');
    expect(failed.status?.failedIndexes).toBe('0,1');
    expect(await conditions()).toEqual(['FailureTarget=True MaxFailedIndexesExceeded', 'Failed=True MaxFailedIndexesExceeded']);
    expect((await all()).filter(isActive)).toEqual([]);
  });

  it('should recreate pods only after they have failed if pod replacement policy is set to Failed', async () => {
    await start({ podReplacementPolicy: 'Failed', pod: { nodeName: 'n' } });
    const [pod] = await activePods(1);
    if (pod === undefined) throw new Error('no pod');
    await plane.client.delete(pods, { namespace, name: pod.metadata.name });
    await see('the terminating pod in the status', async () => (await get()).status?.terminating === 1);
    expect(await all()).toHaveLength(1);
    expect((await get()).status?.failed).toBeUndefined();
    await end(pod, 1);
    await see('the failure', async () => (await get()).status?.failed === 1);
    clock.advance(10_000);
    await activePods(1);
  });

  it('with successPolicy succeededIndexes rule should succeeded even when some indexes remain pending', async () => {
    await start({ ...indexed, completions: 5, parallelism: 2, successPolicy: { rules: [{ succeededIndexes: '0,1' }] } });
    await end(await podOf(0), 0);
    await end(await podOf(1), 0);
    const done = await finished('Complete');
    expect(done.status).toMatchObject({ completedIndexes: '0,1', succeeded: 2 });
    expect(await conditions()).toEqual(['SuccessCriteriaMet=True SuccessPolicy', 'Complete=True SuccessPolicy']);
    expect((await all()).filter(isActive)).toEqual([]);
  });

  it('with successPolicy succeededCount rule should succeeded even when some indexes remain pending', async () => {
    await start({ ...indexed, completions: 5, parallelism: 2, successPolicy: { rules: [{ succeededCount: 1 }] } });
    await end(await podOf(1), 0);
    expect((await finished('Complete')).status?.completedIndexes).toBe('1');
  });

  it('should not create pods when created in suspend state, and lets its template change until it runs', async () => {
    await start({ suspend: true, parallelism: 2 });
    await see('the condition', async () => (await conditions()).includes('Suspended=True JobSuspended'));
    expect(await all()).toEqual([]);
    await change((job) => ({
      ...job,
      spec: {
        ...job.spec,
        template: { ...job.spec.template, spec: { ...(job.spec.template.spec ?? { containers: [] }), nodeSelector: { disk: 'fast' } } },
      },
    }));
    await change((job) => ({ ...job, spec: { ...job.spec, suspend: false } }));
    const active = await activePods(2);
    expect(active.every(({ spec }) => spec.nodeSelector?.disk === 'fast')).toBe(true);
    await see('the condition', async () => (await conditions()).includes('Suspended=False JobResumed'));
  });

  it('should adopt matching orphans and release non-matching pods', async () => {
    await start({ parallelism: 1 });
    const [pod] = await activePods(1);
    if (pod === undefined) throw new Error('no pod');
    const ref = { namespace, name: pod.metadata.name };
    await plane.client.patch(pods, ref, { type: 'merge', body: { metadata: { ownerReferences: null, finalizers: null } } });
    await see('adoption', async () => {
      const { metadata } = await plane.client.get(pods, ref);
      return metadata.ownerReferences?.[0]?.name === name && metadata.finalizers?.includes('batch.kubernetes.io/job-tracking') === true;
    });
    await plane.client.patch(pods, ref, {
      type: 'merge',
      body: { metadata: { labels: { 'batch.kubernetes.io/controller-uid': 'other' } } },
    });
    await see('release', async () => {
      const { metadata } = await plane.client.get(pods, ref);
      return metadata.ownerReferences === undefined && metadata.finalizers === undefined;
    });
    await see('a pod in its place', async () => (await all()).length === 2);
  });

  it('should allow to delegate reconciliation to external controller', async () => {
    await start({ managedBy: 'example.com/custom', parallelism: 1 });
    clock.advance(60_000);
    await new Promise((resolve) => setImmediate(resolve));
    expect(await all()).toEqual([]);
    expect((await get()).status).toEqual({});
  });

  it('scales an Indexed Job with completions and parallelism together', async () => {
    await start({ ...indexed, completions: 3, parallelism: 3 });
    await activePods(3);
    await end(await podOf(2), 0);
    await see('index 2', async () => (await get()).status?.completedIndexes === '2');
    await change((job) => ({ ...job, spec: { ...job.spec, completions: 1, parallelism: 1 } }));
    await see('index 0 alone', async () => (await activeIndexes()) === '0' && (await get()).status?.completedIndexes === undefined);
    expect((await get()).status?.succeeded).toBeUndefined();
    await change((job) => ({ ...job, spec: { ...job.spec, completions: 2, parallelism: 2 } }));
    await end(await podOf(1), 0);
    await end(await podOf(0), 0);
    expect((await finished('Complete')).status?.completedIndexes).toBe('0,1');
  });

  it('counts each index once when its controller is restarted at any moment', async () => {
    await start({ ...indexed, completions: 6, parallelism: 2, backoffLimitPerIndex: 1 });
    for (let index = 0; index < 6; index += 1) {
      await end(await podOf(index), index % 3 === 2 ? 1 : 0);
      await plane.restart();
    }
    clock.advance(10_000);
    for (const index of [2, 5]) await end(await podOf(index), 0);
    expect((await finished('Complete')).status).toMatchObject({ succeeded: 6, failed: 2, completedIndexes: '0-5', failedIndexes: '' });
  });

  it('tells of its end in an Event', async () => {
    await start({ completions: 1 });
    const [pod] = await activePods(1);
    if (pod !== undefined) await end(pod, 0);
    await finished('Complete');
    const texts = async () => (await plane.client.list(events, { namespace })).items.map(({ reason, message }) => `${reason}: ${message}`);
    await see('the Event', async () => (await texts()).includes('Completed: Job completed'));
  });
});
