import { type PersistentVolumeClaim, persistentVolumeClaims } from '../../api/core/v1/persistent-volume-claim.ts';
import { type Pod, pods, type Volume } from '../../api/core/v1/pod.ts';
import { claimKeysOf, claimNameOf } from '../../api/core/v1/pod-claims.ts';
import type { New } from '../../client/client.ts';
import { controllerOf, keyOf } from '../../machinery/object.ts';
import { isAlreadyExists } from '../../machinery/status-error.ts';
import type { Controller, ReconcileContext } from '../../reconcile/controller.ts';
import type { ControllerDependencies } from '../../reconcile/dependencies.ts';
import { createInformedController } from '../../reconcile/informed-controller.ts';
import { controllerReference } from '../ownership.ts';
import { isPodFinished } from '../pod-conditions.ts';
import { isNamespaceTerminating, messageOf } from '../refusals.ts';

const byClaim = 'claims-of-ephemeral';

/** Makes the claims of generic ephemeral volumes. Each belongs to its pod and goes with it. */
export function createEphemeralVolumeController(dependencies: ControllerDependencies): Controller {
  const { client, informers, recorder } = dependencies;
  const podInformer = informers.get(pods);
  const claims = informers.get(persistentVolumeClaims);

  const controller = createInformedController(dependencies, { name: 'ephemeral_volume', reconcile });
  podInformer.addHandler(({ after }) => {
    if (after !== undefined && isEphemeral(after)) controller.enqueue(keyOf(after));
  });
  podInformer.addIndex(byClaim, (pod) => (isEphemeral(pod) ? claimKeysOf(pod) : []));
  claims.addHandler(({ before, after }) => {
    // It may have been another's, in the way of the pod's.
    if (after === undefined && before !== undefined)
      for (const pod of podInformer.byIndex(byClaim, keyOf(before))) controller.enqueue(keyOf(pod));
  });
  return controller;

  async function reconcile(key: string, { signal }: ReconcileContext): Promise<undefined> {
    const pod = podInformer.getByKey(key);
    if (pod === undefined || pod.metadata.deletionTimestamp !== undefined || isPodFinished(pod)) return;
    for (const volume of pod.spec.volumes ?? []) {
      if ((volume.ephemeral ?? undefined) !== undefined) await createClaim(pod, volume, signal);
    }
  }

  async function createClaim(pod: Pod, volume: Volume, signal: AbortSignal): Promise<void> {
    const claim = claimOf(pod, volume);
    const { namespace, name } = claim.metadata;
    const known = claims.get({ namespace, name });
    try {
      if (known === undefined) {
        await client.create(persistentVolumeClaims, claim, { signal });
        return;
      }
    } catch (err) {
      if (isNamespaceTerminating(err)) return;
      if (!isAlreadyExists(err)) {
        const message = `ephemeral volume ${volume.name}: create PVC ${name}: ${messageOf(err)}`;
        recorder.record(pod, { type: 'Warning', reason: 'FailedBinding', message });
        throw err;
      }
    }
    // A claim of that name that is not the pod's may hold data of somebody else.
    const found = known ?? (await client.get(persistentVolumeClaims, { namespace, name }, { signal }));
    if (controllerOf(found)?.uid === pod.metadata.uid) return;
    const message = `PVC ${namespace}/${name} was not created for pod ${namespace}/${pod.metadata.name} (pod is not owner)`;
    recorder.record(pod, { type: 'Warning', reason: 'FailedBinding', message: `ephemeral volume ${volume.name}: ${message}` });
  }
}

const isEphemeral = ({ spec }: Pod): boolean => spec.volumes?.some(({ ephemeral }) => (ephemeral ?? undefined) !== undefined) === true;

type ClaimMetadata = New<PersistentVolumeClaim>['metadata'] & { readonly name: string };

function claimOf(pod: Pod, volume: Volume): New<PersistentVolumeClaim> & { readonly metadata: ClaimMetadata } {
  const { metadata = {}, spec = {} } = volume.ephemeral?.volumeClaimTemplate ?? {};
  const { labels, annotations } = metadata;
  const { namespace } = pod.metadata;
  return {
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: {
      name: claimNameOf(pod.metadata.name, volume) ?? '',
      ...(namespace === undefined ? {} : { namespace }),
      ...(labels === undefined ? {} : { labels }),
      ...(annotations === undefined ? {} : { annotations }),
      ownerReferences: [controllerReference(pods, pod)],
    },
    spec,
  };
}
