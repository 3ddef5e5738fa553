import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Service, type ServicePort, services } from '../../../../src/api/core/v1/service.ts';
import type { Client } from '../../../../src/client/client.ts';
import { isStatusError, type StatusError } from '../../../../src/machinery/status-error.ts';
import { startSeededApi, type TestApi } from '../../../support/api.ts';

let api: TestApi;
let client: Client;
beforeEach(async () => {
  api = await startSeededApi(['shop']);
  client = api.clientFor();
});
afterEach(() => api.stop());

const service = (name: string, spec: Record<string, unknown> = {}): Service => ({
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { name, namespace: 'shop' },
  spec: { type: 'NodePort', ports: [{ port: 80 }], ...spec },
});
const create = (name: string, spec?: Record<string, unknown>): Promise<Service> => client.create(services, service(name, spec));
const nodePortsOf = ({ spec }: Service): readonly (number | undefined)[] => (spec.ports ?? []).map(({ nodePort }) => nodePort);

async function failureOf(promise: Promise<unknown>): Promise<StatusError> {
  const err = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!isStatusError(err)) throw new Error(`no StatusError: ${String(err)}`);
  return err;
}

describe('node ports', () => {
  test('are of the range, each its own, also when many are asked for at once', async () => {
    const made = await Promise.all(Array.from({ length: 300 }, (_, n) => create(`s${n}`)));
    const ports = made.flatMap(nodePortsOf) as number[];
    expect(new Set(ports).size).toBe(300);
    // The first 86 are left to those who name one.
    for (const port of ports) expect(port >= 30_086 && port <= 32_767).toBe(true);
    expect(made[0]?.spec).toMatchObject({ clusterIP: expect.stringMatching(/^127\.64\./), externalTrafficPolicy: 'Cluster' });
  });

  test('may be named, and then nobody else has them', async () => {
    expect(nodePortsOf(await create('web', { ports: [{ port: 80, nodePort: 30_080 }] }))).toEqual([30_080]);
    const taken = await failureOf(create('other', { ports: [{ port: 80, nodePort: 30_080 }] }));
    expect(taken).toMatchObject({
      code: 422,
      message: 'Service "other" is invalid: spec.ports[0].nodePort: Invalid value: 30080: provided port is already allocated',
    });
    await client.delete(services, { namespace: 'shop', name: 'web' });
    await create('other', { ports: [{ port: 80, nodePort: 30_080 }] });
  });

  test('are refused outside the range, and what the write had reserved is free again', async () => {
    const ports = [
      { name: 'a', port: 80, nodePort: 30_081 },
      { name: 'b', port: 81, nodePort: 29_999 },
    ];
    expect((await failureOf(create('web', { ports }))).message).toBe(
      'Service "web" is invalid: spec.ports[1].nodePort: Invalid value: 29999: provided port is not in the valid range. The range of valid ports is 30000-32767',
    );
    await create('other', { ports: [{ port: 80, nodePort: 30_081 }] });
  });

  test('are shared by the protocols of one port, and named once', async () => {
    const [tcp, udp] = nodePortsOf(
      await create('dns', {
        ports: [
          { name: 'tcp', port: 53 },
          { name: 'udp', port: 53, protocol: 'UDP' },
        ],
      }),
    );
    expect(tcp).toBe(udp);
    const twice = [
      { name: 'a', port: 80, nodePort: 30_082 },
      { name: 'b', port: 81, nodePort: 30_082 },
    ];
    expect((await failureOf(create('twice', { ports: twice }))).code).toBe(422);
  });

  test('stay with their port by its name when the client does not mention them', async () => {
    const [a, b] = nodePortsOf(
      await create('web', {
        ports: [
          { name: 'a', port: 80 },
          { name: 'b', port: 81 },
        ],
      }),
    );
    const replaced = await client.update(
      services,
      service('web', {
        ports: [
          { name: 'b', port: 82 },
          { name: 'c', port: 83 },
          { name: 'a', port: 80 },
        ],
      }),
    );
    const [keptB, ofC, keptA] = nodePortsOf(replaced);
    expect([keptA, keptB]).toEqual([a, b]);
    expect([a, b]).not.toContain(ofC);
  });

  test('come and go with the type', async () => {
    await create('web', { type: 'ClusterIP' });
    const patch = (spec: object): Promise<Service> =>
      client.patch(services, { namespace: 'shop', name: 'web' }, { type: 'merge', body: { spec } });
    const [port] = nodePortsOf(await patch({ type: 'NodePort' }));
    expect(port).toBeGreaterThanOrEqual(30_000);
    const back = await patch({ type: 'ClusterIP' });
    expect(nodePortsOf(back)).toEqual([undefined]);
    expect(back.spec).not.toHaveProperty('externalTrafficPolicy');
    // Free again.
    await create('other', { ports: [{ port: 80, nodePort: port }] });
    const external = { type: 'ExternalName', externalName: 'a.example' } as const;
    expect(await patch(external)).not.toHaveProperty('spec.clusterIP');
    const { spec } = await patch({ type: 'ClusterIP', externalName: null });
    expect(spec?.clusterIP).toMatch(/^127\.64\./);
    await patch(external);
    expect(nodePortsOf(await patch({ type: 'NodePort', externalName: null }))).toEqual([expect.any(Number)]);
  });

  test('stay free after a dry run', async () => {
    const dry = await client.create(services, service('web', { ports: [{ port: 80, nodePort: 80 }] }), { dryRun: true });
    expect(nodePortsOf(dry)).toEqual([80]);
    expect(nodePortsOf(await client.create(services, service('web'), { dryRun: true }))).toEqual([32_769]);
  });

  test('that run out say so', async () => {
    const all = Array.from({ length: 2_768 }, (_, n): ServicePort => ({ name: `p${n}`, port: n + 1 }));
    await create('all', { ports: all.slice(1) });
    await create('last');
    expect(await failureOf(create('none'))).toMatchObject({
      code: 500,
      message: 'Internal error occurred: failed to allocate a nodePort: range is full',
    });
  });
});

describe('a load balancer', () => {
  test('has node ports unless it does without, and nobody claims to serve it', async () => {
    const made = await create('web', { type: 'LoadBalancer' });
    expect(made).toMatchObject({ spec: { allocateLoadBalancerNodePorts: true }, status: { loadBalancer: {} } });
    expect(nodePortsOf(made)[0]).toBeGreaterThanOrEqual(30_000);
    const without = await create('direct', { type: 'LoadBalancer', allocateLoadBalancerNodePorts: false });
    expect(nodePortsOf(without)).toEqual([undefined]);
  });

  test('has a port that tells which nodes have pods, which does not change', async () => {
    const made = await create('web', { type: 'LoadBalancer', externalTrafficPolicy: 'Local' });
    const port = made.spec.healthCheckNodePort ?? 0;
    expect(port).toBeGreaterThanOrEqual(30_000);
    expect(nodePortsOf(made)).not.toContain(port);
    const patch = (spec: object): Promise<Service> =>
      client.patch(services, { namespace: 'shop', name: 'web' }, { type: 'merge', body: { spec } });
    expect((await patch({ healthCheckNodePort: null })).spec.healthCheckNodePort).toBe(port);
    expect((await failureOf(patch({ healthCheckNodePort: 30_001 }))).message).toContain('cannot change healthCheckNodePort');
    expect((await patch({ type: 'ClusterIP', externalTrafficPolicy: null })).spec).not.toHaveProperty('healthCheckNodePort');
  });

  test('alone may have the fields of one', async () => {
    const { message } = await failureOf(
      create('web', { type: 'NodePort', loadBalancerClass: 'a.example/b', allocateLoadBalancerNodePorts: true }),
    );
    expect(message).toContain("spec.allocateLoadBalancerNodePorts: Forbidden: may only be used when `type` is 'LoadBalancer'");
    expect(message).toContain("spec.loadBalancerClass: Forbidden: may only be used when `type` is 'LoadBalancer'");
    expect((await failureOf(create('headless', { clusterIP: 'None' }))).message).toContain(
      "may not be set to 'None' for NodePort services",
    );
  });
});

describe('families of addresses', () => {
  test('are IPv4 alone', async () => {
    const dual = await failureOf(create('dual', { type: 'ClusterIP', ipFamilyPolicy: 'RequireDualStack' }));
    expect(dual.message).toContain(
      'spec.ipFamilyPolicy: Invalid value: "RequireDualStack": this cluster is not configured for dual-stack services',
    );
    const six = await failureOf(create('six', { type: 'ClusterIP', ipFamilies: ['IPv6'] }));
    expect(six.message).toContain('spec.ipFamilies[0]: Invalid value: "IPv6": not configured on this cluster');
    expect((await create('prefer', { type: 'ClusterIP', ipFamilyPolicy: 'PreferDualStack' })).spec.ipFamilies).toEqual(['IPv4']);
  });
});
