import type { PersistentVolume } from '../../api/core/v1/persistent-volume.ts';
import { type PersistentVolumeClaim, persistentVolumeClaims } from '../../api/core/v1/persistent-volume-claim.ts';
import type { Pod } from '../../api/core/v1/pod.ts';
import type { Client } from '../../client/client.ts';
import { compareQuantities, tryQuantity, wholeValueOf } from '../../machinery/quantity.ts';
import type { EventRecorder } from '../../reconcile/event-recorder.ts';
import type { CsiClient, ExpandRequest } from './csi-client.ts';

/** A volume that the driver's controller made larger, with a file system of before. */
interface Growing extends Pick<ExpandRequest, 'volumePath' | 'stagingTargetPath' | 'volumeCapability' | 'secrets'> {
  readonly pod: Pod;
  readonly volume: PersistentVolume;
  readonly claim: PersistentVolumeClaim;
  readonly driver: Pick<CsiClient, 'expand'>;
}

interface GrowthParts {
  readonly client: Client;
  readonly recorder: EventRecorder;
  readonly nodeName: string;
}

/** True when the claim does not have all of its volume yet. */
export function needsGrowth({ volume, claim, readOnly }: Pick<Growing, 'volume' | 'claim'> & { readonly readOnly: boolean }): boolean {
  const [has, may] = [claim.status?.capacity?.storage, volume.spec.capacity?.storage].map((amount) => tryQuantity(amount));
  return !readOnly && has !== undefined && may !== undefined && compareQuantities(has, may) < 0;
}

/**
 * Lets the driver grow the file system of a volume, and then says in the claim how large it is. A failure is an Event: pods go on with what
 * they have, and a later call tries again.
 */
export async function growVolume({ client, recorder, nodeName }: GrowthParts, growing: Growing): Promise<void> {
  const { pod, volume, claim, driver, volumePath, stagingTargetPath, volumeCapability, secrets } = growing;
  const storage = volume.spec.capacity?.storage ?? '0';
  const { name } = volume.metadata;
  try {
    await driver.expand({
      volumeId: volume.spec.csi?.volumeHandle ?? '',
      volumePath,
      capacityRange: { requiredBytes: wholeValueOf(storage) },
      ...(stagingTargetPath === undefined ? {} : { stagingTargetPath }),
      volumeCapability,
      secrets,
    });
  } catch (err) {
    const message = `MountVolume.NodeExpandVolume failed for volume "${name}" : ${err instanceof Error ? err.message : String(err)}`;
    for (const about of [pod, claim]) recorder.record(about, { type: 'Warning', reason: 'VolumeResizeFailed', message });
    return;
  }
  const done = ['FileSystemResizePending', 'Resizing'];
  const status = {
    capacity: { ...claim.status?.capacity, storage },
    conditions: (claim.status?.conditions ?? []).filter(({ type }) => !done.includes(type)),
    allocatedResourceStatuses: { storage: null },
  };
  const { namespace, name: claimName, resourceVersion } = claim.metadata;
  const body = { metadata: { resourceVersion }, status };
  await client.patch(persistentVolumeClaims, { namespace, name: claimName }, { type: 'merge', body }, { subresource: 'status' });
  const message = `MountVolume.NodeExpandVolume succeeded for volume "${name}" ${nodeName}`;
  for (const about of [pod, claim]) recorder.record(about, { type: 'Normal', reason: 'FileSystemResizeSuccessful', message });
}
