import type { DaemonSet } from '../../../api/apps/v1/daemon-set.ts';
import type { Deployment } from '../../../api/apps/v1/deployment.ts';
import type { ReplicaSet } from '../../../api/apps/v1/replica-set.ts';
import type { StatefulSet } from '../../../api/apps/v1/stateful-set.ts';
import type { Job } from '../../../api/batch/v1/job.ts';
import { builtInGroups } from '../../../api/built-in-groups.ts';
import type { PersistentVolume } from '../../../api/core/v1/persistent-volume.ts';
import type { PersistentVolumeClaim } from '../../../api/core/v1/persistent-volume-claim.ts';
import type { Pod } from '../../../api/core/v1/pod.ts';
import type { ReplicationController } from '../../../api/core/v1/replication-controller.ts';
import type { Service } from '../../../api/core/v1/service.ts';
import type { Condition } from '../../../api/flux.ts';
import type { Ingress } from '../../../api/networking/v1/ingress.ts';
import { volumeAnnotations } from '../../../api/well-known.ts';
import type { DiscoveredResource } from '../../../client/client.ts';
import {
  firstProblem,
  type Health,
  healthy,
  jobFailure,
  podProblem,
  schedulingDeadline,
  unreadyReason,
} from '../../../lifecycle/reasons.ts';
import { desiredReplicas, updatedReplicasWanted } from '../../../lifecycle/stateful-set.facts.ts';
import type { KubeObject } from '../../../machinery/object.ts';
import { parseApiVersion } from '../../../machinery/resource.ts';
import { type KindRule, ruleOf } from './health-rules.ts';
import { type PodsView, podGenerations } from './pod-generations.ts';

/** Rules for the objects of one app: those of their kinds, and the app's own. */
export interface HealthRules {
  healthOf(object: KubeObject): Health;
}

/** Input of health rules besides the object itself. */
export interface HealthView extends PodsView {
  /** Milliseconds since the epoch. */
  now(): number;
  /** True when a controller is to write the status of objects of this kind. Absent: no kind is known to have one. */
  readonly awaitsStatus?: ((object: KubeObject) => boolean) | undefined;
  /** Says that nothing in the object's cluster acts on it; undefined when something does. Absent: something acts on all objects. */
  readonly noControllerText?: ((object: KubeObject) => string | undefined) | undefined;
  /** `healthByRule`, which comes with a compiler: absent in a cluster without kinds that have rules. */
  readonly healthByRule?: ((object: KubeObject, rule: KindRule) => Health) | undefined;
}

const isFluxGroup = (group: string): boolean => group.endsWith('toolkit.fluxcd.io');

/** Makes `HealthView.awaitsStatus` of what discovery says: custom kinds whose status is a subresource of its own. */
export function awaitsStatusIn(resources: readonly DiscoveredResource[]): (object: KubeObject) => boolean {
  const kinds = new Set(
    resources.filter(({ subresources }) => subresources.includes('status')).map(({ group, kind }) => `${group}/${kind}`),
  );
  return ({ apiVersion, kind }) => {
    const { group } = parseApiVersion(apiVersion);
    return kinds.has(`${group}/${kind}`) && !builtInGroups.has(group);
  };
}

/**
 * Health of an applied object: rules of kstatus and of Argo CD, the stricter of the two. Problems of an object's pods count as its own.
 *
 * @see https://github.com/kubernetes-sigs/cli-utils/blob/master/pkg/kstatus/README.md
 */
export function healthOf(object: KubeObject, view: HealthView): Health {
  if (object.metadata.deletionTimestamp !== undefined) return progressing(`${object.kind} ${object.metadata.name} is being deleted`);
  const noController = view.noControllerText?.(object);
  if (noController !== undefined) return { status: 'NoController', reason: noController };
  switch (`${object.kind}.${object.apiVersion}`) {
    case 'Deployment.apps/v1':
      return untilScheduled(deploymentHealth(object as Deployment, view), podGenerations(object, view).judged, view);
    case 'ReplicaSet.apps/v1':
    case 'ReplicationController.v1':
      return untilScheduled(replicaSetHealth(object as ReplicaSet | ReplicationController, view), view.podsOf(object), view);
    case 'StatefulSet.apps/v1':
      return untilScheduled(statefulSetHealth(object as StatefulSet, view), view.podsOf(object), view);
    case 'DaemonSet.apps/v1':
      return untilScheduled(daemonSetHealth(object as DaemonSet, view), podGenerations(object, view).judged, view);
    case 'Job.batch/v1':
      return untilScheduled(jobHealth(object as Job, view), view.podsOf(object), view);
    case 'Pod.v1':
      return untilScheduled(podHealth(object as Pod, view), [object as Pod], view);
    case 'Service.v1':
      return serviceHealth(object as Service);
    case 'Ingress.networking.k8s.io/v1':
      return ingressHealth(object as Ingress);
    case 'PersistentVolumeClaim.v1':
      return claimHealth(object as PersistentVolumeClaim, view);
    case 'PersistentVolume.v1':
      return volumeHealth(object as PersistentVolume);
    case 'CustomResourceDefinition.apiextensions.k8s.io/v1':
      return definitionHealth(object as Conditioned);
    case 'APIService.apiregistration.k8s.io/v1':
      return apiServiceHealth(object as Conditioned);
    case 'HorizontalPodAutoscaler.autoscaling/v2':
      return autoscalerHealth(object as Conditioned);
    // Conditions of others about these kinds are no failure of the object in Git.
    case 'Namespace.v1':
    case 'PodDisruptionBudget.policy/v1':
    case 'CronJob.batch/v1':
      return healthy;
    default:
      return genericHealth(object, view);
  }
}

const progressing = (reason: string): Health => ({ status: 'Progressing', reason });
const degraded = (reason: string): Health => ({ status: 'Degraded', reason });

const isBehind = (object: KubeObject, observed = 0): boolean => observed < (object.metadata.generation ?? 0);
const changed = ({ kind, metadata }: KubeObject): Health => progressing(`${kind} ${metadata.name} was changed just now`);

/** Pods that leave count no more, and one without a node only when it has had none for a while. */
const settled = (pods: readonly Pod[], { now }: HealthView): readonly Pod[] =>
  pods.filter((pod) => pod.metadata.deletionTimestamp === undefined && schedulingDeadline(pod, now()) === undefined);

/** Makes an object on its way be judged again when a pod without a node has had its time. */
function untilScheduled(health: Health, pods: readonly Pod[], { now }: HealthView): Health {
  if (health.status !== 'Progressing') return health;
  const recheckAt = Math.min(...pods.map((pod) => schedulingDeadline(pod, now()) ?? Number.POSITIVE_INFINITY));
  return Number.isFinite(recheckAt) ? { ...health, recheckAt } : health;
}

/** A quota or an admission plugin refuses pods; its sentence begins with the name of a pod that never was. */
function replicaFailure(object: Conditioned): Health | undefined {
  const failure = conditionIn(object, 'ReplicaFailure');
  if (failure?.status !== 'True') return undefined;
  return degraded(
    `${object.kind} ${object.metadata.name} cannot make its pods: ${(failure.message ?? failure.reason ?? '').replace(/^pods "[^"]*" is forbidden: /, '')}`,
  );
}

function deploymentHealth(deployment: Deployment, view: HealthView): Health {
  const { spec, status, metadata } = deployment;
  const desired = spec.replicas ?? 1;
  if (isBehind(deployment, status?.observedGeneration)) return changed(deployment);
  if (spec.paused === true) return { status: 'Suspended', reason: `Deployment ${metadata.name} is paused` };
  const { updatedReplicas: updated = 0, replicas = 0, availableReplicas: available = 0 } = status ?? {};
  if (updated >= desired && replicas <= updated && replicas <= desired && available >= desired) return healthy;
  const refused = replicaFailure(deployment as Conditioned);
  if (refused !== undefined) return refused;
  const problem = firstProblem(settled(podGenerations(deployment, view).judged, view));
  if (problem !== undefined) return degraded(problem);
  const condition = status?.conditions?.find(({ type }) => type === 'Progressing');
  if (condition?.status === 'False') return degraded(condition.message ?? `Deployment ${metadata.name} makes no progress`);
  if (updated < desired) return progressing(`${updated} of ${desired} pods updated`);
  if (replicas > updated) return progressing(`${replicas - updated} old ${replicas - updated === 1 ? 'pod leaves' : 'pods leave'}`);
  if (replicas > desired) return progressing(`${replicas - desired} ${replicas - desired === 1 ? 'pod leaves' : 'pods leave'}`);
  return progressing(`${available} of ${desired} pods ready`);
}

function replicaSetHealth(set: ReplicaSet | ReplicationController, view: HealthView): Health {
  const desired = set.spec?.replicas ?? 1;
  if (isBehind(set, set.status?.observedGeneration)) return changed(set);
  const available = set.status?.availableReplicas ?? 0;
  if (available >= desired && (set.status?.replicas ?? 0) <= desired) return healthy;
  const refused = replicaFailure(set as Conditioned);
  if (refused !== undefined) return refused;
  const problem = firstProblem(settled(view.podsOf(set), view));
  return problem === undefined ? progressing(`${available} of ${desired} pods ready`) : degraded(problem);
}

function statefulSetHealth(set: StatefulSet, view: HealthView): Health {
  const { status } = set;
  const desired = desiredReplicas(set);
  if (isBehind(set, status?.observedGeneration)) return changed(set);
  const { replicas = 0, readyReplicas = 0, updatedReplicas: updated = 0 } = status ?? {};
  // Absent before Kubernetes 1.22.
  const ready = status?.availableReplicas ?? readyReplicas;
  // Pods below the partition stay as they are; with OnDelete a person replaces them.
  const wanted = updatedReplicasWanted(set);
  if (replicas === desired && ready >= desired && updated >= wanted) return healthy;
  const problem = firstProblem(settled(view.podsOf(set), view));
  if (problem !== undefined) return degraded(problem);
  if (replicas > desired) return progressing(`${replicas - desired} ${replicas - desired === 1 ? 'pod leaves' : 'pods leave'}`);
  return progressing(updated < wanted ? `${updated} of ${wanted} pods updated` : `${ready} of ${desired} pods ready`);
}

function daemonSetHealth(set: DaemonSet, view: HealthView): Health {
  const { spec, status } = set;
  if (isBehind(set, status?.observedGeneration)) return changed(set);
  const { desiredNumberScheduled: desired = 0, numberAvailable: available = 0 } = status ?? {};
  const updated = spec?.updateStrategy?.type === 'OnDelete' ? desired : (status?.updatedNumberScheduled ?? 0);
  if (updated >= desired && available >= desired) return healthy;
  const problem = firstProblem(settled(podGenerations(set, view).judged, view));
  if (problem !== undefined) return degraded(problem);
  return progressing(updated < desired ? `${updated} of ${desired} pods updated` : `${available} of ${desired} pods ready`);
}

function serviceHealth(service: Service): Health {
  if (service.spec?.type !== 'LoadBalancer' || (service.status?.loadBalancer?.ingress ?? []).length > 0) return healthy;
  return progressing(`Service ${service.metadata.name} has no address of a load balancer yet`);
}

function ingressHealth(ingress: Ingress): Health {
  if ((ingress.status?.loadBalancer?.ingress ?? []).length > 0) return healthy;
  return progressing(`Ingress ${ingress.metadata.name} has no address yet`);
}

/** By then somebody was asked for a volume, if anybody will be before a pod uses the claim. */
const claimGraceMs = 15_000;

/**
 * A claim of a class that waits for its first pod has no volume until then. Nothing is wrong with it, and the pod says what is wrong
 * later.
 */
function claimHealth(
  { metadata: { name, annotations, creationTimestamp }, spec, status }: PersistentVolumeClaim,
  { now }: HealthView,
): Health {
  if (status?.phase === 'Bound') return healthy;
  if (status?.phase === 'Lost') return degraded(`PersistentVolumeClaim ${name} has lost its volume`);
  const waiting = progressing(`PersistentVolumeClaim ${name} waits for a volume`);
  const { storageProvisioner, selectedNode } = volumeAnnotations;
  const isAsked = annotations?.[storageProvisioner] !== undefined || annotations?.[selectedNode] !== undefined;
  const { storageClassName = '', volumeName = '' } = spec ?? {};
  if (isAsked || storageClassName === '' || volumeName !== '' || creationTimestamp === undefined) return waiting;
  const recheckAt = Date.parse(creationTimestamp) + claimGraceMs;
  return now() < recheckAt ? { ...waiting, recheckAt } : healthy;
}

function volumeHealth({ metadata: { name }, status }: PersistentVolume): Health {
  return status?.phase === 'Failed' ? degraded(`PersistentVolume ${name}: ${status.message ?? 'could not be reclaimed'}`) : healthy;
}

type Conditioned = KubeObject & {
  readonly status?: { readonly observedGeneration?: number; readonly conditions?: readonly Condition[] };
};

const conditionIn = ({ status }: Conditioned, type: string): Condition | undefined =>
  (Array.isArray(status?.conditions) ? status.conditions : []).find((condition) => condition.type === type);

function definitionHealth(definition: Conditioned): Health {
  const { name } = definition.metadata;
  const accepted = conditionIn(definition, 'NamesAccepted');
  if (accepted?.status === 'False') return degraded(`CustomResourceDefinition ${name}: ${accepted.message}`);
  const established = conditionIn(definition, 'Established');
  if (established?.status === 'True') return healthy;
  // As in kstatus: one that is refused for another reason than that it is being installed stays so.
  if (established?.status === 'False' && established.reason !== 'Installing')
    return degraded(`CustomResourceDefinition ${name}: ${established.message ?? established.reason ?? ''}`);
  return progressing(`CustomResourceDefinition ${name} is not established yet`);
}

function apiServiceHealth(service: Conditioned): Health {
  const available = conditionIn(service, 'Available');
  if (available?.status === 'True') return healthy;
  return progressing(`APIService ${service.metadata.name}: ${available?.message ?? 'not looked at yet'}`);
}

/** A metric that cannot be had for a moment is normal; a target that is not there is not. */
const autoscalerFailures: readonly string[] = ['FailedGetScale', 'FailedUpdateScale', 'InvalidSelector', 'InvalidMetricSourceType'];

function autoscalerHealth(autoscaler: Conditioned): Health {
  for (const type of ['AbleToScale', 'ScalingActive']) {
    const condition = conditionIn(autoscaler, type);
    if (condition?.status === 'False' && autoscalerFailures.includes(condition.reason ?? ''))
      return degraded(`HorizontalPodAutoscaler ${autoscaler.metadata.name}: ${condition.message}`);
  }
  return healthy;
}

function jobHealth(job: Job, view: HealthView): Health {
  const failure = jobFailure(job);
  if (failure !== undefined) return degraded(failure);
  if (job.status?.conditions?.some(({ type, status }) => type === 'Complete' && status === 'True')) return healthy;
  if (job.spec.suspend === true) return { status: 'Suspended', reason: `Job ${job.metadata.name} is suspended` };
  // The Job tries a failed pod again, so it is a problem only when the Job gives up. A pod that cannot start is one at once.
  const problem = firstProblem(settled(view.podsOf(job), view).filter(({ status }) => status?.phase !== 'Failed'));
  return problem === undefined ? progressing(`Job ${job.metadata.name} runs`) : degraded(problem);
}

function podHealth(pod: Pod, { now }: HealthView): Health {
  const problem = schedulingDeadline(pod, now()) === undefined ? podProblem(pod) : undefined;
  if (problem !== undefined) return degraded(problem);
  if (pod.status?.phase === 'Succeeded') return healthy;
  if (pod.status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True')) return healthy;
  return progressing(unreadyReason(pod) ?? `Pod ${pod.metadata.name} starts`);
}

/** Reasons for which an object of Flux that is not ready waits for another. */
const waitingReasons: readonly string[] = ['DependencyNotReady', 'ArtifactFailed', 'Progressing', 'ProgressingWithRetry'];

/** `Ready=False` means by convention that the work is not done; these reasons mean that it failed. */
const failureReason = /(?:Failed|Failure|Error|Invalid|Denied|Forbidden|NotSupported)$|^(?:Err|Invalid|Failed)[A-Z]/;

function isFailure({ apiVersion }: KubeObject, reason = ''): boolean {
  if (waitingReasons.includes(reason)) return false;
  return isFluxGroup(parseApiVersion(apiVersion).group) || failureReason.test(reason);
}

/** So long an object without a status waits for its controller; one whose controller writes none is healthy from then on. */
const statusGraceMs = 5_000;

/** Any other kind: by its rule, or what its conditions and its observed generation say by the conventions of kstatus. */
function genericHealth(object: KubeObject, view: HealthView): Health {
  const { status } = object as Conditioned;
  const what = `${object.kind} ${object.metadata.name}`;
  const rule = ruleOf(object);
  if (status === undefined || Object.keys(status).length === 0) {
    // A controller that is known to write a status has not come by yet.
    if (rule !== undefined && rule.mayLackStatus !== true) return progressing(`${what} waits for its controller`);
    const deadline = view.awaitsStatus?.(object) === true ? statusDeadline(object, view.now()) : undefined;
    return deadline === undefined ? healthy : { ...progressing(`${what} waits for its controller`), recheckAt: deadline };
  }
  if (typeof status.observedGeneration === 'number' && isBehind(object, status.observedGeneration)) return changed(object);
  if (rule !== undefined && view.healthByRule !== undefined) return view.healthByRule(object, rule);
  const find = (type: string): Condition | undefined => conditionIn(object, type);
  const stalled = find('Stalled');
  if (stalled?.status === 'True') return degraded(`${what}: ${stalled.message ?? stalled.reason ?? ''}`);
  const reconciling = find('Reconciling');
  if (reconciling?.status === 'True') return progressing(`${what}: ${reconciling.message ?? ''}`);
  const ready = find('Ready') ?? find('Available');
  if (ready === undefined || ready.status === 'True') return healthy;
  const text = `${what}: ${ready.message ?? ready.reason ?? ''}`;
  return ready.status === 'False' && isFailure(object, ready.reason) ? degraded(text) : progressing(text);
}

function statusDeadline({ metadata }: KubeObject, now: number): number | undefined {
  const made = Date.parse(metadata.creationTimestamp ?? '');
  // One that was made in the future was made by another clock.
  return now >= made && now < made + statusGraceMs ? made + statusGraceMs : undefined;
}
