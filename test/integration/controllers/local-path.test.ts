import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { events } from '../../../src/api/core/v1/event.ts';
import { nodes } from '../../../src/api/core/v1/node.ts';
import { type PersistentVolume, persistentVolumes } from '../../../src/api/core/v1/persistent-volume.ts';
import { type PersistentVolumeClaim, persistentVolumeClaims } from '../../../src/api/core/v1/persistent-volume-claim.ts';
import { type Pod, pods } from '../../../src/api/core/v1/pod.ts';
import { type PriorityClass, priorityClasses } from '../../../src/api/scheduling/v1/priority-class.ts';
import { csiNodes } from '../../../src/api/storage/v1/csi-node.ts';
import { type StorageClass, storageClasses } from '../../../src/api/storage/v1/storage-class.ts';
import { volumeAttachments } from '../../../src/api/storage/v1/volume-attachment.ts';
import { createMetrics } from '../../../src/base/metrics.ts';
import type { New } from '../../../src/client/client.ts';
import { createLocalPathClassController } from '../../../src/controllers/local-path/local-path-class.ts';
import {
  createLocalPathClaimController,
  createLocalPathVolumeController,
} from '../../../src/controllers/local-path/local-path-controller.ts';
import {
  createClaimProtectionController,
  createVolumeProtectionController,
} from '../../../src/controllers/protection/protection-controller.ts';
import { createClaimBindingController } from '../../../src/controllers/volume-binding/claim-controller.ts';
import { createVolumeBindingController } from '../../../src/controllers/volume-binding/volume-controller.ts';
import { createEphemeralVolumeController } from '../../../src/controllers/volume-ephemeral/ephemeral-volume-controller.ts';
import type { KubeObject } from '../../../src/machinery/object.ts';
import type { Resource } from '../../../src/machinery/resource.ts';
import { isNotFound } from '../../../src/machinery/status-error.ts';
import { createScheduler } from '../../../src/scheduler/scheduler.ts';
import { nodeOf } from '../../support/cluster-objects.ts';
import { type ControlPlane, startControlPlane } from '../../support/control-plane.ts';
import { createManualClock } from '../../support/manual-clock.ts';
import { untilBy } from '../../support/until.ts';

const namespace = 'default';
const finalizer = 'external-provisioner.volume.kubernetes.io/finalizer';
const clock = createManualClock(Date.parse('2026-01-01T00:00:00Z'));
const until = untilBy(clock);
let plane: ControlPlane;
/** For the next start of the controllers. */
let isWanted = true;
beforeAll(async () => {
  plane = await startControlPlane({
    clock,
    controllers: [
      (dependencies) => createLocalPathClassController({ ...dependencies, isWanted }),
      createClaimBindingController,
      createVolumeBindingController,
      createLocalPathClaimController,
      createLocalPathVolumeController,
      createEphemeralVolumeController,
      createClaimProtectionController,
      createVolumeProtectionController,
      (dependencies) => createScheduler({ ...dependencies, metrics: createMetrics(), random: () => 0.5 }),
    ],
  });
  await until(async () => (await plane.client.list(storageClasses)).items.length === 1, { what: 'the class local-path' });
  await addNode('n1');
  await addNode('n2', { 'topology.kubernetes.io/zone': 'east' });
});
afterAll(() => plane.stop());

async function addNode(
  name: string,
  labels: Readonly<Record<string, string>> = {},
  annotations: object | undefined = undefined,
): Promise<void> {
  const { status, ...node } = nodeOf(name, { labels });
  const metadata = { ...node.metadata, annotations: annotations ?? { 'midship.dev/storage-directory': `/data/${name}/storage` } };
  const created = await plane.client.create(nodes, { ...node, metadata: metadata as never });
  const reported = await plane.client.update(nodes, { ...created, ...(status === undefined ? {} : { status }) }, { subresource: 'status' });
  await plane.client.update(nodes, { ...reported, spec: { ...reported.spec, taints: [] } });
}

const createClaim = (name: string, spec: object = {}): Promise<PersistentVolumeClaim> =>
  plane.client.create(persistentVolumeClaims, {
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: { name, namespace },
    spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } }, ...spec },
  } as New<PersistentVolumeClaim>);

const createPod = (name: string, claimName: string, spec: object = {}): Promise<Pod> =>
  plane.client.create(pods, {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace },
    spec: {
      containers: [{ name: 'c', image: 'i' }],
      volumes: [{ name: 'data', persistentVolumeClaim: { claimName } }],
      ...spec,
    },
  } as New<Pod>);

const createVolume = (name: string, spec: object, metadata: object = {}): Promise<PersistentVolume> =>
  plane.client.create(persistentVolumes, {
    apiVersion: 'v1',
    kind: 'PersistentVolume',
    metadata: { name, ...metadata },
    spec: { capacity: { storage: '1Gi' }, accessModes: ['ReadWriteOnce'], ...spec },
  } as New<PersistentVolume>);

const createClass = (name: string, fields: object): Promise<StorageClass> =>
  plane.client.create(storageClasses, {
    apiVersion: 'storage.k8s.io/v1',
    kind: 'StorageClass',
    metadata: { name },
    provisioner: 'rancher.io/local-path',
    volumeBindingMode: 'WaitForFirstConsumer',
    ...fields,
  } as New<StorageClass>);

const claim = (name: string): Promise<PersistentVolumeClaim> => plane.client.get(persistentVolumeClaims, { namespace, name });
const volumeOf = async (name: string): Promise<PersistentVolume> =>
  plane.client.get(persistentVolumes, { name: (await claim(name)).spec.volumeName ?? '' });
const pod = (name: string): Promise<Pod> => plane.client.get(pods, { namespace, name });
const onlyOn = (name: string): object => ({ nodeSelector: { 'kubernetes.io/hostname': name } });
const boundTo = (name: string): Promise<string> => until(async () => (await pod(name)).spec.nodeName, { what: `pod ${name} to be bound` });
const reasonOf = (name: string, part: string): Promise<string> =>
  until(
    async () => {
      const message = (await pod(name)).status?.conditions?.find(({ type }) => type === 'PodScheduled')?.message;
      return message?.includes(part) === true ? message : undefined;
    },
    { what: `pod ${name} to say ${part}` },
  );
const eventOf = (name: string, reason: string): Promise<string> =>
  until(
    async () => {
      const { items } = await plane.client.list(events, { namespace });
      return items.find((event) => event.involvedObject.name === name && event.reason === reason)?.message;
    },
    { what: `Event ${reason} of ${name}` },
  );
const isGone = (resource: Resource, name: string): Promise<boolean> =>
  until(
    () =>
      plane.client.get(resource as Resource<KubeObject>, { namespace, name }).then(
        () => false,
        (err: unknown) => isNotFound(err),
      ),
    { what: `${resource.resource} ${name} to be gone` },
  );

describe('[sig-storage] the class local-path', () => {
  it('is the default, as with k3s', async () => {
    const { metadata, ...rest } = await plane.client.get(storageClasses, { name: 'local-path' });
    expect(metadata.annotations).toEqual({ 'storageclass.kubernetes.io/is-default-class': 'true' });
    expect(rest).toMatchObject({
      provisioner: 'rancher.io/local-path',
      reclaimPolicy: 'Delete',
      volumeBindingMode: 'WaitForFirstConsumer',
      allowVolumeExpansion: true,
    });
    expect((await createClaim('defaulted')).spec.storageClassName).toBe('local-path');
  });

  it('should make the volume on the node of the first pod, and bring later pods there', async () => {
    const { metadata } = await createClaim('data');
    await createPod('first', 'data', onlyOn('n2'));
    expect(await boundTo('first')).toBe('n2');
    const { spec, metadata: made, status } = await volumeOf('data');
    expect(made).toMatchObject({
      name: `pvc-${metadata.uid}`,
      annotations: { 'pv.kubernetes.io/provisioned-by': 'rancher.io/local-path', 'local.path.provisioner/selected-node': 'n2' },
      finalizers: [finalizer, 'kubernetes.io/pv-protection'],
    });
    expect(spec).toMatchObject({
      capacity: { storage: '1Gi' },
      hostPath: { path: `/data/n2/storage/pvc-${metadata.uid}_default_data`, type: 'DirectoryOrCreate' },
      persistentVolumeReclaimPolicy: 'Delete',
      nodeAffinity: {
        required: { nodeSelectorTerms: [{ matchExpressions: [{ key: 'kubernetes.io/hostname', operator: 'In', values: ['n2'] }] }] },
      },
    });
    expect(status?.phase).toBe('Bound');
    expect(await eventOf('data', 'ProvisioningSucceeded')).toBe(`Successfully provisioned volume ${made.name}`);
    await createPod('second', 'data');
    expect(await boundTo('second')).toBe('n2');
    await createPod('astray', 'data', onlyOn('n1'));
    expect(await reasonOf('astray', 'affinity')).toContain("1 node(s) didn't match PersistentVolume's node affinity");
  });

  it('should grow a claim, and its volume', async () => {
    const body = { spec: { resources: { requests: { storage: '5Gi' } } } };
    await plane.client.patch(persistentVolumeClaims, { namespace, name: 'data' }, { type: 'merge', body });
    await until(async () => (await claim('data')).status?.capacity?.storage === '5Gi', { what: 'the claim to have grown' });
    expect((await volumeOf('data')).spec.capacity).toEqual({ storage: '5Gi' });
    expect(await eventOf('data', 'VolumeResizeSuccessful')).toBe('Resize volume succeeded');
  });

  it('should delete the volume with its claim, once the agent has removed the directory', async () => {
    const { metadata } = await volumeOf('data');
    for (const name of ['first', 'second', 'astray']) await plane.client.delete(pods, { namespace, name }, { gracePeriodSeconds: 0 });
    await plane.client.delete(persistentVolumeClaims, { namespace, name: 'data' });
    const doomed = await until(
      async () => {
        const found = await plane.client.get(persistentVolumes, { name: metadata.name });
        return found.metadata.deletionTimestamp !== undefined && found.metadata.finalizers?.length === 1 ? found : undefined;
      },
      { what: 'the volume to wait for the agent' },
    );
    expect(doomed.status?.phase).toBe('Released');
    expect(doomed.metadata.finalizers).toEqual([finalizer]);
    await plane.client.update(persistentVolumes, { ...doomed, metadata: { ...doomed.metadata, finalizers: [] } });
    await isGone(persistentVolumes as Resource, metadata.name);
  });

  it('should keep the volume of a class with policy Retain, also when a person deletes it', async () => {
    await createClass('kept', { reclaimPolicy: 'Retain' });
    await createClaim('kept', { storageClassName: 'kept' });
    await createPod('keeper', 'kept');
    await boundTo('keeper');
    const { metadata } = await volumeOf('kept');
    await plane.client.delete(pods, { namespace, name: 'keeper' }, { gracePeriodSeconds: 0 });
    await plane.client.delete(persistentVolumeClaims, { namespace, name: 'kept' });
    await until(async () => (await plane.client.get(persistentVolumes, { name: metadata.name })).status?.phase === 'Released', {
      what: 'the volume to be released',
    });
    expect((await plane.client.get(persistentVolumes, { name: metadata.name })).metadata.deletionTimestamp).toBeUndefined();
    // The object goes and the agent is not asked to remove anything.
    await plane.client.delete(persistentVolumes, { name: metadata.name });
    await isGone(persistentVolumes as Resource, metadata.name);
  });

  /** A volume that is being deleted after its node, by name. */
  async function loseNode(): Promise<string> {
    await addNode('n3');
    await createClaim('lost');
    await createPod('loser', 'lost', onlyOn('n3'));
    await boundTo('loser');
    const { name } = (await volumeOf('lost')).metadata;
    await plane.client.delete(nodes, { name: 'n3' });
    await plane.client.delete(pods, { namespace, name: 'loser' }, { gracePeriodSeconds: 0 });
    await plane.client.delete(persistentVolumeClaims, { namespace, name: 'lost' });
    const isDoomed = () => plane.informers.get(persistentVolumes).getByKey(name)?.metadata.finalizers?.length === 1;
    await until(isDoomed, { what: 'the volume to wait for the agent' });
    return name;
  }

  it('should leave a volume to the agent of a node that registers again', async () => {
    const name = await loseNode();
    clock.advance(30_000);
    await addNode('n3');
    await until(() => plane.informers.get(nodes).getByKey('n3') !== undefined, { what: 'the node' });
    clock.advance(120_000);
    const volume = await plane.client.get(persistentVolumes, { name });
    expect(volume.metadata.finalizers).toEqual([finalizer]);
    await plane.client.update(persistentVolumes, { ...volume, metadata: { ...volume.metadata, finalizers: [] } });
    await isGone(persistentVolumes as Resource, name);
    await plane.client.delete(nodes, { name: 'n3' });
  });

  it('should let a volume go whose node is gone', async () => {
    const name = await loseNode();
    clock.advance(60_000);
    await isGone(persistentVolumes as Resource, name);
    expect(await eventOf(name, 'VolumeFailedDelete')).toContain('node n3 is gone');
  });

  it('should say what it cannot make', async () => {
    await createClaim('many', { accessModes: ['ReadWriteMany'] });
    await createPod('many', 'many');
    expect(await eventOf('many', 'ProvisioningFailed')).toBe(
      'failed to provision volume with StorageClass "local-path": NodePath only supports ReadWriteOnce and ReadWriteOncePod (1.22+) access modes',
    );
    await createClaim('copy', { dataSource: { kind: 'PersistentVolumeClaim', name: 'many' } });
    await createPod('copy', 'copy');
    expect(await eventOf('copy', 'ProvisioningFailed')).toContain('claim.Spec.DataSource is not supported');
    await plane.client.delete(pods, { namespace, name: 'copy' }, { gracePeriodSeconds: 0 });
    await createClass('at-once', { volumeBindingMode: 'Immediate' });
    await createClaim('at-once', { storageClassName: 'at-once' });
    expect(await eventOf('at-once', 'ProvisioningFailed')).toContain('configuration error, no node was specified');
    await createPod('at-once', 'at-once');
    expect(await reasonOf('at-once', 'unbound')).toContain('pod has unbound immediate PersistentVolumeClaims');
    await plane.client.delete(pods, { namespace, name: 'many' }, { gracePeriodSeconds: 0 });
  });

  it('should make the volume when the agent of its node says where, or its class is there again', async () => {
    await plane.client.create(nodes, nodeOf('n4', { labels: { 'kubernetes.io/hostname': 'n4' } }));
    await createClass('again', {});
    await createClaim('where');
    await createClaim('again', { storageClassName: 'again' });
    const body = { metadata: { annotations: { 'volume.kubernetes.io/selected-node': 'n4' } } };
    for (const name of ['where', 'again']) {
      await plane.client.patch(persistentVolumeClaims, { namespace, name }, { type: 'merge', body });
      expect(await eventOf(name, 'ProvisioningFailed')).toContain('node n4 has no agent that makes directories');
    }
    const isBound = (name: string) => until(async () => (await claim(name)).status?.phase === 'Bound', { what: `${name} to be bound` });
    await plane.client.delete(storageClasses, { name: 'again' });
    await until(() => plane.informers.get(storageClasses).getByKey('again') === undefined, { what: 'the class to go' });
    await plane.client.patch(
      nodes,
      { name: 'n4' },
      { type: 'merge', body: { metadata: { annotations: { 'midship.dev/storage-directory': '/data/n4/storage' } } } },
    );
    await isBound('where');
    await createClass('again', {});
    await isBound('again');
    await plane.client.delete(nodes, { name: 'n4' });
  });

  it('should make a local volume when the claim asks for it', async () => {
    await plane.client.create(persistentVolumeClaims, {
      apiVersion: 'v1',
      kind: 'PersistentVolumeClaim',
      metadata: { name: 'local', namespace, annotations: { volumeType: 'local' } },
      spec: { accessModes: ['ReadWriteOncePod'], resources: { requests: { storage: '1Gi' } } },
    } as New<PersistentVolumeClaim>);
    await createPod('local', 'local');
    await boundTo('local');
    const { spec } = await volumeOf('local');
    expect(spec.local?.path).toMatch(/^\/data\/n[12]\/storage\/pvc-/);
    expect(spec.hostPath).toBeUndefined();
  });

  it('continues after a restart between the note on the claim and the volume', async () => {
    const { metadata } = await createClaim('crashed');
    const body = { metadata: { annotations: { 'volume.kubernetes.io/selected-node': 'n1' } } };
    await plane.client.patch(persistentVolumeClaims, { namespace, name: 'crashed' }, { type: 'merge', body });
    await plane.restart();
    await until(async () => (await claim('crashed')).status?.phase === 'Bound', { what: 'the claim to be bound' });
    expect((await claim('crashed')).spec.volumeName).toBe(`pvc-${metadata.uid}`);
  });
});

describe('[sig-scheduling] pods with volumes', () => {
  it('should wait for a claim that is not there, and go on when it comes', async () => {
    await createPod('early', 'late');
    expect(await reasonOf('early', 'late')).toContain('persistentvolumeclaim "late" not found');
    await createClaim('late');
    await boundTo('early');
  });

  it('should choose the node that has a free volume, though its node affinity also names nodes that do not exist', async () => {
    await createClass('disks', { provisioner: 'kubernetes.io/no-provisioner' });
    const nodeAffinity = {
      required: {
        nodeSelectorTerms: [{ matchExpressions: [{ key: 'kubernetes.io/hostname', operator: 'In', values: ['n2', 'gone', 'never'] }] }],
      },
    };
    await createVolume('disk', { storageClassName: 'disks', local: { path: '/disks/a' }, nodeAffinity });
    await until(async () => (await plane.client.get(persistentVolumes, { name: 'disk' })).status?.phase === 'Available', {
      what: 'the disk',
    });
    for (const name of ['disk-a', 'disk-b']) {
      await createClaim(name, { storageClassName: 'disks' });
      await createPod(name, name);
    }
    // One of the two has it; the other finds none.
    const winner = await until(
      async () => ((await pod('disk-a')).spec.nodeName ? 'disk-a' : (await pod('disk-b')).spec.nodeName ? 'disk-b' : undefined),
      { what: 'one pod to be bound' },
    );
    expect((await pod(winner)).spec.nodeName).toBe('n2');
    const other = winner === 'disk-a' ? 'disk-b' : 'disk-a';
    expect(await reasonOf(other, 'find')).toContain("2 node(s) didn't find available persistent volumes to bind");
  });

  it('should let one pod at a time use a claim with the access mode ReadWriteOncePod', async () => {
    await createPod('local-too', 'local');
    expect(await reasonOf('local-too', 'ReadWriteOncePod')).toContain(
      'node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode',
    );
    await plane.client.delete(pods, { namespace, name: 'local' }, { gracePeriodSeconds: 0 });
    await boundTo('local-too');
  });

  it('should preempt lower priority pods using ReadWriteOncePod volumes', async () => {
    await plane.client.create(priorityClasses, {
      apiVersion: 'scheduling.k8s.io/v1',
      kind: 'PriorityClass',
      metadata: { name: 'high' },
      value: 1000,
    } as New<PriorityClass>);
    await createPod('urgent', 'local', { priorityClassName: 'high' });
    await until(async () => (await pod('local-too')).metadata.deletionTimestamp !== undefined, { what: 'the pod to make room' });
    await plane.client.delete(pods, { namespace, name: 'local-too' }, { gracePeriodSeconds: 0 });
    await boundTo('urgent');
  });

  it('Verify that scheduling of a pod that uses PVC that is being deleted fails and the pod becomes Unschedulable', async () => {
    await plane.client.delete(persistentVolumeClaims, { namespace, name: 'local' });
    await createPod('latecomer', 'local');
    expect(await reasonOf('latecomer', 'local')).toContain('persistentvolumeclaim "local" is being deleted');
  });

  it('should stay in the zone of a volume, and below the limit of a driver', async () => {
    const csi = (volumeHandle: string) => ({ driver: 'd.example', volumeHandle });
    for (const [name, labels] of [
      ['zoned', { 'topology.kubernetes.io/zone': 'west__south' }],
      ['one', {}],
      ['two', {}],
    ] as const) {
      await createVolume(name, { storageClassName: 'csi', csi: csi(name), claimRef: { namespace, name } }, { labels });
      await createClaim(name, { storageClassName: 'csi' });
    }
    await createPod('zoned', 'zoned', onlyOn('n2'));
    expect(await reasonOf('zoned', 'zone')).toContain('1 node(s) had no available volume zone');
    await plane.client.create(csiNodes, {
      apiVersion: 'storage.k8s.io/v1',
      kind: 'CSINode',
      metadata: { name: 'n1' },
      spec: { drivers: [{ name: 'd.example', nodeID: 'n1', allocatable: { count: 1 } }] },
    } as never);
    await createPod('one', 'one', onlyOn('n1'));
    await boundTo('one');
    await createPod('two', 'two', onlyOn('n1'));
    expect(await reasonOf('two', 'count')).toContain('1 node(s) exceed max volume count');
    // Its pod has gone, and the driver has not detached it yet.
    await plane.client.create(volumeAttachments, {
      apiVersion: 'storage.k8s.io/v1',
      kind: 'VolumeAttachment',
      metadata: { name: 'one' },
      spec: { attacher: 'd.example', nodeName: 'n1', source: { persistentVolumeName: 'one' } },
    } as never);
    await plane.client.delete(pods, { namespace, name: 'one' }, { gracePeriodSeconds: 0 });
    await createPod('three', 'two', onlyOn('n1'));
    expect(await reasonOf('three', 'count')).toContain('1 node(s) exceed max volume count');
    await plane.client.delete(volumeAttachments, { name: 'one' });
    for (const name of ['two', 'three']) await boundTo(name);
  });
});

describe('[sig-storage] Ephemeral', () => {
  const ephemeral = {
    volumeClaimTemplate: {
      metadata: { labels: { a: 'b' } },
      spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } } },
    },
  };

  it('should create a claim that belongs to the pod', async () => {
    await createPod('scratch', '', { volumes: [{ name: 'tmp', ephemeral }] });
    await boundTo('scratch');
    const made = await claim('scratch-tmp');
    expect(made.metadata.labels).toEqual({ a: 'b' });
    expect(made.metadata.ownerReferences).toEqual([
      expect.objectContaining({ apiVersion: 'v1', kind: 'Pod', name: 'scratch', controller: true, blockOwnerDeletion: true }),
    ]);
    expect(made.status?.phase).toBe('Bound');
  });

  it('should not take a claim that is not of the pod', async () => {
    await createClaim('thief-tmp');
    await createPod('thief', '', { volumes: [{ name: 'tmp', ephemeral }] });
    expect(await reasonOf('thief', 'owner')).toContain('PVC default/thief-tmp was not created for pod default/thief (pod is not owner)');
  });

  it('should make the claim of a pod when another of its name is gone', async () => {
    await createClaim('heir-tmp');
    // The scheduler leaves it alone, so nothing but the claim changes.
    await createPod('heir', '', { nodeName: 'n1', volumes: [{ name: 'tmp', ephemeral }] });
    await eventOf('heir', 'FailedBinding');
    await plane.client.delete(persistentVolumeClaims, { namespace, name: 'heir-tmp' });
    const ownerOf = async () => (await claim('heir-tmp').catch(() => undefined))?.metadata.ownerReferences?.[0]?.name === 'heir';
    await until(ownerOf, { what: 'the claim of the pod' });
  });
});

describe('--disable local-storage', () => {
  const provisionerOf = async (name: string) =>
    (await plane.client.list(storageClasses)).items.find(({ metadata }) => metadata.name === name)?.provisioner;

  it('should take the class away, but not one that a person made of that name', async () => {
    isWanted = false;
    await plane.restart();
    const made = { apiVersion: 'storage.k8s.io/v1', kind: 'StorageClass', metadata: { name: 'local-path' } } as const;
    await until(async () => (await provisionerOf('local-path')) === undefined, { what: 'the class goes' });
    await plane.client.create(storageClasses, { ...made, provisioner: 'd.example' });
    await plane.restart();
    // The controllers have looked at their objects by then.
    await createPod('late', '', {
      volumes: [
        {
          name: 'tmp',
          ephemeral: { volumeClaimTemplate: { spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Mi' } } } } },
        },
      ],
    });
    await until(async () => (await plane.client.list(persistentVolumeClaims)).items.some(({ metadata }) => metadata.name === 'late-tmp'), {
      what: 'the claim of a later pod',
    });
    expect(await provisionerOf('local-path')).toBe('d.example');
  });
});
