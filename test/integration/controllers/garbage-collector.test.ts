import { afterEach, describe, expect, it } from 'vitest';
import { replicaSets } from '../../../src/api/apps/v1/replica-set.ts';
import { type ConfigMap, configMaps } from '../../../src/api/core/v1/config-map.ts';
import { pods } from '../../../src/api/core/v1/pod.ts';
import { createGarbageCollector } from '../../../src/controllers/garbage-collector/garbage-collector.ts';
import type { OwnerReference } from '../../../src/machinery/object.ts';
import { isNotFound } from '../../../src/machinery/status-error.ts';
import { podOf } from '../../support/cluster-objects.ts';
import { type ControlPlane, startControlPlane } from '../../support/control-plane.ts';
import { until } from '../../support/until.ts';

const namespace = 'default';

let plane: ControlPlane | undefined;
afterEach(async () => {
  await plane?.stop();
  plane = undefined;
});

async function start(): Promise<ControlPlane> {
  plane = await startControlPlane({ controllers: [createGarbageCollector] });
  return plane;
}

const addMap = ({ client }: ControlPlane, name: string, owners: readonly OwnerReference[] = [], finalizers: readonly string[] = []) =>
  client.create(configMaps, {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: {
      name,
      namespace,
      ...(owners.length === 0 ? {} : { ownerReferences: owners }),
      ...(finalizers.length === 0 ? {} : { finalizers }),
    },
  });

const refTo = ({ metadata }: ConfigMap, more: Partial<OwnerReference> = {}): OwnerReference => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  name: metadata.name,
  uid: metadata.uid ?? '',
  ...more,
});

async function find({ client }: ControlPlane, name: string): Promise<ConfigMap | undefined> {
  try {
    return await client.get(configMaps, { namespace, name });
  } catch (err) {
    if (!isNotFound(err)) throw err;
    return undefined;
  }
}

const gone = (cluster: ControlPlane, ...names: string[]) =>
  until(async () => (await Promise.all(names.map((name) => find(cluster, name)))).every((found) => found === undefined), {
    what: `${names.join(', ')} to be gone`,
    timeoutMs: 10_000,
    intervalMs: 5,
  });

describe('garbage collector', () => {
  it('deletes what has lost its owner, and what that owned', async () => {
    const cluster = await start();
    const owner = await addMap(cluster, 'owner');
    const child = await addMap(cluster, 'child', [refTo(owner)]);
    await addMap(cluster, 'grandchild', [refTo(child)]);
    await addMap(cluster, 'stranger');
    await cluster.client.delete(configMaps, { namespace, name: 'owner' });
    await gone(cluster, 'child', 'grandchild');
    expect(await find(cluster, 'stranger')).toBeDefined();
  });

  it('deletes what is created for an owner that never was, or is another by now', async () => {
    const cluster = await start();
    const first = await addMap(cluster, 'owner');
    await cluster.client.delete(configMaps, { namespace, name: 'owner' });
    await addMap(cluster, 'owner');
    await addMap(cluster, 'late', [refTo(first)]);
    await addMap(cluster, 'unreal', [{ apiVersion: 'apps/v1', kind: 'ReplicaSet', name: 'none', uid: 'no-such-uid' }]);
    await gone(cluster, 'late', 'unreal');
    expect(await find(cluster, 'owner')).toBeDefined();
  });

  it('takes away references to lost owners while another one is left', async () => {
    const cluster = await start();
    const [a, b] = [await addMap(cluster, 'a'), await addMap(cluster, 'b')];
    await addMap(cluster, 'child', [refTo(a), refTo(b)]);
    await cluster.client.delete(configMaps, { namespace, name: 'a' });
    const child = await until(
      async () => {
        const found = await find(cluster, 'child');
        return found?.metadata.ownerReferences?.length === 1 && found;
      },
      { what: 'one owner left', intervalMs: 5 },
    );
    expect(child.metadata.ownerReferences).toEqual([refTo(b)]);
  });

  it('leaves alone what it cannot judge', async () => {
    const cluster = await start();
    const owner = await addMap(cluster, 'owner');
    await addMap(cluster, 'odd', [{ apiVersion: 'example.com/v1', kind: 'Widget', name: 'w', uid: 'w-uid' }]);
    await addMap(cluster, 'child', [refTo(owner)]);
    await cluster.client.delete(configMaps, { namespace, name: 'owner' });
    await gone(cluster, 'child');
    expect(await find(cluster, 'odd')).toBeDefined();
  });

  it('deletes in the foreground: blocking dependents first', async () => {
    const cluster = await start();
    const owner = await addMap(cluster, 'owner');
    await addMap(cluster, 'blocking', [refTo(owner, { blockOwnerDeletion: true })], ['shop.example/keep']);
    await addMap(cluster, 'other', [refTo(owner)]);
    await cluster.client.delete(configMaps, { namespace, name: 'owner' }, { propagationPolicy: 'Foreground' });
    await until(async () => (await find(cluster, 'blocking'))?.metadata.deletionTimestamp !== undefined, {
      what: 'the dependent to go',
      intervalMs: 5,
    });
    await gone(cluster, 'other');
    expect((await find(cluster, 'owner'))?.metadata.finalizers).toEqual(['foregroundDeletion']);
    await cluster.client.patch(configMaps, { namespace, name: 'blocking' }, { type: 'merge', body: { metadata: { finalizers: null } } });
    await gone(cluster, 'blocking', 'owner');
  });

  it.each([
    ['itself', ['a']],
    ['each other', ['a', 'b']],
    ['each other over a third', ['a', 'b', 'c']],
  ])('deletes in the foreground what owns %s', async (_, names) => {
    const cluster = await start();
    const made = await Promise.all(names.map((name) => addMap(cluster, name)));
    for (const [index, name] of names.entries()) {
      const owner = made[(index + 1) % made.length] as ConfigMap;
      const body = { metadata: { ownerReferences: [refTo(owner, { blockOwnerDeletion: true })] } };
      await cluster.client.patch(configMaps, { namespace, name }, { type: 'merge', body });
    }
    await cluster.client.delete(configMaps, { namespace, name: 'a' }, { propagationPolicy: 'Foreground' });
    await gone(cluster, ...names);
  });

  it('orphans dependents when asked to', async () => {
    const cluster = await start();
    const owner = await addMap(cluster, 'owner');
    await addMap(cluster, 'child', [refTo(owner)]);
    await cluster.client.delete(configMaps, { namespace, name: 'owner' }, { propagationPolicy: 'Orphan' });
    await gone(cluster, 'owner');
    const child = await until(
      async () => {
        const found = await find(cluster, 'child');
        return found !== undefined && found.metadata.ownerReferences === undefined && found;
      },
      { what: 'the orphan', intervalMs: 5 },
    );
    expect(child.metadata.deletionTimestamp).toBeUndefined();
  });

  it('follows owners over resources', async () => {
    const cluster = await start();
    const set = await cluster.client.create(replicaSets, {
      apiVersion: 'apps/v1',
      kind: 'ReplicaSet',
      metadata: { name: 'web', namespace },
      spec: {
        replicas: 0,
        selector: { matchLabels: { app: 'web' } },
        template: { metadata: { labels: { app: 'web' } }, spec: { containers: [{ name: 'web', image: 'host/web' }] } },
      },
    });
    const { uid: _, ...metadata } = podOf('web-1', {}, { namespace }).metadata;
    const ownerReferences = [{ apiVersion: 'apps/v1', kind: 'ReplicaSet', name: 'web', uid: set.metadata.uid ?? '', controller: true }];
    await cluster.client.create(pods, { ...podOf('web-1'), metadata: { ...metadata, ownerReferences } });
    await cluster.client.delete(replicaSets, { namespace, name: 'web' });
    await until(async () => (await cluster.client.list(pods, { namespace })).items.length === 0, { what: 'no pods', intervalMs: 5 });
  });
});
