import { afterEach, describe, expect, it } from 'vitest';
import { configMaps } from '../../../src/api/core/v1/config-map.ts';
import { namespaces } from '../../../src/api/core/v1/namespace.ts';
import { kustomizations } from '../../../src/api/kustomize/v1/kustomization.ts';
import { gitRepositories } from '../../../src/api/source/v1/git-repository.ts';
import type { Client } from '../../../src/client/client.ts';
import { startTestApi } from '../../support/api.ts';
import { startEngine } from '../../support/engine.ts';
import { createMemoryRepository } from '../../support/memory-repository.ts';
import { until } from '../../support/until.ts';

const home = 'flux-system';
const namespace = 'web';

const stops: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop();
});

const manifest = (name: string, value: string, annotation = 'note: none'): string =>
  `apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: ${name}\n  annotations: {${annotation}}\ndata: {a: "${value}"}\n`;
const once = 'kustomize.toolkit.fluxcd.io/ssa: IfNotPresent';
const idle = 'kustomize.toolkit.fluxcd.io/reconcile: disabled';
const files = (value: string): ReadonlyMap<string, string> =>
  new Map([
    ['web/once.yaml', manifest('once', value, once)],
    ['web/idle.yaml', manifest('idle', value, idle)],
    ['web/live.yaml', manifest('live', value)],
    ['web/ignored.yaml', manifest('ignored', value)],
    ['web/plain.yaml', manifest('plain', value)],
  ]);

describe('an engine that hears of changes late', () => {
  it('leaves alone what someone said to leave alone, and fields that are not its own, all the same', async () => {
    const api = await startTestApi();
    const people = api.clientFor(undefined, 'kubectl/test');
    const repository = createMemoryRepository('https://example.com/late.git');
    for (const name of [home, namespace]) await people.create(namespaces, { apiVersion: 'v1', kind: 'Namespace', metadata: { name } });
    repository.commit('first', files('1'));
    await people.create(gitRepositories, {
      apiVersion: 'source.toolkit.fluxcd.io/v1',
      kind: 'GitRepository',
      metadata: { name: 'cluster', namespace: home },
      spec: { url: 'https://example.com/late.git', interval: '1s', ref: { branch: 'main' } },
    });
    const engineClient = api.clientFor({ name: 'system:midship:gitops', groups: [] }, 'midship/test');
    const client: Client = {
      ...engineClient,
      watch: (resource, options) =>
        engineClient.watch(resource, resource.resource === configMaps.resource ? { ...options, onEvents: () => undefined } : options),
    };
    const engine = await startEngine({ client, openSource: async () => repository.source });
    stops.push(async () => {
      await engine.stop();
      await api.stop();
    });
    await people.create(kustomizations, {
      apiVersion: 'kustomize.toolkit.fluxcd.io/v1',
      kind: 'Kustomization',
      metadata: { name: 'web', namespace: home },
      spec: {
        interval: '1h',
        prune: true,
        path: './web',
        targetNamespace: namespace,
        sourceRef: { kind: 'GitRepository', name: 'cluster' },
        driftIgnoreRules: [{ paths: ['/data/a'], target: { name: 'ignored' } }],
      },
    });
    const applied = (): Promise<unknown> =>
      until(
        async () =>
          (await people.get(kustomizations, { namespace: home, name: 'web' })).status?.lastAppliedRevision ===
          `main@sha1:${repository.head}`,
        { timeoutMs: 15_000, what: async () => JSON.stringify((await people.list(kustomizations)).items.map(({ status }) => status)) },
      );
    await applied();
    // What Git says to leave alone is not made.
    await people.create(configMaps, { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'idle', namespace } });
    const all = ['once', 'idle', 'live', 'ignored', 'plain'];
    for (const name of all) {
      const metadata = name === 'live' ? { annotations: { 'kustomize.toolkit.fluxcd.io/reconcile': 'disabled' } } : {};
      const body = { metadata, data: { a: 'theirs' } };
      await people.patch(configMaps, { namespace, name }, { type: 'merge', body }, { fieldManager: 'kubectl-edit' });
    }
    repository.commit('next', files('2'));
    await applied();
    const values = await Promise.all(all.map(async (name) => (await people.get(configMaps, { namespace, name })).data?.a));
    expect(values).toEqual(['theirs', 'theirs', 'theirs', 'theirs', '2']);
  });
});
