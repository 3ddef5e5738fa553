import type { PersistentVolume } from '../../api/core/v1/persistent-volume.ts';
import type { PersistentVolumeClaim } from '../../api/core/v1/persistent-volume-claim.ts';
import type { Pod } from '../../api/core/v1/pod.ts';
import { claimKeysOf } from '../../api/core/v1/pod-claims.ts';
import { namesStorageClass, storageClassNameOf } from '../../api/core/v1/volume-class.ts';
import type { Informer } from '../../client/informer.ts';
import { isBindCompleted } from '../../lifecycle/persistent-volume-claim.facts.ts';
import { claimKeyOf } from '../../lifecycle/volume-matching.ts';

/** Ways to find volumes and claims, so that no pass looks at all of them. */

const freeOfClass = 'free-of-class';
const namingClaim = 'naming-claim';
const waitingOfClass = 'waiting-of-class';
const namingVolume = 'naming-volume';
const withoutNode = 'without-node-by-claim';

/** Index value of claims that leave their class to the cluster. */
const anyClass = '';

export function indexVolumes(volumes: Informer<PersistentVolume>): void {
  volumes.addIndex(freeOfClass, freeClassesOf);
  volumes.addIndex(namingClaim, claimsOfVolume);
}

export function indexClaims(claims: Informer<PersistentVolumeClaim>): void {
  claims.addIndex(waitingOfClass, waitingClassesOf);
  claims.addIndex(namingVolume, volumeNamesOf);
}

export function indexPodsWithoutNode(pods: Informer<Pod>): void {
  pods.addIndex(withoutNode, claimsWithoutNodeOf);
}

/** Volumes that no claim has, of the claim's class, and those that name the claim. */
export const candidatesFor = (volumes: Informer<PersistentVolume>, claim: PersistentVolumeClaim): readonly PersistentVolume[] => [
  ...volumes.byIndex(namingClaim, `${claim.metadata.namespace ?? ''}/${claim.metadata.name}`),
  ...volumes.byIndex(freeOfClass, storageClassNameOf(claim)),
];

export const volumesNaming = (volumes: Informer<PersistentVolume>, claimKey: string): readonly PersistentVolume[] =>
  volumes.byIndex(namingClaim, claimKey);

export const claimsNaming = (claims: Informer<PersistentVolumeClaim>, volumeName: string): readonly PersistentVolumeClaim[] =>
  claims.byIndex(namingVolume, volumeName);

export const claimsWaitingFor = (claims: Informer<PersistentVolumeClaim>, className: string): readonly PersistentVolumeClaim[] =>
  claims.byIndex(waitingOfClass, className);

/** Claims that any default class would serve. */
export const claimsWithoutClass = (claims: Informer<PersistentVolumeClaim>): readonly PersistentVolumeClaim[] =>
  claims.byIndex(waitingOfClass, anyClass);

/** Pods with the claim that the scheduler has not placed. */
export const podsWithoutNode = (pods: Informer<Pod>, claimKey: string): readonly Pod[] => pods.byIndex(withoutNode, claimKey);

function freeClassesOf(volume: PersistentVolume): readonly string[] {
  return volume.spec.claimRef === undefined && volume.status?.phase === 'Available' ? [storageClassNameOf(volume)] : [];
}

function claimsOfVolume(volume: PersistentVolume): readonly string[] {
  const key = claimKeyOf(volume);
  return key === undefined ? [] : [key];
}

function waitingClassesOf(claim: PersistentVolumeClaim): readonly string[] {
  if (isBindCompleted(claim)) return [];
  return [namesStorageClass(claim) ? storageClassNameOf(claim) : anyClass];
}

const volumeNamesOf = ({ spec: { volumeName = '' } }: PersistentVolumeClaim): readonly string[] => (volumeName === '' ? [] : [volumeName]);

function claimsWithoutNodeOf(pod: Pod): readonly string[] {
  return (pod.spec.nodeName ?? '') === '' ? claimKeysOf(pod) : [];
}
