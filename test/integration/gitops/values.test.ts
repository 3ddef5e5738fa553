// biome-ignore-all lint/suspicious/noTemplateCurlyInString: variables of manifests
import { afterEach, describe, expect, it } from 'vitest';
import { configMaps } from '../../../src/api/core/v1/config-map.ts';
import { namespaces } from '../../../src/api/core/v1/namespace.ts';
import { kustomizations } from '../../../src/api/kustomize/v1/kustomization.ts';
import { gitRepositories } from '../../../src/api/source/v1/git-repository.ts';
import type { Client } from '../../../src/client/client.ts';
import { invalid } from '../../../src/machinery/status-error.ts';
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

/** An app that takes a variable from a ConfigMap; `during` runs while the engine applies its object, after the variable was read. */
async function start(during: () => Promise<void>) {
  const api = await startTestApi();
  const people = api.clientFor(undefined, 'kubectl/test');
  const repository = createMemoryRepository('https://example.com/values.git');
  for (const name of [home, namespace]) await people.create(namespaces, { apiVersion: 'v1', kind: 'Namespace', metadata: { name } });
  const manifest = 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {host: "${domain}"}\n';
  repository.commit('first', new Map(Object.entries({ 'web/a.yaml': manifest })));
  await people.create(gitRepositories, {
    apiVersion: 'source.toolkit.fluxcd.io/v1',
    kind: 'GitRepository',
    metadata: { name: 'cluster', namespace: home },
    spec: { url: 'https://example.com/values.git', interval: '1s', ref: { branch: 'main' } },
  });
  const values = { namespace: home, name: 'values' };
  await people.create(configMaps, { apiVersion: 'v1', kind: 'ConfigMap', metadata: values, data: { domain: 'old' } });

  const engineClient = api.clientFor({ name: 'system:midship:gitops', groups: [] }, 'midship/test');
  let heard = (): void => undefined;
  const isHeard = new Promise<void>((resolve) => {
    heard = resolve;
  });
  let isFirst = true;
  const client: Client = {
    ...engineClient,
    async patch(resource, ref, patch, options) {
      if (isFirst && ref.name === 'a' && options?.dryRun !== true) {
        isFirst = false;
        await people.patch(configMaps, values, { type: 'merge', body: { data: { domain: 'new' } } }, { fieldManager: 'kubectl' });
        await isHeard;
        await during();
      }
      return engineClient.patch(resource, ref, patch, options);
    },
    watch: (resource, options) =>
      engineClient.watch(resource, {
        ...options,
        onEvents(events) {
          options.onEvents(events);
          if (events.some(({ type, object }) => type === 'MODIFIED' && object.metadata.name === 'values')) heard();
        },
      }),
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
      retryInterval: '1h',
      prune: true,
      path: './web',
      targetNamespace: namespace,
      sourceRef: { kind: 'GitRepository', name: 'cluster' },
      postBuild: { substituteFrom: [{ kind: 'ConfigMap', name: 'values' }] },
    },
  });
  return async (): Promise<string | undefined> => (await people.get(configMaps, { namespace, name: 'a' })).data?.host;
}

describe('a value that changes while the sync that read the old one is under way', () => {
  it('is in force afterwards', async () => {
    const host = await start(async () => undefined);
    await until(async () => (await host().catch(() => undefined)) === 'new', { timeoutMs: 10_000, what: 'the new value is in force' });
    expect(await host()).toBe('new');
  });

  it('is tried at once when that sync fails', async () => {
    const host = await start(async () => {
      throw invalid({ group: '', kind: 'ConfigMap' }, 'a', [{ field: 'data', message: 'is refused', type: 'FieldValueInvalid' }]);
    });
    await until(async () => (await host().catch(() => undefined)) === 'new', { timeoutMs: 10_000, what: 'the new value is in force' });
    expect(await host()).toBe('new');
  });
});
