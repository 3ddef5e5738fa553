import { type PersistentVolume, persistentVolumes } from '../../api/core/v1/persistent-volume.ts';
import { type PersistentVolumeClaim, persistentVolumeClaims } from '../../api/core/v1/persistent-volume-claim.ts';
import { type Pod, pods } from '../../api/core/v1/pod.ts';
import { claimKeysOf, claimNameOf } from '../../api/core/v1/pod-claims.ts';
import { volumeAttributesClasses } from '../../api/storage/v1/volume-attributes-class.ts';
import { finalizers } from '../../api/well-known.ts';
import type { Informer } from '../../client/informer.ts';
import { controllerOf, keyOf } from '../../machinery/object.ts';
import type { Controller, ReconcileContext } from '../../reconcile/controller.ts';
import type { ControllerDependencies } from '../../reconcile/dependencies.ts';
import { createInformedController } from '../../reconcile/informed-controller.ts';
import { isHeld, release } from '../held-objects.ts';
import { isPodFinished } from '../pod-conditions.ts';

/**
 * The three that let storage objects go once nobody uses them. Admission gives each a finalizer. These take it away when the object is to
 * be deleted and unused. A cache may be behind, so before a claim goes the server is asked for the pods.
 */

const byClaim = 'claim';
const byVolumeAttributesClass = 'volume-attributes-class';

/**
 * Pods that are over hold nothing, nor do those that have no node: they were never started. A pod does not get a claim of somebody else
 * that merely bears the name of the one to be made for it.
 */
function uses(pod: Pod, claim: PersistentVolumeClaim): boolean {
  if (isPodFinished(pod) || (pod.spec.nodeName ?? '') === '') return false;
  const isItsOwn = controllerOf(claim)?.uid === pod.metadata.uid;
  return (pod.spec.volumes ?? []).some(
    (volume) =>
      claimNameOf(pod.metadata.name, volume) === claim.metadata.name && (isItsOwn || (volume.ephemeral ?? undefined) === undefined),
  );
}

export function createClaimProtectionController(dependencies: ControllerDependencies): Controller {
  const { client, informers } = dependencies;
  const claimInformer = informers.get(persistentVolumeClaims);
  const podInformer = informers.get(pods);
  podInformer.addIndex(byClaim, claimKeysOf);

  const controller = createInformedController(dependencies, {
    name: 'pvc-protection',
    reconcile,
  });
  claimInformer.addHandler(({ after }) => {
    if (after !== undefined && isHeld(after, finalizers.pvcProtection)) controller.enqueue(keyOf(after));
  });
  podInformer.addHandler(({ before, after }) => {
    // Only a pod that stops using a claim can set it free.
    if (before === undefined || (after !== undefined && !isPodFinished(after))) return;
    for (const key of claimKeysOf(before)) if (claimInformer.getByKey(key) !== undefined) controller.enqueue(key);
  });
  return controller;

  async function reconcile(key: string, { signal }: ReconcileContext): Promise<undefined> {
    const claim = claimInformer.getByKey(key);
    if (claim === undefined || !isHeld(claim, finalizers.pvcProtection)) return;
    if (podInformer.byIndex(byClaim, key).some((pod) => uses(pod, claim))) return;
    const { items } = await client.list(pods, { namespace: claim.metadata.namespace, resourceVersion: '', signal });
    if (items.some((pod) => uses(pod, claim))) return;
    await release(client, { resource: persistentVolumeClaims, object: claim, finalizer: finalizers.pvcProtection }, signal);
  }
}

export function createVolumeProtectionController(dependencies: ControllerDependencies): Controller {
  const { client, informers } = dependencies;
  const volumeInformer: Informer<PersistentVolume> = informers.get(persistentVolumes);
  const controller = createInformedController(dependencies, {
    name: 'pv-protection',
    async reconcile(key, { signal }) {
      const volume = volumeInformer.getByKey(key);
      // A volume is used while it is bound, however its claim is doing.
      if (volume === undefined || !isHeld(volume, finalizers.pvProtection) || volume.status?.phase === 'Bound') return undefined;
      await release(client, { resource: persistentVolumes, object: volume, finalizer: finalizers.pvProtection }, signal);
      return undefined;
    },
  });
  volumeInformer.addHandler(({ after }) => {
    if (after !== undefined && isHeld(after, finalizers.pvProtection)) controller.enqueue(keyOf(after));
  });
  return controller;
}

export function createAttributesClassProtectionController(dependencies: ControllerDependencies): Controller {
  const { client, informers } = dependencies;
  const classInformer = informers.get(volumeAttributesClasses);
  const claimInformer = informers.get(persistentVolumeClaims);
  const volumeInformer = informers.get(persistentVolumes);
  claimInformer.addIndex(byVolumeAttributesClass, classesOfClaim);
  volumeInformer.addIndex(byVolumeAttributesClass, classesOfVolume);

  const controller = createInformedController(dependencies, {
    name: 'vac-protection',
    async reconcile(key, { signal }) {
      const found = classInformer.getByKey(key);
      if (found === undefined || !isHeld(found, finalizers.vacProtection)) return undefined;
      const isUsed = [claimInformer, volumeInformer].some((informer) => informer.byIndex(byVolumeAttributesClass, key).length > 0);
      if (!isUsed) await release(client, { resource: volumeAttributesClasses, object: found, finalizer: finalizers.vacProtection }, signal);
      return undefined;
    },
  });
  const enqueueAll = (names: readonly string[]): void => {
    for (const name of names) if (classInformer.getByKey(name) !== undefined) controller.enqueue(name);
  };
  classInformer.addHandler(({ after }) => {
    if (after !== undefined && isHeld(after, finalizers.vacProtection)) controller.enqueue(keyOf(after));
  });
  claimInformer.addHandler(({ before }) => {
    if (before !== undefined) enqueueAll(classesOfClaim(before));
  });
  volumeInformer.addHandler(({ before }) => {
    if (before !== undefined) enqueueAll(classesOfVolume(before));
  });
  return controller;
}

const isNamed = (name: string | null | undefined): name is string => name !== undefined && name !== null && name !== '';

function classesOfClaim({ spec, status }: PersistentVolumeClaim): readonly string[] {
  const { currentVolumeAttributesClassName, modifyVolumeStatus } = (status ?? {}) as {
    readonly currentVolumeAttributesClassName?: string;
    readonly modifyVolumeStatus?: { readonly targetVolumeAttributesClassName?: string };
  };
  const names = [spec.volumeAttributesClassName, currentVolumeAttributesClassName, modifyVolumeStatus?.targetVolumeAttributesClassName];
  return [...new Set(names.filter(isNamed))];
}

const classesOfVolume = ({ spec }: PersistentVolume): readonly string[] => [spec?.volumeAttributesClassName].filter(isNamed);
