import { persistentVolumeClaims } from '../../api/core/v1/persistent-volume-claim.ts';
import { type Pod, pods } from '../../api/core/v1/pod.ts';
import { claimKeysOf } from '../../api/core/v1/pod-claims.ts';
import { keyOf } from '../../machinery/object.ts';
import type { NodeRecord } from '../cache.ts';
import type { Changed, PluginFactory, Rejection } from '../plugin.ts';
import type { PodRecord } from '../pod-record.ts';
import { sharedState } from '../shared-state.ts';
import { hasDisks, sharesDisk } from './exclusive-disks.ts';
import { hasClaims } from './volume-claims.ts';

const inUse: Rejection = {
  reasons: ['node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode'],
  // The pod that has it may have to make room.
  resolvable: true,
};

const byClaim = 'scheduler-claims-of-placed';

/** Claims of pods whose binding is under way, each with the key of the pod. */
const heldOver = sharedState(() => new Map<string, string>());

const noDisk: Rejection = { reasons: ['node(s) had no available disk'], resolvable: true };

/**
 * Lets one pod at a time use a claim with the access mode ReadWriteOncePod, wherever it is. A disk that pods name themselves has one writer
 * on a node.
 */
export const volumeRestrictions: PluginFactory = ({ informers }) => {
  const claims = informers.get(persistentVolumeClaims);
  const podInformer = informers.get(pods);
  podInformer.addIndex(byClaim, claimsOfPlaced);
  const held = heldOver(podInformer);

  const exclusiveOf = ({ pod }: PodRecord): readonly string[] =>
    claimKeysOf(pod).filter((key) => claims.getByKey(key)?.spec.accessModes?.includes('ReadWriteOncePod') === true);
  /** Pods besides this one that have the claim. */
  const usersOf = (key: string, pod: PodRecord): number => {
    const users = new Set(podInformer.byIndex(byClaim, key).map(keyOf));
    const holder = held.get(key);
    if (holder !== undefined) users.add(holder);
    users.delete(pod.key);
    return users.size;
  };
  const sharesClaim = (pod: PodRecord, { pod: other }: Changed): boolean => {
    if (other === undefined) return true;
    const theirs = new Set(claimKeysOf(other.pod));
    return claimKeysOf(pod.pod).some((key) => theirs.has(key));
  };

  return {
    name: 'VolumeRestrictions',
    filter: {
      helpedBy: {
        AssignedPodDeleted: (pod, changed) => hasDisks(pod) || sharesClaim(pod, changed),
        PersistentVolumeClaimAdded: 'always',
        PersistentVolumeClaimChanged: 'always',
      },
      prepare(pod) {
        const namesDisks = hasDisks(pod);
        const exclusive = hasClaims(pod) ? exclusiveOf(pod) : [];
        if (exclusive.length === 0) return namesDisks ? { filter: (node) => diskConflict(pod, node) } : undefined;
        let conflicts = exclusive.reduce((sum, key) => sum + usersOf(key, pod), 0);
        return {
          forThisPod: true,
          looksAround: true,
          filter(node) {
            if (conflicts > 0) return inUse;
            return namesDisks ? diskConflict(pod, node) : undefined;
          },
          shift(other, _node, sign) {
            if (other.key === pod.key) return;
            for (const key of claimKeysOf(other.pod)) if (exclusive.includes(key)) conflicts += sign;
          },
        };
      },
    },
    reserve: {
      concerns: hasClaims,
      reserve(pod) {
        const wanted = exclusiveOf(pod);
        // Pods come to nodes between the choice and this, also by other profiles and other schedulers.
        if (wanted.some((key) => usersOf(key, pod) > 0)) return inUse.reasons.join();
        for (const key of wanted) held.set(key, pod.key);
        return undefined;
      },
      unreserve(pod) {
        for (const [key, holder] of held) if (holder === pod.key) held.delete(key);
      },
    },
    watch() {
      // From then on the cache of pods says it.
      return podInformer.addHandler(({ before, after }) => {
        const pod = after ?? before;
        if (pod === undefined || held.size === 0 || (after !== undefined && (after.spec.nodeName ?? '') === '')) return;
        for (const key of claimKeysOf(pod)) if (held.get(key) === keyOf(pod)) held.delete(key);
      });
    },
  };
};

function diskConflict(pod: PodRecord, node: NodeRecord): Rejection | undefined {
  for (const there of node.pods.values()) if (sharesDisk(pod, there)) return noDisk;
  return undefined;
}

function claimsOfPlaced(pod: Pod): readonly string[] {
  const isOver = pod.status?.phase === 'Succeeded' || pod.status?.phase === 'Failed';
  return isOver || (pod.spec.nodeName ?? '') === '' ? [] : claimKeysOf(pod);
}
