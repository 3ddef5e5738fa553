import { daemonSets } from '../api/apps/v1/daemon-set.ts';
import { type Deployment, deployments } from '../api/apps/v1/deployment.ts';
import { replicaSets } from '../api/apps/v1/replica-set.ts';
import { statefulSets } from '../api/apps/v1/stateful-set.ts';
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

type Scaled = KubeObject & Pick<Deployment, 'spec' | 'status'>;
type Count = (name: ObjectName) => PodCount | undefined;

/** Counts from the caches, as the controllers of the workloads have counted. Jobs are left out, since they end. */
export function createReadyPods(informers: InformerSet): ReadyPods {
  const bare = informers.get(pods);
  const daemons = informers.get(daemonSets);
  const scaled = [deployments, replicaSets, statefulSets, replicationControllers].map((kind): readonly [string, Count] => {
    const informer = informers.get(kind as unknown as Resource<Scaled>);
    return [
      `${kind.group}/${kind.kind}`,
      (name) => {
        const found = informer.get(name);
        return found === undefined ? undefined : { ready: found.status?.readyReplicas ?? 0, wanted: found.spec?.replicas ?? 1 };
      },
    ];
  });
  const counts: ReadonlyMap<string, Count> = new Map([
    ...scaled,
    [
      'apps/DaemonSet',
      (name) => {
        const found = daemons.get(name);
        return found === undefined
          ? undefined
          : { ready: found.status?.numberReady ?? 0, wanted: found.status?.desiredNumberScheduled ?? 0 };
      },
    ],
    [
      '/Pod',
      (name) => {
        const found = bare.get(name);
        return found === undefined ? undefined : { ready: isConditionTrue(found.status?.conditions, 'Ready') ? 1 : 0, wanted: 1 };
      },
    ],
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
