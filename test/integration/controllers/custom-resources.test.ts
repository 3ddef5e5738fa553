import { afterEach, expect, it } from 'vitest';
import { customResourceDefinitions } from '../../../src/api/apiextensions/v1/custom-resource-definition.ts';
import { type CustomResourceDefinition, isEstablished } from '../../../src/api/apiextensions/v1/definition.ts';
import { configMaps } from '../../../src/api/core/v1/config-map.ts';
import { namespaces } from '../../../src/api/core/v1/namespace.ts';
import { resourceQuotas } from '../../../src/api/core/v1/resource-quota.ts';
import { createGarbageCollector } from '../../../src/controllers/garbage-collector/garbage-collector.ts';
import { createNamespaceController } from '../../../src/controllers/namespace/namespace-controller.ts';
import { createResourceQuotaController } from '../../../src/controllers/resource-quota/resource-quota-controller.ts';
import type { DynamicObject } from '../../../src/machinery/object.ts';
import type { Resource } from '../../../src/machinery/resource.ts';
import { isNotFound } from '../../../src/machinery/status-error.ts';
import { type ControlPlane, type ControlPlaneOptions, startControlPlane } from '../../support/control-plane.ts';
import { until } from '../../support/until.ts';

const namespace = 'shop';

let plane: ControlPlane | undefined;
afterEach(async () => {
  await plane?.stop();
  plane = undefined;
});

const widgetsIn = (version: string): Resource<DynamicObject> => ({
  group: 'example.com',
  version,
  resource: 'widgets',
  kind: 'Widget',
  namespaced: true,
});

type Version = CustomResourceDefinition['spec']['versions'][number];

const version = (name: string, change: Partial<Version>): Version => ({
  name,
  served: true,
  storage: false,
  schema: { openAPIV3Schema: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } },
  ...change,
});

async function start(controllers: ControlPlaneOptions['controllers'], versions: readonly Version[]): Promise<ControlPlane> {
  plane = await startControlPlane({ controllers });
  const { client } = plane;
  await client.create(namespaces, { apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } });
  await client.create(customResourceDefinitions, {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: 'widgets.example.com' },
    spec: { group: 'example.com', names: { plural: 'widgets', kind: 'Widget' }, scope: 'Namespaced', versions },
  });
  await until(async () => isEstablished(await client.get(customResourceDefinitions, { name: 'widgets.example.com' })), {
    what: 'widgets',
    intervalMs: 2,
  });
  return plane;
}

const addWidget = ({ client }: ControlPlane, inVersion: string, name: string, finalizers: readonly string[] = []) =>
  client.create(widgetsIn(inVersion), {
    apiVersion: `example.com/${inVersion}`,
    kind: 'Widget',
    metadata: { name, namespace, ...(finalizers.length === 0 ? {} : { finalizers }) },
  });

const addOwned = ({ client }: ControlPlane, { apiVersion, metadata }: DynamicObject) =>
  client.create(configMaps, {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: {
      name: `of-${metadata.name}`,
      namespace,
      ownerReferences: [{ apiVersion: apiVersion ?? '', kind: 'Widget', name: metadata.name, uid: metadata.uid ?? '' }],
    },
  });

const mapGone = ({ client }: ControlPlane, name: string) =>
  until(() => client.get(configMaps, { namespace, name }).then(() => false, isNotFound), { what: `${name} to be gone`, intervalMs: 5 });

it('a custom resource owns, and what it owns goes with it; a version that is served no more takes nothing with it', async () => {
  const cluster = await start([createGarbageCollector], [version('v1beta1', { storage: true })]);
  const { client } = cluster;
  await addOwned(cluster, await addWidget(cluster, 'v1beta1', 'first'));
  await client.delete(widgetsIn('v1beta1'), { namespace, name: 'first' });
  await mapGone(cluster, 'of-first');

  await addOwned(cluster, await addWidget(cluster, 'v1beta1', 'second'));
  const definition = await client.get(customResourceDefinitions, { name: 'widgets.example.com' });
  const versions = [version('v1beta1', { storage: true, served: false }), version('v1', {})];
  await client.update(customResourceDefinitions, { ...definition, spec: { ...definition.spec, versions } });
  await until(() => client.list(widgetsIn('v1')).then(({ items }) => items.length === 1, isNotFound), { what: 'v1', intervalMs: 2 });
  // Dependents of an owner that only the new version has, named in the new and in the old version.
  await addOwned(cluster, await addWidget(cluster, 'v1', 'third'));
  const fourth = await addWidget(cluster, 'v1', 'fourth');
  await addOwned(cluster, { ...fourth, apiVersion: 'example.com/v1beta1' });
  await client.create(configMaps, { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'other', namespace } });

  await client.delete(widgetsIn('v1'), { namespace, name: 'third' });
  await mapGone(cluster, 'of-third');
  const left = (await client.list(configMaps, { namespace })).items.map(({ metadata }) => metadata.name);
  expect(left.filter((name) => name.startsWith('of-')).sort()).toEqual(['of-fourth', 'of-second']);
  await client.delete(widgetsIn('v1'), { namespace, name: 'second' });
  await client.delete(widgetsIn('v1'), { namespace, name: 'fourth' });
  await mapGone(cluster, 'of-second');
  await mapGone(cluster, 'of-fourth');

  await addOwned(cluster, await addWidget(cluster, 'v1', 'fifth'));
  await client.delete(customResourceDefinitions, { name: 'widgets.example.com' });
  await mapGone(cluster, 'of-fifth');
  expect(await client.get(configMaps, { namespace, name: 'other' })).toBeDefined();
});

it('a custom resource of two versions is counted once: by quotas, and by a namespace that is deleted', async () => {
  const cluster = await start(
    [createNamespaceController, createResourceQuotaController],
    [version('v1', { storage: true }), version('v1beta1', {})],
  );
  const { client } = cluster;
  await addWidget(cluster, 'v1beta1', 'one', ['shop.example/keep']);
  await client.create(resourceQuotas, {
    apiVersion: 'v1',
    kind: 'ResourceQuota',
    metadata: { name: 'few', namespace },
    spec: { hard: { 'count/widgets.example.com': '3' } },
  });
  const used = await until(
    async () => {
      const { status } = await client.get(resourceQuotas, { namespace, name: 'few' });
      return status?.used !== undefined && status.used['count/widgets.example.com'] !== '0' && status.used;
    },
    { what: 'a count', intervalMs: 5 },
  );
  expect(used).toEqual({ 'count/widgets.example.com': '1' });

  await client.delete(namespaces, { name: namespace });
  const remaining = await until(
    async () => {
      const { status } = await client.get(namespaces, { name: namespace });
      const found = status?.conditions?.find(({ type }) => type === 'NamespaceContentRemaining')?.message;
      return found?.includes('widgets') === true && found;
    },
    { what: 'what is left', intervalMs: 5 },
  );
  expect(remaining).toBe('Some resources are remaining: widgets.example.com has 1 resource instances');
  await client.patch(widgetsIn('v1'), { namespace, name: 'one' }, { type: 'merge', body: { metadata: { finalizers: null } } });
  await until(() => client.get(namespaces, { name: namespace }).then(() => false, isNotFound), {
    what: 'the namespace to be gone',
    timeoutMs: 10_000,
    intervalMs: 5,
  });
});
