import { daemonSets } from '../api/apps/v1/daemon-set.ts';
import { deployments } from '../api/apps/v1/deployment.ts';
import { replicaSets } from '../api/apps/v1/replica-set.ts';
import { statefulSets } from '../api/apps/v1/stateful-set.ts';
import { type Job, jobs } from '../api/batch/v1/job.ts';
import { pods } from '../api/core/v1/pod.ts';
import { replicationControllers } from '../api/core/v1/replication-controller.ts';
import type { Kustomization } from '../api/kustomize/v1/kustomization.ts';
import type { PodCount } from '../base/contracts/overview.ts';
import type { InformerSet } from '../client/informer.ts';
import { isConditionTrue } from '../machinery/conditions.ts';
import type { KubeObject } from '../machinery/object.ts';
import type { Resource } from '../machinery/resource.ts';
import { parseInventoryId } from './app-objects.ts';
import type { ObjectName } from './user-api.ts';

/** Counts the pods that the workloads of an app want, and those that are ready; undefined when it has no workload. */
export type ReadyPods = (app: Kustomization) => PodCount | undefined;

type Count = (name: ObjectName) => PodCount | undefined;

/** Counts from the caches, as the controllers of the workloads have counted. */
export function createReadyPods(informers: InformerSet): ReadyPods {
  function countOf<T extends KubeObject>(kind: Resource<T>, count: (object: T) => PodCount): readonly [string, Count] {
    const informer = informers.get(kind);
    return [
      `${kind.group}/${kind.kind}`,
      (name) => {
        const found = informer.get(name);
        return found === undefined ? undefined : count(found);
      },
    ];
  }
  const counts: ReadonlyMap<string, Count> = new Map([
    countOf(deployments, countReplicas),
    countOf(replicaSets, countReplicas),
    countOf(statefulSets, countReplicas),
    countOf(replicationControllers, countReplicas),
    countOf(daemonSets, ({ status }) => ({ ready: status?.numberReady ?? 0, wanted: status?.desiredNumberScheduled ?? 0 })),
    countOf(jobs, countJob),
    countOf(pods, ({ status }) => ({ ready: isConditionTrue(status?.conditions, 'Ready') ? 1 : 0, wanted: 1 })),
  ]);
  /** An app whose inventory changes is another object. */
  const workloads = new WeakMap<Kustomization, readonly (() => PodCount | undefined)[]>();
  const workloadsOf = ({ status }: Kustomization): readonly (() => PodCount | undefined)[] =>
    (status?.inventory?.entries ?? []).flatMap(({ id }) => {
      const name = parseInventoryId(id);
      const count = name === undefined ? undefined : counts.get(`${name.group}/${name.kind}`);
      return name === undefined || count === undefined ? [] : [() => count(name)];
    });

  return (app) => {
    const known = workloads.get(app) ?? workloadsOf(app);
    workloads.set(app, known);
    const found = known.flatMap((count) => count() ?? []);
    return found.length === 0
      ? undefined
      : found.reduce((sum, each) => ({ ready: sum.ready + each.ready, wanted: sum.wanted + each.wanted }));
  };
}

interface Scaled {
  readonly spec?: { readonly replicas?: number };
  readonly status?: { readonly readyReplicas?: number };
}

const countReplicas = ({ spec, status }: Scaled): PodCount => ({ ready: status?.readyReplicas ?? 0, wanted: spec?.replicas ?? 1 });

/** Pods that succeeded count as ready, and those that are still to start after them do not count yet. */
function countJob({ spec, status }: Job): PodCount {
  const succeeded = status?.succeeded ?? 0;
  const left =
    spec.completions === undefined ? (succeeded > 0 ? (status?.active ?? 0) : Number.POSITIVE_INFINITY) : spec.completions - succeeded;
  const running = spec.suspend === true ? 0 : Math.max(0, Math.min(spec.parallelism ?? 1, left));
  return { ready: succeeded + Math.min(running, status?.ready ?? 0), wanted: succeeded + running };
}
