import { afterEach, describe, expect, it } from 'vitest';
import { events } from '../../../src/api/core/v1/event.ts';
import { nodes } from '../../../src/api/core/v1/node.ts';
import { pods } from '../../../src/api/core/v1/pod.ts';
import { type Service, services } from '../../../src/api/core/v1/service.ts';
import { type EndpointSlice, endpointSlices } from '../../../src/api/discovery/v1/endpoint-slice.ts';
import { createEndpointSliceController } from '../../../src/controllers/endpoint-slice/endpoint-slice-controller.ts';
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
  plane = await startControlPlane({ controllers: [createEndpointSliceController] });
  return plane;
}

const web = (spec: Partial<Service['spec']> = {}): Service => ({
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { name: 'web', namespace, labels: { part: 'front' } },
  spec: { selector: { app: 'web' }, ports: [{ name: 'http', port: 80, targetPort: 'http' }], ...spec },
});

async function addPod({ client }: ControlPlane, index: number, { ready = true, port = 8080 } = {}) {
  const { uid: _, ...metadata } = podOf(`web-${index}`, {}, { namespace, labels: { app: 'web' } }).metadata;
  const pod = podOf('', {
    nodeName: 'n1',
    containers: [{ name: 'main', image: 'host/web', ports: [{ name: 'http', containerPort: port }] }],
  });
  const created = await client.create(pods, { ...pod, metadata });
  const status = {
    phase: 'Running',
    podIP: `10.64.16.${index + 2}`,
    podIPs: [{ ip: `10.64.16.${index + 2}` }],
    conditions: [{ type: 'Ready', status: ready ? 'True' : 'False' }],
  };
  return client.update(pods, { ...created, status: { ...created.status, ...status } }, { subresource: 'status' });
}

const slicesOf = async ({ client }: ControlPlane): Promise<readonly EndpointSlice[]> =>
  (await client.list(endpointSlices, { namespace, labelSelector: 'kubernetes.io/service-name=web' })).items;
const endpointsOf = (slices: readonly EndpointSlice[]) =>
  slices.flatMap(({ endpoints }) => endpoints ?? []).sort((a, b) => (a.targetRef?.name ?? '').localeCompare(b.targetRef?.name ?? ''));
const slicesWhen = (cluster: ControlPlane, what: string, test: (slices: readonly EndpointSlice[]) => boolean) =>
  until(
    async () => {
      const slices = await slicesOf(cluster);
      return test(slices) && slices;
    },
    { what, timeoutMs: 10_000, intervalMs: 2 },
  );

describe('endpoint slices', () => {
  it('begin empty and take the pods of the Service', async () => {
    const cluster = await start();
    const service = await cluster.client.create(services, web());
    const [empty] = await slicesWhen(cluster, 'an empty slice', (slices) => slices.length === 1);
    expect(empty).toMatchObject({
      addressType: 'IPv4',
      endpoints: [],
      metadata: {
        labels: {
          part: 'front',
          'kubernetes.io/service-name': 'web',
          'endpointslice.kubernetes.io/managed-by': 'endpointslice-controller.k8s.io',
        },
        ownerReferences: [{ kind: 'Service', name: 'web', uid: service.metadata.uid, controller: true, blockOwnerDeletion: true }],
      },
    });
    const pod = await addPod(cluster, 0);
    const [slice, ...more] = await slicesWhen(cluster, 'an endpoint', (slices) => endpointsOf(slices).length === 1);
    expect(more).toEqual([]);
    // The empty slice became this one: no watcher saw the Service without slices.
    expect(slice?.metadata.uid).toBe(empty?.metadata.uid);
    expect(slice?.ports).toEqual([{ name: 'http', port: 8080, protocol: 'TCP' }]);
    expect(slice?.endpoints).toEqual([
      {
        addresses: ['10.64.16.2'],
        conditions: { ready: true, serving: true, terminating: false },
        nodeName: 'n1',
        targetRef: { kind: 'Pod', namespace, name: 'web-0', uid: pod.metadata.uid },
      },
    ]);
  });

  it('mark a pod that is going at once, and drop it when it is gone', async () => {
    const cluster = await start();
    await cluster.client.create(services, web());
    await addPod(cluster, 0);
    await slicesWhen(cluster, 'an endpoint', (slices) => endpointsOf(slices).length === 1);
    await cluster.client.delete(pods, { namespace, name: 'web-0' });
    const [slice] = await slicesWhen(cluster, 'a terminating endpoint', (slices) => endpointsOf(slices)[0]?.conditions?.ready === false);
    expect(slice?.endpoints[0]?.conditions).toEqual({ ready: false, serving: true, terminating: true });
    await cluster.client.delete(pods, { namespace, name: 'web-0' }, { gracePeriodSeconds: 0 });
    await slicesWhen(cluster, 'no endpoint', (slices) => slices.length === 1 && endpointsOf(slices).length === 0);
  });

  it('tell not ready, unless the Service publishes what is not ready', async () => {
    const cluster = await start();
    await cluster.client.create(services, web());
    await cluster.client.create(services, { ...web({ publishNotReadyAddresses: true }), metadata: { name: 'all', namespace } });
    await addPod(cluster, 0, { ready: false });
    const [slice] = await slicesWhen(cluster, 'an endpoint', (slices) => endpointsOf(slices).length === 1);
    expect(slice?.endpoints[0]?.conditions).toEqual({ ready: false, serving: false, terminating: false });
    const all = await until(
      async () => {
        const { items } = await cluster.client.list(endpointSlices, { namespace, labelSelector: 'kubernetes.io/service-name=all' });
        return endpointsOf(items)[0];
      },
      { what: 'an endpoint of the other Service', intervalMs: 2 },
    );
    expect(all.conditions).toEqual({ ready: true, serving: false, terminating: false });
  });

  it('hold at most a hundred endpoints, and only slices that change are written', async () => {
    const cluster = await start();
    await cluster.client.create(services, web());
    await Promise.all(Array.from({ length: 150 }, (_, index) => addPod(cluster, index)));
    const full = await slicesWhen(cluster, '150 endpoints', (slices) => endpointsOf(slices).length === 150);
    expect(full.map(({ endpoints }) => endpoints.length).sort((a, b) => a - b)).toEqual([50, 100]);
    await cluster.client.delete(pods, { namespace, name: 'web-149' }, { gracePeriodSeconds: 0 });
    const after = await slicesWhen(cluster, '149 endpoints', (slices) => endpointsOf(slices).length === 149);
    const versions = new Map(full.map(({ metadata }) => [metadata.name, metadata.resourceVersion]));
    expect(after.filter(({ metadata }) => versions.get(metadata.name) === metadata.resourceVersion)).toHaveLength(1);
  });

  it('keep pods apart whose named port is another number', async () => {
    const cluster = await start();
    await cluster.client.create(services, web());
    await addPod(cluster, 0, { port: 8080 });
    await addPod(cluster, 1, { port: 9090 });
    const slices = await slicesWhen(cluster, 'two slices', (found) => found.length === 2 && endpointsOf(found).length === 2);
    expect(slices.map(({ ports }) => ports?.[0]?.port).sort()).toEqual([8080, 9090]);
  });

  it('follow a selector that changes', async () => {
    const cluster = await start();
    const service = await cluster.client.create(services, web());
    await addPod(cluster, 0);
    await slicesWhen(cluster, 'an endpoint', (slices) => endpointsOf(slices).length === 1);
    await cluster.client.update(services, { ...service, spec: { ...service.spec, selector: { app: 'other' } } });
    await slicesWhen(cluster, 'no endpoint', (slices) => slices.length === 1 && endpointsOf(slices).length === 0);
  });

  it('have hints by the CPU of zones when the Service asks for them, and Events say since when', async () => {
    const cluster = await start();
    const { client } = cluster;
    await client.create(services, {
      ...web(),
      metadata: { name: 'web', namespace, annotations: { 'service.kubernetes.io/topology-mode': 'Auto' } },
    });
    await Promise.all([0, 1].map((index) => addPod(cluster, index)));
    const said = (reason: string) =>
      until(async () => (await client.list(events, { namespace })).items.find((event) => event.reason === reason)?.message, {
        what: reason,
      });
    expect(await said('TopologyAwareHintsDisabled')).toMatch(/^Insufficient Node information: .*, addressType: IPv4$/);
    for (const [name, zone] of [
      ['n1', 'west'],
      ['n2', 'east'],
    ] as const) {
      const status = { conditions: [{ type: 'Ready', status: 'True' }], allocatable: { cpu: '2' } } as const;
      const node = { apiVersion: 'v1', kind: 'Node', metadata: { name, labels: { 'topology.kubernetes.io/zone': zone } } };
      const made = await client.create(nodes, { ...node, spec: {} });
      await client.update(nodes, { ...made, status: { ...status } }, { subresource: 'status' });
    }
    expect(await said('TopologyAwareHintsEnabled')).toBe('Topology Aware Hints has been enabled, addressType: IPv4');
    // Both pods are on n1, so one of them serves the other zone.
    await slicesWhen(cluster, 'a hint for each zone', (slices) =>
      ['east', 'west'].every((zone) => endpointsOf(slices).some(({ hints }) => hints?.forZones?.[0]?.name === zone)),
    );
    await client.patch(services, { namespace, name: 'web' }, { type: 'merge', body: { metadata: { annotations: null } } });
    await slicesWhen(cluster, 'no hints', (slices) => endpointsOf(slices).every(({ hints }) => hints === undefined));
  });

  it('come back when someone deletes them', async () => {
    const cluster = await start();
    await cluster.client.create(services, web());
    await addPod(cluster, 0);
    const [slice] = await slicesWhen(cluster, 'an endpoint', (slices) => endpointsOf(slices).length === 1);
    await cluster.client.delete(endpointSlices, { namespace, name: slice?.metadata.name ?? '' });
    const [again] = await slicesWhen(cluster, 'an endpoint again', (slices) => endpointsOf(slices).length === 1);
    expect(again?.metadata.uid).not.toBe(slice?.metadata.uid);
  });
});
