import { type DaemonSet, daemonSets } from '../api/apps/v1/daemon-set.ts';
import { type Deployment, deployments } from '../api/apps/v1/deployment.ts';
import { replicaSets } from '../api/apps/v1/replica-set.ts';
import { statefulSets } from '../api/apps/v1/stateful-set.ts';
import { jobs } from '../api/batch/v1/job.ts';
import { type Pod, pods } from '../api/core/v1/pod.ts';
import { replicationControllers } from '../api/core/v1/replication-controller.ts';
import type { Kustomization } from '../api/kustomize/v1/kustomization.ts';
import type { AppInspection, ObjectHealth } from '../base/contracts/app-inspection.ts';
import type { Informer, InformerSet } from '../client/informer.ts';
import { podProblem } from '../lifecycle/reasons.ts';
import { isConditionTrue } from '../machinery/conditions.ts';
import { controllerOf, type KubeObject, keyOf } from '../machinery/object.ts';
import type { Shown } from './state.ts';
import type { ObjectName } from './user-api.ts';
import { publicReason } from './without-values.ts';

/** A pod of an app as the page draws it; `missing` is one that should be there. */
export interface PodSquare {
  /** Empty when the pod is missing. */
  readonly name: string;
  readonly namespace: string;
  readonly state: 'ready' | 'done' | 'starting' | 'failed' | 'missing';
}

/** An object that an app put into the cluster, with the pods below it. */
export interface AppObject extends ObjectName, Shown {
  /** `namespace_name_group_Kind`, as in the inventory. */
  readonly id: string;
  /** Reason of the state; empty when there is nothing to say. */
  readonly reason: string;
  readonly pods: readonly Pod[];
  /** Pods that are wanted; undefined for what has none. */
  readonly wanted: number | undefined;
}

export interface AppObjects {
  /** Objects of the app's inventory, in its order. */
  objectsOf(app: Kustomization): readonly AppObject[];
  /** Those with these ids alone. */
  objectsWith(app: Kustomization, ids: readonly string[]): readonly AppObject[];
}

const healthWords: Readonly<Record<ObjectHealth['status'], Shown>> = {
  Healthy: { state: 'ok', word: 'Matches Git' },
  Progressing: { state: 'progressing', word: 'On the way' },
  Degraded: { state: 'failed', word: 'Does not work' },
  Suspended: { state: 'paused', word: 'Suspended' },
  Missing: { state: 'failed', word: 'Missing' },
  NoController: { state: 'drift', word: 'No controller' },
  Unknown: { state: 'unknown', word: 'Unknown' },
};
const differs: Shown = { state: 'drift', word: 'Differs' };

/** Index of pods and ReplicaSets by the uid of their controller. */
const byController = 'web-controller';
const controllerUid = (object: KubeObject): readonly string[] => {
  const uid = controllerOf(object)?.uid;
  return uid === undefined ? [] : [uid];
};

/** @param inspection  the engine's knowledge of objects; absent before it starts, and where none runs */
export function createAppObjects(informers: InformerSet, inspection: () => AppInspection | undefined): AppObjects {
  const allPods = informers.get(pods);
  const sets = informers.get(replicaSets);
  const byKind: Readonly<Record<string, Pick<Informer<KubeObject>, 'get'> | undefined>> = {
    'apps/Deployment': informers.get(deployments),
    'apps/ReplicaSet': sets,
    'apps/StatefulSet': informers.get(statefulSets),
    'apps/DaemonSet': informers.get(daemonSets),
    '/ReplicationController': informers.get(replicationControllers),
    'batch/Job': informers.get(jobs),
  };
  allPods.addIndex(byController, controllerUid);
  sets.addIndex(byController, controllerUid);

  const podsBelow = (uid: string): readonly Pod[] => [
    ...allPods.byIndex(byController, uid),
    ...sets.byIndex(byController, uid).flatMap(({ metadata }) => allPods.byIndex(byController, metadata.uid ?? '')),
  ];

  function objectsWith(app: Kustomization, ids: readonly string[]): readonly AppObject[] {
    const healths = inspection()?.healthsOf(keyOf(app));
    const drifted = app.status?.conditions?.find(({ type, status }) => type === 'Drifted' && status === 'True')?.message ?? '';
    return ids.flatMap((id) => {
      const name = parseInventoryId(id);
      if (name === undefined) return [];
      const object = byKind[`${name.group}/${name.kind}`]?.get(name);
      const health = healths?.get(id);
      const isDifferent = drifted !== '' && differencesOf(drifted, name).length > 0;
      const shown =
        isDifferent && (health === undefined || health.status === 'Healthy') ? differs : healthWords[health?.status ?? 'Unknown'];
      const wanted = object === undefined ? undefined : wantedOf(object);
      return [{ ...name, ...shown, id, reason: publicReason(health?.reason ?? ''), pods: podsBelow(object?.metadata.uid ?? ''), wanted }];
    });
  }

  return {
    objectsOf: (app) =>
      objectsWith(
        app,
        (app.status?.inventory?.entries ?? []).map(({ id }) => id),
      ),
    objectsWith,
  };
}

/** Lines of an app's differences that are about one object: `Deployment web/storefront: spec.replicas 3 → 5`. */
export function differencesOf(lines: string, { kind, namespace, name }: ObjectName): readonly string[] {
  const start = `${kind} ${namespace === '' ? '' : `${namespace}/`}${name}: `;
  return lines.split('\n').flatMap((line) => (line.startsWith(start) ? [line.slice(start.length)] : []));
}

/** Undefined for a Job: its pods come one after the other. */
function wantedOf(object: KubeObject): number | undefined {
  if (object.kind === 'Job') return undefined;
  if (object.kind === 'DaemonSet') return (object as DaemonSet).status?.desiredNumberScheduled ?? 0;
  return (object as Deployment).spec.replicas ?? 1;
}

/** `namespace_name_group_Kind`; a colon in a name is `__`. */
export function parseInventoryId(id: string): ObjectName | undefined {
  const [, namespace = '', name = '', group = '', kind = ''] = /^([^_]*)_(.+)_([^_]*)_([^_]+)$/.exec(id) ?? [];
  return kind === '' ? undefined : { namespace, name: name.replaceAll('__', ':'), group, kind };
}

/** One square a pod that counts, oldest first, then one for each that is missing. Pods that are done or on their way out do not count. */
export function squaresOf({ pods: all, wanted = 0 }: Pick<AppObject, 'pods' | 'wanted'>): readonly PodSquare[] {
  const counted = all
    .filter(({ metadata, status }) => metadata.deletionTimestamp === undefined && status?.phase !== 'Succeeded')
    .sort(
      (a, b) =>
        compare(a.metadata.creationTimestamp ?? '', b.metadata.creationTimestamp ?? '') || compare(a.metadata.name, b.metadata.name),
    );
  const squares = counted.map(
    (pod): PodSquare => ({
      name: pod.metadata.name,
      namespace: pod.metadata.namespace ?? '',
      state: squareState(pod),
    }),
  );
  for (let missing = wanted - counted.length; missing > 0; missing -= 1) squares.push({ name: '', namespace: '', state: 'missing' });
  return squares;
}

export const podStates: Readonly<Record<PodSquare['state'], Shown>> = {
  ready: { state: 'ok', word: 'Ready' },
  done: { state: 'ok', word: 'Done' },
  starting: { state: 'progressing', word: 'Starting' },
  failed: { state: 'failed', word: 'Failing' },
  missing: { state: 'unknown', word: 'Missing' },
};

/** The problem of a pod as anybody may read it; undefined when it is healthy or starting. */
export function problemOf(pod: Pod): string | undefined {
  const problem = podProblem(pod);
  return problem === undefined ? undefined : publicReason(problem);
}

export function squareState(pod: Pod): PodSquare['state'] {
  if (pod.status?.phase === 'Succeeded') return 'done';
  if (isConditionTrue(pod.status?.conditions, 'Ready')) return 'ready';
  return podProblem(pod) === undefined ? 'starting' : 'failed';
}

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
