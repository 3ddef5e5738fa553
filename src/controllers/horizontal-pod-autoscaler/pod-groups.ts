import type { Pod } from '../../api/core/v1/pod.ts';
import { milliValueOf } from '../../machinery/quantity.ts';
import { isPodFinished, isPodReady, isPodTerminating, readyConditionOf } from '../pod-conditions.ts';
import type { PodMetrics } from './metrics-client.ts';

/** Pods by how their metrics count. */
export interface PodGroups {
  readonly readyCount: number;
  /** They start, or their values are from when they started. */
  readonly unready: ReadonlySet<string>;
  /** They run, and no value of them is known. */
  readonly missing: ReadonlySet<string>;
  /** They end. */
  readonly ignored: ReadonlySet<string>;
}

/** The CPU of a pod that starts says nothing about its load. */
const cpuInitializationMs = 5 * 60_000;
/** A pod that was never ready within this time after its start counts as starting. */
const initialReadinessMs = 30_000;

export function groupPods(
  pods: readonly Pod[],
  metrics: PodMetrics,
  { resource, now }: { readonly resource: string | undefined; readonly now: number },
): PodGroups {
  let readyCount = 0;
  const unready = new Set<string>();
  const missing = new Set<string>();
  const ignored = new Set<string>();
  for (const pod of pods) {
    const { name } = pod.metadata;
    const metric = metrics.get(name);
    if (isPodTerminating(pod) || isPodFinished(pod)) ignored.add(name);
    else if ((pod.status?.phase ?? 'Pending') === 'Pending') unready.add(name);
    else if (metric === undefined) missing.add(name);
    else if (resource === 'cpu' && isStarting(pod, metric, now)) unready.add(name);
    else readyCount += 1;
  }
  return { readyCount, unready, missing, ignored };
}

function isStarting(pod: Pod, { at, windowMs }: { readonly at: number; readonly windowMs: number }, now: number): boolean {
  const ready = readyConditionOf(pod);
  const startTime = pod.status?.startTime;
  if (ready === undefined || startTime === undefined) return true;
  const started = Date.parse(startTime);
  const changed = Date.parse(ready.lastTransitionTime ?? '') || 0;
  // A sample counts when its whole window lies behind the moment at which the pod became ready.
  if (started + cpuInitializationMs > now) return ready.status === 'False' || at < changed + windowMs;
  return ready.status === 'False' && started + initialReadinessMs > changed;
}

/**
 * The requests of each pod in thousandths, or those of one container.
 *
 * @throws Error when a container asks for nothing: its use cannot be a share of that
 */
export function requestsOf(pods: readonly Pod[], resource: string, container: string | undefined): ReadonlyMap<string, number> {
  return new Map(pods.map((pod) => [pod.metadata.name, requestOf(pod, resource, container)]));
}

/** Newer than the types. */
interface WithPodResources {
  readonly resources?: { readonly requests?: Readonly<Record<string, string | number>> };
}

function requestOf(pod: Pod, resource: string, container: string | undefined): number {
  const { name } = pod.metadata;
  const { containers, initContainers = [] } = pod.spec;
  const ofPod = (pod.spec as WithPodResources).resources?.requests;
  if (container === undefined && ofPod !== undefined && Object.keys(ofPod).length > 0) {
    const request = ofPod[resource];
    if (request === undefined) throw new Error(`missing pod-level request for ${resource} in Pod ${name}`);
    return milliValueOf(String(request));
  }
  const all = [...containers, ...initContainers.filter(({ restartPolicy }) => restartPolicy === 'Always')];
  const chosen = container === undefined ? all : all.filter((one) => one.name === container);
  if (container !== undefined && chosen.length === 0) throw new Error(`container ${container} not found in Pod ${name}`);
  return chosen.reduce((sum, one) => {
    const request = one.resources?.requests?.[resource];
    if (request === undefined) throw new Error(`missing request for ${resource} in container ${one.name} of Pod ${name}`);
    return sum + milliValueOf(String(request));
  }, 0);
}

export const readyPodCount = (pods: readonly Pod[]): number =>
  pods.filter((pod) => pod.status?.phase === 'Running' && isPodReady(pod)).length;
