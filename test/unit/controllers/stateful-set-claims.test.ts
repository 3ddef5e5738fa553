import { describe, expect, it } from 'vitest';
import type { StatefulSet } from '../../../src/api/apps/v1/stateful-set.ts';
import type { PersistentVolumeClaim } from '../../../src/api/core/v1/persistent-volume-claim.ts';
import { isClaimStale, wantedOwners } from '../../../src/controllers/stateful-set/claims.ts';
import type { OwnerReference } from '../../../src/machinery/object.ts';

type Policy = 'Retain' | 'Delete';

const set = (whenDeleted: Policy, whenScaled: Policy): StatefulSet => ({
  apiVersion: 'apps/v1',
  kind: 'StatefulSet',
  metadata: { name: 'web', namespace: 'default', uid: 'set' },
  spec: {
    serviceName: 'web',
    selector: {},
    template: {},
    persistentVolumeClaimRetentionPolicy: { whenDeleted, whenScaled },
  },
});

const pod = { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'web-1', uid: 'pod' } };

const claim = (...ownerReferences: OwnerReference[]): PersistentVolumeClaim => ({
  apiVersion: 'v1',
  kind: 'PersistentVolumeClaim',
  metadata: { name: 'data-web-1', namespace: 'default', ownerReferences },
  spec: {},
});

const bySet: OwnerReference = { apiVersion: 'apps/v1', kind: 'StatefulSet', name: 'web', uid: 'set', controller: true };
const byPod: OwnerReference = { apiVersion: 'v1', kind: 'Pod', name: 'web-1', uid: 'pod', controller: true };
const other: OwnerReference = { apiVersion: 'v1', kind: 'ConfigMap', name: 'other', uid: 'other' };

/** Uids of the owners that the claim has to get, or `right` when it has them. */
const owners = (of: PersistentVolumeClaim, [whenDeleted, whenScaled]: readonly [Policy, Policy], isCondemned = false) =>
  wantedOwners(of, set(whenDeleted, whenScaled), { pod, isCondemned })?.map(({ uid }) => uid) ?? 'right';

describe('owners of the claim of a stateful pod', () => {
  it('are those of the retention policy', () => {
    expect(owners(claim(), ['Retain', 'Retain'])).toBe('right');
    expect(owners(claim(bySet), ['Retain', 'Retain'])).toEqual([]);
    expect(owners(claim(), ['Delete', 'Retain'])).toEqual(['set']);
    expect(owners(claim(), ['Delete', 'Retain'], true)).toEqual(['set']);
    expect(owners(claim(), ['Retain', 'Delete'])).toBe('right');
    expect(owners(claim(), ['Retain', 'Delete'], true)).toEqual(['pod']);
    expect(owners(claim(bySet), ['Delete', 'Delete'], true)).toEqual(['pod']);
    expect(owners(claim(byPod), ['Delete', 'Delete'])).toEqual(['set']);
    expect(owners(claim(bySet, other), ['Delete', 'Delete'])).toBe('right');
  });

  it('become controllers when they were ordinary owners', () => {
    const { controller: _, ...ordinary } = bySet;
    expect(owners(claim(ordinary), ['Delete', 'Retain'])).toEqual(['set']);
  });

  it('should not delete PVCs when there is another controller', () => {
    const foreign = { ...other, controller: true };
    expect(owners(claim(foreign), ['Delete', 'Delete'], true)).toBe('right');
    expect(owners(claim(foreign, bySet), ['Delete', 'Delete'])).toEqual(['other']);
    expect(owners(claim(foreign, bySet), ['Retain', 'Retain'])).toEqual(['other']);
  });

  it('are left alone when one of the same name is gone, since the claim goes with it', () => {
    const gone = { ...byPod, uid: 'earlier' };
    expect(owners(claim(gone), ['Delete', 'Delete'])).toBe('right');
    expect(isClaimStale(claim(gone), set('Retain', 'Delete'), { pod })).toBe(true);
    expect(isClaimStale(claim(gone), set('Retain', 'Retain'), { pod })).toBe(false);
    expect(isClaimStale(claim(byPod), set('Retain', 'Delete'), { pod })).toBe(false);
  });
});
