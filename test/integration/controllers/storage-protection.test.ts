import { afterAll, beforeAll, expect, it } from 'vitest';
import { persistentVolumes } from '../../../src/api/core/v1/persistent-volume.ts';
import { persistentVolumeClaims } from '../../../src/api/core/v1/persistent-volume-claim.ts';
import { pods } from '../../../src/api/core/v1/pod.ts';
import { volumeAttributesClasses } from '../../../src/api/storage/v1/volume-attributes-class.ts';
import {
  createAttributesClassProtectionController,
  createClaimProtectionController,
  createVolumeProtectionController,
} from '../../../src/controllers/protection/protection-controller.ts';
import type { KubeObject, ObjectRef } from '../../../src/machinery/object.ts';
import type { Resource } from '../../../src/machinery/resource.ts';
import { isNotFound } from '../../../src/machinery/status-error.ts';
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
    controllers: [createClaimProtectionController, createVolumeProtectionController, createAttributesClassProtectionController],
  });
});
afterAll(() => plane.stop());

const isGone = (resource: Resource, ref: ObjectRef) =>
  until(
    () =>
      plane.client.get(resource, ref).then(
        () => false,
        (err: unknown) => isNotFound(err),
      ),
    { what: `${resource.resource} ${ref.name} to be gone` },
  );

const claim = (name: string, spec: object = {}) => ({
  apiVersion: 'v1',
  kind: 'PersistentVolumeClaim',
  metadata: { name, namespace },
  spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } }, ...spec },
});

it('keeps a claim while a pod on a node uses it', async () => {
  const { client } = plane;
  const made = await client.create(persistentVolumeClaims, claim('data'));
  expect(made.metadata.finalizers).toEqual(['kubernetes.io/pvc-protection']);
  await client.create(pods, {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'user', namespace },
    spec: {
      nodeName: 'n',
      containers: [{ name: 'c', image: 'i' }],
      volumes: [{ name: 'v', persistentVolumeClaim: { claimName: 'data' } }],
    },
  });
  await client.delete(persistentVolumeClaims, { namespace, name: 'data' });
  // One that nobody uses goes meanwhile: by then the first has been looked at.
  await client.create(persistentVolumeClaims, claim('unused'));
  await client.delete(persistentVolumeClaims, { namespace, name: 'unused' });
  await isGone(persistentVolumeClaims as Resource, { namespace, name: 'unused' });
  expect((await client.get(persistentVolumeClaims, { namespace, name: 'data' })).metadata.deletionTimestamp).toBeDefined();
  await client.delete(pods, { namespace, name: 'user' }, { gracePeriodSeconds: 0 });
  await isGone(persistentVolumeClaims as Resource, { namespace, name: 'data' });
});

it('keeps a volume while it is bound', async () => {
  const { client } = plane;
  const volume = {
    apiVersion: 'v1',
    kind: 'PersistentVolume',
    metadata: { name: 'pv' },
    spec: { capacity: { storage: '1Gi' }, accessModes: ['ReadWriteOnce'], hostPath: { path: '/x' } },
  };
  expect((await client.create(persistentVolumes, volume as never)).metadata.finalizers).toEqual(['kubernetes.io/pv-protection']);
  await client.patch(persistentVolumes, { name: 'pv' }, { type: 'merge', body: { status: { phase: 'Bound' } } }, { subresource: 'status' });
  await client.delete(persistentVolumes, { name: 'pv' });
  expect((await client.get(persistentVolumes, { name: 'pv' })).metadata.deletionTimestamp).toBeDefined();
  await client.patch(
    persistentVolumes,
    { name: 'pv' },
    { type: 'merge', body: { status: { phase: 'Released' } } },
    { subresource: 'status' },
  );
  await isGone(persistentVolumes as Resource, { name: 'pv' });
});

it('keeps a class of attributes while a claim asks for it', async () => {
  const { client } = plane;
  const kind = { apiVersion: 'storage.k8s.io/v1', kind: 'VolumeAttributesClass' };
  const made: KubeObject = await client.create(volumeAttributesClasses, {
    ...kind,
    metadata: { name: 'fast' },
    driverName: 'd.example',
    parameters: { a: 'b' },
  });
  expect(made.metadata.finalizers).toEqual(['kubernetes.io/vac-protection']);
  await client.create(persistentVolumeClaims, claim('asks', { volumeAttributesClassName: 'fast' }));
  await client.delete(volumeAttributesClasses, { name: 'fast' });
  expect((await client.get(volumeAttributesClasses, { name: 'fast' })).metadata.deletionTimestamp).toBeDefined();
  await client.delete(persistentVolumeClaims, { namespace, name: 'asks' });
  await isGone(volumeAttributesClasses as Resource, { name: 'fast' });
});
