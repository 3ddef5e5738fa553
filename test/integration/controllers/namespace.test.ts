import { afterEach, describe, expect, it } from 'vitest';
import { configMaps } from '../../../src/api/core/v1/config-map.ts';
import { type Namespace, namespaces } from '../../../src/api/core/v1/namespace.ts';
import { pods } from '../../../src/api/core/v1/pod.ts';
import { serviceAccounts } from '../../../src/api/core/v1/service-account.ts';
import { createNamespaceController } from '../../../src/controllers/namespace/namespace-controller.ts';
import { createRootCaController } from '../../../src/controllers/root-ca.ts';
import { createServiceAccountController } from '../../../src/controllers/service-account.ts';
import { isNotFound } from '../../../src/machinery/status-error.ts';
import { podOf } from '../../support/cluster-objects.ts';
import { type ControlPlane, startControlPlane } from '../../support/control-plane.ts';
import { until } from '../../support/until.ts';

const name = 'shop';
const caCertificate = '-----BEGIN CERTIFICATE-----\ntest\n-----END CERTIFICATE-----\n';

let plane: ControlPlane | undefined;
afterEach(async () => {
  await plane?.stop();
  plane = undefined;
});

async function start(): Promise<ControlPlane> {
  plane = await startControlPlane({
    controllers: [
      createNamespaceController,
      createServiceAccountController,
      (dependencies) => createRootCaController({ ...dependencies, caCertificate }),
    ],
  });
  await plane.client.create(namespaces, { apiVersion: 'v1', kind: 'Namespace', metadata: { name } });
  await present(() => plane?.client.get(serviceAccounts, { namespace: name, name: 'default' }));
  await present(() => plane?.client.get(configMaps, { namespace: name, name: 'kube-root-ca.crt' }));
  return plane;
}

/** Waits until a get succeeds. */
const present = <T>(get: () => Promise<T> | undefined) =>
  until(
    async () => {
      try {
        return await get();
      } catch (err) {
        if (!isNotFound(err)) throw err;
        return undefined;
      }
    },
    { what: 'the object', timeoutMs: 10_000, intervalMs: 2 },
  );

const gone = (get: () => Promise<unknown>) =>
  until(
    async () => {
      try {
        await get();
        return false;
      } catch (err) {
        if (!isNotFound(err)) throw err;
        return true;
      }
    },
    { what: 'the object to be gone', timeoutMs: 10_000, intervalMs: 5 },
  );

const conditionsOf = (namespace: Namespace) =>
  Object.fromEntries((namespace.status?.conditions ?? []).map(({ type, status, reason, message }) => [type, { status, reason, message }]));

describe('a namespace', () => {
  it('has a default account and the CA certificate at once, and gets them back', async () => {
    const { client } = await start();
    const account = await client.get(serviceAccounts, { namespace: name, name: 'default' });
    expect((await client.get(configMaps, { namespace: name, name: 'kube-root-ca.crt' })).data).toEqual({ 'ca.crt': caCertificate });
    await client.delete(serviceAccounts, { namespace: name, name: 'default' });
    await client.patch(configMaps, { namespace: name, name: 'kube-root-ca.crt' }, { type: 'merge', body: { data: { 'ca.crt': 'other' } } });
    await until(
      async () => {
        const map = await client.get(configMaps, { namespace: name, name: 'kube-root-ca.crt' });
        return map.data?.['ca.crt'] === caCertificate;
      },
      { what: 'the certificate', intervalMs: 5 },
    );
    const again = await present(() => client.get(serviceAccounts, { namespace: name, name: 'default' }));
    expect(again.metadata.uid).not.toBe(account.metadata.uid);
  });

  it('is emptied and goes', async () => {
    const { client } = await start();
    const { uid: _, ...metadata } = podOf('web', {}, { namespace: name }).metadata;
    await client.create(pods, { ...podOf('web'), metadata });
    await client.create(configMaps, { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'settings', namespace: name } });
    await client.delete(namespaces, { name });
    await gone(() => client.get(namespaces, { name }));
    expect((await client.list(configMaps, { namespace: name })).items).toEqual([]);
    expect((await client.list(pods, { namespace: name })).items).toEqual([]);
  });

  it('says what it waits for: pods first, then the rest with its finalizers', async () => {
    const { client } = await start();
    const { uid: _, ...metadata } = podOf('web', {}, { namespace: name }).metadata;
    await client.create(pods, { ...podOf('web', { nodeName: 'n1' }), metadata });
    await client.create(configMaps, {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: 'settings', namespace: name, finalizers: ['shop.example/keep'] },
    });
    await client.delete(namespaces, { name });
    const waitsFor = (message: string) =>
      until(
        async () => {
          const conditions = conditionsOf(await client.get(namespaces, { name }));
          return conditions.NamespaceContentRemaining?.message === message && conditions;
        },
        { what: message, timeoutMs: 10_000, intervalMs: 5 },
      );
    await waitsFor('Some resources are remaining: pods. has 1 resource instances');
    expect((await client.get(configMaps, { namespace: name, name: 'settings' })).metadata.deletionTimestamp).toBeUndefined();
    await client.delete(pods, { namespace: name, name: 'web' }, { gracePeriodSeconds: 0 });
    expect(await waitsFor('Some resources are remaining: configmaps. has 1 resource instances')).toMatchObject({
      NamespaceDeletionDiscoveryFailure: {
        status: 'False',
        reason: 'ResourcesDiscovered',
        message: 'All resources successfully discovered',
      },
      NamespaceDeletionContentFailure: { status: 'False', reason: 'ContentDeleted' },
      NamespaceFinalizersRemaining: {
        status: 'True',
        reason: 'SomeFinalizersRemain',
        message: 'Some content in the namespace has finalizers remaining: shop.example/keep in 1 resource instances',
      },
    });
    await client.patch(configMaps, { namespace: name, name: 'settings' }, { type: 'merge', body: { metadata: { finalizers: null } } });
    await gone(() => client.get(namespaces, { name }));
  });
});
