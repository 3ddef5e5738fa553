import { afterAll, describe, expect, it } from 'vitest';
import { customResourceDefinitions } from '../../../src/api/apiextensions/v1/custom-resource-definition.ts';
import { deployments } from '../../../src/api/apps/v1/deployment.ts';
import { configMaps } from '../../../src/api/core/v1/config-map.ts';
import { events } from '../../../src/api/core/v1/event.ts';
import { kustomizations } from '../../../src/api/kustomize/v1/kustomization.ts';
import { gitRepositories } from '../../../src/api/source/v1/git-repository.ts';
import { fluxDefinitions } from '../../../src/cli/flux-definitions.ts';
import { appReadyAt, createApp, followRepository, foreignCluster, startForeign } from '../../support/foreign-engine.ts';
import { newRepository } from '../../support/git.ts';
import { until } from '../../support/until.ts';

const cleanups: (() => Promise<unknown>)[] = [];
const cleanup = (undo: () => Promise<unknown>): void => void cleanups.push(undo);
afterAll(async () => {
  for (const undo of cleanups.reverse()) await undo();
});

/** An app of the directory `child`; the label of the one named `foreign` leaves it to another engine. */
const childOf = (name: string): string => `apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: ${name}${name === 'foreign' ? ', labels: {midship.dev/managed: "false"}' : ''}}
spec: {interval: 1m, prune: true, path: ./child, targetNamespace: apps, sourceRef: {kind: GitRepository, name: app}}
`;

describe('midship gitops', () => {
  it('installs the definitions that a cluster lacks, and follows only what is labelled as its own', async () => {
    const server = await foreignCluster(cleanup);
    const { client } = server;
    const repository = await newRepository('foreign', {
      'web/a.yaml': 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {a: "1"}\n',
      'web/children.yaml': ['child', 'foreign'].map(childOf).join('---\n'),
      'child/c.yaml': 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n',
      'other/b.yaml': 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\ndata: {a: "1"}\n',
    });
    const engine = await startForeign(server, { cleanup });
    cleanup(() => engine.stop());
    expect([...engine.installed].sort()).toEqual([
      'alerts.notification.toolkit.fluxcd.io',
      'gitrepositories.source.toolkit.fluxcd.io',
      'kustomizations.kustomize.toolkit.fluxcd.io',
      'providers.notification.toolkit.fluxcd.io',
      'receivers.notification.toolkit.fluxcd.io',
    ]);

    await followRepository(client, repository, cleanup);
    await createApp(client, 'other', {});
    await createApp(client, 'web');
    await appReadyAt(client, 'web', await repository.git('rev-parse', 'HEAD'));
    const sha = await repository.commit('next', { 'web/a.yaml': 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {a: "2"}\n' });
    await appReadyAt(client, 'web', sha);
    expect((await client.get(configMaps, { namespace: 'apps', name: 'a' })).data).toEqual({ a: '2' });
    // An app of the engine's own app is the engine's, unless Git says otherwise.
    await appReadyAt(client, 'child', sha);
    const foreign = await client.get(kustomizations, { namespace: 'apps', name: 'foreign' });
    expect(foreign.metadata).toMatchObject({ labels: { 'midship.dev/managed': 'false' } });
    expect(foreign.metadata.finalizers).toBeUndefined();
    const unlabelled = await client.get(kustomizations, { namespace: 'apps', name: 'other' });
    expect(unlabelled.metadata.finalizers).toBeUndefined();
    expect((await client.list(configMaps, { namespace: 'apps' })).items.map(({ metadata }) => metadata.name)).toEqual(['a', 'c']);
    const metrics = await (await fetch(`${engine.url}/metrics/gitops`)).text();
    expect(metrics).toContain('gitops_app_sync_status{namespace="apps",app="web",status="Synced"} 1');
    expect(await (await fetch(engine.url)).text()).toContain('web');
  });

  it('leaves out an object that an old definition admits, names its fault, and goes on with the others', async () => {
    const server = await foreignCluster(cleanup);
    const { client } = server;
    // Flux's definitions require no spec, and its older ones check no interval.
    for (const definition of fluxDefinitions()) {
      const [version] = definition.spec.versions;
      const schema = { openAPIV3Schema: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } } as const;
      const spec = { ...definition.spec, versions: version === undefined ? [] : [{ ...version, schema }] };
      await client.create(customResourceDefinitions, { ...definition, spec });
    }
    const repository = await newRepository('lax', { 'web/a.yaml': 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n' });
    const engine = await startForeign(server, { cleanup });
    cleanup(() => engine.stop());
    expect(engine.installed).toEqual([]);
    const metadata = { namespace: 'apps', labels: { 'midship.dev/managed': 'true' } };
    const bare = { apiVersion: 'kustomize.toolkit.fluxcd.io/v1', kind: 'Kustomization', metadata: { ...metadata, name: 'bare' } };
    await client.create(kustomizations, bare as never);
    const source = { apiVersion: 'source.toolkit.fluxcd.io/v1', kind: 'GitRepository', metadata: { ...metadata, name: 'odd' } };
    await client.create(gitRepositories, { ...source, spec: { url: 'file:///etc', interval: '1s' } });
    await followRepository(client, repository, cleanup);
    await createApp(client, 'web');
    await appReadyAt(client, 'web', await repository.git('rev-parse', 'HEAD'));
    const reported = async (): Promise<readonly string[]> =>
      (await client.list(events, { namespace: 'apps' })).items
        .filter(({ reason }) => reason === 'ObjectSkipped')
        .map(({ involvedObject, message }) => `${involvedObject.name}: ${message}`)
        .sort();
    await until(async () => (await reported()).length === 2, { what: async () => JSON.stringify(await reported()) });
    expect(await reported()).toEqual([
      expect.stringContaining('bare: The control plane cannot work with this object and leaves it out (validation: spec: Required value)'),
      expect.stringContaining('odd: The control plane cannot work with this object and leaves it out (validation: spec.url: Invalid value'),
    ]);
  });

  it('does not start while controllers of Flux run there', async () => {
    const server = await foreignCluster(cleanup);
    await server.client.create(deployments, {
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: { name: 'kustomize-controller', namespace: 'apps' },
      spec: {
        selector: { matchLabels: { app: 'x' } },
        template: { metadata: { labels: { app: 'x' } }, spec: { containers: [{ name: 'x', image: 'x' }] } },
      },
    });
    await expect(startForeign(server, { cleanup })).rejects.toMatchObject({
      message: "Flux's kustomize-controller runs in namespace apps",
      fix: 'Stop it first: kubectl -n apps scale deployment kustomize-controller --replicas=0',
    });
  });
});
