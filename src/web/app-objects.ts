import { type Deployment, deployments } from '../api/apps/v1/deployment.ts';
import { replicaSets } from '../api/apps/v1/replica-set.ts';
import { type Job, jobs } from '../api/batch/v1/job.ts';
import { type Pod, pods } from '../api/core/v1/pod.ts';
import type { Kustomization } from '../api/kustomize/v1/kustomization.ts';
import type { Informer, InformerSet } from '../client/informer.ts';
import { podProblem } from '../lifecycle/reasons.ts';
import { isConditionTrue } from '../machinery/conditions.ts';
import { controllerOf, type KubeObject } from '../machinery/object.ts';

/** A pod of an app as the page draws it; `missing` is one that should be there. */
export interface PodSquare {
  readonly name: string;
  readonly state: 'ready' | 'done' | 'starting' | 'failed' | 'missing';
}

/** An object that an app put into the cluster, with the pods below it. */
export interface AppObject {
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
  readonly pods: readonly Pod[];
  /** Pods that are wanted; undefined for what has none. */
  readonly wanted: number | undefined;
}

export interface AppObjects {
  /** Objects of the app's inventory, in its order. */
  objectsOf(app: Kustomization): readonly AppObject[];
}

/** Index of pods and ReplicaSets by the uid of their controller. */
const byController = 'web-controller';
const controllerUid = (object: KubeObject): readonly string[] => {
  const uid = controllerOf(object)?.uid;
  return uid === undefined ? [] : [uid];
};

export function createAppObjects(informers: InformerSet): AppObjects {
  const allPods = informers.get(pods);
  const sets = informers.get(replicaSets);
  const byKind: Readonly<Record<string, Informer<Deployment> | Informer<Job> | undefined>> = {
    'apps/Deployment': informers.get(deployments),
    'batch/Job': informers.get(jobs),
  };
  allPods.addIndex(byController, controllerUid);
  sets.addIndex(byController, controllerUid);

  const podsBelow = (uid: string): readonly Pod[] => [
    ...allPods.byIndex(byController, uid),
    ...sets.byIndex(byController, uid).flatMap(({ metadata }) => allPods.byIndex(byController, metadata.uid ?? '')),
  ];

  return {
    objectsOf: (app) =>
      (app.status?.inventory?.entries ?? []).flatMap(({ id }) => {
        const parsed = parseInventoryId(id);
        if (parsed === undefined) return [];
        const { group, kind, namespace, name } = parsed;
        const object = byKind[`${group}/${kind}`]?.get({ namespace, name });
        const wanted = object === undefined ? undefined : wantedOf(object);
        return [{ kind, namespace, name, pods: podsBelow(object?.metadata.uid ?? ''), wanted }];
      }),
  };
}

const wantedOf = ({ kind, spec }: Deployment | Job): number | undefined =>
  kind === 'Deployment' ? ((spec as Deployment['spec']).replicas ?? 1) : undefined;

/** `namespace_name_group_Kind`; a colon in a name is `__`. */
export function parseInventoryId(
  id: string,
): { readonly namespace: string; readonly name: string; readonly group: string; readonly kind: string } | undefined {
  const [, namespace = '', name = '', group = '', kind = ''] = /^([^_]*)_(.+)_([^_]*)_([^_]+)$/.exec(id) ?? [];
  return kind === '' ? undefined : { namespace, name: name.replaceAll('__', ':'), group, kind };
}

/** One square a pod that counts, oldest first, then one for each that is missing. Pods that are done or on their way out do not count. */
export function squaresOf({ pods: all, wanted = 0 }: AppObject): readonly PodSquare[] {
  const counted = all
    .filter(({ metadata, status }) => metadata.deletionTimestamp === undefined && status?.phase !== 'Succeeded')
    .sort(
      (a, b) =>
        compare(a.metadata.creationTimestamp ?? '', b.metadata.creationTimestamp ?? '') || compare(a.metadata.name, b.metadata.name),
    );
  const squares = counted.map((pod): PodSquare => ({ name: pod.metadata.name, state: squareState(pod) }));
  for (let missing = wanted - counted.length; missing > 0; missing -= 1) squares.push({ name: '', state: 'missing' });
  return squares;
}

export function squareState(pod: Pod): PodSquare['state'] {
  if (pod.status?.phase === 'Succeeded') return 'done';
  if (isConditionTrue(pod.status?.conditions, 'Ready')) return 'ready';
  return podProblem(pod) === undefined ? 'starting' : 'failed';
}

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
