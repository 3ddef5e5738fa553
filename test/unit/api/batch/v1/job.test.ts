import { describe, expect, it } from 'vitest';
import { type Job, type JobSpec, type JobStatus, jobs } from '../../../../../src/api/batch/v1/job.ts';
import { deepFreeze } from '../../../../../src/machinery/object.ts';
import { writeContext } from '../../../../support/write-context.ts';

const template = { spec: { restartPolicy: 'Never', containers: [{ name: 'c', image: 'host/x:1' }] } };

function created(spec: Partial<JobSpec> = {}): Job {
  const object = { apiVersion: 'batch/v1', kind: 'Job', metadata: { name: 'j', namespace: 'd', uid: 'u-1' }, spec: { template, ...spec } };
  const complete = jobs.defaults?.(object) ?? object;
  return jobs.prepareForCreate?.(complete, writeContext) ?? complete;
}

const fieldsOf = (job: Job, before?: Job) => (jobs.validate?.(job, before) ?? []).map(({ field }) => field);

describe('a new job', () => {
  it('selects its pods by its own uid', () => {
    const { spec, metadata } = created();
    expect(spec.selector).toEqual({ matchLabels: { 'batch.kubernetes.io/controller-uid': 'u-1' } });
    expect(spec.template.metadata?.labels).toMatchObject({ 'batch.kubernetes.io/job-name': 'j', 'job-name': 'j', 'controller-uid': 'u-1' });
    expect(metadata.labels).toEqual(spec.template.metadata?.labels);
    expect(fieldsOf(created())).toEqual([]);
  });

  it('takes no selector of the client unless that is said to be meant', () => {
    const selector = { matchLabels: { app: 'x' } };
    expect(fieldsOf(created({ selector }))).toEqual(['spec.selector']);
    const manual = created({ selector, manualSelector: true, template: { ...template, metadata: { labels: { app: 'x' } } } });
    expect(fieldsOf(manual)).toEqual([]);
    expect(fieldsOf(created({ selector, manualSelector: true }))).toEqual(['spec.template.metadata.labels']);
  });

  it('asks for a restart policy that lets pods end', () => {
    const spec = { ...template.spec, restartPolicy: undefined };
    const errors = jobs.validate?.(created({ template: { spec: JSON.parse(JSON.stringify(spec)) } }));
    expect(errors).toEqual([
      {
        type: 'FieldValueRequired',
        field: 'spec.template.spec.restartPolicy',
        message: 'Required value: valid values: "OnFailure", "Never"',
      },
    ]);
  });

  it('wants one success unless parallelism says otherwise', () => {
    expect(created().spec).toMatchObject({ completions: 1, parallelism: 1, backoffLimit: 6 });
    expect(created({ parallelism: 3 }).spec.completions).toBeUndefined();
    expect(created({ completions: 3 }).spec.parallelism).toBe(1);
  });
});

describe('an Indexed job', () => {
  const messagesOf = (spec: Partial<JobSpec>) => (jobs.validate?.(created(spec)) ?? []).map(({ field, message }) => `${field}: ${message}`);
  const indexed = { completionMode: 'Indexed', completions: 5, parallelism: 5 };
  const rule = (action: string, more: object = { onExitCodes: { operator: 'In', values: [42] } }) => ({
    podFailurePolicy: { rules: [{ action, ...more }] },
  });

  it('may limit failures of each index, and name the indexes that are enough', () => {
    const successPolicy = { rules: [{ succeededIndexes: '0,2-3', succeededCount: 2 }, { succeededCount: 5 }] };
    expect(messagesOf({ ...indexed, backoffLimitPerIndex: 1, maxFailedIndexes: 5, successPolicy, ...rule('FailIndex') })).toEqual([]);
  });

  it.each<[string, Partial<JobSpec>, string]>([
    ['no index', { backoffLimitPerIndex: 1 }, 'spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode'],
    [
      'no limit of an index',
      { ...indexed, maxFailedIndexes: 1 },
      'spec.backoffLimitPerIndex: Required value: when maxFailedIndexes is specified',
    ],
    [
      'more failed indexes than there are',
      { ...indexed, backoffLimitPerIndex: 1, maxFailedIndexes: 6 },
      'spec.maxFailedIndexes: Invalid value: 6: must be less than or equal to completions',
    ],
    [
      'failed indexes without a limit',
      { ...indexed, ...rule('FailIndex') },
      'spec.podFailurePolicy.rules[0].action: Invalid value: "FailIndex": requires the backoffLimitPerIndex to be set',
    ],
    [
      'an empty rule',
      rule('Count', {}),
      'spec.podFailurePolicy.rules[0]: Invalid value: specifying one of OnExitCodes and OnPodConditions is required',
    ],
    [
      'a container that is not there',
      rule('Count', { onExitCodes: { containerName: 'x', operator: 'In', values: [1] } }),
      'spec.podFailurePolicy.rules[0].onExitCodes.containerName: Invalid value: "x": must be one of the container or initContainer names in the pod template',
    ],
    [
      'indexes out of order',
      { ...indexed, successPolicy: { rules: [{ succeededIndexes: '3-1' }] } },
      'spec.successPolicy.rules[0].succeededIndexes: Invalid value: "3-1": error parsing succeededIndexes: non-increasing order, previous: 3, current: 1',
    ],
    [
      'an index that is no completion',
      { ...indexed, successPolicy: { rules: [{ succeededIndexes: '0-9' }] } },
      'spec.successPolicy.rules[0].succeededIndexes: Invalid value: "0-9": error parsing succeededIndexes: too large index: "9"',
    ],
    [
      'more successes than indexes',
      { ...indexed, successPolicy: { rules: [{ succeededIndexes: '0-1', succeededCount: 3 }] } },
      'spec.successPolicy.rules[0].succeededCount: Invalid value: 3: must be less than or equal to 2 (the number of indexes in the specified succeededIndexes field)',
    ],
    [
      'pods replaced before they end',
      { podReplacementPolicy: 'TerminatingOrFailed', ...rule('FailJob') },
      'spec.podReplacementPolicy: Unsupported value: "TerminatingOrFailed": supported values: "Failed"',
    ],
  ])('is refused for %s', (_, spec, message) => {
    expect(messagesOf(spec)).toEqual([message]);
  });
});

describe('an update of a job', () => {
  const stored = deepFreeze(created());
  it('may change parallelism and suspension, not template or completions', () => {
    const update = (spec: Partial<JobSpec>) => fieldsOf({ ...stored, spec: { ...stored.spec, ...spec } }, stored);
    expect(update({ parallelism: 2, suspend: true, backoffLimit: 1 })).toEqual([]);
    expect(update({ completions: 2 })).toEqual(['spec.completions']);
    const labels = { ...stored.spec.template.metadata?.labels, z: '1' };
    expect(update({ template: { ...stored.spec.template, metadata: { labels } } })).toEqual(['spec.template']);
  });

  it('may move a suspended job that never ran', () => {
    const suspended = deepFreeze(created({ suspend: true }));
    const moved = { ...suspended.spec.template, spec: { ...suspended.spec.template.spec, containers: [], nodeSelector: { a: 'b' } } };
    const containers = suspended.spec.template.spec?.containers ?? [];
    const withPods = { ...moved, spec: { ...moved.spec, containers } };
    expect(fieldsOf({ ...suspended, spec: { ...suspended.spec, template: withPods } }, suspended)).toEqual([]);
    const started = { ...suspended, status: { startTime: '2026-01-01T00:00:00Z' } };
    expect(fieldsOf({ ...started, spec: { ...suspended.spec, template: withPods } }, started)).toEqual(['spec.template']);
  });
});

describe('the row of a job', () => {
  const now = Date.parse('2026-01-01T00:01:00Z');
  const row = (status: JobStatus, spec: Partial<JobSpec> = {}) =>
    jobs.columns.slice(1, 4).map((column) => column.cell({ ...created(spec), status }, { now }));
  const startTime = '2026-01-01T00:00:00Z';
  it('shows its state and its duration', () => {
    expect(row({})).toEqual(['Running', '0/1', '']);
    expect(row({ startTime })).toEqual(['Running', '0/1', '60s']);
    const done = { startTime, completionTime: '2026-01-01T00:00:07Z', succeeded: 1 };
    expect(row({ ...done, conditions: [{ type: 'Complete', status: 'True' }] })).toEqual(['Complete', '1/1', '7s']);
    expect(row({ conditions: [{ type: 'Failed', status: 'True' }] })[0]).toBe('Failed');
    expect(row({ conditions: [{ type: 'Suspended', status: 'True' }] })[0]).toBe('Suspended');
    expect(row({ succeeded: 1 }, { parallelism: 3 })[1]).toBe('1/1 of 3');
  });
});
