import {
  type AdmissionPolicyBinding,
  type ValidatingAdmissionPolicy,
  validatingAdmissionPolicies,
  validatingAdmissionPolicyBindings,
} from '../../api/admissionregistration/v1/admission-policy.ts';
import type { CelBudget } from '../../machinery/cel/cel.ts';
import { forbidden, StatusError } from '../../machinery/status-error.ts';
import { isApiServer } from '../user.ts';
import type { AdmissionRequest, AdmissionStep } from './admission.ts';
import { deriveFromAll } from './derive-from-all.ts';
import { commonValues, compileExpression, type Expression, evaluateExpression, notAnExpression } from './expressions.ts';
import { isAdmissionConfiguration } from './match.ts';
import { conditionsHold } from './match-conditions.ts';
import {
  brokenParts,
  compileParts,
  createParams,
  followBindings,
  namespaceObjectOf,
  type PolicyOptions,
  type PolicyParts,
  policyBudget,
  VariableValues,
} from './policy-parts.ts';

const maxMessageBytes = 5 * 1024;
const maxAnnotationBytes = 10 * 1024;
const leftOut = 'left out: the object is a Secret';
const failureAnnotation = 'validation.policy.admission.k8s.io/validation_failure';

/**
 * Applies the ValidatingAdmissionPolicies. Each binding of a policy that matches a write evaluates its expressions,
 * once for each of its parameter objects. The list of policies is rebuilt when one changes. A write that matches none
 * costs one comparison for each policy.
 *
 * @throws StatusError with the reason of the first expression that is false, when its binding denies
 * @see Kubernetes reference, "Validating Admission Policy"
 */
export function validatingPolicies(options: PolicyOptions): AdmissionStep {
  const { registry, authorizer, matcher, log } = options;
  const policies = deriveFromAll({
    registry,
    kind: validatingAdmissionPolicies,
    make: compilePolicy,
    broken: (policy) => ({ ...brokenParts(policy), validations: [], auditAnnotations: [] }),
    log,
  });
  const bindings = followBindings(options, validatingAdmissionPolicyBindings);
  const params = createParams(options);

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
        const found = params.of(policy, binding, request);
        if ('error' in found) {
          if (policy.failsClosed) denied.push({ policy, binding, message: found.error });
          continue;
        }
        values ??= { ...commonValues(authorizer, request, match), namespaceObject: namespaceObjectOf(matcher, request) };
        for (const param of found.params) {
          const decisions = evaluate(policy, { ...values, params: param ?? null }, notes);
          for (const decision of decisions) act({ policy, binding, denied, failures }, decision, request);
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

export interface CompiledPolicy extends PolicyParts {
  readonly validations: readonly Validation[];
  readonly auditAnnotations: readonly { readonly key: string; readonly value: Expression }[];
}

interface Validation {
  readonly expression: Expression;
  readonly message: string;
  readonly messageExpression: Expression | undefined;
  readonly reason: string;
}

/** All expressions of a policy, compiled in the order in which they can name one another. */
export function compilePolicy(policy: ValidatingAdmissionPolicy): CompiledPolicy {
  const { known, ...parts } = compileParts(policy);
  const { validations = [], auditAnnotations = [] } = policy.spec ?? {};
  return {
    ...parts,
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

/** Expressions that are false. Notes for the audit log are added to `notes`. */
function evaluate(policy: CompiledPolicy, given: Readonly<Record<string, unknown>>, notes: Map<string, string[]>): readonly Decision[] {
  const budget = policyBudget();
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

/** A binding of a policy, and the lists that its actions add to. */
interface Acting {
  readonly policy: CompiledPolicy;
  readonly binding: AdmissionPolicyBinding;
  readonly denied: Denial[];
  readonly failures: object[];
}

function act({ policy, binding, denied, failures }: Acting, { message, reason, index }: Decision, request: AdmissionRequest): void {
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
