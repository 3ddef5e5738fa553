import type { CronJob as V1CronJob, CronJobSpec as V1CronJobSpec, CronJobStatus as V1CronJobStatus } from 'kubernetes-types/batch/v1.d.ts';
import { CronError, parseCron } from '../../../machinery/cron.ts';
import type { KindDefinition } from '../../../machinery/kind.ts';
import type { DeepReadonly, Kube } from '../../../machinery/object.ts';
import { describeLabelSelector } from '../../../machinery/selector.ts';
import type { FieldError } from '../../../machinery/status-error.ts';
import { isTimeZone } from '../../../machinery/time-zone.ts';
import { ageColumn, ageOf, allVerbs, nameColumn } from '../../columns.ts';
import { isAbsent, withDefaults, withField } from '../../copy-on-write.ts';
import { defaultPodTemplate } from '../../core/v1/pod-spec-defaults.ts';
import { podWarnings } from '../../core/v1/pod-warnings.ts';
import { invalidValue, required } from '../../field-errors.ts';
import { checkEnum, checkNonNegative } from '../../formats.ts';
import type { JobSpec } from './job.ts';
import { checkJobTemplate } from './job-validation.ts';

/** Jobs get eleven more characters, and their names are labels. */
const maxNameLength = 52;

export const cronJobs: KindDefinition<CronJob> = {
  group: 'batch',
  version: 'v1',
  resource: 'cronjobs',
  kind: 'CronJob',
  namespaced: true,
  singular: 'cronjob',
  shortNames: ['cj'],
  categories: ['all'],
  schemaName: 'io.k8s.api.batch.v1.CronJob',
  verbs: allVerbs,
  hasGeneration: true,
  nameRule: 'subdomain',
  maxNameLength,
  subresources: [{ name: 'status', verbs: ['get', 'patch', 'update'] }],
  columns: [
    nameColumn,
    { name: 'Schedule', type: 'string', description: 'When a job is made.', cell: ({ spec }) => spec.schedule },
    { name: 'Timezone', type: 'string', description: 'Zone of the schedule.', cell: ({ spec }) => spec.timeZone ?? '<none>' },
    {
      name: 'Suspend',
      type: 'boolean',
      description: 'True while no jobs are created.',
      cell: ({ spec }) => (isAbsent(spec.suspend) ? '<unset>' : spec.suspend ? 'True' : 'False'),
    },
    { name: 'Active', type: 'integer', description: 'Jobs that run.', cell: ({ status }) => status?.active?.length ?? 0 },
    {
      name: 'Last Schedule',
      type: 'string',
      description: 'Time since a job was made last.',
      cell: ({ status }, { now }) => (isAbsent(status?.lastScheduleTime) ? '<none>' : ageOf(status.lastScheduleTime, now)),
    },
    ageColumn,
    {
      name: 'Containers',
      type: 'string',
      description: 'Names of the containers.',
      priority: 1,
      cell: ({ spec }) =>
        containersOf(spec)
          .map(({ name }) => name)
          .join(','),
    },
    {
      name: 'Images',
      type: 'string',
      description: 'Images of the containers.',
      priority: 1,
      cell: ({ spec }) =>
        containersOf(spec)
          .map(({ image = '' }) => image)
          .join(','),
    },
    {
      name: 'Selector',
      type: 'string',
      description: 'Label selector of the jobs.',
      priority: 1,
      cell: ({ spec }) => (isAbsent(spec.jobTemplate?.spec?.selector) ? '<none>' : describeLabelSelector(spec.jobTemplate.spec.selector)),
    },
  ],
  selectableFields: {},
  deleteAnswer: 'status',
  defaults: (cronJob, before) =>
    before !== undefined && cronJob.spec === before.spec
      ? cronJob
      : withField(cronJob, 'spec', defaultSpec(cronJob.spec ?? ({} as CronJobSpec))),
  prepareForCreate: (cronJob) => ({ ...cronJob, status: {} }),
  warnings: ({ spec }, before) =>
    spec.jobTemplate === before?.spec.jobTemplate
      ? []
      : podWarnings('spec.jobTemplate.spec.template.', spec.jobTemplate?.spec?.template ?? {}),
  validate: ({ spec }, before) => {
    const errors: FieldError[] = [];
    if (before !== undefined && spec === before.spec) return errors;
    const { schedule = '', startingDeadlineSeconds, timeZone, jobTemplate } = spec;
    if (schedule === '') errors.push(required('spec.schedule'));
    else checkSchedule(errors, schedule);
    checkNonNegative(errors, 'spec.startingDeadlineSeconds', startingDeadlineSeconds);
    if (!isAbsent(timeZone)) checkTimeZone(errors, timeZone);
    checkEnum(errors, 'spec.concurrencyPolicy', spec.concurrencyPolicy, ['Allow', 'Forbid', 'Replace']);
    checkJobTemplate(errors, 'spec.jobTemplate.spec', (jobTemplate?.spec ?? {}) as JobSpec);
    checkNonNegative(errors, 'spec.successfulJobsHistoryLimit', spec.successfulJobsHistoryLimit);
    checkNonNegative(errors, 'spec.failedJobsHistoryLimit', spec.failedJobsHistoryLimit);
    return errors;
  },
};

const containersOf = (spec: CronJobSpec) => spec.jobTemplate?.spec?.template?.spec?.containers ?? [];

function defaultSpec(spec: CronJobSpec): CronJobSpec {
  const result = withDefaults(spec, {
    concurrencyPolicy: 'Allow',
    suspend: false,
    successfulJobsHistoryLimit: 3,
    failedJobsHistoryLimit: 1,
  });
  const job = result.jobTemplate?.spec;
  if (isAbsent(job?.template)) return result;
  return withField(
    result,
    'jobTemplate',
    withField(result.jobTemplate, 'spec', withField(job, 'template', defaultPodTemplate(job.template))),
  );
}

function checkSchedule(errors: FieldError[], schedule: string): void {
  if (schedule.includes('TZ')) {
    const why = 'cannot use TZ or CRON_TZ in schedule, use timeZone field instead';
    errors.push(invalidValue('spec.schedule', schedule, why));
    return;
  }
  try {
    parseCron(schedule);
  } catch (err) {
    if (!(err instanceof CronError)) throw err;
    errors.push(invalidValue('spec.schedule', schedule, err.message));
  }
}

function checkTimeZone(errors: FieldError[], timeZone: string): void {
  const field = 'spec.timeZone';
  if (timeZone === '') errors.push(invalidValue(field, timeZone, 'timeZone must be nil or non-empty string'));
  else if (timeZone.toLowerCase() === 'local') {
    errors.push(invalidValue(field, timeZone, 'timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones'));
  } else if (!isTimeZone(timeZone)) errors.push(invalidValue(field, timeZone, `unknown time zone ${timeZone}`));
}

export type CronJob = Kube<V1CronJob> & { readonly spec: CronJobSpec };
export type CronJobSpec = DeepReadonly<V1CronJobSpec>;
export type CronJobStatus = DeepReadonly<V1CronJobStatus>;
