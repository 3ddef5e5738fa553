import { persistentVolumes } from '../../api/core/v1/persistent-volume.ts';
import { type PersistentVolumeClaim, persistentVolumeClaims } from '../../api/core/v1/persistent-volume-claim.ts';
import { provisionerOf } from '../../lifecycle/persistent-volume.facts.ts';
import { keyOf } from '../../machinery/object.ts';
import { compareQuantities, tryQuantity } from '../../machinery/quantity.ts';
import type { Controller } from '../../reconcile/controller.ts';
import type { ControllerDependencies } from '../../reconcile/dependencies.ts';
import { createInformedController } from '../../reconcile/informed-controller.ts';

/** Says on a claim that asks for more than its volume has that a controller of the volume's driver has to grow it. */
export function createExpansionController(dependencies: ControllerDependencies): Controller {
  const { informers, recorder } = dependencies;
  const claims = informers.get(persistentVolumeClaims);
  const volumes = informers.get(persistentVolumes);
  const controller = createInformedController(dependencies, {
    name: 'volume_expand',
    async reconcile(key) {
      const claim = claims.getByKey(key);
      const volume = volumes.getByKey(claim?.spec.volumeName ?? '');
      if (claim === undefined || volume?.spec.csi === undefined || claim.status?.phase !== 'Bound') return undefined;
      const [wanted, had] = [claim.spec.resources?.requests, volume.spec.capacity].map((amounts) => tryQuantity(amounts?.storage));
      if (wanted === undefined || had === undefined || compareQuantities(wanted, had) <= 0 || provisionerOf(volume) === undefined)
        return undefined;
      const message = 'waiting for an external controller to expand this PVC';
      recorder.record(claim, { type: 'Normal', reason: 'ExternalExpanding', message });
      return undefined;
    },
  });
  claims.addHandler(({ before, after }) => {
    if (before !== undefined && after !== undefined && sizeOf(before) !== sizeOf(after)) controller.enqueue(keyOf(after));
  });
  return controller;
}

const sizeOf = ({ spec }: PersistentVolumeClaim): string => spec.resources?.requests?.storage ?? '';
