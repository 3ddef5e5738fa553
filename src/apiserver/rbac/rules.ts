import type { PolicyRule } from '../../api/rbac/v1/policy-rule.ts';

/** Evaluates rules, and compares sets of rules. Pure. */

export interface ResourceAccess {
  readonly verb: string;
  readonly group: string;
  readonly resource: string;
  readonly subresource: string;
}

/** True when the rule covers this access, apart from names. */
export function allowsResource(rule: PolicyRule, { verb, group, resource, subresource }: ResourceAccess): boolean {
  const { verbs = [], apiGroups = [], resources = [] } = rule;
  if (!(has(verbs, verb) && has(apiGroups, group))) return false;
  if (subresource === '') return has(resources, resource);
  return has(resources, `${resource}/${subresource}`) || resources.includes(`*/${subresource}`);
}

export const allowsPath = ({ verbs = [], nonResourceURLs = [] }: PolicyRule, verb: string, path: string): boolean =>
  has(verbs, verb) && nonResourceURLs.some((pattern) => coversPath(pattern, path));

const has = (allowed: readonly string[], wanted: string): boolean => allowed.includes(wanted) || allowed.includes('*');

function coversPath(pattern: string, path: string): boolean {
  if (pattern === '*' || pattern === path) return true;
  return pattern.endsWith('*') && path.startsWith(pattern.replace(/\*+$/, ''));
}

/** Single rights that are compared at most; a role with more is not granted by anyone who has to be checked. */
const maxRights = 10_000;

/**
 * The rights in `wanted` that `held` does not give: one rule for each resource and name, with all that is about it. Undefined when there
 * are too many to compare.
 */
export function missingRights(held: readonly PolicyRule[], wanted: readonly PolicyRule[]): readonly PolicyRule[] | undefined {
  const missing: PolicyRule[] = [];
  let budget = maxRights;
  for (const rule of wanted) {
    if (held.some((each) => coversRule(each, rule))) continue;
    budget -= rightsIn(rule);
    if (budget < 0) return undefined;
    for (const right of rightsOf(rule)) if (!held.some((each) => coversRule(each, right))) missing.push(right);
  }
  return joined(missing);
}

const rightsIn = ({ verbs = [], apiGroups = [], resources = [], resourceNames = [], nonResourceURLs = [] }: PolicyRule): number =>
  verbs.length * (apiGroups.length * resources.length * Math.max(1, resourceNames.length) + nonResourceURLs.length);

function* rightsOf({
  verbs = [],
  apiGroups = [],
  resources = [],
  resourceNames = [],
  nonResourceURLs = [],
}: PolicyRule): Iterable<PolicyRule> {
  for (const verb of verbs) {
    for (const url of nonResourceURLs) yield { verbs: [verb], nonResourceURLs: [url] };
    for (const group of apiGroups) {
      for (const resource of resources) {
        const right = { verbs: [verb], apiGroups: [group], resources: [resource] };
        if (resourceNames.length === 0) yield right;
        for (const name of resourceNames) yield { ...right, resourceNames: [name] };
      }
    }
  }
}

/** True when one rule covers everything that another does. */
function coversRule(held: PolicyRule, wanted: PolicyRule): boolean {
  const { resourceNames = [] } = held;
  const names = wanted.resourceNames ?? [];
  return (
    hasAll(held.verbs ?? [], wanted.verbs ?? []) &&
    hasAll(held.apiGroups ?? [], wanted.apiGroups ?? []) &&
    (wanted.resources ?? []).every((resource) => coversResource(held.resources ?? [], resource)) &&
    (wanted.nonResourceURLs ?? []).every((url) => (held.nonResourceURLs ?? []).some((pattern) => coversPath(pattern, url))) &&
    (resourceNames.length === 0 || (names.length > 0 && names.every((name) => resourceNames.includes(name))))
  );
}

const hasAll = (held: readonly string[], wanted: readonly string[]): boolean => wanted.every((each) => has(held, each));

function coversResource(held: readonly string[], wanted: string): boolean {
  if (has(held, wanted)) return true;
  const slash = wanted.indexOf('/');
  return slash !== -1 && held.includes(`*/${wanted.slice(slash + 1)}`);
}

/** Rules about one resource of one group and the same names, with their verbs together. */
function joined(rules: readonly PolicyRule[]): readonly PolicyRule[] {
  const byTarget = new Map<string, PolicyRule>();
  for (const rule of rules) {
    const { verbs, ...target } = rule;
    const key = JSON.stringify(target);
    const known = byTarget.get(key);
    byTarget.set(key, known === undefined ? rule : { ...known, verbs: [...known.verbs, ...verbs] });
  }
  return [...byTarget.values()];
}

/** `{APIGroups:[""], Resources:["pods"], Verbs:["get"]}`, as the real server writes rules in messages. */
export function textOfRule({ verbs, apiGroups, resources, resourceNames, nonResourceURLs }: PolicyRule): string {
  const parts = {
    APIGroups: apiGroups,
    Resources: resources,
    NonResourceURLs: nonResourceURLs,
    ResourceNames: resourceNames,
    Verbs: verbs,
  };
  const texts = Object.entries(parts).flatMap(([name, values]) =>
    values === undefined || values.length === 0 ? [] : [`${name}:${textOfStrings(values)}`],
  );
  return `{${texts.join(', ')}}`;
}

/** `["a" "b"]` */
export const textOfStrings = (values: readonly string[]): string => `[${values.map((value) => JSON.stringify(value)).join(' ')}]`;
