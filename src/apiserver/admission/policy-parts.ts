import type { AdmissionPolicyBinding, PolicySpec } from '../../api/admissionregistration/v1/admission-policy.ts';
import type { MatchResources, ParamRef } from '../../api/admissionregistration/v1/match-rules.ts';
import type { Log } from '../../base/log.ts';
import { CelBudget } from '../../machinery/cel/cel.ts';
import { CelEvaluationError } from '../../machinery/cel/errors.ts';
import { type CelType, dynType, listOf, mapOf, objectOf } from '../../machinery/cel/types.ts';
import type { KindDefinition } from '../../machinery/kind.ts';
import type { KubeObject } from '../../machinery/object.ts';
import { parseApiVersion } from '../../machinery/resource.ts';
import { compileLabelSelector } from '../../machinery/selector.ts';
import type { Authorizer } from '../authorizer.ts';
import type { KindTable } from '../kube-api.ts';
import type { Registry } from '../registry/registry.ts';
import type { AdmissionRequest } from './admission.ts';
import { deriveFromAll, memoize } from './derive-from-all.ts';
import { compileExpression, type Expression, evaluateExpression, LazyMap, notAnExpression } from './expressions.ts';
import { inNamespace } from './in-namespace.ts';
import type { Criteria, Matcher } from './match.ts';

/** Validating and mutating policies share these, for their scope, parameters and variables. */
export interface PolicyOptions {
  readonly registry: Pick<Registry, 'get' | 'stateOf' | 'revision'>;
  readonly kinds: Pick<KindTable, 'findByKind'>;
  readonly authorizer: Pick<Authorizer, 'decide'>;
  readonly matcher: Matcher;
  readonly log: Log;
}

/** Steps that the expressions of one policy may take for one object and one set of parameters; upstream's limit for a policy. */
const maxSteps = 10_000_000;
export const policyBudget = (): CelBudget => new CelBudget(maxSteps);

export interface PolicyParts {
  readonly name: string;
  /** Undefined: it names no resources, so it is about nothing. */
  readonly criteria: Criteria | undefined;
  readonly paramKind: { readonly apiVersion?: string; readonly kind?: string } | undefined;
  readonly failsClosed: boolean;
  readonly conditions: readonly Expression[];
  readonly variables: ReadonlyMap<string, Expression>;
}

type Policy = KubeObject & { readonly spec?: PolicySpec };

/** @returns the parts, and the types of what the policy's own expressions may name */
export function compileParts(policy: Policy): PolicyParts & { readonly known: VariableTypes } {
  const { paramKind, matchConditions = [], variables = [] } = policy.spec ?? {};
  const params: VariableTypes = paramKind === undefined || paramKind === null ? {} : { params: dynType };
  const compiled = new Map<string, Expression>();
  let known = params;
  for (const { name, expression } of variables) {
    compiled.set(name, compileExpression(expression, { variables: known }));
    known = { ...params, variables: variableTypes(compiled) };
  }
  return {
    ...scopeOf(policy),
    conditions: matchConditions.map(({ expression }) => compileExpression(expression, { variables: params, result: 'bool' })),
    variables: compiled,
    known,
  };
}

/** The parts of a policy whose expressions cannot be worked with: it fails for all in its scope, as its failure policy says. */
export function brokenParts(policy: Policy): PolicyParts {
  return { ...scopeOf(policy), conditions: [notAnExpression('', 'the policy cannot be read')], variables: new Map() };
}

function scopeOf({ metadata, spec }: Policy): Pick<PolicyParts, 'name' | 'criteria' | 'paramKind' | 'failsClosed'> {
  const { matchConstraints, paramKind, failurePolicy } = spec ?? {};
  return {
    name: metadata.name,
    criteria: matchConstraints === undefined || matchConstraints === null ? undefined : criteriaOf(matchConstraints, []),
    paramKind: paramKind ?? undefined,
    failsClosed: failurePolicy !== 'Ignore',
  };
}

// ----------------------------------------------------------------------------------------------------------------------------- bindings

export interface Bound {
  readonly binding: AdmissionPolicyBinding;
  /** Undefined: whatever the policy matches. */
  readonly criteria: Criteria | undefined;
}

/** Bindings by the name of their policy. */
export function followBindings(
  { registry, log }: PolicyOptions,
  kind: KindDefinition<AdmissionPolicyBinding>,
): () => ReadonlyMap<string, readonly Bound[]> {
  const bindings = deriveFromAll({ registry, kind, make: boundOf, log });
  return memoize(bindings, (all) => {
    const grouped = new Map<string, Bound[]>();
    for (const bound of all) {
      const { policyName = '' } = bound.binding.spec ?? {};
      const ofPolicy = grouped.get(policyName) ?? [];
      grouped.set(policyName, ofPolicy);
      ofPolicy.push(bound);
    }
    return grouped;
  });
}

function boundOf(binding: AdmissionPolicyBinding): Bound {
  const { matchResources } = binding.spec ?? {};
  return { binding, criteria: matchResources === undefined || matchResources === null ? undefined : criteriaOf(matchResources, anything) };
}

/** A binding that names no rules is about all that its policy is about. */
const anything = [{ operations: ['*'], apiGroups: ['*'], apiVersions: ['*'], resources: ['*/*'], scope: '*' }] as const;

function criteriaOf(match: MatchResources, fallback: Criteria['rules']): Criteria {
  const { resourceRules = [], excludeResourceRules = [], namespaceSelector, objectSelector, matchPolicy } = match;
  return {
    rules: resourceRules.length === 0 ? fallback : resourceRules,
    excludedRules: excludeResourceRules,
    ...(namespaceSelector === undefined ? {} : { namespaceSelector }),
    ...(objectSelector === undefined ? {} : { objectSelector }),
    ...(matchPolicy === undefined ? {} : { matchPolicy }),
  };
}

// --------------------------------------------------------------------------------------------------------------------------- parameters

export type Params = { readonly params: readonly (KubeObject | undefined)[] } | { readonly error: string };

export interface ParamFinder {
  /** The parameter objects that a binding names; one that is undefined where a policy has no parameters. */
  of(policy: PolicyParts, binding: AdmissionPolicyBinding, request: AdmissionRequest): Params;
}

export function createParams({ registry, kinds }: Pick<PolicyOptions, 'registry' | 'kinds'>): ParamFinder {
  return { of: paramsOf };

  function paramsOf({ paramKind }: PolicyParts, { spec }: AdmissionPolicyBinding, request: AdmissionRequest): Params {
    if (paramKind === undefined) return { params: [undefined] };
    const ref = spec?.paramRef;
    const misconfigured = (why: string): Params => ({ error: `failed to configure binding: ${why}` });
    if (ref === undefined || ref === null) return misconfigured('paramRef is required when paramKind is set');
    const { group, version } = parseApiVersion(paramKind.apiVersion ?? '');
    const kind = kinds.findByKind(group, version, paramKind.kind ?? '');
    if (kind === undefined) {
      return {
        error: `failed to configure policy: failed to find resource referenced by paramKind: '${paramKind.apiVersion ?? ''}, Kind=${paramKind.kind ?? ''}'`,
      };
    }
    const found = find(kind, ref, request);
    if (typeof found === 'string') return misconfigured(found);
    if (found.length > 0) return { params: found };
    if (ref.parameterNotFoundAction !== 'Deny') return { params: [] };
    return misconfigured('no params found for policy binding with `Deny` parameterNotFoundAction');
  }

  function find(kind: KindDefinition, ref: ParamRef, request: AdmissionRequest): readonly KubeObject[] | string {
    const stored = kind.storedAs?.kind ?? kind;
    const shown = (object: KubeObject): KubeObject => kind.storedAs?.fromStored(object) ?? object;
    let namespace: string | undefined;
    if (kind.namespaced) {
      namespace = ref.namespace ?? request.namespace;
      if (namespace === undefined || namespace === '')
        return 'cannot use namespaced paramRef in policy binding that matches cluster-scoped resources';
    } else if ((ref.namespace ?? '') !== '') return 'paramRef.namespace must not be provided for a cluster-scoped `paramKind`';
    if ((ref.name ?? '') !== '') {
      const object = registry.get(stored, namespace === undefined ? (ref.name ?? '') : `${namespace}/${ref.name ?? ''}`);
      return object === undefined ? [] : [shown(object)];
    }
    const all = kind.namespaced ? inNamespace(registry, stored, namespace) : [...registry.stateOf(stored).all.objects.values()];
    const { matches } = compileLabelSelector(ref.selector);
    return all.filter(({ metadata }) => matches(metadata.labels)).map(shown);
  }
}

/** The namespace that an object is in; expressions see none for objects of the cluster. */
export function namespaceObjectOf(matcher: Matcher, request: AdmissionRequest): KubeObject | null {
  return request.kind.namespaced ? (matcher.namespaceOf(request) ?? null) : null;
}

// ---------------------------------------------------------------------------------------------------------------------------- variables

export type VariableTypes = Readonly<Record<string, CelType>>;

/** Each variable sees those before it. Its type is as vague as upstream's: a text, a number, a list or map of such. */
export function variableTypes(compiled: ReadonlyMap<string, Expression>): CelType {
  const typed = [...compiled].map(([name, expression]) => [name, 'program' in expression ? plainType(expression.program.type) : dynType]);
  return objectOf('kubernetes.variables', Object.fromEntries(typed) as VariableTypes);
}

function plainType(type: CelType): CelType {
  switch (type.kind) {
    case 'list':
      return listOf(plainType(type.items));
    case 'map':
      return mapOf(plainType(type.keys), plainType(type.values));
    case 'bool':
    case 'bytes':
    case 'double':
    case 'duration':
    case 'int':
    case 'null':
    case 'string':
    case 'timestamp':
    case 'uint':
      return type;
    default:
      return dynType;
  }
}

/** `variables.x`, worked out when it is first named. */
export class VariableValues extends LazyMap {
  readonly #expressions: ReadonlyMap<string, Expression>;
  readonly #values: Readonly<Record<string, unknown>>;
  readonly #budget: CelBudget;
  readonly #known = new Map<string, unknown>();

  constructor(expressions: ReadonlyMap<string, Expression>, values: Readonly<Record<string, unknown>>, budget: CelBudget) {
    super();
    this.#expressions = expressions;
    this.#values = values;
    this.#budget = budget;
  }

  find(name: string): unknown {
    if (this.#known.has(name)) return this.#known.get(name);
    const expression = this.#expressions.get(name);
    if (expression === undefined) return undefined;
    if ('error' in expression)
      throw new CelEvaluationError(`composited variable ${JSON.stringify(name)} fails to compile: ${expression.error}`);
    const outcome = evaluateExpression(expression, { ...this.#values, variables: this }, this.#budget);
    if ('error' in outcome) throw new CelEvaluationError(`composited variable ${JSON.stringify(name)} fails to evaluate: ${outcome.error}`);
    this.#known.set(name, outcome.value);
    return outcome.value;
  }
}
