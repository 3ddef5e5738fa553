import type { PolicyRule as V1PolicyRule } from 'kubernetes-types/rbac/v1.d.ts';
import type { DeepReadonly } from '../../../machinery/object.ts';
import type { FieldError } from '../../../machinery/status-error.ts';
import { invalidValue, required } from '../../field-errors.ts';

/** Verbs on resources, or on non-resource paths; `*` means all. */
export type PolicyRule = DeepReadonly<V1PolicyRule>;

export const rbacGroup = 'rbac.authorization.k8s.io';

/** Roles say that they have no rules by `null`, however that was written. */
export function withRulesOrNull<T extends object>(role: T): T {
  const { rules } = role as { readonly rules?: readonly PolicyRule[] | null };
  return rules === null || (rules !== undefined && rules.length > 0) ? role : { ...role, rules: null };
}

/** `namespaced`: rules of a Role, which cannot speak of paths. */
export function validateRules(rules: readonly PolicyRule[] | null | undefined, namespaced: boolean): readonly FieldError[] {
  return (rules ?? []).flatMap((rule, index) => ruleErrors(rule, `rules[${index}]`, namespaced));
}

function ruleErrors(rule: PolicyRule, field: string, namespaced: boolean): readonly FieldError[] {
  const { verbs = [], apiGroups = [], resources = [], resourceNames = [], nonResourceURLs = [] } = rule;
  const errors: FieldError[] = [];
  if ((verbs ?? []).length === 0) errors.push(required(`${field}.verbs`, 'verbs must contain at least one value'));
  if (nonResourceURLs.length > 0) {
    const urls = `${field}.nonResourceURLs`;
    if (namespaced) errors.push(invalidValue(urls, nonResourceURLs, 'namespaced rules cannot apply to non-resource URLs'));
    if (apiGroups.length > 0 || resources.length > 0 || resourceNames.length > 0) {
      errors.push(invalidValue(urls, nonResourceURLs, 'rules cannot apply to both regular resources and non-resource URLs'));
    }
    return errors;
  }
  if (apiGroups.length === 0) errors.push(required(`${field}.apiGroups`, 'resource rules must supply at least one api group'));
  if (resources.length === 0) errors.push(required(`${field}.resources`, 'resource rules must supply at least one resource'));
  return errors;
}
