import { isIP } from 'node:net';
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
} from 'kubernetes-types/core/v1.d.ts';
import type { KindDefinition } from '../../../machinery/kind.ts';
import type { DeepReadonly, Kube } from '../../../machinery/object.ts';
import type { FieldError } from '../../../machinery/status-error.ts';
import { allVerbs } from '../../columns.ts';
import { isAbsent, mapShared, withField } from '../../copy-on-write.ts';
import { forbidden, immutable, invalidValue } from '../../field-errors.ts';
import { check, ipErrors } from '../../formats.ts';
import { configAnnotations } from '../../well-known.ts';
import { checkImages } from './container-validation.ts';
import { podColumns, podRowConditions } from './pod-columns.ts';
import { ephemeralContainersPart, resizePart } from './pod-parts.ts';
import { defaultSpecOfPod } from './pod-spec-defaults.ts';
import { checkPodAnnotations, checkPodSpec } from './pod-spec-validation.ts';
import { checkPodUpdate } from './pod-update.ts';
import { appArmorPrefix, podNameWarnings, podWarnings } from './pod-warnings.ts';
import { qosClassOf } from './qos.ts';

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
  statusKeeps: ['ownerReferences'],
  nameRule: 'subdomain',
  subresources: [
    { name: 'status', verbs: ['get', 'patch', 'update'] },
    { name: 'binding', verbs: ['create'], body: { group: '', version: 'v1', kind: 'Binding' } },
    { name: 'eviction', verbs: ['create'], body: { group: 'policy', version: 'v1', kind: 'Eviction' } },
    { name: 'ephemeralcontainers', verbs: ['get', 'patch', 'update'], part: ephemeralContainersPart },
    { name: 'resize', verbs: ['get', 'patch', 'update'], part: resizePart },
    { name: 'log', verbs: ['get'] },
    { name: 'exec', verbs: ['create', 'get'], body: { group: '', version: 'v1', kind: 'PodExecOptions' } },
    { name: 'attach', verbs: ['create', 'get'], body: { group: '', version: 'v1', kind: 'PodAttachOptions' } },
    { name: 'portforward', verbs: ['create', 'get'], body: { group: '', version: 'v1', kind: 'PodPortForwardOptions' } },
    { name: 'proxy', verbs: ['create', 'delete', 'get', 'patch', 'update'], body: { group: '', version: 'v1', kind: 'PodProxyOptions' } },
  ],
  columns: podColumns,
  rowConditions: podRowConditions,
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
  defaults: (pod, before) =>
    before !== undefined && pod.spec === before.spec ? pod : withField(pod, 'spec', defaultSpecOfPod(pod.spec ?? { containers: [] })),
  prepareForCreate: (pod) => ({
    ...pod,
    spec: withAppArmorProfiles(pod),
    status: { phase: 'Pending', qosClass: qosClassOf(pod.spec) },
  }),
  prepareForStatus: (pod, before) => withBothAddresses(withQosClass(pod, before)),
  validateStatus: ({ status }, before) => {
    const errors: FieldError[] = [];
    if (status?.podIPs !== before.status?.podIPs) checkPodIPs(errors, status?.podIPs ?? []);
    const { qosClass = '' } = before.status ?? {};
    if (qosClass !== '' && status?.qosClass !== qosClass) errors.push(immutable('status.qosClass', status?.qosClass ?? ''));
    return errors;
  },
  validate: (pod, before) => {
    const errors: FieldError[] = [];
    if (pod.metadata.annotations !== before?.metadata.annotations) {
      checkPodAnnotations(errors, 'metadata.annotations', pod.metadata.annotations, pod.spec);
    }
    if (before !== undefined && pod.spec === before.spec) return errors;
    checkPodSpec(errors, 'spec', pod.spec);
    checkImages(errors, 'spec.containers', pod.spec.containers ?? []);
    checkImages(errors, 'spec.initContainers', pod.spec.initContainers ?? []);
    if (before !== undefined) checkPodUpdate(errors, pod.spec, before.spec);
    else checkPodCreation(errors, pod.spec);
    return errors;
  },
  warnings: (pod, before) => (before === undefined ? [...podNameWarnings(pod.metadata.name), ...podWarnings('', pod)] : []),
  gracefulDeletion: (pod, requestedSeconds) => {
    // Nobody has to be waited for when no agent runs the pod, or when all its containers are done.
    if (!isAssigned(pod) || isPodTerminal(pod)) return 0;
    const seconds = requestedSeconds ?? pod.spec.terminationGracePeriodSeconds ?? 30;
    return seconds < 0 ? 1 : seconds;
  },
};

/** True for the pod in the API by which a node shows one that its files say. */
export const isMirrorPod = ({ metadata }: Pod): boolean => metadata.annotations?.[configAnnotations.mirror] !== undefined;

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
export type Toleration = DeepReadonly<V1Toleration>;
export type Affinity = DeepReadonly<V1Affinity>;
export type ResourceRequirements = DeepReadonly<V1ResourceRequirements>;

/** Annotations from before their field become the field, which is what agents read. */
function withAppArmorProfiles({ metadata, spec }: Pod): PodSpec {
  const { annotations } = metadata;
  if (annotations === undefined || !Object.keys(annotations).some((key) => key.startsWith(appArmorPrefix))) return spec;
  const completed = (containers: readonly Container[]): readonly Container[] =>
    mapShared(containers, (container) => {
      const profile = appArmorProfileOf(annotations[`${appArmorPrefix}${container.name}`]);
      if (profile === undefined || !isAbsent(container.securityContext?.appArmorProfile)) return container;
      return withField(container, 'securityContext', { ...container.securityContext, appArmorProfile: profile });
    });
  const result = withField(spec, 'containers', completed(spec.containers));
  return isAbsent(spec.initContainers) ? result : withField(result, 'initContainers', completed(spec.initContainers));
}

type AppArmorProfile = NonNullable<NonNullable<Container['securityContext']>['appArmorProfile']>;

function appArmorProfileOf(annotation: string | undefined): AppArmorProfile | undefined {
  if (annotation === 'unconfined') return { type: 'Unconfined' };
  if (annotation === 'runtime/default') return { type: 'RuntimeDefault' };
  const local = 'localhost/';
  return annotation?.startsWith(local) ? { type: 'Localhost', localhostProfile: annotation.slice(local.length) } : undefined;
}

/** The class is set once, at creation; a status without it, as old kubelets write, keeps it. */
function withQosClass(pod: Pod, before: Pod): Pod {
  const qosClass = before.status?.qosClass ?? '';
  return qosClass === '' || (pod.status?.qosClass ?? '') !== '' ? pod : { ...pod, status: { ...pod.status, qosClass } };
}

/** The first of `podIPs` is `podIP`, which older agents write alone; where they contradict each other, it counts. */
function withBothAddresses(pod: Pod): Pod {
  const { podIP = '', podIPs = [] } = pod.status ?? {};
  const first = podIPs[0]?.ip ?? '';
  if (podIP === first) return pod;
  const addresses = podIP === '' ? { podIP: first } : { podIPs: [{ ip: podIP }] };
  return { ...pod, status: { ...pod.status, ...addresses } };
}

function checkPodIPs(errors: FieldError[], podIPs: NonNullable<PodStatus['podIPs']>): void {
  for (const [index, { ip }] of podIPs.entries()) check(errors, `status.podIPs[${index}]`, ip ?? '', ipErrors(ip ?? ''));
  const families = new Set(podIPs.map(({ ip = '' }) => isIP(ip)));
  if (errors.length === 0 && podIPs.length > families.size) {
    const why = 'may specify no more than one IP for each IP family';
    errors.push(
      invalidValue(
        'status.podIPs',
        podIPs.map(({ ip }) => ip),
        why,
      ),
    );
  }
}

function checkPodCreation(errors: FieldError[], { ephemeralContainers, nodeName, schedulingGates }: PodSpec): void {
  if ((ephemeralContainers ?? []).length > 0) errors.push(forbidden('spec.ephemeralContainers', 'cannot be set on create'));
  if ((nodeName ?? '') !== '' && (schedulingGates ?? []).length > 0) {
    errors.push(forbidden('spec.nodeName', 'cannot be set until all schedulingGates have been cleared'));
  }
}

function isPodTerminal(pod: Pod): boolean {
  return pod.status?.phase === 'Succeeded' || pod.status?.phase === 'Failed';
}

function isAssigned({ spec }: Pod): boolean {
  return !isAbsent(spec.nodeName) && spec.nodeName !== '';
}
