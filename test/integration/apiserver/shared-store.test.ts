import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { customResourceDefinitions } from '../../../src/api/apiextensions/v1/custom-resource-definition.ts';
import { type ConfigMap, configMaps } from '../../../src/api/core/v1/config-map.ts';
import { namespaces } from '../../../src/api/core/v1/namespace.ts';
import { resourceQuotas } from '../../../src/api/core/v1/resource-quota.ts';
import { type Service, type ServiceSpec, services } from '../../../src/api/core/v1/service.ts';
import { clusterRoles } from '../../../src/api/rbac/v1/cluster-role.ts';
import { clusterRoleBindings } from '../../../src/api/rbac/v1/cluster-role-binding.ts';
import { systemClock } from '../../../src/base/clock.ts';
import { createLog } from '../../../src/base/log.ts';
import { shareMemory } from '../../../src/base/memory-budget.ts';
import type { Client } from '../../../src/client/client.ts';
import { createInformerSet } from '../../../src/client/informer-set.ts';
import type { KindDefinition } from '../../../src/machinery/kind.ts';
import { isNotFound } from '../../../src/machinery/status-error.ts';
import { createEtcdClient, type EtcdEndpoint } from '../../../src/storage/etcd/client.ts';
import { openEtcdStorage } from '../../../src/storage/etcd/storage.ts';
import type { Storage, WriteResult } from '../../../src/storage/storage.ts';
import { admin, startTestApi, type TestApi } from '../../support/api.ts';
import { startBreakingProxy } from '../../support/breaking-proxy.ts';
import { type Etcd, hasEtcd, startEtcd } from '../../support/etcd.ts';
import { until } from '../../support/until.ts';

/** Milliseconds by which the memory of each server is behind the store. */
const lags = [0, 5, 25];

/** A store whose watch comes late, as that of a busy server. As ever, a write is acknowledged when the watch has delivered it. */
function late(storage: Storage, lagMs: number): Storage {
  if (lagMs === 0) return storage;
  let seen = storage.currentRevision;
  const deliver = (revision: number, action: () => void): void =>
    void setTimeout(() => {
      action();
      seen = Math.max(seen, revision);
    }, lagMs);
  const acknowledged = async (write: Promise<WriteResult>): Promise<WriteResult> => {
    const result = await write;
    if (result.ok) await until(() => seen >= result.revision, { what: 'the write is in memory', intervalMs: 1 });
    return result;
  };
  return {
    ...storage,
    get currentRevision() {
      return storage.currentRevision;
    },
    get compactedRevision() {
      return storage.compactedRevision;
    },
    get failure() {
      return storage.failure;
    },
    create: (key, value) => acknowledged(storage.create(key, value)),
    update: (key, value, expected) => acknowledged(storage.update(key, value, expected)),
    delete: (key, expected) => acknowledged(storage.delete(key, expected)),
    watch: (options) =>
      storage.watch({
        ...options,
        onEvents: (events) => deliver(events.at(-1)?.revision ?? 0, () => options.onEvents(events)),
        onProgress: (revision) => deliver(revision, () => options.onProgress?.(revision)),
      }),
  };
}

describe.skipIf(!hasEtcd)('API servers over one store (needs etcd)', () => {
  let etcd: Etcd;
  const servers: TestApi[] = [];
  let clients: Client[] = [];
  const clientOf = (at: number): Client => clients[at % clients.length] as Client;
  const openFor = (serverId: string, endpoints: readonly EtcdEndpoint[]): Promise<Storage> =>
    openEtcdStorage({ endpoints, tls: undefined, login: undefined, prefix: '/shared', serverId, log: createLog({ level: 'silent' }) });

  beforeAll(async () => {
    etcd = await startEtcd();
    for (const [at, lagMs] of lags.entries()) {
      const storage = await openFor(`s${at}`, etcd.endpoints);
      // Every server draws the same numbers, so that all of them want the same addresses and ports.
      servers.push(await startTestApi({ storage: late(storage, lagMs), random: () => 0.5 }));
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

    // One without a memory of the past reads it from the store, until that is compacted there.
    const forgetful = await startTestApi({
      storage: await openFor('forgetful', etcd.endpoints),
      memory: { ...shareMemory(), windowBytes: 0 },
    });
    const changed = await clientOf(1).patch(configMaps, refOf('p3'), { type: 'merge', body: { data: { is: 'new' } } });
    await clientOf(1).delete(configMaps, refOf('p2'));
    await until(() => forgetful.kubeApi.revision > Number(changed.metadata.resourceVersion), { what: 'the deletion is seen' });
    const old = await forgetful.kubeApi.list(request, { ...options, continue: page.continue });
    expect(old).toEqual(rest);
    const exact = { ...options, limit: 0, resourceVersion: page.resourceVersion, resourceVersionMatch: 'Exact' } as const;
    expect((await forgetful.kubeApi.list(request, exact)).items).toHaveLength(3);
    await first.storage.compact(first.storage.currentRevision);
    const late = forgetful.kubeApi.list(request, { ...options, continue: page.continue });
    await expect(late).rejects.toMatchObject({ code: 410 });
    await forgetful.stop();

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

  const service = (name: string, spec: Partial<ServiceSpec> = {}): Service => ({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name, namespace: 'team' },
    spec: { ports: [{ port: 80 }], ...spec },
  });

  it('give no address and no node port to two Services', async () => {
    const made = await Promise.all(
      Array.from({ length: 24 }, (_, n) => clientOf(n).create(services, service(`s${n}`, { type: 'NodePort' }))),
    );
    expect(new Set(made.map(({ spec }) => spec.clusterIP)).size).toBe(24);
    expect(new Set(made.map(({ spec }) => spec.ports?.[0]?.nodePort)).size).toBe(24);
  });

  it('give an address and a node port that are named to one Service, and to the next when that is gone', async () => {
    const named = { type: 'NodePort', clusterIP: '127.64.9.9', ports: [{ port: 80, nodePort: 31_999 }] } as const;
    const outcomes = await Promise.allSettled([0, 1, 2].map((at) => clientOf(at).create(services, service(`named-${at}`, named))));
    const winner = outcomes.findIndex(({ status }) => status === 'fulfilled');
    for (const [at, outcome] of outcomes.entries()) {
      if (at !== winner) expect(outcome).toMatchObject({ reason: { code: 422, message: expect.stringContaining('already allocated') } });
    }
    await clientOf(winner + 1).delete(services, refOf(`named-${winner}`));
    const next = await clientOf(winner + 2).create(services, service('named-next', named));
    expect(next.spec).toMatchObject({ clusterIP: '127.64.9.9', ports: [{ nodePort: 31_999 }] });
    // A Service that lets go of its address keeps nothing of it.
    const { clusterIP: _, clusterIPs: __, ...rest } = next.spec;
    await clientOf(0).update(services, {
      ...next,
      spec: { ...rest, type: 'ExternalName', externalName: 'example.org', ports: [{ port: 80 }] },
    });
    expect((await clientOf(1).create(services, service('named-last', named))).spec.clusterIP).toBe('127.64.9.9');
  });

  it('admit as many objects as a quota allows, and no more', async () => {
    await clientOf(0).create(namespaces, { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'limited' } });
    await clientOf(0).create(resourceQuotas, {
      apiVersion: 'v1',
      kind: 'ResourceQuota',
      metadata: { name: 'few', namespace: 'limited' },
      spec: { hard: { 'count/configmaps': '10' } },
    });
    // A server keeps to a new quota once it has seen it, as upstream; a read waits for that.
    for (const client of clients) await client.get(resourceQuotas, { namespace: 'limited', name: 'few' });
    const outcomes = await Promise.allSettled(
      Array.from({ length: 30 }, (_, n) =>
        clientOf(n).create(configMaps, { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: `c${n}`, namespace: 'limited' } }),
      ),
    );
    expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(10);
    for (const outcome of outcomes) {
      if (outcome.status === 'rejected')
        expect(outcome.reason).toMatchObject({ code: 403, message: expect.stringContaining('exceeded quota: few') });
    }
    const { items } = await clientOf(2).list(configMaps, { namespace: 'limited' });
    expect(items).toHaveLength(10);
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
    const kind = kubeApi.kinds.find('example.com', 'v1', 'widgets') as KindDefinition;
    expect(kind).toBeDefined();

    // The instances go when one of them keeps house.
    const widget = { apiVersion: 'example.com/v1', kind: 'Widget', metadata: { name: 'one', namespace: 'team' } };
    await clientOf(2).create(kind, widget);
    await clientOf(0).delete(customResourceDefinitions, { name });
    const isGone = () =>
      clientOf(1)
        .get(customResourceDefinitions, { name })
        .then(() => false, isNotFound);
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(await isGone()).toBe(false);
    await kubeApi.housekeeping.start({ signal: new AbortController().signal });
    await until(isGone, { what: 'the definition is gone' });
    expect((await servers[0]?.storage.range({ prefix: 'example.com/widgets/' }))?.entries).toEqual([]);
    await kubeApi.housekeeping.stop();
  });

  it('read the store again when etcd has compacted what one of them has not seen', async () => {
    const proxy = await startBreakingProxy(etcd.endpoints[0] as EtcdEndpoint);
    const log = createLog({ level: 'silent' });
    const failures: Error[] = [];
    const cutOff = await startTestApi({ storage: await openFor('cut-off', [proxy]), onFailure: (err) => failures.push(err) });
    const client = cutOff.clientFor();
    for (const name of ['kept', 'changed', 'gone', 'again']) await clientOf(0).create(configMaps, configMap(name));
    const caches = createInformerSet({ client, clock: systemClock, log });
    const informer = caches.get(configMaps, { namespace: 'team' });
    const end = new AbortController();
    caches.start({ signal: end.signal });
    await informer.whenSynced;
    const { resourceVersion = '' } = (await client.get(configMaps, refOf('again'))).metadata;
    const ends: unknown[] = [];
    const watch = (signal: AbortSignal) =>
      cutOff.kubeApi.watch(
        { kind: configMaps, user: admin, userAgent: 'test' },
        { namespace: 'team', resourceVersion, signal, onEvents: () => undefined, onEnd: (err) => ends.push(err) },
      );
    await watch(end.signal);

    proxy.block(true);
    await clientOf(0).patch(configMaps, refOf('changed'), { type: 'merge', body: { data: { is: 'new' } } });
    for (const name of ['gone', 'again']) await clientOf(0).delete(configMaps, refOf(name));
    for (const name of ['again', 'made']) await clientOf(0).create(configMaps, configMap(name));
    await clientOf(0).create(clusterRoleBindings, {
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'ClusterRoleBinding',
      metadata: { name: 'reads' },
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'reads' },
      subjects: [{ apiGroup: 'rbac.authorization.k8s.io', kind: 'User', name: 'eve' }],
    });
    await clientOf(0).create(clusterRoles, {
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'ClusterRole',
      metadata: { name: 'reads' },
      rules: [{ apiGroups: [''], resources: ['configmaps'], verbs: ['get', 'list'] }],
    });
    const { storage } = servers[0] as TestApi;
    await storage.compact(storage.currentRevision);
    proxy.block(false);

    const versions = async (from: Client): Promise<readonly string[]> =>
      (await from.list(configMaps, { namespace: 'team' })).items.map(({ metadata }) => `${metadata.name} ${metadata.resourceVersion}`);
    const expected = await versions(clientOf(0));
    expect(await until(() => versions(client).catch(() => undefined), { what: 'the server has read the store again' })).toEqual(expected);
    expect(ends).toMatchObject([{ code: 410 }]);
    await expect(watch(end.signal)).rejects.toMatchObject({ code: 410 });
    const cached = (): readonly string[] =>
      [...informer.list()].map(({ metadata }) => `${metadata.name} ${metadata.resourceVersion}`).toSorted();
    await until(() => cached().join() === expected.toSorted().join(), { what: 'the informer has the state of the store' });
    // Parts of the server were given what they missed.
    const eve = cutOff.clientFor({ name: 'eve', groups: ['system:authenticated'] });
    expect(await versions(eve)).toEqual(expected);
    await client.delete(configMaps, refOf('made'));
    await expect(clientOf(1).get(configMaps, refOf('made'))).rejects.toMatchObject({ reason: 'NotFound' });
    await until(() => [...informer.list()].every(({ metadata }) => metadata.name !== 'made'), { what: 'the informer goes on' });
    expect(failures).toEqual([]);
    end.abort();
    await cutOff.stop();
    proxy.stop();
  });

  it('give each change once after a start beside writers, whatever the own watch has seen by then', async () => {
    const storage = await openFor('beside', etcd.endpoints);
    const before = await clientOf(0).create(configMaps, configMap('beside'));
    // Another server writes between the read of all objects and the read of the past, and the own watch is ahead of the objects.
    const beside = await startTestApi({
      storage: {
        ...storage,
        get currentRevision() {
          return storage.currentRevision;
        },
        get compactedRevision() {
          return storage.compactedRevision;
        },
        async range(options) {
          const result = await storage.range(options);
          if (options.prefix !== '') return result;
          const { metadata } = await clientOf(0).patch(configMaps, refOf('beside'), { type: 'merge', body: { data: { is: 'new' } } });
          await until(() => storage.currentRevision >= Number(metadata.resourceVersion), { what: 'the own watch has the write' });
          return result;
        },
      },
    });
    await clientOf(0).delete(configMaps, refOf('beside'));
    const { storage: first } = servers[0] as TestApi;
    await until(() => beside.kubeApi.revision >= first.currentRevision, { what: 'the deletion is in memory' });
    const seen: string[] = [];
    const end = new AbortController();
    await beside.kubeApi.watch(
      { kind: configMaps, user: admin, userAgent: 'test' },
      {
        namespace: 'team',
        resourceVersion: before.metadata.resourceVersion,
        signal: end.signal,
        onEvents: (records) => seen.push(...records.map(({ type, object }) => `${type} ${object.metadata.name}`)),
        onEnd: () => undefined,
      },
    );
    await until(() => seen.includes('DELETED beside'), { what: 'the deletion' });
    end.abort();
    expect(seen).toEqual(['MODIFIED beside', 'DELETED beside']);
    await beside.stop();
  });

  it('start although somebody else compacts the store meanwhile', async () => {
    const stranger = createEtcdClient({ endpoints: etcd.endpoints, tls: undefined, login: undefined, clock: systemClock });
    await clientOf(0).create(configMaps, configMap('compacted'));
    const storage = await openFor('late', etcd.endpoints);
    const { revision } = await stranger.range({ key: 'none' });
    await stranger.compact(revision, false);
    stranger.close();
    const late = await startTestApi({ storage });
    expect((await late.clientFor().get(configMaps, refOf('compacted'))).metadata.name).toBe('compacted');
    await late.stop();
  });
});
