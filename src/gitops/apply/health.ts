import type { Deployment } from '../../api/apps/v1/deployment.ts';
import type { ReplicaSet } from '../../api/apps/v1/replica-set.ts';
import type { Job } from '../../api/batch/v1/job.ts';
import type { Pod } from '../../api/core/v1/pod.ts';
import type { Condition } from '../../api/flux.ts';
import { firstProblem, type Health, healthy, jobFailure, podProblem, unreadyReason } from '../../lifecycle/reasons.ts';
import type { KubeObject } from '../../machinery/object.ts';

/** What health rules may look at beside the object itself. */
export interface HealthView {
  /** Pods whose controller is the object, or a ReplicaSet of it. */
  podsOf(object: KubeObject): readonly Pod[];
}

/**
 * Health of an applied object: rules of kstatus and of Argo CD, the stricter of the two. Problems of an object's pods count as its own.
 *
 * @see https://github.com/kubernetes-sigs/cli-utils/blob/master/pkg/kstatus/README.md
 */
export function healthOf(object: KubeObject, view: HealthView): Health {
  if (object.metadata.deletionTimestamp !== undefined) return progressing(`${object.kind} ${object.metadata.name} is being deleted`);
  switch (`${object.kind}.${object.apiVersion}`) {
    case 'Deployment.apps/v1':
      return deploymentHealth(object as Deployment, view);
    case 'ReplicaSet.apps/v1':
      return replicaSetHealth(object as ReplicaSet, view);
    case 'Job.batch/v1':
      return jobHealth(object as Job, view);
    case 'Pod.v1':
      return podHealth(object as Pod);
    case 'Namespace.v1':
      return healthy;
    default:
      return genericHealth(object);
  }
}

const progressing = (reason: string): Health => ({ status: 'Progressing', reason });
const degraded = (reason: string): Health => ({ status: 'Degraded', reason });

/** A pod that is leaving has no say any more. */
const staying = (pods: readonly Pod[]): readonly Pod[] => pods.filter(({ metadata }) => metadata.deletionTimestamp === undefined);

function deploymentHealth(deployment: Deployment, view: HealthView): Health {
  const { spec, status, metadata } = deployment;
  const desired = spec.replicas ?? 1;
  if ((status?.observedGeneration ?? 0) < (metadata.generation ?? 0))
    return progressing(`Deployment ${metadata.name} was changed just now`);
  if (spec.paused === true) return { status: 'Suspended', reason: `Deployment ${metadata.name} is paused` };
  const { updatedReplicas: updated = 0, replicas = 0, availableReplicas: available = 0 } = status ?? {};
  if (updated >= desired && replicas <= updated && replicas <= desired && available >= desired) return healthy;
  const problem = firstProblem(staying(view.podsOf(deployment)));
  if (problem !== undefined) return degraded(problem);
  const condition = status?.conditions?.find(({ type }) => type === 'Progressing');
  if (condition?.status === 'False') return degraded(condition.message ?? `Deployment ${metadata.name} makes no progress`);
  if (updated < desired) return progressing(`${updated} of ${desired} pods updated`);
  if (replicas > updated) return progressing(`${replicas - updated} old ${replicas - updated === 1 ? 'pod leaves' : 'pods leave'}`);
  if (replicas > desired) return progressing(`${replicas - desired} ${replicas - desired === 1 ? 'pod leaves' : 'pods leave'}`);
  return progressing(`${available} of ${desired} pods ready`);
}

function replicaSetHealth(set: ReplicaSet, view: HealthView): Health {
  const desired = set.spec.replicas ?? 1;
  if ((set.status?.observedGeneration ?? 0) < (set.metadata.generation ?? 0))
    return progressing(`ReplicaSet ${set.metadata.name} was changed just now`);
  const available = set.status?.availableReplicas ?? 0;
  if (available >= desired && (set.status?.replicas ?? 0) <= desired) return healthy;
  const problem = firstProblem(staying(view.podsOf(set)));
  return problem === undefined ? progressing(`${available} of ${desired} pods ready`) : degraded(problem);
}

function jobHealth(job: Job, view: HealthView): Health {
  const failure = jobFailure(job);
  if (failure !== undefined) return degraded(failure);
  if (job.status?.conditions?.some(({ type, status }) => type === 'Complete' && status === 'True')) return healthy;
  if (job.spec.suspend === true) return { status: 'Suspended', reason: `Job ${job.metadata.name} is suspended` };
  // A failed pod is tried again by the Job: it is a problem only when the Job gives up, unlike a pod that cannot start at all.
  const problem = firstProblem(staying(view.podsOf(job)).filter(({ status }) => status?.phase !== 'Failed'));
  return problem === undefined ? progressing(`Job ${job.metadata.name} runs`) : degraded(problem);
}

function podHealth(pod: Pod): Health {
  const problem = podProblem(pod);
  if (problem !== undefined) return degraded(problem);
  if (pod.status?.phase === 'Succeeded') return healthy;
  if (pod.status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True')) return healthy;
  return progressing(unreadyReason(pod) ?? `Pod ${pod.metadata.name} starts`);
}

/** Reasons for not being ready that say that the object's turn has not come. */
const waitingReasons: readonly string[] = ['DependencyNotReady', 'ArtifactFailed', 'Progressing', 'ProgressingWithRetry'];

/** Any other kind: what its conditions and its observed generation say, by the conventions of kstatus. */
function genericHealth(object: KubeObject): Health {
  const { status } = object as KubeObject & {
    readonly status?: { readonly observedGeneration?: number; readonly conditions?: readonly Condition[] };
  };
  if (status?.observedGeneration !== undefined && status.observedGeneration < (object.metadata.generation ?? 0)) {
    return progressing(`${object.kind} ${object.metadata.name} was changed just now`);
  }
  const conditions = Array.isArray(status?.conditions) ? status.conditions : [];
  const find = (type: string): Condition | undefined => conditions.find((condition) => condition.type === type);
  const stalled = find('Stalled');
  if (stalled?.status === 'True') return degraded(`${object.kind} ${object.metadata.name}: ${stalled.message ?? stalled.reason ?? ''}`);
  const ready = find('Ready') ?? find('Available');
  if (ready === undefined) {
    const reconciling = find('Reconciling');
    return reconciling?.status === 'True' ? progressing(`${object.kind} ${object.metadata.name}: ${reconciling.message ?? ''}`) : healthy;
  }
  if (ready.status === 'True') return healthy;
  const text = `${object.kind} ${object.metadata.name}: ${ready.message ?? ready.reason ?? ''}`;
  return ready.status === 'False' && !waitingReasons.includes(ready.reason ?? '') ? degraded(text) : progressing(text);
}
