import { storageClasses } from '../../api/storage/v1/storage-class.ts';
import { localPathProvisioner } from '../../lifecycle/local-path-volume.ts';
import { isAlreadyExists } from '../../machinery/status-error.ts';
import type { Controller } from '../../reconcile/controller.ts';
import type { ControllerDependencies } from '../../reconcile/dependencies.ts';
import { createInformedController } from '../../reconcile/informed-controller.ts';

const className = 'local-path';

/** Makes the default StorageClass of k3s once a start, unless there is one of that name. A person may change it, or mark another one. */
export function createLocalPathClassController(dependencies: ControllerDependencies): Controller {
  const { client, informers } = dependencies;
  const classes = informers.get(storageClasses);
  const controller = createInformedController(dependencies, {
    name: 'local-path-class',
    onStarted: () => controller.enqueue(className),
    async reconcile(name, { signal }) {
      if (classes.getByKey(name) !== undefined) return undefined;
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
}
