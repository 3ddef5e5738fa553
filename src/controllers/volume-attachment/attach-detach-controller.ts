import { type Node, nodes } from '../../api/core/v1/node.ts';
import { type PersistentVolume, persistentVolumes } from '../../api/core/v1/persistent-volume.ts';
import { type Pod, pods } from '../../api/core/v1/pod.ts';
import { claimKeysOf } from '../../api/core/v1/pod-claims.ts';
import { csiDrivers } from '../../api/storage/v1/csi-driver.ts';
import { type VolumeAttachment, volumeAttachments } from '../../api/storage/v1/volume-attachment.ts';
import { taints } from '../../api/well-known.ts';
import { attachmentNameOf, uniqueNameOf } from '../../lifecycle/csi-volume.ts';
import { claimKeyOf } from '../../lifecycle/volume-matching.ts';
import { isConditionTrue } from '../../machinery/conditions.ts';
import { deepEqual } from '../../machinery/object.ts';
import { isAlreadyExists, isNotFound } from '../../machinery/status-error.ts';
import type { Controller, ReconcileContext, Result } from '../../reconcile/controller.ts';
import type { ControllerDependencies } from '../../reconcile/dependencies.ts';
import { createInformedController } from '../../reconcile/informed-controller.ts';
import { isPodFinished } from '../pod-conditions.ts';

/** Upstream's wait for a kubelet to unmount. After that the volume leaves a node that is not ready, though it may still write to it. */
const unmountWaitMs = 6 * 60_000;
/** The bound of that wait is looked at so often. */
const lookAgainMs = 30_000;

const ofVolume = 'attachments-of-volume';
const onNode = 'attachments-on-node';
const byClaim = 'claims-of-placed';
const byClaimRef = 'volumes-of-claim';
const byListed = 'nodes-that-list-volume';

/**
 * Asks the drivers of volumes (CSI) to attach each volume to the nodes of its pods, and to detach it from others. An attachment is an
 * object: the attacher of the driver acts on it and writes its status. Drivers that need none say so in their CSIDriver.
 *
 * A key is the name of a volume. A pass compares the nodes of its pods with its attachments.
 */
export function createAttachDetachController(dependencies: ControllerDependencies): Controller {
  const { client, informers, recorder, clock } = dependencies;
  const volumes = informers.get(persistentVolumes);
  const podInformer = informers.get(pods);
  const attachments = informers.get(volumeAttachments);
  const drivers = informers.get(csiDrivers);
  const nodeInformer = informers.get(nodes);
  attachments.addIndex(ofVolume, volumeNamesOf);
  attachments.addIndex(onNode, nodeNamesOf);
  podInformer.addIndex(byClaim, claimsOfPlaced);
  volumes.addIndex(byClaimRef, claimsOfVolume);
  nodeInformer.addIndex(byListed, listedOn);
  /** Since when a volume is no longer wanted on a node, by name of the attachment. */
  const unwantedSince = new Map<string, number>();
  /** Attachments to Nodes that were deleted after their kubelet had unmounted the volume. */
  const unmounted = new Set<string>();

  const controller = createInformedController(dependencies, { name: 'attachdetach', reconcile });
  const enqueueOf = (pod: Pod): void => {
    for (const key of claimKeysOf(pod)) for (const volume of volumes.byIndex(byClaimRef, key)) controller.enqueue(volume.metadata.name);
  };
  podInformer.addHandler(({ before, after }) => {
    const pod = after ?? before;
    if (pod !== undefined && (pod.spec.nodeName ?? '') !== '') enqueueOf(pod);
  });
  volumes.addHandler(({ before, after }) => {
    const volume = after ?? before;
    if (volume?.spec.csi !== undefined) controller.enqueue(volume.metadata.name);
  });
  attachments.addHandler(({ before, after }) => {
    const attachment = after ?? before;
    if (after === undefined && before !== undefined) {
      // The next attachment of that node has the same name, and waits for its own kubelet.
      unmounted.delete(before.metadata.name);
      unwantedSince.delete(before.metadata.name);
    }
    if (attachment !== undefined) for (const name of volumeNamesOf(attachment)) controller.enqueue(name);
  });
  drivers.addHandler(({ after }) => {
    if (after === undefined) return;
    for (const volume of volumes.list()) if (volume.spec.csi?.driver === after.metadata.name) controller.enqueue(volume.metadata.name);
  });
  nodeInformer.addHandler(({ before, after }) => {
    if (before === undefined || (after !== undefined && deepEqual(after.status?.volumesInUse, before.status?.volumesInUse))) return;
    for (const attachment of attachments.byIndex(onNode, before.metadata.name)) {
      for (const name of volumeNamesOf(attachment)) {
        const volume = volumes.getByKey(name);
        if (after === undefined && volume !== undefined && !isInUse(before, volume)) unmounted.add(attachment.metadata.name);
        controller.enqueue(name);
      }
    }
  });
  return controller;

  async function reconcile(key: string, { signal }: ReconcileContext): Promise<Result | undefined> {
    const volume = volumes.getByKey(key);
    const existing = attachments.byIndex(ofVolume, key);
    const wanted = volume === undefined ? new Map<string, Pod[]>() : podsByNode(volume);
    let waits = false;
    for (const attachment of existing) {
      if (wanted.has(attachment.spec.nodeName ?? '')) unwantedSince.delete(attachment.metadata.name);
      else if (!(await detach(attachment, volume, signal))) waits = true;
    }
    if (volume?.spec.csi === undefined || drivers.getByKey(volume.spec.csi.driver)?.spec.attachRequired === false) {
      return waits ? { requeueAfterMs: lookAgainMs } : undefined;
    }
    // An attachment may have gone without this controller: it died after the deletion, or somebody else deleted it.
    for (const node of nodeInformer.byIndex(byListed, uniqueNameOf(volume))) {
      const { name } = node.metadata;
      if (!wanted.has(name) && !existing.some(({ spec }) => spec.nodeName === name))
        await listOnNode(node, volume, { isAttached: false, signal });
    }
    for (const [nodeName, users] of wanted) {
      const attachment = existing.find(({ spec }) => spec.nodeName === nodeName);
      if (attachment !== undefined) await report({ volume, attachment, users }, signal);
      else if (nodeInformer.getByKey(nodeName) === undefined) continue;
      else if (isExclusive(volume) && existing.length > 0) reportTaken({ volume, others: existing, users });
      else await attach(volume, nodeName, signal);
    }
    return waits ? { requeueAfterMs: lookAgainMs } : undefined;
  }

  /** The pods that use a volume, by node. One that is being deleted uses it until it is gone, whether or not its Node is. */
  function podsByNode(volume: PersistentVolume): Map<string, Pod[]> {
    const found = new Map<string, Pod[]>();
    const claim = claimKeyOf(volume);
    for (const pod of claim === undefined ? [] : podInformer.byIndex(byClaim, claim)) {
      const { nodeName = '' } = pod.spec;
      found.set(nodeName, [...(found.get(nodeName) ?? []), pod]);
    }
    return found;
  }

  async function attach(volume: PersistentVolume, nodeName: string, signal: AbortSignal): Promise<void> {
    const { driver = '', volumeHandle = '' } = volume.spec.csi ?? {};
    try {
      await client.create(
        volumeAttachments,
        {
          apiVersion: 'storage.k8s.io/v1',
          kind: 'VolumeAttachment',
          metadata: { name: attachmentNameOf({ driver, volumeHandle, nodeName }) },
          spec: { attacher: driver, nodeName, source: { persistentVolumeName: volume.metadata.name } },
        },
        { signal },
      );
    } catch (err) {
      if (!isAlreadyExists(err)) throw err;
    }
  }

  /** False when the kubelet has still to unmount the volume. */
  async function detach(attachment: VolumeAttachment, volume: PersistentVolume | undefined, signal: AbortSignal): Promise<boolean> {
    const { name, uid, deletionTimestamp } = attachment.metadata;
    const node = nodeInformer.getByKey(attachment.spec.nodeName ?? '');
    if (deletionTimestamp === undefined) {
      const since = unwantedSince.get(name) ?? clock.now();
      unwantedSince.set(name, since);
      // The machine of a Node that was deleted may run, and write.
      const isMounted = volume !== undefined && (node === undefined ? !unmounted.has(name) : isInUse(node, volume));
      const isForced = clock.now() - since >= unmountWaitMs && !isConditionTrue(node?.status?.conditions, 'Ready');
      if (isMounted && !isForced && !isOutOfService(node)) return false;
      // Before the volume goes, as upstream: the kubelet mounts what is listed.
      if (node !== undefined && volume !== undefined) await listOnNode(node, volume, { isAttached: false, signal });
      await client
        .delete(volumeAttachments, { name }, { ...(uid === undefined ? {} : { preconditions: { uid } }), signal })
        .catch((err: unknown) => {
          if (!isNotFound(err)) throw err;
        });
    }
    unwantedSince.delete(name);
    return true;
  }

  interface Use {
    readonly volume: PersistentVolume;
    readonly attachment: VolumeAttachment;
    readonly users: readonly Pod[];
  }

  /** Says once how the attachment ended: the list of the Node remembers what was said. */
  async function report({ volume, attachment, users }: Use, signal: AbortSignal): Promise<void> {
    const { name } = volume.metadata;
    const { attached, attachError } = attachment.status ?? {};
    // It is on its way out; another one is made when it is gone.
    if (attachment.metadata.deletionTimestamp !== undefined) return;
    if (attached === true) {
      const node = nodeInformer.getByKey(attachment.spec.nodeName ?? '');
      if (node === undefined || !(await listOnNode(node, volume, { isAttached: true, signal }))) return;
      const message = `AttachVolume.Attach succeeded for volume "${name}" `;
      for (const pod of users) recorder.record(pod, { type: 'Normal', reason: 'SuccessfulAttachVolume', message });
    } else if (attachError?.message !== undefined) {
      const message = `AttachVolume.Attach failed for volume "${name}" : ${attachError.message}`;
      for (const pod of users) recorder.record(pod, { type: 'Warning', reason: 'FailedAttachVolume', message });
    }
  }

  interface Taken {
    readonly volume: PersistentVolume;
    readonly others: readonly VolumeAttachment[];
    readonly users: readonly Pod[];
  }

  function reportTaken({ volume, others, users }: Taken): void {
    const claim = claimKeyOf(volume);
    const elsewhere = new Set(others.map(({ spec }) => spec.nodeName ?? ''));
    const holders = (claim === undefined ? [] : podInformer.byIndex(byClaim, claim))
      .filter(({ spec }) => elsewhere.has(spec.nodeName ?? ''))
      .map(({ metadata }) => metadata.name)
      .toSorted();
    const why =
      holders.length > 0
        ? `Volume is already used by pod(s) ${holders.join(', ')}`
        : "Volume is already exclusively attached to one node and can't be attached to another";
    const message = `Multi-Attach error for volume "${volume.metadata.name}" ${why}`;
    for (const pod of users) recorder.record(pod, { type: 'Warning', reason: 'FailedAttachVolume', message });
  }

  /** Kubelets mount what `volumesAttached` lists. False when the list was so already. */
  async function listOnNode(
    node: Node,
    volume: PersistentVolume,
    { isAttached, signal }: { readonly isAttached: boolean; readonly signal: AbortSignal },
  ): Promise<boolean> {
    const name = uniqueNameOf(volume);
    const listed = node.status?.volumesAttached ?? [];
    if (listed.some((attached) => attached.name === name) === isAttached) return false;
    const others = listed.filter((attached) => attached.name !== name);
    const volumesAttached = isAttached ? [...others, { name, devicePath: '' }] : others;
    const { resourceVersion } = node.metadata;
    const body = { metadata: { resourceVersion }, status: { volumesAttached: volumesAttached.length === 0 ? null : volumesAttached } };
    await client.patch(nodes, { name: node.metadata.name }, { type: 'merge', body }, { subresource: 'status', signal });
    return true;
  }
}

/** True for a volume that one node at a time may have. */
const isExclusive = ({ spec: { accessModes = [] } }: PersistentVolume): boolean =>
  accessModes.every((mode) => mode === 'ReadWriteOnce' || mode === 'ReadWriteOncePod');

/** A person says that the machine is off. */
const isOutOfService = (node: Node | undefined): boolean => node?.spec?.taints?.some(({ key }) => key === taints.outOfService) === true;

const isInUse = ({ status }: Node, volume: PersistentVolume): boolean => status?.volumesInUse?.includes(uniqueNameOf(volume)) === true;

function volumeNamesOf({ spec }: VolumeAttachment): readonly string[] {
  const name = spec.source?.persistentVolumeName;
  return name === undefined ? [] : [name];
}

const nodeNamesOf = ({ spec: { nodeName = '' } }: VolumeAttachment): readonly string[] => (nodeName === '' ? [] : [nodeName]);

const listedOn = ({ status }: Node): readonly string[] => (status?.volumesAttached ?? []).map(({ name }) => name);

const claimsOfPlaced = (pod: Pod): readonly string[] => ((pod.spec.nodeName ?? '') === '' || isPodFinished(pod) ? [] : claimKeysOf(pod));

function claimsOfVolume(volume: PersistentVolume): readonly string[] {
  const key = volume.spec.csi === undefined ? undefined : claimKeyOf(volume);
  return key === undefined ? [] : [key];
}
