import { labelValueErrors, qualifiedNameErrors } from '../../../machinery/label-syntax.ts';
import type { FieldError } from '../../../machinery/status-error.ts';
import { isAbsent } from '../../copy-on-write.ts';
import { duplicate, forbidden, invalidValue, notSupported, required } from '../../field-errors.ts';
import { check, checkLabelSelector, dnsLabelErrors } from '../../formats.ts';
import type { Affinity, PodSpec, Toleration } from './pod.ts';

/** Rules of the fields that say on which nodes a pod may run. */

export const taintEffects: readonly string[] = ['NoSchedule', 'PreferNoSchedule', 'NoExecute'];

export function checkTolerations(errors: FieldError[], field: string, tolerations: readonly Toleration[]): void {
  for (const [index, { key = '', operator = '', value = '', effect = '', tolerationSeconds }] of tolerations.entries()) {
    const at = `${field}[${index}]`;
    if (key !== '') check(errors, `${at}.key`, key, qualifiedNameErrors(key));
    else if (operator !== 'Exists') {
      const why = 'operator must be Exists when `key` is empty, which means "match all values and all keys"';
      errors.push(invalidValue(`${at}.operator`, operator, why));
    }
    if (!isAbsent(tolerationSeconds) && effect !== 'NoExecute') {
      errors.push(invalidValue(`${at}.effect`, effect, "effect must be 'NoExecute' when `tolerationSeconds` is set"));
    }
    if (operator === '' || operator === 'Equal') {
      const sentences = labelValueErrors(value);
      if (sentences.length > 0) errors.push(invalidValue(`${at}.operator`, value, sentences.join(';')));
    } else if (operator === 'Exists') {
      if (value !== '') errors.push(invalidValue(`${at}.operator`, value, "value must be empty when `operator` is 'Exists'"));
    } else {
      errors.push(notSupported(`${at}.operator`, operator, ['Equal', 'Exists']));
    }
    if (effect !== '' && !taintEffects.includes(effect)) errors.push(notSupported(`${at}.effect`, effect, taintEffects));
  }
}

const hardTerms = 'requiredDuringSchedulingIgnoredDuringExecution';
const softTerms = 'preferredDuringSchedulingIgnoredDuringExecution';

export function checkAffinity(errors: FieldError[], field: string, affinity: Affinity): void {
  const { nodeAffinity, podAffinity, podAntiAffinity } = affinity;
  if (!isAbsent(nodeAffinity)) {
    const at = `${field}.nodeAffinity`;
    const hard = nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution;
    if (!isAbsent(hard)) {
      const terms = hard.nodeSelectorTerms ?? [];
      if (terms.length === 0) errors.push(required(`${at}.${hardTerms}.nodeSelectorTerms`, 'must have at least one node selector term'));
      for (const [index, term] of terms.entries()) checkNodeSelectorTerm(errors, `${at}.${hardTerms}.nodeSelectorTerms[${index}]`, term);
    }
    for (const [index, { weight, preference }] of (nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution ?? []).entries()) {
      checkWeight(errors, `${at}.${softTerms}[${index}].weight`, weight);
      if (!isAbsent(preference)) checkNodeSelectorTerm(errors, `${at}.${softTerms}[${index}].preference`, preference);
    }
  }
  if (!isAbsent(podAffinity)) checkPodAffinity(errors, `${field}.podAffinity`, podAffinity);
  if (!isAbsent(podAntiAffinity)) checkPodAffinity(errors, `${field}.podAntiAffinity`, podAntiAffinity);
}

type NodeAffinity = NonNullable<Affinity['nodeAffinity']>;
type NodeSelectorTerm = NonNullable<NodeAffinity['requiredDuringSchedulingIgnoredDuringExecution']>['nodeSelectorTerms'][number];
type NodeSelectorRequirement = NonNullable<NodeSelectorTerm['matchExpressions']>[number];

function checkNodeSelectorTerm(errors: FieldError[], field: string, term: NodeSelectorTerm): void {
  for (const [index, requirement] of (term.matchExpressions ?? []).entries()) {
    const at = `${field}.matchExpressions[${index}]`;
    checkNodeRequirement(errors, at, requirement);
    check(errors, `${at}.key`, requirement.key, qualifiedNameErrors(requirement.key ?? ''));
  }
  for (const [index, { key, operator, values = [] }] of (term.matchFields ?? []).entries()) {
    const at = `${field}.matchFields[${index}]`;
    if (operator !== 'In' && operator !== 'NotIn')
      errors.push(invalidValue(`${at}.operator`, operator ?? '', 'not a valid selector operator'));
    else if (values.length !== 1) {
      errors.push(required(`${at}.values`, "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"));
    }
    if (key !== 'metadata.name') errors.push(invalidValue(`${at}.key`, key ?? '', 'not a valid field selector key'));
  }
}

function checkNodeRequirement(errors: FieldError[], field: string, { operator, values = [] }: NodeSelectorRequirement): void {
  switch (operator) {
    case 'In':
    case 'NotIn':
      if (values.length === 0) errors.push(required(`${field}.values`, "must be specified when `operator` is 'In' or 'NotIn'"));
      return;
    case 'Exists':
    case 'DoesNotExist':
      if (values.length > 0)
        errors.push(forbidden(`${field}.values`, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"));
      return;
    case 'Gt':
    case 'Lt':
      if (values.length !== 1) errors.push(required(`${field}.values`, "must be specified single value when `operator` is 'Lt' or 'Gt'"));
      return;
    default:
      errors.push(invalidValue(`${field}.operator`, operator ?? '', 'not a valid selector operator'));
  }
}

function checkWeight(errors: FieldError[], field: string, weight: number | undefined): void {
  if (isAbsent(weight) || weight < 1 || weight > 100) errors.push(invalidValue(field, weight ?? 0, 'must be in the range 1-100'));
}

type PodAffinity = NonNullable<Affinity['podAffinity']>;
type PodAffinityTerm = NonNullable<PodAffinity['requiredDuringSchedulingIgnoredDuringExecution']>[number];

function checkPodAffinity(errors: FieldError[], field: string, affinity: PodAffinity): void {
  for (const [index, term] of (affinity.requiredDuringSchedulingIgnoredDuringExecution ?? []).entries()) {
    checkPodAffinityTerm(errors, `${field}.${hardTerms}[${index}]`, term);
  }
  for (const [index, { weight, podAffinityTerm }] of (affinity.preferredDuringSchedulingIgnoredDuringExecution ?? []).entries()) {
    checkWeight(errors, `${field}.${softTerms}[${index}].weight`, weight);
    if (!isAbsent(podAffinityTerm)) checkPodAffinityTerm(errors, `${field}.${softTerms}[${index}].podAffinityTerm`, podAffinityTerm);
  }
}

function checkPodAffinityTerm(errors: FieldError[], field: string, term: PodAffinityTerm): void {
  checkLabelSelector(errors, `${field}.labelSelector`, term.labelSelector);
  checkLabelSelector(errors, `${field}.namespaceSelector`, term.namespaceSelector);
  for (const name of term.namespaces ?? []) check(errors, `${field}.namespace`, name, dnsLabelErrors(name));
  const topologyKey = term.topologyKey ?? '';
  if (topologyKey === '') errors.push(required(`${field}.topologyKey`, 'can not be empty'));
  check(errors, `${field}.topologyKey`, topologyKey, qualifiedNameErrors(topologyKey));
}

const whenUnsatisfiableValues: readonly string[] = ['DoNotSchedule', 'ScheduleAnyway'];

export function checkTopologySpread(
  errors: FieldError[],
  field: string,
  constraints: NonNullable<PodSpec['topologySpreadConstraints']>,
): void {
  const pairs = new Set<string>();
  for (const [index, constraint] of constraints.entries()) {
    const at = `${field}[${index}]`;
    const { maxSkew = 0, topologyKey = '', whenUnsatisfiable, minDomains, labelSelector } = constraint;
    if (maxSkew <= 0) errors.push(invalidValue(`${at}.maxSkew`, maxSkew, 'must be greater than zero'));
    if (topologyKey === '') errors.push(required(`${at}.topologyKey`, 'can not be empty'));
    else check(errors, `${at}.topologyKey`, topologyKey, qualifiedNameErrors(topologyKey));
    if (!whenUnsatisfiableValues.includes(whenUnsatisfiable ?? '')) {
      errors.push(notSupported(`${at}.whenUnsatisfiable`, whenUnsatisfiable ?? '', whenUnsatisfiableValues));
    }
    const pair = `{${topologyKey}, ${whenUnsatisfiable}}`;
    if (pairs.has(pair)) errors.push(duplicate(`${at}.{topologyKey, whenUnsatisfiable}`, pair));
    pairs.add(pair);
    if (!isAbsent(minDomains)) {
      if (minDomains <= 0) errors.push(invalidValue(`${at}.minDomains`, minDomains, 'must be greater than zero'));
      if (whenUnsatisfiable !== 'DoNotSchedule') {
        const why = `can only use minDomains if whenUnsatisfiable=DoNotSchedule, not ${whenUnsatisfiable}`;
        errors.push(invalidValue(`${at}.minDomains`, minDomains, why));
      }
    }
    checkLabelSelector(errors, `${at}.labelSelector`, labelSelector);
  }
}
