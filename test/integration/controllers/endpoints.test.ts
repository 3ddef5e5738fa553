import { afterEach, expect, test } from 'vitest';
import { type Endpoints, endpoints } from '../../../src/api/core/v1/endpoints.ts';
import { pods } from '../../../src/api/core/v1/pod.ts';
import { type Service, services } from '../../../src/api/core/v1/service.ts';
import { endpointSlices } from '../../../src/api/discovery/v1/endpoint-slice.ts';
import { createEndpointSliceController } from '../../../src/controllers/endpoint-slice/endpoint-slice-controller.ts';
import { createEndpointSliceMirroringController } from '../../../src/controllers/endpoint-slice/mirroring-controller.ts';
import { createEndpointsController } from '../../../src/controllers/endpoints/endpoints-controller.ts';
import { isNotFound } from '../../../src/machinery/status-error.ts';
import { podOf } from '../../support/cluster-objects.ts';
import { type ControlPlane, setStatus, startControlPlane } from '../../support/control-plane.ts';
import { until } from '../../support/until.ts';

const namespace = 'default';

let plane: ControlPlane | undefined;
afterEach(async () => {
  await plane?.stop();
  plane = undefined;
});

async function start(): Promise<ControlPlane> {
  plane = await startControlPlane({
    controllers: [createEndpointSliceController, createEndpointSliceMirroringController, createEndpointsController],
  });
  return plane;
}

const service = (name: string, spec: Partial<Service['spec']> = {}): Service => ({
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { name, namespace, labels: { part: 'front' } },
  spec: { ports: [{ name: 'http', port: 80, targetPort: 8080 }], ...spec },
});

const endpointsWhen = ({ client }: ControlPlane, name: string, what: string, test: (found: Endpoints) => boolean) =>
  until(
    async () => {
      const found = await client.get(endpoints, { namespace, name }).catch((err: unknown) => {
        if (isNotFound(err)) return undefined;
        throw err;
      });
      return found !== undefined && test(found) && found;
    },
    { what, timeoutMs: 10_000, intervalMs: 5 },
  );
const isGone = ({ client }: ControlPlane, name: string) =>
  until(() => client.get(endpoints, { namespace, name }).then(() => false, isNotFound), { what: `no Endpoints ${name}`, intervalMs: 5 });
const mirrorsOf = async ({ client }: ControlPlane, name: string) =>
  (await client.list(endpointSlices, { namespace, labelSelector: `kubernetes.io/service-name=${name}` })).items;

async function addPod({ client }: ControlPlane, index: number, ready: boolean) {
  const { uid: _, ...metadata } = podOf(`web-${index}`, {}, { namespace, labels: { app: 'web' } }).metadata;
  const pod = await client.create(pods, { ...podOf('', { nodeName: 'n1' }), metadata });
  const podIP = `10.64.16.${index}`;
  await setStatus(client, pod, {
    phase: 'Running',
    podIP,
    podIPs: [{ ip: podIP }],
    conditions: [{ type: 'Ready', status: ready ? 'True' : 'False' }],
  });
  return pod;
}

test('every Service with a selector has Endpoints, which follow its pods and go with it', async () => {
  const cluster = await start();
  await cluster.client.create(services, service('web', { selector: { app: 'web' }, clusterIP: 'None' }));
  const empty = await endpointsWhen(cluster, 'web', 'Endpoints', () => true);
  expect(empty.subsets).toBeUndefined();
  expect(empty.metadata.labels).toEqual({
    part: 'front',
    'service.kubernetes.io/headless': '',
    'endpoints.kubernetes.io/managed-by': 'endpoint-controller',
  });
  const first = await addPod(cluster, 1, true);
  await addPod(cluster, 2, false);
  const full = await endpointsWhen(
    cluster,
    'web',
    'two addresses',
    ({ subsets }) => subsets?.[0]?.notReadyAddresses?.length === 1 && subsets[0].addresses?.length === 1,
  );
  expect(full.subsets).toEqual([
    {
      addresses: [{ ip: '10.64.16.1', nodeName: 'n1', targetRef: { kind: 'Pod', namespace, name: 'web-1', uid: first.metadata.uid } }],
      notReadyAddresses: [{ ip: '10.64.16.2', nodeName: 'n1', targetRef: expect.objectContaining({ name: 'web-2' }) }],
      ports: [{ name: 'http', port: 8080, protocol: 'TCP' }],
    },
  ]);
  // The slices that they are made from are not mirrored back.
  expect(await mirrorsOf(cluster, 'web')).toHaveLength(1);
  await cluster.client.delete(services, { namespace, name: 'web' });
  await isGone(cluster, 'web');
});

test('Endpoints kept by hand become slices of a Service without selector', async () => {
  const cluster = await start();
  const byHand: Endpoints = {
    apiVersion: 'v1',
    kind: 'Endpoints',
    metadata: { name: 'db', namespace, labels: { own: 'yes' }, annotations: { note: 'old' } },
    subsets: [{ addresses: [{ ip: '10.6.6.6' }], notReadyAddresses: [{ ip: '10.6.6.7' }], ports: [{ name: 'sql', port: 5432 }] }],
  };
  const stored = await cluster.client.create(endpoints, byHand);
  await cluster.client.create(services, service('db'));
  const [slice] = await until(
    async () => {
      const slices = await mirrorsOf(cluster, 'db');
      return slices.length === 1 && slices;
    },
    { what: 'a mirrored slice', intervalMs: 5 },
  );
  expect(slice).toMatchObject({
    addressType: 'IPv4',
    metadata: {
      labels: {
        own: 'yes',
        'kubernetes.io/service-name': 'db',
        'endpointslice.kubernetes.io/managed-by': 'endpointslicemirroring-controller.k8s.io',
      },
      annotations: { note: 'old' },
      ownerReferences: [{ kind: 'Endpoints', name: 'db', uid: stored.metadata.uid, controller: true }],
    },
    endpoints: [
      { addresses: ['10.6.6.6'], conditions: { ready: true } },
      { addresses: ['10.6.6.7'], conditions: { ready: false } },
    ],
    ports: [{ name: 'sql', port: 5432, protocol: 'TCP' }],
  });
  await cluster.client.update(endpoints, {
    ...stored,
    metadata: { ...stored.metadata, labels: { 'endpointslice.kubernetes.io/skip-mirror': 'true' } },
  });
  await until(async () => (await mirrorsOf(cluster, 'db')).length === 0, { what: 'no mirrored slice', intervalMs: 5 });
  await cluster.client.delete(services, { namespace, name: 'db' });
  await isGone(cluster, 'db');
});
