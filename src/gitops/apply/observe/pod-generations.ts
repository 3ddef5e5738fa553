import type { DaemonSet } from '../../../api/apps/v1/daemon-set.ts';
import type { Deployment } from '../../../api/apps/v1/deployment.ts';
import type { ReplicaSet } from '../../../api/apps/v1/replica-set.ts';
import type { StatefulSet } from '../../../api/apps/v1/stateful-set.ts';
import type { Pod } from '../../../api/core/v1/pod.ts';
import { annotations, labels } from '../../../api/well-known.ts';
import { byTemplate } from '../../../lifecycle/deployment-templates.ts';
import { isConditionTrue } from '../../../machinery/conditions.ts';
import { controllerOf, type KubeObject } from '../../../machinery/object.ts';

/** Finds what was made for an object. */
export interface PodsView {
  /** Pods whose controller is the object, or a ReplicaSet of it. */
  podsOf(object: KubeObject): readonly Pod[];
  /** ReplicaSets whose controller is the object. */
  replicaSetsOf(object: KubeObject): readonly ReplicaSet[];
}

/** Pods of an object: those that it is judged by, and those of an older template that are still there. */
export interface PodGenerations {
  readonly judged: readonly Pod[];
  readonly old: readonly Pod[];
}

/**
 * Splits the pods of a Deployment by template, as its controller splits its ReplicaSets: two templates may share a hash, so no hash is
 * compared. No pod is judged while the ReplicaSet of the current template does not exist. A broken old pod holds up a StatefulSet, so all
 * pods of one are judged. A DaemonSet replaces broken old pods at once, so only its new pods are.
 */
export function podGenerations(object: KubeObject, view: PodsView): PodGenerations {
  const pods = view.podsOf(object);
  switch (`${object.kind}.${object.apiVersion}`) {
    case 'Deployment.apps/v1': {
      const current = byTemplate(object as Deployment, view.replicaSetsOf(object)).newReplicaSet?.metadata.uid;
      const isCurrent = (pod: Pod): boolean => current !== undefined && controllerOf(pod)?.uid === current;
      return { judged: pods.filter(isCurrent), old: pods.filter((pod) => !isCurrent(pod)) };
    }
    case 'StatefulSet.apps/v1': {
      const current = (object as StatefulSet).status?.updateRevision;
      const isOld = ({ metadata }: Pod): boolean => current !== undefined && metadata.labels?.[labels.controllerRevisionHash] !== current;
      return { judged: pods, old: pods.filter(isOld) };
    }
    case 'DaemonSet.apps/v1': {
      const isCurrent = isCurrentIn(object as DaemonSet, pods);
      return { judged: pods.filter(isCurrent), old: pods.filter((pod) => !isCurrent(pod)) };
    }
    default:
      return { judged: pods, old: [] };
  }
}

/**
 * Pods of a DaemonSet's template name its generation. A template that comes back has a new generation and its old revision, so the
 * pods that were left from before are as good.
 */
function isCurrentIn(set: DaemonSet, pods: readonly Pod[]): (pod: Pod) => boolean {
  const generation = set.metadata.annotations?.[annotations.templateGeneration];
  const isNew = ({ metadata }: Pod): boolean => metadata.labels?.[labels.templateGeneration] === generation;
  const hashOf = ({ metadata }: Pod): string | undefined => metadata.labels?.[labels.controllerRevisionHash];
  const current = new Set(pods.filter(isNew).map(hashOf));
  return (pod) => isNew(pod) || (hashOf(pod) !== undefined && current.has(hashOf(pod)));
}

/** `3 old pods go on serving`; undefined when no ready pod of an older template is left. */
export function servingText({ old }: PodGenerations): string | undefined {
  const serving = old.filter(
    ({ metadata, status }) => metadata.deletionTimestamp === undefined && isConditionTrue(status?.conditions, 'Ready'),
  ).length;
  if (serving === 0) return undefined;
  return serving === 1 ? '1 old pod goes on serving' : `${serving} old pods go on serving`;
}
