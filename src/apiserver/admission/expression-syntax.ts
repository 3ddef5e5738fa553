import { type ValidatingAdmissionPolicy, validatingAdmissionPolicies } from '../../api/admissionregistration/v1/admission-policy.ts';
import type { WebhookConfiguration } from '../../api/admissionregistration/v1/webhook-configuration.ts';
import { invalidValue } from '../../api/field-errors.ts';
import { type FieldError, invalid } from '../../machinery/status-error.ts';
import type { AdmissionStep } from './admission.ts';
import { compileExpression, type Expression } from './expressions.ts';
import { isAdmissionConfiguration } from './match.ts';
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
      const errors =
        kind.resource === validatingAdmissionPolicies.resource
          ? policyErrors(object as ValidatingAdmissionPolicy, before as ValidatingAdmissionPolicy | undefined)
          : webhookErrors(object as WebhookConfiguration, before as WebhookConfiguration | undefined);
      if (errors.length > 0) throw invalid(kind, name, errors);
      return object;
    },
  };
}

function policyErrors(policy: ValidatingAdmissionPolicy, before: ValidatingAdmissionPolicy | undefined): readonly FieldError[] {
  if (before !== undefined && policy.spec === before.spec) return [];
  const { conditions, variables, validations, auditAnnotations } = compilePolicy(policy);
  return [
    ...conditions.flatMap((expression, index) => complaints(`spec.matchConditions[${index}].expression`, expression)),
    ...[...variables.values()].flatMap((expression, index) => complaints(`spec.variables[${index}].expression`, expression)),
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
