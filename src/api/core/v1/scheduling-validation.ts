import { labelValueErrors, qualifiedNameErrors } from '../../../machinery/label-syntax.ts';
import type { LabelSelectorObject } from '../../../machinery/selector.ts';
import type { FieldError } from '../../../machinery/status-error.ts';
import { isAbsent } from '../../copy-on-write.ts';
import { duplicate, forbidden, invalidValue, notSupported, required } from '../../field-errors.ts';
import { check, checkLabelSelector, dnsLabelErrors, dnsSubdomainErrors } from '../../formats.ts';
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
      for (const [index, term] of terms.entries()) {
        checkNodeSelectorTerm(errors, `${at}.${hardTerms}.nodeSelectorTerms[${index}]`, term, { checkValues: true });
      }
    }
    for (const [index, { weight, preference }] of (nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution ?? []).entries()) {
      checkWeight(errors, `${at}.${softTerms}[${index}].weight`, weight);
      if (!isAbsent(preference)) {
        checkNodeSelectorTerm(errors, `${at}.${softTerms}[${index}].preference`, preference, { checkValues: false });
      }
    }
  }
  if (!isAbsent(podAffinity)) checkPodAffinity(errors, `${field}.podAffinity`, podAffinity);
  if (!isAbsent(podAntiAffinity)) checkPodAffinity(errors, `${field}.podAntiAffinity`, podAntiAffinity);
}

type NodeAffinity = NonNullable<Affinity['nodeAffinity']>;
type NodeSelectorTerm = NonNullable<NodeAffinity['requiredDuringSchedulingIgnoredDuringExecution']>['nodeSelectorTerms'][number];
type NodeSelectorRequirement = NonNullable<NodeSelectorTerm['matchExpressions']>[number];

/** Upstream accepts label values that no node can have in terms that are only preferred. */
function checkNodeSelectorTerm(
  errors: FieldError[],
  field: string,
  term: NodeSelectorTerm,
  { checkValues }: { readonly checkValues: boolean },
): void {
  for (const [index, requirement] of (term.matchExpressions ?? []).entries()) {
    const at = `${field}.matchExpressions[${index}]`;
    checkNodeRequirement(errors, at, requirement);
    check(errors, `${at}.key`, requirement.key ?? '', qualifiedNameErrors(requirement.key ?? ''));
    if (!checkValues) continue;
    for (const [number, value] of (requirement.values ?? []).entries()) {
      check(errors, `${at}.values[${number}]`, value, labelValueErrors(value));
    }
  }
  for (const [index, { key, operator, values = [] }] of (term.matchFields ?? []).entries()) {
    const at = `${field}.matchFields[${index}]`;
    if (operator !== 'In' && operator !== 'NotIn')
      errors.push(invalidValue(`${at}.operator`, operator ?? '', 'not a valid selector operator'));
    else if (values.length !== 1) {
      errors.push(required(`${at}.values`, "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"));
    }
    if (key !== 'metadata.name') errors.push(invalidValue(`${at}.key`, key ?? '', 'not a valid field selector key'));
    else for (const [number, value] of values.entries()) check(errors, `${at}.values[${number}]`, value, dnsSubdomainErrors(value));
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
  checkMatchLabelKeys(errors, field, term);
  const topologyKey = term.topologyKey ?? '';
  if (topologyKey === '') errors.push(required(`${field}.topologyKey`, 'can not be empty'));
  check(errors, `${field}.topologyKey`, topologyKey, qualifiedNameErrors(topologyKey));
}

type LabelKeys = PodAffinityTerm & { readonly matchLabelKeys?: readonly string[]; readonly mismatchLabelKeys?: readonly string[] };

function checkMatchLabelKeys(errors: FieldError[], field: string, term: LabelKeys): void {
  const { matchLabelKeys = [], mismatchLabelKeys = [], labelSelector } = term;
  for (const [name, keys] of Object.entries({ matchLabelKeys, mismatchLabelKeys })) {
    if (keys.length > 0 && isAbsent(labelSelector)) {
      errors.push(forbidden(`${field}.${name}`, 'must not be specified when labelSelector is not set'));
    }
    for (const [index, key] of keys.entries()) check(errors, `${field}.${name}[${index}]`, key, qualifiedNameErrors(key));
  }
  for (const [index, key] of matchLabelKeys.entries()) {
    if (!mismatchLabelKeys.includes(key)) continue;
    errors.push(invalidValue(`${field}.matchLabelKeys[${index}]`, key, 'exists in both matchLabelKeys and mismatchLabelKeys'));
  }
}

const whenUnsatisfiableValues: readonly string[] = ['DoNotSchedule', 'ScheduleAnyway'];

export function checkTopologySpread(
  errors: FieldError[],
  field: string,
  constraints: NonNullable<PodSpec['topologySpreadConstraints']>,
): void {
  // All equal terms but the last are duplicates.
  const pairs = constraints.map(({ topologyKey = '', whenUnsatisfiable }) => `{${topologyKey}, ${whenUnsatisfiable}}`);
  for (const [index, constraint] of constraints.entries()) {
    const at = `${field}[${index}]`;
    const { maxSkew = 0, topologyKey = '', whenUnsatisfiable, minDomains, labelSelector } = constraint;
    if (maxSkew <= 0) errors.push(invalidValue(`${at}.maxSkew`, maxSkew, 'must be greater than zero'));
    if (topologyKey === '') errors.push(required(`${at}.topologyKey`, 'can not be empty'));
    if (!whenUnsatisfiableValues.includes(whenUnsatisfiable ?? '')) {
      errors.push(notSupported(`${at}.whenUnsatisfiable`, whenUnsatisfiable ?? '', whenUnsatisfiableValues));
    }
    const pair = pairs[index] ?? '';
    if (pairs.lastIndexOf(pair) > index) errors.push(duplicate(`${at}.{topologyKey, whenUnsatisfiable}`, pair));
    if (!isAbsent(minDomains)) {
      if (minDomains <= 0) errors.push(invalidValue(`${at}.minDomains`, minDomains, 'must be greater than zero'));
      if (whenUnsatisfiable !== 'DoNotSchedule') {
        const why = `can only use minDomains if whenUnsatisfiable=DoNotSchedule, not ${whenUnsatisfiable}`;
        errors.push(invalidValue(`${at}.minDomains`, minDomains, why));
      }
    }
    const { nodeAffinityPolicy, nodeTaintsPolicy, matchLabelKeys = [] }: NewerConstraint = constraint;
    for (const [name, policy] of Object.entries({ nodeAffinityPolicy, nodeTaintsPolicy })) {
      if (!isAbsent(policy) && !inclusionPolicies.includes(policy)) errors.push(notSupported(`${at}.${name}`, policy, inclusionPolicies));
    }
    if (matchLabelKeys.length > 0) checkSpreadKeys(errors, `${at}.matchLabelKeys`, matchLabelKeys, labelSelector);
    checkLabelSelector(errors, `${at}.labelSelector`, labelSelector);
  }
}

type NewerConstraint = NonNullable<PodSpec['topologySpreadConstraints']>[number] & {
  readonly nodeAffinityPolicy?: string;
  readonly nodeTaintsPolicy?: string;
  readonly matchLabelKeys?: readonly string[];
};

const inclusionPolicies: readonly string[] = ['Honor', 'Ignore'];

function checkSpreadKeys(errors: FieldError[], field: string, keys: readonly string[], selector: LabelSelectorObject | undefined): void {
  if (isAbsent(selector)) errors.push(forbidden(field, 'must not be specified when labelSelector is not set'));
  const taken = new Set([...Object.keys(selector?.matchLabels ?? {}), ...(selector?.matchExpressions ?? []).map(({ key }) => key)]);
  for (const [index, key] of keys.entries()) {
    check(errors, `${field}[${index}]`, key, qualifiedNameErrors(key));
    if (taken.has(key)) errors.push(invalidValue(`${field}[${index}]`, key, 'exists in both matchLabelKeys and labelSelector'));
  }
}
