import { describe, expect, it } from 'vitest';
import { customResourceDefinitions } from '../../../src/api/apiextensions/v1/custom-resource-definition.ts';
import { configMaps } from '../../../src/api/core/v1/config-map.ts';
import { events } from '../../../src/api/core/v1/event.ts';
import { namespaces } from '../../../src/api/core/v1/namespace.ts';
import { newestAttempt } from '../../../src/api/kustomize/v1/attempt.ts';
import { kustomizations } from '../../../src/api/kustomize/v1/kustomization.ts';
import type { Client } from '../../../src/client/client.ts';
import { tryGet } from '../../../src/client/try-get.ts';
import { conditionOf } from '../../../src/machinery/conditions.ts';
import { forbidden, invalid } from '../../../src/machinery/status-error.ts';
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

  it('is reported at once when all other apps wait for this one', async () => {
    const { people } = await startMemoryProject({
      files: { 'widgets/one.yaml': widget, 'later/a.yaml': configMap('a'), 'last/b.yaml': configMap('b') },
      apps: { widgets: {}, later: { dependsOn: [{ name: 'widgets' }] }, last: { dependsOn: [{ name: 'later' }] } },
    });
    const message = await until(
      async () => {
        const app = await people.get(kustomizations, { namespace: home, name: 'widgets' });
        const { message: said = '' } = conditionOf(app.status?.conditions, 'Ready') ?? {};
        return said.includes('no kind Widget') && said;
      },
      { what: 'widgets says what it lacks' },
    );
    expect(message).not.toContain('waits for app');
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

it('an app with a kind of Flux that is not supported says so at once, and what to do instead', async () => {
  const { people } = await startMemoryProject({
    files: { 'web/a.yaml': 'apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nmetadata: {name: a}\n', 'late/b.yaml': 'kind: [' },
    apps: { web: {}, late: {} },
  });
  const ready = await until(
    async () => {
      const app = await people.get(kustomizations, { namespace: home, name: 'web' });
      const found = conditionOf(app.status?.conditions, 'Ready');
      return found?.reason === 'NotSupported' && found;
    },
    { what: 'web is not supported' },
  );
  expect(ready).toMatchObject({
    status: 'False',
    message: expect.stringMatching(/web\/a\.yaml:1 not supported: HelmRelease in helm\.toolkit\.fluxcd\.io\/v2\. .*helmCharts/),
  });
});

describe('an app that is refused for its content', () => {
  const spec = { interval: '1h' };
  /** Tries of the newest attempt, and minutes from now to the next one. */
  const attemptIn = async (people: Client) => {
    const newest = newestAttempt(await people.get(kustomizations, { namespace: home, name: 'web' }));
    return { tries: newest?.tries, nextInMinutes: (Date.parse(newest?.nextRetryAt ?? '') - Date.now()) / 60_000 };
  };
  const waits = (people: Client, tries: number): Promise<unknown> =>
    until(async () => (await attemptIn(people)).tries === tries && (await attemptIn(people)).nextInMinutes > 55, {
      what: async () => `${tries} tries, not ${JSON.stringify(await attemptIn(people))}`,
    });

  it('waits for the next commit, with the interval as the bound: a file that does not parse', async () => {
    const { people, commit, applied } = await startMemoryProject({ files: { 'web/a.yaml': 'kind: [' }, apps: { web: spec } });
    await waits(people, 1);
    commit({ 'web/a.yaml': configMap('a') });
    await applied('web');
  });

  it('waits for the next commit: a kind that a group of Kubernetes does not have', async () => {
    const typo = configMap('a').replace('kind: ConfigMap', 'kind: ConfigMop');
    const { people } = await startMemoryProject({ files: { 'web/a.yaml': typo }, apps: { web: spec } });
    await waits(people, 1);
  });

  it('is tried once more soon, then waits for the next commit: an unknown field', async () => {
    const typo = configMap('a').replace('\ndata:', '\ndta:');
    const { people, commit, applied } = await startMemoryProject({ files: { 'web/a.yaml': typo }, apps: { web: spec } });
    await waits(people, 2);
    commit({ 'web/a.yaml': configMap('a') });
    await applied('web');
  });

  it('is tried again when the definition of the object changes', async () => {
    const typed = (properties: object): string =>
      definition.replace('"type":"object"', `"type":"object","properties":${JSON.stringify(properties)}`);
    const { people, applied } = await startMemoryProject({
      files: { 'web/one.yaml': `${widget}size: 1\n` },
      apps: { web: spec },
      prepare: (client) => client.create(customResourceDefinitions, JSON.parse(typed({ color: { type: 'string' } }))),
    });
    await waits(people, 2);
    await people.patch(
      customResourceDefinitions,
      { name: 'widgets.example.com' },
      { type: 'merge', body: { spec: JSON.parse(typed({ size: { type: 'integer' } })).spec } },
    );
    await applied('web');
  });

  it('is tried again when the missing Namespace comes', async () => {
    const { people, applied } = await startMemoryProject({
      files: { 'web/a.yaml': configMap('a').replace(`namespace: ${namespace}`, 'namespace: late') },
      apps: { web: { ...spec, targetNamespace: undefined } as never },
    });
    await waits(people, 2);
    await people.create(namespaces, { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'late' } });
    await applied('web');
  });

  it('is tried again and again when a policy refused it, since the policy may change', async () => {
    const { people } = await startMemoryProject({
      files: { 'web/a.yaml': configMap('a') },
      apps: { web: spec },
      wrap: (client) => ({
        ...client,
        async patch(resource, ref, patch, options) {
          if (ref.name === 'a')
            throw invalid(resource, 'a', [{ field: '', type: 'FieldValueInvalid', message: 'policy "p" denied request' }]);
          return client.patch(resource, ref, patch, options);
        },
      }),
    });
    await until(async () => (await attemptIn(people)).tries === 2, { what: 'two tries' });
    expect((await attemptIn(people)).nextInMinutes).toBeLessThan(1);
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
