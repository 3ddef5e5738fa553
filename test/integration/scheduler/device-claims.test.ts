import { afterEach, describe, expect, it } from 'vitest';
import { events } from '../../../src/api/core/v1/event.ts';
import { nodes } from '../../../src/api/core/v1/node.ts';
import { pods } from '../../../src/api/core/v1/pod.ts';
import { deviceClasses } from '../../../src/api/resource/v1/device-class.ts';
import { claimFinalizer, type ResourceClaim, resourceClaims, resourceClaimTemplates } from '../../../src/api/resource/v1/resource-claim.ts';
import { resourceSlices } from '../../../src/api/resource/v1/resource-slice.ts';
import { createMetrics } from '../../../src/base/metrics.ts';
import type { Client, New } from '../../../src/client/client.ts';
import { createGarbageCollector } from '../../../src/controllers/garbage-collector/garbage-collector.ts';
import {
  createPodResourceClaimController,
  createResourceClaimController,
} from '../../../src/controllers/resource-claim/resource-claim-controller.ts';
import type { KubeObject } from '../../../src/machinery/object.ts';
import type { Resource } from '../../../src/machinery/resource.ts';
import { isNotFound } from '../../../src/machinery/status-error.ts';
import { parseSchedulerConfiguration } from '../../../src/scheduler/configuration/configuration.ts';
import { createScheduler } from '../../../src/scheduler/scheduler.ts';
import { nodeOf, podOf } from '../../support/cluster-objects.ts';
import { type ControlPlane, startControlPlane } from '../../support/control-plane.ts';
import { createManualClock } from '../../support/manual-clock.ts';
import { untilBy } from '../../support/until.ts';

type ClaimWrite = readonly [Resource<ResourceClaim>, ResourceClaim, { readonly subresource?: string }?];

const namespace = 'default';
const driver = 'gpu.example.com';

const clock = createManualClock();
const until = untilBy(clock);
let plane: ControlPlane;
afterEach(() => plane.stop());

interface Around {
  readonly through?: (client: Client) => Client;
  readonly configuration?: string;
}

/** Two nodes; the second has the given number of devices. */
async function start(devices: number, { through = (client) => client, configuration }: Around = {}): Promise<void> {
  plane = await startControlPlane({
    clock,
    controllers: [
      createPodResourceClaimController,
      createResourceClaimController,
      createGarbageCollector,
      (dependencies) =>
        createScheduler({
          ...dependencies,
          client: through(dependencies.client),
          metrics: createMetrics(),
          random: () => 0.5,
          configuration: configuration === undefined ? undefined : parseSchedulerConfiguration(configuration, 'scheduler.yaml'),
        }),
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
  await addSlice('n2', devices);
}

const addSlice = (nodeName: string, devices: number) =>
  create(resourceSlices, 'ResourceSlice', {
    metadata: { name: `${nodeName}-gpus` },
    spec: {
      driver,
      nodeName,
      pool: { name: nodeName, generation: 1, resourceSliceCount: 1 },
      devices: Array.from({ length: devices }, (_, index) => ({ name: `gpu-${index}`, attributes: { model: { string: 'a' } } })),
    },
  });

function create<T extends KubeObject>(resource: Resource<T>, kind: string, object: object): Promise<T> {
  return plane.client.create(resource, { apiVersion: 'resource.k8s.io/v1', kind, ...object } as unknown as New<T>);
}

const devices = (exactly: object = {}) => ({ devices: { requests: [{ name: 'gpu', exactly: { deviceClassName: 'gpu', ...exactly } }] } });
const addTemplate = (exactly?: object) =>
  create(resourceClaimTemplates, 'ResourceClaimTemplate', {
    metadata: { name: 'one-gpu', namespace },
    spec: { metadata: { labels: { app: 'ml' } }, spec: devices(exactly) },
  });

async function addPod(name: string, claim: object, spec: object = {}): Promise<void> {
  const pod = podOf(name, { resourceClaims: [{ name: 'gpu', ...claim }], ...spec } as never, { namespace });
  const { uid: _, ...metadata } = pod.metadata;
  await plane.client.create(pods, { ...pod, metadata });
}
const addClaim = (name: string) => create(resourceClaims, 'ResourceClaim', { metadata: { name, namespace }, spec: devices() });
const getClaim = (name: string) => plane.client.get(resourceClaims, { namespace, name });
const remove = (name: string) => plane.client.delete(pods, { namespace, name }, { gracePeriodSeconds: 0 });
const fromTemplate = { resourceClaimTemplateName: 'one-gpu' };

const onNode = (name: string) => ({ matchExpressions: [{ key: 'kubernetes.io/hostname', operator: 'In', values: [name] }] });
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

  it('are allocated once when twelve pods share a claim at the same time, and each names it twice', async () => {
    await start(1);
    await addClaim('shared');
    const names = Array.from({ length: 12 }, (_, index) => `p${index}`);
    const twice = [{ name: 'gpu' }, { name: 'again' }].map((entry) => ({ ...entry, resourceClaimName: 'shared' }));
    await Promise.all(names.map((name) => addPod(name, {}, { resourceClaims: twice })));
    for (const name of names) expect(await bound(name)).toBe('n2');
    const { allocation, reservedFor = [] } = (await getClaim('shared')).status ?? {};
    expect(allocation?.devices?.results).toHaveLength(1);
    expect(reservedFor.map(({ name }) => name).sort()).toEqual(names.sort());
    // A write that met another one is made again: no pod sat out a back-off.
    const { items } = await plane.client.list(events, { namespace });
    expect(items.filter(({ message }) => message?.includes('binding rejected'))).toEqual([]);
  });

  it('move with their pod when its node goes before the binding, though the API refuses once to free them', async () => {
    let attempts = 0;
    let refusals = 0;
    await start(1, {
      through: (client) => ({
        ...client,
        update: async (...args) => {
          const [{ resource }, { status }, options] = args as unknown as ClaimWrite;
          const frees = resource === resourceClaims.resource && options?.subresource === 'status' && status?.allocation === undefined;
          if (frees) refusals += 1;
          if (frees && refusals === 1) throw new Error('etcdserver: request timed out');
          return client.update(...args);
        },
        createSubresource: async (...args) => {
          attempts += 1;
          if (attempts > 1) return client.createSubresource(...args);
          await plane.client.delete(nodes, { name: 'n2' });
          throw new Error('node n2 is gone');
        },
      }),
    });
    await addClaim('moving');
    await addSlice('n1', 1);
    // The second node is taken first.
    const affinity = { nodeAffinity: { preferredDuringSchedulingIgnoredDuringExecution: [{ weight: 100, preference: onNode('n2') }] } };
    await addPod('train', { resourceClaimName: 'moving' }, { affinity });
    expect(await bound('train')).toBe('n1');
    expect((await getClaim('moving')).status?.allocation?.devices?.results).toMatchObject([{ pool: 'n1' }]);
    expect(refusals).toBe(2);
  });

  it('stay with a pod until the outcome of its unanswered write is known', async () => {
    let late: (() => Promise<unknown>) | undefined;
    await start(1, {
      through: (client) => ({
        ...client,
        update: async (...args) => {
          const [resource, object, options] = args;
          const allocates = resource.resource === resourceClaims.resource && options?.subresource === 'status';
          if (!allocates || late !== undefined) return client.update(...args);
          late = () => client.update(resource, object, { subresource: 'status' });
          throw new Error('socket hang up');
        },
      }),
    });
    for (const name of ['first', 'second']) await addClaim(name);
    await addPod('first', { resourceClaimName: 'first' });
    await until(() => late !== undefined, { what: 'the write without an answer', intervalMs: 5 });
    await addPod('second', { resourceClaimName: 'second' });
    const allocated = async () => (await plane.client.list(resourceClaims, { namespace })).items.filter(({ status }) => status?.allocation);
    await until(async () => (await allocated()).length > 0, { what: 'a claim to have the device', intervalMs: 5 });
    await expect(late?.()).rejects.toThrow(/has been modified|not found/);
    expect(await allocated()).toHaveLength(1);
  });

  it('go to another pod when theirs is deleted before the allocation is written', async () => {
    let isHeld = true;
    await start(1, {
      through: (client) => ({
        ...client,
        update: async (...args) => {
          const [resource, , options] = args;
          if (isHeld && resource.resource === resourceClaims.resource) {
            isHeld = false;
            await new Promise((_, reject) => options?.signal?.addEventListener('abort', () => reject(options.signal?.reason as Error)));
          }
          return client.update(...args);
        },
      }),
    });
    for (const name of ['first', 'second']) await addClaim(name);
    await addPod('first', { resourceClaimName: 'first' });
    await until(() => !isHeld, { what: 'the claim to be written', intervalMs: 5 });
    await addPod('sharing', { resourceClaimName: 'first' });
    await waiting('sharing', 'resource claim default/first is in the process of being allocated');
    await addPod('second', { resourceClaimName: 'second' });
    await waiting('second', '2 cannot allocate all claims');
    await remove('sharing');
    await remove('first');
    expect(await bound('second')).toBe('n2');
  });

  it('get devices of their own, whichever profile schedules their pod', async () => {
    await start(1, {
      configuration:
        'apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\nprofiles: [{schedulerName: a}, {schedulerName: b}]',
    });
    const profiles = ['a', 'b'];
    for (const name of profiles) await addClaim(name);
    await Promise.all(profiles.map((name) => addPod(name, { resourceClaimName: name }, { schedulerName: name })));
    const isWaiting = (name: string) =>
      waiting(name, 'cannot allocate all claims').then(
        () => name,
        () => undefined,
      );
    const loser = await Promise.race(profiles.map(isWaiting));
    const winner = profiles.find((name) => name !== loser) ?? '';
    expect(await bound(winner)).toBe('n2');
    expect((await getClaim(loser ?? '')).status?.allocation).toBeUndefined();
  });

  it('have at most 256 users, and stay until the last is gone when they are deleted', async () => {
    await start(1);
    const claim = await addClaim('full');
    const users = Array.from({ length: 256 }, (_, index) => ({
      apiGroup: 'shop.example',
      resource: 'jobs',
      name: `j${index}`,
      uid: `u${index}`,
    }));
    const allocation = { devices: { results: [{ request: 'gpu', driver, pool: 'n2', device: 'gpu-0' }] } };
    const held = await plane.client.update(resourceClaims, { ...claim, metadata: { ...claim.metadata, finalizers: [claimFinalizer] } });
    const full = await plane.client.update(
      resourceClaims,
      { ...held, status: { allocation, reservedFor: users } },
      { subresource: 'status' },
    );
    await addPod('late', { resourceClaimName: 'full' });
    await waiting('late', 'resourceclaim in use');
    await plane.client.update(resourceClaims, { ...full, status: { allocation, reservedFor: [] } }, { subresource: 'status' });
    await bound('late');
    await plane.client.delete(resourceClaims, { namespace, name: 'full' });
    await addPod('later', { resourceClaimName: 'full' });
    await waiting('later', 'resourceclaim "full" is being deleted');
    expect((await getClaim('full')).status?.allocation).toBeDefined();
    await remove('late');
    await waiting('later', 'resourceclaim "full" not found');
    await addClaim('full');
    await bound('later');
  });
});
