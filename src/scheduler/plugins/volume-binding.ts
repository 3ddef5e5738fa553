import { type PersistentVolume, persistentVolumes } from '../../api/core/v1/persistent-volume.ts';
import { type PersistentVolumeClaim, persistentVolumeClaims } from '../../api/core/v1/persistent-volume-claim.ts';
import { claimKeysOf } from '../../api/core/v1/pod-claims.ts';
import { storageClassNameOf } from '../../api/core/v1/volume-class.ts';
import { csiDrivers } from '../../api/storage/v1/csi-driver.ts';
import { csiStorageCapacities } from '../../api/storage/v1/csi-storage-capacity.ts';
import { type StorageClass, storageClasses } from '../../api/storage/v1/storage-class.ts';
import { volumeAnnotations } from '../../api/well-known.ts';
import { compileNodeSelector, type NodeMatcher } from '../../lifecycle/node-selector.ts';
import { boundVolume } from '../../lifecycle/volume-binding.ts';
import { claimKeyOf, findVolume } from '../../lifecycle/volume-matching.ts';
import { keyOf } from '../../machinery/object.ts';
import { compareQuantities, tryQuantity } from '../../machinery/quantity.ts';
import { compileLabelSelector } from '../../machinery/selector.ts';
import type { NodeRecord } from '../cache.ts';
import type { Changed, PluginFactory, Rejection } from '../plugin.ts';
import type { PodRecord } from '../pod-record.ts';
import { sharedState } from '../shared-state.ts';
import { reporterOf } from './volume-changes.ts';
import { claimsOf, hasClaims, type PodClaims } from './volume-claims.ts';
import { waitForClaims } from './volume-waits.ts';

const noMatch = "node(s) didn't find available persistent volumes to bind";
const conflict = "node(s) didn't match PersistentVolume's node affinity";
const noSpace = 'node(s) did not have enough free storage';
const noVolume = 'node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)';

/** Volumes that were promised to a claim and not written yet, by name; nodes that were chosen for a claim, by its key. */
const sharedOver = sharedState(() => ({ promised: new Map<string, string>(), chosen: new Map<string, string>() }));

/** Index of volumes that no claim has, by class. */
const freeOfClass = 'scheduler-free-of-class';
const namingClaim = 'scheduler-naming-claim';

/** Volumes for one pod on one node. */
interface NodeVolumes {
  readonly reasons: readonly string[];
  /** Volumes that are there. */
  readonly matches: readonly { readonly claim: PersistentVolumeClaim; readonly volume: PersistentVolume }[];
  /** Claims whose provisioner makes one on the node. */
  readonly wanted: readonly PersistentVolumeClaim[];
}

/**
 * Lets a pod only to nodes that reach its volumes. Claims of a class that waits for its first consumer get their volume here. It is one
 * that is free, or a note says to the provisioner which node to use. The pod is bound once all its claims are.
 *
 * @see Kubernetes, "Storage Classes", "Volume binding mode"
 */
export const volumeBinding: PluginFactory = ({ client, informers, clock }) => {
  const claims = informers.get(persistentVolumeClaims);
  const volumes = informers.get(persistentVolumes);
  const classes = informers.get(storageClasses);
  const drivers = informers.get(csiDrivers);
  const capacities = informers.get(csiStorageCapacities);
  volumes.addIndex(freeOfClass, freeClassesOf);
  volumes.addIndex(namingClaim, claimsOfVolume);
  const { promised, chosen } = sharedOver(claims);
  const sources = { claims, classOf: (claim: PersistentVolumeClaim) => classes.getByKey(storageClassNameOf(claim)) };
  const classify = (pod: PodRecord): PodClaims => claimsOf(pod.pod, sources);

  function volumesOn({ bound, delayed }: PodClaims, node: NodeRecord): NodeVolumes {
    const reasons = new Set<string>();
    for (const claim of bound) {
      const volume = volumes.getByKey(claim.spec.volumeName ?? '');
      if (volume === undefined) reasons.add(noVolume);
      else if (!isReachable(volume, node)) reasons.add(conflict);
    }
    const matches: { claim: PersistentVolumeClaim; volume: PersistentVolume }[] = [];
    const wanted: PersistentVolumeClaim[] = [];
    const taken = new Set<string>();
    for (const claim of delayed.toSorted(bySize)) {
      const key = keyOf(claim);
      const nodeName = chosen.get(key) ?? claim.metadata.annotations?.[volumeAnnotations.selectedNode];
      if (nodeName !== undefined && nodeName !== node.name) {
        reasons.add(noMatch);
        continue;
      }
      const volume = nodeName === undefined ? matchFor(claim, node, taken) : undefined;
      if (volume !== undefined) {
        taken.add(volume.metadata.name);
        matches.push({ claim, volume });
        continue;
      }
      const why = whyNotProvided(claim, node);
      if (why === undefined) wanted.push(claim);
      else reasons.add(why);
    }
    return { reasons: [...reasons], matches, wanted };
  }

  function matchFor(claim: PersistentVolumeClaim, node: NodeRecord, taken: ReadonlySet<string>): PersistentVolume | undefined {
    const key = keyOf(claim);
    const candidates = [...volumes.byIndex(namingClaim, key), ...volumes.byIndex(freeOfClass, storageClassNameOf(claim))];
    const isFree = ({ metadata: { name } }: PersistentVolume): boolean => (promised.get(name) ?? key) === key;
    return findVolume(claim, candidates.filter(isFree), { isReachable: (volume) => isReachable(volume, node), taken });
  }

  function whyNotProvided(claim: PersistentVolumeClaim, node: NodeRecord): string | undefined {
    const storageClass = sources.classOf(claim);
    if (storageClass === undefined || storageClass.provisioner === 'kubernetes.io/no-provisioner') return noMatch;
    if (!isAllowed(storageClass, node)) return noMatch;
    return hasSpace(claim, storageClass, node) ? undefined : noSpace;
  }

  /** Drivers that say how much space there is are believed; of others nothing is known. */
  function hasSpace(claim: PersistentVolumeClaim, storageClass: StorageClass, node: NodeRecord): boolean {
    if (drivers.getByKey(storageClass.provisioner)?.spec.storageCapacity !== true) return true;
    const wanted = tryQuantity(claim.spec.resources?.requests?.storage);
    if (wanted === undefined) return true;
    for (const { storageClassName, nodeTopology, maximumVolumeSize, capacity } of capacities.list()) {
      const room = tryQuantity(maximumVolumeSize ?? capacity);
      if (storageClassName !== storageClass.metadata.name || nodeTopology === undefined || room === undefined) continue;
      if (compareQuantities(room, wanted) >= 0 && compileLabelSelector(nodeTopology).matches(node.labels)) return true;
    }
    return false;
  }

  function release({ delayed }: PodClaims): void {
    for (const claim of delayed) {
      const key = keyOf(claim);
      chosen.delete(key);
      for (const [name, holder] of promised) if (holder === key) promised.delete(name);
    }
  }

  /** Promises to pods under way, by key: claims change meanwhile, and each promise is taken back as it was given. */
  const underWay = new Map<string, { readonly claims: PodClaims; readonly found: NodeVolumes }>();

  return {
    name: 'VolumeBinding',
    filter: {
      helpedBy: {
        NodeAdded: 'always',
        NodeLabelsChanged: 'always',
        PodChanged: 'always',
        PersistentVolumeClaimAdded: hasClaim,
        PersistentVolumeClaimChanged: hasClaim,
        PersistentVolumeAdded: 'always',
        PersistentVolumeChanged: 'always',
        StorageClassAdded: 'always',
        StorageClassChanged: 'always',
        CSIDriverAdded: 'always',
        CSIDriverChanged: 'always',
        CSIStorageCapacityAdded: 'always',
        CSIStorageCapacityChanged: 'always',
      },
      refuse: (pod) => (hasClaims(pod) ? classify(pod).refusal : undefined),
      prepare(pod) {
        if (!hasClaims(pod)) return undefined;
        const found = classify(pod);
        return {
          forThisPod: true,
          filter(node) {
            const { reasons } = volumesOn(found, node);
            return reasons.length === 0 ? undefined : rejectionOf(reasons);
          },
        };
      },
    },
    reserve: {
      concerns: hasClaims,
      reserve(pod, node) {
        const classified = classify(pod);
        if (classified.refusal !== undefined) return classified.refusal;
        const found = volumesOn(classified, node);
        const [reason] = found.reasons;
        if (reason !== undefined) return reason;
        for (const { claim, volume } of found.matches) promised.set(volume.metadata.name, keyOf(claim));
        for (const claim of found.wanted) chosen.set(keyOf(claim), node.name);
        underWay.set(pod.key, { claims: classified, found });
        return undefined;
      },
      async preBind(pod, node, signal) {
        const held = underWay.get(pod.key);
        if (held === undefined || held.claims.delayed.length === 0) {
          underWay.delete(pod.key);
          return;
        }
        for (const { claim, volume } of held.found.matches) {
          const bound = boundVolume(volume, claim);
          if (bound !== volume) await client.update(persistentVolumes, bound, { signal });
        }
        for (const claim of held.found.wanted) {
          const { annotations, namespace, name, uid } = claim.metadata;
          if (annotations?.[volumeAnnotations.selectedNode] === node.name) continue;
          const body = { metadata: { uid, annotations: { [volumeAnnotations.selectedNode]: node.name } } };
          await client.patch(persistentVolumeClaims, { namespace, name }, { type: 'merge', body }, { signal });
        }
        await waitForClaims({
          claims,
          volumes,
          clock,
          signal,
          keys: held.claims.delayed.map(keyOf),
          provided: new Set(held.found.wanted.map(keyOf)),
          isReachable: (volume) => isReachable(volume, node),
        });
        release(held.claims);
        underWay.delete(pod.key);
      },
      unreserve(pod) {
        const held = underWay.get(pod.key);
        if (held === undefined) return;
        release(held.claims);
        underWay.delete(pod.key);
      },
    },
    watch(onChange) {
      const stops = [
        claims.addHandler(reporterOf('PersistentVolumeClaim', onChange)),
        volumes.addHandler(reporterOf('PersistentVolume', onChange)),
        classes.addHandler(reporterOf('StorageClass', onChange)),
        drivers.addHandler(reporterOf('CSIDriver', onChange)),
        capacities.addHandler(reporterOf('CSIStorageCapacity', onChange)),
      ];
      return () => {
        for (const stop of stops) stop();
      };
    },
  };
};

/** True when the changed claim is one of the pod's. */
const hasClaim = ({ pod }: PodRecord, { before, after }: Changed): boolean => {
  const object = after ?? before;
  return object === undefined || claimKeysOf(pod).includes(keyOf(object));
};

const rejections = new Map<string, Rejection>();

/** One of few: a node yields one for each pod. */
function rejectionOf(reasons: readonly string[]): Rejection {
  const key = reasons.join();
  let rejection = rejections.get(key);
  if (rejection === undefined) {
    // Pods that leave give back no volume that a node lacks.
    rejection = { reasons, resolvable: false };
    rejections.set(key, rejection);
  }
  return rejection;
}

const matchers = new WeakMap<PersistentVolume['spec'], { readonly matcher: NodeMatcher | undefined }>();

/** True for a volume that pods of the node can mount. */
function isReachable({ spec }: PersistentVolume, node: NodeRecord): boolean {
  let known = matchers.get(spec);
  if (known === undefined) {
    known = { matcher: compileNodeSelector(undefined, spec.nodeAffinity?.required) };
    matchers.set(spec, known);
  }
  return known.matcher === undefined || known.matcher(node.labels, node.name);
}

/** The class may limit where its volumes are made. */
function isAllowed({ allowedTopologies = [] }: StorageClass, { labels }: NodeRecord): boolean {
  return (
    allowedTopologies.length === 0 ||
    allowedTopologies.some(({ matchLabelExpressions = [] }) =>
      matchLabelExpressions.every(({ key, values }) => values.includes(labels[key] ?? '')),
    )
  );
}

function bySize(a: PersistentVolumeClaim, b: PersistentVolumeClaim): number {
  const [left, right] = [a, b].map(({ spec }) => tryQuantity(spec.resources?.requests?.storage));
  return left === undefined || right === undefined ? 0 : compareQuantities(left, right);
}

const freeClassesOf = (volume: PersistentVolume): readonly string[] =>
  volume.spec.claimRef === undefined && volume.status?.phase === 'Available' ? [storageClassNameOf(volume)] : [];

function claimsOfVolume(volume: PersistentVolume): readonly string[] {
  const key = claimKeyOf(volume);
  return key === undefined ? [] : [key];
}
