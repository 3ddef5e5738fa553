import { lstat, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { type PersistentVolume, persistentVolumes } from '../api/core/v1/persistent-volume.ts';
import type { Clock } from '../base/clock.ts';
import type { Component } from '../base/component.ts';
import type { Log } from '../base/log.ts';
import { removeTree } from '../base/remove-tree.ts';
import type { Client } from '../client/client.ts';
import type { Informer } from '../client/informer.ts';
import { isLocalPathDoomed, localPathDirectoryOf, localPathNodeOf, withoutLocalPathFinalizer } from '../lifecycle/local-path-volume.ts';
import { keyOf } from '../machinery/object.ts';
import { isNotFound } from '../machinery/status-error.ts';
import { createController } from '../reconcile/controller.ts';
import type { EventRecorder } from '../reconcile/event-recorder.ts';
import { isNoEntry, unfinishedPrefix } from './volume-directories.ts';

/** The part of a machine that holds volumes of the class `local-path`. */
export interface NodeStorage {
  /** Absolute; several agents of a process may share it. */
  readonly directory: string;
  /** At least the volumes of this node. */
  readonly volumes: Informer<PersistentVolume>;
}

export interface LocalPathStorageOptions extends NodeStorage {
  readonly nodeName: string;
  readonly client: Client;
  readonly clock: Clock;
  readonly log: Log;
  readonly recorder: EventRecorder;
}

/** Begins the name of a directory whose data are going. */
const removedPrefix = '.removed-';

/**
 * Removes the directories of volumes that are being deleted, and then the finalizer that keeps each volume until then.
 *
 * Nothing else is ever removed. The name of the directory follows from the claim that the volume was made for, and the volume's path has to
 * end with it. A link in its place goes alone, without what it leads to.
 */
export function createLocalPathStorage(options: LocalPathStorageOptions): Component {
  const { directory, volumes, nodeName, client, clock, log, recorder } = options;
  let unsubscribe: (() => void) | undefined;

  const controller = createController({
    name: `local-path-storage ${nodeName}`,
    clock,
    log,
    workers: 1,
    minBackoffMs: 1_000,
    async reconcile(key, { signal }) {
      const volume = volumes.getByKey(key);
      if (volume === undefined || localPathNodeOf(volume) !== nodeName || !isLocalPathDoomed(volume)) return undefined;
      try {
        await removeData(directory, volume);
      } catch (err) {
        const message = err instanceof Error ? err.message : String(err);
        recorder.record(volume, { type: 'Warning', reason: 'VolumeFailedDelete', message });
        throw err;
      }
      log.info({ persistentVolume: key }, 'Removed directory of volume');
      try {
        await client.update(persistentVolumes, withoutLocalPathFinalizer(volume), { signal });
      } catch (err) {
        if (!isNotFound(err)) throw err;
      }
      return undefined;
    },
  });

  return {
    name: controller.name,
    async start({ signal }) {
      await controller.start({ signal });
      unsubscribe = volumes.addHandler(({ after }) => {
        if (after !== undefined && localPathNodeOf(after) === nodeName && isLocalPathDoomed(after)) controller.enqueue(keyOf(after));
      });
    },
    async stop() {
      unsubscribe?.();
      await controller.stop();
    },
  };
}

/** @throws Error when the volume's path is not the one that was made for its claim, or the file system refuses */
async function removeData(directory: string, { metadata, spec }: PersistentVolume): Promise<void> {
  const name = localPathDirectoryOf(spec.claimRef ?? {});
  const path = join(directory, name);
  const said = spec.hostPath?.path ?? spec.local?.path;
  if (metadata.name !== `pvc-${spec.claimRef?.uid}` || said !== path) {
    throw new Error(`path ${said} of volume ${metadata.name} is left as it is: it is not the directory that was made for its claim`);
  }
  await rm(join(directory, `${unfinishedPrefix}${name}`), { recursive: true, force: true });
  // Under its own name it is whole or gone, also after a crash in the middle.
  const removed = join(directory, `${removedPrefix}${metadata.name}`);
  await removeTree(removed);
  try {
    if ((await lstat(path)).isSymbolicLink()) await rm(path);
    else await rename(path, removed);
  } catch (err) {
    if (!isNoEntry(err)) throw err;
  }
  await removeTree(removed);
}
