import { type PersistentVolume, persistentVolumes } from '../../api/core/v1/persistent-volume.ts';
import { type PersistentVolumeClaim, persistentVolumeClaims } from '../../api/core/v1/persistent-volume-claim.ts';
import { pods } from '../../api/core/v1/pod.ts';
import { claimKeysOf } from '../../api/core/v1/pod-claims.ts';
import { storageClassNameOf } from '../../api/core/v1/volume-class.ts';
import { defaultAmong } from '../../api/default-class.ts';
import { defaultStorageClassAnnotations, type StorageClass, storageClasses } from '../../api/storage/v1/storage-class.ts';
import { volumeAnnotations } from '../../api/well-known.ts';
import { type ClaimFinding, eventsOf, findingOf, stateOf, statusOf } from '../../lifecycle/persistent-volume-claim.facts.ts';
import { persistentVolumeClaimMachine } from '../../lifecycle/persistent-volume-claim.machine.ts';
import { claimKeyOf } from '../../lifecycle/volume-matching.ts';
import { deepEqual, keyOf } from '../../machinery/object.ts';
import { isNotFound } from '../../machinery/status-error.ts';
import type { Controller, ReconcileContext, Result } from '../../reconcile/controller.ts';
import type { ControllerDependencies } from '../../reconcile/dependencies.ts';
import { advance } from '../../reconcile/effects.ts';
import type { RecordedEvent } from '../../reconcile/event-recorder.ts';
import { createInformedController } from '../../reconcile/informed-controller.ts';
import { bindVolume } from './bind.ts';
import {
  candidatesFor,
  claimsNaming,
  claimsWaitingFor,
  claimsWithoutClass,
  indexClaims,
  indexPodsWithoutNode,
  indexVolumes,
  podsWithoutNode,
} from './indexes.ts';

/** A claim that waits is said to wait again, before its Event is forgotten. */
const reportAgainMs = 10 * 60_000;

/**
 * Gives each claim a volume: one that is there, or one that the provisioner of its class makes.
 *
 * A pass: find a volume, decide, write volume and claim, write the claim's status.
 */
export function createClaimBindingController(dependencies: ControllerDependencies): Controller {
  const { client, informers, recorder, steps } = dependencies;
  const claims = informers.get(persistentVolumeClaims);
  const volumes = informers.get(persistentVolumes);
  const classes = informers.get(storageClasses);
  const podInformer = informers.get(pods);
  indexClaims(claims);
  indexVolumes(volumes);
  indexPodsWithoutNode(podInformer);

  const controller = createInformedController(dependencies, {
    name: 'claims',
    // Two passes at once would choose one volume for two claims, and one of them would only find out by a conflict.
    workers: 1,
    reconcile,
  });
  const enqueueAll = (found: Iterable<PersistentVolumeClaim>): void => {
    for (const claim of found) controller.enqueue(keyOf(claim));
  };
  claims.addHandler(({ after }) => {
    if (after !== undefined) controller.enqueue(keyOf(after));
  });
  volumes.addHandler(({ before, after }) => {
    const volume = after ?? before;
    if (volume === undefined) return;
    const key = claimKeyOf(volume);
    if (key !== undefined) controller.enqueue(key);
    enqueueAll(claimsNaming(claims, volume.metadata.name));
    const isFreed = after?.status?.phase === 'Available' && after.spec.claimRef === undefined;
    if (isFreed) enqueueAll(claimsWaitingFor(claims, storageClassNameOf(after)));
  });
  classes.addHandler(({ after }) => {
    if (after === undefined) return;
    enqueueAll(claimsWaitingFor(claims, after.metadata.name));
    if (isDefault(after)) enqueueAll(claimsWithoutClass(claims));
  });
  podInformer.addHandler(({ before, after }) => {
    // A claim that waits for its first pod says for which.
    if (before === undefined && after !== undefined && (after.spec.nodeName ?? '') === '') {
      for (const key of claimKeysOf(after)) controller.enqueue(key);
    }
  });
  return controller;

  async function reconcile(key: string, { signal }: ReconcileContext): Promise<Result | undefined> {
    const claim = claims.getByKey(key);
    if (claim === undefined) return undefined;
    const { volumeName = '' } = claim.spec;
    const defaultClass = defaultAmong(classes.list(), defaultStorageClassAnnotations);
    const finding = findingOf(claim, {
      candidates: candidatesFor(volumes, claim),
      named: volumeName === '' ? undefined : volumes.getByKey(volumeName),
      storageClass: classes.getByKey(storageClassNameOf(claim)),
      hasDefaultClass: defaultClass !== undefined,
    });
    let current = claim;
    let volume: PersistentVolume | undefined;

    const report = (type: RecordedEvent['type'], reason: string, message = finding?.message ?? ''): void =>
      recorder.record(claim, { type, reason, message });
    const snapshot = await advance({
      machine: persistentVolumeClaimMachine,
      key,
      from: stateOf(claim),
      events: eventsOf(finding),
      effects: {
        bind: async () => {
          ({ claim: current, volume } = await bindVolume(client, { claim, volume: volumeOf(finding) }, signal));
        },
        reportUnfit: () => report('Warning', 'VolumeMismatch'),
        reportTaken: () => report('Warning', 'FailedBinding'),
        assignClass: async () => {
          const storageClassName = defaultClass?.metadata.name;
          const spec = { ...claim.spec, ...(storageClassName === undefined ? {} : { storageClassName }) };
          current = await client.update(persistentVolumeClaims, { ...claim, spec }, { signal });
        },
        reportWaiting: () => {
          const { reason, message } = waitOf(podsWithoutNode(podInformer, key).map(({ metadata }) => metadata.name));
          report('Normal', reason, message);
        },
        requestVolume: async () => {
          const provisioner = classes.getByKey(storageClassNameOf(claim))?.provisioner ?? '';
          current = await setProvisioner(claim, provisioner, signal);
          report('Normal', 'ExternalProvisioning', waitForProvisioner(provisioner));
        },
        reportUnusable: () => report('Warning', 'ProvisioningFailed'),
        reportNothing: () =>
          report('Normal', 'FailedBinding', 'no persistent volumes available for this claim and no storage class is set'),
        reportLost: () => report('Warning', 'ClaimLost'),
        reportMisbound: () => report('Warning', 'ClaimMisbound'),
      },
      steps,
    });

    const status = statusOf(snapshot.value, current, volume);
    if (!deepEqual(current.status, status)) {
      try {
        await client.update(persistentVolumeClaims, { ...current, status }, { subresource: 'status', signal });
      } catch (err) {
        if (!isNotFound(err)) throw err;
      }
    }
    return snapshot.value === 'Pending' ? { requeueAfterMs: reportAgainMs } : undefined;
  }

  async function setProvisioner(claim: PersistentVolumeClaim, provisioner: string, signal: AbortSignal): Promise<PersistentVolumeClaim> {
    const { storageProvisioner, legacyStorageProvisioner } = volumeAnnotations;
    const { annotations = {} } = claim.metadata;
    if (annotations[storageProvisioner] === provisioner && annotations[legacyStorageProvisioner] === provisioner) return claim;
    const asked = { ...annotations, [legacyStorageProvisioner]: provisioner, [storageProvisioner]: provisioner };
    return client.update(persistentVolumeClaims, { ...claim, metadata: { ...claim.metadata, annotations: asked } }, { signal });
  }
}

const isDefault = ({ metadata }: StorageClass): boolean =>
  defaultStorageClassAnnotations.some((name) => metadata.annotations?.[name] === 'true');

function volumeOf(finding: ClaimFinding | undefined): PersistentVolume {
  if (finding?.volume === undefined) throw new Error('a claim is bound without a volume');
  return finding.volume;
}

function waitOf(podNames: readonly string[]): { readonly reason: string; readonly message: string } {
  if (podNames.length === 0) {
    return { reason: 'WaitForFirstConsumer', message: 'waiting for first consumer to be created before binding' };
  }
  const names = podNames.toSorted().join(',');
  return { reason: 'WaitForPodScheduled', message: `waiting for ${podNames.length > 1 ? 'pods' : 'pod'} ${names} to be scheduled` };
}

const waitForProvisioner = (provisioner: string): string =>
  `Waiting for a volume to be created either by the external provisioner '${provisioner}' or manually by the system administrator. ` +
  'If volume creation is delayed, please verify that the provisioner is running and correctly registered.';
