import { mapBounded } from '../../base/concurrency.ts';
import type { Log } from '../../base/log.ts';
import type { VolumeUsage } from './csi-client.ts';
import type { CsiDrivers } from './csi-drivers.ts';
import type { PublishedVolume } from './volume-records.ts';

/** The usage of a volume that a driver mounted for a pod, as the driver says it. */
export interface VolumeStats {
  readonly podUid: string;
  /** The claim of the pod's namespace; absent for a volume of the pod's own. */
  readonly claimName?: string | undefined;
  /** The name of the volume in the pod, where it is the pod's own. */
  readonly volumeName?: string | undefined;
  readonly usage: readonly VolumeUsage[];
}

export interface MeasureVolumesOptions {
  readonly volumes: readonly PublishedVolume[];
  readonly pathOf: (volume: PublishedVolume) => string;
  readonly stagingPathOf: (volume: PublishedVolume) => string;
  readonly drivers: Pick<CsiDrivers, 'find'>;
  readonly log: Log;
}

/** Drivers that are asked at a time; each has its deadline. */
const atOnce = 4;

/** Asks the drivers that can measure volumes. A volume that cannot be measured is left out, as by the kubelet. */
export async function measureVolumes(options: MeasureVolumesOptions): Promise<readonly VolumeStats[]> {
  const { volumes, pathOf, stagingPathOf, drivers, log } = options;
  const measured = await mapBounded(volumes, atOnce, async (volume): Promise<readonly VolumeStats[]> => {
    try {
      const driver = drivers.find(volume.driverName);
      const capabilities = await driver.capabilities();
      if (!capabilities.has('GET_VOLUME_STATS')) return [];
      const isStaged = volume.volumeLifecycleMode === 'Persistent' && capabilities.has('STAGE_UNSTAGE_VOLUME');
      const usage = await driver.client.stats({
        volumeId: volume.volumeHandle,
        volumePath: pathOf(volume),
        ...(isStaged ? { stagingTargetPath: stagingPathOf(volume) } : {}),
      });
      const { podUid, claimName, specVolID } = volume;
      return [{ podUid, usage, ...(claimName === undefined ? { volumeName: specVolID } : { claimName }) }];
    } catch (err) {
      log.debug({ err, driver: volume.driverName, volume: volume.specVolID }, 'Could not measure volume');
      return [];
    }
  });
  return measured.flat();
}
