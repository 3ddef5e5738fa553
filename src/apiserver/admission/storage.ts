import { persistentVolumes } from '../../api/core/v1/persistent-volume.ts';
import { type PersistentVolumeClaim, persistentVolumeClaims } from '../../api/core/v1/persistent-volume-claim.ts';
import { namesStorageClass, storageClassNameOf } from '../../api/core/v1/volume-class.ts';
import { defaultStorageClassAnnotations, type StorageClass, storageClasses } from '../../api/storage/v1/storage-class.ts';
import { volumeAttributesClasses } from '../../api/storage/v1/volume-attributes-class.ts';
import { finalizers } from '../../api/well-known.ts';
import type { KindDefinition } from '../../machinery/kind.ts';
import { compareQuantities, tryQuantity } from '../../machinery/quantity.ts';
import { forbidden } from '../../machinery/status-error.ts';
import type { Registry } from '../registry/registry.ts';
import type { AdmissionStep } from './admission.ts';
import { defaultOf } from './default-class.ts';

const isSame = (a: KindDefinition, b: Pick<KindDefinition, 'group' | 'resource'>): boolean =>
  a.group === b.group && a.resource === b.resource;

/** A claim that names no class gets the one that is marked as default. */
export function defaultStorageClass(registry: Pick<Registry, 'stateOf'>): AdmissionStep {
  return {
    name: 'DefaultStorageClass',
    appliesTo: (kind, operation) => operation === 'create' && isSame(kind, persistentVolumeClaims),
    admit({ object }) {
      const claim = object as PersistentVolumeClaim;
      if (namesStorageClass(claim)) return claim;
      const chosen = defaultOf(registry, storageClasses, defaultStorageClassAnnotations);
      return chosen === undefined ? claim : { ...claim, spec: { ...claim.spec, storageClassName: chosen.metadata.name } };
    },
  };
}

const protections: readonly (readonly [kind: Pick<KindDefinition, 'group' | 'resource'>, finalizer: string])[] = [
  [persistentVolumeClaims, finalizers.pvcProtection],
  [persistentVolumes, finalizers.pvProtection],
  [volumeAttributesClasses, finalizers.vacProtection],
];

/** Volumes and claims in use are protected from removal: a controller removes the finalizer after the last user. */
export function storageObjectInUseProtection(): AdmissionStep {
  const finalizerOf = (kind: KindDefinition): string | undefined => protections.find(([other]) => isSame(kind, other))?.[1];
  return {
    name: 'StorageObjectInUseProtection',
    appliesTo: (kind, operation) => operation === 'create' && finalizerOf(kind) !== undefined,
    admit({ kind, object }) {
      const finalizer = finalizerOf(kind);
      const present = object.metadata.finalizers ?? [];
      if (finalizer === undefined || present.includes(finalizer)) return object;
      return { ...object, metadata: { ...object.metadata, finalizers: [...present, finalizer] } };
    },
  };
}

/**
 * Claims grow only when they are bound and their class says that its volumes can.
 *
 * @throws StatusError `Forbidden`
 */
export function persistentVolumeClaimResize(registry: Pick<Registry, 'get'>): AdmissionStep {
  return {
    name: 'PersistentVolumeClaimResize',
    phase: 'validating',
    appliesTo: (kind, operation) => operation === 'update' && isSame(kind, persistentVolumeClaims),
    admit({ kind, name, object, before }) {
      const claim = object as PersistentVolumeClaim;
      const old = before as PersistentVolumeClaim;
      if (claim.spec === old.spec) return object;
      const [wanted, had] = [claim, old].map(({ spec }) => tryQuantity(spec.resources?.requests?.storage));
      if (wanted === undefined || had === undefined || compareQuantities(wanted, had) <= 0) return object;
      if (old.status?.phase !== 'Bound') throw forbidden(kind, name, 'Only bound persistent volume claims can be expanded');
      const className = storageClassNameOf(claim);
      const storageClass = registry.get(storageClasses, className) as StorageClass | undefined;
      if (className === '' || className !== storageClassNameOf(old) || storageClass?.allowVolumeExpansion !== true) {
        throw forbidden(
          kind,
          name,
          'only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize',
        );
      }
      return object;
    },
  };
}
