import { parseYamlDocuments } from '../../machinery/yaml.ts';
import type { RequestAttributes } from '../kube-api.ts';
import type { UserInfo } from '../user.ts';

export const auditLevels = ['None', 'Metadata', 'Request', 'RequestResponse'] as const;
export type AuditLevel = (typeof auditLevels)[number];

export const auditStages = ['RequestReceived', 'ResponseStarted', 'ResponseComplete', 'Panic'] as const;
export type AuditStage = (typeof auditStages)[number];

/** The recorded detail of a request. */
export interface AuditDecision {
  readonly level: AuditLevel;
  readonly omitStages: readonly AuditStage[];
  readonly omitManagedFields: boolean;
  /** The policy asks for bodies, and these are never written. */
  readonly isRedacted: boolean;
  /** Only when it is refused or fails. */
  readonly onlyFailures: boolean;
}

export interface AuditPolicy {
  /** @param user  undefined when nobody was authenticated */
  decide(user: UserInfo | undefined, attributes: RequestAttributes): AuditDecision;
}

const nothing: AuditDecision = { level: 'None', omitStages: [], omitManagedFields: false, isRedacted: false, onlyFailures: false };
const outcome: AuditDecision = { ...nothing, level: 'Metadata', omitStages: ['RequestReceived', 'ResponseStarted', 'Panic'] };
const failure: AuditDecision = { ...outcome, onlyFailures: true };

/**
 * Without a policy: how each request ended. Health checks and discovery are asked for all the time and tell nothing, unless they were
 * refused.
 */
export const defaultAuditPolicy: AuditPolicy = {
  decide: (_, { path, verb }) => (path !== undefined && verb === 'get' ? failure : outcome),
};

interface Rule {
  readonly level: AuditLevel;
  readonly users?: readonly string[];
  readonly userGroups?: readonly string[];
  readonly verbs?: readonly string[];
  readonly resources?: readonly {
    readonly group?: string;
    readonly resources?: readonly string[];
    readonly resourceNames?: readonly string[];
  }[];
  readonly namespaces?: readonly string[];
  readonly nonResourceURLs?: readonly string[];
  readonly omitStages?: readonly AuditStage[];
  readonly omitManagedFields?: boolean;
}

const maxPolicyBytes = 1024 * 1024;

/**
 * A policy as kube-apiserver reads it: `audit.k8s.io/v1`, kind `Policy`. The first rule that fits decides; where none does, nothing is
 * noted. Bodies of Secrets and of tokens are never written, whatever it says.
 *
 * @see Kubernetes, "Auditing", "Audit policy"
 * @throws Error that says what is wrong with the text
 */
export function parseAuditPolicy(text: string): AuditPolicy {
  const [document, ...others] = parseYamlDocuments(text, { maxBytes: maxPolicyBytes, maxDepth: 20, maxAliases: 0, maxDocuments: 2 });
  if (document === undefined || others.length > 0) throw new Error('it must hold one document');
  const policy = mapOf(document.value, 'the policy', ['apiVersion', 'kind', 'metadata', 'rules', 'omitStages', 'omitManagedFields']);
  if (policy.apiVersion !== 'audit.k8s.io/v1' || policy.kind !== 'Policy') throw new Error('it is no Policy of audit.k8s.io/v1');
  const omitStages = stagesOf(policy.omitStages, 'omitStages');
  const rules = listOf(policy.rules, 'rules').map((rule, index) => ruleOf(rule, `rules[${index}]`));
  if (rules.length === 0) throw new Error('it has no rules');
  const decisions = rules.map((rule) => ({
    rule,
    decision: {
      level: rule.level,
      omitStages: [...omitStages, ...(rule.omitStages ?? [])],
      omitManagedFields: rule.omitManagedFields ?? policy.omitManagedFields === true,
      isRedacted: false,
      onlyFailures: false,
    } satisfies AuditDecision,
  }));
  return {
    decide(user, attributes) {
      const found = decisions.find(({ rule }) => matches(rule, user, attributes))?.decision ?? nothing;
      const hasBodies = found.level === 'Request' || found.level === 'RequestResponse';
      return hasBodies && isConfidential(attributes) ? { ...found, level: 'Metadata', isRedacted: true } : found;
    },
  };
}

/** Resources with credentials in the request or in the answer. */
function isConfidential({ group = '', resource = '', subresource = '' }: RequestAttributes): boolean {
  if (group === '') return resource === 'secrets' || (resource === 'serviceaccounts' && subresource === 'token');
  return group === 'authentication.k8s.io' && resource === 'tokenreviews';
}

const has = (list: readonly string[] | undefined, wanted: string): boolean =>
  list === undefined || list.length === 0 || list.includes(wanted);

function matches(rule: Rule, user: UserInfo | undefined, attributes: RequestAttributes): boolean {
  if (!has(rule.users, user?.name ?? '') || !has(rule.verbs, attributes.verb)) return false;
  const { userGroups = [], resources = [], namespaces = [], nonResourceURLs = [] } = rule;
  if (userGroups.length > 0 && !userGroups.some((group) => user?.groups.includes(group))) return false;
  if (resources.length > 0 || namespaces.length > 0) return attributes.path === undefined && matchesResource(rule, attributes);
  if (nonResourceURLs.length > 0)
    return attributes.path !== undefined && nonResourceURLs.some((url) => matchesPath(url, attributes.path ?? ''));
  return true;
}

function matchesResource({ resources = [], namespaces }: Rule, attributes: RequestAttributes): boolean {
  const { group = '', resource = '', subresource = '', namespace = '', name = '' } = attributes;
  if (!has(namespaces, namespace)) return false;
  if (resources.length === 0) return true;
  const full = subresource === '' ? resource : `${resource}/${subresource}`;
  return resources.some((wanted) => {
    if ((wanted.group ?? '') !== group) return false;
    const { resources: names = [], resourceNames } = wanted;
    if (names.length === 0) return true;
    if (!has(resourceNames, name)) return false;
    return names.some(
      (pattern) =>
        pattern === '*' || pattern === full || (subresource !== '' && pattern === `*/${subresource}`) || pattern === `${resource}/*`,
    );
  });
}

const matchesPath = (url: string, path: string): boolean => (url.endsWith('*') ? path.startsWith(url.slice(0, -1)) : url === path);

// ------------------------------------------------------------------------------------------------------------------------------- reading

function ruleOf(value: unknown, where: string): Rule {
  const fields = ['level', 'users', 'userGroups', 'verbs', 'resources', 'namespaces', 'nonResourceURLs', 'omitStages', 'omitManagedFields'];
  const rule = mapOf(value, where, fields);
  const level = auditLevels.find((known) => known === rule.level);
  if (level === undefined) throw new Error(`${where}.level must be one of ${auditLevels.join(', ')}`);
  const texts = (name: string): readonly string[] => textsOf(rule[name], `${where}.${name}`);
  const nonResourceURLs = texts('nonResourceURLs');
  const resources = listOf(rule.resources, `${where}.resources`).map((entry, index) => {
    const at = `${where}.resources[${index}]`;
    const { group = '', resources: names, resourceNames } = mapOf(entry, at, ['group', 'resources', 'resourceNames']);
    if (typeof group !== 'string') throw new Error(`${at}.group must be a text`);
    return { group, resources: textsOf(names, `${at}.resources`), resourceNames: textsOf(resourceNames, `${at}.resourceNames`) };
  });
  const namespaces = texts('namespaces');
  if (nonResourceURLs.length > 0 && (resources.length > 0 || namespaces.length > 0)) {
    throw new Error(`${where} names both resources and nonResourceURLs`);
  }
  return {
    level,
    users: texts('users'),
    userGroups: texts('userGroups'),
    verbs: texts('verbs'),
    resources,
    namespaces,
    nonResourceURLs,
    omitStages: stagesOf(rule.omitStages, `${where}.omitStages`),
    ...(typeof rule.omitManagedFields === 'boolean' ? { omitManagedFields: rule.omitManagedFields } : {}),
  };
}

/** A misspelt field would leave out what somebody wants to be noted. */
function mapOf(value: unknown, where: string, fields: readonly string[]): Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new Error(`${where} must be a map`);
  const odd = Object.keys(value).find((name) => !fields.includes(name));
  if (odd !== undefined) throw new Error(`${where} has an unknown field ${JSON.stringify(odd)}`);
  return value as Readonly<Record<string, unknown>>;
}

function listOf(value: unknown, where: string): readonly unknown[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw new Error(`${where} must be a list`);
  return value;
}

function textsOf(value: unknown, where: string): readonly string[] {
  const list = listOf(value, where);
  if (!list.every((item) => typeof item === 'string')) throw new Error(`${where} must be a list of texts`);
  return list as readonly string[];
}

function stagesOf(value: unknown, where: string): readonly AuditStage[] {
  return textsOf(value, where).map((name) => {
    const stage = auditStages.find((known) => known === name);
    if (stage === undefined) throw new Error(`${where} must be of ${auditStages.join(', ')}`);
    return stage;
  });
}
