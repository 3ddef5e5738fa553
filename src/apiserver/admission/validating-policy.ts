import {
  type AdmissionPolicyBinding,
  type ValidatingAdmissionPolicy,
  validatingAdmissionPolicies,
  validatingAdmissionPolicyBindings,
} from '../../api/admissionregistration/v1/admission-policy.ts';
import type { MatchResources, ParamRef } from '../../api/admissionregistration/v1/match-rules.ts';
import { CelBudget } from '../../machinery/cel/cel.ts';
import { CelEvaluationError } from '../../machinery/cel/errors.ts';
import { type CelType, dynType, listOf, mapOf, objectOf } from '../../machinery/cel/types.ts';
import type { KindDefinition } from '../../machinery/kind.ts';
import type { KubeObject } from '../../machinery/object.ts';
import { parseApiVersion } from '../../machinery/resource.ts';
import { compileLabelSelector } from '../../machinery/selector.ts';
import { forbidden, StatusError } from '../../machinery/status-error.ts';
import type { Authorizer } from '../authorizer.ts';
import type { Registry } from '../registry/registry.ts';
import type { KindTable } from '../service.ts';
import { isApiServer } from '../user.ts';
import type { AdmissionRequest, AdmissionStep } from './admission.ts';
import { commonValues, compileExpression, type Expression, evaluateExpression, LazyMap, notAnExpression } from './expressions.ts';
import { followed } from './followed.ts';
import { inNamespace } from './in-namespace.ts';
import { type Criteria, isAdmissionConfiguration, type Matcher } from './match.ts';
import { conditionsHold } from './match-conditions.ts';

export interface ValidatingPolicyOptions {
  readonly registry: Pick<Registry, 'get' | 'stateOf' | 'revision'>;
  readonly kinds: Pick<KindTable, 'findByKind'>;
  readonly authorizer: Pick<Authorizer, 'decide'>;
  readonly matcher: Matcher;
}

/** Steps that the expressions of one policy may take for one object and one set of parameters; upstream's limit for a policy. */
const maxSteps = 10_000_000;
const maxMessageBytes = 5 * 1024;
const maxAnnotationBytes = 10 * 1024;
const leftOut = 'left out: the object is a Secret';
const failureAnnotation = 'validation.policy.admission.k8s.io/validation_failure';

/**
 * ValidatingAdmissionPolicies in force: each binding of a policy that matches a write puts its expressions to it, once for each of its
 * parameter objects. Which policies there are is worked out when one changes; a write that none is about costs a comparison for each.
 *
 * @throws StatusError with the reason of the first expression that does not hold, where a binding denies
 * @see Kubernetes reference, "Validating Admission Policy"
 */
export function validatingPolicies({ registry, kinds, authorizer, matcher }: ValidatingPolicyOptions): AdmissionStep {
  const policies = followed(registry, validatingAdmissionPolicies, (objects) => objects.map(compilePolicy));
  const bindings = followed(registry, validatingAdmissionPolicyBindings, groupedByPolicy);

  function admit(request: AdmissionRequest): void {
    const denied: Denial[] = [];
    const notes = new Map<string, string[]>();
    const failures: object[] = [];
    for (const policy of policies()) {
      const bound = bindings().get(policy.name);
      if (bound === undefined || policy.criteria === undefined) continue;
      const match = matcher.match(policy.criteria, request);
      if (match === undefined) continue;
      let values: Readonly<Record<string, unknown>> | undefined;
      for (const { binding, criteria } of bound) {
        if (criteria !== undefined && matcher.match(criteria, request) === undefined) continue;
        const found = paramsOf(policy, binding, request);
        if ('error' in found) {
          if (policy.failsClosed) denied.push({ policy, binding, message: found.error });
          continue;
        }
        values ??= { ...commonValues(authorizer, request, match), namespaceObject: namespaceOf(request) };
        for (const params of found.params) {
          const decisions = evaluate(policy, { ...values, params: params ?? null }, notes);
          for (const decision of decisions) act(policy, binding, decision, request, denied, failures);
        }
      }
    }
    // Expressions may repeat what they look at, and annotations are in the audit log at every level.
    const isSecret = request.kind.kind === 'Secret' && request.kind.group === '';
    for (const [key, texts] of notes) request.annotate(key, isSecret ? leftOut : [...new Set(texts)].join(', '));
    const recorded = isSecret ? failures.map((failure) => ({ ...failure, message: leftOut })) : failures;
    if (recorded.length > 0) request.annotate(failureAnnotation, JSON.stringify(recorded));
    if (denied[0] !== undefined) throw denialError(denied[0], request);
  }

  function namespaceOf(request: AdmissionRequest): KubeObject | null {
    return request.kind.namespaced ? (matcher.namespaceOf(request) ?? null) : null;
  }

  type Params = { readonly params: readonly (KubeObject | undefined)[] } | { readonly error: string };

  /** The parameter objects that a binding names; one that is undefined where a policy has no parameters. */
  function paramsOf({ paramKind }: CompiledPolicy, { spec }: AdmissionPolicyBinding, request: AdmissionRequest): Params {
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

  return {
    name: 'ValidatingAdmissionPolicy',
    phase: 'validating',
    subresources: 'all',
    isIdle: () => policies().length === 0,
    appliesTo: (kind) => !isAdmissionConfiguration(kind),
    admit(request) {
      if (!isApiServer(request.user)) admit(request);
      return request.object;
    },
  };
}

// ------------------------------------------------------------------------------------------------------------------------------ policies

export interface CompiledPolicy {
  readonly name: string;
  /** Undefined: it names no resources, so it is about nothing. */
  readonly criteria: Criteria | undefined;
  readonly paramKind: { readonly apiVersion?: string; readonly kind?: string } | undefined;
  readonly failsClosed: boolean;
  readonly conditions: readonly Expression[];
  readonly variables: ReadonlyMap<string, Expression>;
  readonly validations: readonly Validation[];
  readonly auditAnnotations: readonly { readonly key: string; readonly value: Expression }[];
}

interface Validation {
  readonly expression: Expression;
  readonly message: string;
  readonly messageExpression: Expression | undefined;
  readonly reason: string;
}

interface Bound {
  readonly binding: AdmissionPolicyBinding;
  /** Undefined: whatever the policy matches. */
  readonly criteria: Criteria | undefined;
}

function groupedByPolicy(bindings: readonly AdmissionPolicyBinding[]): ReadonlyMap<string, readonly Bound[]> {
  const grouped = new Map<string, Bound[]>();
  for (const binding of bindings) {
    const { policyName = '', matchResources } = binding.spec ?? {};
    const bound = grouped.get(policyName) ?? [];
    grouped.set(policyName, bound);
    bound.push({
      binding,
      criteria: matchResources === undefined || matchResources === null ? undefined : criteriaOf(matchResources, anything),
    });
  }
  return grouped;
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

/** All expressions of a policy, compiled in the order in which they can name one another. */
export function compilePolicy({ metadata, spec }: ValidatingAdmissionPolicy): CompiledPolicy {
  const {
    matchConstraints,
    paramKind,
    failurePolicy,
    matchConditions = [],
    variables = [],
    validations = [],
    auditAnnotations = [],
  } = spec ?? {};
  const params: VariableTypes = paramKind === undefined || paramKind === null ? {} : { params: dynType };
  const compiled = new Map<string, Expression>();
  let known = params;
  for (const { name, expression } of variables) {
    compiled.set(name, compileExpression(expression, { variables: known }));
    known = { ...params, variables: variableTypes(compiled) };
  }
  return {
    name: metadata.name,
    criteria: matchConstraints === undefined || matchConstraints === null ? undefined : criteriaOf(matchConstraints, []),
    paramKind: paramKind ?? undefined,
    failsClosed: failurePolicy !== 'Ignore',
    conditions: matchConditions.map(({ expression }) => compileExpression(expression, { variables: params, result: 'bool' })),
    variables: compiled,
    validations: validations.map(({ expression, message = '', messageExpression = '', reason = '' }) => ({
      expression: compileExpression(expression, { variables: known, result: 'bool' }),
      message,
      messageExpression:
        messageExpression === '' ? undefined : compileExpression(messageExpression, { variables: known, result: 'string' }),
      reason,
    })),
    auditAnnotations: auditAnnotations.map(({ key, valueExpression }) => ({
      key,
      value: textOrNothing(compileExpression(valueExpression, { variables: known })),
    })),
  };
}

function textOrNothing(expression: Expression): Expression {
  const kind = 'program' in expression ? expression.program.type.kind : 'dyn';
  if (kind === 'string' || kind === 'null' || kind === 'dyn') return expression;
  return notAnExpression(expression.source, 'must evaluate to one of [string null_type]');
}

type VariableTypes = Readonly<Record<string, CelType>>;

/** Variables see those before them. What is known of one is what upstream keeps: that it is a text, a number, a list or map of such. */
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
class VariableValues extends LazyMap {
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

// ----------------------------------------------------------------------------------------------------------------------------- decisions

interface Decision {
  readonly message: string;
  readonly reason: string;
  readonly index: number;
}

interface Denial {
  readonly policy: CompiledPolicy;
  readonly binding: AdmissionPolicyBinding;
  readonly message: string;
  readonly reason?: string;
}

/** What does not hold. Notes for the audit log are added to `notes`. */
function evaluate(policy: CompiledPolicy, given: Readonly<Record<string, unknown>>, notes: Map<string, string[]>): readonly Decision[] {
  const budget = new CelBudget(maxSteps);
  const values = { ...given, variables: new VariableValues(policy.variables, given, budget) };
  // Upstream does not show conditions the namespace.
  const held = conditionsHold(policy.conditions, { ...values, namespaceObject: null });
  if (held.error !== undefined) return policy.failsClosed ? [{ message: held.error, reason: '', index: 0 }] : [];
  if (!held.matches) return [];
  const decisions: Decision[] = [];
  for (const [index, validation] of policy.validations.entries()) {
    const outcome = evaluateExpression(validation.expression, values, budget);
    if ('error' in outcome) {
      if (policy.failsClosed) decisions.push({ message: outcome.error, reason: '', index });
    } else if (outcome.value !== true) {
      decisions.push({ message: messageOf(validation, values, budget), reason: validation.reason, index });
    }
  }
  for (const [index, { key, value }] of policy.auditAnnotations.entries()) {
    const outcome = evaluateExpression(value, values, budget);
    if ('error' in outcome) {
      if (policy.failsClosed) decisions.push({ message: outcome.error, reason: '', index });
    } else if (typeof outcome.value === 'string' && outcome.value.trim() !== '') {
      const name = `${policy.name}/${key}`;
      notes.set(name, [...(notes.get(name) ?? []), outcome.value.trim().slice(0, maxAnnotationBytes)]);
    }
  }
  return decisions;
}

function messageOf(
  { expression, message, messageExpression }: Validation,
  values: Readonly<Record<string, unknown>>,
  budget: CelBudget,
): string {
  const outcome = messageExpression === undefined ? undefined : evaluateExpression(messageExpression, values, budget);
  const told = outcome !== undefined && 'value' in outcome && typeof outcome.value === 'string' ? outcome.value.trim() : '';
  if (told !== '' && !told.includes('\n') && Buffer.byteLength(told) <= maxMessageBytes) return told;
  return message.trim() === '' ? `failed expression: ${expression.source.trim()}` : message.trim();
}

function act(
  policy: CompiledPolicy,
  binding: AdmissionPolicyBinding,
  { message, reason, index }: Decision,
  request: AdmissionRequest,
  denied: Denial[],
  failures: object[],
): void {
  const actions = binding.spec?.validationActions ?? [];
  if (actions.includes('Deny')) denied.push({ policy, binding, message, reason });
  if (actions.includes('Warn')) {
    request.warn(`Validation failed for ValidatingAdmissionPolicy '${policy.name}' with binding '${binding.metadata.name}': ${message}`);
  }
  if (actions.includes('Audit')) {
    failures.push({ message, policy: policy.name, binding: binding.metadata.name, expressionIndex: index, validationActions: actions });
  }
}

const codes: Readonly<Record<string, number>> = { Unauthorized: 401, Forbidden: 403, RequestEntityTooLarge: 413, Invalid: 422 };

function denialError({ policy, binding, message, reason = '' }: Denial, { kind, name }: AdmissionRequest): StatusError {
  const text = `ValidatingAdmissionPolicy '${policy.name}' with binding '${binding.metadata.name}' denied request: ${message}`;
  const { message: whole, details } = forbidden(kind, name, text);
  const given = reason === '' ? 'Invalid' : reason;
  return new StatusError({
    code: codes[given] ?? 422,
    reason: given as StatusError['reason'],
    message: whole,
    details: { ...details, causes: [{ message: text }] },
  });
}
