import { describe, expect, it } from 'vitest';
import { type Job, jobs } from '../../../src/api/batch/v1/job.ts';
import { kustomizations } from '../../../src/api/kustomize/v1/kustomization.ts';
import { ingresses } from '../../../src/api/networking/v1/ingress.ts';
import { isNotFound } from '../../../src/machinery/status-error.ts';
import { configMap, describeOnTargets, gate, openGate, type Project } from '../../support/gitops-project.ts';
import { until } from '../../support/until.ts';

const wave = (number: number): Readonly<Record<string, string>> => ({ 'argocd.argoproj.io/sync-wave': String(number) });
const waitsFor = (p: Project, text: string) =>
  p.conditionIs(
    'web',
    'Ready',
    ({ status, message }) => status === 'Unknown' && message.startsWith('Waiting for:') && message.includes(text),
  );
const head = (p: Project): Promise<string> => p.repository.git('rev-parse', 'HEAD');

const job = (name: string, annotations: Readonly<Record<string, string>>): string => `apiVersion: batch/v1
kind: Job
metadata:
  name: ${name}
  annotations: ${JSON.stringify(annotations)}
spec: {backoffLimit: 0, template: {spec: {restartPolicy: Never, containers: [{name: a, image: busybox, command: ["true"]}]}}}
`;

const generated = (prefix: string, annotations: Readonly<Record<string, string>>): string =>
  job('x', annotations).replace('name: x', `generateName: ${prefix}`);

const namesOf = async ({ client, namespace }: Project): Promise<readonly string[]> =>
  (await client.list(jobs, { namespace })).items.map(({ metadata }) => metadata.name);

/** Waits for the one Job whose name begins so. */
const hookOf = (p: Project, prefix: string): Promise<string> =>
  until(async () => (await namesOf(p)).find((name) => name.startsWith(prefix)), { what: `a Job ${prefix}…` });

const jobOf = async (p: Project, name: string): Promise<Job | undefined> => {
  try {
    return await p.client.get(jobs, { namespace: p.namespace, name });
  } catch (err) {
    if (isNotFound(err)) return undefined;
    throw err;
  }
};

/** Plays the Job controller where there is none. */
async function endJob(p: Project, name: string, type: 'Complete' | 'Failed'): Promise<void> {
  const now = '2026-01-01T00:00:00Z';
  const before = type === 'Complete' ? 'SuccessCriteriaMet' : 'FailureTarget';
  const reason = type === 'Complete' ? 'CompletionsReached' : 'BackoffLimitExceeded';
  const conditions = [before, type].map((each) => ({
    type: each,
    status: 'True',
    reason,
    message: 'as the test says',
    lastTransitionTime: now,
  }));
  const status = { startTime: now, conditions, ...(type === 'Complete' ? { completionTime: now, succeeded: 1 } : { failed: 1 }) };
  await p.client.patch(
    jobs,
    { namespace: p.namespace, name },
    { type: 'merge', body: { status } },
    { subresource: 'status', fieldManager: 'test' },
  );
}

describeOnTargets('orders', ({ project }) => {
  describe('16 order', () => {
    it('applies a wave when the one before is well, holds no worker meanwhile, and is ready after the last', async () => {
      const p = await project({
        'web/a.yaml': configMap('a', '1', wave(-1)),
        'web/g.yaml': gate('g', wave(-1)),
        'web/b.yaml': configMap('b'),
        'web/h.yaml': gate('h'),
        'web/c.yaml': configMap('c', '1', wave(5)),
        'other/o.yaml': configMap('o'),
      });
      await p.app('web');
      await waitsFor(p, 'Ingress g has no address yet');
      expect(await Promise.all(['a', 'b', 'c'].map((name) => p.dataOf(name)))).toEqual(['1', undefined, undefined]);
      await p.app('other');
      await p.applied('other');
      await openGate(p, 'g');
      await waitsFor(p, 'Ingress h has no address yet');
      expect(await Promise.all(['b', 'c'].map((name) => p.dataOf(name)))).toEqual(['1', undefined]);
      await openGate(p, 'h');
      await p.applied('web');
      expect(await p.dataOf('c')).toBe('1');
      // Healthy objects hold nothing up.
      await p.repository.commit('next', { 'web/a.yaml': configMap('a', '2', wave(-1)), 'web/c.yaml': configMap('c', '2', wave(5)) });
      await p.applied('web');
      expect(await p.dataOf('c')).toBe('2');
    });

    it('goes on with a wave after a restart, and fails when it does not become well in time', async () => {
      const p = await project({ 'web/g.yaml': gate('g', wave(1)), 'web/b.yaml': configMap('b', '1', wave(2)) });
      await p.app('web', { timeout: '2s', retryInterval: '1h' });
      await waitsFor(p, 'Ingress g');
      await p.restartEngine();
      await p.conditionIs(
        'web',
        'Ready',
        ({ reason, message }) => reason === 'HealthCheckFailed' && /timeout waiting for: Ingress g/.test(message),
      );
      expect(await p.dataOf('b')).toBeUndefined();
      await openGate(p, 'g');
      await p.change('web', { metadata: { annotations: { 'reconcile.fluxcd.io/requestedAt': 'again' } } });
      await p.applied('web');
      expect(await p.dataOf('b')).toBe('1');
    });

    it('runs hooks of Argo CD once a revision, before and after the rest, and deletes them as they say', async (context) => {
      const p = await project({
        'web/pre.yaml': job('pre', { 'argocd.argoproj.io/hook': 'PreSync' }),
        'web/a.yaml': configMap('a'),
        'web/post.yaml': job('post', {
          'argocd.argoproj.io/hook': 'PostSync',
          'argocd.argoproj.io/hook-delete-policy': 'HookSucceeded',
        }),
        'web/skip.yaml': configMap('skip', '1', { 'argocd.argoproj.io/hook': 'Skip' }),
      });
      if (!p.isBare) return context.skip('a Job controller is at work there');
      await p.app('web');
      await waitsFor(p, `Job ${p.namespace}/pre runs`);
      expect(await p.dataOf('a')).toBeUndefined();
      await endJob(p, 'pre', 'Complete');
      await waitsFor(p, `Job ${p.namespace}/post runs`);
      expect(await p.dataOf('a')).toBe('1');
      await endJob(p, 'post', 'Complete');
      await p.applied('web');
      await until(async () => (await jobOf(p, 'post')) === undefined, { what: 'post is deleted' });
      const first = (await jobOf(p, 'pre'))?.metadata.uid;
      expect(first).toBeDefined();
      expect(await p.dataOf('skip')).toBeUndefined();

      // Not again for the same revision, nor when an object is put back or the engine restarts.
      await p.restartEngine();
      await p.change('web', { metadata: { annotations: { 'reconcile.fluxcd.io/requestedAt': 'again' } } });
      await until(async () => (await p.read('web')).status?.lastHandledReconcileAt === 'again', { what: 'served' });
      expect((await jobOf(p, 'pre'))?.metadata.uid).toBe(first);
      expect(await jobOf(p, 'post')).toBeUndefined();

      // But for the next one, before anything of it.
      await p.repository.commit('next', { 'web/a.yaml': configMap('a', '2') });
      await until(async () => ![undefined, first].includes((await jobOf(p, 'pre'))?.metadata.uid), { what: 'pre runs again' });
      expect(await p.dataOf('a')).toBe('1');
      await endJob(p, 'pre', 'Complete');
      await until(async () => (await jobOf(p, 'post')) !== undefined, { what: 'post runs again' });
      await endJob(p, 'post', 'Complete');
      await p.applied('web');
      await p.client.delete(kustomizations, { namespace: p.home, name: 'web' });
      await until(async () => (await jobOf(p, 'pre')) === undefined, { what: 'the hook goes with the app' });
    });

    it('names hooks with generateName by their revision, and lets them go with it', async (context) => {
      const p = await project({
        'web/pre.yaml': generated('pre-', { 'argocd.argoproj.io/hook': 'PreSync' }),
        'web/a.yaml': configMap('a'),
        'web/post.yaml': generated('post-', {
          'argocd.argoproj.io/hook': 'PostSync',
          'argocd.argoproj.io/hook-delete-policy': 'HookSucceeded',
        }),
      });
      if (!p.isBare) return context.skip('a Job controller is at work there');
      await p.app('web');
      await waitsFor(p, `Job ${p.namespace}/pre-`);
      const first = await hookOf(p, 'pre-');
      expect(first).toMatch(/^pre-[0-9a-f]{8}$/);
      expect(await p.dataOf('a')).toBeUndefined();
      // Started once, whatever happens to the engine.
      const uid = (await jobOf(p, first))?.metadata.uid;
      await p.restartEngine();
      await waitsFor(p, `Job ${p.namespace}/${first} runs`);
      expect((await jobOf(p, first))?.metadata.uid).toBe(uid);
      await endJob(p, first, 'Complete');
      await endJob(p, await hookOf(p, 'post-'), 'Complete');
      await p.applied('web');
      await until(async () => (await namesOf(p)).every((name) => !name.startsWith('post-')), { what: 'post is deleted' });
      expect(await namesOf(p)).toEqual([first]);

      // The next revision has another one, and the one before makes room first.
      await p.repository.commit('next', { 'web/a.yaml': configMap('a', '2') });
      await until(async () => (await namesOf(p)).some((name) => name.startsWith('pre-') && name !== first), { what: 'the next one' });
      const second = await hookOf(p, 'pre-');
      expect(second).not.toBe(first);
      expect(await p.dataOf('a')).toBe('1');
      await p.repository.commit('away', { 'web/a.yaml': configMap('a', '3'), 'web/pre.yaml': '', 'web/post.yaml': '' });
      await p.applied('web');
      await until(async () => (await namesOf(p)).length === 0, { what: async () => `no hook is left, not ${await namesOf(p)}` });
    });

    it('leaves no hook of an earlier revision beside the new one when the app does not prune', async (context) => {
      const p = await project({
        'web/pre.yaml': generated('pre-', { 'argocd.argoproj.io/hook': 'PreSync' }),
        'web/a.yaml': configMap('a'),
      });
      if (!p.isBare) return context.skip('a Job controller is at work there');
      await p.app('web', { prune: false });
      await waitsFor(p, 'pre-');
      const first = await hookOf(p, 'pre-');
      await endJob(p, first, 'Complete');
      await p.applied('web');
      await p.repository.commit('next', { 'web/a.yaml': configMap('a', '2') });
      await until(async () => !(await namesOf(p)).includes(first) && (await namesOf(p)).length === 1, { what: 'the next one alone' });
      await endJob(p, await hookOf(p, 'pre-'), 'Complete');
      await p.applied('web');
      expect(await namesOf(p)).toHaveLength(1);
    });

    it('refuses generateName for what is not a hook, by file and line', async () => {
      const p = await project({ 'web/a.yaml': configMap('a'), 'web/b.yaml': `${configMap('b')}---\n${generated('job-', {})}` });
      await p.app('web');
      const { message } = await p.conditionIs('web', 'Ready', ({ reason }) => reason === 'BuildFailed');
      expect(message).toMatch(/^web\/b\.yaml:8 Job has no metadata\.name/);
      expect(await p.dataOf('a')).toBeUndefined();
    });

    it('a hook that fails at a later revision is said, although what is in force is well', async (context) => {
      const hook = job('pre', { 'argocd.argoproj.io/hook': 'PreSync' });
      const p = await project({ 'web/pre.yaml': hook, 'web/a.yaml': configMap('a') });
      if (!p.isBare) return context.skip('a Job controller is at work there');
      await p.app('web', { retryInterval: '1h' });
      await waitsFor(p, 'pre runs');
      await endJob(p, 'pre', 'Complete');
      await p.applied('web');
      const first = (await jobOf(p, 'pre'))?.metadata.uid;
      await p.repository.commit('next', { 'web/a.yaml': configMap('a', '2') });
      await until(async () => ![undefined, first].includes((await jobOf(p, 'pre'))?.metadata.uid), { what: 'pre runs again' });
      await waitsFor(p, 'pre runs');
      await endJob(p, 'pre', 'Failed');
      await p.conditionIs('web', 'Ready', ({ status, message }) => status === 'False' && message.includes('Job pre failed'));
    });

    it('stops at a hook that fails, runs those for failure, and tries again', async (context) => {
      const p = await project({
        'web/pre.yaml': job('pre', { 'argocd.argoproj.io/hook': 'PreSync' }),
        'web/a.yaml': configMap('a'),
        'web/sad.yaml': configMap('sad', '1', { 'argocd.argoproj.io/hook': 'SyncFail' }),
      });
      if (!p.isBare) return context.skip('a Job controller is at work there');
      await p.app('web', { retryInterval: '1s' });
      await waitsFor(p, 'pre runs');
      const first = (await jobOf(p, 'pre'))?.metadata.uid;
      await endJob(p, 'pre', 'Failed');
      await p.conditionIs(
        'web',
        'Ready',
        ({ status, message }) => status === 'False' && /^web\/pre\.yaml:1 PreSync hook: Job pre failed/.test(message),
      );
      await until(async () => (await p.dataOf('sad')) === '1', { what: 'the hook for failure ran' });
      expect(await p.dataOf('a')).toBeUndefined();
      await until(async () => ![undefined, first].includes((await jobOf(p, 'pre'))?.metadata.uid), { what: 'pre is tried again' });
      await endJob(p, 'pre', 'Complete');
      await p.applied('web');
    });
  });

  describe('14 rollback', () => {
    const hold = (held: string, more: Readonly<Record<string, string>> = {}) => ({
      metadata: {
        annotations: { 'midship.dev/hold': held, 'midship.dev/held-by': 'alice', 'midship.dev/held-at': '2026-01-01T00:00:00Z', ...more },
      },
    });

    it('keeps an app at the revision before a held one until a commit changes the app, also over a restart', async () => {
      const p = await project({ 'web/a.yaml': configMap('a'), 'other/o.yaml': configMap('o') });
      await p.app('web');
      await p.applied('web');
      const good = await head(p);
      const bad = await p.repository.commit('bad', { 'web/a.yaml': configMap('a', 'bad'), 'web/b.yaml': configMap('b') });
      await p.applied('web', bad);
      await p.change('web', hold(bad));
      await p.applied('web', good);
      await until(async () => (await p.dataOf('b')) === undefined, { what: 'b is pruned' });
      expect(await p.dataOf('a')).toBe('1');
      expect((await p.condition('web', 'Pinned'))?.message).toBe(
        `Pinned by alice at 2026-01-01T00:00:00Z, ${bad.slice(0, 7)} is held back`,
      );
      await p.repository.commit('elsewhere', { 'other/o.yaml': configMap('o', '2') });
      await p.restartEngine();
      await p.applied('web', good);
      expect(await p.dataOf('a')).toBe('1');
      const next = await p.repository.commit('fix', { 'web/a.yaml': configMap('a', 'fixed') });
      await p.applied('web', next);
      expect([await p.dataOf('a'), await p.dataOf('b')]).toEqual(['fixed', '1']);
      const { metadata } = await p.read('web');
      expect(Object.keys(metadata.annotations ?? {}).filter((name) => /hold|held|pin/.test(name))).toEqual([]);
      await until(async () => (await p.condition('web', 'Pinned')) === undefined, { what: 'no pin' });
    });

    it('goes to the commit that is named, and says when that cannot be read', async () => {
      const p = await project({ 'web/a.yaml': configMap('a', 'one') });
      await p.app('web');
      const one = await head(p);
      await p.repository.commit('two', { 'web/a.yaml': configMap('a', 'two') });
      const three = await p.repository.commit('three', { 'web/a.yaml': configMap('a', 'three') });
      await p.applied('web', three);
      await p.change('web', hold(three, { 'midship.dev/pin': one }));
      await p.applied('web', one);
      expect(await p.dataOf('a')).toBe('one');
      await p.change('web', hold(three, { 'midship.dev/pin': 'f'.repeat(40) }));
      await p.conditionIs(
        'web',
        'Ready',
        ({ reason, message }) => reason === 'ArtifactFailed' && message.startsWith(`pinned revision ${'f'.repeat(40)}`),
      );
      expect(await p.dataOf('a')).toBe('one');
    });
  });

  describe('15 automatic revert', () => {
    it('goes back to the last healthy revision when health does not come, once, and holds the bad one', async () => {
      const p = await project({ 'web/a.yaml': configMap('a') });
      await p.app('web', { wait: true, timeout: '1s' }, { 'midship.dev/auto-revert': 'true' });
      await p.applied('web');
      const good = await head(p);
      const bad = await p.repository.commit('bad', { 'web/a.yaml': configMap('a', 'bad'), 'web/g.yaml': gate('g') });
      await until(async () => (await p.read('web')).metadata.annotations?.['midship.dev/hold'] === bad, { what: 'the bad commit is held' });
      await p.applied('web', good);
      expect(await p.dataOf('a')).toBe('1');
      await until(async () => !(await p.client.list(ingresses, { namespace: p.namespace })).items.length, { what: 'the gate is pruned' });
      const { annotations } = (await p.read('web')).metadata;
      expect(annotations).toMatchObject({ 'midship.dev/hold': bad, 'midship.dev/pin': good, 'midship.dev/held-by': 'midship' });
      // A user who removes the hold means it: it does not come back.
      await p.change('web', { metadata: { annotations: { 'midship.dev/hold': null, 'midship.dev/pin': null } } });
      await p.conditionIs('web', 'Ready', ({ reason }) => reason === 'HealthCheckFailed');
      expect(await p.dataOf('a')).toBe('bad');
      await openGate(p, 'g');
      await p.applied('web', bad);
    });
  });

  describe('18 health', () => {
    it('makes an app ready by the objects that its health checks name, and reports all of them', async () => {
      const p = await project({ 'web/g.yaml': gate('g'), 'web/h.yaml': gate('h') });
      const check = { apiVersion: 'networking.k8s.io/v1', kind: 'Ingress', name: 'g', namespace: p.namespace };
      await p.app('web', { healthChecks: [check], timeout: '1m' });
      await p.conditionIs('web', 'Ready', ({ status, message }) => status === 'Unknown' && /waiting for health/.test(message));
      await openGate(p, 'g');
      await p.applied('web');
      expect(await p.condition('web', 'Healthy')).toMatchObject({ reason: 'Progressing', message: 'Ingress h has no address yet' });
    });

    it('counts what health checks name although it is not of the app: what is not there is not healthy', async () => {
      const p = await project({ 'web/a.yaml': configMap('a'), 'other/g.yaml': gate('g') });
      const check = { apiVersion: 'networking.k8s.io/v1', kind: 'Ingress', name: 'g', namespace: p.namespace };
      await p.app('web', { healthChecks: [check], timeout: '1m' });
      const missing = `Ingress ${p.namespace}/g does not exist`;
      await p.conditionIs(
        'web',
        'Healthy',
        ({ status, reason, message }) => status === 'False' && reason === 'Missing' && message === missing,
      );
      expect(await p.condition('web', 'Ready')).toMatchObject({ status: 'Unknown' });
      await p.app('other');
      await p.conditionIs('web', 'Healthy', ({ message }) => message === 'Ingress g has no address yet');
      await openGate(p, 'g');
      await p.applied('web');
      expect(await p.condition('web', 'Healthy')).toMatchObject({ reason: 'Healthy' });
      // The kind may appear later.
      await p.change('web', { spec: { timeout: '1s', healthChecks: [{ apiVersion: 'example.com/v1', kind: 'Boat', name: 'b' }] } });
      const failed = await p.conditionIs('web', 'Ready', ({ reason }) => reason === 'HealthCheckFailed');
      expect(failed.message).toBe(`Boat ${p.home}/b is of a kind that the cluster does not have`);
      await p.change('web', { spec: { healthChecks: null } });
      await p.applied('web');
    });

    it('does not wait for itself in an app that holds its own Kustomization, neither to be ready nor to be gone', async () => {
      const p = await project({ 'web/a.yaml': configMap('a') });
      await p.app('web', { wait: true, timeout: '1m' });
      await p.applied('web');
      // Flux's bootstrap commits such a file.
      const { apiVersion, kind, metadata, spec } = await p.read('web');
      const { targetNamespace, ...rest } = spec;
      const namespace = `namespace: ${targetNamespace}`;
      await p.repository.commit('namespace', { 'web/a.yaml': configMap('a').replace('name: a', `name: a\n  ${namespace}`) });
      await p.applied('web');
      await p.change('web', { spec: { targetNamespace: null } });
      await p.applied('web');
      const sha = await p.repository.commit('itself', {
        'web/self.yaml': JSON.stringify({ apiVersion, kind, metadata: { name: metadata.name, namespace: p.home }, spec: rest }),
        'web/g.yaml': gate('g').replace('name: g', `name: g\n  ${namespace}`),
      });
      await p.conditionIs('web', 'Ready', ({ message }) => message === `Applied revision: main@sha1:${sha}, waiting for health`);
      await openGate(p, 'g');
      await p.applied('web');
      await p.client.delete(kustomizations, { namespace: p.home, name: 'web' });
      await until(async () => (await p.client.list(kustomizations, { namespace: p.home })).items.length === 0, { what: 'the app is gone' });
      expect((await p.client.list(ingresses, { namespace: p.namespace })).items).toEqual([]);
    });

    it('is what the expressions of an app say of a kind', async () => {
      const p = await project({ 'web/a.yaml': configMap('a', 'starting') });
      const checks = {
        apiVersion: 'v1',
        kind: 'ConfigMap',
        inProgress: "data.a == 'starting'",
        failed: "data.a == 'broken'",
        current: "data.a == 'up'",
      };
      await p.app('web', { wait: true, healthCheckExprs: [checks] });
      await p.conditionIs('web', 'Healthy', ({ reason, message }) => reason === 'Progressing' && message === 'ConfigMap a is in progress');
      await p.repository.commit('broken', { 'web/a.yaml': configMap('a', 'broken') });
      await p.conditionIs('web', 'Healthy', ({ reason, message }) => reason === 'Degraded' && message.startsWith('ConfigMap a failed'));
      await p.repository.commit('up', { 'web/a.yaml': configMap('a', 'up') });
      await p.applied('web');
      await p.change('web', { spec: { healthCheckExprs: [{ ...checks, current: 'data.b == 1' }] } });
      await p.conditionIs(
        'web',
        'Healthy',
        ({ reason, message }) => reason === 'Progressing' && /health expression: no such key: b/.test(message),
      );
    });
  });
});
