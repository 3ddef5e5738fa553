import type {
  Job as V1Job,
  JobCondition as V1JobCondition,
  JobSpec as V1JobSpec,
  JobStatus as V1JobStatus,
} from 'kubernetes-types/batch/v1.d.ts';
import { isConditionTrue } from '../../../machinery/conditions.ts';
import type { KindDefinition } from '../../../machinery/kind.ts';
import type { DeepReadonly, Kube } from '../../../machinery/object.ts';
import { ageColumn, allVerbs, durationText, nameColumn } from '../../columns.ts';
import { isAbsent, withDefaults, withField } from '../../copy-on-write.ts';
import { defaultPodTemplate } from '../../core/v1/pod-spec-defaults.ts';
import { podPrefixWarnings, podWarnings } from '../../core/v1/pod-warnings.ts';
import { labels as wellKnownLabels } from '../../well-known.ts';
import { workloadColumns } from '../../workload.ts';
import { validateJob } from './job-validation.ts';

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
  labelsFromTemplate: true,
  nameRule: 'subdomain',
  subresources: [{ name: 'status', verbs: ['get', 'patch', 'update'] }],
  columns: [
    nameColumn,
    { name: 'Status', type: 'string', description: 'State of the job.', cell: statusOf },
    { name: 'Completions', type: 'string', description: 'Succeeded pods and wanted successes.', cell: completionsOf },
    { name: 'Duration', type: 'string', description: 'Time from start to completion.', cell: (job, { now }) => durationOf(job, now) },
    ageColumn,
    ...workloadColumns,
  ],
  selectableFields: { 'status.successful': (job) => String(job.status?.succeeded ?? 0) },
  deleteAnswer: 'status',
  shortFieldLabelError: true,
  defaultPropagation: 'Orphan',
  defaults: (job, before) =>
    before !== undefined && job.spec === before.spec ? job : withField(job, 'spec', defaultSpec(job.spec ?? ({} as JobSpec))),
  prepareForCreate: (job) => withGeneratedSelector({ ...job, status: {} }),
  warnings: (job, before) => {
    const { metadata, spec } = job;
    const named = before === undefined ? podPrefixWarnings(metadata.name) : [];
    return spec.template === before?.spec.template ? named : [...named, ...podWarnings('spec.template.', spec.template ?? {})];
  },
  validate: validateJob,
};

function defaultSpec(spec: JobSpec): JobSpec {
  const counts = isAbsent(spec.completions) && isAbsent(spec.parallelism) ? { completions: 1, parallelism: 1 } : { parallelism: 1 };
  const result = withDefaults(spec, {
    ...counts,
    backoffLimit: isAbsent(spec.backoffLimitPerIndex) ? 6 : 2147483647,
    completionMode: 'NonIndexed',
    suspend: false,
    manualSelector: false,
    podReplacementPolicy: isAbsent(spec.podFailurePolicy) ? 'TerminatingOrFailed' : 'Failed',
  });
  return isAbsent(result.template) ? result : withField(result, 'template', defaultPodTemplate(result.template));
}

/**
 * A job selects its pods by its own uid, which no other pod carries, unless the client manages the selector. Validation
 * refuses a selector that a client sets without managing it.
 */
function withGeneratedSelector(job: Job): Job {
  const { spec, metadata } = job;
  const { uid = '', name } = metadata;
  if (spec.manualSelector === true || isAbsent(spec.template)) return job;
  const generated = {
    [wellKnownLabels.controllerUid]: uid,
    [wellKnownLabels.jobName]: name,
    [wellKnownLabels.legacyControllerUid]: uid,
    [wellKnownLabels.legacyJobName]: name,
  };
  const { template } = spec;
  const labels = { ...template.metadata?.labels, ...generated };
  return {
    ...job,
    metadata: Object.keys(metadata.labels ?? {}).length === 0 ? { ...metadata, labels } : metadata,
    spec: {
      ...spec,
      selector: spec.selector ?? { matchLabels: { [wellKnownLabels.controllerUid]: uid } },
      template: { ...template, metadata: { ...template.metadata, labels } },
    },
  };
}

const statusConditions = ['Suspended', 'FailureTarget', 'SuccessCriteriaMet'] as const;

function statusOf(job: Job): string {
  const isTrue = (type: string): boolean => isConditionTrue(job.status?.conditions, type);
  if (isTrue('Complete')) return 'Complete';
  if (isTrue('Failed')) return 'Failed';
  if (job.metadata.deletionTimestamp !== undefined) return 'Terminating';
  return statusConditions.find(isTrue) ?? 'Running';
}

function completionsOf({ spec, status }: Job): string {
  const succeeded = status?.succeeded ?? 0;
  if (!isAbsent(spec.completions)) return `${succeeded}/${spec.completions}`;
  const parallelism = spec.parallelism ?? 0;
  return parallelism > 1 ? `${succeeded}/1 of ${parallelism}` : `${succeeded}/1`;
}

function durationOf({ status }: Job, now: number): string {
  if (status?.startTime === undefined) return '';
  const end = status.completionTime === undefined ? now : Date.parse(status.completionTime);
  return durationText(end - Date.parse(status.startTime));
}

export type Job = Kube<V1Job> & { readonly spec: JobSpec };
export type JobSpec = DeepReadonly<V1JobSpec>;
export type JobStatus = DeepReadonly<V1JobStatus>;
export type JobCondition = DeepReadonly<V1JobCondition>;
