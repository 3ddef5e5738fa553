import type { Deployment } from '../../api/apps/v1/deployment.ts';
import type { ReplicaSet } from '../../api/apps/v1/replica-set.ts';
import type { Job } from '../../api/batch/v1/job.ts';
import { escapeLabel } from '../../base/series.ts';
import { conditionOf } from '../../machinery/conditions.ts';
import { conditionStatuses, createdAt, type Family, gauge, ownersOf, type Samples, secondsOf } from './family.ts';

export const deploymentFamilies: readonly Family<Deployment>[] = [
  gauge('kube_deployment_created', 'When the deployment was created, in seconds since the epoch.', (samples, deployment) =>
    samples.add(createdAt(deployment)),
  ),
  gauge('kube_deployment_spec_replicas', 'Pods that are wanted.', (samples, { spec }) => samples.add(spec.replicas ?? 1)),
  gauge('kube_deployment_spec_paused', '1 while the rollout is paused.', (samples, { spec }) => samples.add(spec.paused === true ? 1 : 0)),
  gauge('kube_deployment_metadata_generation', 'Generation of the specification.', (samples, { metadata }) =>
    samples.add(metadata.generation),
  ),
  gauge('kube_deployment_status_observed_generation', 'Generation that the controller has seen.', (samples, { status }) =>
    samples.add(status?.observedGeneration ?? 0),
  ),
  gauge('kube_deployment_status_replicas', 'Pods that exist.', (samples, { status }) => samples.add(status?.replicas ?? 0)),
  gauge('kube_deployment_status_replicas_ready', 'Pods that are ready.', (samples, { status }) => samples.add(status?.readyReplicas ?? 0)),
  gauge('kube_deployment_status_replicas_available', 'Pods that have been ready for long enough.', (samples, { status }) =>
    samples.add(status?.availableReplicas ?? 0),
  ),
  gauge('kube_deployment_status_replicas_unavailable', 'Pods that are missing or not available.', (samples, { status }) =>
    samples.add(status?.unavailableReplicas ?? 0),
  ),
  gauge('kube_deployment_status_replicas_updated', 'Pods of the newest template.', (samples, { status }) =>
    samples.add(status?.updatedReplicas ?? 0),
  ),
  gauge('kube_deployment_status_condition', 'Conditions of a deployment.', (samples, { status }) => {
    for (const { type, status: holds, reason = '' } of status?.conditions ?? []) {
      samples.stateSet(
        'status',
        conditionStatuses,
        holds.toLowerCase(),
        `,condition="${escapeLabel(type)}",reason="${escapeLabel(reason)}"`,
      );
    }
  }),
];

export const replicaSetFamilies: readonly Family<ReplicaSet>[] = [
  gauge('kube_replicaset_created', 'When the replica set was created, in seconds since the epoch.', (samples, set) =>
    samples.add(createdAt(set)),
  ),
  gauge('kube_replicaset_owner', 'Owners of a replica set.', ownersOf),
  gauge('kube_replicaset_spec_replicas', 'Pods that are wanted.', (samples, { spec }) => samples.add(spec.replicas ?? 1)),
  gauge('kube_replicaset_status_replicas', 'Pods that exist.', (samples, { status }) => samples.add(status?.replicas ?? 0)),
  gauge('kube_replicaset_status_ready_replicas', 'Pods that are ready.', (samples, { status }) => samples.add(status?.readyReplicas ?? 0)),
];

const jobCondition = (samples: Samples, { status }: Job, type: string): void => {
  const condition = conditionOf(status?.conditions, type);
  if (condition !== undefined) samples.stateSet('condition', conditionStatuses, condition.status.toLowerCase());
};

export const jobFamilies: readonly Family<Job>[] = [
  gauge('kube_job_created', 'When the job was created, in seconds since the epoch.', (samples, job) => samples.add(createdAt(job))),
  gauge('kube_job_owner', 'Owners of a job.', ownersOf),
  gauge('kube_job_spec_completions', 'Pods that must succeed.', (samples, { spec }) => samples.add(spec.completions ?? undefined)),
  gauge('kube_job_status_active', 'Pods that run.', (samples, { status }) => samples.add(status?.active ?? 0)),
  gauge('kube_job_status_succeeded', 'Pods that succeeded.', (samples, { status }) => samples.add(status?.succeeded ?? 0)),
  gauge('kube_job_status_failed', 'Pods that failed.', (samples, { status }) => samples.add(status?.failed ?? 0)),
  gauge('kube_job_complete', '1 when the job is complete.', (samples, job) => jobCondition(samples, job, 'Complete')),
  gauge('kube_job_failed', '1 when the job has failed.', (samples, job) => jobCondition(samples, job, 'Failed')),
  gauge('kube_job_status_start_time', 'When the job started, in seconds since the epoch.', (samples, { status }) =>
    samples.add(secondsOf(status?.startTime)),
  ),
  gauge('kube_job_status_completion_time', 'When the job was complete, in seconds since the epoch.', (samples, { status }) =>
    samples.add(secondsOf(status?.completionTime)),
  ),
];
