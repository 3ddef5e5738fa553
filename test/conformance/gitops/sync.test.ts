import { describe, expect, it } from 'vitest';
import { deployments } from '../../../src/api/apps/v1/deployment.ts';
import { configMaps } from '../../../src/api/core/v1/config-map.ts';
import { events } from '../../../src/api/core/v1/event.ts';
import { namespaces } from '../../../src/api/core/v1/namespace.ts';
import { secrets } from '../../../src/api/core/v1/secret.ts';
import { kustomizations } from '../../../src/api/kustomize/v1/kustomization.ts';
import { setAble } from '../../support/autoscaler.ts';
import { configMap, deployment, describeOnTargets, gate, openGate, type Project } from '../../support/gitops-project.ts';
import { until } from '../../support/until.ts';

const head = (project: Project): Promise<string> => project.repository.git('rev-parse', 'HEAD');

/** Objects of the apps in their namespace, comparable between revisions: names and content, no uids and times. */
async function liveObjects({ client, namespace }: Project): Promise<unknown> {
  const lists = await Promise.all([client.list(configMaps, { namespace }), client.list(deployments, { namespace })]);
  return lists.flatMap(({ items }) =>
    items
      .filter(({ metadata }) => metadata.name !== 'kube-root-ca.crt')
      .map(({ kind, metadata, ...rest }) => ({ kind, name: metadata.name, labels: metadata.labels, ...rest, status: null })),
  );
}

describeOnTargets('syncs', ({ project }) => {
  describe('1 newest commit wins', () => {
    it('gives up what waits for the old one, and applies only the newest of several', async () => {
      const p = await project({ 'web/a.yaml': configMap('a', '1', { 'argocd.argoproj.io/sync-wave': '1' }), 'web/g.yaml': gate('g') });
      await p.app('web');
      await p.conditionIs('web', 'Ready', ({ status, message }) => status === 'Unknown' && message.startsWith('Waiting for: Ingress g'));
      await p.repository.commit('two', { 'web/a.yaml': configMap('a', '2') });
      const newest = await p.repository.commit('three', { 'web/a.yaml': configMap('a', '3'), 'web/g.yaml': null });
      await p.applied('web', newest);
      expect(await p.dataOf('a')).toBe('3');
    });

    it('is not kept by a commit that comes while a sync is under way', async () => {
      const files = Object.fromEntries(Array.from({ length: 60 }, (_, i) => [`web/c${i}.yaml`, configMap(`c${i}`)]));
      const p = await project(files);
      await p.app('web');
      for (let round = 2; round < 6; round += 1) {
        await p.repository.commit(
          `r${round}`,
          Object.fromEntries(Object.keys(files).map((name, i) => [name, configMap(`c${i}`, String(round))])),
        );
      }
      await p.applied('web');
      const { items } = await p.client.list(configMaps, { namespace: p.namespace, labelSelector: 'kustomize.toolkit.fluxcd.io/name=web' });
      expect(items.map(({ data }) => data?.a)).toEqual(new Array(60).fill('5'));
    });
  });

  describe('2 write-ahead inventory', () => {
    it('prunes after a restart what left Git meanwhile, and writes nothing else', async () => {
      const p = await project({ 'web/a.yaml': configMap('a'), 'web/b.yaml': configMap('b') });
      await p.app('web');
      await p.applied('web');
      const inventory = await p.client.get(secrets, { namespace: p.home, name: 'midship-inventory-web' });
      expect(inventory.type).toBe('midship.dev/record');
      const { resourceVersion } = (await p.client.get(configMaps, { namespace: p.namespace, name: 'a' })).metadata;
      await p.restartEngine(async () => void (await p.repository.commit('less', { 'web/b.yaml': null })));
      await p.applied('web');
      await until(async () => (await p.dataOf('b')) === undefined, { what: 'b is pruned' });
      expect((await p.client.get(configMaps, { namespace: p.namespace, name: 'a' })).metadata.resourceVersion).toBe(resourceVersion);
    });
  });

  describe('3 revert is exact', () => {
    it('brings back the old state: what the commit added goes, what it took away comes, fields that it added are gone', async () => {
      const p = await project({ 'web/a.yaml': configMap('a'), 'web/k.yaml': configMap('k'), 'web/deploy.yaml': deployment(3) });
      await p.app('web');
      await p.applied('web');
      const before = await liveObjects(p);
      await p.repository.commit('more', {
        'web/b.yaml': configMap('b'),
        'web/k.yaml': null,
        'web/deploy.yaml': deployment(5).replace('selector:', 'minReadySeconds: 7\n  selector:'),
        'web/a.yaml': configMap('a', '2', { note: 'x' }),
      });
      await p.applied('web');
      expect(await p.dataOf('b')).toBe('1');
      await until(async () => (await p.dataOf('k')) === undefined, { what: 'k is pruned' });
      expect(p.activities()).toContainEqual(
        expect.objectContaining({
          type: 'applied',
          changes: expect.arrayContaining([
            expect.objectContaining({
              action: 'configured',
              object: `Deployment ${p.namespace}/web`,
              fields: expect.arrayContaining(['spec.replicas 3 → 5']),
            }),
            { action: 'created', object: `ConfigMap ${p.namespace}/b`, fields: [] },
          ]),
        }),
      );
      await p.repository.git('revert', '--no-edit', 'HEAD');
      await p.applied('web');
      await until(async () => (await p.dataOf('b')) === undefined, { what: 'b is pruned' });
      expect(await liveObjects(p)).toEqual(before);
      expect(p.activities().findLast(({ type }) => type === 'applied')).toMatchObject({ rollback: true });
    });

    it('gives replicas back to Git with the autoscaler that the commit added', async () => {
      const p = await project({ 'web/deploy.yaml': deployment(3) });
      await p.app('web');
      await p.applied('web');
      const ref = { namespace: p.namespace, name: 'web' };
      await p.repository.commit('scale', {
        'web/hpa.yaml':
          'apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {name: web}\nspec: {maxReplicas: 10, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}}\n',
      });
      await p.applied('web');
      await setAble(p.client, ref);
      const scaled = { type: 'merge', body: { spec: { replicas: 7 } } } as const;
      await p.client.patch(deployments, ref, scaled, { fieldManager: 'horizontal-pod-autoscaler' });
      await p.repository.commit('other', { 'web/a.yaml': configMap('a') });
      await p.applied('web');
      expect((await p.client.get(deployments, ref)).spec.replicas).toBe(7);
      await p.repository.git('revert', '--no-edit', 'HEAD~1');
      await p.applied('web');
      await until(async () => (await p.client.get(deployments, ref)).spec.replicas === 3, { what: 'replicas are what Git says' });
    });

    it('is ready again when a force-push takes a bad commit back', async () => {
      const p = await project({ 'web/a.yaml': configMap('a') });
      await p.app('web');
      const good = await head(p);
      await p.applied('web');
      await p.repository.commit('bad', { 'web/a.yaml': 'a: [b\n' });
      await p.conditionIs('web', 'Ready', ({ status }) => status === 'False');
      await p.repository.git('reset', '--quiet', '--hard', good);
      await p.applied('web', good);
    });
  });

  describe('4 prune safety', () => {
    it('deletes most of an app only after someone approved exactly that', async () => {
      const files = Object.fromEntries(Array.from({ length: 30 }, (_, i) => [`web/c${i}.yaml`, configMap(`c${i}`)]));
      const p = await project(files);
      await p.app('web');
      await p.applied('web');
      const count = async (): Promise<number> =>
        (await p.client.list(configMaps, { namespace: p.namespace, labelSelector: 'kustomize.toolkit.fluxcd.io/name=web' })).items.length;
      const doomed = Object.keys(files).slice(0, 25);
      await p.repository.commit('oops', {
        ...Object.fromEntries(doomed.map((name) => [name, null])),
        'web/c29.yaml': configMap('c29', 'new'),
      });
      const blocked = await p.conditionIs('web', 'PruneBlocked', ({ status }) => status === 'True');
      expect(blocked.message).toMatch(/25 of 30 objects would be deleted/);
      // The rest of the commit is in force.
      expect(await p.dataOf('c29')).toBe('new');
      expect(await count()).toBe(30);
      const approval = /approve-prune=(\w+)/.exec(blocked.message ?? '')?.[1];
      await p.change('web', { metadata: { annotations: { 'midship.dev/approve-prune': approval } } });
      await until(async () => (await count()) === 5, { what: 'pruned after approval' });
    });

    it('keeps a Namespace that something lives in, and everything when the path or all manifests are gone', async () => {
      const p = await project({ 'web/a.yaml': configMap('a'), 'other/n.yaml': configMap('n') });
      const name = `${p.namespace}-x`;
      await p.repository.commit('namespace', { 'web/ns.yaml': `apiVersion: v1\nkind: Namespace\nmetadata: {name: ${name}}\n` });
      await p.app('web');
      await p.applied('web');
      await p.client.create(configMaps, { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'kept', namespace: name } });
      await p.repository.commit('no namespace', { 'web/ns.yaml': null });
      const blocked = await p.conditionIs('web', 'PruneBlocked', ({ status }) => status === 'True');
      expect(blocked.message).toContain(`Namespace ${name} still holds ConfigMap ${name}/kept`);
      await p.client.create(configMaps, { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'also', namespace: name } });
      await p.client.delete(configMaps, { namespace: name, name: 'kept' });
      await p.conditionIs('web', 'PruneBlocked', ({ message }) => message?.includes(`still holds ConfigMap ${name}/also.`) === true);
      await p.repository.commit('nothing', { 'web/a.yaml': null, 'other/x.md': 'x' });
      await p.conditionIs(
        'web',
        'Ready',
        ({ status, message }) => status === 'False' && /is not a directory of the repository/.test(message),
      );
      await p.repository.commit('empty', { 'web/README.md': 'x' });
      await p.conditionIs('web', 'Ready', ({ status, message }) => status === 'False' && /holds no manifest/.test(message));
      expect(await p.dataOf('a')).toBe('1');
      await p.client.get(namespaces, { name });
      await p.client.delete(namespaces, { name });
    });

    it('deletes a Namespace after its content is gone, and everything else at once', async () => {
      const p = await project({ 'web/a.yaml': configMap('a') });
      const name = `${p.namespace}-x`;
      const inNamespace = (each: string, namespace = name): string =>
        configMap(each).replace(`name: ${each}`, `name: ${each}\n  namespace: ${namespace}`);
      await p.repository.commit('two', { 'two/b.yaml': inNamespace('b', p.namespace) });
      await p.repository.commit('namespace', {
        'web/ns.yaml': `apiVersion: v1\nkind: Namespace\nmetadata: {name: ${name}}\n`,
        'web/more.yaml': configMap('more'),
        'two/c.yaml': inNamespace('c'),
      });
      await p.app('web');
      await p.applied('web');
      await p.app('two', { ...({ targetNamespace: undefined } as object), dependsOn: [{ name: 'web' }] });
      await p.applied('two');
      await p.client.create(configMaps, { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'kept', namespace: name } });
      await p.repository.git('revert', '--no-edit', 'HEAD');
      // An object that the other app is about to delete is not in the way.
      await p.conditionIs('web', 'PruneBlocked', ({ message }) => message?.includes(`still holds ConfigMap ${name}/kept.`) === true);
      expect(await p.dataOf('more')).toBeUndefined();
      await p.client.delete(configMaps, { namespace: name, name: 'kept' });
      await until(async () => (await p.client.list(namespaces)).items.every(({ metadata }) => metadata.name !== name), {
        what: 'the Namespace is gone',
      });
      await until(async () => (await p.condition('web', 'PruneBlocked')) === undefined, { what: 'nothing is held back' });
    });

    it('deletes nothing that is not its own: another UID, another label, or an opt-out', async () => {
      const p = await project({
        'web/a.yaml': configMap('a'),
        'web/b.yaml': configMap('b'),
        'web/c.yaml': configMap('c', '1', { 'kustomize.toolkit.fluxcd.io/prune': 'disabled' }),
        'web/d.yaml': configMap('d'),
      });
      await p.app('web', {}, { 'midship.dev/drift': 'detect' });
      await p.applied('web');
      const of = (name: string) => ({ namespace: p.namespace, name });
      await p.client.delete(configMaps, of('a'));
      await p.client.create(configMaps, { apiVersion: 'v1', kind: 'ConfigMap', metadata: of('a'), data: { a: 'stranger' } });
      await p.client.patch(
        configMaps,
        of('b'),
        { type: 'merge', body: { metadata: { labels: { 'kustomize.toolkit.fluxcd.io/name': 'other' } } } },
        { fieldManager: 'kubectl-label' },
      );
      await p.repository.commit('less', { 'web/a.yaml': null, 'web/b.yaml': null, 'web/c.yaml': null });
      await p.applied('web');
      await until(async () => (await p.read('web')).status?.inventory?.entries.length === 1, { what: 'only d is left in the inventory' });
      expect(await Promise.all(['a', 'b', 'c', 'd'].map((name) => p.dataOf(name)))).toEqual(['stranger', '1', '1', '1']);
    });
  });

  describe('5 prune last', () => {
    it('deletes what left Git only when the rest is healthy, but first what has to make room', async () => {
      const p = await project({
        'web/old.yaml': configMap('old'),
        'web/exclusive.yaml': configMap('exclusive', '1', { 'midship.dev/prune': 'before' }),
      });
      await p.app('web', { wait: true });
      await p.applied('web');
      await p.repository.commit('swap', { 'web/old.yaml': null, 'web/exclusive.yaml': null, 'web/g.yaml': gate('g') });
      await until(async () => (await p.dataOf('exclusive')) === undefined, { what: 'exclusive is pruned first' });
      await p.conditionIs('web', 'Ready', ({ status, message }) => status === 'Unknown' && /waiting for health/.test(message));
      expect(await p.dataOf('old')).toBe('1');
      await openGate(p, 'g');
      await p.applied('web');
      await until(async () => (await p.dataOf('old')) === undefined, { what: 'old is pruned' });
    });
  });

  describe('6 cross-app transfer', () => {
    it('hands an object over from one app to another in one commit, without deleting it', async () => {
      const p = await project({ 'one/a.yaml': configMap('a'), 'one/k.yaml': configMap('k'), 'two/b.yaml': configMap('b') });
      await p.app('one');
      await p.app('two');
      await p.applied('one');
      // An app that the engine has not seen yet claims nothing.
      await p.applied('two');
      const { uid } = (await p.client.get(configMaps, { namespace: p.namespace, name: 'a' })).metadata;
      await p.repository.commit('move', { 'one/a.yaml': null, 'two/a.yaml': configMap('a') });
      await p.applied('one');
      await p.applied('two');
      const moved = await p.client.get(configMaps, { namespace: p.namespace, name: 'a' });
      expect(moved.metadata.uid).toBe(uid);
      expect(moved.metadata.labels?.['kustomize.toolkit.fluxcd.io/name']).toBe('two');
    });

    it('hands over an object that is made once, as it is and without a fight', async () => {
      const once = (value: string) => configMap('a', value, { 'kustomize.toolkit.fluxcd.io/ssa': 'IfNotPresent' });
      const p = await project({ 'one/a.yaml': once('1'), 'one/k.yaml': configMap('k'), 'two/b.yaml': configMap('b') });
      await p.app('one');
      await p.app('two');
      await p.applied('one');
      await p.applied('two');
      await p.repository.commit('move', { 'one/a.yaml': null, 'two/a.yaml': once('2') });
      await p.applied('two');
      await until(async () => !JSON.stringify((await p.read('one')).status?.inventory).includes('_a_'), {
        what: 'app one has let go of it',
      });
      const moved = await p.client.get(configMaps, { namespace: p.namespace, name: 'a' });
      expect([moved.data?.a, moved.metadata.labels?.['kustomize.toolkit.fluxcd.io/name']]).toEqual(['1', 'two']);
      await until(async () => (await p.condition('two', 'Drifted')) === undefined, { what: 'nothing differs' });
      await p.repository.commit('gone', { 'two/a.yaml': null });
      await until(async () => (await p.dataOf('a')) === undefined, { what: 'app two has deleted it' });
    });

    it('takes an object back when the commit that gave it to another app is undone before the first one looked', async () => {
      const p = await project({ 'one/a.yaml': configMap('a'), 'one/k.yaml': configMap('k'), 'two/b.yaml': configMap('b') });
      await p.app('one');
      await p.app('two');
      await p.applied('one');
      await p.applied('two');
      // It looks away while the object goes, and finds the tree that it knows when it looks again.
      await p.change('one', { spec: { suspend: true } });
      await p.repository.commit('move', { 'one/a.yaml': null, 'two/a.yaml': configMap('a', '2') });
      await p.applied('two');
      expect(await p.dataOf('a')).toBe('2');
      await p.repository.git('revert', '--no-edit', 'HEAD');
      await p.applied('two');
      await p.change('one', { spec: { suspend: false } });
      await p.applied('one');
      await until(async () => (await p.dataOf('a')) === '1', { what: 'app one has its object' });
      const back = await p.client.get(configMaps, { namespace: p.namespace, name: 'a' });
      expect(back.metadata.labels?.['kustomize.toolkit.fluxcd.io/name']).toBe('one');
      await until(async () => JSON.stringify((await p.read('two')).status?.inventory).includes('_a_') === false, {
        what: 'app two has let go of it',
      });
    });

    it('refuses an object that two apps name, and says which files', async () => {
      const p = await project({ 'one/a.yaml': configMap('a'), 'three/a.yaml': configMap('a') });
      await p.app('one');
      await p.applied('one');
      await p.app('three');
      const clash = await p.conditionIs('three', 'Ready', ({ status }) => status === 'False');
      expect(clash.message).toContain(`three/a.yaml:1 defines ConfigMap ${p.namespace}/a, which app ${p.home}/one defines in one/a.yaml`);
    });
  });

  describe('7 plan the whole revision first', () => {
    it('applies nothing of a bad commit, names every error with file, line and column, and blocks no other app', async () => {
      const p = await project({ 'web/deploy.yaml': deployment(3), 'web/a.yaml': configMap('a'), 'other/o.yaml': configMap('o') });
      await p.app('web');
      await p.app('other');
      await p.applied('web');
      await p.repository.commit('typo', {
        'web/deploy.yaml': deployment(4, 'replica'),
        'web/a.yaml': configMap('a', '2'),
        'web/b.yaml': 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\ndatum: {}\n',
        'other/o.yaml': configMap('o', '2'),
      });
      const ready = await p.conditionIs('web', 'Ready', ({ status }) => status === 'False');
      expect(ready.message).toMatch(/web\/deploy\.yaml:5:3 Deployment \S+\/web: unknown field "spec\.replica"/);
      expect(ready.message).toMatch(/web\/b\.yaml:4:1 ConfigMap \S+\/b: unknown field "datum"/);
      expect(await p.dataOf('a')).toBe('1');
      await p.applied('other');
      expect(await p.dataOf('o')).toBe('2');

      await p.repository.commit('worse', {
        'web/deploy.yaml': 'a: [b\n',
        'web/unknown.yaml': 'apiVersion: x.io/v1\nkind: Gone\nmetadata: {name: x}\n',
      });
      const build = await p.conditionIs('web', 'Ready', ({ reason }) => reason === 'BuildFailed');
      expect(build.message).toMatch(/web\/deploy\.yaml:\d+:\d+ /);
      await p.repository.git('revert', '--no-edit', 'HEAD~2..HEAD');
      await p.applied('web');
    });

    it('with plan-mode continue, applies what is right, prunes nothing, and says what is wrong', async () => {
      const p = await project({ 'web/a.yaml': configMap('a'), 'web/gone.yaml': configMap('gone') });
      await p.app('web', {}, { 'midship.dev/plan-mode': 'continue' });
      await p.applied('web');
      await p.repository.commit('half', {
        'web/a.yaml': configMap('a', '2'),
        'web/gone.yaml': null,
        'web/bad.yaml': 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: bad}\ndatum: {}\n',
      });
      const ready = await p.conditionIs('web', 'Ready', ({ status }) => status === 'False');
      expect(ready.message).toMatch(/^web\/bad\.yaml:4:1 /);
      expect([await p.dataOf('a'), await p.dataOf('gone')]).toEqual(['2', '1']);
      await p.repository.commit('whole', { 'web/bad.yaml': null });
      await p.applied('web');
      await until(async () => (await p.dataOf('gone')) === undefined, { what: 'gone is pruned' });
    });
  });

  describe('8 health is a state, not a wait', () => {
    it('wakes an app when the one that it depends on is ready, and refuses circles', async () => {
      const p = await project({ 'one/g.yaml': gate('g'), 'two/b.yaml': configMap('b') });
      await p.app('two', { dependsOn: [{ name: 'one' }] });
      await p.conditionIs('two', 'Ready', ({ reason }) => reason === 'DependencyNotReady');
      await p.app('one', { wait: true });
      await p.conditionIs('one', 'Ready', ({ status }) => status === 'Unknown');
      expect(await p.dataOf('b')).toBeUndefined();
      await openGate(p, 'g');
      await p.applied('two');
      await p.app('x', { dependsOn: [{ name: 'y' }] });
      await p.app('y', { dependsOn: [{ name: 'x' }] });
      await p.conditionIs('x', 'Stalled', ({ reason }) => reason === 'DependencyCycle');
    });

    it('asks the expression of a dependency instead, and says when it cannot be read', async () => {
      const p = await project({ 'one/a.yaml': configMap('a'), 'two/b.yaml': configMap('b'), 'three/c.yaml': configMap('c') });
      await p.app('one', { suspend: true });
      const readyExpr = "dep.metadata.annotations['stage'] == 'open' && self.spec.prune";
      await p.app('two', { dependsOn: [{ name: 'one', readyExpr }] });
      await p.app('three', { dependsOn: [{ name: 'one', readyExpr: 'dep.(' }] });
      await p.conditionIs(
        'two',
        'Ready',
        ({ reason, message }) => reason === 'DependencyNotReady' && /readyExpr: no such key/.test(message),
      );
      const stalled = await p.conditionIs('three', 'Stalled', ({ reason }) => reason === 'InvalidCELExpression');
      expect(stalled.message).toMatch(/^invalid expression: spec\.dependsOn\[0\]\.readyExpr: .*Syntax error/);
      await p.change('one', { metadata: { annotations: { stage: 'open' } } });
      await p.applied('two');
    });
  });

  describe('9 finite deadlines, endless retry', () => {
    it('tries no more than once a second, whatever the interval', async () => {
      const p = await project({ 'web/a.yaml': 'kind: Nothing\n' });
      await p.app('web', { retryInterval: '0s' });
      const tries = async (): Promise<number> => (await p.read('web')).status?.history?.[0]?.totalReconciliations ?? 0;
      await until(async () => (await tries()) >= 1, { what: 'a first try' });
      const [before, startedAt] = [await tries(), performance.now()];
      await until(async () => (await tries()) >= before + 2, { what: 'more tries' });
      expect(performance.now() - startedAt).toBeGreaterThan(900);
    });

    it('fails when health does not come in time, and is ready when it comes later', async () => {
      const p = await project({ 'web/g.yaml': gate('g') });
      await p.app('web', { wait: true, timeout: '1s' });
      await p.conditionIs(
        'web',
        'Ready',
        ({ reason, message }) => reason === 'HealthCheckFailed' && /Ingress g has no address yet/.test(message),
      );
      await openGate(p, 'g');
      await p.applied('web');
    });

    it('fails in time also when the engine restarts meanwhile, and counts from the last change', async () => {
      const p = await project({ 'web/g.yaml': gate('g') });
      await p.app('web', { wait: true, timeout: '2s' });
      await p.conditionIs('web', 'Ready', ({ message }) => /waiting for health/.test(message));
      await p.restartEngine(async () => undefined);
      await p.conditionIs('web', 'Ready', ({ reason }) => reason === 'HealthCheckFailed');
      await openGate(p, 'g');
      await p.applied('web');
      // Longer ago than the timeout.
      const startedAt = performance.now();
      await p.change('web', { spec: { wait: false, healthChecks: [{ apiVersion: 'v1', kind: 'ConfigMap', name: 'gone' }] } });
      await p.conditionIs('web', 'Ready', ({ reason, message }) => reason === 'HealthCheckFailed' && /gone does not exist/.test(message));
      expect(performance.now() - startedAt).toBeGreaterThan(1_900);
    });

    it('tries again at once when the object changes that was in the way', async () => {
      const p = await project({ 'web/s.yaml': 'apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ntype: a/one\n' });
      await p.app('web', { retryInterval: '1h' });
      await p.applied('web');
      await p.repository.commit('type', { 'web/s.yaml': 'apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ntype: a/two\n' });
      await p.conditionIs('web', 'Ready', ({ status, message }) => status === 'False' && /immutable/.test(message));
      await p.client.delete(secrets, { namespace: p.namespace, name: 's' });
      await p.applied('web');
      expect((await p.client.get(secrets, { namespace: p.namespace, name: 's' })).type).toBe('a/two');
    });
  });

  describe('13 rendering is cached by content', () => {
    it('follows a commit that changes nothing of an app without a write to its objects', async () => {
      const p = await project({ 'web/a.yaml': configMap('a'), 'other/o.yaml': configMap('o') });
      await p.app('web');
      await p.applied('web');
      const { resourceVersion } = (await p.client.get(configMaps, { namespace: p.namespace, name: 'a' })).metadata;
      await p.repository.commit('elsewhere', { 'other/o.yaml': configMap('o', '2') });
      await p.applied('web');
      expect((await p.client.get(configMaps, { namespace: p.namespace, name: 'a' })).metadata.resourceVersion).toBe(resourceVersion);
    });
  });

  describe('17 triggers', () => {
    it('echoes the token of a request once it was served', async () => {
      const p = await project({ 'web/a.yaml': configMap('a') });
      await p.app('web');
      await p.applied('web');
      await p.change('web', { metadata: { annotations: { 'reconcile.fluxcd.io/requestedAt': 'now-1' } } });
      await until(async () => (await p.read('web')).status?.lastHandledReconcileAt === 'now-1', { what: 'the token is echoed' });
    });
  });

  describe('20 isolation', () => {
    it('goes on with other apps while a source is away, and keeps enforcing its last good revision', async () => {
      const p = await project({ 'web/a.yaml': configMap('a') });
      await p.app('web');
      await p.applied('web');
      await p.app('lost', { sourceRef: { kind: 'GitRepository', name: 'nowhere' } });
      await p.conditionIs('lost', 'Ready', ({ reason }) => reason === 'ArtifactFailed');
      await p.repository.git('branch', '--move', 'main', 'elsewhere');
      await p.client.delete(configMaps, { namespace: p.namespace, name: 'a' });
      await until(async () => (await p.dataOf('a')) === '1', { what: 'a is put back' });
      await p.repository.git('branch', '--move', 'elsewhere', 'main');
    });
  });

  describe('unsupported fields', () => {
    it('is said, and nothing of the app is applied', async () => {
      const p = await project({ 'web/a.yaml': configMap('a') });
      await p.app('web', { serviceAccountName: 'tenant' });
      await p.conditionIs('web', 'Stalled', ({ message }) => message === 'not supported: spec.serviceAccountName');
      expect(await p.dataOf('a')).toBeUndefined();
    });

    it('neither is an expression that can say nothing; one that names a field of its kind may', async () => {
      const p = await project({ 'web/a.yaml': configMap('a') });
      const check = { apiVersion: 'v1', kind: 'ConfigMap' };
      await p.app('web', {
        healthCheckExprs: [
          { ...check, current: 'immutable == true' },
          { ...check, current: 'data.(' },
        ],
      });
      const stalled = await p.conditionIs('web', 'Stalled', ({ reason }) => reason === 'InvalidCELExpression');
      expect(stalled.message).toMatch(/^invalid expression: spec\.healthCheckExprs\[1\]\.current: [^\n]*Syntax error[^\n]*$/);
      expect(await p.dataOf('a')).toBeUndefined();
    });

    it('says what an app refers to that is not there', async () => {
      const p = await project({ 'web/a.yaml': configMap('a') });
      await p.app('web', { sourceRef: { kind: 'GitRepository', name: 'gone' } });
      await p.app('two', { path: './web', dependsOn: [{ name: 'gone' }] });
      await p.conditionIs('web', 'Ready', ({ message }) =>
        message.startsWith(`Source not found: GitRepository ${p.home}/gone does not exist`),
      );
      await p.conditionIs('two', 'Ready', ({ message }) => message.startsWith(`dependency '${p.home}/gone' does not exist`));
    });
  });

  describe('deletion of an app', () => {
    it('deletes what the app owns, and keeps it when it must not prune or is suspended', async () => {
      const p = await project({ 'one/a.yaml': configMap('a'), 'two/b.yaml': configMap('b'), 'three/c.yaml': configMap('c') });
      await p.app('one');
      await p.app('two', { prune: false });
      await p.app('three');
      for (const name of ['one', 'two', 'three']) await p.applied(name);
      await p.change('three', { spec: { suspend: true } });
      for (const name of ['one', 'two', 'three']) await p.client.delete(kustomizations, { namespace: p.home, name });
      await until(async () => (await p.client.list(kustomizations, { namespace: p.home })).items.length === 0, { what: 'apps are gone' });
      expect([await p.dataOf('a'), await p.dataOf('b'), await p.dataOf('c')]).toEqual([undefined, '1', '1']);
    });

    it('says what it waits for, and lets go after the timeout of what others keep', async () => {
      const held = configMap('held').replace('metadata:', 'metadata:\n  finalizers: [example.com/stuck]');
      const p = await project({ 'one/a.yaml': configMap('a'), 'one/held.yaml': held });
      await p.app('one', { timeout: '3s' });
      await p.applied('one');
      await p.client.delete(kustomizations, { namespace: p.home, name: 'one' });
      const waiting = await p.conditionIs('one', 'Ready', ({ status }) => status === 'Unknown');
      expect(waiting.message).toBe(`Deleting, waiting for: ConfigMap ${p.namespace}/held (finalizer example.com/stuck)`);
      expect(await p.dataOf('a')).toBeUndefined();
      await until(async () => (await p.client.list(kustomizations, { namespace: p.home })).items.length === 0, { what: 'the app is gone' });
      const left = `timeout waiting for deletion of: ConfigMap ${p.namespace}/held (finalizer example.com/stuck)`;
      const isTold = async (): Promise<boolean> =>
        (await p.client.list(events, { namespace: p.home })).items.some(
          ({ reason, message }) => reason === 'PruneFailed' && message === left,
        );
      await until(isTold, { what: 'what is left is told' });
      const ref = { namespace: p.namespace, name: 'held' };
      await p.client.patch(configMaps, ref, { type: 'merge', body: { metadata: { finalizers: null } } });
    });
  });
});
