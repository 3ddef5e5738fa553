import type { PersistentVolumeClaim } from '../../api/core/v1/persistent-volume-claim.ts';
import type { Pod } from '../../api/core/v1/pod.ts';
import { claimNameOf } from '../../api/core/v1/pod-claims.ts';
import type { StorageClass } from '../../api/storage/v1/storage-class.ts';
import type { Informer } from '../../client/informer.ts';
import { isBindCompleted } from '../../lifecycle/persistent-volume-claim.facts.ts';
import { controllerOf } from '../../machinery/object.ts';
import type { PodRecord } from '../pod-record.ts';

/** The claims of a pod, by who gives them their volume. */
export interface PodClaims {
  readonly bound: readonly PersistentVolumeClaim[];
  /** The scheduler chooses: a volume, or the node for a new one. */
  readonly delayed: readonly PersistentVolumeClaim[];
  /** No node takes the pod as things are, for this reason. */
  readonly refusal: string | undefined;
}

export interface ClaimSources {
  readonly claims: Informer<PersistentVolumeClaim>;
  classOf(claim: PersistentVolumeClaim): StorageClass | undefined;
}

export function claimsOf(pod: Pod, { claims, classOf }: ClaimSources): PodClaims {
  const bound: PersistentVolumeClaim[] = [];
  const delayed: PersistentVolumeClaim[] = [];
  const refused = (refusal: string): PodClaims => ({ bound, delayed, refusal });
  let isUnbound = false;
  for (const volume of pod.spec.volumes ?? []) {
    const name = claimNameOf(pod.metadata.name, volume);
    if (name === undefined) continue;
    const isEphemeral = (volume.ephemeral ?? undefined) !== undefined;
    const claim = claims.get({ namespace: pod.metadata.namespace, name });
    if (claim === undefined) {
      return refused(
        isEphemeral
          ? `waiting for ephemeral volume controller to create the persistentvolumeclaim "${name}"`
          : `persistentvolumeclaim "${name}" not found`,
      );
    }
    if (claim.status?.phase === 'Lost') {
      return refused(`persistentvolumeclaim "${name}" bound to non-existent persistentvolume "${claim.spec.volumeName ?? ''}"`);
    }
    if (claim.metadata.deletionTimestamp !== undefined) return refused(`persistentvolumeclaim "${name}" is being deleted`);
    if (isEphemeral && controllerOf(claim)?.uid !== pod.metadata.uid) {
      const key = `${pod.metadata.namespace}/${name}`;
      return refused(`PVC ${key} was not created for pod ${pod.metadata.namespace}/${pod.metadata.name} (pod is not owner)`);
    }
    if (isBound(claim)) bound.push(claim);
    else if ((claim.spec.volumeName ?? '') === '' && classOf(claim)?.volumeBindingMode === 'WaitForFirstConsumer') delayed.push(claim);
    else isUnbound = true;
  }
  return isUnbound ? refused('pod has unbound immediate PersistentVolumeClaims') : { bound, delayed, refusal: undefined };
}

export const isBound = (claim: PersistentVolumeClaim): boolean => (claim.spec.volumeName ?? '') !== '' && isBindCompleted(claim);

export const hasClaims = ({ shape }: PodRecord): boolean =>
  shape.source.volumes?.some(({ persistentVolumeClaim, ephemeral }) => (persistentVolumeClaim ?? ephemeral ?? undefined) !== undefined) ===
  true;
