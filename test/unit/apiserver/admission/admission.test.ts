import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Pod, pods } from '../../../../src/api/core/v1/pod.ts';
import { type Service, services } from '../../../../src/api/core/v1/service.ts';
import { type EndpointSlice, endpointSlices } from '../../../../src/api/discovery/v1/endpoint-slice.ts';
import { bootstrap, bootstrapAccess } from '../../../../src/apiserver/bootstrap.ts';
import { apiServerUser } from '../../../../src/apiserver/user.ts';
import type { Client } from '../../../../src/client/client.ts';
import { formatAddress, parseRange, tryAddress } from '../../../../src/machinery/addresses.ts';
import { isStatusError, type StatusError } from '../../../../src/machinery/status-error.ts';
import { openMemoryStorage } from '../../../../src/storage/memory/storage.ts';
import { startSeededApi, startTestApi, type TestApi } from '../../../support/api.ts';

let api: TestApi;
let client: Client;

async function failureOf(call: Promise<unknown>): Promise<StatusError> {
  const err = await call.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!isStatusError(err)) throw new Error('expected a StatusError', { cause: err });
  return err;
}

beforeEach(async () => {
  api = await startSeededApi(['shop']);
  client = api.clientFor();
});

afterEach(() => api.stop());

describe('addresses', () => {
  test('ranges start where their mask says', () => {
    expect(parseRange('127.64.3.9/20')).toEqual({ first: tryAddress('127.64.0.0'), size: 4096 });
    for (const text of ['127.64.0.0', '127.64.0.0/33', '127.64.0/20', 'x/8', '1.2.3.4/'])
      expect(() => parseRange(text)).toThrow('not an IPv4 range');
  });

  test('texts round trip, and only canonical ones are addresses', () => {
    expect(formatAddress(tryAddress('127.64.15.255') ?? 0)).toBe('127.64.15.255');
    for (const text of ['010.0.0.1', '256.1.1.1', '1.2.3', '1.2.3.4.5', '', 'a.b.c.d']) expect(tryAddress(text)).toBeUndefined();
  });
});

describe('pods', () => {
  const pod = (spec: Partial<Pod['spec']> = {}): Pod => ({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'a', namespace: 'shop' },
    spec: { containers: [{ name: 'c', image: 'host/x' }], ...spec },
  });

  test('get a service account, a priority and five minutes of tolerance', async () => {
    const { spec } = await client.create(pods, pod());
    expect(spec).toMatchObject({
      serviceAccountName: 'default',
      serviceAccount: 'default',
      priority: 0,
      preemptionPolicy: 'PreemptLowerPriority',
    });
    expect(spec.tolerations).toEqual([
      { key: 'node.kubernetes.io/not-ready', operator: 'Exists', effect: 'NoExecute', tolerationSeconds: 300 },
      { key: 'node.kubernetes.io/unreachable', operator: 'Exists', effect: 'NoExecute', tolerationSeconds: 300 },
    ]);
  });

  test('keep what they tolerate themselves', async () => {
    const own = { key: 'node.kubernetes.io/not-ready', operator: 'Exists', effect: 'NoExecute', tolerationSeconds: 5 };
    const first = await client.create(pods, pod({ tolerations: [own] }));
    expect(first.spec.tolerations?.map(({ key, tolerationSeconds }) => [key, tolerationSeconds])).toEqual([
      ['node.kubernetes.io/not-ready', 5],
      ['node.kubernetes.io/unreachable', 300],
    ]);
    const all = await client.create(pods, {
      ...pod({ tolerations: [{ operator: 'Exists' }] }),
      metadata: { name: 'b', namespace: 'shop' },
    });
    expect(all.spec.tolerations).toHaveLength(1);
  });
});

describe('services', () => {
  const service = (name: string, spec: Partial<Service['spec']> = {}): Service => ({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name, namespace: 'shop' },
    spec: { ports: [{ port: 80 }], ...spec },
  });

  test('get an address of the range, each its own', async () => {
    const made = await Promise.all(Array.from({ length: 200 }, (_, n) => client.create(services, service(`s${n}`))));
    const addresses = made.map(({ spec }) => spec.clusterIP ?? '');
    expect(new Set(addresses).size).toBe(200);
    for (const address of addresses) expect(address).toMatch(/^127\.64\.(1[0-5]|[0-9])\.[0-9]+$/);
    expect(addresses).not.toContain('127.64.0.0');
    expect(addresses).not.toContain('127.64.0.1');
    expect(made[0]?.spec).toMatchObject({ clusterIPs: [addresses[0]], ipFamilies: ['IPv4'], ipFamilyPolicy: 'SingleStack' });
  });

  test('keep their address when they are replaced, and give it back when deleted', async () => {
    const { spec } = await client.create(services, service('web', { clusterIP: '127.64.2.2' }));
    const replaced = await client.update(services, service('web', { ports: [{ port: 81 }] }));
    expect(replaced.spec).toMatchObject({ clusterIP: '127.64.2.2', clusterIPs: ['127.64.2.2'], ports: [{ port: 81 }] });
    expect(spec.clusterIP).toBe('127.64.2.2');
    const taken = await failureOf(client.create(services, service('other', { clusterIP: '127.64.2.2' })));
    expect(taken.message).toBe(
      'Service "other" is invalid: spec.clusterIPs: Invalid value: ["127.64.2.2"]: failed to allocate IP 127.64.2.2: provided IP is already allocated',
    );
    await client.delete(services, { namespace: 'shop', name: 'web' });
    await client.create(services, service('other', { clusterIP: '127.64.2.2' }));
  });

  test('may not ask for an address outside the range', async () => {
    const err = await failureOf(client.create(services, service('web', { clusterIP: '10.0.0.1' })));
    expect(err.message).toContain('the provided IP (10.0.0.1) is not in the valid range. The range of valid IPs is 127.64.0.0/20');
  });

  test('without an address are headless or names', async () => {
    const headless = await client.create(services, service('headless', { clusterIP: 'None' }));
    expect(headless.spec).toMatchObject({ clusterIP: 'None', clusterIPs: ['None'] });
    const external = await client.create(services, service('external', { type: 'ExternalName', externalName: 'example.com' }));
    expect(external.spec.clusterIP).toBeUndefined();
  });

  test('addresses are still taken after a restart', async () => {
    const storage = await openMemoryStorage();
    const first = await startSeededApi(['shop'], { storage });
    await first.clientFor().create(services, service('web', { clusterIP: '127.64.3.3' }));
    first.kubeApi.stop();
    const second = await startTestApi({ storage });
    expect((await failureOf(second.clientFor().create(services, service('other', { clusterIP: '127.64.3.3' })))).code).toBe(422);
    await second.stop();
  });

  test('a full range says so, and a failed create gives its address back', async () => {
    const small = await startSeededApi(['shop'], { serviceCidr: '127.64.0.0/30' });
    const only = small.clientFor();
    expect((await failureOf(only.create(services, service('Bad_Name')))).code).toBe(422);
    expect((await only.create(services, service('a'))).spec.clusterIP).toBe('127.64.0.2');
    expect(await failureOf(only.create(services, service('b')))).toMatchObject({
      code: 500,
      message: expect.stringContaining('range is full'),
    });
    await small.stop();
  });
});

describe('endpoint slices', () => {
  const slice = (address: string): EndpointSlice => ({
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: { name: `s-${address.replace(/[^a-z0-9]/g, '-')}x`, namespace: 'shop' },
    addressType: address.includes(':') ? 'IPv6' : 'IPv4',
    endpoints: [{ addresses: [address] }],
    ports: [],
  });

  test.each(['10.1.2.3', '127.64.16.5', 'fd00::5'])('may point to %s', async (address) => {
    expect((await client.create(endpointSlices, slice(address))).endpoints?.[0]?.addresses).toEqual([address]);
  });

  test.each([
    ['127.0.0.1', 'may not be in the loopback range (127.0.0.0/8, ::1/128)'],
    ['127.65.0.1', 'may not be in the loopback range (127.0.0.0/8, ::1/128)'],
    ['::1', 'may not be in the loopback range (127.0.0.0/8, ::1/128)'],
    ['::ffff:127.0.0.1', 'may not be in the loopback range (127.0.0.0/8, ::1/128)'],
    ['169.254.1.1', 'may not be in the link-local range (169.254.0.0/16, fe80::/10)'],
    ['224.0.0.5', 'may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)'],
  ])('may not point to %s', async (address, why) => {
    const err = await failureOf(client.create(endpointSlices, slice(address)));
    expect(err.code).toBe(422);
    expect(err.message).toContain(`endpoints[0].addresses[0]: Invalid value: "${address}": ${why}`);
  });

  test('may point to no loopback address in a cluster without loopback pods', async () => {
    const foreign = await startSeededApi(['shop'], { loopbackCidr: '10.0.0.0/8' });
    expect((await failureOf(foreign.clientFor().create(endpointSlices, slice('127.64.16.5')))).code).toBe(422);
    await foreign.stop();
  });
});

describe('bootstrap', () => {
  const options = { serviceCidr: '127.64.0.0/20', apiAddress: '127.0.0.1', apiPort: 6443 };

  test('makes namespaces, roles and the kubernetes Service, and changes nothing the second time', async () => {
    const server = api.clientFor(apiServerUser, 'midship-apiserver');
    await bootstrapAccess(server);
    await bootstrap({ client: server, ...options });
    const service = await client.get(services, { namespace: 'default', name: 'kubernetes' });
    expect(service.spec).toMatchObject({ clusterIP: '127.64.0.1', ports: [{ name: 'https', port: 443, targetPort: 6443 }] });
    const slice = await client.get(endpointSlices, { namespace: 'default', name: 'kubernetes' });
    expect(slice.endpoints).toMatchObject([{ addresses: ['127.0.0.1'], conditions: { ready: true } }]);
    const { revision } = api.kubeApi;
    await bootstrapAccess(server);
    await bootstrap({ client: server, ...options });
    expect(api.kubeApi.revision).toBe(revision);
  });

  test('follows the address of the server', async () => {
    const server = api.clientFor(apiServerUser, 'midship-apiserver');
    await bootstrapAccess(server);
    await bootstrap({ client: server, ...options });
    await bootstrap({ client: server, ...options, apiAddress: '10.0.0.9', apiPort: 7443 });
    const slice = await client.get(endpointSlices, { namespace: 'default', name: 'kubernetes' });
    expect(slice).toMatchObject({ endpoints: [{ addresses: ['10.0.0.9'] }], ports: [{ port: 7443 }] });
    expect((await client.get(services, { namespace: 'default', name: 'kubernetes' })).spec.ports).toMatchObject([{ targetPort: 7443 }]);
  });
});
