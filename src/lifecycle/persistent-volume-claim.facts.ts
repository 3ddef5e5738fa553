import type { PersistentVolume } from '../api/core/v1/persistent-volume.ts';
import type { PersistentVolumeClaim } from '../api/core/v1/persistent-volume-claim.ts';
import { namesStorageClass, storageClassNameOf } from '../api/core/v1/volume-class.ts';
import type { StorageClass } from '../api/storage/v1/storage-class.ts';
import { volumeAnnotations } from '../api/well-known.ts';
import type { ClaimEvent, persistentVolumeClaimMachine } from './persistent-volume-claim.machine.ts';
import type { StateValueOf } from './step.ts';
import { findVolume, isVolumeFor, whyNotBound } from './volume-matching.ts';

export type ClaimState = StateValueOf<typeof persistentVolumeClaimMachine>;

export type ClaimStatus = NonNullable<PersistentVolumeClaim['status']>;

/** Observations of one pass besides the claim itself. */
export interface ClaimWorld {
  /** Those that may fit: of the claim's class, and those that name it. */
  readonly candidates: Iterable<PersistentVolume>;
  /** The volume that the claim names. */
  readonly named: PersistentVolume | undefined;
  readonly storageClass: StorageClass | undefined;
  /** Some class is marked as the default. */
  readonly hasDefaultClass: boolean;
}

/** The first part of a provisioner's name that says it is built into Kubernetes; none of these is here. */
const builtInPrefix = 'kubernetes.io/';

export function stateOf({ metadata, status }: PersistentVolumeClaim): ClaimState {
  if (metadata.deletionTimestamp !== undefined) return 'Terminating';
  if (status?.phase === 'Bound' || status?.phase === 'Lost') return status.phase;
  return 'Pending';
}

/** The outcome of one look, with the volume that it is about. */
export interface ClaimFinding {
  readonly event: ClaimEvent;
  readonly volume?: PersistentVolume;
  /** For people. */
  readonly message?: string;
}

export function findingOf(claim: PersistentVolumeClaim, world: ClaimWorld): ClaimFinding | undefined {
  if (claim.metadata.deletionTimestamp !== undefined) return { event: { type: 'DELETED' } };
  if (isBindCompleted(claim)) return findingOfBound(claim, world);
  const { named } = world;
  if (isNamed(claim.spec.volumeName)) {
    // It may still come.
    if (named === undefined) return undefined;
    if (named.spec.claimRef === undefined) {
      const why = whyNotBound(named, claim);
      if (why === undefined) return { event: { type: 'VOLUME_FOUND' }, volume: named };
      return {
        event: { type: 'VOLUME_UNFIT' },
        volume: named,
        message: `Cannot bind to requested volume "${named.metadata.name}": ${why}`,
      };
    }
    if (isVolumeFor(named, claim)) return { event: { type: 'VOLUME_FOUND' }, volume: named };
    const message = `volume "${named.metadata.name}" already bound to a different claim.`;
    return { event: { type: 'VOLUME_TAKEN' }, volume: named, message };
  }
  const isDelayed = world.storageClass?.volumeBindingMode === 'WaitForFirstConsumer';
  const volume = findVolume(claim, world.candidates, { isDelayed });
  if (volume !== undefined) return { event: { type: 'VOLUME_FOUND' }, volume };
  if (!namesStorageClass(claim) && world.hasDefaultClass) return { event: { type: 'CLASS_MISSING' } };
  if (isDelayed && claim.metadata.annotations?.[volumeAnnotations.selectedNode] === undefined) {
    return { event: { type: 'CONSUMER_MISSING' } };
  }
  const className = storageClassNameOf(claim);
  if (className === '') return { event: { type: 'NOTHING_FITS' } };
  return findingOfClass(className, world.storageClass);
}

export const eventsOf = (finding: ClaimFinding | undefined): readonly ClaimEvent[] => (finding === undefined ? [] : [finding.event]);

function findingOfClass(className: string, storageClass: StorageClass | undefined): ClaimFinding {
  if (storageClass === undefined) {
    return { event: { type: 'CLASS_UNUSABLE' }, message: `storageclass.storage.k8s.io "${className}" not found` };
  }
  const { provisioner } = storageClass;
  if (provisioner.startsWith(builtInPrefix)) {
    return { event: { type: 'CLASS_UNUSABLE' }, message: `no volume plugin matched name: ${provisioner}` };
  }
  return { event: { type: 'VOLUME_WANTED' } };
}

function findingOfBound(claim: PersistentVolumeClaim, { named }: ClaimWorld): ClaimFinding {
  const lost = { event: { type: 'VOLUME_LOST' } } as const;
  if (!isNamed(claim.spec.volumeName)) {
    return { ...lost, message: 'Bound claim has lost reference to PersistentVolume. Data on the volume is lost!' };
  }
  if (named === undefined) return { ...lost, message: 'Bound claim has lost its PersistentVolume. Data on the volume is lost!' };
  const { claimRef } = named.spec;
  if (claimRef === undefined || claimRef.uid === claim.metadata.uid) return { event: { type: 'VOLUME_FOUND' }, volume: named };
  const message = 'Two claims are bound to the same volume, this one is bound incorrectly';
  return { event: { type: 'VOLUME_MISBOUND' }, volume: named, message };
}

/** The status of a state. `volume` is that of a bound claim. */
export function statusOf(state: ClaimState, claim: PersistentVolumeClaim, volume: PersistentVolume | undefined): ClaimStatus {
  const before = claim.status ?? {};
  if (state === 'Terminating') return before;
  const phase = state as 'Pending' | 'Bound' | 'Lost';
  const { accessModes: _modes, capacity: _capacity, ...rest } = before;
  if (volume === undefined) return phase === 'Bound' ? { ...before, phase } : { ...rest, phase };
  // A claim that is bound already may have grown less than its volume, and says so until its file system has grown, too.
  const capacity = before.phase === 'Bound' ? before.capacity : volume.spec.capacity;
  const { volumeAttributesClassName } = volume.spec;
  return {
    ...rest,
    phase,
    ...(volume.spec.accessModes === undefined ? {} : { accessModes: volume.spec.accessModes }),
    ...(capacity === undefined ? {} : { capacity }),
    ...(volumeAttributesClassName === undefined ? {} : { currentVolumeAttributesClassName: volumeAttributesClassName }),
  };
}

export const isBindCompleted = ({ metadata }: PersistentVolumeClaim): boolean =>
  metadata.annotations?.[volumeAnnotations.bindCompleted] !== undefined;

const isNamed = (name: string | undefined): name is string => name !== undefined && name !== '';
