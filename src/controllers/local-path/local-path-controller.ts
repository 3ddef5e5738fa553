import { type Node, nodes } from '../../api/core/v1/node.ts';
import { type PersistentVolume, persistentVolumes } from '../../api/core/v1/persistent-volume.ts';
import { type PersistentVolumeClaim, persistentVolumeClaims } from '../../api/core/v1/persistent-volume-claim.ts';
import { storageClassNameOf } from '../../api/core/v1/volume-class.ts';
import { type StorageClass, storageClasses } from '../../api/storage/v1/storage-class.ts';
import { finalizers, annotations as known, labels, volumeAnnotations } from '../../api/well-known.ts';
import { BoundedMap } from '../../base/bounded-map.ts';
import type { New } from '../../client/client.ts';
import { preconditionsOf } from '../../client/preconditions.ts';
import {
  isLocalPathDoomed,
  isLocalPathVolume,
  localPathDirectoryOf,
  localPathNameOf,
  localPathNodeOf,
  localPathProvisioner,
  withoutLocalPathFinalizer,
} from '../../lifecycle/local-path-volume.ts';
import { claimRefOf } from '../../lifecycle/volume-binding.ts';
import { claimKeyOf } from '../../lifecycle/volume-matching.ts';
import { keyOf } from '../../machinery/object.ts';
import { compareQuantities, tryQuantity } from '../../machinery/quantity.ts';
import { isAlreadyExists, isNotFound } from '../../machinery/status-error.ts';
import type { Controller, ReconcileContext, Result } from '../../reconcile/controller.ts';
import type { ControllerDependencies } from '../../reconcile/dependencies.ts';
import { createInformedController } from '../../reconcile/informed-controller.ts';

/**
 * The provisioner `rancher.io/local-path`: a volume is a directory of the node that the scheduler chose for the claim's first pod.
 *
 * Only objects are written here. The node's agent makes the directory when a pod mounts the volume, so a crash before that leaves nothing
 * behind. It removes the directory when the volume is being deleted, and takes the finalizer away then.
 */
export function createLocalPathClaimController(dependencies: ControllerDependencies): Controller {
  const { client, informers, recorder, log } = dependencies;
  const claims = informers.get(persistentVolumeClaims);
  const volumes = informers.get(persistentVolumes);
  const classes = informers.get(storageClasses);
  const nodeInformer = informers.get(nodes);

  const controller = createInformedController(dependencies, { name: 'local-path-claims', reconcile });
  claims.addHandler(({ after }) => {
    if (after !== undefined && isAsked(after)) controller.enqueue(keyOf(after));
  });
  volumes.addHandler(({ after }) => {
    const key = after === undefined || !isLocalPathVolume(after) ? undefined : claimKeyOf(after);
    if (key !== undefined) controller.enqueue(key);
  });
  // A claim that got no volume waits for what it lacked.
  nodeInformer.addHandler(({ before, after }) => {
    if (after === undefined || storageDirectoryOf(after) === (before === undefined ? undefined : storageDirectoryOf(before))) return;
    enqueueWaiting(({ metadata }) => metadata.annotations?.[volumeAnnotations.selectedNode] === after.metadata.name);
  });
  classes.addHandler(({ after }) => {
    if (after?.provisioner === localPathProvisioner) enqueueWaiting((claim) => storageClassNameOf(claim) === after.metadata.name);
  });
  return controller;

  function enqueueWaiting(concerns: (claim: PersistentVolumeClaim) => boolean): void {
    for (const claim of claims.list()) {
      if (isAsked(claim) && (claim.spec.volumeName ?? '') === '' && concerns(claim)) controller.enqueue(keyOf(claim));
    }
  }

  async function reconcile(key: string, { signal }: ReconcileContext): Promise<undefined> {
    const claim = claims.getByKey(key);
    if (claim === undefined || !isAsked(claim) || claim.metadata.deletionTimestamp !== undefined) return;
    const { volumeName = '' } = claim.spec;
    if (volumeName === '') await provision(claim, signal);
    else await expand(claim, signal);
  }

  async function provision(claim: PersistentVolumeClaim, signal: AbortSignal): Promise<void> {
    const storageClass = classes.getByKey(storageClassNameOf(claim));
    const name = localPathNameOf(claim);
    if (storageClass?.provisioner !== localPathProvisioner || volumes.getByKey(name) !== undefined) return;
    const nodeName = claim.metadata.annotations?.[volumeAnnotations.selectedNode] ?? '';
    const node = nodeInformer.getByKey(nodeName);
    const why = whyNoVolume(claim, nodeName, node);
    const report = (type: 'Normal' | 'Warning', reason: string, message: string): void => recorder.record(claim, { type, reason, message });
    if (why !== undefined || node === undefined) {
      const failure = `failed to provision volume with StorageClass "${storageClass.metadata.name}"`;
      report('Warning', 'ProvisioningFailed', `${failure}: ${why ?? ''}`);
      // Another node may have it.
      if (nodeName !== '' && node === undefined) await forgetNode(claim, signal);
      return;
    }
    report('Normal', 'Provisioning', `External provisioner is provisioning volume for claim "${keyOf(claim)}"`);
    try {
      await client.create(persistentVolumes, volumeOf({ claim, storageClass, node, name }), { signal });
    } catch (err) {
      // An earlier pass made it, and the cache was behind.
      if (!isAlreadyExists(err)) throw err;
      return;
    }
    log.info({ persistentVolumeClaim: keyOf(claim), persistentVolume: name, node: nodeName }, 'Provisioned volume');
    report('Normal', 'ProvisioningSucceeded', `Successfully provisioned volume ${name}`);
  }

  async function forgetNode(claim: PersistentVolumeClaim, signal: AbortSignal): Promise<void> {
    const { [volumeAnnotations.selectedNode]: _node, ...annotations } = claim.metadata.annotations ?? {};
    await client.update(persistentVolumeClaims, { ...claim, metadata: { ...claim.metadata, annotations } }, { signal });
  }

  /** A directory has the size of its file system, so a volume grows as soon as both objects say so. */
  async function expand(claim: PersistentVolumeClaim, signal: AbortSignal): Promise<void> {
    let volume = volumes.getByKey(claim.spec.volumeName ?? '');
    if (volume === undefined || !isLocalPathVolume(volume) || claim.status?.phase !== 'Bound') return;
    const storage = claim.spec.resources?.requests?.storage;
    if (storage !== undefined && isLess(volume.spec.capacity?.storage, storage)) {
      const report = (reason: string, message: string): void => recorder.record(claim, { type: 'Normal', reason, message });
      report('Resizing', `External resizer is resizing volume ${volume.metadata.name}`);
      volume = await client.update(
        persistentVolumes,
        { ...volume, spec: { ...volume.spec, capacity: { ...volume.spec.capacity, storage } } },
        { signal },
      );
      report('VolumeResizeSuccessful', 'Resize volume succeeded');
    }
    const { capacity } = volume.spec;
    if (capacity === undefined || !isLess(claim.status.capacity?.storage, capacity.storage ?? '0')) return;
    await client.update(persistentVolumeClaims, { ...claim, status: { ...claim.status, capacity } }, { subresource: 'status', signal });
  }
}

/** An agent whose Node somebody deleted registers again within this time, and still has the directories. */
const nodeGraceMs = 60_000;
/** Absent nodes that are remembered; volumes of one that is forgotten wait again. */
const maxAbsentNodes = 1_000;

/** Deletes released volumes of the provisioner. The finalizer keeps each until its node's agent has removed the directory. */
export function createLocalPathVolumeController(dependencies: ControllerDependencies): Controller {
  const { client, informers, clock, recorder, log } = dependencies;
  const volumes = informers.get(persistentVolumes);
  const nodeInformer = informers.get(nodes);
  /** Monotonic time of the first look that found no Node of this name, since it was there last. */
  const absentSinceMs = new BoundedMap<string, number>(maxAbsentNodes);

  const controller = createInformedController(dependencies, { name: 'local-path-volumes', reconcile });
  volumes.addHandler(({ after }) => {
    if (after !== undefined && isLocalPathVolume(after)) controller.enqueue(keyOf(after));
  });
  nodeInformer.addHandler(({ before, after }) => {
    if (before === undefined && after !== undefined) absentSinceMs.delete(after.metadata.name);
    if (after !== undefined) return;
    for (const volume of volumes.list()) if (isLocalPathDoomed(volume)) controller.enqueue(keyOf(volume));
  });
  return controller;

  async function reconcile(key: string, { signal }: ReconcileContext): Promise<Result | undefined> {
    const volume = volumes.getByKey(key);
    if (volume === undefined || !isLocalPathVolume(volume)) return undefined;
    const { metadata, spec, status } = volume;
    if (status?.phase !== 'Released' && status?.phase !== 'Failed') return undefined;
    if (metadata.deletionTimestamp === undefined) {
      if (spec.persistentVolumeReclaimPolicy === 'Delete') await deleteVolume(volume, signal);
      return undefined;
    }
    if (metadata.finalizers?.includes(finalizers.externalProvisioner) !== true) return undefined;
    if (spec.persistentVolumeReclaimPolicy === 'Delete') {
      const nodeName = localPathNodeOf(volume) ?? '';
      const node = nodeInformer.getByKey(nodeName);
      // Its agent removes the directory first.
      if (node !== undefined && !isPretended(node)) return undefined;
      if (node === undefined) {
        const leftMs = untilGivenUp(nodeName);
        if (leftMs > 0) return { requeueAfterMs: leftMs };
        const message = `node ${nodeName} is gone: its directory is left as it is`;
        recorder.record(volume, { type: 'Warning', reason: 'VolumeFailedDelete', message });
      }
    }
    try {
      await client.update(persistentVolumes, withoutLocalPathFinalizer(volume), { signal });
    } catch (err) {
      if (!isNotFound(err)) throw err;
    }
    return undefined;
  }

  /** A volume that waits for the agent of a node which is gone would wait forever. */
  function untilGivenUp(nodeName: string): number {
    const nowMs = clock.monotonicMs();
    const sinceMs = absentSinceMs.get(nodeName) ?? nowMs;
    absentSinceMs.set(nodeName, sinceMs);
    return sinceMs + nodeGraceMs - nowMs;
  }

  /** Deletes it as the cache shows it: a person may have kept it meanwhile, or given it to another claim. */
  async function deleteVolume(volume: PersistentVolume, signal: AbortSignal): Promise<void> {
    const { name } = volume.metadata;
    try {
      await client.delete(persistentVolumes, { name }, { preconditions: preconditionsOf(volume), signal });
      log.info({ persistentVolume: name }, 'Deleted released volume');
    } catch (err) {
      if (!isNotFound(err)) throw err;
    }
  }
}

const isAsked = ({ metadata }: PersistentVolumeClaim): boolean =>
  metadata.annotations?.[volumeAnnotations.storageProvisioner] === localPathProvisioner;

/** Reason why the provisioner cannot make the volume; in the words of k3s', as far as it has them. */
function whyNoVolume({ spec }: PersistentVolumeClaim, nodeName: string, node: Node | undefined): string | undefined {
  if (nodeName === '') return 'configuration error, no node was specified';
  if (node === undefined) return `failed to get target node: nodes "${nodeName}" not found`;
  if (spec.selector !== undefined) return 'claim.Spec.Selector is not supported';
  // An empty directory is no copy of what the claim names.
  if ((spec.dataSource ?? spec.dataSourceRef ?? undefined) !== undefined) return 'claim.Spec.DataSource is not supported';
  if (spec.volumeMode === 'Block') return 'block volumes are not supported';
  if ((spec.accessModes ?? []).some((mode) => mode !== 'ReadWriteOnce' && mode !== 'ReadWriteOncePod')) {
    return 'NodePath only supports ReadWriteOnce and ReadWriteOncePod (1.22+) access modes';
  }
  if (storageDirectoryOf(node) !== undefined) return undefined;
  return `node ${nodeName} has no agent that makes directories for volumes`;
}

/** Absent for a node whose agent makes no directories. Those of pretended pods are pretended, too. */
const storageDirectoryOf = (node: Node): string | undefined =>
  isPretended(node) ? '/var/lib/midship/storage' : node.metadata.annotations?.[known.storageDirectory];

const isPretended = ({ metadata }: Node): boolean => metadata.labels?.[labels.midshipSimulated] === 'true';

interface NewVolume {
  readonly claim: PersistentVolumeClaim;
  readonly storageClass: StorageClass;
  readonly node: Node;
  readonly name: string;
}

/** A claim or a class may ask for a `local` volume by this annotation, as with k3s. */
const volumeTypeAnnotations = ['volumeType', 'defaultVolumeType'] as const;

function volumeOf({ claim, storageClass, node, name }: NewVolume): New<PersistentVolume> {
  const { accessModes, resources, volumeMode } = claim.spec;
  const path = `${storageDirectoryOf(node)}/${localPathDirectoryOf(claim.metadata)}`;
  const [ofClaim, ofClass] = volumeTypeAnnotations;
  const isLocal = (claim.metadata.annotations?.[ofClaim] ?? storageClass.metadata.annotations?.[ofClass]) === 'local';
  const hostname = node.metadata.labels?.[labels.hostname] ?? node.metadata.name;
  return {
    apiVersion: 'v1',
    kind: 'PersistentVolume',
    metadata: {
      name,
      labels: { [labels.storageNode]: node.metadata.name },
      annotations: { [volumeAnnotations.provisionedBy]: localPathProvisioner, [known.localPathNode]: node.metadata.name },
      finalizers: [finalizers.externalProvisioner],
    },
    spec: {
      capacity: { storage: resources?.requests?.storage ?? '0' },
      ...(accessModes === undefined ? {} : { accessModes }),
      ...(volumeMode === undefined ? {} : { volumeMode }),
      claimRef: claimRefOf(claim),
      persistentVolumeReclaimPolicy: storageClass.reclaimPolicy ?? 'Delete',
      storageClassName: storageClass.metadata.name,
      ...(storageClass.mountOptions === undefined ? {} : { mountOptions: storageClass.mountOptions }),
      ...(isLocal ? { local: { path } } : { hostPath: { path, type: 'DirectoryOrCreate' } }),
      nodeAffinity: {
        required: { nodeSelectorTerms: [{ matchExpressions: [{ key: labels.hostname, operator: 'In', values: [hostname] }] }] },
      },
    },
  };
}

const isLess = (a: string | undefined, b: string): boolean => {
  const [left, right] = [tryQuantity(a), tryQuantity(b)];
  return right !== undefined && (left === undefined || compareQuantities(left, right) < 0);
};
