import type { MatchResources, Rule } from '../../api/admissionregistration/v1/match-rules.ts';
import { namespaces } from '../../api/core/v1/namespace.ts';
import type { KindDefinition } from '../../machinery/kind.ts';
import type { KubeObject } from '../../machinery/object.ts';
import { compileLabelSelector, type LabelSelectorObject } from '../../machinery/selector.ts';
import type { KindTable } from '../kube-api.ts';
import type { Registry } from '../registry/registry.ts';
import type { AdmissionRequest } from './admission.ts';

/**
 * Matches a webhook or a policy with a write, and gives the version of the object that its rules name. With
 * `matchPolicy: Equivalent` an object in another version is converted to that one.
 */
export interface Match {
  /** The version whose rule matched. */
  readonly kind: KindDefinition;
  readonly object: KubeObject;
  readonly before: KubeObject | undefined;
}

export interface MatcherOptions {
  readonly registry: Pick<Registry, 'get'>;
  readonly kinds: Pick<KindTable, 'all'>;
}

/** Rules with the resources they are about, as webhooks and policies say them. */
export interface Criteria extends Pick<MatchResources, 'namespaceSelector' | 'objectSelector' | 'matchPolicy'> {
  readonly rules: readonly Rule[];
  readonly excludedRules?: readonly Rule[];
}

/** The configurations of admission itself, which nothing that they configure may lock. */
export const isAdmissionConfiguration = ({ group }: KindDefinition): boolean => group === 'admissionregistration.k8s.io';

export class Matcher {
  readonly #registry: MatcherOptions['registry'];
  readonly #kinds: MatcherOptions['kinds'];
  /** Versions of one kind; a list of kinds that changes is another list. */
  #versions: { readonly of: readonly KindDefinition[]; readonly byKind: Map<KindDefinition, readonly KindDefinition[]> } | undefined;

  constructor({ registry, kinds }: MatcherOptions) {
    this.#registry = registry;
    this.#kinds = kinds;
  }

  match(criteria: Criteria, request: AdmissionRequest): Match | undefined {
    const { kind: stored, servedAs = stored, object, before } = request;
    const kind = this.#kindFor(criteria, request, servedAs);
    if (kind === undefined) return undefined;
    if (criteria.excludedRules?.some((rule) => ruleMatches(rule, kind, request)) === true) return undefined;
    if (!this.#selectsNamespace(criteria.namespaceSelector, request) || !selectsObject(criteria.objectSelector, object, before))
      return undefined;
    const { storedAs } = kind;
    if (kind === stored || storedAs === undefined || request.subresource === 'scale') return { kind, object, before };
    return {
      kind,
      object: storedAs.fromStored(object),
      before: before === undefined ? undefined : storedAs.fromStored(before),
    };
  }

  /** The labels of the namespace that a write is in, or of the namespace it writes. */
  namespaceOf({ kind, namespace, object }: AdmissionRequest): KubeObject | undefined {
    if (kind.group === namespaces.group && kind.resource === namespaces.resource) return object;
    return namespace === undefined ? undefined : this.#registry.get(namespaces as KindDefinition, namespace);
  }

  #kindFor({ rules, matchPolicy }: Criteria, request: AdmissionRequest, served: KindDefinition): KindDefinition | undefined {
    if (rules.some((rule) => ruleMatches(rule, served, request))) return served;
    if (matchPolicy === 'Exact') return undefined;
    return this.#versionsOf(request.kind).find((kind) => kind !== served && rules.some((rule) => ruleMatches(rule, kind, request)));
  }

  #versionsOf(stored: KindDefinition): readonly KindDefinition[] {
    const all = this.#kinds.all();
    if (this.#versions?.of !== all) this.#versions = { of: all, byKind: new Map() };
    const { byKind } = this.#versions;
    let versions = byKind.get(stored);
    if (versions === undefined) {
      versions = all.filter((kind) => kind === stored || kind.storedAs?.kind === stored);
      byKind.set(stored, versions);
    }
    return versions;
  }

  #selectsNamespace(selector: LabelSelectorObject | undefined, request: AdmissionRequest): boolean {
    if (isEverything(selector)) return true;
    const isNamespace = request.kind.group === namespaces.group && request.kind.resource === namespaces.resource;
    // Cluster-scoped objects match any namespace selector, as upstream.
    if (!request.kind.namespaced && !isNamespace) return true;
    return compileLabelSelector(selector).matches(this.namespaceOf(request)?.metadata.labels);
  }
}

const isEverything = (selector: LabelSelectorObject | undefined): boolean =>
  selector === undefined || ((selector.matchExpressions ?? []).length === 0 && Object.keys(selector.matchLabels ?? {}).length === 0);

/** One of the two is enough: an object must not leave the reach of a rule by changing its labels. */
function selectsObject(selector: LabelSelectorObject | undefined, object: KubeObject, before: KubeObject | undefined): boolean {
  if (isEverything(selector)) return true;
  const { matches } = compileLabelSelector(selector);
  return matches(object.metadata?.labels) || (before !== undefined && matches(before.metadata.labels));
}

function ruleMatches(rule: Rule, kind: KindDefinition, request: AdmissionRequest): boolean {
  const { operations = [], apiGroups = [], apiVersions = [], resources = [], resourceNames = [], scope = '*' } = rule;
  if (scope !== '*' && (scope === 'Namespaced') !== kind.namespaced) return false;
  if (!has(operations, request.operation.toUpperCase()) || !has(apiGroups, kind.group) || !has(apiVersions, kind.version)) return false;
  if (resourceNames.length > 0 && (request.isGenerated || !resourceNames.includes(request.name))) return false;
  return resources.some((pattern) => resourceMatches(pattern, kind.resource, request.subresource));
}

const has = (values: readonly string[], value: string): boolean => values.includes('*') || values.includes(value);

/** `pods`, `pods/log`, `pods/*`, `*`, `*\/scale`, `*\/*`; without a slash a pattern is about no subresource. */
function resourceMatches(pattern: string, resource: string, subresource: string): boolean {
  const slash = pattern.indexOf('/');
  const [wanted, part] = slash === -1 ? [pattern, ''] : [pattern.slice(0, slash), pattern.slice(slash + 1)];
  return (wanted === '*' || wanted === resource) && (part === '*' || part === subresource);
}
