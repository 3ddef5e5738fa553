import { type PersistentVolume, persistentVolumes } from '../../api/core/v1/persistent-volume.ts';
import { type PersistentVolumeClaim, persistentVolumeClaims } from '../../api/core/v1/persistent-volume-claim.ts';
import { tryGet } from '../../client/try-get.ts';
import { eventsOf, reclaimFailureOf, stateOf, statusOf } from '../../lifecycle/persistent-volume.facts.ts';
import { persistentVolumeMachine } from '../../lifecycle/persistent-volume.machine.ts';
import { unboundVolume } from '../../lifecycle/volume-binding.ts';
import { claimKeyOf } from '../../lifecycle/volume-matching.ts';
import { deepEqual, keyOf } from '../../machinery/object.ts';
import { isNotFound } from '../../machinery/status-error.ts';
import type { Controller, ReconcileContext } from '../../reconcile/controller.ts';
import type { ControllerDependencies } from '../../reconcile/dependencies.ts';
import { advance } from '../../reconcile/effects.ts';
import { createInformedController } from '../../reconcile/informed-controller.ts';
import { indexVolumes, volumesNaming } from './indexes.ts';

/** Keeps the phase of each volume, and gives up the volumes whose claim is gone. Provisioners remove what they made. */
export function createVolumeBindingController(dependencies: ControllerDependencies): Controller {
  const { client, informers, recorder, steps } = dependencies;
  const volumes = informers.get(persistentVolumes);
  const claims = informers.get(persistentVolumeClaims);
  indexVolumes(volumes);

  const controller = createInformedController(dependencies, { name: 'volumes', workers: 1, reconcile });
  volumes.addHandler(({ after }) => {
    if (after !== undefined) controller.enqueue(keyOf(after));
  });
  claims.addHandler(({ before, after }) => {
    const claim = after ?? before;
    if (claim === undefined) return;
    const names = [claim.spec.volumeName ?? '', before?.spec.volumeName ?? ''].filter((name) => name !== '');
    for (const name of new Set(names)) controller.enqueue(name);
    for (const volume of volumesNaming(volumes, keyOf(claim))) controller.enqueue(keyOf(volume));
  });
  return controller;

  async function reconcile(key: string, { signal }: ReconcileContext): Promise<undefined> {
    const volume = volumes.getByKey(key);
    if (volume === undefined) return;
    const claim = await claimOf(volume);
    const failure = reclaimFailureOf(volume);
    let current = volume;

    const snapshot = await advance({
      machine: persistentVolumeMachine,
      key,
      from: stateOf(volume),
      events: eventsOf(volume, claim),
      effects: {
        reclaim: () => (failure === undefined ? undefined : ({ type: 'RECLAIM_FAILED' } as const)),
        unbind: async () => {
          current = await client.update(persistentVolumes, unboundVolume(volume), { signal });
        },
        reportMismatch: () => reportMismatch(volume, claim),
        reportFailure: () => {
          if (failure !== undefined) recorder.record(volume, { type: 'Warning', reason: failure.reason, message: failure.message });
        },
      },
      steps,
    });

    const state = snapshot.value;
    const status = statusOf(state, current, state === 'Failed' ? failure : undefined);
    // One that no pass has decided about keeps the phase it was created with.
    if (deepEqual(current.status, status)) return;
    try {
      await client.update(persistentVolumes, { ...current, status }, { subresource: 'status', signal });
    } catch (err) {
      if (!isNotFound(err)) throw err;
    }
  }

  /** The claim that the volume names. Its data are lost without it, so what the cache lacks is looked for on the server. */
  async function claimOf(volume: PersistentVolume): Promise<PersistentVolumeClaim | undefined> {
    const { claimRef } = volume.spec;
    const key = claimKeyOf(volume);
    if (claimRef?.name === undefined || key === undefined) return undefined;
    const cached = claims.getByKey(key);
    if (cached !== undefined && (claimRef.uid === undefined || cached.metadata.uid === claimRef.uid)) return cached;
    return tryGet(client, persistentVolumeClaims, { namespace: claimRef.namespace, name: claimRef.name });
  }

  function reportMismatch(volume: PersistentVolume, claim: PersistentVolumeClaim | undefined): void {
    if (claim === undefined) return;
    const because = 'due to incompatible volumeMode.';
    const onVolume = `Cannot bind PersistentVolume to requested PersistentVolumeClaim "${claim.metadata.name}" ${because}`;
    const onClaim = `Cannot bind PersistentVolume "${volume.metadata.name}" to requested PersistentVolumeClaim ${because}`;
    recorder.record(volume, { type: 'Warning', reason: 'VolumeMismatch', message: onVolume });
    recorder.record(claim, { type: 'Warning', reason: 'VolumeMismatch', message: onClaim });
  }
}
