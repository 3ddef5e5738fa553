import { describe, expect, it } from 'vitest';
import type { PersistentVolume } from '../../../src/api/core/v1/persistent-volume.ts';
import type { PersistentVolumeClaim } from '../../../src/api/core/v1/persistent-volume-claim.ts';
import { type ClaimState, type ClaimWorld, findingOf, stateOf, statusOf } from '../../../src/lifecycle/persistent-volume-claim.facts.ts';
import { persistentVolumeClaimMachine } from '../../../src/lifecycle/persistent-volume-claim.machine.ts';
import { machineSuite } from '../../support/machine-suite.ts';

const timestamp = '2026-01-01T00:00:00Z';

const claim = (changes: { metadata?: object; spec?: object; status?: object } = {}): PersistentVolumeClaim =>
  ({
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: { name: 'data', namespace: 'default', uid: 'u1', ...changes.metadata },
    spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } }, storageClassName: 'c', ...changes.spec },
    ...(changes.status === undefined ? {} : { status: changes.status }),
  }) as PersistentVolumeClaim;

const volume = (spec: object = {}): PersistentVolume =>
  ({
    apiVersion: 'v1',
    kind: 'PersistentVolume',
    metadata: { name: 'pv' },
    spec: { accessModes: ['ReadWriteOnce'], capacity: { storage: '2Gi' }, storageClassName: 'c', ...spec },
    status: { phase: 'Available' },
  }) as PersistentVolume;

function written(state: ClaimState): PersistentVolumeClaim {
  const before = claim(state === 'Terminating' ? { metadata: { deletionTimestamp: timestamp } } : {});
  return { ...before, status: statusOf(state, before, state === 'Bound' ? volume() : undefined) };
}

machineSuite({
  machine: persistentVolumeClaimMachine,
  samples: [
    { type: 'VOLUME_FOUND' },
    { type: 'VOLUME_UNFIT' },
    { type: 'VOLUME_TAKEN' },
    { type: 'CLASS_MISSING' },
    { type: 'CONSUMER_MISSING' },
    { type: 'VOLUME_WANTED' },
    { type: 'CLASS_UNUSABLE' },
    { type: 'NOTHING_FITS' },
    { type: 'VOLUME_LOST' },
    { type: 'VOLUME_MISBOUND' },
    { type: 'DELETED' },
  ],
  terminal: [],
  deletion: { event: { type: 'DELETED' }, states: ['Terminating'] },
  roundTrip: (value) => stateOf(written(value)),
});

const world = (changes: Partial<ClaimWorld> = {}): ClaimWorld => ({
  candidates: [],
  named: undefined,
  storageClass: undefined,
  hasDefaultClass: false,
  ...changes,
});

describe('claim facts', () => {
  const completed = { annotations: { 'pv.kubernetes.io/bind-completed': 'yes' } };

  it('leaves a bound claim alone when its volume names another one', () => {
    const bound = claim({ metadata: completed, spec: { volumeName: 'pv' } });
    const other = volume({ claimRef: { namespace: 'default', name: 'data', uid: 'u2' } });
    expect(findingOf(bound, world({ named: other }))?.event.type).toBe('VOLUME_MISBOUND');
    expect(findingOf(bound, world({ named: volume() }))?.event.type).toBe('VOLUME_FOUND');
    expect(findingOf(bound, world())?.event.type).toBe('VOLUME_LOST');
    expect(findingOf(claim({ metadata: completed }), world({ candidates: [volume()] }))?.event.type).toBe('VOLUME_LOST');
  });

  it('never binds a volume that is being deleted, is not free, or is reserved for a claim of another UID', () => {
    const deleted = { ...volume(), metadata: { name: 'pv', deletionTimestamp: timestamp } };
    const released = { ...volume(), status: { phase: 'Released' } };
    const reserved = volume({ claimRef: { namespace: 'default', name: 'data', uid: 'u2' } });
    const found = findingOf(claim({ spec: { storageClassName: '' } }), world({ candidates: [deleted, released, reserved] }));
    expect(found?.event.type).toBe('NOTHING_FITS');
  });

  it('keeps the size that a bound claim says until its file system has grown', () => {
    const bound = claim({ status: { phase: 'Bound', capacity: { storage: '1Gi' } } });
    expect(statusOf('Bound', bound, volume()).capacity).toEqual({ storage: '1Gi' });
    expect(statusOf('Bound', claim(), volume()).capacity).toEqual({ storage: '2Gi' });
    expect(statusOf('Lost', bound, undefined)).toEqual({ phase: 'Lost' });
  });
});
