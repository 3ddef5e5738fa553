import type { PersistentVolume } from '../api/core/v1/persistent-volume.ts';
import type { PersistentVolumeClaim } from '../api/core/v1/persistent-volume-claim.ts';
import { finalizers, labels, volumeAnnotations } from '../api/well-known.ts';

/** Volumes that are directories of a node: what the provisioner of the control plane and the node's agent agree on. */

/** The name that k3s' provisioner has, so that manifests written for k3s run. */
export const localPathProvisioner = 'rancher.io/local-path';

export const isLocalPathVolume = ({ metadata }: PersistentVolume): boolean =>
  metadata.annotations?.[volumeAnnotations.provisionedBy] === localPathProvisioner;

export const localPathNameOf = ({ metadata }: PersistentVolumeClaim): string => `pvc-${metadata.uid ?? ''}`;

/** Longest name of a directory on Linux. */
const maxNameBytes = 255;

/**
 * Name of the directory for a claim, as k3s names it: `pvc-UID_NAMESPACE_NAME`. A name that would be too long loses its end; the UID tells
 * volumes apart.
 *
 * @throws Error for a claim that no API admits: its name could lead to another directory
 */
export function localPathDirectoryOf({ uid = '', namespace = '', name = '' }: ClaimIdentity): string {
  const directory = `pvc-${uid}_${namespace}_${name}`;
  if (!/^[0-9a-f-]{36}$/.test(uid) || !/^[a-z0-9._-]+$/.test(directory)) throw new Error(`claim ${namespace}/${name} has no valid name`);
  return directory.slice(0, maxNameBytes);
}

interface ClaimIdentity {
  readonly uid?: string;
  readonly namespace?: string;
  readonly name?: string;
}

/** The node that has the directory. */
export const localPathNodeOf = ({ metadata }: PersistentVolume): string | undefined => metadata.labels?.[labels.storageNode];

/**
 * True when the directory is to be removed. A volume that is kept (`Retain`), has a claim, or is not being deleted, never is. The
 * finalizer is there until the directory is gone.
 */
export function isLocalPathDoomed(volume: PersistentVolume): boolean {
  const { metadata, spec, status } = volume;
  return (
    isLocalPathVolume(volume) &&
    metadata.deletionTimestamp !== undefined &&
    metadata.finalizers?.includes(finalizers.externalProvisioner) === true &&
    spec.persistentVolumeReclaimPolicy === 'Delete' &&
    (status?.phase === 'Released' || status?.phase === 'Failed')
  );
}

/** The volume without the finalizer that keeps it until its directory is gone. */
export function withoutLocalPathFinalizer(volume: PersistentVolume): PersistentVolume {
  const { metadata } = volume;
  const left = (metadata.finalizers ?? []).filter((name) => name !== finalizers.externalProvisioner);
  return { ...volume, metadata: { ...metadata, finalizers: left } };
}
