import { type StatefulSet, statefulSets } from '../../api/apps/v1/stateful-set.ts';
import type { Pod, PodTemplateSpec } from '../../api/core/v1/pod.ts';
import { labels } from '../../api/well-known.ts';
import type { New } from '../../client/client.ts';
import { desiredReplicas } from '../../lifecycle/stateful-set.facts.ts';
import { podFromTemplate } from '../workload.ts';
import { claimName } from './claims.ts';

/** The number at the end of a pod's name; undefined for a pod that has the name of no pod of this set. */
export function ordinalOf(set: StatefulSet, { metadata: { name } }: Pick<Pod, 'metadata'>): number | undefined {
  const prefix = `${set.metadata.name}-`;
  const digits = name.startsWith(prefix) ? name.slice(prefix.length) : '';
  if (!/^(0|[1-9][0-9]{0,9})$/.test(digits)) return undefined;
  const ordinal = Number(digits);
  return ordinal > maxOrdinal ? undefined : ordinal;
}

/** Ordinals are 32-bit numbers. */
const maxOrdinal = 2_147_483_647;

export const startOrdinal = ({ spec }: StatefulSet): number => spec.ordinals?.start ?? 0;

export function isWanted(set: StatefulSet, ordinal: number): boolean {
  const start = startOrdinal(set);
  return ordinal >= start && ordinal < start + desiredReplicas(set);
}

export const podName = (set: StatefulSet, ordinal: number): string => `${set.metadata.name}-${ordinal}`;

/** The labels by which others find one pod of the set. */
export const identityLabels = (set: StatefulSet, ordinal: number): Readonly<Record<string, string>> => ({
  [labels.statefulPodName]: podName(set, ordinal),
  [labels.podIndex]: String(ordinal),
});

export const hasIdentity = (set: StatefulSet, ordinal: number, { metadata }: Pod): boolean =>
  metadata.labels?.[labels.statefulPodName] === podName(set, ordinal);

export const revisionOf = ({ metadata }: Pod): string | undefined => metadata.labels?.[labels.controllerRevisionHash];

/** The template of one revision. */
export interface PodRevision {
  readonly name: string;
  readonly template: PodTemplateSpec;
}

/**
 * The pod of an ordinal. Its name is its host name below the set's Service. Each claim template becomes a volume, which hides one of
 * the same name in the pod template.
 */
export function podOfOrdinal(set: StatefulSet, ordinal: number, revision: PodRevision): New<Pod> {
  const { generateName: _, ...metadata } = podFromTemplate(statefulSets, set, revision.template).metadata;
  const name = podName(set, ordinal);
  const spec = revision.template.spec ?? { containers: [] };
  const claimed = (set.spec.volumeClaimTemplates ?? []).map((template) => ({
    name: template.metadata?.name ?? '',
    persistentVolumeClaim: { claimName: claimName(set, template, ordinal) },
  }));
  const names = new Set(claimed.map((volume) => volume.name));
  const volumes = [...claimed, ...(spec.volumes ?? []).filter((volume) => !names.has(volume.name))];
  const { serviceName } = set.spec;
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      ...metadata,
      name,
      labels: { ...metadata.labels, ...identityLabels(set, ordinal), [labels.controllerRevisionHash]: revision.name },
    },
    spec: {
      ...spec,
      hostname: name,
      ...(serviceName === undefined || serviceName === '' ? {} : { subdomain: serviceName }),
      ...(volumes.length === 0 ? {} : { volumes }),
    },
  };
}
