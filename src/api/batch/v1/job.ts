import type {
  Job as V1Job,
  JobCondition as V1JobCondition,
  JobSpec as V1JobSpec,
  JobStatus as V1JobStatus,
} from 'kubernetes-types/batch/v1.d.ts';
import type { KindDefinition } from '../../../machinery/kind.ts';
import type { DeepReadonly, Kube } from '../../../machinery/object.ts';
import { ageColumn, allVerbs, nameColumn } from '../../columns.ts';

export const jobs: KindDefinition<Job> = {
  group: 'batch',
  version: 'v1',
  resource: 'jobs',
  kind: 'Job',
  namespaced: true,
  singular: 'job',
  shortNames: [],
  categories: ['all'],
  schemaName: 'io.k8s.api.batch.v1.Job',
  verbs: allVerbs,
  hasGeneration: true,
  nameRule: 'subdomain',
  subresources: [{ name: 'status', verbs: ['get', 'patch', 'update'] }],
  columns: [nameColumn, ageColumn],
  selectableFields: { 'status.successful': (job) => String(job.status?.succeeded ?? 0) },
  deleteAnswer: 'status',
  shortFieldLabelError: true,
  defaultPropagation: 'Orphan',
};

export type Job = Kube<V1Job> & { readonly spec: JobSpec };
export type JobSpec = DeepReadonly<V1JobSpec>;
export type JobStatus = DeepReadonly<V1JobStatus>;
export type JobCondition = DeepReadonly<V1JobCondition>;
