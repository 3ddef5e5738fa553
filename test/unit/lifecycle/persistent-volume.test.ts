import { describe, expect, it } from 'vitest';
import type { PersistentVolume } from '../../../src/api/core/v1/persistent-volume.ts';
import type { PersistentVolumeClaim } from '../../../src/api/core/v1/persistent-volume-claim.ts';
import { eventsOf, reclaimFailureOf, stateOf, statusOf, type VolumeState } from '../../../src/lifecycle/persistent-volume.facts.ts';
import { persistentVolumeMachine } from '../../../src/lifecycle/persistent-volume.machine.ts';
import { machineSuite } from '../../support/machine-suite.ts';

const volume = (spec: object = {}, annotations: Readonly<Record<string, string>> = {}): PersistentVolume =>
  ({
    apiVersion: 'v1',
    kind: 'PersistentVolume',
    metadata: { name: 'pv', annotations },
    spec: { accessModes: ['ReadWriteOnce'], capacity: { storage: '1Gi' }, persistentVolumeReclaimPolicy: 'Delete', ...spec },
    status: { phase: 'Pending' },
  }) as PersistentVolume;

const claim = (spec: object = {}): PersistentVolumeClaim =>
  ({
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: { name: 'data', namespace: 'default', uid: 'u1' },
    spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } }, ...spec },
  }) as PersistentVolumeClaim;

machineSuite({
  machine: persistentVolumeMachine,
  samples: [
    { type: 'UNCLAIMED' },
    { type: 'CLAIMED' },
    { type: 'RELEASED' },
    { type: 'SUPERSEDED' },
    { type: 'MODE_MISMATCHED' },
    { type: 'RECLAIM_FAILED' },
  ],
  terminal: [],
  roundTrip: (state: VolumeState) => stateOf({ ...volume(), status: statusOf(state, volume(), undefined) }),
});

const typeOf = (...of: Parameters<typeof eventsOf>): string | undefined => eventsOf(...of)[0]?.type;

describe('volume facts', () => {
  const claimRef = { namespace: 'default', name: 'data', uid: 'u1' };
  const made = { 'pv.kubernetes.io/provisioned-by': 'driver.example.com' };

  it('is released only when its own claim is gone', () => {
    expect(typeOf(volume({ claimRef }), undefined)).toBe('RELEASED');
    expect(typeOf(volume({ claimRef: { ...claimRef, uid: 'u0' } }), claim())).toBe('RELEASED');
    expect(typeOf(volume({ claimRef }), claim({ volumeName: 'pv' }))).toBe('CLAIMED');
    // A reservation without a UID waits for the claim.
    expect(typeOf(volume({ claimRef: { ...claimRef, uid: undefined } }), undefined)).toBe('UNCLAIMED');
  });

  it('is given back when its claim has another volume, unless it was made for the claim', () => {
    const elsewhere = claim({ volumeName: 'other' });
    expect(typeOf(volume({ claimRef }), elsewhere)).toBe('SUPERSEDED');
    expect(typeOf(volume({ claimRef }, made), elsewhere)).toBe('RELEASED');
    expect(typeOf(volume({ claimRef, persistentVolumeReclaimPolicy: 'Retain' }, made), elsewhere)).toBe('SUPERSEDED');
  });

  it('says that the claim wants another volume mode', () => {
    expect(typeOf(volume({ claimRef }), claim({ volumeMode: 'Block' }))).toBe('MODE_MISMATCHED');
  });

  it('knows which reclaims are the work of others', () => {
    expect(reclaimFailureOf(volume({}, made))).toBeUndefined();
    expect(reclaimFailureOf(volume({ persistentVolumeReclaimPolicy: 'Retain' }))).toBeUndefined();
    expect(reclaimFailureOf(volume())?.reason).toBe('VolumeFailedDelete');
    expect(reclaimFailureOf(volume({ persistentVolumeReclaimPolicy: 'Recycle' }))?.reason).toBe('VolumeFailedRecycle');
    expect(reclaimFailureOf(volume({ persistentVolumeReclaimPolicy: 'Burn' }))?.reason).toBe('VolumeUnknownReclaimPolicy');
  });
});
