import type { Deployment } from '../api/apps/v1/deployment.ts';
import type { ReplicaSet } from '../api/apps/v1/replica-set.ts';
import type { PodTemplateSpec } from '../api/core/v1/pod.ts';
import { annotations, labels as wellKnown } from '../api/well-known.ts';
import { deepEqual } from '../machinery/object.ts';

/** The number under which `kubectl rollout history` lists it; 0 when it has none. */
export const revisionOf = ({ metadata }: Deployment | ReplicaSet): number =>
  Number(metadata.annotations?.[annotations.deploymentRevision] ?? 0) || 0;

/** Splits the ReplicaSets of a Deployment by template. Should several have the newest template, the oldest of them counts. */
export function byTemplate(
  deployment: Deployment,
  owned: readonly ReplicaSet[],
): { readonly newReplicaSet: ReplicaSet | undefined; readonly oldReplicaSets: readonly ReplicaSet[] } {
  const sorted = owned.toSorted(byAge);
  const newReplicaSet = sorted.find(({ spec }) => sameTemplate(spec.template, deployment.spec.template));
  return { newReplicaSet, oldReplicaSets: sorted.filter((replicaSet) => replicaSet !== newReplicaSet) };
}

/** Equal but for the hash label, which a ReplicaSet's template has and a Deployment's has not. */
export function sameTemplate(a: PodTemplateSpec | undefined, b: PodTemplateSpec | undefined): boolean {
  if (a === undefined || b === undefined) return a === b;
  return deepEqual(a.spec, b.spec) && deepEqual(withoutHash(a).metadata ?? {}, withoutHash(b).metadata ?? {});
}

function withoutHash(template: PodTemplateSpec): PodTemplateSpec {
  const labels = template.metadata?.labels;
  if (labels?.[wellKnown.podTemplateHash] === undefined) return template;
  const { [wellKnown.podTemplateHash]: _, ...others } = labels;
  const { labels: __, ...metadata } = template.metadata ?? {};
  return { ...template, metadata: Object.keys(others).length === 0 ? metadata : { ...metadata, labels: others } };
}

function byAge(a: ReplicaSet, b: ReplicaSet): number {
  const first = a.metadata.creationTimestamp ?? '';
  const second = b.metadata.creationTimestamp ?? '';
  if (first !== second) return first < second ? -1 : 1;
  // Timestamps have seconds only: revisions tell the order of a quick series.
  return revisionOf(a) - revisionOf(b) || (a.metadata.name < b.metadata.name ? -1 : 1);
}
