import type {
  Affinity as V1Affinity,
  Container as V1Container,
  ContainerPort as V1ContainerPort,
  ContainerState as V1ContainerState,
  ContainerStatus as V1ContainerStatus,
  EnvVar as V1EnvVar,
  Pod as V1Pod,
  PodCondition as V1PodCondition,
  PodSpec as V1PodSpec,
  PodStatus as V1PodStatus,
  PodTemplateSpec as V1PodTemplateSpec,
  Probe as V1Probe,
  ResourceRequirements as V1ResourceRequirements,
  Toleration as V1Toleration,
  Volume as V1Volume,
  VolumeMount as V1VolumeMount,
} from 'kubernetes-types/core/v1.d.ts';
import type { KindDefinition } from '../../../machinery/kind.ts';
import type { DeepReadonly, Kube } from '../../../machinery/object.ts';
import { ageColumn, allVerbs, nameColumn } from '../../columns.ts';

export const pods: KindDefinition<Pod> = {
  group: '',
  version: 'v1',
  resource: 'pods',
  kind: 'Pod',
  namespaced: true,
  singular: 'pod',
  shortNames: ['po'],
  categories: ['all'],
  schemaName: 'io.k8s.api.core.v1.Pod',
  verbs: allVerbs,
  hasGeneration: true,
  nameRule: 'subdomain',
  subresources: [
    { name: 'status', verbs: ['get', 'patch', 'update'] },
    { name: 'binding', verbs: ['create'], body: { group: '', version: 'v1', kind: 'Binding' } },
    { name: 'eviction', verbs: ['create'], body: { group: 'policy', version: 'v1', kind: 'Eviction' } },
    { name: 'log', verbs: ['get'] },
  ],
  columns: [nameColumn, ageColumn],
  selectableFields: {
    'spec.nodeName': (pod) => pod.spec.nodeName ?? '',
    'spec.restartPolicy': (pod) => pod.spec.restartPolicy ?? '',
    'spec.schedulerName': (pod) => pod.spec.schedulerName ?? '',
    'spec.serviceAccountName': (pod) => pod.spec.serviceAccountName ?? '',
    'spec.hostNetwork': (pod) => String(pod.spec.hostNetwork ?? false),
    'status.phase': (pod) => pod.status?.phase ?? '',
    'status.podIP': (pod) => pod.status?.podIP ?? '',
    'status.podIPs': (pod) => pod.status?.podIP ?? '',
    'status.nominatedNodeName': (pod) => pod.status?.nominatedNodeName ?? '',
  },
  deleteAnswer: 'object',
  shortFieldLabelError: true,
  gracefulDeletion: (pod, requestedSeconds) =>
    pod.spec.nodeName === undefined || pod.spec.nodeName === '' ? 0 : (requestedSeconds ?? pod.spec.terminationGracePeriodSeconds ?? 30),
};

export type Pod = Kube<V1Pod> & { readonly spec: PodSpec };
export type PodSpec = DeepReadonly<V1PodSpec>;
export type PodStatus = DeepReadonly<V1PodStatus>;
export type PodCondition = DeepReadonly<V1PodCondition>;
export type PodTemplateSpec = DeepReadonly<V1PodTemplateSpec>;
export type Container = DeepReadonly<V1Container>;
export type ContainerStatus = DeepReadonly<V1ContainerStatus>;
export type ContainerState = DeepReadonly<V1ContainerState>;
export type ContainerPort = DeepReadonly<V1ContainerPort>;
export type EnvVar = DeepReadonly<V1EnvVar>;
export type Probe = DeepReadonly<V1Probe>;
export type Volume = DeepReadonly<V1Volume>;
export type VolumeMount = DeepReadonly<V1VolumeMount>;
export type Toleration = DeepReadonly<V1Toleration>;
export type Affinity = DeepReadonly<V1Affinity>;
export type ResourceRequirements = DeepReadonly<V1ResourceRequirements>;
