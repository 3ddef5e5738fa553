import { IndexSetError, parseIndexSet, sizeOf } from '../../../machinery/index-set.ts';
import { deepEqual } from '../../../machinery/object.ts';
import { compileLabelSelector } from '../../../machinery/selector.ts';
import type { FieldError } from '../../../machinery/status-error.ts';
import { isAbsent } from '../../copy-on-write.ts';
import type { PodTemplateSpec } from '../../core/v1/pod.ts';
import { checkPodTemplate } from '../../core/v1/pod-spec-validation.ts';
import { duplicate, immutable, immutableStruct, invalidValue, notSupported, required, tooMany } from '../../field-errors.ts';
import { checkEnum, checkLabelSelector, checkNonNegative } from '../../formats.ts';
import { labels as wellKnownLabels } from '../../well-known.ts';
import type { Job, JobSpec } from './job.ts';

const maxIndexed = 100_000;

const nonNegativeFields = [
  'parallelism',
  'completions',
  'activeDeadlineSeconds',
  'backoffLimit',
  'ttlSecondsAfterFinished',
  'backoffLimitPerIndex',
  'maxFailedIndexes',
] as const;

/** A Job of more completions has lower bounds on what its status lists. */
const manyCompletions = 100_000;
const maxFailedOfMany = 10_000;

export function validateJob(job: Job, before?: Job): readonly FieldError[] {
  const errors: FieldError[] = [];
  const { spec } = job;
  if (before !== undefined && spec === before.spec) return errors;
  checkSelector(errors, job);
  checkSpec(errors, 'spec', spec);
  if (before !== undefined) checkUpdate(errors, job, before);
  return errors;
}

/** The spec of Jobs that are yet to be made: their selector will be the server's. */
export function checkJobTemplate(errors: FieldError[], field: string, spec: JobSpec): void {
  if (!isAbsent(spec.selector)) {
    errors.push(invalidValue(`${field}.selector`, spec.selector, '`selector` will be auto-generated'));
  }
  if (spec.manualSelector === true) {
    errors.push(notSupported(`${field}.manualSelector`, spec.manualSelector, ['nil', 'false']));
  }
  checkSpec(errors, field, spec);
}

function checkSpec(errors: FieldError[], field: string, spec: JobSpec): void {
  for (const name of nonNegativeFields) checkNonNegative(errors, `${field}.${name}`, spec[name]);
  if (!isAbsent(spec.maxFailedIndexes) && isAbsent(spec.backoffLimitPerIndex)) {
    errors.push(required(`${field}.backoffLimitPerIndex`, 'when maxFailedIndexes is specified'));
  }
  checkCompletionMode(errors, field, spec);
  if (spec.completionMode === 'Indexed') checkIndexed(errors, field, spec);
  else checkNotIndexed(errors, field, spec);
  if (!isAbsent(spec.podReplacementPolicy)) {
    // A pod that is not over has no exit code that a policy could look at.
    const policies = isAbsent(spec.podFailurePolicy) ? ['Failed', 'TerminatingOrFailed'] : ['Failed'];
    checkEnum(errors, `${field}.podReplacementPolicy`, spec.podReplacementPolicy, policies);
  }
  checkPodFailurePolicy(errors, `${field}.podFailurePolicy`, spec);
  if (isAbsent(spec.template)) errors.push(required(`${field}.template`));
  else checkTemplate(errors, `${field}.template`, spec.template, spec);
}

const maxRules = 20;
const maxExitCodes = 255;
const failureActions = ['Count', 'FailIndex', 'FailJob', 'Ignore'];

function checkPodFailurePolicy(errors: FieldError[], field: string, spec: JobSpec): void {
  const { rules = [] } = spec.podFailurePolicy ?? {};
  if (rules.length > maxRules) errors.push(tooMany(`${field}.rules`, rules.length, maxRules));
  for (const [index, rule] of rules.entries()) {
    const at = `${field}.rules[${index}]`;
    const { action = '', onExitCodes } = rule;
    if (action === '') errors.push(required(`${at}.action`, 'valid values: "Count", "FailIndex", "FailJob", "Ignore"'));
    else if (!failureActions.includes(action)) errors.push(notSupported(`${at}.action`, action, failureActions));
    else if (action === 'FailIndex' && isAbsent(spec.backoffLimitPerIndex)) {
      errors.push(invalidValue(`${at}.action`, action, 'requires the backoffLimitPerIndex to be set'));
    }
    const conditions = rule.onPodConditions ?? [];
    if (!isAbsent(onExitCodes)) checkExitCodes(errors, `${at}.onExitCodes`, onExitCodes, spec);
    if (!isAbsent(onExitCodes) && conditions.length > 0) {
      errors.push(invalidRule(at, 'specifying both OnExitCodes and OnPodConditions is not supported'));
    } else if (isAbsent(onExitCodes) && conditions.length === 0) {
      errors.push(invalidRule(at, 'specifying one of OnExitCodes and OnPodConditions is required'));
    }
  }
}

/** The value is left out, since it would be the whole rule. */
const invalidRule = (field: string, why: string): FieldError => ({ type: 'FieldValueInvalid', field, message: `Invalid value: ${why}` });

type FailureRule = NonNullable<JobSpec['podFailurePolicy']>['rules'][number];

/** Exit codes are looked up in their order, and 0 is no failure. */
function checkExitCodes(errors: FieldError[], field: string, requirement: NonNullable<FailureRule['onExitCodes']>, spec: JobSpec): void {
  const { values = [], operator = '', containerName } = requirement;
  if (operator === '') errors.push(required(`${field}.operator`, 'valid values: "In", "NotIn"'));
  else if (operator !== 'In' && operator !== 'NotIn') errors.push(notSupported(`${field}.operator`, operator, ['In', 'NotIn']));
  const { containers = [], initContainers = [] } = spec.template?.spec ?? {};
  if (!isAbsent(containerName) && ![...containers, ...initContainers].some(({ name }) => name === containerName)) {
    const why = 'must be one of the container or initContainer names in the pod template';
    errors.push(invalidValue(`${field}.containerName`, containerName, why));
  }
  const at = `${field}.values`;
  if (values.length === 0) errors.push(invalidValue(at, values, 'at least one value is required'));
  else if (values.length > maxExitCodes) errors.push(tooMany(at, values.length, maxExitCodes));
  for (const [place, value] of values.entries()) {
    if (values.indexOf(value) !== place) errors.push(duplicate(`${at}[${place}]`, value));
    if (operator === 'In' && value === 0) errors.push(invalidValue(`${at}[${place}]`, value, 'must not be 0 for the In operator'));
  }
  if (values.some((value, place) => value < (values[place - 1] ?? value))) errors.push(invalidValue(at, values, 'must be ordered'));
}

function checkSuccessPolicy(errors: FieldError[], field: string, { successPolicy, completions }: JobSpec): void {
  if (isAbsent(successPolicy)) return;
  const { rules = [] } = successPolicy;
  if (rules.length === 0) errors.push(required(`${field}.rules`, 'at least one rules must be specified'));
  else if (rules.length > maxRules) errors.push(tooMany(`${field}.rules`, rules.length, maxRules));
  for (const [index, { succeededCount, succeededIndexes }] of rules.entries()) {
    const at = `${field}.rules[${index}]`;
    if (isAbsent(succeededCount) && isAbsent(succeededIndexes)) {
      errors.push(required(at, 'at least one of succeededCount or succeededIndexes must be specified'));
    }
    let total = completions ?? 0;
    let ofWhat = 'the number of specified completions';
    if (!isAbsent(succeededIndexes)) {
      try {
        const indexes = parseIndexSet(succeededIndexes, Number.POSITIVE_INFINITY);
        const tooLarge = indexes.flat().find((index) => index >= (completions ?? 0));
        if (tooLarge !== undefined) throw new IndexSetError(`too large index: "${tooLarge}"`);
        total = sizeOf(indexes);
        ofWhat = 'the number of indexes in the specified succeededIndexes field';
      } catch (err) {
        if (!(err instanceof IndexSetError)) throw err;
        errors.push(invalidValue(`${at}.succeededIndexes`, succeededIndexes, `error parsing succeededIndexes: ${err.message}`));
      }
    }
    if (isAbsent(succeededCount)) continue;
    checkNonNegative(errors, `${at}.succeededCount`, succeededCount);
    if (succeededCount > total) {
      errors.push(invalidValue(`${at}.succeededCount`, succeededCount, `must be less than or equal to ${total} (${ofWhat})`));
    }
  }
}

function checkCompletionMode(errors: FieldError[], field: string, { completionMode, completions, parallelism = 1 }: JobSpec): void {
  if (isAbsent(completionMode)) return;
  if (completionMode !== 'NonIndexed' && completionMode !== 'Indexed') {
    errors.push(notSupported(`${field}.completionMode`, completionMode, ['Indexed', 'NonIndexed']));
  } else if (completionMode === 'Indexed') {
    if (isAbsent(completions)) errors.push(required(`${field}.completions`, 'when completion mode is Indexed'));
    if (parallelism > maxIndexed) {
      errors.push(
        invalidValue(`${field}.parallelism`, parallelism, `must be less than or equal to ${maxIndexed} when completion mode is Indexed`),
      );
    }
  }
}

function checkIndexed(errors: FieldError[], field: string, spec: JobSpec): void {
  const { completions = 0, parallelism = 1, maxFailedIndexes, backoffLimitPerIndex } = spec;
  if (!isAbsent(maxFailedIndexes)) {
    const at = `${field}.maxFailedIndexes`;
    if (maxFailedIndexes > completions) errors.push(invalidValue(at, maxFailedIndexes, 'must be less than or equal to completions'));
    if (maxFailedIndexes > maxIndexed) errors.push(invalidValue(at, maxFailedIndexes, `must be less than or equal to ${maxIndexed}`));
  }
  if (completions > manyCompletions && !isAbsent(backoffLimitPerIndex)) {
    const why = `must be less than or equal to ${maxFailedOfMany} when completions are above ${manyCompletions} and used with backoff limit per index`;
    if (isAbsent(maxFailedIndexes)) {
      errors.push(required(`${field}.maxFailedIndexes`, `must be specified when completions is above ${manyCompletions}`));
    } else if (maxFailedIndexes > maxFailedOfMany) errors.push(invalidValue(`${field}.maxFailedIndexes`, maxFailedIndexes, why));
    if (parallelism > maxFailedOfMany) errors.push(invalidValue(`${field}.parallelism`, parallelism, why));
  }
  checkSuccessPolicy(errors, `${field}.successPolicy`, spec);
}

function checkNotIndexed(errors: FieldError[], field: string, spec: JobSpec): void {
  for (const name of ['backoffLimitPerIndex', 'maxFailedIndexes', 'successPolicy'] as const) {
    if (!isAbsent(spec[name])) errors.push(invalidValue(`${field}.${name}`, spec[name], 'requires indexed completion mode'));
  }
}

function checkSelector(errors: FieldError[], { spec, metadata }: Job): void {
  const { selector, template, manualSelector } = spec;
  if (isAbsent(selector)) {
    errors.push(required('spec.selector'));
    return;
  }
  const before = errors.length;
  checkLabelSelector(errors, 'spec.selector', selector);
  if (errors.length > before) return;
  if (manualSelector !== true) {
    const { controllerUid } = wellKnownLabels;
    if (!deepEqual(selector, { matchLabels: { [controllerUid]: metadata.uid } }) && !isLegacySelector(selector, metadata.uid)) {
      errors.push(invalidValue('spec.selector', selector, '`selector` not auto-generated'));
      return;
    }
  }
  const labels = template?.metadata?.labels;
  if (!compileLabelSelector(selector).matches(labels)) {
    errors.push(invalidValue('spec.template.metadata.labels', labels, '`selector` does not match template `labels`'));
  }
}

/** Jobs from before the labels had a prefix. */
const isLegacySelector = (selector: JobSpec['selector'], uid: string | undefined): boolean =>
  deepEqual(selector, { matchLabels: { [wellKnownLabels.legacyControllerUid]: uid } });

function checkTemplate(
  errors: FieldError[],
  at: string,
  template: PodTemplateSpec,
  { podFailurePolicy }: JobSpec & ImmutableJobFields,
): void {
  checkPodTemplate(errors, at, template);
  const field = `${at}.spec.restartPolicy`;
  const restartPolicy = template.spec?.restartPolicy;
  // Always is what an absent policy became by default, so the user is asked for one.
  if (restartPolicy === 'Always') errors.push(required(field, 'valid values: "OnFailure", "Never"'));
  else if (restartPolicy !== 'OnFailure' && restartPolicy !== 'Never' && restartPolicy !== undefined) {
    errors.push(notSupported(field, restartPolicy, ['OnFailure', 'Never']));
  } else if (restartPolicy === 'OnFailure' && !isAbsent(podFailurePolicy)) {
    errors.push(invalidValue(field, restartPolicy, 'only "Never" is supported when podFailurePolicy is specified'));
  }
}

function checkUpdate(errors: FieldError[], { spec }: Job, { spec: old, status }: Job): void {
  const elastic = spec.completionMode === 'Indexed' && spec.completions === spec.parallelism && old.completions !== spec.completions;
  if (!elastic && spec.completions !== old.completions) errors.push(immutable('spec.completions', spec.completions));
  const changed = (name: keyof ImmutableJobFields): boolean =>
    !deepEqual((spec as ImmutableJobFields)[name], (old as ImmutableJobFields)[name]);
  const { podFailurePolicy, successPolicy, ...scalars }: ImmutableJobFields = spec;
  if (changed('selector')) errors.push(immutable('spec.selector', spec.selector));
  checkTemplateUpdate(errors, spec, old, status);
  if (changed('completionMode')) errors.push(immutable('spec.completionMode', spec.completionMode));
  if (changed('podFailurePolicy')) errors.push(immutableStruct('spec.podFailurePolicy', 'batch/v1.PodFailurePolicy', podFailurePolicy));
  if (changed('backoffLimitPerIndex')) errors.push(immutable('spec.backoffLimitPerIndex', scalars.backoffLimitPerIndex));
  if (changed('managedBy')) errors.push(immutable('spec.managedBy', scalars.managedBy));
  if (changed('successPolicy')) errors.push(immutableStruct('spec.successPolicy', 'batch/v1.SuccessPolicy', successPolicy));
}

function checkTemplateUpdate(errors: FieldError[], spec: JobSpec, old: JobSpec, status: Job['status']): void {
  if (spec.template === old.template || deepEqual(spec.template, old.template)) return;
  // The scheduling fields of a suspended job that never ran may still change.
  const mayMove = old.suspend === true && status?.startTime === undefined;
  if (!mayMove || !deepEqual(withSchedulingOf(spec.template, old.template), old.template)) {
    errors.push(immutableStruct('spec.template', 'core/v1.PodTemplateSpec', spec.template));
  }
}

/** Some of them are newer than the types. */
type ImmutableJobFields = JobSpec & {
  readonly podFailurePolicy?: object;
  readonly successPolicy?: object;
  readonly backoffLimitPerIndex?: number;
  readonly managedBy?: string;
};

function withSchedulingOf(template: PodTemplateSpec, source: PodTemplateSpec): PodTemplateSpec {
  const scheduling = ['nodeSelector', 'affinity', 'tolerations', 'schedulingGates'] as const;
  const spec: Record<string, unknown> = { ...template.spec };
  for (const name of scheduling) {
    if (source.spec?.[name] === undefined) delete spec[name];
    else spec[name] = source.spec[name];
  }
  const { metadata, ...rest } = template;
  return { ...rest, ...(source.metadata === undefined ? {} : { metadata: source.metadata }), spec } as PodTemplateSpec;
}
