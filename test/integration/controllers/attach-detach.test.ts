import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { events } from '../../../src/api/core/v1/event.ts';
import { nodes } from '../../../src/api/core/v1/node.ts';
import { type PersistentVolume, persistentVolumes } from '../../../src/api/core/v1/persistent-volume.ts';
import { type PersistentVolumeClaim, persistentVolumeClaims } from '../../../src/api/core/v1/persistent-volume-claim.ts';
import { type Pod, pods } from '../../../src/api/core/v1/pod.ts';
import { csiDrivers } from '../../../src/api/storage/v1/csi-driver.ts';
import { type StorageClass, storageClasses } from '../../../src/api/storage/v1/storage-class.ts';
import { type VolumeAttachment, volumeAttachments } from '../../../src/api/storage/v1/volume-attachment.ts';
import type { New } from '../../../src/client/client.ts';
import { createAttachDetachController } from '../../../src/controllers/volume-attachment/attach-detach-controller.ts';
import { createExpansionController } from '../../../src/controllers/volume-attachment/expansion-controller.ts';
import { createClaimBindingController } from '../../../src/controllers/volume-binding/claim-controller.ts';
import { createVolumeBindingController } from '../../../src/controllers/volume-binding/volume-controller.ts';
import { nodeOf } from '../../support/cluster-objects.ts';
import { type ControlPlane, startControlPlane } from '../../support/control-plane.ts';
import { createManualClock } from '../../support/manual-clock.ts';
import { untilBy } from '../../support/until.ts';

const namespace = 'default';
const clock = createManualClock(Date.parse('2026-01-01T00:00:00Z'));
const until = untilBy(clock);
let plane: ControlPlane;
beforeAll(async () => {
  plane = await startControlPlane({
    clock,
    controllers: [createClaimBindingController, createVolumeBindingController, createAttachDetachController, createExpansionController],
  });
  for (const name of ['n1', 'n2']) await plane.client.create(nodes, nodeOf(name));
  await driver('d.example', true);
  await driver('free.example', false);
  await plane.client.create(storageClasses, {
    apiVersion: 'storage.k8s.io/v1',
    kind: 'StorageClass',
    metadata: { name: 'csi' },
    provisioner: 'd.example',
    allowVolumeExpansion: true,
  } as New<StorageClass>);
});
afterAll(() => plane.stop());

const driver = (name: string, attachRequired: boolean) =>
  plane.client.create(csiDrivers, {
    apiVersion: 'storage.k8s.io/v1',
    kind: 'CSIDriver',
    metadata: { name },
    spec: { attachRequired },
  });

/** A claim that a driver's provisioner has served. */
async function bound(name: string, driverName = 'd.example', accessModes: readonly string[] = ['ReadWriteOnce']): Promise<void> {
  const { client } = plane;
  const { metadata } = await client.create(persistentVolumeClaims, {
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: { name, namespace },
    spec: { accessModes, resources: { requests: { storage: '1Gi' } }, storageClassName: 'csi' },
  } as New<PersistentVolumeClaim>);
  await client.create(persistentVolumes, {
    apiVersion: 'v1',
    kind: 'PersistentVolume',
    metadata: { name, annotations: { 'pv.kubernetes.io/provisioned-by': driverName } },
    spec: {
      capacity: { storage: '1Gi' },
      accessModes,
      storageClassName: 'csi',
      csi: { driver: driverName, volumeHandle: `handle-${name}` },
      claimRef: { kind: 'PersistentVolumeClaim', apiVersion: 'v1', namespace, name, uid: metadata.uid },
    },
  } as New<PersistentVolume>);
  await until(async () => (await client.get(persistentVolumeClaims, { namespace, name })).status?.phase === 'Bound', {
    what: `claim ${name}`,
  });
}

const createPod = (name: string, claimName: string, nodeName: string): Promise<Pod> =>
  plane.client.create(pods, {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace },
    spec: { nodeName, containers: [{ name: 'c', image: 'i' }], volumes: [{ name: 'v', persistentVolumeClaim: { claimName } }] },
  } as New<Pod>);
const deletePod = (name: string): Promise<void> => plane.client.delete(pods, { namespace, name }, { gracePeriodSeconds: 0 });

const attachmentsOf = async (volume: string): Promise<readonly VolumeAttachment[]> =>
  (await plane.client.list(volumeAttachments)).items.filter(({ spec }) => spec.source?.persistentVolumeName === volume);
const attachmentOf = (volume: string, nodeName: string): Promise<VolumeAttachment> =>
  until(async () => (await attachmentsOf(volume)).find(({ spec }) => spec.nodeName === nodeName), {
    what: `attachment of ${volume} to ${nodeName}`,
  });
const setStatus = (attachment: VolumeAttachment, status: object): Promise<VolumeAttachment> =>
  plane.client.update(volumeAttachments, { ...attachment, status: status as never }, { subresource: 'status' });
const eventOf = (name: string, reason: string): Promise<string> =>
  until(
    async () => {
      const { items } = await plane.client.list(events, { namespace });
      return items.find((event) => event.involvedObject.name === name && event.reason === reason)?.message;
    },
    { what: `Event ${reason} of ${name}` },
  );
const minute = 60_000;
const setReady = (name: string, status: string) =>
  plane.client.patch(
    nodes,
    { name },
    { type: 'merge', body: { status: { conditions: [{ type: 'Ready', status }] } } },
    { subresource: 'status' },
  );
let settling = 0;
/** Waits until another volume came to a node and went: what was due before it has been looked at. */
async function settled(nodeName: string): Promise<void> {
  const name = `settling-${++settling}`;
  await bound(name, 'd.example', ['ReadOnlyMany']);
  await createPod(name, name, nodeName);
  await attachmentOf(name, nodeName);
  await deletePod(name);
  await until(async () => (await attachmentsOf(name)).length === 0, { what: `${name} to be gone` });
}
const listed = async (name: string): Promise<readonly string[]> =>
  ((await plane.client.get(nodes, { name })).status?.volumesAttached ?? []).map((volume) => volume.name);

describe('[sig-storage] CSI attach', () => {
  it('should require VolumeAttach for drivers with attachment', async () => {
    await bound('data');
    await createPod('user', 'data', 'n1');
    const attachment = await attachmentOf('data', 'n1');
    expect(attachment.spec).toEqual({ attacher: 'd.example', nodeName: 'n1', source: { persistentVolumeName: 'data' } });
    // sha256 of handle, driver and node, by which attachers and kubelets find the object again.
    expect(attachment.metadata.name).toBe('csi-81bbe31481308a52646ba8cec544eff2ea797ec12b7ee2148c3cfb7df0f6fefd');
    await setStatus(attachment, { attached: true });
    expect(await eventOf('user', 'SuccessfulAttachVolume')).toBe('AttachVolume.Attach succeeded for volume "data" ');
    expect(await listed('n1')).toEqual(['kubernetes.io/csi/d.example^handle-data']);
  });

  it('should not attach a volume to a second node while the first has it', async () => {
    await createPod('rival', 'data', 'n2');
    expect(await eventOf('rival', 'FailedAttachVolume')).toBe('Multi-Attach error for volume "data" Volume is already used by pod(s) user');
    expect(await attachmentsOf('data')).toHaveLength(1);
    await deletePod('user');
    await attachmentOf('data', 'n2');
    await until(async () => (await attachmentsOf('data')).length === 1, { what: 'the first attachment to be gone' });
    expect(await listed('n1')).toEqual([]);
  });

  it('should wait until the kubelet has unmounted the volume', async () => {
    const volumesInUse = ['kubernetes.io/csi/d.example^handle-data'];
    const patch = (inUse: readonly string[] | null) =>
      plane.client.patch(nodes, { name: 'n2' }, { type: 'merge', body: { status: { volumesInUse: inUse } } }, { subresource: 'status' });
    await patch(volumesInUse);
    await deletePod('rival');
    // A volume of another pod goes meanwhile: by then the first has been looked at.
    await bound('other');
    await createPod('other', 'other', 'n2');
    await attachmentOf('other', 'n2');
    await deletePod('other');
    await until(async () => (await attachmentsOf('other')).length === 0, { what: 'the other attachment to be gone' });
    expect(await attachmentsOf('data')).toHaveLength(1);
    await setReady('n2', 'True');
    clock.advance(7 * minute);
    await settled('n2');
    expect(await attachmentsOf('data')).toHaveLength(1);
    await patch(null);
    await until(async () => (await attachmentsOf('data')).length === 0, { what: 'the attachment to be gone', timeoutMs: 20_000 });
  });

  it('should take a volume from a node that is not ready, or was deleted, only after six minutes', async () => {
    const { client } = plane;
    for (const name of ['n3', 'n4']) {
      await client.create(nodes, nodeOf(name));
      await bound(name);
      await createPod(name, name, name);
      await attachmentOf(name, name);
      const body = { status: { volumesInUse: [`kubernetes.io/csi/d.example^handle-${name}`] } };
      await client.patch(nodes, { name }, { type: 'merge', body }, { subresource: 'status' });
    }
    await client.delete(nodes, { name: 'n4' });
    await settled('n1');
    expect(await attachmentsOf('n4')).toHaveLength(1);
    for (const name of ['n3', 'n4']) await deletePod(name);
    await settled('n2');
    clock.advance(5 * minute);
    await settled('n1');
    for (const name of ['n3', 'n4']) expect(await attachmentsOf(name)).toHaveLength(1);
    clock.advance(2 * minute);
    for (const name of ['n3', 'n4'])
      await until(async () => (await attachmentsOf(name)).length === 0, { what: `${name} without a volume` });
  });

  it('should attach a volume of many readers to several nodes', async () => {
    await bound('shared', 'd.example', ['ReadOnlyMany']);
    await createPod('reader-1', 'shared', 'n1');
    await createPod('reader-2', 'shared', 'n2');
    await attachmentOf('shared', 'n1');
    await attachmentOf('shared', 'n2');
  });

  it('should preserve attachment policy when no CSIDriver present, and say why one fails', async () => {
    await bound('unknown', 'unknown.example');
    await createPod('unknown', 'unknown', 'n1');
    const attachment = await attachmentOf('unknown', 'n1');
    await setStatus(attachment, { attached: false, attachError: { message: 'no such disk', time: '2026-01-01T00:00:00Z' } });
    expect(await eventOf('unknown', 'FailedAttachVolume')).toBe('AttachVolume.Attach failed for volume "unknown" : no such disk');
  });

  it('should not require VolumeAttach for drivers without attachment', async () => {
    await bound('free', 'free.example');
    await createPod('free', 'free', 'n1');
    await bound('last');
    await createPod('last', 'last', 'n1');
    await attachmentOf('last', 'n1');
    expect(await attachmentsOf('free')).toEqual([]);
  });

  it('should take a volume off the list of a Node when its attachment went without the controller', async () => {
    await bound('left');
    const body = { status: { volumesAttached: [{ name: 'kubernetes.io/csi/d.example^handle-left', devicePath: '' }] } };
    await plane.client.patch(nodes, { name: 'n2' }, { type: 'merge', body }, { subresource: 'status' });
    // As after a start: each volume is looked at.
    await plane.restart();
    await until(async () => !(await listed('n2')).includes('kubernetes.io/csi/d.example^handle-left'), { what: 'n2 without the volume' });
  });

  it('should wait for a controller of the driver to expand a claim', async () => {
    const body = { spec: { resources: { requests: { storage: '2Gi' } } } };
    await plane.client.patch(persistentVolumeClaims, { namespace, name: 'last' }, { type: 'merge', body });
    expect(await eventOf('last', 'ExternalExpanding')).toBe('waiting for an external controller to expand this PVC');
  });
});
