import { afterEach, beforeEach, expect, it } from 'vitest';
import { services } from '../../../src/api/core/v1/service.ts';
import { ipAddresses, serviceAddressLabels } from '../../../src/api/networking/v1/ip-address.ts';
import { type ServiceCIDR, serviceCidrs } from '../../../src/api/networking/v1/service-cidr.ts';
import { tryGet } from '../../../src/client/try-get.ts';
import { createServiceCidrController } from '../../../src/controllers/service-cidr/service-cidr-controller.ts';
import { type ControlPlane, startControlPlane } from '../../support/control-plane.ts';
import { createManualClock, type ManualClock } from '../../support/manual-clock.ts';
import { until } from '../../support/until.ts';

const finalizer = 'networking.k8s.io/service-cidr-finalizer';
let clock: ManualClock;
let plane: ControlPlane;

beforeEach(async () => {
  clock = createManualClock(Date.parse('2026-01-01T00:00:00Z'));
  plane = await startControlPlane({ controllers: [createServiceCidrController], clock });
});
afterEach(() => plane.stop());

const addRange = (name: string, ...cidrs: string[]): Promise<ServiceCIDR> =>
  plane.client.create(serviceCidrs, { apiVersion: 'networking.k8s.io/v1', kind: 'ServiceCIDR', metadata: { name }, spec: { cidrs } });

const addAddress = (name: string, labels: Readonly<Record<string, string>> = serviceAddressLabels) =>
  plane.client.create(ipAddresses, {
    ...{ apiVersion: 'networking.k8s.io/v1', kind: 'IPAddress', metadata: { name, labels } },
    spec: { parentRef: { resource: 'services', namespace: 'shop', name: 'web' } },
  });

const find = (name: string): Promise<ServiceCIDR | undefined> => tryGet(plane.client, serviceCidrs, { name });

const readiness = (name: string, status: string): Promise<object> =>
  until(async () => (await find(name))?.status?.conditions?.find((one) => one.type === 'Ready' && one.status === status), {
    what: `Ready of ${name} is ${status}`,
  });

const gone = (name: string): Promise<unknown> =>
  until(
    async () => {
      clock.advance(1_000);
      return (await find(name)) === undefined;
    },
    { what: `${name} is gone` },
  );

/** Long enough for all that the controller does by itself. */
async function stays(name: string): Promise<void> {
  await readiness(name, 'False');
  clock.advance(60_000);
  await addRange('marker', '10.99.0.0/24');
  await readiness('marker', 'True');
  expect(await find(name)).toBeDefined();
}

it('makes a range ready, with a finalizer that keeps it', async () => {
  await addRange('more', '10.1.0.0/24');
  expect(await readiness('more', 'True')).toMatchObject({ message: 'Kubernetes Service CIDR is ready' });
  const { metadata } = (await find('more')) as ServiceCIDR;
  expect(metadata.finalizers).toEqual([finalizer]);
  await plane.restart();
  await addRange('marker', '10.99.0.0/24');
  await readiness('marker', 'True');
  expect((await find('more'))?.metadata.resourceVersion).toBe(metadata.resourceVersion);
});

it('lets a range without addresses go, after API servers had time to see that it goes', async () => {
  await addRange('more', '10.1.0.0/24');
  await readiness('more', 'True');
  await plane.client.delete(serviceCidrs, { name: 'more' });
  clock.advance(9_000);
  await addRange('marker', '10.99.0.0/24');
  await readiness('marker', 'True');
  expect(await find('more')).toBeDefined();
  await gone('more');
});

it('keeps a range while an address of it is in use, and says so', async () => {
  await addRange('more', '10.1.0.0/24');
  await readiness('more', 'True');
  await addAddress('10.1.0.7');
  await addAddress('10.1.0.8', {});
  await plane.client.delete(serviceCidrs, { name: 'more' });
  expect(await readiness('more', 'False')).toMatchObject({
    reason: 'Terminating',
    message: 'There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR',
  });
  await stays('more');
  await plane.client.delete(ipAddresses, { name: '10.1.0.7' });
  await gone('more');
});

it('lets a range go whose addresses lie in another range', async () => {
  await addRange('part', '10.1.0.0/24');
  await readiness('part', 'True');
  await addAddress('10.1.0.7');
  await plane.client.delete(serviceCidrs, { name: 'part' });
  await stays('part');
  await addRange('whole', '10.1.0.0/16');
  await gone('part');
});

it('gives Services addresses of a range once it is ready, and of none that is being deleted', async () => {
  const ask = (name: string) =>
    plane.client.create(services, {
      ...{ apiVersion: 'v1', kind: 'Service', metadata: { name, namespace: 'default' } },
      spec: { ports: [{ port: 80 }], clusterIP: '10.1.0.7' },
    });
  await expect(ask('early')).rejects.toThrow('is not in the valid range');
  await addRange('more', '10.1.0.0/24');
  await readiness('more', 'True');
  expect((await ask('web')).spec.clusterIP).toBe('10.1.0.7');
  await plane.client.delete(services, { namespace: 'default', name: 'web' });
  await plane.client.delete(serviceCidrs, { name: 'more' });
  await expect(ask('late')).rejects.toThrow('is not in the valid range');
});
