import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { events } from '../../../src/api/core/v1/event.ts';
import { nodes } from '../../../src/api/core/v1/node.ts';
import { type Service, type ServiceSpec, services } from '../../../src/api/core/v1/service.ts';
import { endpointSlices } from '../../../src/api/discovery/v1/endpoint-slice.ts';
import type { Client } from '../../../src/client/client.ts';
import { type CloudSettings, createCloudControllers } from '../../../src/cloud/cloud-controllers.ts';
import { parseAddressPool } from '../../../src/machinery/address-pool.ts';
import { conditionOf } from '../../../src/machinery/conditions.ts';
import { isNotFound } from '../../../src/machinery/status-error.ts';
import type { ControllerDependencies } from '../../../src/reconcile/dependencies.ts';
import { type CloudProcess, startCloudProcess } from '../../support/cloud-process.ts';
import { type ControlPlane, startControlPlane } from '../../support/control-plane.ts';
import { temporaryDirectory } from '../../support/git.ts';
import { createManualClock, type ManualClock } from '../../support/manual-clock.ts';
import { until } from '../../support/until.ts';

const namespace = 'default';
const cleanup = 'service.kubernetes.io/load-balancer-cleanup';
const builtIn: CloudSettings = { hasLoadBalancers: true, reservedPorts: new Map([[6443, 'the Kubernetes API']]) };

let plane: ControlPlane;
let clock: ManualClock;
let cloud: CloudProcess | undefined;
afterEach(async () => {
  await plane.stop();
  await cloud?.stop();
  cloud = undefined;
});

/** The settings may change before a restart. */
let settings: CloudSettings;
async function start(wanted: Partial<CloudSettings>, writes: (client: Client) => Partial<Client> = () => ({})): Promise<void> {
  settings = { ...builtIn, ...wanted };
  clock = createManualClock(Date.now());
  const controllersOf = (dependencies: ControllerDependencies) =>
    createCloudControllers({
      dependencies: () => ({ ...dependencies, clock, client: { ...dependencies.client, ...writes(dependencies.client) } }),
      settings,
      clusterCidr: '10.42.0.0/16',
    });
  plane = await startControlPlane({
    controllers: [
      (dependencies) => {
        const all = controllersOf(dependencies);
        return {
          name: 'cloud',
          start: async (options) => void (await Promise.all(all.map((each) => each.start(options)))),
          stop: async () => void (await Promise.all(all.map((each) => each.stop()))),
        };
      },
    ],
  });
}
async function startWithProcess(more: Partial<CloudSettings['remote']> = {}): Promise<CloudProcess> {
  cloud = await startCloudProcess();
  await start({ remote: { url: cloud.url, ...more } });
  return cloud;
}

interface NodeOptions {
  readonly internal?: string;
  readonly external?: string;
  readonly ready?: boolean;
  readonly taints?: readonly object[];
  readonly podCIDR?: string;
}
async function addNode(
  name: string,
  { internal = '', external = '', ready = true, taints = [], podCIDR = '' }: NodeOptions,
): Promise<void> {
  const spec = { taints, ...(podCIDR === '' ? {} : { podCIDR, podCIDRs: [podCIDR] }) } as object;
  await plane.client.create(nodes, { apiVersion: 'v1', kind: 'Node', metadata: { name }, spec });
  const addresses = [
    ...(internal === '' ? [] : [{ type: 'InternalIP', address: internal }]),
    ...(external === '' ? [] : [{ type: 'ExternalIP', address: external }]),
    { type: 'Hostname', address: name },
  ];
  await setNode(name, { addresses, conditions: [{ type: 'Ready', status: ready ? 'True' : 'Unknown' }] });
}
const setNode = (name: string, status: object) =>
  plane.client.patch(nodes, { name }, { type: 'merge', body: { status } }, { subresource: 'status' });
const create = (name: string, spec: Partial<ServiceSpec> = {}) =>
  plane.client.create(services, {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name, namespace },
    spec: { type: 'LoadBalancer', ports: [{ port: 80 }], ...spec },
  });
const serviceOf = (name: string): Promise<Service> => plane.client.get(services, { namespace, name });
const isGone = (name: string): Promise<boolean> => serviceOf(name).then(() => false, isNotFound);
const ipsOf = async (name: string) => ((await serviceOf(name)).status?.loadBalancer?.ingress ?? []).map(({ ip }) => ip).join(' ');
const hasIps = (name: string, wanted: string) =>
  until(async () => (await ipsOf(name)) === wanted, { what: async () => `Service ${name} has ${wanted}, and not ${await ipsOf(name)}` });
const reasonsOf = async (name: string) =>
  (await plane.client.list(events, { fieldSelector: `involvedObject.name=${name}` })).items.map(({ reason }) => reason);
const hasEvent = (name: string, reason: string, message = '') =>
  until(
    async () =>
      (await plane.client.list(events, { fieldSelector: `involvedObject.name=${name}` })).items.some(
        (event) => event.reason === reason && (event.message ?? '').includes(message),
      ),
    { what: async () => `Event ${reason} ${message} of ${name}, beside ${await reasonsOf(name)}` },
  );
const patch = (name: string, body: object) => plane.client.patch(services, { namespace, name }, { type: 'merge', body });
const addSlice = (name: string, nodeName: string) =>
  plane.client.create(endpointSlices, {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: { name: `${name}-${nodeName}`, namespace, labels: { 'kubernetes.io/service-name': name } },
    addressType: 'IPv4',
    endpoints: [{ addresses: ['10.42.0.9'], nodeName, conditions: { ready: true } }],
    ports: [{ name: '', port: 8080, protocol: 'TCP' }],
  });

describe('LoadBalancers', () => {
  const pool = parseAddressPool('192.0.2.10-192.0.2.11');

  it('should handle load balancer cleanup finalizer for service', async () => {
    await start({ pool });
    await addNode('n1', { internal: '192.0.2.1' });
    await create('web');
    await hasIps('web', '192.0.2.10');
    const made = await serviceOf('web');
    expect(made.metadata.finalizers).toEqual([cleanup]);
    expect(made.status?.loadBalancer?.ingress).toEqual([{ ip: '192.0.2.10', ipMode: 'VIP' }]);
    await hasEvent('web', 'EnsuringLoadBalancer', 'Ensuring load balancer');
    await hasEvent('web', 'EnsuredLoadBalancer', 'Ensured load balancer');
    await plane.client.delete(services, { namespace, name: 'web' });
    await until(() => isGone('web'), { what: 'the Service goes' });
    await hasEvent('web', 'DeletedLoadBalancer', 'Deleted load balancer');
    await create('next');
    await hasIps('next', '192.0.2.10');
  });

  it('gives the address up when the type changes, and keeps finalizers of others', async () => {
    await start({ pool });
    await addNode('n1', { internal: '192.0.2.1' });
    await create('web');
    await hasIps('web', '192.0.2.10');
    await patch('web', { metadata: { finalizers: [cleanup, 'example.com/mine'] } });
    await patch('web', { spec: { type: 'ClusterIP' } });
    await hasIps('web', '');
    await until(async () => (await serviceOf('web')).metadata.finalizers?.join() === 'example.com/mine', { what: 'its finalizer is gone' });
  });

  it('keeps the address of each Service over a restart, without another Event', async () => {
    await start({ pool });
    await addNode('n1', { internal: '192.0.2.1' });
    await create('late');
    await hasIps('late', '192.0.2.10');
    await create('early');
    await hasIps('early', '192.0.2.11');
    await plane.client.delete(services, { namespace, name: 'late' });
    await until(() => isGone('late'), { what: 'the first goes' });
    const before = (await serviceOf('early')).metadata.resourceVersion;
    await plane.restart();
    await create('third');
    await hasIps('third', '192.0.2.10');
    expect((await serviceOf('early')).metadata.resourceVersion).toBe(before);
    expect((await reasonsOf('early')).filter((reason) => reason === 'EnsuredLoadBalancer')).toHaveLength(1);
  });

  it('says that the pool is empty, and helps the Service that waits when an address is free again', async () => {
    await start({ pool });
    await addNode('n1', { internal: '192.0.2.1' });
    for (const name of ['a', 'b', 'c']) {
      await create(name);
      if (name !== 'c') await until(async () => (await ipsOf(name)) !== '', { what: 'an address' });
    }
    await hasEvent(
      'c',
      'SyncLoadBalancerFailed',
      'Error syncing load balancer: failed to ensure load balancer: the pool 192.0.2.10-192.0.2.11 has no free address',
    );
    await plane.client.delete(services, { namespace, name: 'a' });
    await hasIps('c', '192.0.2.10');
  });

  it('gives the address that spec.loadBalancerIP names, or says why not', async () => {
    await start({ pool });
    await addNode('n1', { internal: '192.0.2.1' });
    await create('wish', { loadBalancerIP: '192.0.2.11' });
    await hasIps('wish', '192.0.2.11');
    await create('same', { loadBalancerIP: '192.0.2.11' });
    await hasEvent('same', 'SyncLoadBalancerFailed', '192.0.2.11 is the address of Service default/wish');
    await create('outside', { loadBalancerIP: '198.51.100.1' });
    await hasEvent('outside', 'SyncLoadBalancerFailed', '198.51.100.1 is not in the pool');
    expect(await ipsOf('outside')).toBe('');
  });

  it('leaves Services with a loadBalancerClass to its controller', async () => {
    await start({ pool });
    await addNode('n1', { internal: '192.0.2.1' });
    await create('foreign', { loadBalancerClass: 'example.com/other' });
    await create('own');
    await hasIps('own', '192.0.2.10');
    expect((await serviceOf('foreign')).metadata.finalizers).toBeUndefined();
    expect(await ipsOf('foreign')).toBe('');
  });

  it('gives the external addresses of ready nodes without a pool, and internal ones where there is none', async () => {
    await start({});
    await addNode('n1', { internal: '192.0.2.1' });
    await addNode('n2', { internal: '192.0.2.2' });
    await addNode('lost', { internal: '192.0.2.3', ready: false });
    await create('web');
    await hasIps('web', '192.0.2.1 192.0.2.2');
    await setNode('lost', { conditions: [{ type: 'Ready', status: 'True' }] });
    await hasIps('web', '192.0.2.1 192.0.2.2 192.0.2.3');
    await hasEvent('web', 'UpdatedLoadBalancer', 'Updated load balancer with new hosts');
    await addNode('edge', { internal: '192.0.2.4', external: '203.0.113.7' });
    await hasIps('web', '203.0.113.7');
    await plane.client.patch(
      nodes,
      { name: 'edge' },
      { type: 'merge', body: { metadata: { labels: { 'node.kubernetes.io/exclude-from-external-load-balancers': '' } } } },
    );
    await hasIps('web', '192.0.2.1 192.0.2.2 192.0.2.3');
  });

  it('names nodes with a ready endpoint alone for externalTrafficPolicy Local', async () => {
    await start({});
    await addNode('n1', { internal: '192.0.2.1' });
    await addNode('n2', { internal: '192.0.2.2' });
    await create('web', { externalTrafficPolicy: 'Local' });
    await hasEvent('web', 'UnAvailableLoadBalancer', 'There are no available nodes for LoadBalancer');
    await addSlice('web', 'n2');
    await hasIps('web', '192.0.2.2');
    await addSlice('web', 'n1');
    await hasIps('web', '192.0.2.1 192.0.2.2');
  });

  it('lets the second Service of a port of the nodes wait, until the first gives it up', async () => {
    await start({});
    await addNode('n1', { internal: '192.0.2.1' });
    await create('first');
    await hasIps('first', '192.0.2.1');
    await create('second');
    await hasEvent('second', 'SyncLoadBalancerFailed', 'port TCP/80 of the nodes belongs to Service default/first');
    await create('datagrams', { ports: [{ port: 80, protocol: 'UDP' }] });
    await hasIps('datagrams', '192.0.2.1');
    expect(await ipsOf('second')).toBe('');
    await patch('first', { spec: { ports: [{ port: 81 }] } });
    await hasIps('second', '192.0.2.1');
    await create('api', { ports: [{ port: 6443 }] });
    await hasEvent('api', 'SyncLoadBalancerFailed', 'port 6443 of the nodes belongs to the Kubernetes API');
    await create('high', { ports: [{ port: 30_500 }] });
    await hasEvent('high', 'SyncLoadBalancerFailed', 'port 30500 of the nodes belongs to the range of node ports');
  });

  it('lets its Services go when load balancers are switched off, and not those of another controller', async () => {
    await start({ pool });
    await addNode('n1', { internal: '192.0.2.1' });
    await create('own');
    await hasIps('own', '192.0.2.10');
    await create('foreign', { loadBalancerClass: 'example.com/other' });
    await patch('foreign', { metadata: { finalizers: [cleanup] } });
    settings = { ...settings, hasLoadBalancers: false };
    await plane.restart();
    await hasIps('own', '');
    await until(async () => (await serviceOf('own')).metadata.finalizers === undefined, { what: 'the finalizer goes' });
    expect((await serviceOf('foreign')).metadata.finalizers).toEqual([cleanup]);
  });
});

describe('a provider in a process of its own', () => {
  const waits = [{ key: 'node.cloudprovider.kubernetes.io/uninitialized', value: 'true', effect: 'NoSchedule' }];
  const machine = {
    providerID: 'example://m-1',
    instanceType: 'large',
    zone: 'eu-1a',
    region: 'eu-1',
    addresses: [
      { type: 'InternalIP', address: '192.0.2.1' },
      { type: 'ExternalIP', address: '203.0.113.9' },
    ],
  };
  const nodeOf = (name: string) => plane.client.get(nodes, { name });
  /** Without that of admission, which the node controller takes away. */
  const taintsOf = async (name: string) =>
    ((await nodeOf(name)).spec?.taints ?? []).map(({ key }) => key).filter((key) => key !== 'node.kubernetes.io/not-ready');

  it('initializes Nodes, once it knows their machine', async () => {
    cloud = await startCloudProcess();
    const { machines } = cloud;
    let isCordoned = false;
    await start({ remote: { url: cloud.url } }, (client) => ({
      async patch(resource, ref, patch, options) {
        // A person taints the Node between the look at it and the write of its taints.
        if ((patch.body as { readonly spec?: object }).spec !== undefined && !isCordoned) {
          isCordoned = true;
          const body = { spec: { taints: [...((await nodeOf('n1')).spec?.taints ?? []), { key: 'late', effect: 'NoExecute' }] } };
          await client.patch(nodes, { name: 'n1' }, { type: 'merge', body });
        }
        return client.patch(resource, ref, patch, options);
      },
    }));
    await addNode('n1', { taints: [...waits, { key: 'mine', effect: 'NoSchedule' }] });
    await until(() => clock.pending > 0, { what: 'another try is planned' });
    expect(await taintsOf('n1')).toEqual([waits[0]?.key, 'mine']);
    machines.set('n1', machine);
    await until(
      async () => {
        clock.advance(1_000);
        return (await taintsOf('n1')).join() === 'mine,late';
      },
      { what: 'the taint is gone' },
    );
    const node = await nodeOf('n1');
    expect(node.spec?.providerID).toBe('example://m-1');
    expect(node.metadata.labels).toMatchObject({
      'node.kubernetes.io/instance-type': 'large',
      'topology.kubernetes.io/zone': 'eu-1a',
      'topology.kubernetes.io/region': 'eu-1',
    });
    expect(node.status?.addresses).toEqual([...machine.addresses, { type: 'Hostname', address: 'n1' }]);
    await hasEvent('n1', 'Synced', 'Node synced successfully');
  });

  it('removes a Node whose machine is gone, and taints one that is shut down', async () => {
    const { machines } = await startWithProcess();
    machines.set('n1', machine);
    machines.set('n2', { ...machine, providerID: 'example://m-2' });
    for (const name of ['n1', 'n2']) {
      await addNode(name, { taints: waits });
      await until(async () => (await nodeOf(name)).spec?.providerID, { what: 'its identity' });
    }
    machines.set('n1', { ...machine, isShutDown: true });
    machines.delete('n2');
    for (const name of ['n1', 'n2']) await setNode(name, { conditions: [{ type: 'Ready', status: 'Unknown' }] });
    await until(() => nodeOf('n2').then(() => false, isNotFound), { what: 'the Node goes' });
    await hasEvent('n2', 'DeletingNode', 'Deleting node n2 because it does not exist in the cloud provider');
    const isTainted = async () => (await taintsOf('n1')).join() === 'node.cloudprovider.kubernetes.io/shutdown';
    await until(isTainted, { what: 'the taint' });
    await setNode('n1', { conditions: [{ type: 'Ready', status: 'True' }] });
    await until(async () => !(await isTainted()), { what: 'the taint goes' });
  });

  it('makes load balancers with the nodes of the cluster, and removes them', async () => {
    const directory = await temporaryDirectory('cloud');
    const tokenFile = join(directory, 'token');
    await writeFile(tokenFile, 'secret-1\n');
    const process = await startWithProcess({ tokenFile });
    await create('web');
    await hasEvent('web', 'SyncLoadBalancerFailed', 'no node to send connections to');
    await addNode('n1', { internal: '192.0.2.1' });
    await hasIps('web', '203.0.113.1');
    expect(process.lastToken).toBe('Bearer secret-1');
    await plane.client.delete(services, { namespace, name: 'web' });
    await until(() => isGone('web'), { what: 'the Service goes' });
    expect(process.balancers.size).toBe(0);
  });

  it.each([
    ['an error', { code: 500, text: '{"message":"quota of the account"}' }, 'quota of the account'],
    ['no JSON', { code: 200, text: '<html>' }, 'the answer is no JSON object'],
    ['another shape', { code: 200, text: '{"ingress":[{"ip":7}]}' }, 'ip is not a text'],
    ['a mode that is none', { code: 200, text: '{"ingress":[{"ip":"203.0.113.1","ipMode":"X"}]}' }, 'ipMode is not VIP or Proxy'],
    ['too many addresses', { code: 200, text: JSON.stringify({ ingress: Array(65).fill({ ip: '203.0.113.1' }) }) }, 'more than 64 entries'],
    ['too many bytes', { code: 200, text: ' '.repeat(2 * 1024 * 1024) }, 'larger than 1048576 bytes'],
    ['nothing', 'silence', 'no answer within 0.2 s'],
  ] as const)('says in an Event that the provider answers with %s, and tries again', async (_, answer, message) => {
    const process = await startWithProcess({ timeoutMs: 200 });
    await addNode('n1', { internal: '192.0.2.1' });
    process.instead.set('load-balancers/ensure', () => answer);
    await create('web');
    await hasEvent('web', 'SyncLoadBalancerFailed', message);
    expect(await ipsOf('web')).toBe('');
    process.instead.clear();
    await until(
      async () => {
        clock.advance(5_000);
        return (await ipsOf('web')) === '203.0.113.1';
      },
      { what: 'the next try succeeds' },
    );
  });

  it('makes no load balancer for a Service that went before its finalizer was written', async () => {
    cloud = await startCloudProcess();
    await start({ remote: { url: cloud.url } }, (client) => ({
      async patch(resource, ref, ...rest) {
        // A person is faster.
        if (ref.name === 'brief') await client.delete(services, { namespace, name: 'brief' });
        return client.patch(resource, ref, ...rest);
      },
    }));
    await addNode('n1', { internal: '192.0.2.1' });
    await create('brief');
    await until(() => isGone('brief'), { what: 'the brief Service goes' });
    await create('next');
    await hasIps('next', '203.0.113.1');
    expect([...cloud.balancers.keys()]).toEqual(['default/next']);
  });

  it('keeps a Service whose load balancer cannot be removed', async () => {
    const process = await startWithProcess();
    await addNode('n1', { internal: '192.0.2.1' });
    await create('web');
    await hasIps('web', '203.0.113.1');
    process.instead.set('load-balancers/remove', () => ({ code: 503, text: '{"message":"later"}' }));
    await plane.client.delete(services, { namespace, name: 'web' });
    await hasEvent('web', 'SyncLoadBalancerFailed', 'Error syncing load balancer: failed to delete load balancer: later');
    expect(await isGone('web')).toBe(false);
    process.instead.clear();
    await until(
      async () => {
        clock.advance(5_000);
        return isGone('web');
      },
      { what: 'the Service goes' },
    );
  });

  it('keeps a route to the pods of each Node, and leaves routes to other ranges alone', async () => {
    const process = await startWithProcess();
    process.routes.set('10.42.9.0/24', { nodeName: 'gone', destination: '10.42.9.0/24' });
    process.routes.set('172.16.0.0/24', { nodeName: 'other', destination: '172.16.0.0/24' });
    // A route that cannot go keeps no Node from its own.
    process.instead.set('routes/remove', () => ({ code: 500, text: '{"message":"in use"}' }));
    process.instead.set('routes/create', () => ({ code: 500, text: '{"message":"table is full"}' }));
    await addNode('n1', { internal: '192.0.2.1', podCIDR: '10.42.1.0/24' });
    const conditionOn = async (name: string) => conditionOf((await nodeOf(name)).status?.conditions, 'NetworkUnavailable');
    const period = async (wanted: () => Promise<boolean>) =>
      until(
        async () => {
          clock.advance(10_000);
          return wanted();
        },
        { what: 'the next comparison' },
      );
    await hasEvent('n1', 'FailedToCreateRoute', 'Could not create route to 10.42.1.0/24 for node n1: table is full');
    await period(async () => (await conditionOn('n1'))?.reason === 'NoRouteCreated');
    expect((await conditionOn('n1'))?.status).toBe('True');
    process.instead.clear();
    await period(async () => (await conditionOn('n1'))?.reason === 'RouteCreated');
    await period(async () => !process.routes.has('10.42.9.0/24'));
    expect([...process.routes.keys()].sort()).toEqual(['10.42.1.0/24', '172.16.0.0/24']);
    await plane.client.delete(nodes, { name: 'n1' });
    await period(async () => !process.routes.has('10.42.1.0/24'));
  });
});
