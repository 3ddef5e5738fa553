import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Deployment, deployments } from '../../../src/api/apps/v1/deployment.ts';
import { configMaps } from '../../../src/api/core/v1/config-map.ts';
import { pods } from '../../../src/api/core/v1/pod.ts';
import { type ResourceQuota, resourceQuotas } from '../../../src/api/core/v1/resource-quota.ts';
import { createDeploymentController } from '../../../src/controllers/deployment/deployment-controller.ts';
import { createReplicaSetController } from '../../../src/controllers/replica-set/replica-set-controller.ts';
import { createResourceQuotaController } from '../../../src/controllers/resource-quota/resource-quota-controller.ts';
import { isForbidden } from '../../../src/machinery/status-error.ts';
import { type ControlPlane, startControlPlane } from '../../support/control-plane.ts';
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
