import {
  type MutatingAdmissionPolicy,
  mutatingAdmissionPolicies,
  type ValidatingAdmissionPolicy,
  validatingAdmissionPolicies,
} from '../../api/admissionregistration/v1/admission-policy.ts';
import type { WebhookConfiguration } from '../../api/admissionregistration/v1/webhook-configuration.ts';
import { invalidValue } from '../../api/field-errors.ts';
import type { KindDefinition } from '../../machinery/kind.ts';
import type { KubeObject } from '../../machinery/object.ts';
import { type FieldError, invalid } from '../../machinery/status-error.ts';
import type { AdmissionStep } from './admission.ts';
import { compileExpression, type Expression } from './expressions.ts';
import { isAdmissionConfiguration } from './match.ts';
import { compileMutatingPolicy } from './mutating-policy.ts';
import type { PolicyParts } from './policy-parts.ts';
import { compilePolicy } from './validating-policy.ts';

/**
 * Policies and webhooks whose expressions cannot be compiled are refused when they are written, not when a write meets them.
 *
 * @throws StatusError `Invalid`, with every expression that is wrong
 */
export function expressionSyntax(): AdmissionStep {
  return {
    name: 'ExpressionSyntax',
    phase: 'validating',
    appliesTo: (kind, operation) => (operation === 'create' || operation === 'update') && isAdmissionConfiguration(kind),
    admit({ kind, name, object, before }) {
      const errors = errorsOf(kind, object, before);
      if (errors.length > 0) throw invalid(kind, name, errors);
      return object;
    },
  };
}

function errorsOf({ resource }: KindDefinition, object: KubeObject, before: KubeObject | undefined): readonly FieldError[] {
  switch (resource) {
    case validatingAdmissionPolicies.resource:
      return validatingErrors(object as ValidatingAdmissionPolicy, before as ValidatingAdmissionPolicy | undefined);
    case mutatingAdmissionPolicies.resource:
      return mutatingErrors(object as MutatingAdmissionPolicy, before as MutatingAdmissionPolicy | undefined);
    default:
      return webhookErrors(object as WebhookConfiguration, before as WebhookConfiguration | undefined);
  }
}

function commonErrors({ conditions, variables }: PolicyParts): readonly FieldError[] {
  return [
    ...conditions.flatMap((expression, index) => complaints(`spec.matchConditions[${index}].expression`, expression)),
    ...[...variables.values()].flatMap((expression, index) => complaints(`spec.variables[${index}].expression`, expression)),
  ];
}

function mutatingErrors(policy: MutatingAdmissionPolicy, before: MutatingAdmissionPolicy | undefined): readonly FieldError[] {
  if (before !== undefined && policy.spec === before.spec) return [];
  const compiled = compileMutatingPolicy(policy);
  return [
    ...commonErrors(compiled),
    ...compiled.mutations.flatMap(({ patchType, expression }, index) =>
      complaints(`spec.mutations[${index}].${patchType === 'JSONPatch' ? 'jsonPatch' : 'applyConfiguration'}.expression`, expression),
    ),
  ];
}

function validatingErrors(policy: ValidatingAdmissionPolicy, before: ValidatingAdmissionPolicy | undefined): readonly FieldError[] {
  if (before !== undefined && policy.spec === before.spec) return [];
  const compiled = compilePolicy(policy);
  const { validations, auditAnnotations } = compiled;
  return [
    ...commonErrors(compiled),
    ...validations.flatMap(({ expression, messageExpression }, index) => [
      ...complaints(`spec.validations[${index}].expression`, expression),
      ...(messageExpression === undefined ? [] : complaints(`spec.validations[${index}].messageExpression`, messageExpression)),
    ]),
    ...auditAnnotations.flatMap(({ value }, index) => complaints(`spec.auditAnnotations[${index}].valueExpression`, value)),
  ];
}

function webhookErrors({ webhooks = [] }: WebhookConfiguration, before: WebhookConfiguration | undefined): readonly FieldError[] {
  if (before !== undefined && webhooks === before.webhooks) return [];
  return webhooks.flatMap(({ matchConditions = [] }, at) =>
    matchConditions.flatMap(({ expression }, index) =>
      complaints(`webhooks[${at}].matchConditions[${index}].expression`, compileExpression(expression, { result: 'bool' })),
    ),
  );
}

const complaints = (field: string, expression: Expression): readonly FieldError[] =>
  'complaint' in expression ? [invalidValue(field, expression.source, expression.complaint)] : [];
