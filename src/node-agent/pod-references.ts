import type { Container, Pod } from '../api/core/v1/pod.ts';
import { type ConfigKind, type ConfigNeeds, configReference } from './config-source.ts';

export function referencesOf(pod: Pod): ConfigNeeds {
  const kinds = new Set<ConfigKind>(['Service']);
  const objects = new Set<string>();
  const add = (kind: 'ConfigMap' | 'Secret', name: string | undefined): void => {
    kinds.add(kind);
    objects.add(configReference(kind, pod.metadata.namespace ?? '', name ?? ''));
  };
  for (const container of allContainers(pod)) {
    for (const { configMapRef, secretRef } of container.envFrom ?? []) {
      if (configMapRef !== undefined) add('ConfigMap', configMapRef.name);
      if (secretRef !== undefined) add('Secret', secretRef.name);
    }
    for (const { valueFrom } of container.env ?? []) {
      if (valueFrom?.configMapKeyRef !== undefined) add('ConfigMap', valueFrom.configMapKeyRef.name);
      if (valueFrom?.secretKeyRef !== undefined) add('Secret', valueFrom.secretKeyRef.name);
    }
  }
  for (const { configMap, secret, projected } of pod.spec.volumes ?? []) {
    if (configMap !== undefined) add('ConfigMap', configMap.name);
    if (secret !== undefined) add('Secret', secret.secretName);
    for (const source of projected?.sources ?? []) {
      if (source.configMap !== undefined) add('ConfigMap', source.configMap.name);
      if (source.secret !== undefined) add('Secret', source.secret.name);
    }
  }
  for (const { name = '' } of pod.spec.imagePullSecrets ?? []) if (name !== '') add('Secret', name);
  return { kinds, objects };
}

export const allContainers = (pod: Pod): readonly Container[] => [
  ...(pod.spec.initContainers ?? []),
  ...pod.spec.containers,
  ...ephemeralContainersOf(pod),
];

/** A container that joined the pod to look at it, at the processes of one container or at the pod's network alone. */
type EphemeralContainer = Container & { readonly targetContainerName?: string };

export const ephemeralContainersOf = ({ spec }: Pod): readonly EphemeralContainer[] =>
  (spec.ephemeralContainers ?? []) as readonly EphemeralContainer[];

/** An init container that is left running beside the containers of the pod proper. */
export const isSidecar = (container: Container): boolean => container.restartPolicy === 'Always';
