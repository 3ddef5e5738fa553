import { type DaemonSet, daemonSets } from '../../api/apps/v1/daemon-set.ts';
import type { Pod, PodSpec } from '../../api/core/v1/pod.ts';
import { annotations, labels } from '../../api/well-known.ts';
import type { New } from '../../client/client.ts';
import type { KubeObject } from '../../machinery/object.ts';
import { podFromTemplate } from '../workload.ts';
import { daemonTolerations } from './node-fit.ts';

const nodeName = 'metadata.name';

/**
 * Makes the pods of one DaemonSet. The scheduler binds them, so that they get room like all others; their affinity leaves it one node.
 */
export function createDaemonPods(set: DaemonSet, hash: string): (node: string) => New<Pod> {
  const generation = set.metadata.annotations?.[annotations.templateGeneration];
  const pod = podFromTemplate(daemonSets, set, set.spec.template);
  const spec = set.spec.template.spec ?? { containers: [] };
  const metadata = {
    ...pod.metadata,
    labels: {
      ...pod.metadata.labels,
      [labels.controllerRevisionHash]: hash,
      ...(generation === undefined ? {} : { [labels.templateGeneration]: generation }),
    },
  };
  const tolerations = daemonTolerations(spec);
  return (node) => ({ ...pod, metadata, spec: { ...spec, tolerations, affinity: affinityTo(node, spec.affinity) } });
}

/** The node meets the template's own requirements already, so it takes their place. */
const affinityTo = (node: string, given: PodSpec['affinity']): NonNullable<PodSpec['affinity']> => ({
  ...given,
  nodeAffinity: {
    ...given?.nodeAffinity,
    requiredDuringSchedulingIgnoredDuringExecution: {
      nodeSelectorTerms: [{ matchFields: [{ key: nodeName, operator: 'In', values: [node] }] }],
    },
  },
});

/** The node that a pod is on, or that it was made for; undefined for an adopted pod that nobody has bound yet. */
export function targetNodeOf({ spec }: Pod): string | undefined {
  if (spec.nodeName !== undefined && spec.nodeName !== '') return spec.nodeName;
  const terms = spec.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution?.nodeSelectorTerms ?? [];
  for (const { matchFields = [] } of terms) {
    const field = matchFields.find(({ key, operator, values = [] }) => key === nodeName && operator === 'In' && values.length === 1);
    if (field !== undefined) return field.values?.[0];
  }
  return undefined;
}

/** The hash of the template that a pod was made of, or that a revision keeps. */
export const hashOf = ({ metadata }: KubeObject): string => metadata.labels?.[labels.controllerRevisionHash] ?? '';

/** True for a pod of the newest template: of its revision, or made since the template changed last. */
export function isUpdated(pod: Pod, set: DaemonSet, hash: string): boolean {
  if (hashOf(pod) === hash) return true;
  const generation = set.metadata.annotations?.[annotations.templateGeneration];
  return generation !== undefined && pod.metadata.labels?.[labels.templateGeneration] === generation;
}
