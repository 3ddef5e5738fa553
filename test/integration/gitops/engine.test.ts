import { afterEach, describe, expect, it } from 'vitest';
import { deployments } from '../../../src/api/apps/v1/deployment.ts';
import { configMaps } from '../../../src/api/core/v1/config-map.ts';
import { events } from '../../../src/api/core/v1/event.ts';
import { secrets } from '../../../src/api/core/v1/secret.ts';
import { type Kustomization, kustomizations } from '../../../src/api/kustomize/v1/kustomization.ts';
import type { Client } from '../../../src/client/client.ts';
import { isNotFound } from '../../../src/machinery/status-error.ts';
import { type EngineWorld, startEngineWorld } from '../../support/engine.ts';
import { until } from '../../support/until.ts';

const cleanups: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function world(files: Readonly<Record<string, string>>): Promise<EngineWorld> {
  const started = await startEngineWorld(files);
  cleanups.push(() => started.stop());
  return started;
}

const app = (client: Client, name: string, spec: Partial<Kustomization['spec']> = {}): Promise<Kustomization> =>
  client.create(kustomizations, {
    apiVersion: 'kustomize.toolkit.fluxcd.io/v1',
    kind: 'Kustomization',
    metadata: { name, namespace: 'flux-system' },
    spec: { interval: '1m', prune: true, path: `./${name}`, sourceRef: { kind: 'GitRepository', name: 'cluster' }, ...spec },
  });

const configMap = (name: string, value = '1'): string =>
  `apiVersion: v1\nkind: ConfigMap\nmetadata: {name: ${name}, namespace: web}\ndata: {a: "${value}"}\n`;
const deployment = (replicas: number, field = 'replicas'): string => `apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: web}
spec:
  ${field}: ${replicas}
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: web, image: host/node}
`;

const conditionOf = async (client: Client, name: string, type: string) =>
  (await client.get(kustomizations, { namespace: 'flux-system', name })).status?.conditions?.find((condition) => condition.type === type);

async function applied(client: Client, name: string, sha: string): Promise<void> {
  await until(
    async () => {
      const { status } = await client.get(kustomizations, { namespace: 'flux-system', name });
      return (
        status?.lastAppliedRevision === `main@sha1:${sha}` && status.conditions?.find(({ type }) => type === 'Ready')?.status === 'True'
      );
    },
    { timeoutMs: 10_000, what: `${name} applied at ${sha}` },
  );
}

const dataOf = async (client: Client, name: string): Promise<string | undefined> => {
  try {
    return (await client.get(configMaps, { namespace: 'web', name })).data?.a;
  } catch (err) {
    if (isNotFound(err)) return undefined;
    throw err;
  }
};

/** What an app made of the cluster, comparable between clusters: names and content, no uids and times. */
async function liveObjects(client: Client): Promise<unknown> {
  const lists = await Promise.all([client.list(configMaps, { namespace: 'web' }), client.list(deployments, { namespace: 'web' })]);
  return lists.flatMap(({ items }) =>
    items.map(({ kind, metadata, ...rest }) => ({ kind, name: metadata.name, labels: metadata.labels, ...rest, status: null })),
  );
}

describe('the GitOps engine', () => {
  it('applies an app, follows a commit, and a revert brings back exactly the old state', async () => {
    const { client, repository, activities } = await world({ 'web/a.yaml': configMap('a'), 'web/deploy.yaml': deployment(3) });
    await app(client, 'web');
    const first = await repository.git('rev-parse', 'HEAD');
    await applied(client, 'web', first);
    const before = await liveObjects(client);

    const second = await repository.commit('more', {
      'web/b.yaml': configMap('b'),
      'web/deploy.yaml': deployment(5),
      'web/a.yaml': configMap('a', '2'),
    });
    await applied(client, 'web', second);
    expect(await dataOf(client, 'b')).toBe('1');
    expect((await client.get(deployments, { namespace: 'web', name: 'web' })).spec.replicas).toBe(5);
    expect(activities()).toContainEqual(
      expect.objectContaining({
        type: 'applied',
        changes: expect.arrayContaining([
          { action: 'configured', object: 'Deployment web/web', fields: ['spec.replicas 3 → 5'] },
          { action: 'created', object: 'ConfigMap web/b', fields: [] },
        ]),
      }),
    );

    await repository.git('revert', '--no-edit', 'HEAD');
    await applied(client, 'web', await repository.git('rev-parse', 'HEAD'));
    await until(async () => (await dataOf(client, 'b')) === undefined, { what: 'b is pruned' });
    expect(await liveObjects(client)).toEqual(before);
    expect(activities().findLast(({ type }) => type === 'commit')).toMatchObject({ subject: 'Revert "more"' });
  });

  it('applies nothing of a bad commit, names file and line, and takes up the next one at once', async () => {
    const { client, repository } = await world({
      'web/deploy.yaml': deployment(3),
      'web/a.yaml': configMap('a'),
      'other/o.yaml': configMap('o'),
    });
    await app(client, 'web');
    await app(client, 'other');
    await applied(client, 'web', await repository.git('rev-parse', 'HEAD'));
    const bad = await repository.commit('typo', {
      'web/deploy.yaml': deployment(4, 'replica'),
      'web/a.yaml': configMap('a', '2'),
      'other/o.yaml': configMap('o', '2'),
    });
    const ready = await until(
      async () => {
        const condition = await conditionOf(client, 'web', 'Ready');
        return condition?.status === 'False' && condition;
      },
      { what: 'web is refused' },
    );
    expect(ready.message).toMatch(/^web\/deploy\.yaml:5:3 Deployment web\/web: unknown field "spec\.replica"/);
    expect(await dataOf(client, 'a')).toBe('1');
    await applied(client, 'other', bad);
    expect(await dataOf(client, 'o')).toBe('2');

    const unparsable = await repository.commit('worse', {
      'web/deploy.yaml': 'a: [b\n',
      'web/unknown.yaml': 'apiVersion: x.io/v1\nkind: Gone\nmetadata: {name: x}\n',
    });
    await until(async () => (await conditionOf(client, 'web', 'Ready'))?.reason === 'BuildFailed', { what: 'BuildFailed' });
    expect((await conditionOf(client, 'web', 'Ready'))?.message).toMatch(/web\/deploy\.yaml:\d+:\d+ /);
    expect(unparsable).toBeTruthy();
    await repository.git('revert', '--no-edit', 'HEAD~2..HEAD');
    await applied(client, 'web', await repository.git('rev-parse', 'HEAD'));
  });

  it('is ready again when a force-push takes a bad commit back', async () => {
    const { client, repository } = await world({ 'web/a.yaml': configMap('a') });
    await app(client, 'web');
    const good = await repository.git('rev-parse', 'HEAD');
    await applied(client, 'web', good);
    await repository.commit('bad', { 'web/a.yaml': 'a: [b\n' });
    await until(async () => (await conditionOf(client, 'web', 'Ready'))?.status === 'False', { what: 'web is refused' });
    await repository.git('reset', '--quiet', '--hard', good);
    await applied(client, 'web', good);
  });

  it('puts back a Secret that Git writes as stringData, and takes away a key that left Git', async () => {
    const secret = (data: string): string => `apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: web}\nstringData: {${data}}\n`;
    const { client, repository } = await world({ 'web/s.yaml': secret('user: mara, password: one') });
    await app(client, 'web');
    await applied(client, 'web', await repository.git('rev-parse', 'HEAD'));
    const ref = { namespace: 'web', name: 's' };
    const base64 = (text: string): string => Buffer.from(text).toString('base64');
    await client.patch(secrets, ref, { type: 'merge', body: { data: { password: base64('two') } } }, { fieldManager: 'kubectl-edit' });
    await until(async () => (await client.get(secrets, ref)).data?.password === base64('one'), { what: 'the password is put back' });
    await applied(client, 'web', await repository.commit('no password', { 'web/s.yaml': secret('user: mara') }));
    expect((await client.get(secrets, ref)).data).toEqual({ user: base64('mara') });
  });

  it('puts back drift and deleted objects, and says who did it', async () => {
    const { client, repository, activities, metrics } = await world({ 'web/deploy.yaml': deployment(3), 'web/a.yaml': configMap('a') });
    await app(client, 'web');
    await applied(client, 'web', await repository.git('rev-parse', 'HEAD'));
    await client.patch(
      deployments,
      { namespace: 'web', name: 'web' },
      { type: 'merge', body: { spec: { replicas: 9 } } },
      { fieldManager: 'kubectl-scale' },
    );
    await until(async () => (await client.get(deployments, { namespace: 'web', name: 'web' })).spec.replicas === 3, {
      timeoutMs: 2_000,
      what: 'healed',
    });
    await until(() => activities().some((entry) => entry.type === 'drift'), { what: 'drift is told' });
    expect(activities().find(({ type }) => type === 'drift')).toMatchObject({
      object: 'Deployment web/web',
      change: 'spec.replicas 3 → 9',
      by: 'kubectl-scale',
      healed: true,
    });
    await client.delete(configMaps, { namespace: 'web', name: 'a' });
    await until(async () => (await dataOf(client, 'a')) === '1', { timeoutMs: 2_000, what: 'a is back' });
    await until(
      async () => (await metrics()).includes('gitops_drift_corrections_total{namespace="flux-system",app="web",kind="ConfigMap"} 1'),
      { what: 'counted' },
    );
    const { items } = await client.list(events, { namespace: 'flux-system' });
    expect(items.map(({ reason }) => reason)).toContain('DriftCorrected');
    // Nothing else is written once all is as it should be.
    const quiet = await client.list(kustomizations);
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect((await client.list(kustomizations)).items[0]?.metadata.resourceVersion).toBe(quiet.items[0]?.metadata.resourceVersion);
  });

  it('remembers over a restart what it owns: what left Git meanwhile is pruned', async () => {
    const { client, repository, restartEngine } = await world({ 'web/a.yaml': configMap('a'), 'web/b.yaml': configMap('b') });
    await app(client, 'web');
    await applied(client, 'web', await repository.git('rev-parse', 'HEAD'));
    const inventory = await client.get(secrets, { namespace: 'flux-system', name: 'midship-inventory-web' });
    expect(inventory.type).toBe('midship.dev/record');
    const { resourceVersion } = (await client.get(configMaps, { namespace: 'web', name: 'a' })).metadata;
    const sha = await repository.commit('less', { 'web/b.yaml': null });
    await restartEngine();
    await applied(client, 'web', sha);
    await until(async () => (await dataOf(client, 'b')) === undefined, { what: 'b is pruned' });
    expect((await client.get(configMaps, { namespace: 'web', name: 'a' })).metadata.resourceVersion).toBe(resourceVersion);
  });

  it('waits for dependencies, refuses circles, unsupported fields and objects of two apps', async () => {
    const { client, repository } = await world({
      'one/a.yaml': configMap('a'),
      'two/b.yaml': configMap('b'),
      'three/a.yaml': configMap('a'),
    });
    await app(client, 'two', { dependsOn: [{ name: 'one' }] });
    await until(async () => (await conditionOf(client, 'two', 'Ready'))?.reason === 'DependencyNotReady', { what: 'two waits' });
    await app(client, 'one');
    await applied(client, 'two', await repository.git('rev-parse', 'HEAD'));
    await app(client, 'three');
    const clash = await until(
      async () => {
        const condition = await conditionOf(client, 'three', 'Ready');
        return condition?.status === 'False' && condition;
      },
      { what: 'three is refused' },
    );
    expect(clash.message).toMatch(/three\/a\.yaml:1 defines ConfigMap web\/a, which app flux-system\/one defines in one\/a\.yaml/);
    await app(client, 'x', { dependsOn: [{ name: 'y' }] });
    await app(client, 'y', { dependsOn: [{ name: 'x' }] });
    await until(async () => (await conditionOf(client, 'x', 'Stalled'))?.reason === 'DependencyCycle', { what: 'circle' });
    await app(client, 'z', { serviceAccountName: 'tenant', path: './two' });
    await until(async () => (await conditionOf(client, 'z', 'Stalled'))?.message === 'not supported: spec.serviceAccountName', {
      what: 'stalled',
    });
  });

  it('hands an object over from one app to another in one commit', async () => {
    const { client, repository } = await world({
      'one/a.yaml': configMap('a'),
      'one/k.yaml': configMap('k'),
      'two/b.yaml': configMap('b'),
    });
    await app(client, 'one');
    await app(client, 'two');
    await applied(client, 'one', await repository.git('rev-parse', 'HEAD'));
    const { uid } = (await client.get(configMaps, { namespace: 'web', name: 'a' })).metadata;
    const sha = await repository.commit('move', { 'one/a.yaml': null, 'two/a.yaml': configMap('a') });
    await applied(client, 'one', sha);
    await applied(client, 'two', sha);
    const moved = await client.get(configMaps, { namespace: 'web', name: 'a' });
    expect(moved.metadata.uid).toBe(uid);
    expect(moved.metadata.labels?.['kustomize.toolkit.fluxcd.io/name']).toBe('two');
  });

  it('does not prune half of an app by accident', async () => {
    const files = Object.fromEntries(Array.from({ length: 30 }, (_, i) => [`web/c${i}.yaml`, configMap(`c${i}`)]));
    const { client, repository } = await world(files);
    await app(client, 'web');
    await applied(client, 'web', await repository.git('rev-parse', 'HEAD'));
    await repository.commit(
      'oops',
      Object.fromEntries(
        Object.keys(files)
          .slice(0, 25)
          .map((name) => [name, null]),
      ),
    );
    const blocked = await until(async () => conditionOf(client, 'web', 'PruneBlocked'), { what: 'blocked' });
    expect(blocked.message).toMatch(/25 of 30 objects would be deleted/);
    expect((await client.list(configMaps, { namespace: 'web' })).items).toHaveLength(30);
    const approval = /approve-prune=(\w+)/.exec(blocked.message ?? '')?.[1];
    await client.patch(
      kustomizations,
      { namespace: 'flux-system', name: 'web' },
      { type: 'merge', body: { metadata: { annotations: { 'midship.dev/approve-prune': approval } } } },
    );
    await until(async () => (await client.list(configMaps, { namespace: 'web' })).items.length === 5, { what: 'pruned after approval' });
  });

  it('deletes what an app owns when the app is deleted, and keeps it when it must not prune', async () => {
    const { client, repository } = await world({ 'one/a.yaml': configMap('a'), 'two/b.yaml': configMap('b') });
    await app(client, 'one');
    await app(client, 'two', { prune: false });
    for (const name of ['one', 'two']) await applied(client, name, await repository.git('rev-parse', 'HEAD'));
    for (const name of ['one', 'two']) await client.delete(kustomizations, { namespace: 'flux-system', name });
    await until(async () => (await client.list(kustomizations)).items.length === 0, { what: 'apps are gone' });
    expect(await dataOf(client, 'a')).toBeUndefined();
    expect(await dataOf(client, 'b')).toBe('1');
  });
});
