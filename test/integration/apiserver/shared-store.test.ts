import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { customResourceDefinitions } from '../../../src/api/apiextensions/v1/custom-resource-definition.ts';
import { type ConfigMap, configMaps } from '../../../src/api/core/v1/config-map.ts';
import { namespaces } from '../../../src/api/core/v1/namespace.ts';
import { createLog } from '../../../src/base/log.ts';
import type { Client } from '../../../src/client/client.ts';
import { openEtcdStorage } from '../../../src/storage/etcd/storage.ts';
import type { Storage } from '../../../src/storage/storage.ts';
import { admin, startTestApi, type TestApi } from '../../support/api.ts';
import { type Etcd, hasEtcd, startEtcd } from '../../support/etcd.ts';
import { until } from '../../support/until.ts';

/** Milliseconds by which the memory of each server is behind the store. */
const lags = [0, 5, 25];

/** A store whose watch comes late, as that of a busy server or of one behind a slow link. */
function late(storage: Storage, lagMs: number): Storage {
  if (lagMs === 0) return storage;
  return {
    ...storage,
    isShared: storage.isShared,
    get currentRevision() {
      return storage.currentRevision;
    },
    get compactedRevision() {
      return storage.compactedRevision;
    },
    get failure() {
      return storage.failure;
    },
    watch: (options) =>
      storage.watch({
        ...options,
        onEvents: (events) => void setTimeout(() => options.onEvents(events), lagMs),
        onProgress: (revision) => void setTimeout(() => options.onProgress?.(revision), lagMs),
      }),
  };
}

describe.skipIf(!hasEtcd)('API servers over one store (needs etcd)', () => {
  let etcd: Etcd;
  const servers: TestApi[] = [];
  let clients: Client[] = [];
  const clientOf = (at: number): Client => clients[at % clients.length] as Client;

  beforeAll(async () => {
    etcd = await startEtcd();
    for (const [at, lagMs] of lags.entries()) {
      const storage = await openEtcdStorage({
        endpoints: etcd.endpoints,
        tls: undefined,
        login: undefined,
        prefix: '/shared',
        serverId: `s${at}`,
        log: createLog({ level: 'silent' }),
      });
      servers.push(await startTestApi({ storage: late(storage, lagMs) }));
    }
    clients = servers.map((server) => server.clientFor());
    await clientOf(0).create(namespaces, { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'team' } });
  });
  afterAll(async () => {
    for (const server of servers) await server.stop();
    await etcd?.stop();
  });

  const configMap = (name: string, data: Record<string, string> = {}): ConfigMap => ({
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name, namespace: 'team' },
    data,
  });
  const refOf = (name: string) => ({ namespace: 'team', name });

  it('show on each what any of them has acknowledged', async () => {
    for (let round = 0; round < 12; round += 1) {
      const name = `seen-${round}`;
      await clientOf(round).create(configMaps, configMap(name));
      const reader = clientOf(round + 1);
      expect((await reader.get(configMaps, refOf(name))).metadata.name).toBe(name);
      const { items } = await clientOf(round + 2).list(configMaps, { namespace: 'team' });
      expect(items.map(({ metadata }) => metadata.name)).toContain(name);
      await reader.delete(configMaps, refOf(name));
      await expect(clientOf(round + 2).get(configMaps, refOf(name))).rejects.toMatchObject({ reason: 'NotFound' });
    }
  });

  it('refuse nothing only because their memory is behind', async () => {
    for (let round = 0; round < 12; round += 1) {
      const [first, second, third] = [clientOf(round), clientOf(round + 1), clientOf(round + 2)];
      await first.create(configMaps, configMap('back'));
      await second.delete(configMaps, refOf('back'));
      const made = await third.create(configMaps, configMap('back'));
      const changed = await first.update(configMaps, { ...made, data: { round: String(round) } });
      await second.update(configMaps, { ...changed, data: { round: 'last' } });
      await expect(third.create(configMaps, configMap('back'))).rejects.toMatchObject({ reason: 'AlreadyExists' });
      await expect(first.update(configMaps, made)).rejects.toMatchObject({ reason: 'Conflict' });
      await third.delete(configMaps, refOf('back'));
      await expect(second.delete(configMaps, refOf('back'))).rejects.toMatchObject({ reason: 'NotFound' });
    }
  });

  it('let writers of one object on all of them take turns', async () => {
    await clientOf(0).create(configMaps, configMap('contended'));
    const writes = Array.from({ length: 30 }, (_, n) =>
      clientOf(n).patch(configMaps, refOf('contended'), { type: 'merge', body: { data: { [`w${n}`]: 'x' } } }),
    );
    await Promise.all(writes);
    const { data = {} } = await clientOf(1).get(configMaps, refOf('contended'));
    expect(Object.keys(data)).toHaveLength(30);
  });

  it('go on at versions and continue tokens that another one gave out', async () => {
    for (const name of ['p1', 'p2', 'p3'])
      await clientOf(0).create(configMaps, { ...configMap(name), metadata: { ...refOf(name), labels: { paged: 'yes' } } });
    const options = { namespace: 'team', labelSelector: 'paged=yes', limit: 2 };
    const request = { kind: configMaps, user: admin, userAgent: 'test' };
    const [first, , third] = servers as [TestApi, TestApi, TestApi];
    const page = await first.kubeApi.list(request, options);
    const rest = await third.kubeApi.list(request, { ...options, continue: page.continue });
    expect([...page.items, ...rest.items].map(({ metadata }) => metadata.name)).toEqual(['p1', 'p2', 'p3']);
    expect(rest.resourceVersion).toBe(page.resourceVersion);

    const last = await clientOf(0).create(configMaps, configMap('before'));
    const seen: string[] = [];
    const end = new AbortController();
    await third.kubeApi.watch(request, {
      namespace: 'team',
      resourceVersion: last.metadata.resourceVersion,
      signal: end.signal,
      onEvents: (records) => seen.push(...records.map(({ type, object }) => `${type} ${object.metadata.name}`)),
      onEnd: () => undefined,
    });
    await clientOf(1).create(configMaps, configMap('after'));
    await until(() => seen.length > 0, { what: 'an event' });
    end.abort();
    expect(seen).toEqual(['ADDED after']);
  });

  it('serve the kind of a definition when another one says that it is served', async () => {
    const name = 'widgets.example.com';
    await clientOf(0).create(customResourceDefinitions, {
      apiVersion: 'apiextensions.k8s.io/v1',
      kind: 'CustomResourceDefinition',
      metadata: { name },
      spec: {
        group: 'example.com',
        scope: 'Namespaced',
        names: { plural: 'widgets', singular: 'widget', kind: 'Widget', listKind: 'WidgetList' },
        versions: [{ name: 'v1', served: true, storage: true, schema: { openAPIV3Schema: { type: 'object' } } }],
      },
    });
    await until(
      async () => {
        const { status } = await clientOf(0).get(customResourceDefinitions, { name });
        return status?.conditions?.some(({ type, status: is }) => type === 'Established' && is === 'True') === true;
      },
      { what: 'the definition is established' },
    );
    const { kubeApi } = servers[2] as TestApi;
    await kubeApi.newest?.();
    expect(kubeApi.kinds.find('example.com', 'v1', 'widgets')).toBeDefined();
  });
});
