import type { DaemonSet } from '../../api/apps/v1/daemon-set.ts';
import type { Node } from '../../api/core/v1/node.ts';
import type { Pod } from '../../api/core/v1/pod.ts';
import { type DaemonCounts, isRollingUpdate } from '../../lifecycle/daemon-set.facts.ts';
import { scaledValueOf } from '../../machinery/int-or-string.ts';
import { isPodAvailable, isPodFinished, isPodReady, isPodTerminating } from '../pod-conditions.ts';
import { isUpdated, targetNodeOf } from './daemon-pods.ts';
import { type NodeFit, nodeFitOf } from './node-fit.ts';

/** A DaemonSet and its surroundings, as the caches show them. */
export interface DaemonView {
  readonly set: DaemonSet;
  readonly nodes: readonly Node[];
  /** Pods that the set owns. */
  readonly pods: readonly Pod[];
  /** Hash of the revision that pods should have. */
  readonly hash: string;
  /** Milliseconds until a failed pod of the node may be deleted. */
  failedWait(node: string): number;
  /** Milliseconds since the epoch. */
  readonly now: number;
}

/** A pod that ended, and its node. */
export interface FinishedPod {
  readonly node: string;
  readonly pod: Pod;
}

/** Changes that one pass may make. */
export interface DaemonPlan {
  /** Nodes that get a pod. */
  readonly missing: readonly string[];
  readonly finished: readonly FinishedPod[];
  readonly surplus: readonly Pod[];
  /** Pods of an older revision, to be deleted. */
  readonly outdated: readonly Pod[];
  /** Nodes that get a new pod beside the old one. */
  readonly surge: readonly string[];
  /** Milliseconds until the next failed pod may be deleted. */
  readonly failedAfterMs: number | undefined;
  readonly counts: DaemonCounts;
}

/** One node, and the pods on it or made for it; the one that runs longest is first. */
interface Place {
  readonly node: string;
  readonly fit: NodeFit;
  readonly pods: readonly Pod[];
}

export function planOf(view: DaemonView): DaemonPlan {
  const { set } = view;
  const byNode = podsByNode(view.pods);
  const fitOf = nodeFitOf(set);
  const places = view.nodes.map((node): Place => {
    const { name } = node.metadata;
    return { node: name, fit: fitOf(node), pods: (byNode.get(name) ?? []).toSorted(byAge) };
  });
  const kept = keepPods(view, places);
  const surplus = [...kept.surplus, ...podsWithoutNode(view, byNode)];
  const rollout = isRollingUpdate(set) ? rollOut(view, places) : { outdated: [], surge: [] };
  return { ...kept, surplus, ...rollout, counts: countNodes(view, places) };
}

/** A pod that ended and is being deleted counts as gone: it keeps nothing on its node. */
function podsByNode(pods: readonly Pod[]): ReadonlyMap<string, readonly Pod[]> {
  const byNode = new Map<string, Pod[]>();
  for (const pod of pods) {
    const node = targetNodeOf(pod);
    if (node === undefined || (isPodFinished(pod) && isPodTerminating(pod))) continue;
    const there = byNode.get(node);
    if (there === undefined) byNode.set(node, [pod]);
    else there.push(pod);
  }
  return byNode;
}

/** Nobody else deletes a pod that waits for a node which is gone. */
function podsWithoutNode({ nodes }: DaemonView, byNode: ReadonlyMap<string, readonly Pod[]>): readonly Pod[] {
  const names = new Set(nodes.map(({ metadata }) => metadata.name));
  return [...byNode]
    .filter(([node]) => !names.has(node))
    .flatMap(([, pods]) => pods.filter((pod) => (pod.spec.nodeName ?? '') === '' && !isPodTerminating(pod)));
}

/** Steps that keep one pod on each node, whatever its revision. */
function keepPods(view: DaemonView, places: readonly Place[]) {
  const missing: string[] = [];
  const finished: FinishedPod[] = [];
  const surplus: Pod[] = [];
  const waits: number[] = [];
  const surges = allowsSurge(view.set);
  for (const { node, fit, pods } of places) {
    const live = pods.filter((pod) => !isPodTerminating(pod));
    if (!fit.keeps) surplus.push(...live);
    else {
      const running = live.filter((pod) => !isPodFinished(pod));
      for (const pod of live) {
        if (!isPodFinished(pod)) continue;
        const wait = pod.status?.phase === 'Failed' ? view.failedWait(node) : 0;
        if (wait > 0) waits.push(wait);
        else finished.push({ node, pod });
      }
      surplus.push(...(surges ? surplusWithSurge(view, running) : running.slice(1)));
      if (fit.runs && (surges ? running.length === 0 : pods.length === 0)) missing.push(node);
    }
  }
  return { missing, finished, surplus, failedAfterMs: waits.length === 0 ? undefined : Math.min(...waits) };
}

/** Two pods may be on a node: the old one serves until the new one does. */
function surplusWithSurge(view: DaemonView, running: readonly Pod[]): readonly Pod[] {
  const { set, hash } = view;
  if (running.length <= 1) return [];
  const newest = running.find((pod) => isUpdated(pod, set, hash));
  const old = running.find((pod) => !isUpdated(pod, set, hash));
  const surplus = running.filter((pod) => pod !== newest && pod !== old);
  if (newest !== undefined && old !== undefined && (!isPodReady(old) || isAvailable(view, newest))) surplus.push(old);
  return surplus;
}

function rollOut(view: DaemonView, places: readonly Place[]): Pick<DaemonPlan, 'outdated' | 'surge'> {
  const desired = places.filter(({ fit }) => fit.runs).length;
  const { maxUnavailable = 1, maxSurge = 0 } = view.set.spec.updateStrategy?.rollingUpdate ?? {};
  const surge = scaledValueOf(maxSurge, { total: desired, round: 'up' });
  if (surge > 0) return rollOutBeside(view, places, { maxSurge: surge, desired });
  const unavailable = scaledValueOf(maxUnavailable, { total: desired, round: 'up' });
  return { outdated: rollOutInPlace(view, places, desired > 0 && unavailable === 0 ? 1 : unavailable), surge: [] };
}

/** The new and the old pod of a node; undefined when it has more of them, which have to go first. */
function pairOn({ set, hash }: DaemonView, { pods }: Place): { readonly fresh?: Pod; readonly old?: Pod } | undefined {
  const live = pods.filter((pod) => !isPodTerminating(pod));
  const [fresh, ...moreFresh] = live.filter((pod) => isUpdated(pod, set, hash));
  const [old, ...moreOld] = live.filter((pod) => !isUpdated(pod, set, hash));
  if (moreFresh.length > 0 || moreOld.length > 0) return undefined;
  return { ...(fresh === undefined ? {} : { fresh }), ...(old === undefined ? {} : { old }) };
}

/** Old pods that do not serve go at once; of the others as many as may be missing. */
function rollOutInPlace(view: DaemonView, places: readonly Place[], maxUnavailable: number): readonly Pod[] {
  const broken: Pod[] = [];
  const candidates: Pod[] = [];
  let unavailable = 0;
  for (const place of places) {
    if (!place.fit.runs && place.pods.length === 0) continue;
    const pair = pairOn(view, place);
    if (pair?.old !== undefined && pair.fresh === undefined) {
      if (isAvailable(view, pair.old)) candidates.push(pair.old);
      else {
        broken.push(pair.old);
        unavailable += 1;
      }
    } else if (pair?.fresh === undefined || pair.old !== undefined || !isAvailable(view, pair.fresh)) unavailable += 1;
  }
  return [...broken, ...candidates.slice(0, Math.max(0, maxUnavailable - unavailable))];
}

/** New pods come beside old ones, as many as may be too many. An old pod goes when the new one serves. */
function rollOutBeside(
  view: DaemonView,
  places: readonly Place[],
  { maxSurge, desired }: { readonly maxSurge: number; readonly desired: number },
): Pick<DaemonPlan, 'outdated' | 'surge'> {
  const outdated: Pod[] = [];
  /** Available pods on nodes that should have none any more. */
  const leaving: Pod[] = [];
  const replacements: string[] = [];
  const candidates: string[] = [];
  let surging = 0;
  let available = 0;
  for (const place of places) {
    const pair = pairOn(view, place);
    if (pair === undefined) {
      surging += 1;
      continue;
    }
    const { fresh, old } = pair;
    const serving = old ?? fresh;
    if (serving !== undefined && isAvailable(view, serving)) available += 1;
    if (old === undefined) continue;
    if (fresh === undefined) {
      const serves = isAvailable(view, old);
      if (place.fit.runs) (serves ? candidates : replacements).push(place.node);
      else (serves ? leaving : outdated).push(old);
    } else if (isAvailable(view, fresh)) outdated.push(old);
    else surging += 1;
  }
  // Without this, a daemon that moves to other nodes would be on none for a while.
  outdated.push(...leaving.slice(0, Math.max(0, available - desired)));
  return { outdated, surge: [...replacements, ...candidates.slice(0, Math.max(0, maxSurge - surging))] };
}

function allowsSurge({ spec: { updateStrategy } }: DaemonSet): boolean {
  if (updateStrategy?.type === 'OnDelete') return false;
  return scaledValueOf(updateStrategy?.rollingUpdate?.maxSurge ?? 0, { total: 1, round: 'up' }) > 0;
}

const isAvailable = ({ set, now }: DaemonView, pod: Pod): boolean => isPodAvailable(pod, set.spec.minReadySeconds ?? 0, now);

/** The oldest pod that has a node speaks for its node. */
function countNodes(view: DaemonView, places: readonly Place[]): DaemonCounts {
  const wanted = places.filter(({ fit }) => fit.runs);
  const oldest = wanted.flatMap(({ pods }) => pods.slice(0, 1));
  return {
    desired: wanted.length,
    current: oldest.length,
    misscheduled: places.filter(({ fit, pods }) => !fit.runs && pods.length > 0).length,
    ready: oldest.filter(isPodReady).length,
    available: oldest.filter((pod) => isAvailable(view, pod)).length,
    updated: oldest.filter((pod) => isUpdated(pod, view.set, view.hash)).length,
  };
}

/** Bound pods come first, then older ones. */
function byAge(a: Pod, b: Pod): number {
  const bound = Number((b.spec.nodeName ?? '') !== '') - Number((a.spec.nodeName ?? '') !== '');
  if (bound !== 0) return bound;
  const [left, right] = [a.metadata.creationTimestamp ?? '', b.metadata.creationTimestamp ?? ''];
  if (left !== right) return left < right ? -1 : 1;
  return a.metadata.name < b.metadata.name ? -1 : 1;
}
