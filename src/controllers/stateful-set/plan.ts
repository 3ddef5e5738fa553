import type { StatefulSet } from '../../api/apps/v1/stateful-set.ts';
import type { PersistentVolumeClaim } from '../../api/core/v1/persistent-volume-claim.ts';
import type { Pod } from '../../api/core/v1/pod.ts';
import { desiredReplicas, isRollingUpdate, partitionOf, type StatefulPodCounts } from '../../lifecycle/stateful-set.facts.ts';
import { scaledValueOf } from '../../machinery/int-or-string.ts';
import { isPodAvailable, isPodFinished, isPodReady, isPodTerminating, untilPodAvailable } from '../pod-conditions.ts';
import { claimNames, isClaimStale, wantedOwners } from './claims.ts';
import { hasIdentity, isWanted, ordinalOf, podName, revisionOf, startOrdinal } from './identity.ts';

/** A StatefulSet and its surroundings, as the caches show them. */
export interface StatefulSetView {
  readonly set: StatefulSet;
  /** Pods that the set owns. */
  readonly pods: readonly Pod[];
  /** Names of the revisions from which and to which an update goes. */
  readonly currentRevision: string;
  readonly updateRevision: string;
  claim(name: string): PersistentVolumeClaim | undefined;
  /** Milliseconds since the epoch. */
  readonly now: number;
}

/** A pod and its number in the set. */
export interface NumberedPod {
  readonly ordinal: number;
  readonly pod: Pod;
}

/** Changes that one pass may make. */
export interface StatefulSetPlan {
  /** Pods that ended, to be deleted. */
  readonly finished: readonly Pod[];
  /** Ordinals of pods to be created. */
  readonly missing: readonly number[];
  /** Pods whose labels, claims or owners of claims are to be repaired. */
  readonly damaged: readonly NumberedPod[];
  /** Pods of unwanted ordinals, to be deleted. */
  readonly surplus: readonly Pod[];
  /** Pods of an older revision, to be deleted. */
  readonly outdated: readonly Pod[];
}

/** One ordinal of the set, lowest first. */
interface Slot {
  readonly ordinal: number;
  readonly pod: Pod | undefined;
}

/**
 * Decides what the next steps are.
 *
 * Unless the set is `Parallel`, the first pod that is not available stops everything behind it: no later pod is created, deleted or
 * updated. So a broken pod of a new template also stops the rollout of a better one, until someone deletes that pod.
 *
 * @see Kubernetes concepts, "StatefulSets", "Deployment and Scaling Guarantees" and "Forced rollback"
 */
export function planOf(view: StatefulSetView): StatefulSetPlan {
  const { set, pods } = view;
  const numbered = pods.flatMap((pod): readonly NumberedPod[] => {
    const ordinal = ordinalOf(set, pod);
    return ordinal === undefined ? [] : [{ ordinal, pod }];
  });
  const byOrdinal = new Map(numbered.map(({ ordinal, pod }) => [ordinal, pod]));
  const start = startOrdinal(set);
  const slots = Array.from({ length: desiredReplicas(set) }, (_, index): Slot => {
    const ordinal = start + index;
    return { ordinal, pod: byOrdinal.get(ordinal) };
  });
  const condemned = numbered.filter(({ ordinal }) => !isWanted(set, ordinal)).sort((a, b) => b.ordinal - a.ordinal);

  const kept = planWanted(view, slots);
  if (kept.stops) return kept.plan;
  const gone = planCondemned(view, slots, condemned);
  const damaged = [...kept.plan.damaged, ...condemned.filter((one) => hasWrongOwners(view, one, true))];
  const plan: StatefulSetPlan = { ...kept.plan, damaged, surplus: gone.surplus };
  return gone.stops || !isRollingUpdate(set) ? plan : { ...plan, outdated: outdatedPods(view, slots) };
}

const isParallel = ({ spec }: StatefulSet): boolean => spec.podManagementPolicy === 'Parallel';

/** Steps for the wanted ordinals. `stops`: nothing behind them may be done. */
function planWanted(view: StatefulSetView, slots: readonly Slot[]): { readonly plan: StatefulSetPlan; readonly stops: boolean } {
  const { set } = view;
  const finished: Pod[] = [];
  const missing: number[] = [];
  const damaged: NumberedPod[] = [];
  const inOrder = !isParallel(set);
  const result = (stops: boolean) => ({ plan: { finished, missing, damaged, surplus: [], outdated: [] }, stops });
  for (const { ordinal, pod } of slots) {
    if (pod === undefined) {
      if (!hasStaleClaim(view, ordinal)) missing.push(ordinal);
      if (inOrder) return result(true);
      continue;
    }
    if (isPodFinished(pod)) {
      if (!isPodTerminating(pod)) finished.push(pod);
      if (inOrder) return result(true);
      continue;
    }
    const waitsForClaims = pod.status?.phase === 'Pending' && claimNames(set, ordinal).some((name) => view.claim(name) === undefined);
    if (waitsForClaims && !isPodTerminating(pod)) damaged.push({ ordinal, pod });
    if (inOrder && (isPodTerminating(pod) || !isAvailable(view, pod))) return result(true);
    if (!waitsForClaims && (!hasIdentity(set, ordinal, pod) || hasWrongOwners(view, { ordinal, pod }, false)))
      damaged.push({ ordinal, pod });
  }
  return result(false);
}

/** Pods of unwanted ordinals, the highest first: one at a time, or all of a Parallel set. */
function planCondemned(
  view: StatefulSetView,
  slots: readonly Slot[],
  condemned: readonly NumberedPod[],
): { readonly surplus: readonly Pod[]; readonly stops: boolean } {
  if (isParallel(view.set)) return { surplus: condemned.map(({ pod }) => pod).filter((pod) => !isPodTerminating(pod)), stops: false };
  const [highest] = condemned;
  if (highest === undefined) return { surplus: [], stops: false };
  if (isPodTerminating(highest.pod)) return { surplus: [], stops: true };
  // A lower pod that does not work comes back before one that works may go.
  const ascending = [...slots, ...condemned.toReversed()];
  const firstUnavailable = ascending.find(({ pod }) => pod === undefined || isUnavailable(view, pod));
  const mayGo = isAvailable(view, highest.pod) || firstUnavailable?.pod === highest.pod;
  return { surplus: mayGo ? [highest.pod] : [], stops: true };
}

/** Pods that the rolling update may delete now, the highest ordinal first. */
function outdatedPods(view: StatefulSetView, slots: readonly Slot[]): readonly Pod[] {
  const { set, updateRevision } = view;
  const unavailable = slots.filter(({ pod }) => pod === undefined || isUnavailable(view, pod)).length;
  const budget = maxUnavailableOf(set) - unavailable;
  const outdated = slots
    .slice(partitionOf(set))
    .toReversed()
    .flatMap(({ pod }) => (pod === undefined || isPodTerminating(pod) || revisionOf(pod) === updateRevision ? [] : [pod]));
  if (!isParallel(set)) return outdated.slice(0, Math.max(0, budget));
  // Nothing is lost with old pods that do not work: they take no part of the budget.
  const broken = outdated.filter((pod) => !isAvailable(view, pod));
  const working = outdated.filter((pod) => isAvailable(view, pod));
  return [...broken, ...working.slice(0, Math.max(0, budget))];
}

/** Percentages are rounded down, to 1 at least. */
function maxUnavailableOf(set: StatefulSet): number {
  const value = set.spec.updateStrategy?.rollingUpdate?.maxUnavailable ?? 1;
  return Math.max(1, scaledValueOf(value, { total: desiredReplicas(set), round: 'down' }));
}

const isRunningAndReady = (pod: Pod): boolean => pod.status?.phase === 'Running' && isPodReady(pod);

const isAvailable = ({ set, now }: Pick<StatefulSetView, 'set' | 'now'>, pod: Pod): boolean =>
  isRunningAndReady(pod) && isPodAvailable(pod, set.spec.minReadySeconds ?? 0, now);

const isUnavailable = (view: StatefulSetView, pod: Pod): boolean => isPodTerminating(pod) || !isAvailable(view, pod);

function hasStaleClaim({ set, claim }: StatefulSetView, ordinal: number): boolean {
  const pod = { apiVersion: 'v1', kind: 'Pod', metadata: { name: podName(set, ordinal) } };
  return claimNames(set, ordinal).some((name) => {
    const found = claim(name);
    return found !== undefined && isClaimStale(found, set, { pod });
  });
}

function hasWrongOwners({ set, claim }: StatefulSetView, { ordinal, pod }: NumberedPod, isCondemned: boolean): boolean {
  return claimNames(set, ordinal).some((name) => {
    const found = claim(name);
    return found !== undefined && wantedOwners(found, set, { pod, isCondemned }) !== undefined;
  });
}

/** Counts pods as the status shows them: all that exist, terminating ones only as such. */
export function countPods({ set, pods, currentRevision, updateRevision, now }: Omit<StatefulSetView, 'claim'>): StatefulPodCounts {
  const live = pods.filter((pod) => !isPodTerminating(pod));
  return {
    replicas: pods.length,
    ready: pods.filter(isRunningAndReady).length,
    available: pods.filter((pod) => isAvailable({ set, now }, pod)).length,
    current: live.filter((pod) => revisionOf(pod) === currentRevision).length,
    updated: live.filter((pod) => revisionOf(pod) === updateRevision).length,
  };
}

/** Milliseconds until the next ready pod has been ready for long enough; undefined when none waits for that. */
export const msUntilAvailable = ({ set, pods, now }: Pick<StatefulSetView, 'set' | 'pods' | 'now'>): number | undefined =>
  untilPodAvailable(pods.filter(isRunningAndReady), set.spec.minReadySeconds ?? 0, now);
