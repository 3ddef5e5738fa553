import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { deployments } from '../../../src/api/apps/v1/deployment.ts';
import { configMaps } from '../../../src/api/core/v1/config-map.ts';
import { namespaces } from '../../../src/api/core/v1/namespace.ts';
import { secrets } from '../../../src/api/core/v1/secret.ts';
import { builtInKinds } from '../../../src/api/kinds.ts';
import { kustomizations } from '../../../src/api/kustomize/v1/kustomization.ts';
import { gitRepositories } from '../../../src/api/source/v1/git-repository.ts';
import { createLog } from '../../../src/base/log.ts';
import { type ForeignEngine, startForeignEngine } from '../../../src/cli/compose-gitops.ts';
import { loadKubeconfig } from '../../../src/client/kubeconfig.ts';
import { startTestApiServer, type TestApiServer } from '../../support/api-server.ts';
import { newRepository, temporaryDirectory } from '../../support/git.ts';
import { serveRemote } from '../../support/git-remote.ts';
import { until } from '../../support/until.ts';

const cleanups: (() => Promise<unknown>)[] = [];
afterAll(async () => {
  for (const cleanup of cleanups.reverse()) await cleanup();
});

const managed = { 'midship.dev/managed': 'true' };

async function startEngine(server: TestApiServer): Promise<ForeignEngine> {
  const { namespace: _, ...connection } = await loadKubeconfig(server.kubeconfig);
  const cacheDirectory = await temporaryDirectory('gitops-cache');
  cleanups.push(() => rm(cacheDirectory, { recursive: true, force: true }));
  return startForeignEngine({
    connection,
    clusterName: 'foreign',
    httpPort: 0,
    cacheDirectory,
    log: createLog({ level: process.env.MIDSHIP_TEST_LOG ?? 'silent' }),
    version: '0.0.0',
    signal: new AbortController().signal,
  });
}

/** A cluster that has none of Flux's kinds, as one fresh from its installer. */
async function foreignCluster(): Promise<TestApiServer> {
  const server = await startTestApiServer({ kinds: builtInKinds.filter(({ group }) => !group.endsWith('.toolkit.fluxcd.io')) });
  cleanups.push(() => server.stop());
  await server.client.create(namespaces, { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'apps' } });
  return server;
}

describe('midship gitops', () => {
  it('installs the definitions that a cluster lacks, and follows only what is labelled as its own', async () => {
    const server = await foreignCluster();
    const { client } = server;
    const repository = await newRepository('foreign', {
      'web/a.yaml': 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {a: "1"}\n',
      'other/b.yaml': 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\ndata: {a: "1"}\n',
    });
    const remote = await serveRemote({ repositories: { app: join(repository.directory, '.git') }, token: 'secret' });
    cleanups.push(() => remote.stop());
    const engine = await startEngine(server);
    cleanups.push(() => engine.stop());
    expect([...engine.installed].sort()).toEqual([
      'alerts.notification.toolkit.fluxcd.io',
      'gitrepositories.source.toolkit.fluxcd.io',
      'kustomizations.kustomize.toolkit.fluxcd.io',
      'providers.notification.toolkit.fluxcd.io',
      'receivers.notification.toolkit.fluxcd.io',
    ]);

    await client.create(secrets, {
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: { name: 'git', namespace: 'apps' },
      data: { username: Buffer.from('midship').toString('base64'), password: Buffer.from('secret').toString('base64') },
    });
    await client.create(gitRepositories, {
      apiVersion: 'source.toolkit.fluxcd.io/v1',
      kind: 'GitRepository',
      metadata: { name: 'app', namespace: 'apps', labels: managed },
      spec: { url: remote.url('app'), interval: '1s', ref: { branch: 'main' }, secretRef: { name: 'git' } },
    });
    const app = (name: string, labels: Readonly<Record<string, string>>) =>
      client.create(kustomizations, {
        apiVersion: 'kustomize.toolkit.fluxcd.io/v1',
        kind: 'Kustomization',
        metadata: { name, namespace: 'apps', labels },
        spec: {
          interval: '1m',
          prune: true,
          path: `./${name}`,
          targetNamespace: 'apps',
          sourceRef: { kind: 'GitRepository', name: 'app' },
        },
      });
    await app('other', {});
    await app('web', managed);
    const readyAt = async (sha: string): Promise<void> => {
      await until(
        async () => {
          const { status } = await client.get(kustomizations, { namespace: 'apps', name: 'web' });
          return (
            status?.lastAppliedRevision === `main@sha1:${sha}` &&
            status.conditions?.some(({ type, status: is }) => type === 'Ready' && is === 'True')
          );
        },
        { what: async () => JSON.stringify(await client.get(kustomizations, { namespace: 'apps', name: 'web' })) },
      );
    };
    await readyAt(await repository.git('rev-parse', 'HEAD'));
    const sha = await repository.commit('next', { 'web/a.yaml': 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {a: "2"}\n' });
    await readyAt(sha);
    expect((await client.get(configMaps, { namespace: 'apps', name: 'a' })).data).toEqual({ a: '2' });
    const unlabelled = await client.get(kustomizations, { namespace: 'apps', name: 'other' });
    expect(unlabelled.metadata.finalizers).toBeUndefined();
    expect((await client.list(configMaps, { namespace: 'apps' })).items.map(({ metadata }) => metadata.name)).toEqual(['a']);
    const metrics = await (await fetch(`${engine.url}/metrics/gitops`)).text();
    expect(metrics).toContain('gitops_app_sync_status{namespace="apps",app="web",status="Synced"} 1');
    expect(await (await fetch(engine.url)).text()).toContain('web');
  });

  it('does not start while controllers of Flux run there', async () => {
    const server = await foreignCluster();
    await server.client.create(deployments, {
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: { name: 'kustomize-controller', namespace: 'apps' },
      spec: {
        selector: { matchLabels: { app: 'x' } },
        template: { metadata: { labels: { app: 'x' } }, spec: { containers: [{ name: 'x', image: 'x' }] } },
      },
    });
    await expect(startEngine(server)).rejects.toMatchObject({
      message: "Flux's kustomize-controller runs in namespace apps",
      fix: 'Stop it first: kubectl -n apps scale deployment kustomize-controller --replicas=0',
    });
  });
});
