import { afterEach, describe, expect, it } from 'vitest';
import { events } from '../../../src/api/core/v1/event.ts';
import { nodes } from '../../../src/api/core/v1/node.ts';
import { pods } from '../../../src/api/core/v1/pod.ts';
import { deviceClasses } from '../../../src/api/resource/v1/device-class.ts';
import { claimFinalizer, resourceClaims, resourceClaimTemplates } from '../../../src/api/resource/v1/resource-claim.ts';
import { resourceSlices } from '../../../src/api/resource/v1/resource-slice.ts';
import { createMetrics } from '../../../src/base/metrics.ts';
import type { New } from '../../../src/client/client.ts';
import { createGarbageCollector } from '../../../src/controllers/garbage-collector/garbage-collector.ts';
import {
  createPodResourceClaimController,
  createResourceClaimController,
} from '../../../src/controllers/resource-claim/resource-claim-controller.ts';
import type { KubeObject } from '../../../src/machinery/object.ts';
import type { Resource } from '../../../src/machinery/resource.ts';
import { isNotFound } from '../../../src/machinery/status-error.ts';
import { createScheduler } from '../../../src/scheduler/scheduler.ts';
import { nodeOf, podOf } from '../../support/cluster-objects.ts';
import { type ControlPlane, startControlPlane } from '../../support/control-plane.ts';
import { until } from '../../support/until.ts';

const namespace = 'default';
const driver = 'gpu.example.com';

let plane: ControlPlane;
afterEach(() => plane.stop());

/** Two nodes; the second has the given number of devices. */
async function start(devices: number): Promise<void> {
  plane = await startControlPlane({
    controllers: [
      createPodResourceClaimController,
      createResourceClaimController,
      createGarbageCollector,
      (dependencies) => createScheduler({ ...dependencies, metrics: createMetrics(), random: () => 0.5 }),
    ],
  });
  for (const name of ['n1', 'n2']) {
    const { status, ...node } = nodeOf(name);
    const created = await plane.client.create(nodes, node);
    const reported = await plane.client.update(
      nodes,
      { ...created, ...(status === undefined ? {} : { status }) },
      { subresource: 'status' },
    );
    await plane.client.update(nodes, { ...reported, spec: { ...reported.spec, taints: [] } });
  }
  await create(deviceClasses, 'DeviceClass', {
    metadata: { name: 'gpu' },
    spec: { selectors: [{ cel: { expression: `device.driver == '${driver}'` } }] },
  });
  await create(resourceSlices, 'ResourceSlice', {
    metadata: { name: 'n2-gpus' },
    spec: {
      driver,
      nodeName: 'n2',
      pool: { name: 'n2', generation: 1, resourceSliceCount: 1 },
      devices: Array.from({ length: devices }, (_, index) => ({ name: `gpu-${index}`, attributes: { model: { string: 'a' } } })),
    },
  });
}

function create<T extends KubeObject>(resource: Resource<T>, kind: string, object: object): Promise<T> {
  return plane.client.create(resource, { apiVersion: 'resource.k8s.io/v1', kind, ...object } as unknown as New<T>);
}

const devices = (exactly: object = {}) => ({ devices: { requests: [{ name: 'gpu', exactly: { deviceClassName: 'gpu', ...exactly } }] } });
const addTemplate = (exactly?: object) =>
  create(resourceClaimTemplates, 'ResourceClaimTemplate', {
    metadata: { name: 'one-gpu', namespace },
    spec: { metadata: { labels: { app: 'ml' } }, spec: devices(exactly) },
  });

async function addPod(name: string, claim: object): Promise<void> {
  const pod = podOf(name, { resourceClaims: [{ name: 'gpu', ...claim }] } as never, { namespace });
  const { uid: _, ...metadata } = pod.metadata;
  await plane.client.create(pods, { ...pod, metadata });
}
const fromTemplate = { resourceClaimTemplateName: 'one-gpu' };

const getPod = (name: string) => plane.client.get(pods, { namespace, name });
const bound = (name: string) =>
  until(async () => (await getPod(name)).spec.nodeName, { what: `${name} to be bound`, timeoutMs: 15_000, intervalMs: 5 });
const waiting = (name: string, words: string) =>
  until(
    async () => (await getPod(name)).status?.conditions?.some(({ type, message }) => type === 'PodScheduled' && message?.includes(words)),
    { what: `${name} to wait with ${words}`, timeoutMs: 15_000, intervalMs: 5 },
  );
const claimOf = async (name: string) => {
  const claimName = (await getPod(name)).status?.resourceClaimStatuses?.[0]?.resourceClaimName ?? '';
  return plane.client.get(resourceClaims, { namespace, name: claimName });
};

describe('device claims', () => {
  it('are made from the template, get a device of the node, and are reserved for the pod', async () => {
    await start(1);
    await addTemplate();
    await addPod('train', fromTemplate);
    expect(await bound('train')).toBe('n2');
    const claim = await claimOf('train');
    expect(claim.metadata).toMatchObject({
      generateName: 'train-gpu-',
      labels: { app: 'ml' },
      annotations: { 'resource.kubernetes.io/pod-claim-name': 'gpu' },
      ownerReferences: [{ kind: 'Pod', name: 'train', controller: true }],
      finalizers: [claimFinalizer],
    });
    expect(claim.status).toMatchObject({
      allocation: {
        devices: { results: [{ request: 'gpu', driver, pool: 'n2', device: 'gpu-0' }] },
        nodeSelector: { nodeSelectorTerms: [{ matchFields: [{ key: 'metadata.name', operator: 'In', values: ['n2'] }] }] },
      },
      reservedFor: [{ resource: 'pods', name: 'train', uid: (await getPod('train')).metadata.uid }],
    });
  });

  it('give a device to one pod at a time, and to the next when that pod is gone', async () => {
    await start(1);
    await addTemplate();
    await addPod('first', fromTemplate);
    await bound('first');
    const { name } = (await claimOf('first')).metadata;
    await addPod('second', fromTemplate);
    await waiting('second', '0/2 nodes are available: 2 cannot allocate all claims');
    await plane.client.delete(pods, { namespace, name: 'first' }, { gracePeriodSeconds: 0 });
    expect(await bound('second')).toBe('n2');
    const isGone = () => plane.client.get(resourceClaims, { namespace, name }).then(() => false, isNotFound);
    await until(isGone, { what: 'the claim of the pod to be deleted', intervalMs: 5 });
  });

  it('are freed when their pod has finished', async () => {
    await start(1);
    await addTemplate();
    await addPod('first', fromTemplate);
    await bound('first');
    await plane.client.patch(
      pods,
      { namespace, name: 'first' },
      { type: 'strategic', body: { status: { phase: 'Succeeded' } } },
      { subresource: 'status' },
    );
    await addPod('second', fromTemplate);
    expect(await bound('second')).toBe('n2');
  });

  it('may be shared by pods, and keep their device until the last is gone', async () => {
    await start(1);
    await create(resourceClaims, 'ResourceClaim', { metadata: { name: 'shared', namespace }, spec: devices() });
    for (const name of ['one', 'two']) {
      await addPod(name, { resourceClaimName: 'shared' });
      expect(await bound(name)).toBe('n2');
    }
    const users = async () =>
      ((await plane.client.get(resourceClaims, { namespace, name: 'shared' })).status?.reservedFor ?? []).map(({ name }) => name);
    expect(await users()).toEqual(['one', 'two']);
    await plane.client.delete(pods, { namespace, name: 'one' }, { gracePeriodSeconds: 0 });
    await until(async () => (await users()).join() === 'two', { what: 'the pod to leave the claim', intervalMs: 5 });
    await plane.client.delete(pods, { namespace, name: 'two' }, { gracePeriodSeconds: 0 });
    await until(async () => (await plane.client.get(resourceClaims, { namespace, name: 'shared' })).status?.allocation === undefined, {
      what: 'the device to be free',
      intervalMs: 5,
    });
  });

  it('are refused by name where they want more than a device of their own, or name what is not there', async () => {
    await start(1);
    await create(resourceClaims, 'ResourceClaim', { metadata: { name: 'admin', namespace }, spec: devices({ adminAccess: true }) });
    await create(resourceClaims, 'ResourceClaim', {
      metadata: { name: 'classless', namespace },
      spec: devices({ deviceClassName: 'tpu' }),
    });
    await addPod('admin', { resourceClaimName: 'admin' });
    await waiting('admin', 'resourceclaim "admin": adminAccess is not supported');
    await addPod('classless', { resourceClaimName: 'classless' });
    await waiting('classless', 'device class tpu does not exist');
    await addPod('lost', { resourceClaimName: 'lost' });
    await waiting('lost', 'resourceclaim "lost" not found');
    await addPod('early', fromTemplate);
    await waiting('early', 'waiting for dynamic resource controller to create the resourceclaim');
    const isSaid = async () =>
      (await plane.client.list(events, { namespace })).items.some(({ reason }) => reason === 'FailedResourceClaimCreation');
    await until(isSaid, { what: 'an Event about the missing template', intervalMs: 5 });
    await addTemplate();
    expect(await bound('early')).toBe('n2');
  });
});
