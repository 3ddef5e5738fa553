import { deepEqual } from '../../../machinery/object.ts';
import type { FieldError } from '../../../machinery/status-error.ts';
import { isAbsent, withField } from '../../copy-on-write.ts';
import { forbidden, invalidValue } from '../../field-errors.ts';
import { goStructDiff } from '../../go-structs.ts';
import type { Container, PodSpec, Toleration } from './pod.ts';

const changeable =
  'pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)';

/** A pod's spec is fixed but for images, a deadline that comes nearer, more tolerations and fewer scheduling gates. */
export function checkPodUpdate(errors: FieldError[], spec: PodSpec, before: PodSpec): void {
  if (spec === before) return;
  if ((spec.containers ?? []).length !== before.containers.length) {
    errors.push(forbidden('spec.containers', 'pod updates may not add or remove containers'));
    return;
  }
  if ((spec.initContainers ?? []).length !== (before.initContainers ?? []).length) {
    errors.push(forbidden('spec.initContainers', 'pod updates may not add or remove containers'));
    return;
  }
  checkDeadline(errors, spec.activeDeadlineSeconds, before.activeDeadlineSeconds);
  checkAddedTolerations(errors, spec.tolerations ?? [], before.tolerations ?? []);
  checkRemovedGates(errors, spec.schedulingGates ?? [], before.schedulingGates ?? []);
  const rest = withAllowedOf(before, spec);
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

function checkDeadline(errors: FieldError[], deadline: number | undefined, before: number | undefined): void {
  if (isAbsent(before)) return;
  const field = 'spec.activeDeadlineSeconds';
  if (isAbsent(deadline)) errors.push(invalidValue(field, null, 'must not update from a positive integer to nil value'));
  else if (deadline > before) errors.push(invalidValue(field, deadline, 'must be less than or equal to previous value'));
}

function checkAddedTolerations(errors: FieldError[], tolerations: readonly Toleration[], before: readonly Toleration[]): void {
  if (tolerations === before) return;
  const isKept = (old: Toleration): boolean =>
    tolerations.some((next) => deepEqual({ ...next, tolerationSeconds: null }, { ...old, tolerationSeconds: null }));
  if (!before.every(isKept)) {
    errors.push(forbidden('spec.tolerations', 'existing toleration can not be modified except its tolerationSeconds'));
  }
}

function checkRemovedGates(
  errors: FieldError[],
  gates: NonNullable<PodSpec['schedulingGates']>,
  before: NonNullable<PodSpec['schedulingGates']>,
): void {
  for (const { name } of gates) {
    if (before.some((old) => old.name === name)) continue;
    errors.push(forbidden('spec.schedulingGates', `only deletion is allowed, but found new scheduling gate '${name}'`));
  }
}
