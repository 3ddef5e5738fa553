import { deepEqual } from '../../../machinery/object.ts';
import type { FieldError } from '../../../machinery/status-error.ts';
import { isAbsent, withField } from '../../copy-on-write.ts';
import { forbidden, invalidValue, required } from '../../field-errors.ts';
import { rangeError } from '../../formats.ts';
import { goStructDiff } from '../../go-structs.ts';
import { checkImages } from './container-validation.ts';
import type { Container, PodSpec, Toleration } from './pod.ts';
import { checkTolerations } from './scheduling-validation.ts';

const changeable =
  'pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)';

/** A pod's spec is fixed but for images, a deadline that comes nearer, more tolerations and fewer scheduling gates. */
export function checkPodUpdate(errors: FieldError[], spec: PodSpec, before: PodSpec): void {
  if (spec === before) return;
  for (const name of ['containers', 'initContainers'] as const) {
    const containers = spec[name] ?? [];
    if (containers.length !== (before[name] ?? []).length) {
      errors.push(forbidden(`spec.${name}`, 'pod updates may not add or remove containers'));
      return;
    }
    // That every container has an image is checked a second time here.
    for (const [index, { image = '' }] of containers.entries()) if (image === '') errors.push(required(`spec.${name}[${index}].image`));
    checkImages(errors, `spec.${name}`, containers);
  }
  if (!checkDeadline(errors, spec.activeDeadlineSeconds, before.activeDeadlineSeconds)) return;
  checkAddedTolerations(errors, spec.tolerations ?? [], before.tolerations ?? []);
  checkRemovedGates(errors, spec.schedulingGates ?? [], before.schedulingGates ?? []);
  let rest = withAllowedOf(before, spec);
  if ((before.schedulingGates ?? []).length > 0) rest = withPlacementOf(errors, before, rest);
  if (!deepEqual(rest, before)) errors.push(forbidden('spec', `${changeable}\n${goStructDiff('core/v1.PodSpec', before, rest)}`));
}

/** `spec` with what may change as it was: what differs after that is refused. */
function withAllowedOf(before: PodSpec, spec: PodSpec): PodSpec {
  let result = withField(spec, 'containers', withImagesOf(before.containers, spec.containers));
  if (!isAbsent(spec.initContainers)) {
    result = withField(result, 'initContainers', withImagesOf(before.initContainers ?? [], spec.initContainers));
  }
  for (const field of ['activeDeadlineSeconds', 'tolerations', 'schedulingGates'] as const) {
    result = withField(result, field, before[field]) as PodSpec;
  }
  const hadNegativeGrace = (before.terminationGracePeriodSeconds ?? 0) < 0;
  return hadNegativeGrace && spec.terminationGracePeriodSeconds === 1
    ? withField(result, 'terminationGracePeriodSeconds', before.terminationGracePeriodSeconds)
    : result;
}

const withImagesOf = (before: readonly Container[], containers: readonly Container[]): readonly Container[] =>
  containers.map((container, index) => withField(container, 'image', before[index]?.image));

/** A pod that is not to be scheduled yet may still be narrowed in where it can go. */
function withPlacementOf(errors: FieldError[], before: PodSpec, spec: PodSpec): PodSpec {
  let result = spec;
  const selector = before.nodeSelector ?? {};
  if (!deepEqual(spec.nodeSelector ?? {}, selector)) {
    const isKept = Object.entries(selector).every(([key, value]) => spec.nodeSelector?.[key] === value);
    if (!isKept) {
      const why = 'only additions to spec.nodeSelector are allowed (no mutations or deletions)';
      errors.push(invalidValue('spec.nodeSelector', spec.nodeSelector ?? null, why));
    }
    result = withField(result, 'nodeSelector', before.nodeSelector);
  }
  if (!deepEqual(spec.affinity?.nodeAffinity ?? null, before.affinity?.nodeAffinity ?? null)) {
    const { nodeAffinity: _, ...others } = spec.affinity ?? {};
    const old = before.affinity?.nodeAffinity;
    const affinity = { ...others, ...(old === undefined ? {} : { nodeAffinity: old }) };
    const isEmpty = isAbsent(before.affinity) && Object.keys(affinity).length === 0;
    result = withField(result, 'affinity', isEmpty ? undefined : affinity);
    checkNarrowedAffinity(errors, spec.affinity?.nodeAffinity, old);
  }
  return result;
}

type NodeAffinity = NonNullable<NonNullable<PodSpec['affinity']>['nodeAffinity']>;

function checkNarrowedAffinity(errors: FieldError[], affinity: NodeAffinity | undefined, before: NodeAffinity | undefined): void {
  const field = 'spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution';
  const terms = affinity?.requiredDuringSchedulingIgnoredDuringExecution?.nodeSelectorTerms;
  const old = before?.requiredDuringSchedulingIgnoredDuringExecution?.nodeSelectorTerms;
  if (old === undefined) return;
  const at = `${field}.nodeSelectorTerms`;
  if (terms?.length !== old.length) {
    errors.push(invalidValue(at, terms ?? null, 'no additions/deletions to non-empty NodeSelectorTerms list are allowed'));
    return;
  }
  for (const [index, term] of terms.entries()) {
    const was = old[index];
    const isSame = (name: 'matchExpressions' | 'matchFields'): boolean =>
      deepEqual((term[name] ?? []).slice(0, (was?.[name] ?? []).length), was?.[name] ?? []);
    const isEmpty = (was?.matchExpressions ?? []).length === 0 && (was?.matchFields ?? []).length === 0;
    const isLonger = (term.matchExpressions ?? []).length + (term.matchFields ?? []).length > 0;
    if (!isSame('matchExpressions') || !isSame('matchFields') || (isEmpty && isLonger)) {
      errors.push(invalidValue(`${at}[${index}]`, term, 'only additions are allowed (no mutations or deletions)'));
    }
  }
}

/** False: nothing more is checked. */
function checkDeadline(errors: FieldError[], deadline: number | undefined, before: number | undefined): boolean {
  const field = 'spec.activeDeadlineSeconds';
  if (isAbsent(deadline)) {
    if (!isAbsent(before)) errors.push(invalidValue(field, null, 'must not update from a positive integer to nil value'));
    return true;
  }
  if (deadline < 0 || deadline > maxInt32) errors.push(invalidValue(field, deadline, rangeError(0, maxInt32)));
  else if (!isAbsent(before) && deadline > before) {
    errors.push(invalidValue(field, deadline, 'must be less than or equal to previous value'));
  } else return true;
  return false;
}

const maxInt32 = 2147483647;

function checkAddedTolerations(errors: FieldError[], tolerations: readonly Toleration[], before: readonly Toleration[]): void {
  if (tolerations === before) return;
  const isKept = (old: Toleration): boolean =>
    tolerations.some((next) => deepEqual({ ...next, tolerationSeconds: null }, { ...old, tolerationSeconds: null }));
  if (!before.every(isKept)) {
    errors.push(forbidden('spec.tolerations', 'existing toleration can not be modified except its tolerationSeconds'));
  } else {
    // A second time: upstream's check of what was added is one of all tolerations.
    checkTolerations(errors, 'spec.tolerations', tolerations);
  }
}

function checkRemovedGates(
  errors: FieldError[],
  gates: NonNullable<PodSpec['schedulingGates']>,
  before: NonNullable<PodSpec['schedulingGates']>,
): void {
  for (const [index, { name }] of gates.entries()) {
    if (before.some((old) => old.name === name)) continue;
    errors.push(forbidden(`spec.schedulingGates[${index}].name`, `only deletion is allowed, but found new scheduling gate '${name}'`));
  }
}
