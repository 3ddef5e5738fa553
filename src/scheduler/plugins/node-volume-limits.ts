import { persistentVolumes } from '../../api/core/v1/persistent-volume.ts';
import { persistentVolumeClaims } from '../../api/core/v1/persistent-volume-claim.ts';
import type { Pod } from '../../api/core/v1/pod.ts';
import { claimKeysOf } from '../../api/core/v1/pod-claims.ts';
import { storageClassNameOf } from '../../api/core/v1/volume-class.ts';
import { csiNodes } from '../../api/storage/v1/csi-node.ts';
import { storageClasses } from '../../api/storage/v1/storage-class.ts';
import { type VolumeAttachment, volumeAttachments } from '../../api/storage/v1/volume-attachment.ts';
import type { NodeRecord } from '../cache.ts';
import type { PluginFactory, Rejection } from '../plugin.ts';
import { reporterOf } from './volume-changes.ts';
import { hasClaims } from './volume-claims.ts';

const tooMany: Rejection = { reasons: ['node(s) exceed max volume count'], resolvable: true };

const byNode = 'scheduler-attachments-of-node';

/**
 * Lets a pod only to nodes whose drivers can attach its volumes besides those that are there, by the numbers of their CSINode. A volume
 * counts from the promise to its pod until it is detached, which is some time after the pod has gone.
 */
export const nodeVolumeLimits: PluginFactory = ({ informers }) => {
  const claims = informers.get(persistentVolumeClaims);
  const volumes = informers.get(persistentVolumes);
  const classes = informers.get(storageClasses);
  const nodes = informers.get(csiNodes);
  const attachments = informers.get(volumeAttachments);
  attachments.addIndex(byNode, nodeOf);

  /** Volumes of drivers that the pod needs, by an id of their own; a claim without a volume counts for the driver of its class. */
  function driverVolumesOf(pod: Pod): ReadonlyMap<string, string> {
    const found = new Map<string, string>();
    for (const key of claimKeysOf(pod)) {
      const claim = claims.getByKey(key);
      if (claim === undefined) continue;
      const volume = volumes.getByKey(claim.spec.volumeName ?? '');
      const csi = volume?.spec.csi;
      if (csi !== undefined) found.set(`${csi.driver}/${csi.volumeHandle}`, csi.driver);
      else if (volume === undefined) {
        const provisioner = classes.getByKey(storageClassNameOf(claim))?.provisioner;
        if (provisioner !== undefined) found.set(`claim ${key}`, provisioner);
      }
    }
    return found;
  }

  function isWithinLimits(node: NodeRecord, wanted: ReadonlyMap<string, string>): boolean {
    const drivers = nodes.getByKey(node.name)?.spec?.drivers ?? [];
    const limits = new Map(
      drivers.flatMap(({ name, allocatable }) => (allocatable?.count === undefined ? [] : [[name, allocatable.count] as const])),
    );
    if (![...wanted.values()].some((driver) => limits.has(driver))) return true;
    const all = new Map(wanted);
    for (const { pod } of node.pods.values()) for (const [id, driver] of driverVolumesOf(pod)) all.set(id, driver);
    for (const { spec } of attachments.byIndex(byNode, node.name)) {
      const csi = volumes.getByKey(spec.source?.persistentVolumeName ?? '')?.spec.csi;
      if (csi !== undefined) all.set(`${csi.driver}/${csi.volumeHandle}`, csi.driver);
    }
    const counts = new Map<string, number>();
    for (const driver of all.values()) counts.set(driver, (counts.get(driver) ?? 0) + 1);
    const needed = new Set(wanted.values());
    return [...counts].every(([driver, count]) => !needed.has(driver) || count <= (limits.get(driver) ?? Number.POSITIVE_INFINITY));
  }

  return {
    name: 'NodeVolumeLimits',
    filter: {
      helpedBy: {
        AssignedPodDeleted: (_, { pod }) => pod === undefined || hasClaims(pod),
        VolumeAttachmentDeleted: 'always',
        CSINodeAdded: 'always',
        CSINodeChanged: 'always',
        PersistentVolumeClaimAdded: 'always',
      },
      prepare(pod) {
        if (!hasClaims(pod) || nodes.size === 0) return undefined;
        const wanted = driverVolumesOf(pod.pod);
        if (wanted.size === 0) return undefined;
        return { forThisPod: true, filter: (node) => (isWithinLimits(node, wanted) ? undefined : tooMany) };
      },
    },
    watch(onChange) {
      const stops = [nodes.addHandler(reporterOf('CSINode', onChange)), attachments.addHandler(reporterOf('VolumeAttachment', onChange))];
      return () => {
        for (const stop of stops) stop();
      };
    },
  };
};

const nodeOf = ({ spec }: VolumeAttachment): readonly string[] => (spec.nodeName === undefined ? [] : [spec.nodeName]);
