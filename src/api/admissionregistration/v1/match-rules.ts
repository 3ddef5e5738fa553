import { qualifiedNameErrors } from '../../../machinery/label-syntax.ts';
import type { LabelSelectorObject } from '../../../machinery/selector.ts';
import type { FieldError } from '../../../machinery/status-error.ts';
import { isAbsent, mapShared, withDefaults, withField } from '../../copy-on-write.ts';
import { duplicate, forbidden, invalidValue, notSupported, required } from '../../field-errors.ts';
import { check, checkLabelSelector } from '../../formats.ts';

/** The writes that a webhook or a policy matches; the same for all kinds of this group. */
export interface Rule {
  readonly operations?: readonly string[];
  readonly apiGroups?: readonly string[];
  readonly apiVersions?: readonly string[];
  readonly resources?: readonly string[];
  readonly resourceNames?: readonly string[];
  readonly scope?: string;
}

export interface MatchResources {
  readonly namespaceSelector?: LabelSelectorObject;
  readonly objectSelector?: LabelSelectorObject;
  readonly resourceRules?: readonly Rule[];
  readonly excludeResourceRules?: readonly Rule[];
  readonly matchPolicy?: string;
}

export const defaultRules = (rules: readonly Rule[]): readonly Rule[] =>
  mapShared<Rule>(rules, (rule) => withDefaults<Rule>(rule, { scope: '*' }));

export function defaultMatchResources(match: MatchResources): MatchResources {
  let result = withDefaults(match, { namespaceSelector: {}, objectSelector: {}, matchPolicy: 'Equivalent' });
  for (const field of ['resourceRules', 'excludeResourceRules'] as const) {
    const rules = result[field];
    if (!isAbsent(rules)) result = withField(result, field, defaultRules(rules));
  }
  return result;
}

/** Each condition has a name, and no two have the same. */
export function checkMatchConditionNames(errors: FieldError[], field: string, conditions: readonly { readonly name?: string }[]): void {
  const names = new Set<string>();
  for (const [index, { name = '' }] of conditions.entries()) {
    const at = `${field}[${index}].name`;
    if (name === '') errors.push(required(at));
    else check(errors, at, name, qualifiedNameErrors(name));
    if (names.has(name)) errors.push(duplicate(at, name));
    names.add(name);
  }
}

const operations: readonly string[] = ['*', 'CONNECT', 'CREATE', 'DELETE', 'UPDATE'];
const scopes: readonly string[] = ['*', 'Cluster', 'Namespaced'];

export function checkRules(errors: FieldError[], field: string, rules: readonly Rule[]): void {
  for (const [index, rule] of rules.entries()) {
    const at = `${field}[${index}]`;
    const named = rule.operations ?? [];
    if (named.length === 0) errors.push(required(`${at}.operations`));
    for (const [number, operation] of named.entries()) {
      if (!operations.includes(operation)) errors.push(notSupported(`${at}.operations[${number}]`, operation, operations));
    }
    for (const part of ['apiGroups', 'apiVersions', 'resources'] as const) {
      const values = rule[part] ?? [];
      if (values.length === 0) errors.push(required(`${at}.${part}`));
      if (part === 'resources') checkResources(errors, `${at}.resources`, values);
      else if (values.length > 1 && values.includes('*')) {
        errors.push(invalidValue(`${at}.${part}`, values, `if '*' is present, must not specify other ${words[part]}`));
      }
    }
    if (!isAbsent(rule.scope) && !scopes.includes(rule.scope)) errors.push(notSupported(`${at}.scope`, rule.scope, scopes));
  }
}

const words = { apiGroups: 'API groups', apiVersions: 'API versions' } as const;

/** `*` means all resources and no subresource, `* / *` without the blanks means everything. */
function checkResources(errors: FieldError[], field: string, resources: readonly string[]): void {
  for (const [index, pattern] of resources.entries()) {
    const [resource = '', subresource] = pattern.split('/');
    if (pattern === '') errors.push(required(`${field}[${index}]`));
    if (subresource === undefined) continue;
    if (resource !== '*' && resources.includes(`*/${subresource}`)) {
      errors.push(invalidValue(`${field}[${index}]`, pattern, `if '*/${subresource}' is present, must not specify ${pattern}`));
    }
    if (subresource !== '*' && resources.includes(`${resource}/*`)) {
      errors.push(invalidValue(`${field}[${index}]`, pattern, `if '${resource}/*' is present, must not specify ${pattern}`));
    }
  }
  if (resources.length > 1 && resources.includes('*/*')) {
    errors.push(invalidValue(field, resources, "if '*/*' is present, must not specify other resources"));
  }
  if (resources.includes('*') && resources.some((pattern) => pattern !== '*' && !pattern.includes('/'))) {
    errors.push(invalidValue(field, resources, "if '*' is present, must not specify other resources without subresources"));
  }
}

export const matchPolicies: readonly string[] = ['Equivalent', 'Exact'];
export const failurePolicies: readonly string[] = ['Fail', 'Ignore'];

export function checkMatchResources(errors: FieldError[], field: string, match: MatchResources): void {
  checkLabelSelector(errors, `${field}.namespaceSelector`, match.namespaceSelector);
  checkLabelSelector(errors, `${field}.objectSelector`, match.objectSelector);
  checkRules(errors, `${field}.resourceRules`, match.resourceRules ?? []);
  checkRules(errors, `${field}.excludeResourceRules`, match.excludeResourceRules ?? []);
  const { matchPolicy } = match;
  if (!isAbsent(matchPolicy) && !matchPolicies.includes(matchPolicy)) {
    errors.push(notSupported(`${field}.matchPolicy`, matchPolicy, matchPolicies));
  }
}

export interface ParamRef {
  readonly name?: string;
  readonly namespace?: string;
  readonly selector?: LabelSelectorObject;
  readonly parameterNotFoundAction?: string;
}

/** `namespace/name` or `*` for a selector, as the column shows it. */
export function paramRefText(ref: ParamRef | undefined): string {
  if (isAbsent(ref)) return '<unset>';
  const name = ref.name ?? '';
  const namespace = ref.namespace ?? '';
  const shown = name === '' ? '*' : name;
  return namespace === '' ? shown : `${namespace}/${shown}`;
}

export function checkParamRef(errors: FieldError[], field: string, ref: ParamRef): void {
  const isNamed = (ref.name ?? '') !== '';
  if (isNamed && !isAbsent(ref.selector)) errors.push(forbidden(`${field}.name`, 'name and selector are mutually exclusive'));
  else if (!isNamed && isAbsent(ref.selector)) errors.push(required(field, 'one of name or selector must be specified'));
  checkLabelSelector(errors, `${field}.selector`, ref.selector);
  const action = ref.parameterNotFoundAction ?? '';
  if (action === '') errors.push(required(`${field}.parameterNotFoundAction`));
  else if (action !== 'Allow' && action !== 'Deny') {
    errors.push(notSupported(`${field}.parameterNotFoundAction`, action, ['Deny', 'Allow']));
  }
}
