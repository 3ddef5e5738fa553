import { describe, expect, it } from 'vitest';
import { deployments } from '../../../src/api/apps/v1/deployment.ts';
import { jobs } from '../../../src/api/batch/v1/job.ts';
import { configMaps } from '../../../src/api/core/v1/config-map.ts';
import { events } from '../../../src/api/core/v1/event.ts';
import { secrets } from '../../../src/api/core/v1/secret.ts';
import { kustomizations } from '../../../src/api/kustomize/v1/kustomization.ts';
import { setAble } from '../../support/autoscaler.ts';
import { configMap, deployment, describeOnTargets, type Project } from '../../support/gitops-project.ts';
import { until } from '../../support/until.ts';

const ofWeb = (p: Project) => ({ namespace: p.namespace, name: 'web' });
const replicasOf = async (p: Project): Promise<number | undefined> => (await p.client.get(deployments, ofWeb(p))).spec.replicas;
const scale = (p: Project, replicas: number, manager = 'kubectl-scale') =>
  p.client.patch(deployments, ofWeb(p), { type: 'merge', body: { spec: { replicas } } }, { fieldManager: manager });
const set = (p: Project, name: string, body: unknown, fieldManager = 'kubectl-edit') =>
  p.client.patch(configMaps, { namespace: p.namespace, name }, { type: 'merge', body }, { fieldManager });

describeOnTargets('owns objects', ({ project }) => {
  describe('10 instant drift correction', () => {
    it('puts back changed and deleted objects within two seconds, and says who did it', async () => {
      const p = await project({ 'web/deploy.yaml': deployment(3), 'web/a.yaml': configMap('a') });
      await p.app('web');
      await p.applied('web');
      await scale(p, 9);
      await until(async () => (await replicasOf(p)) === 3, { timeoutMs: 2_000, intervalMs: 20, what: 'healed' });
      await until(() => p.activities().some((entry) => entry.type === 'drift' && entry.object.startsWith(`Deployment ${p.namespace}`)), {
        what: 'drift is told',
      });
      expect(p.activities().findLast(({ type }) => type === 'drift')).toMatchObject({
        object: `Deployment ${p.namespace}/web`,
        change: 'spec.replicas 3 → 9',
        by: 'kubectl-scale',
        healed: true,
      });
      await p.client.delete(configMaps, { namespace: p.namespace, name: 'a' });
      await until(async () => (await p.dataOf('a')) === '1', { timeoutMs: 2_000, intervalMs: 20, what: 'a is back' });
      await until(
        async () => (await p.metrics()).includes(`gitops_drift_corrections_total{namespace="${p.home}",app="web",kind="ConfigMap"} 1`),
        { what: 'counted' },
      );
      await until(
        async () => (await p.client.list(events, { namespace: p.home })).items.some(({ reason }) => reason === 'DriftCorrected'),
        { what: 'an Event tells of it' },
      );
    });

    it('only reports, or does not even that, where the app or the object says so', async () => {
      const p = await project({
        'web/a.yaml': configMap('a'),
        'web/b.yaml': configMap('b', '1', { 'midship.dev/drift': 'ignore' }),
        'web/c.yaml': configMap('c', '1', { 'midship.dev/drift': 'correct' }),
      });
      await p.app('web', {}, { 'midship.dev/drift': 'detect' });
      await p.applied('web');
      for (const name of ['a', 'b', 'c']) await set(p, name, { data: { a: 'theirs' } });
      const drifted = await p.conditionIs('web', 'Drifted', ({ status }) => status === 'True');
      expect(drifted.message).toBe(`ConfigMap ${p.namespace}/a: data.a 1 → theirs by kubectl-edit`);
      await until(async () => (await p.dataOf('c')) === '1', { what: 'c is put back' });
      expect([await p.dataOf('a'), await p.dataOf('b')]).toEqual(['theirs', 'theirs']);
      await p.repository.commit('next', { 'web/a.yaml': configMap('a', '2') });
      await p.applied('web');
      expect([await p.dataOf('a'), await p.dataOf('b')]).toEqual(['2', 'theirs']);
      await until(async () => (await p.condition('web', 'Drifted')) === undefined, { what: 'the drift is over' });
    });

    it('backs off when someone changes the same field again and again, and names them', async () => {
      const p = await project({ 'web/a.yaml': configMap('a') });
      await p.app('web');
      await p.applied('web');
      for (let round = 0; round < 3; round += 1) {
        await set(p, 'a', { data: { a: `theirs ${round}` } }, 'other-operator');
        await until(async () => (await p.dataOf('a')) === '1', { intervalMs: 20, what: `put back ${round}` });
      }
      await set(p, 'a', { data: { a: 'theirs at last' } }, 'other-operator');
      const fight = await until(
        async () => (await p.client.list(events, { namespace: p.home })).items.find(({ reason }) => reason === 'DriftFight'),
        { what: 'the fight is told' },
      );
      expect(fight.message).toMatch(/ConfigMap \S+\/a: data\.a .* was put back 3 times within a minute; other-operator changes it again/);
      expect(await p.dataOf('a')).toBe('theirs at last');
    });
  });

  describe('11 no perpetual diff', () => {
    it('writes nothing over many passes, whatever the server defaulted', async () => {
      const p = await project({
        'web/deploy.yaml': deployment(3),
        'web/s.yaml': 'apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {ports: [{port: 80}], selector: {app: web}}\n',
        'web/j.yaml':
          'apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: j}\nspec: {suspend: true, schedule: "0 3 * * *", jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: a, image: b}]}}}}}\n',
      });
      await p.app('web');
      await p.applied('web');
      const versions = async () =>
        (await Promise.all([p.client.list(deployments, p), p.client.list(configMaps, p)])).map(({ items }) =>
          items.map(({ metadata }) => metadata.generation),
        );
      const before = await versions();
      const deploymentBefore = (await p.client.get(deployments, ofWeb(p))).metadata.managedFields?.filter(
        ({ manager }) => manager === 'midship',
      );
      for (let round = 0; round < 20; round += 1) {
        await p.change('web', { metadata: { annotations: { 'reconcile.fluxcd.io/requestedAt': `r${round}` } } });
        await until(async () => (await p.read('web')).status?.lastHandledReconcileAt === `r${round}`, { intervalMs: 10, what: 'served' });
      }
      expect(await versions()).toEqual(before);
      expect((await p.client.get(deployments, ofWeb(p))).metadata.managedFields?.filter(({ manager }) => manager === 'midship')).toEqual(
        deploymentBefore,
      );
    });
  });

  describe('12 server-side apply', () => {
    it('takes fields from kubectl in silence, from others with a warning, and from nobody when conflicts fail', async () => {
      const p = await project({ 'web/a.yaml': configMap('a'), 'fail/b.yaml': configMap('b') });
      for (const name of ['a', 'b']) {
        await p.client.create(
          configMaps,
          { apiVersion: 'v1', kind: 'ConfigMap', metadata: { namespace: p.namespace, name }, data: { a: 'theirs' } },
          { fieldManager: 'helm' },
        );
      }
      await p.app('fail', {}, { 'midship.dev/on-conflict': 'fail' });
      await p.conditionIs(
        'fail',
        'Ready',
        ({ status, message }) => status === 'False' && /b\.yaml:\d+.*conflict with "helm"/s.test(message),
      );
      expect(await p.dataOf('b')).toBe('theirs');
      await p.app('web');
      await p.applied('web');
      expect(await p.dataOf('a')).toBe('1');
      const { items } = await until(
        async () => {
          const list = await p.client.list(events, { namespace: p.home });
          return list.items.some(({ reason }) => reason === 'FieldConflict') && list;
        },
        { what: 'the conflict is told' },
      );
      expect(items.find(({ reason }) => reason === 'FieldConflict')?.message).toBe(`ConfigMap ${p.namespace}/a: took .data.a from helm`);
    });

    it('leaves replicas to an autoscaler, and ignored fields to whoever changed them', async () => {
      const hpa = `apiVersion: autoscaling/v1
kind: HorizontalPodAutoscaler
metadata: {name: web}
spec: {minReplicas: 1, maxReplicas: 10, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}}
`;
      const p = await project({ 'web/deploy.yaml': deployment(3), 'web/hpa.yaml': hpa, 'web/a.yaml': configMap('a') });
      await p.app('web', { driftIgnoreRules: [{ paths: ['/data/a'], target: { kind: 'ConfigMap' } }] });
      await p.applied('web');
      expect([await replicasOf(p), await p.dataOf('a')]).toEqual([3, '1']);
      await setAble(p.client, ofWeb(p));
      await scale(p, 7, 'horizontal-pod-autoscaler');
      await set(p, 'a', { data: { a: 'theirs' } }, 'other-operator');
      await p.repository.commit('next', {
        'web/deploy.yaml': deployment(3).replace('selector:', 'minReadySeconds: 5\n  selector:'),
        'web/a.yaml': configMap('a', '1', { note: 'new' }),
      });
      await p.applied('web');
      const { spec } = await p.client.get(deployments, ofWeb(p));
      expect([spec.replicas, spec.minReadySeconds]).toEqual([7, 5]);
      const { data, metadata } = await p.client.get(configMaps, { namespace: p.namespace, name: 'a' });
      expect([data?.a, metadata.annotations?.note]).toEqual(['theirs', 'new']);
    });

    it('puts back a Secret that Git writes as stringData, and takes away a key that left Git', async () => {
      const secret = (data: string): string => `apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {${data}}\n`;
      const p = await project({ 'web/s.yaml': secret('user: mara, password: one') });
      await p.app('web');
      await p.applied('web');
      const ref = { namespace: p.namespace, name: 's' };
      const base64 = (text: string): string => Buffer.from(text).toString('base64');
      await p.client.patch(secrets, ref, { type: 'merge', body: { data: { password: base64('two') } } }, { fieldManager: 'kubectl-edit' });
      await until(async () => (await p.client.get(secrets, ref)).data?.password === base64('one'), { what: 'the password is put back' });
      await p.repository.commit('no password', { 'web/s.yaml': secret('user: mara') });
      await p.applied('web');
      expect((await p.client.get(secrets, ref)).data).toEqual({ user: base64('mara') });
      expect(JSON.stringify(p.activities())).not.toContain(base64('two'));
    });
  });

  describe('16 annotations of Flux', () => {
    it('creates once with ssa: IfNotPresent, and leaves alone with reconcile: disabled, in Git or on the live object', async () => {
      const p = await project({
        'web/once.yaml': configMap('once', '1', { 'kustomize.toolkit.fluxcd.io/ssa': 'IfNotPresent' }),
        'web/live.yaml': configMap('live'),
        'web/never.yaml': configMap('never', '1', { 'kustomize.toolkit.fluxcd.io/ssa': 'Ignore' }),
        'web/idle.yaml': configMap('idle', '1', { 'kustomize.toolkit.fluxcd.io/reconcile': 'disabled' }),
      });
      await p.app('web', { wait: true });
      await p.applied('web');
      // As in Flux, what Git says to leave alone is not made either.
      expect(await Promise.all(['idle', 'never'].map((name) => p.dataOf(name)))).toEqual([undefined, undefined]);
      await p.client.create(configMaps, { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'idle', namespace: p.namespace } });
      await set(p, 'live', { metadata: { annotations: { 'kustomize.toolkit.fluxcd.io/reconcile': 'Disabled' } } });
      for (const name of ['once', 'live', 'idle']) await set(p, name, { data: { a: 'theirs' } });
      await p.repository.commit('next', {
        'web/once.yaml': configMap('once', '2', { 'kustomize.toolkit.fluxcd.io/ssa': 'IfNotPresent' }),
        'web/live.yaml': configMap('live', '2'),
        'web/idle.yaml': configMap('idle', '2', { 'kustomize.toolkit.fluxcd.io/reconcile': 'disabled' }),
      });
      await p.applied('web');
      expect(await Promise.all(['once', 'live', 'idle'].map((name) => p.dataOf(name)))).toEqual(['theirs', 'theirs', 'theirs']);
      expect(await p.dataOf('never')).toBeUndefined();
      await p.repository.commit('now', { 'web/never.yaml': configMap('never', '3') });
      await p.applied('web');
      expect(await p.dataOf('never')).toBe('3');
      await set(p, 'live', { metadata: { annotations: { 'kustomize.toolkit.fluxcd.io/reconcile': null } } });
      await until(async () => (await p.dataOf('live')) === '2', { what: 'live is applied again' });
      await p.repository.commit('gone', { 'web/idle.yaml': null, 'web/once.yaml': null });
      await p.applied('web');
      await until(async () => (await p.dataOf('once')) === undefined, { what: 'once is pruned' });
      expect(await p.dataOf('idle')).toBe('theirs');
    });
  });

  describe('24 suspend', () => {
    it('keeps an app as it is, reports drift and what is pending also after a restart, and ends when its time is over', async () => {
      const p = await project({ 'web/a.yaml': configMap('a') });
      await p.app('web');
      await p.applied('web');
      await p.change('web', { metadata: { annotations: { 'midship.dev/suspend-reason': 'incident 42' } }, spec: { suspend: true } });
      await p.conditionIs('web', 'Suspended', ({ message }) => message === 'Suspended: incident 42');
      await set(p, 'a', { data: { a: 'theirs' } });
      await p.conditionIs('web', 'Drifted', ({ message }) => message === `ConfigMap ${p.namespace}/a: data.a 1 → theirs by kubectl-edit`);
      const pending = await p.repository.commit('next', { 'web/b.yaml': configMap('b') });
      await p.conditionIs('web', 'Suspended', ({ message }) => message === `Suspended: incident 42; pending: main@sha1:${pending}`);
      await p.restartEngine(async () => void (await set(p, 'a', { data: { a: 'theirs again' } })));
      await p.conditionIs('web', 'Drifted', ({ message }) => message.startsWith(`ConfigMap ${p.namespace}/a: data.a theirs again → 1`));
      expect([await p.dataOf('a'), await p.dataOf('b')]).toEqual(['theirs again', undefined]);
      await p.change('web', { metadata: { annotations: { 'midship.dev/suspend-until': '2020-01-01T00:00:00Z' } } });
      await p.applied('web', pending);
      expect([await p.dataOf('a'), await p.dataOf('b')]).toEqual(['1', '1']);
      expect((await p.read('web')).metadata.annotations ?? {}).not.toHaveProperty('midship.dev/suspend-until');
      await until(async () => (await p.condition('web', 'Suspended')) === undefined, { what: 'not suspended any more' });
    });
  });

  describe('27 immutable fields', () => {
    const secret = (type: string, annotations = ''): string =>
      `apiVersion: v1\nkind: Secret\nmetadata:\n  name: s\n  annotations: {${annotations}}\ntype: a/${type}\n`;
    const job = (image: string, annotations = ''): string =>
      `apiVersion: batch/v1\nkind: Job\nmetadata:\n  name: j\n  annotations: {${annotations}}\nspec: {suspend: true, template: {spec: {restartPolicy: Never, containers: [{name: a, image: ${image}}]}}}\n`;

    it('are found before anything is written, and replace the object only where that is allowed', async () => {
      const p = await project({ 'web/s.yaml': secret('one'), 'web/a.yaml': configMap('a') });
      await p.app('web');
      await p.applied('web');
      await p.repository.commit('type', { 'web/s.yaml': secret('two'), 'web/a.yaml': configMap('a', '2') });
      const refused = await p.conditionIs('web', 'Ready', ({ status }) => status === 'False');
      expect(refused.message).toMatch(/web\/s\.yaml:\d+.*immutable.*kustomize\.toolkit\.fluxcd\.io\/force: enabled/);
      expect(await p.dataOf('a')).toBe('1');
      const { uid } = (await p.client.get(secrets, { namespace: p.namespace, name: 's' })).metadata;
      await p.repository.commit('allowed', { 'web/s.yaml': secret('two', 'kustomize.toolkit.fluxcd.io/force: Enabled') });
      await p.applied('web');
      const after = await p.client.get(secrets, { namespace: p.namespace, name: 's' });
      expect(after.type).toBe('a/two');
      expect(after.metadata.uid).not.toBe(uid);
    });

    it('are named without the thousands of characters that a pod template has', async () => {
      const p = await project({ 'web/j.yaml': job('one') });
      await p.app('web');
      await p.applied('web');
      await p.repository.commit('image', { 'web/j.yaml': job('two') });
      const { message } = await p.conditionIs('web', 'Ready', ({ status }) => status === 'False');
      expect(message).toMatch(new RegExp(`^web/j\\.yaml:\\d+:\\d+ Job ${p.namespace}/j: spec\\.template: field is immutable\\. It cannot`));
    });

    it('create another Job when its name is a hash of its spec', async () => {
      const note = 'midship.dev/recreate: name-hash';
      const p = await project({ 'web/j.yaml': job('one', note) });
      await p.app('web');
      await p.applied('web');
      const names = async () => (await p.client.list(jobs, { namespace: p.namespace })).items.map(({ metadata }) => metadata.name);
      const [first] = await names();
      expect(first).toMatch(/^j-[0-9a-f]{8}$/);
      await p.repository.commit('image', { 'web/j.yaml': job('two', note) });
      await p.applied('web');
      await until(async () => (await names()).length === 1 && (await names())[0] !== first, { what: 'one other Job' });
    });

    it('are allowed to be changed for all of an app with spec.force', async () => {
      const p = await project({ 'web/s.yaml': secret('one') });
      await p.app('web', { force: true });
      await p.applied('web');
      await p.repository.commit('type', { 'web/s.yaml': secret('two') });
      await p.applied('web');
      expect((await p.client.get(secrets, { namespace: p.namespace, name: 's' })).type).toBe('a/two');
      expect((await p.client.list(kustomizations, { namespace: p.home })).items).toHaveLength(1);
    });
  });
});
