import { deepEqual } from '../../../machinery/object.ts';
import { compileLabelSelector } from '../../../machinery/selector.ts';
import type { FieldError } from '../../../machinery/status-error.ts';
import { isAbsent } from '../../copy-on-write.ts';
import type { PodTemplateSpec } from '../../core/v1/pod.ts';
import { checkPodTemplate } from '../../core/v1/pod-spec-validation.ts';
import { duplicate, immutable, immutableStruct, invalidValue, notSupported, required } from '../../field-errors.ts';
import { checkEnum, checkLabelSelector, checkNonNegative } from '../../formats.ts';
import { labels as wellKnownLabels } from '../../well-known.ts';
import type { Job, JobSpec } from './job.ts';

const maxIndexed = 100_000;

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
  for (const name of ['parallelism', 'completions', 'activeDeadlineSeconds', 'backoffLimit', 'ttlSecondsAfterFinished'] as const) {
    checkNonNegative(errors, `${field}.${name}`, spec[name]);
  }
  checkCompletionMode(errors, field, spec);
  if (!isAbsent(spec.podReplacementPolicy)) {
    checkEnum(errors, `${field}.podReplacementPolicy`, spec.podReplacementPolicy, ['Failed', 'TerminatingOrFailed']);
  }
  checkPodFailurePolicy(errors, `${field}.podFailurePolicy`, spec);
  if (isAbsent(spec.template)) errors.push(required(`${field}.template`));
  else checkTemplate(errors, `${field}.template`, spec.template, spec);
}

/** Exit codes are looked up in their order, and a pod that is started again in place has no last one. */
function checkPodFailurePolicy(errors: FieldError[], field: string, { podFailurePolicy }: JobSpec & ImmutableJobFields): void {
  const { rules = [] } = (podFailurePolicy ?? {}) as { readonly rules?: readonly { readonly onExitCodes?: ExitCodes | null }[] };
  for (const [index, { onExitCodes }] of rules.entries()) {
    if (isAbsent(onExitCodes)) continue;
    const { values = [], operator } = onExitCodes;
    const at = `${field}.rules[${index}].onExitCodes.values`;
    if (values.length === 0) errors.push(invalidValue(at, values, 'at least one value is required'));
    for (const [place, value] of values.entries()) {
      if (values.indexOf(value) !== place) errors.push(duplicate(`${at}[${place}]`, value));
      if (operator === 'In' && value === 0) errors.push(invalidValue(`${at}[${place}]`, value, 'must not be 0 for the In operator'));
    }
    if (values.some((value, place) => value < (values[place - 1] ?? value))) errors.push(invalidValue(at, values, 'must be ordered'));
  }
}

interface ExitCodes {
  readonly operator?: string;
  readonly values?: readonly number[];
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
