import { mkdir, readdir, rm, rmdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { readBoundedFile } from '../../base/bounded-file.ts';
import { writeDurableFile } from '../../base/durable-file.ts';
import type { Log } from '../../base/log.ts';
import { isNoEntry } from '../volume-directories.ts';

/**
 * Notes on the disk about volumes of drivers (CSI), beside the place where each is mounted, in the layout of a kubelet. Each is written
 * before the driver is asked for the mount, so that the next agent finds all that has to be taken back.
 */
export interface VolumeRecords {
  /** Reads what earlier agents left; before all else. */
  load(): Promise<void>;
  published(): readonly PublishedVolume[];
  staged(): readonly StagedVolume[];
  notePublished(volume: PublishedVolume): Promise<void>;
  noteStaged(volume: StagedVolume): Promise<void>;
  /** The volume is no longer mounted there. @throws Error when the driver left something in place of its mount: nothing of it is removed */
  forgetPublished(volume: PublishedVolume): Promise<void>;
  /** @throws Error as `forgetPublished` */
  forgetStaged(volume: StagedVolume): Promise<void>;
}

interface DriverVolume {
  readonly driverName: string;
  readonly volumeHandle: string;
  /** The name of its VolumeAttachment. Absent: the driver attaches nothing. */
  readonly attachmentID?: string;
}

export interface PublishedVolume extends DriverVolume {
  readonly podUid: string;
  /** The name of the PersistentVolume, or that of the pod's volume when that is the pod's own. */
  readonly specVolID: string;
  readonly volumeLifecycleMode: 'Persistent' | 'Ephemeral';
  /** The claim of the pod's namespace that it belongs to. */
  readonly claimName?: string;
  /** The group that its files were given to. */
  readonly group?: number;
  /** The driver wants to be asked again from time to time. */
  readonly republishes?: boolean;
}

export interface StagedVolume extends DriverVolume {
  /** The directory that is the driver's, below that of the record. */
  readonly path: string;
}

const dataFile = 'vol_data.json';
const maxRecordBytes = 64 * 1024;

/** `PODS/UID/volumes/kubernetes.io~csi/NAME/mount` */
export const publishPathOf = (directory: string, { podUid, specVolID }: Pick<PublishedVolume, 'podUid' | 'specVolID'>): string =>
  join(directory, 'pods', podUid, 'volumes', 'kubernetes.io~csi', specVolID, 'mount');

/** @param directory  that of the kubelet, which holds `pods` and `plugins` */
export function createVolumeRecords(directory: string, log: Log): VolumeRecords {
  const published = new Map<string, PublishedVolume>();
  const staged = new Map<string, StagedVolume>();

  async function note(path: string, record: object): Promise<void> {
    await mkdir(dirname(path), { recursive: true, mode: 0o750 });
    await writeDurableFile(join(dirname(path), dataFile), JSON.stringify(record));
  }

  /** Removes directories that are empty, and the record. Files that a driver left there may be missed by somebody. */
  async function forget(path: string): Promise<void> {
    await removeEmpty(path);
    await rm(join(dirname(path), dataFile), { force: true });
    await removeEmpty(dirname(path));
  }

  return {
    async load() {
      for (const podUid of await namesIn(join(directory, 'pods'))) {
        for (const specVolID of await namesIn(dirname(dirname(publishPathOf(directory, { podUid, specVolID: '-' }))))) {
          const path = publishPathOf(directory, { podUid, specVolID });
          const record = await readRecord<PublishedVolume>(path, log);
          if (record !== undefined) published.set(path, { ...record, podUid, specVolID });
        }
      }
      const staging = join(directory, 'plugins', 'kubernetes.io', 'csi');
      for (const driver of await namesIn(staging)) {
        for (const volume of await namesIn(join(staging, driver))) {
          const path = join(staging, driver, volume, 'globalmount');
          const record = await readRecord<StagedVolume>(path, log);
          if (record !== undefined) staged.set(path, { ...record, path });
        }
      }
    },
    published: () => [...published.values()],
    staged: () => [...staged.values()],
    async notePublished(volume) {
      const path = publishPathOf(directory, volume);
      await note(path, volume);
      published.set(path, volume);
    },
    async noteStaged(volume) {
      await note(volume.path, volume);
      staged.set(volume.path, volume);
    },
    async forgetPublished(volume) {
      const path = publishPathOf(directory, volume);
      await forget(path);
      published.delete(path);
      // Both are there for the pod alone. Another volume of it keeps them.
      for (const holder of [
        dirname(dirname(path)),
        join(directory, 'pods', volume.podUid, 'volumes'),
        join(directory, 'pods', volume.podUid),
      ])
        await removeEmpty(holder).catch(() => undefined);
    },
    async forgetStaged({ path }) {
      await forget(path);
      staged.delete(path);
    },
  };
}

async function namesIn(directory: string): Promise<readonly string[]> {
  try {
    return await readdir(directory);
  } catch (err) {
    if (isNoEntry(err) || (err as NodeJS.ErrnoException).code === 'ENOTDIR') return [];
    throw err;
  }
}

async function readRecord<T extends DriverVolume>(path: string, log: Log): Promise<T | undefined> {
  try {
    const record = JSON.parse((await readBoundedFile(join(dirname(path), dataFile), maxRecordBytes)).toString('utf8')) as T;
    if (typeof record.driverName === 'string' && typeof record.volumeHandle === 'string') return record;
    throw new Error('it names no volume');
  } catch (err) {
    // A directory that was made, and not yet written to: nothing was asked of the driver.
    if (!isNoEntry(err)) log.error({ err, path }, 'Passed over the record of a volume, which stays mounted');
    return undefined;
  }
}

async function removeEmpty(directory: string): Promise<void> {
  try {
    await rmdir(directory);
  } catch (err) {
    if (!isNoEntry(err)) throw err;
  }
}
