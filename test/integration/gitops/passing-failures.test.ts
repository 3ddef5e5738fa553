import { describe, expect, it } from 'vitest';
import { configMaps } from '../../../src/api/core/v1/config-map.ts';
import { events } from '../../../src/api/core/v1/event.ts';
import { kustomizations } from '../../../src/api/kustomize/v1/kustomization.ts';
import type { Client } from '../../../src/client/client.ts';
import { tryGet } from '../../../src/client/try-get.ts';
import { conditionOf } from '../../../src/machinery/conditions.ts';
import { forbidden } from '../../../src/machinery/status-error.ts';
import { home, namespace } from '../../support/engine.ts';
import { startMemoryProject } from '../../support/memory-project.ts';
import { until } from '../../support/until.ts';

const configMap = (name: string): string =>
  `apiVersion: v1\nkind: ConfigMap\nmetadata: {name: ${name}, namespace: ${namespace}}\ndata: {a: "1"}\n`;
const child = (name: string): string =>
  JSON.stringify({
    apiVersion: 'kustomize.toolkit.fluxcd.io/v1',
    kind: 'Kustomization',
    metadata: { name, namespace: home },
    spec: { interval: '1h', prune: true, path: `./${name}`, sourceRef: { kind: 'GitRepository', name: 'cluster' } },
  });
const definition = JSON.stringify({
  apiVersion: 'apiextensions.k8s.io/v1',
  kind: 'CustomResourceDefinition',
  metadata: { name: 'widgets.example.com' },
  spec: {
    group: 'example.com',
    scope: 'Namespaced',
    names: { plural: 'widgets', kind: 'Widget' },
    versions: [{ name: 'v1', served: true, storage: true, schema: { openAPIV3Schema: { type: 'object' } } }],
  },
});
const widget = `apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: one, namespace: ${namespace}}\n`;

const warnings = async (people: Client): Promise<readonly string[]> =>
  (await people.list(events, { namespace: home })).items.filter(({ type }) => type === 'Warning').map(({ message = '' }) => message);

describe('a failure that another app ends', () => {
  it('is not reported of an app that leaves Git together with its directory', async () => {
    const list = { 'list/keep.yaml': configMap('keep') };
    const { people, commit, applied } = await startMemoryProject({
      files: { ...list, 'list/db.yaml': child('db'), 'db/a.yaml': configMap('a') },
      apps: { list: { targetNamespace: undefined } as never },
    });
    await applied('list');
    await applied('db');
    commit(list);
    await until(async () => (await tryGet(people, kustomizations, { namespace: home, name: 'db' })) === undefined, { what: 'db is gone' });
    await applied('list');
    expect(await warnings(people)).toEqual([]);
  });

  it('is not reported of an app whose kinds come with another app of the same start', async () => {
    const { people, applied } = await startMemoryProject({
      files: { 'widgets/one.yaml': widget, 'definitions/widgets.yaml': definition },
      apps: { widgets: {}, definitions: {} },
    });
    await applied('definitions');
    await applied('widgets');
    expect(await warnings(people)).toEqual([]);
  });

  it('is reported as soon as no other app is left that could end it', async () => {
    const { people, applied } = await startMemoryProject({
      files: { 'widgets/one.yaml': widget, 'web/a.yaml': configMap('a') },
      apps: { widgets: {}, web: {} },
    });
    await applied('web');
    await until(async () => (await warnings(people)).some((message) => message.includes('the cluster has no kind Widget')), {
      what: 'a warning',
    });
  });
});

describe('objects that somebody changed', () => {
  it('are put back but for the one that the server refuses, which the app names until it is back, too', async () => {
    let refuses = false;
    const { people, applied } = await startMemoryProject({
      files: { 'web/a.yaml': configMap('a'), 'web/b.yaml': configMap('b'), 'web/c.yaml': configMap('c') },
      wrap: (client) => ({
        ...client,
        async patch(resource, ref, patch, options) {
          if (refuses && ref.name === 'a') throw forbidden(configMaps, 'a', 'not now');
          return client.patch(resource, ref, patch, options);
        },
      }),
    });
    await applied('web');
    const valueIn = async (name: string) => (await people.get(configMaps, { namespace, name })).data?.a;
    const drifted = async (): Promise<string> =>
      conditionOf((await people.get(kustomizations, { namespace: home, name: 'web' })).status?.conditions, 'Drifted')?.message ?? '';
    refuses = true;
    for (const name of ['a', 'b', 'c'])
      await people.patch(configMaps, { namespace, name }, { type: 'merge', body: { data: { a: '2' } } }, { fieldManager: 'kubectl-edit' });
    await until(async () => (await valueIn('b')) === '1' && (await valueIn('c')) === '1', { what: 'b and c are back' });
    await until(async () => (await drifted()).includes('not healed: configmaps "a" is forbidden: not now'), { what: drifted });
    expect(await drifted()).toMatch(/^ConfigMap web\/a: data\.a "?1"? → "?2"? by kubectl-edit; not healed: [^\n]*$/);
    refuses = false;
    await until(async () => (await valueIn('a')) === '1' && (await drifted()) === '', { what: drifted });
  });
});
