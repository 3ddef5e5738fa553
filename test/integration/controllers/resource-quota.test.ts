import { afterAll, beforeAll, expect, it } from 'vitest';
import { customResourceDefinitions } from '../../../src/api/apiextensions/v1/custom-resource-definition.ts';
import { type Deployment, deployments } from '../../../src/api/apps/v1/deployment.ts';
import { configMaps } from '../../../src/api/core/v1/config-map.ts';
import { pods } from '../../../src/api/core/v1/pod.ts';
import { type ResourceQuota, resourceQuotas } from '../../../src/api/core/v1/resource-quota.ts';
import { secrets } from '../../../src/api/core/v1/secret.ts';
import type { Client } from '../../../src/client/client.ts';
import { createDeploymentController } from '../../../src/controllers/deployment/deployment-controller.ts';
import { createReplicaSetController } from '../../../src/controllers/replica-set/replica-set-controller.ts';
import { createResourceQuotaController } from '../../../src/controllers/resource-quota/resource-quota-controller.ts';
import type { KubeObject } from '../../../src/machinery/object.ts';
import type { Resource } from '../../../src/machinery/resource.ts';
import { isForbidden, isNotFound } from '../../../src/machinery/status-error.ts';
import { type ControlPlane, startControllers, startControlPlane } from '../../support/control-plane.ts';
import { createManualClock } from '../../support/manual-clock.ts';
import { until } from '../../support/until.ts';

const namespace = 'default';
let plane: ControlPlane;
beforeAll(async () => {
  plane = await startControlPlane({ controllers: [createResourceQuotaController, createDeploymentController, createReplicaSetController] });
});
afterAll(() => plane.stop());

const makeQuota = (name: string, hard: Record<string, string>): Promise<ResourceQuota> =>
  plane.client.create(resourceQuotas, { apiVersion: 'v1', kind: 'ResourceQuota', metadata: { name, namespace }, spec: { hard } });

const uses = (name: string, used: Record<string, string>, hard?: Record<string, string>) =>
  until(
    async () => {
      const { status } = await plane.client.get(resourceQuotas, { namespace, name });
      return JSON.stringify(status) === JSON.stringify({ hard: hard ?? status?.hard, used });
    },
    { what: `quota ${name} to show ${JSON.stringify(used)}` },
  );

const makeMap = (name: string) => plane.client.create(configMaps, { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name, namespace } });

it('counts what is there, follows the limits and lets others in when objects go', async () => {
  const { client } = plane;
  await makeMap('first');
  await makeQuota('maps', { configmaps: '2', secrets: '1' });
  await uses('maps', { configmaps: '1', secrets: '0' }, { configmaps: '2', secrets: '1' });
  await makeMap('second');
  await expect(makeMap('third')).rejects.toSatisfy(isForbidden);
  await client.delete(configMaps, { namespace, name: 'first' });
  await uses('maps', { configmaps: '1', secrets: '0' });
  await makeMap('third');
  await client.patch(
    resourceQuotas,
    { namespace, name: 'maps' },
    { type: 'merge', body: { spec: { hard: { configmaps: '5', secrets: null } } } },
  );
  await uses('maps', { configmaps: '2' }, { configmaps: '5' });
});

it('puts right what a write that failed had been charged', async () => {
  await makeQuota('again', { 'count/configmaps': '9' });
  await uses('again', { 'count/configmaps': '2' });
  await expect(makeMap('third')).rejects.toThrow('already exists');
  await uses('again', { 'count/configmaps': '2' });
});

it('lets a rollout fill exactly what there is, and go on when there is more', async () => {
  const { client } = plane;
  await makeQuota('pods', { pods: '3' });
  const deployment = {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name: 'web', namespace },
    spec: {
      replicas: 5,
      selector: { matchLabels: { app: 'web' } },
      template: { metadata: { labels: { app: 'web' } }, spec: { containers: [{ name: 'c', image: 'i' }] } },
    },
  } as Deployment;
  await client.create(deployments, deployment);
  await uses('pods', { pods: '3' });
  // A pod is counted before it is written.
  const arePods = (count: number) =>
    until(async () => (await client.list(pods, { namespace })).items.length === count, { what: `${count} pods` });
  await arePods(3);
  await client.patch(resourceQuotas, { namespace, name: 'pods' }, { type: 'merge', body: { spec: { hard: { pods: '4' } } } });
  await uses('pods', { pods: '4' });
  await arePods(4);
});

it('should create a ResourceQuota and capture the life of a custom resource, also of a kind that comes later', async () => {
  const clock = createManualClock();
  const late = await startControlPlane({ controllers: [createResourceQuotaController], clock });
  try {
    const { client } = late;
    const limit = { 'count/boxes.example.com': '1', configmaps: '9' };
    await client.create(resourceQuotas, {
      apiVersion: 'v1',
      kind: 'ResourceQuota',
      metadata: { name: 'boxes', namespace },
      spec: { hard: limit },
    });
    const used = async () => (await client.get(resourceQuotas, { namespace, name: 'boxes' })).status?.used?.['count/boxes.example.com'];
    const shows = (count: string) =>
      until(
        async () => {
          clock.advance(100);
          return (await used()) === count;
        },
        { what: `${count} used`, intervalMs: 5, timeoutMs: 15_000 },
      );
    await shows('0');
    await client.create(configMaps, { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'early', namespace } });
    await client.create(customResourceDefinitions, {
      apiVersion: 'apiextensions.k8s.io/v1',
      kind: 'CustomResourceDefinition',
      metadata: { name: 'boxes.example.com' },
      spec: {
        group: 'example.com',
        scope: 'Namespaced',
        names: { plural: 'boxes', kind: 'Box' },
        versions: [{ name: 'v1', served: true, storage: true, schema: { openAPIV3Schema: { type: 'object' } } }],
      },
    } as never);
    const boxes: Resource<KubeObject> = { group: 'example.com', version: 'v1', resource: 'boxes', kind: 'Box', namespaced: true };
    const makeBox = (name: string) => client.create(boxes, { apiVersion: 'example.com/v1', kind: 'Box', metadata: { name, namespace } });
    await until(() => makeBox('a').catch((err) => (isNotFound(err) ? false : Promise.reject(err))), { what: 'the kind Box' });
    await shows('1');
    await expect(makeBox('b')).rejects.toThrow(
      'exceeded quota: boxes, requested: count/boxes.example.com=1, used: count/boxes.example.com=1',
    );
    // The controller looks for kinds every 30 s.
    clock.advance(31_000);
    await shows('1');
    await client.delete(boxes, { namespace, name: 'a' });
    await shows('0');
    await makeBox('b');
  } finally {
    await late.stop();
  }
});

it('gives no room while its caches lack what was charged', async () => {
  const server = await startControlPlane({ controllers: [] });
  const { client } = server;
  let isLate = false;
  const held: (() => void)[] = [];
  const late: Client = {
    ...client,
    watch: (resource, options) =>
      client.watch(resource, {
        ...options,
        onEvents(events) {
          // The servers of one store: this one is behind with the objects, and not with the quotas.
          if (isLate && resource.resource === configMaps.resource) held.push(() => options.onEvents(events));
          else options.onEvents(events);
        },
      }),
  };
  const running = await startControllers(late, [createResourceQuotaController]);
  const used = async () => (await client.get(resourceQuotas, { namespace, name: 'maps' })).status?.used;
  const make = (name: string) => client.create(configMaps, { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name, namespace } });
  try {
    await client.create(resourceQuotas, {
      ...{ apiVersion: 'v1', kind: 'ResourceQuota', metadata: { name: 'maps', namespace } },
      spec: { hard: { configmaps: '2', secrets: '9' } },
    });
    await make('first');
    await until(async () => (await used())?.configmaps === '1', { what: 'the first is counted' });
    isLate = true;
    await make('second');
    // The controller writes the quota after it has seen the charge: the Secrets come later.
    await client.create(secrets, { apiVersion: 'v1', kind: 'Secret', metadata: { name: 'beside', namespace } });
    await client.delete(secrets, { namespace, name: 'beside' });
    await until(async () => (await used())?.secrets === '0', { what: 'the Secret is gone from the quota' });
    expect((await used())?.configmaps).toBe('2');
    await expect(make('third')).rejects.toSatisfy(isForbidden);
    isLate = false;
    for (const deliver of held.splice(0)) deliver();
    await client.delete(configMaps, { namespace, name: 'first' });
    await until(async () => (await used())?.configmaps === '1', { what: 'room for the third' });
  } finally {
    await running.stop();
    await server.stop();
  }
});
