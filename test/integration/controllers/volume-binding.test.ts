import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { events } from '../../../src/api/core/v1/event.ts';
import { type PersistentVolume, persistentVolumes } from '../../../src/api/core/v1/persistent-volume.ts';
import { type PersistentVolumeClaim, persistentVolumeClaims } from '../../../src/api/core/v1/persistent-volume-claim.ts';
import { pods } from '../../../src/api/core/v1/pod.ts';
import { type StorageClass, storageClasses } from '../../../src/api/storage/v1/storage-class.ts';
import type { New } from '../../../src/client/client.ts';
import { createClaimBindingController } from '../../../src/controllers/volume-binding/claim-controller.ts';
import { createVolumeBindingController } from '../../../src/controllers/volume-binding/volume-controller.ts';
import { stateOf as claimStateOf } from '../../../src/lifecycle/persistent-volume-claim.facts.ts';
import { type ControlPlane, startControlPlane } from '../../support/control-plane.ts';
import { createManualClock } from '../../support/manual-clock.ts';
import { untilBy } from '../../support/until.ts';

const namespace = 'default';
const clock = createManualClock(Date.parse('2026-01-01T00:00:00Z'));
const until = untilBy(clock);
let plane: ControlPlane;
beforeAll(async () => {
  plane = await startControlPlane({ clock, controllers: [createClaimBindingController, createVolumeBindingController] });
});
afterAll(() => plane.stop());

const createVolume = (name: string, spec: object = {}, metadata: object = {}): Promise<PersistentVolume> =>
  plane.client.create(persistentVolumes, {
    apiVersion: 'v1',
    kind: 'PersistentVolume',
    metadata: { name, ...metadata },
    spec: { capacity: { storage: '1Gi' }, accessModes: ['ReadWriteOnce'], hostPath: { path: `/volumes/${name}` }, ...spec },
  } as New<PersistentVolume>);

const createClaim = (name: string, spec: object = {}): Promise<PersistentVolumeClaim> =>
  plane.client.create(persistentVolumeClaims, {
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: { name, namespace },
    spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } }, ...spec },
  } as New<PersistentVolumeClaim>);

const createClass = (name: string, fields: object = {}): Promise<StorageClass> =>
  plane.client.create(storageClasses, {
    apiVersion: 'storage.k8s.io/v1',
    kind: 'StorageClass',
    metadata: { name },
    provisioner: 'driver.example.com',
    ...fields,
  } as New<StorageClass>);

const volume = (name: string): Promise<PersistentVolume> => plane.client.get(persistentVolumes, { name });
const claim = (name: string): Promise<PersistentVolumeClaim> => plane.client.get(persistentVolumeClaims, { namespace, name });

async function isPhase(kind: 'claim' | 'volume', name: string, phase: string): Promise<void> {
  await until(async () => (await (kind === 'claim' ? claim(name) : volume(name))).status?.phase === phase, {
    what: `${kind} ${name} to be ${phase}`,
  });
}

const eventOf = (name: string, reason: string): Promise<string> =>
  until(
    async () => {
      const { items } = await plane.client.list(events, { namespace });
      return items.find((event) => event.involvedObject.name === name && event.reason === reason)?.message;
    },
    { what: `Event ${reason} of ${name}` },
  );

const deleteClaim = (name: string): Promise<void> =>
  plane.client
    .patch(persistentVolumeClaims, { namespace, name }, { type: 'merge', body: { metadata: { finalizers: null } } })
    .then(() => plane.client.delete(persistentVolumeClaims, { namespace, name }));

describe('[sig-storage] PersistentVolumes', () => {
  it('create a PVC and non-pre-bound PV', async () => {
    await createVolume('plain', { storageClassName: 'plain' });
    await isPhase('volume', 'plain', 'Available');
    await createClaim('plain', { storageClassName: 'plain' });
    await isPhase('claim', 'plain', 'Bound');
    const bound = await claim('plain');
    expect(bound.spec.volumeName).toBe('plain');
    expect(bound.metadata.annotations).toMatchObject({
      'pv.kubernetes.io/bind-completed': 'yes',
      'pv.kubernetes.io/bound-by-controller': 'yes',
    });
    expect(bound.status).toMatchObject({ accessModes: ['ReadWriteOnce'], capacity: { storage: '1Gi' } });
    const { spec, status, metadata } = await volume('plain');
    expect(spec.claimRef).toMatchObject({ kind: 'PersistentVolumeClaim', namespace, name: 'plain', uid: bound.metadata.uid });
    expect(metadata.annotations).toEqual({ 'pv.kubernetes.io/bound-by-controller': 'yes' });
    expect(status?.phase).toBe('Bound');
    expect(claimStateOf(bound)).toBe('Bound');
  });

  it('create a PVC and a pre-bound PV', async () => {
    await createVolume('reserved', { storageClassName: 'reserved', capacity: { storage: '5Gi' }, claimRef: { namespace, name: 'owner' } });
    await createVolume('reserved-smaller', { storageClassName: 'reserved' });
    await isPhase('volume', 'reserved-smaller', 'Available');
    await isPhase('volume', 'reserved', 'Available');
    await createClaim('owner', { storageClassName: 'reserved' });
    await isPhase('claim', 'owner', 'Bound');
    expect((await claim('owner')).spec.volumeName).toBe('reserved');
    // A person wrote the reference, so a release leaves it.
    expect((await volume('reserved')).metadata.annotations).toBeUndefined();
    expect((await volume('reserved-smaller')).status?.phase).toBe('Available');
  });

  it('create a PV and a pre-bound PVC', async () => {
    await createClaim('early', { storageClassName: 'early', volumeName: 'wanted' });
    await createVolume('wanted', { storageClassName: 'early' });
    await isPhase('claim', 'early', 'Bound');
    expect((await claim('early')).metadata.annotations).toEqual({ 'pv.kubernetes.io/bind-completed': 'yes' });
    await isPhase('volume', 'wanted', 'Bound');
  });

  it('should not bind a pre-bound PVC to a PV that does not satisfy it', async () => {
    await createVolume('unfit', { storageClassName: 'unfit', capacity: { storage: '10Mi' } });
    await createClaim('unfit', { storageClassName: 'unfit', volumeName: 'unfit' });
    expect(await eventOf('unfit', 'VolumeMismatch')).toBe('Cannot bind to requested volume "unfit": requested PV is too small');
    expect((await claim('unfit')).status?.phase).toBe('Pending');
    await createClaim('late', { storageClassName: 'plain', volumeName: 'plain' });
    expect(await eventOf('late', 'FailedBinding')).toBe('volume "plain" already bound to a different claim.');
  });

  it('create 4 PVs and 2 PVCs: the smallest that fits is bound', async () => {
    const storageClassName = 'sizes';
    for (const [name, storage] of [
      ['large', '50Gi'],
      ['medium', '10Gi'],
      ['tiny', '1Gi'],
    ] as const) {
      await createVolume(name, { storageClassName, capacity: { storage } });
      await isPhase('volume', name, 'Available');
    }
    const modes = ['ReadWriteOnce', 'ReadOnlyMany'];
    await createVolume('many', { storageClassName, capacity: { storage: '5Gi' }, accessModes: modes });
    await isPhase('volume', 'many', 'Available');
    await createClaim('five', { storageClassName, resources: { requests: { storage: '5Gi' } } });
    await isPhase('claim', 'five', 'Bound');
    // Fewer access modes come before a smaller size.
    expect((await claim('five')).spec.volumeName).toBe('medium');
    await createClaim('readers', { storageClassName, accessModes: ['ReadOnlyMany'] });
    await isPhase('claim', 'readers', 'Bound');
    expect((await claim('readers')).spec.volumeName).toBe('many');
  });

  it('should bind by selector and volumeMode', async () => {
    const storageClassName = 'selected';
    await createVolume('block', { storageClassName, volumeMode: 'Block' }, { labels: { tier: 'gold' } });
    await createVolume('silver', { storageClassName }, { labels: { tier: 'silver' } });
    await createVolume('gold', { storageClassName, capacity: { storage: '2Gi' } }, { labels: { tier: 'gold' } });
    for (const name of ['block', 'silver', 'gold']) await isPhase('volume', name, 'Available');
    await createClaim('gold', { storageClassName, selector: { matchLabels: { tier: 'gold' } } });
    await isPhase('claim', 'gold', 'Bound');
    expect((await claim('gold')).spec.volumeName).toBe('gold');
  });

  it('should say that no volume fits and no class is set', async () => {
    await createClaim('hopeless', { storageClassName: '' });
    expect(await eventOf('hopeless', 'FailedBinding')).toBe('no persistent volumes available for this claim and no storage class is set');
    await createVolume('hope');
    await isPhase('claim', 'hopeless', 'Bound');
  });

  it('should keep the data of a volume with policy Retain', async () => {
    await createVolume('kept', { storageClassName: 'kept', persistentVolumeReclaimPolicy: 'Retain' });
    await createClaim('kept', { storageClassName: 'kept' });
    await isPhase('claim', 'kept', 'Bound');
    await deleteClaim('kept');
    await isPhase('volume', 'kept', 'Released');
    // Another claim of that name must not see the data of the first.
    await createClaim('kept', { storageClassName: 'kept' });
    await isPhase('claim', 'kept', 'Pending');
    expect((await volume('kept')).status?.phase).toBe('Released');
    // A person frees it.
    await plane.client.patch(persistentVolumes, { name: 'kept' }, { type: 'merge', body: { spec: { claimRef: null } } });
    await isPhase('claim', 'kept', 'Bound');
  });

  it('should fail a volume with policy Delete that no provisioner made', async () => {
    await createVolume('foreign', { storageClassName: 'foreign', persistentVolumeReclaimPolicy: 'Delete' });
    await createClaim('foreign', { storageClassName: 'foreign' });
    await isPhase('claim', 'foreign', 'Bound');
    await deleteClaim('foreign');
    await isPhase('volume', 'foreign', 'Failed');
    const message = 'error getting deleter volume plugin for volume "foreign": no deletable volume plugin matched';
    expect((await volume('foreign')).status?.message).toBe(message);
    expect(await eventOf('foreign', 'VolumeFailedDelete')).toBe(message);
  });

  it('should mark a claim as Lost when its volume is removed, and bind it again when the volume comes back', async () => {
    await createVolume('fleeting', { storageClassName: 'fleeting' });
    await createClaim('fleeting', { storageClassName: 'fleeting' });
    await isPhase('claim', 'fleeting', 'Bound');
    await plane.client.patch(persistentVolumes, { name: 'fleeting' }, { type: 'merge', body: { metadata: { finalizers: null } } });
    await plane.client.delete(persistentVolumes, { name: 'fleeting' });
    await isPhase('claim', 'fleeting', 'Lost');
    expect(await eventOf('fleeting', 'ClaimLost')).toBe('Bound claim has lost its PersistentVolume. Data on the volume is lost!');
    expect((await claim('fleeting')).status).toEqual({ phase: 'Lost' });
    await createVolume('fleeting', { storageClassName: 'fleeting' });
    await isPhase('claim', 'fleeting', 'Bound');
  });
});

describe('[sig-storage] Dynamic Provisioning', () => {
  it('should ask the provisioner of the class', async () => {
    await createClass('fast');
    await createClaim('asks', { storageClassName: 'fast' });
    expect(await eventOf('asks', 'ExternalProvisioning')).toContain("by the external provisioner 'driver.example.com'");
    expect((await claim('asks')).metadata.annotations).toEqual({
      'volume.beta.kubernetes.io/storage-provisioner': 'driver.example.com',
      'volume.kubernetes.io/storage-provisioner': 'driver.example.com',
    });
    const { uid } = (await claim('asks')).metadata;
    const made = { metadata: { annotations: { 'pv.kubernetes.io/provisioned-by': 'driver.example.com' } } };
    const spec = { storageClassName: 'fast', persistentVolumeReclaimPolicy: 'Delete', claimRef: { namespace, name: 'asks', uid } };
    await createVolume('made', spec, made.metadata);
    await isPhase('claim', 'asks', 'Bound');
    await isPhase('volume', 'made', 'Bound');
    // The provisioner deletes what it made: here the volume is only released.
    await deleteClaim('asks');
    await isPhase('volume', 'made', 'Released');
  });

  it('should release a spare volume that a provisioner made for a claim which got another one', async () => {
    await createClass('twice');
    await createClaim('twice', { storageClassName: 'twice' });
    const { uid } = (await claim('twice')).metadata;
    const spec = { storageClassName: 'twice', persistentVolumeReclaimPolicy: 'Delete', claimRef: { namespace, name: 'twice', uid } };
    const metadata = { annotations: { 'pv.kubernetes.io/provisioned-by': 'driver.example.com' } };
    await createVolume('twice-a', spec, metadata);
    await isPhase('claim', 'twice', 'Bound');
    await createVolume('twice-b', spec, metadata);
    await isPhase('volume', 'twice-b', 'Released');
    expect((await volume('twice-a')).status?.phase).toBe('Bound');
  });

  it('should say why no volume is made', async () => {
    await createClaim('classless', { storageClassName: 'nowhere' });
    expect(await eventOf('classless', 'ProvisioningFailed')).toBe('storageclass.storage.k8s.io "nowhere" not found');
    await createClass('none', { provisioner: 'kubernetes.io/no-provisioner' });
    await createClaim('unprovided', { storageClassName: 'none' });
    expect(await eventOf('unprovided', 'ProvisioningFailed')).toBe('no volume plugin matched name: kubernetes.io/no-provisioner');
    // The class may come later.
    await createClass('nowhere');
    await eventOf('classless', 'ExternalProvisioning');
  });
});

describe('[sig-storage] volume binding mode WaitForFirstConsumer', () => {
  it('should wait for the first pod, and then for its node', async () => {
    await createClass('later', { volumeBindingMode: 'WaitForFirstConsumer' });
    await createVolume('later', { storageClassName: 'later' });
    await isPhase('volume', 'later', 'Available');
    await createClaim('later', { storageClassName: 'later' });
    expect(await eventOf('later', 'WaitForFirstConsumer')).toBe('waiting for first consumer to be created before binding');
    await plane.client.create(pods, {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'first', namespace },
      spec: { containers: [{ name: 'c', image: 'i' }], volumes: [{ name: 'v', persistentVolumeClaim: { claimName: 'later' } }] },
    });
    expect(await eventOf('later', 'WaitForPodScheduled')).toBe('waiting for pod first to be scheduled');
    expect((await volume('later')).status?.phase).toBe('Available');
    // The scheduler has a node, where no volume is.
    const body = { metadata: { annotations: { 'volume.kubernetes.io/selected-node': 'node-a' } } };
    await plane.client.patch(persistentVolumeClaims, { namespace, name: 'later' }, { type: 'merge', body });
    await eventOf('later', 'ExternalProvisioning');
  });
});

describe('[sig-storage] Persistent Volume Claim and StorageClass', () => {
  it('should assign default SC to PVCs that have no SC set', async () => {
    await createClaim('retroactive');
    await eventOf('retroactive', 'FailedBinding');
    await createClass('standard', {
      metadata: { name: 'standard', annotations: { 'storageclass.kubernetes.io/is-default-class': 'true' } },
    });
    await until(async () => (await claim('retroactive')).spec.storageClassName === 'standard', { what: 'the class of the claim' });
    await plane.client.delete(storageClasses, { name: 'standard' });
  });

  it('continues after a restart in the middle of a binding', async () => {
    // The volume names the claim already; the claim knows nothing of it.
    await plane.client.create(persistentVolumeClaims, {
      apiVersion: 'v1',
      kind: 'PersistentVolumeClaim',
      metadata: { name: 'half', namespace },
      spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } }, storageClassName: 'half' },
    });
    const { uid } = (await claim('half')).metadata;
    await createVolume('half', { storageClassName: 'half', claimRef: { kind: 'PersistentVolumeClaim', namespace, name: 'half', uid } });
    await plane.restart();
    await isPhase('claim', 'half', 'Bound');
    await isPhase('volume', 'half', 'Bound');
  });
});
