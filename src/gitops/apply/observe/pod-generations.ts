import type { Deployment } from '../../../api/apps/v1/deployment.ts';
import type { ReplicaSet } from '../../../api/apps/v1/replica-set.ts';
import type { StatefulSet } from '../../../api/apps/v1/stateful-set.ts';
import type { Pod } from '../../../api/core/v1/pod.ts';
import { labels } from '../../../api/well-known.ts';
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
 * pods of one are judged.
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
    default:
      return { judged: pods, old: [] };
  }
}

/** `3 old pods go on serving`; undefined when no ready pod of an older template is left. */
export function servingText({ old }: PodGenerations): string | undefined {
  const serving = old.filter(
    ({ metadata, status }) => metadata.deletionTimestamp === undefined && isConditionTrue(status?.conditions, 'Ready'),
  ).length;
  if (serving === 0) return undefined;
  return serving === 1 ? '1 old pod goes on serving' : `${serving} old pods go on serving`;
}
