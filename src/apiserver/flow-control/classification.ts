import type { FlowSchema } from '../../api/flowcontrol/v1/flow-schema.ts';
import type { PriorityLevelConfiguration } from '../../api/flowcontrol/v1/priority-level-configuration.ts';
import type { RequestAttributes } from '../kube-api.ts';
import type { UserInfo } from '../user.ts';

/** Matches a request with a FlowSchema and one of its flows. */
export interface Classification {
  readonly schema: FlowSchema;
  /** Name of the priority level; it exists. */
  readonly level: string;
  /** Requests with the same text take turns as one. */
  readonly flow: string;
}

export interface Classifier {
  /** Undefined when no schema fits, which the mandatory ones make impossible. */
  classify(user: UserInfo, attributes: () => RequestAttributes): Classification | undefined;
}

type Rule = NonNullable<NonNullable<FlowSchema['spec']>['rules']>[number];
type Subject = Rule['subjects'][number];

interface Candidate {
  readonly schema: FlowSchema;
  /** Those whose subjects the user is among. */
  readonly rules: readonly Rule[];
  readonly matchesAll: boolean;
}

const maxSchemas = 1_000;

/** Schemas that name a level which is not there are left out, as if they were not there either. */
export function createClassifier(schemas: Iterable<FlowSchema>, levels: ReadonlyMap<string, PriorityLevelConfiguration>): Classifier {
  const ordered = [...schemas]
    .filter((schema) => levels.has(levelOf(schema)))
    .sort(byPrecedence)
    .slice(0, maxSchemas);
  // One object a user, as long as the credentials are the same.
  const candidates = new WeakMap<UserInfo, readonly Candidate[]>();

  function candidatesFor(user: UserInfo): readonly Candidate[] {
    const found: Candidate[] = [];
    for (const schema of ordered) {
      const rules = (schema.spec?.rules ?? []).filter(({ subjects }) => subjects.some((subject) => isAmong(user, subject)));
      if (rules.length === 0) continue;
      const matchesAll = rules.some(coversEverything);
      found.push({ schema, rules, matchesAll });
      if (matchesAll) break;
    }
    return found;
  }

  return {
    classify(user, attributes) {
      let own = candidates.get(user);
      if (own === undefined) {
        own = candidatesFor(user);
        candidates.set(user, own);
      }
      for (const { schema, rules, matchesAll } of own) {
        if (matchesAll || rules.some((rule) => covers(rule, attributes()))) {
          return { schema, level: levelOf(schema), flow: `${schema.metadata.name}/${distinguisherOf(schema, user, attributes)}` };
        }
      }
      return undefined;
    },
  };
}

export const levelOf = ({ spec }: FlowSchema): string => spec?.priorityLevelConfiguration.name ?? '';

function byPrecedence(a: FlowSchema, b: FlowSchema): number {
  const difference = (a.spec?.matchingPrecedence ?? 0) - (b.spec?.matchingPrecedence ?? 0);
  return difference !== 0 ? difference : a.metadata.name < b.metadata.name ? -1 : 1;
}

function distinguisherOf({ spec }: FlowSchema, user: UserInfo, attributes: () => RequestAttributes): string {
  switch (spec?.distinguisherMethod?.type) {
    case 'ByUser':
      return user.name;
    case 'ByNamespace':
      return attributes().namespace ?? '';
    default:
      return '';
  }
}

function isAmong(user: UserInfo, { kind, user: named, group, serviceAccount }: Subject): boolean {
  switch (kind) {
    case 'User':
      return named?.name === '*' || named?.name === user.name;
    case 'Group':
      return group?.name === '*' || user.groups.some((name) => name === group?.name);
    case 'ServiceAccount': {
      const { namespace = '', name = '' } = serviceAccount ?? {};
      const prefix = `system:serviceaccount:${namespace}:`;
      return name === '*' ? user.name.startsWith(prefix) : user.name === `${prefix}${name}`;
    }
    default:
      return false;
  }
}

const has = (list: readonly string[] | undefined, ...wanted: readonly string[]): boolean =>
  list?.some((item) => item === '*' || wanted.includes(item)) ?? false;

const coversEverything = ({ resourceRules = [], nonResourceRules = [] }: Rule): boolean =>
  resourceRules.some(
    ({ verbs, apiGroups, resources, namespaces, clusterScope }) =>
      has(verbs) && has(apiGroups) && has(resources) && has(namespaces) && clusterScope === true,
  ) && nonResourceRules.some(({ verbs, nonResourceURLs }) => has(verbs) && has(nonResourceURLs));

function covers({ resourceRules = [], nonResourceRules = [] }: Rule, attributes: RequestAttributes): boolean {
  const { verb, path, group = '', resource = '', subresource = '', namespace = '' } = attributes;
  if (path !== undefined)
    return nonResourceRules.some((rule) => has(rule.verbs, verb) && rule.nonResourceURLs.some((url) => fits(url, path)));
  const full = subresource === '' ? resource : `${resource}/${subresource}`;
  return resourceRules.some(
    ({ verbs, apiGroups, resources, namespaces, clusterScope }) =>
      has(verbs, verb) &&
      has(apiGroups, group) &&
      has(resources, full) &&
      (namespace === '' ? clusterScope === true : has(namespaces, namespace)),
  );
}

const fits = (url: string, path: string): boolean => (url.endsWith('*') ? path.startsWith(url.slice(0, -1)) : url === path);
