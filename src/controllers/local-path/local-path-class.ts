import { type StorageClass, storageClasses } from '../../api/storage/v1/storage-class.ts';
import { localPathProvisioner } from '../../lifecycle/local-path-volume.ts';
import { isAlreadyExists, isConflict, isNotFound } from '../../machinery/status-error.ts';
import type { Controller } from '../../reconcile/controller.ts';
import type { ControllerDependencies } from '../../reconcile/dependencies.ts';
import { createInformedController } from '../../reconcile/informed-controller.ts';

const className = 'local-path';

export interface LocalPathClassOptions extends ControllerDependencies {
  /** False: the provisioner is switched off, and claims of its class would wait for it. */
  readonly isWanted: boolean;
}

/**
 * Makes the default StorageClass of k3s once a start, unless there is one of that name. A person may change it, or mark another one.
 * Without the provisioner the class goes, as long as it names that.
 */
export function createLocalPathClassController(options: LocalPathClassOptions): Controller {
  const { client, informers, isWanted } = options;
  const classes = informers.get(storageClasses);
  const controller = createInformedController(options, {
    name: 'local-path-class',
    onStarted: () => controller.enqueue(className),
    async reconcile(name, { signal }) {
      const stored = classes.getByKey(name);
      if (!isWanted) {
        if (stored?.provisioner === localPathProvisioner) await remove(stored, signal);
        return undefined;
      }
      if (stored !== undefined) return undefined;
      try {
        await client.create(
          storageClasses,
          {
            apiVersion: 'storage.k8s.io/v1',
            kind: 'StorageClass',
            metadata: { name, annotations: { 'storageclass.kubernetes.io/is-default-class': 'true' } },
            provisioner: localPathProvisioner,
            reclaimPolicy: 'Delete',
            volumeBindingMode: 'WaitForFirstConsumer',
            allowVolumeExpansion: true,
          },
          { signal },
        );
      } catch (err) {
        if (!isAlreadyExists(err)) throw err;
      }
      return undefined;
    },
  });
  return controller;

  async function remove({ metadata: { name, uid } }: StorageClass, signal: AbortSignal): Promise<void> {
    try {
      await client.delete(storageClasses, { name }, { ...(uid === undefined ? {} : { preconditions: { uid } }), signal });
    } catch (err) {
      if (!isNotFound(err) && !isConflict(err)) throw err;
    }
  }
}
