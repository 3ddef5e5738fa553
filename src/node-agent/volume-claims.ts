import { stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { nodes } from '../api/core/v1/node.ts';
import { type PersistentVolume, persistentVolumes } from '../api/core/v1/persistent-volume.ts';
import { type PersistentVolumeClaim, persistentVolumeClaims } from '../api/core/v1/persistent-volume-claim.ts';
import type { Pod, Volume } from '../api/core/v1/pod.ts';
import { claimNameOf } from '../api/core/v1/pod-claims.ts';
import type { Client } from '../client/client.ts';
import { isLocalPathVolume, localPathDirectoryOf } from '../lifecycle/local-path-volume.ts';
import { compileNodeSelector } from '../lifecycle/node-selector.ts';
import { volumeModeOf } from '../lifecycle/volume-matching.ts';
import { controllerOf } from '../machinery/object.ts';
import { lstatOptional, makeEmptyDirectory } from './volume-directories.ts';
import { canMapOwners, giveToOwner } from './volume-owners.ts';

/** The volumes that claims of pods are bound to. */
export interface ClaimedVolumes {
  /**
   * The volume of a claim. The API is asked each time, as the kubelet does: a pod that names a volume must not see one of somebody else.
   *
   * @throws Error in the kubelet's words
   */
  find(pod: Pod, volume: Volume): Promise<ClaimedVolume>;
}

export interface ClaimedVolume {
  /** A directory that the provisioner of the cluster gave to the claim; it is there. */
  readonly directory?: { readonly path: string; readonly owner: number | undefined };
  /** Another path of the machine, which has to be one that pods may mount. */
  readonly hostPath?: { readonly path: string; readonly type: string };
  /** A volume that a driver mounts. */
  readonly csi?: { readonly volume: PersistentVolume; readonly claim: PersistentVolumeClaim };
  readonly readOnly: boolean;
  /** Its files get the group of the pod. */
  readonly takesGroup: boolean;
}

export interface ClaimedVolumesOptions {
  readonly client: Client;
  readonly nodeName: string;
  /** Holds the directories that the provisioner gives to claims; absent: none. */
  readonly storageDirectory: string | undefined;
  /** The id that a pod or a volume has on this machine, by its UID; undefined when that is this process's own. */
  ownerOf(uid: string): number | undefined;
  /** Defaults to a try. */
  readonly canMapOwners?: (directory: string) => Promise<boolean>;
}

export const createClaimedVolumes = (options: ClaimedVolumesOptions): ClaimedVolumes => new VolumesOfClaims(options);

class VolumesOfClaims implements ClaimedVolumes {
  readonly #options: ClaimedVolumesOptions;
  #isMapped: Promise<boolean> | undefined;

  constructor(options: ClaimedVolumesOptions) {
    this.#options = options;
  }

  async find(pod: Pod, podVolume: Volume): Promise<ClaimedVolume> {
    const { storageDirectory } = this.#options;
    const claim = await this.#claimOf(pod, podVolume);
    const volume = await this.#volumeOf(claim);
    const { hostPath, local, csi, accessModes = [] } = volume.spec;
    if (volumeModeOf(volume) === 'Block') throw new Error('volumes of volumeMode Block are not supported');
    const isReader = accessModes.length > 0 && accessModes.every((mode) => mode === 'ReadOnlyMany');
    const readOnly = podVolume.persistentVolumeClaim?.readOnly === true || isReader || csi?.readOnly === true;
    if (csi !== undefined) return { csi: { volume, claim }, readOnly, takesGroup: false };
    const takesGroup = local !== undefined;
    const path = hostPath?.path ?? local?.path;
    if (path === undefined) throw new Error(whyNotMounted(volume));
    if (
      storageDirectory !== undefined &&
      isLocalPathVolume(volume) &&
      path === join(storageDirectory, localPathDirectoryOf(claim.metadata))
    ) {
      return { directory: { path, owner: await this.#ownerFor(path, pod, volume) }, readOnly, takesGroup };
    }
    if (local !== undefined && (await lstatOptional(path)) === undefined) throw new Error(`path "${path}" does not exist`);
    return { hostPath: { path, type: hostPath?.type ?? '' }, readOnly, takesGroup };
  }

  /** The id of the files, where a mount shows them to the pod as its own. Elsewhere they become the pod's. */
  async #ownerFor(path: string, pod: Pod, volume: PersistentVolume): Promise<number | undefined> {
    const { ownerOf, canMapOwners: tryMap = canMapOwners } = this.#options;
    const owner = ownerOf(volume.metadata.uid ?? '');
    await makeVolumeDirectory(path, owner);
    if (owner === undefined) return undefined;
    this.#isMapped ??= tryMap(dirname(path));
    if (await this.#isMapped) {
      // A pod of a time without maps may have had it, or a container.
      await giveToOwner(path, owner);
      return owner;
    }
    await giveToOwner(path, ownerOf(pod.metadata.uid ?? '') ?? owner);
    return undefined;
  }

  async #claimOf(pod: Pod, volume: Volume): Promise<PersistentVolumeClaim> {
    const { namespace = '' } = pod.metadata;
    const name = claimNameOf(pod.metadata.name, volume) ?? '';
    const problem = (why: string): Error => new Error(`error processing PVC ${namespace}/${name}: ${why}`);
    let claim: PersistentVolumeClaim;
    try {
      claim = await this.#options.client.get(persistentVolumeClaims, { namespace, name });
    } catch (err) {
      throw problem(`failed to fetch PVC from API server: ${err instanceof Error ? err.message : String(err)}`);
    }
    if ((volume.ephemeral ?? undefined) !== undefined && controllerOf(claim)?.uid !== pod.metadata.uid) {
      const owner = `PVC ${namespace}/${name} was not created for pod ${namespace}/${pod.metadata.name} (pod is not owner)`;
      throw problem(owner);
    }
    if (claim.metadata.deletionTimestamp !== undefined && pod.status?.startTime === undefined) throw problem('PVC is being deleted');
    if (claim.status?.phase !== 'Bound' || (claim.spec.volumeName ?? '') === '') throw problem('PVC is not bound');
    return claim;
  }

  async #volumeOf(claim: PersistentVolumeClaim): Promise<PersistentVolume> {
    const { client, nodeName } = this.#options;
    const name = claim.spec.volumeName ?? '';
    const volume = await client.get(persistentVolumes, { name });
    const { claimRef } = volume.spec;
    if (claimRef === undefined || claimRef.uid !== claim.metadata.uid) {
      throw new Error(`PV "${name}" is not bound to PVC ${claim.metadata.namespace}/${claim.metadata.name}`);
    }
    const matches = compileNodeSelector(undefined, volume.spec.nodeAffinity?.required);
    if (matches !== undefined) {
      const node = await client.get(nodes, { name: nodeName });
      if (!matches(node.metadata.labels ?? {}, nodeName)) {
        throw new Error(`MountVolume.NodeAffinity check failed for volume "${name}" : no matching NodeSelectorTerms`);
      }
    }
    return volume;
  }
}

/** Made with the first pod that mounts it: until then nothing is left behind by whoever dies. */
async function makeVolumeDirectory(path: string, owner: number | undefined): Promise<void> {
  await makeEmptyDirectory(path, { owner, group: undefined });
  if (!(await stat(path)).isDirectory()) throw new Error(`${path} is no directory`);
}

function whyNotMounted({ spec }: PersistentVolume): string {
  const known = ['capacity', 'accessModes', 'claimRef', 'persistentVolumeReclaimPolicy', 'storageClassName', 'mountOptions', 'volumeMode'];
  const source = Object.keys(spec).find((key) => !known.includes(key) && key !== 'nodeAffinity' && key !== 'volumeAttributesClassName');
  return `persistent volumes of type ${source ?? 'unknown'} are not supported`;
}
