import { createHash } from 'node:crypto';
import type { PersistentVolume } from '../api/core/v1/persistent-volume.ts';

/** Names of volumes of drivers (CSI) by which the controller that attaches, the driver's attacher and the node's agent find each other. */

interface AttachedVolume {
  readonly driver: string;
  readonly volumeHandle: string;
  readonly nodeName: string;
}

/** Upstream's name of a VolumeAttachment. */
export const attachmentNameOf = ({ driver, volumeHandle, nodeName }: AttachedVolume): string =>
  `csi-${createHash('sha256').update(`${volumeHandle}${driver}${nodeName}`).digest('hex')}`;

/** The name of a volume in the status of a Node. */
export const uniqueNameOf = ({ spec: { csi } }: Pick<PersistentVolume, 'spec'>): string =>
  `kubernetes.io/csi/${csi?.driver ?? ''}^${csi?.volumeHandle ?? ''}`;
