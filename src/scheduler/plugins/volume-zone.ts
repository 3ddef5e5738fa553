import { persistentVolumes } from '../../api/core/v1/persistent-volume.ts';
import { persistentVolumeClaims } from '../../api/core/v1/persistent-volume-claim.ts';
import { storageClassNameOf } from '../../api/core/v1/volume-class.ts';
import { storageClasses } from '../../api/storage/v1/storage-class.ts';
import { labels as known } from '../../api/well-known.ts';
import type { NodeRecord } from '../cache.ts';
import type { PluginFactory, Rejection } from '../plugin.ts';
import { claimsOf, hasClaims } from './volume-claims.ts';

const conflict: Rejection = { reasons: ['node(s) had no available volume zone'], resolvable: false };

/** Each label with the name that it had in early versions. */
const zoneLabels = [
  [known.zone, 'failure-domain.beta.kubernetes.io/zone'],
  [known.region, 'failure-domain.beta.kubernetes.io/region'],
] as const;

/** Lets a pod only to nodes in the zones that the labels of its bound volumes name, several separated by `__`. */
export const volumeZone: PluginFactory = ({ informers }) => {
  const claims = informers.get(persistentVolumeClaims);
  const volumes = informers.get(persistentVolumes);
  const classes = informers.get(storageClasses);

  return {
    name: 'VolumeZone',
    filter: {
      helpedBy: {
        NodeAdded: 'always',
        NodeLabelsChanged: 'always',
        PersistentVolumeClaimAdded: 'always',
        PersistentVolumeClaimChanged: 'always',
        PersistentVolumeAdded: 'always',
        PersistentVolumeChanged: 'always',
      },
      prepare(pod) {
        if (!hasClaims(pod)) return undefined;
        const { bound } = claimsOf(pod.pod, { claims, classOf: (claim) => classes.getByKey(storageClassNameOf(claim)) });
        const wanted: Zone[] = [];
        for (const { spec } of bound) {
          const { labels = {} } = volumes.getByKey(spec.volumeName ?? '')?.metadata ?? {};
          for (const names of zoneLabels) {
            const value = labels[names[0]] ?? labels[names[1]];
            if (value !== undefined) wanted.push({ names, values: new Set(value.split('__')) });
          }
        }
        if (wanted.length === 0) return undefined;
        return { forThisPod: true, filter: (node) => (isWithin(node, wanted) ? undefined : conflict) };
      },
    },
  };
};

interface Zone {
  readonly names: readonly [string, string];
  readonly values: ReadonlySet<string>;
}

/** A node without any of the labels is in no zone, and such a cluster has none. */
function isWithin({ labels }: NodeRecord, wanted: readonly Zone[]): boolean {
  if (!zoneLabels.some(([name, early]) => labels[name] !== undefined || labels[early] !== undefined)) return true;
  return wanted.every(({ names: [name, early], values }) => values.has(labels[name] ?? labels[early] ?? ''));
}
