import {
  AppsV1Api,
  CoreV1Api,
  KubeConfig,
  KubernetesObjectApi,
  makeInformer,
  PatchStrategy,
  setHeaderOptions,
  type V1ConfigMap,
} from '@kubernetes/client-node';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { configMaps } from '../../../src/api/core/v1/config-map.ts';
import { namespaces } from '../../../src/api/core/v1/namespace.ts';
import { type ApiServer, createApiServer } from '../../../src/apiserver/server.ts';
import { createMetrics } from '../../../src/base/metrics.ts';
import { startTestApi, type TestApi } from '../../support/api.ts';
import { serveTestApi, type TestApiServer } from '../../support/api-server.ts';
import { until } from '../../support/until.ts';

/** The JavaScript client as it is published. */

let api: TestApi;
let cluster: TestApiServer;
let config: KubeConfig;
beforeAll(async () => {
  api = await startTestApi();
  cluster = await serveTestApi(api);
  await api.clientFor().create(namespaces, { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'shop' } });
  config = new KubeConfig();
  config.loadFromFile(cluster.kubeconfig);
});
afterAll(() => cluster.stop());

const namespace = 'shop';
const make = (target: TestApi, name: string, value: string) =>
  target.clientFor().create(configMaps, { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name, namespace }, data: { value } });

describe('client-node', () => {
  it('creates, reads, patches, replaces and deletes', async () => {
    const core = config.makeApiClient(CoreV1Api);
    const created = await core.createNamespacedConfigMap({ namespace, body: { metadata: { name: 'crud' }, data: { a: '1' } } });
    expect(created.metadata?.uid).toMatch(/^[0-9a-f-]{36}$/);
    const options = setHeaderOptions('Content-Type', PatchStrategy.MergePatch);
    await core.patchNamespacedConfigMap({ namespace, name: 'crud', body: { data: { b: '2' } } }, options);
    // The library's default.
    await core.patchNamespacedConfigMap({ namespace, name: 'crud', body: [{ op: 'remove', path: '/data/a' }] });
    const read = await core.readNamespacedConfigMap({ namespace, name: 'crud' });
    expect(read.data).toEqual({ b: '2' });
    await core.replaceNamespacedConfigMap({ namespace, name: 'crud', body: { ...read, data: { c: '3' } } });
    await expect(core.replaceNamespacedConfigMap({ namespace, name: 'crud', body: read })).rejects.toMatchObject({ code: 409 });
    expect((await core.listNamespacedConfigMap({ namespace, labelSelector: 'none=here' })).items).toEqual([]);
    await core.deleteNamespacedConfigMap({ namespace, name: 'crud' });
    await expect(core.readNamespacedConfigMap({ namespace, name: 'crud' })).rejects.toMatchObject({ code: 404 });
    expect((await config.makeApiClient(AppsV1Api).getAPIResources()).groupVersion).toBe('apps/v1');
    const objects = KubernetesObjectApi.makeApiClient(config);
    const applied = await objects.patch(
      { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'applied', namespace }, data: { a: '1' } } as V1ConfigMap,
      undefined,
      undefined,
      'tests',
      true,
      PatchStrategy.ServerSideApply,
    );
    expect(applied.metadata?.managedFields?.[0]).toMatchObject({ manager: 'tests', operation: 'Apply' });
    await objects.delete({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'applied', namespace } });
  });

  it('keeps an informer in step, also when the server comes back and has forgotten what the informer saw last', async () => {
    const core = config.makeApiClient(CoreV1Api);
    let lists = 0;
    const informer = makeInformer<V1ConfigMap>(config, `/api/v1/namespaces/${namespace}/configmaps`, () => {
      lists += 1;
      return core.listNamespacedConfigMap({ namespace });
    });
    const seen: string[] = [];
    for (const verb of ['add', 'update', 'delete'] as const)
      informer.on(verb, ({ metadata, data }) => seen.push(`${verb} ${metadata?.name} ${data?.value}`));
    let stopped = false;
    let restarting: NodeJS.Timeout | undefined;
    informer.on('error', () => {
      // As its manual says.
      if (!stopped) restarting = setTimeout(() => void informer.start().catch(() => undefined), 50);
    });
    const state = () =>
      informer
        .list()
        .map(({ metadata, data }) => `${metadata?.name}=${data?.value}`)
        .sort()
        .join(' ');
    const shows = (wanted: string) => until(() => state() === wanted, { what: () => `the informer shows ${wanted}; it shows ${state()}` });

    await make(api, 'kept', '1');
    await make(api, 'gone', '1');
    await informer.start();
    await shows('gone=1 kept=1');
    await make(api, 'live', '1');
    await shows('gone=1 kept=1 live=1');
    expect(seen).toEqual(['add gone 1', 'add kept 1', 'add live 1']);
    expect(lists).toBe(1);

    // While it is away things change, and who comes back knows only how they are then.
    const { port } = new URL(cluster.server.url);
    await cluster.server.stop();
    api.kubeApi.stop();
    const meanwhile = await startTestApi({ storage: api.storage });
    const client = meanwhile.clientFor();
    await client.patch(configMaps, { namespace, name: 'kept' }, { type: 'merge', body: { data: { value: '2' } } });
    await client.delete(configMaps, { namespace, name: 'gone' });
    await make(meanwhile, 'new', '1');
    meanwhile.kubeApi.stop();
    // The log would tell all of it to a watch that goes on.
    await api.storage.compact(api.storage.currentRevision);
    const second = await startTestApi({ storage: api.storage });
    const server: ApiServer = createApiServer({
      ...cluster.serverOptions,
      kubeApi: second.kubeApi,
      flowControl: second.kubeApi.flowControl,
      metrics: createMetrics(),
      port: Number(port),
    });
    await server.start({ signal: new AbortController().signal });
    try {
      await shows('kept=2 live=1 new=1');
      // It asked for the whole list again because its version had expired.
      expect(lists).toBe(2);
      expect(seen.slice(3).sort()).toEqual(['add new 1', 'delete gone 1', 'update kept 2']);
      await make(second, 'later', '1');
      await shows('kept=2 later=1 live=1 new=1');
    } finally {
      stopped = true;
      clearTimeout(restarting);
      await informer.stop();
      await server.stop();
      second.kubeApi.stop();
    }
  });
});
