import type { PersistentVolume, PersistentVolumeStatus } from '../api/core/v1/persistent-volume.ts';
import type { PersistentVolumeClaim } from '../api/core/v1/persistent-volume-claim.ts';
import { volumeAnnotations } from '../api/well-known.ts';
import type { persistentVolumeMachine, VolumeEvent } from './persistent-volume.machine.ts';
import type { StateValueOf } from './step.ts';
import { volumeModeOf } from './volume-matching.ts';

export type VolumeState = StateValueOf<typeof persistentVolumeMachine>;

/** Reason why a volume is not reclaimed. */
export interface ReclaimFailure {
  readonly reason: 'VolumeFailedDelete' | 'VolumeFailedRecycle' | 'VolumeUnknownReclaimPolicy';
  readonly message: string;
}

const phases: ReadonlySet<string> = new Set(['Available', 'Bound', 'Released', 'Failed']);

export const stateOf = ({ status }: PersistentVolume): VolumeState =>
  (phases.has(status?.phase ?? '') ? status?.phase : 'Pending') as VolumeState;

/**
 * @param claim  the claim that the volume names, read from the server when the cache lacks it: undefined leads to the loss of data
 */
export function eventsOf(volume: PersistentVolume, claim: PersistentVolumeClaim | undefined): readonly VolumeEvent[] {
  const { claimRef } = volume.spec;
  if (claimRef === undefined || claimRef.uid === undefined || claimRef.uid === '') return [{ type: 'UNCLAIMED' }];
  if (claim === undefined || claim.metadata.uid !== claimRef.uid) return [{ type: 'RELEASED' }];
  const { volumeName = '' } = claim.spec;
  // The claim's own pass finds its volume by name.
  if (volumeName === '') return volumeModeOf(claim) === volumeModeOf(volume) ? [] : [{ type: 'MODE_MISMATCHED' }];
  if (volumeName === volume.metadata.name) return [{ type: 'CLAIMED' }];
  const isSpare = provisionerOf(volume) !== undefined && volume.spec.persistentVolumeReclaimPolicy === 'Delete';
  return [{ type: isSpare ? 'RELEASED' : 'SUPERSEDED' }];
}

/** The provisioner that made a volume for its claim; undefined for one that a person made. */
export const provisionerOf = ({ metadata }: PersistentVolume): string | undefined =>
  metadata.annotations?.[volumeAnnotations.provisionedBy];

/** The failure of a reclaim that no part of this program does; undefined when the policy asks for nothing, or a provisioner acts. */
export function reclaimFailureOf({ metadata, spec }: PersistentVolume): ReclaimFailure | undefined {
  switch (spec.persistentVolumeReclaimPolicy) {
    case 'Retain':
      return undefined;
    case 'Recycle':
      return { reason: 'VolumeFailedRecycle', message: 'No recycler plugin found for the volume!' };
    case 'Delete': {
      const provisioner = metadata.annotations?.[volumeAnnotations.provisionedBy] ?? '';
      if (provisioner !== '' && !provisioner.startsWith('kubernetes.io/')) return undefined;
      const why = 'no deletable volume plugin matched';
      return { reason: 'VolumeFailedDelete', message: `error getting deleter volume plugin for volume "${metadata.name}": ${why}` };
    }
    default:
      return { reason: 'VolumeUnknownReclaimPolicy', message: 'Volume has unrecognized reclaim policy' };
  }
}

/** The status of a state. `failure` says why it is `Failed`; without one the message that is there stays. */
export function statusOf(state: VolumeState, volume: PersistentVolume, failure: ReclaimFailure | undefined): PersistentVolumeStatus {
  const before: PersistentVolumeStatus = volume.status ?? {};
  if (before.phase === state) return before;
  const { message: _message, reason: _reason, ...rest } = before;
  return { ...rest, phase: String(state), ...(failure === undefined ? {} : { message: failure.message }) };
}
