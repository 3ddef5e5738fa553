import { afterEach, beforeEach, expect, it } from 'vitest';
import { namespaces } from '../../../src/api/core/v1/namespace.ts';
import { type Service, services } from '../../../src/api/core/v1/service.ts';
import { ipAddresses } from '../../../src/api/networking/v1/ip-address.ts';
import { serviceCidrs } from '../../../src/api/networking/v1/service-cidr.ts';
import { createDefaultServiceCidr } from '../../../src/apiserver/default-service-cidr.ts';
import { createServiceAddresses } from '../../../src/apiserver/service-addresses.ts';
import { systemClock } from '../../../src/base/clock.ts';
import type { Component } from '../../../src/base/component.ts';
import { createLog } from '../../../src/base/log.ts';
import type { Client } from '../../../src/client/client.ts';
import { createInformerSet } from '../../../src/client/informer-set.ts';
import { startTestApi, type TestApi, testServiceCidr } from '../../support/api.ts';
import { until } from '../../support/until.ts';

const log = createLog({ level: 'silent' });
let api: TestApi;
let client: Client;
let abort: AbortController;
let addresses: Component;
let range: Component;

beforeEach(async () => {
  api = await startTestApi();
  client = api.clientFor();
  await client.create(namespaces, { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'shop' } });
  abort = new AbortController();
  const informers = createInformerSet({ client, clock: systemClock, log });
  addresses = createServiceAddresses({ client, informers, clock: systemClock, log });
  range = createDefaultServiceCidr({ client, informers, range: { serviceCidr: testServiceCidr }, clock: systemClock, log });
  informers.start({ signal: abort.signal });
});
afterEach(async () => {
  await range.stop();
  await addresses.stop();
  abort.abort(new Error('test ends'));
  await api.stop();
});

const make = (name: string, spec: Partial<Service['spec']> = {}): Promise<Service> =>
  client.create(services, {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name, namespace: 'shop' },
    spec: { ports: [{ port: 80 }], ...spec } as Service['spec'],
  });

/** Names of the objects, with the names of their parents. */
const listed = async (): Promise<readonly string[]> =>
  (await client.list(ipAddresses)).items.map(({ metadata, spec }) => `${metadata.name} ${spec?.parentRef?.name}`).sort();

const settled = (wanted: readonly string[]): Promise<unknown> =>
  until(async () => JSON.stringify(await listed()) === JSON.stringify(wanted), { what: `the objects ${wanted.join(', ')}` });

it('each address of a Service has an object as long as the Service has it', async () => {
  const early = await make('early');
  await addresses.start({ signal: abort.signal });
  await make('headless', { clusterIP: 'None' });
  const late = await make('late');
  const both = [`${early.spec.clusterIP} early`, `${late.spec.clusterIP} late`].sort();
  await settled(both);
  expect((await client.get(ipAddresses, { name: early.spec.clusterIP ?? '' })).metadata.labels).toEqual({
    'ipaddress.kubernetes.io/ip-family': 'IPv4',
    'ipaddress.kubernetes.io/managed-by': 'ipallocator.k8s.io',
  });
  expect((await client.get(ipAddresses, { name: early.spec.clusterIP ?? '' })).spec).toEqual({
    parentRef: { resource: 'services', namespace: 'shop', name: 'early' },
  });
  // One that is deleted comes back; that of a Service that goes does not.
  await client.delete(ipAddresses, { name: early.spec.clusterIP ?? '' });
  await settled(both);
  await client.delete(services, { namespace: 'shop', name: 'late' });
  await settled([`${early.spec.clusterIP} early`]);
  // The address belongs to another Service now.
  await client.delete(services, { namespace: 'shop', name: 'early' });
  await make('next', { clusterIP: early.spec.clusterIP ?? '' });
  await settled([`${early.spec.clusterIP} next`]);
});

it('objects that an earlier server left go, and those of users stay', async () => {
  const managed = { 'ipaddress.kubernetes.io/managed-by': 'ipallocator.k8s.io' };
  const spec = { parentRef: { resource: 'services', namespace: 'shop', name: 'gone' } };
  for (const [name, labels] of [
    ['127.64.0.20', managed],
    ['127.64.0.21', {}],
  ] as const) {
    await client.create(ipAddresses, { apiVersion: 'networking.k8s.io/v1', kind: 'IPAddress', metadata: { name, labels }, spec });
  }
  await addresses.start({ signal: abort.signal });
  await settled(['127.64.0.21 gone']);
});

it('the default range comes back when it is deleted, and other ranges do not', async () => {
  await range.start({ signal: abort.signal });
  const names = async () => (await client.list(serviceCidrs)).items.map(({ metadata }) => metadata.name).join();
  await until(async () => (await names()) === 'kubernetes', { what: 'the default range' });
  const { metadata } = await client.get(serviceCidrs, { name: 'kubernetes' });
  await client.create(serviceCidrs, {
    ...{ apiVersion: 'networking.k8s.io/v1', kind: 'ServiceCIDR', metadata: { name: 'more' } },
    spec: { cidrs: ['10.1.0.0/24'] },
  });
  await client.delete(serviceCidrs, { name: 'more' });
  await client.delete(serviceCidrs, { name: 'kubernetes' });
  const again = await until(async () => (await client.list(serviceCidrs)).items.find(({ metadata: { uid } }) => uid !== metadata.uid), {
    what: 'the default range again',
  });
  expect(again).toMatchObject({ metadata: { name: 'kubernetes' }, spec: { cidrs: [testServiceCidr] } });
  await until(async () => (await client.get(serviceCidrs, { name: 'kubernetes' })).status?.conditions?.[0]?.status === 'True', {
    what: 'it is ready',
  });
  expect(await names()).toBe('kubernetes');
});
