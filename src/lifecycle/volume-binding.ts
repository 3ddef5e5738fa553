import type { PersistentVolume } from '../api/core/v1/persistent-volume.ts';
import type { PersistentVolumeClaim } from '../api/core/v1/persistent-volume-claim.ts';
import { volumeAnnotations } from '../api/well-known.ts';
import type { ObjectMeta } from '../machinery/object.ts';
import { isVolumeFor } from './volume-matching.ts';

/** The two halves of a binding, as the binder and the scheduler write them. */

/** Upstream's value; readers ask only whether the annotation is there. */
const yes = 'yes';

/** The volume with a reference to the claim. The same object comes back when nothing is missing. */
export function boundVolume(volume: PersistentVolume, claim: PersistentVolumeClaim): PersistentVolume {
  const isNamed = isVolumeFor(volume, claim);
  if (isNamed && volume.spec.claimRef?.uid === claim.metadata.uid) return volume;
  return {
    ...volume,
    metadata: isNamed ? volume.metadata : withAnnotation(volume.metadata, volumeAnnotations.boundByController),
    spec: { ...volume.spec, claimRef: claimRefOf(claim) },
  };
}

/** The claim with the name of its volume. The same object comes back when nothing is missing. */
export function boundClaim(claim: PersistentVolumeClaim, volumeName: string): PersistentVolumeClaim {
  const isNamed = claim.spec.volumeName === volumeName;
  const { boundByController, bindCompleted } = volumeAnnotations;
  const chosen = isNamed ? claim.metadata : withAnnotation(claim.metadata, boundByController);
  const metadata = withAnnotation(chosen, bindCompleted);
  return isNamed && metadata === claim.metadata ? claim : { ...claim, metadata, spec: { ...claim.spec, volumeName } };
}

/** The volume without the binder's part of the binding. A claim that a person named stays named. */
export function unboundVolume(volume: PersistentVolume): PersistentVolume {
  const { claimRef, ...spec } = volume.spec;
  const { [volumeAnnotations.boundByController]: isOurs, ...others } = volume.metadata.annotations ?? {};
  if (isOurs !== undefined) return { ...volume, metadata: { ...volume.metadata, annotations: others }, spec };
  const { uid: _uid, resourceVersion: _version, ...named } = claimRef ?? {};
  return { ...volume, spec: { ...spec, claimRef: named } };
}

/** The reference to a claim as a volume has it. */
export function claimRefOf({ metadata }: PersistentVolumeClaim): NonNullable<PersistentVolume['spec']['claimRef']> {
  const { namespace, name, uid, resourceVersion } = metadata;
  return {
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    name,
    ...(namespace === undefined ? {} : { namespace }),
    ...(uid === undefined ? {} : { uid }),
    ...(resourceVersion === undefined ? {} : { resourceVersion }),
  };
}

const withAnnotation = (metadata: ObjectMeta, name: string): ObjectMeta =>
  metadata.annotations?.[name] === undefined ? { ...metadata, annotations: { ...metadata.annotations, [name]: yes } } : metadata;
