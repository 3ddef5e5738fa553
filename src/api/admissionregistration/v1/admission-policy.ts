import type { KindDefinition } from '../../../machinery/kind.ts';
import type { KubeObject } from '../../../machinery/object.ts';
import type { FieldError } from '../../../machinery/status-error.ts';
import { ageColumn, allVerbs, nameColumn } from '../../columns.ts';
import { isAbsent, withDefaults, withField } from '../../copy-on-write.ts';
import { duplicate, invalidValue, notSupported, required } from '../../field-errors.ts';
import {
  checkMatchConditionNames,
  checkMatchResources,
  checkParamRef,
  defaultMatchResources,
  failurePolicies,
  type MatchResources,
  type ParamRef,
  paramRefText,
} from './match-rules.ts';

const common = {
  group: 'admissionregistration.k8s.io',
  version: 'v1',
  namespaced: false,
  shortNames: [],
  categories: ['api-extensions'],
  verbs: allVerbs,
  hasGeneration: true,
  nameRule: 'subdomain',
  subresources: [],
  selectableFields: {},
  deleteAnswer: 'status',
} as const satisfies Partial<KindDefinition>;

export const validatingAdmissionPolicies: KindDefinition<ValidatingAdmissionPolicy> = {
  ...common,
  resource: 'validatingadmissionpolicies',
  kind: 'ValidatingAdmissionPolicy',
  singular: 'validatingadmissionpolicy',
  schemaName: 'io.k8s.api.admissionregistration.v1.ValidatingAdmissionPolicy',
  subresources: [{ name: 'status', verbs: ['get', 'patch', 'update'] }],
  statusKeeps: 'metadata',
  columns: [
    nameColumn,
    { name: 'Validations', type: 'integer', description: 'Number of expressions.', cell: ({ spec }) => spec?.validations?.length ?? 0 },
    { name: 'ParamKind', type: 'string', description: 'Kind of the parameters.', cell: paramKindText },
    ageColumn,
  ],
  defaults: defaultPolicy,
  prepareForCreate: (policy) => ({ ...policy, status: {} }),
  validate: ({ spec }, before) => {
    const errors: FieldError[] = [];
    if (before !== undefined && spec === before.spec) return errors;
    checkPolicy(errors, spec);
    const { validations = [], auditAnnotations = [] } = spec ?? {};
    if (validations.length === 0 && auditAnnotations.length === 0) {
      const why = 'validations or auditAnnotations must be non-empty';
      errors.push(required('spec.validations', why), required('spec.auditAnnotations', why));
    }
    for (const [index, { expression = '', reason }] of validations.entries()) {
      if (!isAbsent(reason) && !reasons.includes(reason)) errors.push(notSupported(`spec.validations[${index}].reason`, reason, reasons));
      if (expression.trim() === '') errors.push(required(`spec.validations[${index}].expression`, 'expression is not specified'));
    }
    return errors;
  },
};

export const mutatingAdmissionPolicies: KindDefinition<MutatingAdmissionPolicy> = {
  ...common,
  resource: 'mutatingadmissionpolicies',
  kind: 'MutatingAdmissionPolicy',
  singular: 'mutatingadmissionpolicy',
  schemaName: 'io.k8s.api.admissionregistration.v1.MutatingAdmissionPolicy',
  columns: [
    nameColumn,
    { name: 'Mutations', type: 'integer', description: 'Number of expressions.', cell: ({ spec }) => spec?.mutations?.length ?? 0 },
    { name: 'ParamKind', type: 'string', description: 'Kind of the parameters.', cell: paramKindText },
    ageColumn,
  ],
  defaults: defaultPolicy,
  validate: ({ spec }, before) => {
    const errors: FieldError[] = [];
    if (before !== undefined && spec === before.spec) return errors;
    checkPolicy(errors, spec);
    const { mutations = [], reinvocationPolicy = '' } = spec ?? {};
    if (mutations.length === 0) errors.push(required('spec.mutations', 'mutations must contain at least one item'));
    for (const [index, mutation] of mutations.entries()) checkMutation(errors, `spec.mutations[${index}]`, mutation);
    if (reinvocationPolicy === '') errors.push(required('spec.reinvocationPolicy'));
    else if (!reinvocationPolicies.includes(reinvocationPolicy)) {
      errors.push(notSupported('spec.reinvocationPolicy', reinvocationPolicy, reinvocationPolicies));
    }
    return errors;
  },
};

export const validatingAdmissionPolicyBindings: KindDefinition<AdmissionPolicyBinding> = {
  ...common,
  resource: 'validatingadmissionpolicybindings',
  kind: 'ValidatingAdmissionPolicyBinding',
  singular: 'validatingadmissionpolicybinding',
  schemaName: 'io.k8s.api.admissionregistration.v1.ValidatingAdmissionPolicyBinding',
  columns: bindingColumns(),
  defaults: defaultBinding,
  validate: ({ spec }, before) => {
    const errors: FieldError[] = [];
    if (before !== undefined && spec === before.spec) return errors;
    checkBinding(errors, spec);
    const actions = spec?.validationActions ?? [];
    const field = 'spec.validationActions';
    if (actions.length === 0) errors.push(required(field, 'at least one validation action is required'));
    for (const [index, action] of actions.entries()) {
      if (!validationActions.includes(action)) errors.push(notSupported(`${field}[${index}]`, action, validationActions));
      if (actions.indexOf(action) !== index) errors.push(duplicate(`${field}[${index}]`, action));
    }
    if (actions.includes('Deny') && actions.includes('Warn')) {
      errors.push(
        invalidValue(
          field,
          actions,
          'must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)',
        ),
      );
    }
    return errors;
  },
};

export const mutatingAdmissionPolicyBindings: KindDefinition<AdmissionPolicyBinding> = {
  ...common,
  resource: 'mutatingadmissionpolicybindings',
  kind: 'MutatingAdmissionPolicyBinding',
  singular: 'mutatingadmissionpolicybinding',
  schemaName: 'io.k8s.api.admissionregistration.v1.MutatingAdmissionPolicyBinding',
  columns: bindingColumns(),
  defaults: defaultBinding,
  validate: ({ spec }, before) => {
    const errors: FieldError[] = [];
    if (before === undefined || spec !== before.spec) checkBinding(errors, spec);
    return errors;
  },
};

const reasons: readonly string[] = ['Forbidden', 'Invalid', 'RequestEntityTooLarge', 'Unauthorized'];
const reinvocationPolicies: readonly string[] = ['IfNeeded', 'Never'];
const validationActions: readonly string[] = ['Audit', 'Deny', 'Warn'];

function bindingColumns(): KindDefinition<AdmissionPolicyBinding>['columns'] {
  return [
    nameColumn,
    { name: 'PolicyName', type: 'string', description: 'The policy.', cell: ({ spec }) => spec?.policyName ?? '' },
    { name: 'ParamRef', type: 'string', description: 'Its parameters.', cell: ({ spec }) => paramRefText(spec?.paramRef) },
    ageColumn,
  ];
}

function paramKindText({ spec }: KubeObject & { readonly spec?: PolicySpec }): string {
  const kind = spec?.paramKind;
  return isAbsent(kind) ? '<unset>' : `${kind.apiVersion}/${kind.kind}`;
}

function defaultPolicy<T extends KubeObject & { readonly spec?: PolicySpec }>(policy: T, before?: T): T {
  const { spec } = policy;
  if (isAbsent(spec) || spec === before?.spec) return policy;
  const complete = withDefaults(spec, { failurePolicy: 'Fail' });
  const { matchConstraints } = complete;
  return withField(
    policy,
    'spec',
    isAbsent(matchConstraints) ? complete : withField(complete, 'matchConstraints', defaultMatchResources(matchConstraints)),
  );
}

function defaultBinding(binding: AdmissionPolicyBinding, before?: AdmissionPolicyBinding): AdmissionPolicyBinding {
  const { spec } = binding;
  if (isAbsent(spec?.matchResources) || spec === before?.spec) return binding;
  return withField(binding, 'spec', withField(spec, 'matchResources', defaultMatchResources(spec.matchResources)));
}

function checkPolicy(errors: FieldError[], spec: PolicySpec | undefined): void {
  const { failurePolicy, paramKind, matchConstraints, matchConditions } = spec ?? {};
  checkMatchConditionNames(errors, 'spec.matchConditions', matchConditions ?? []);
  if (isAbsent(failurePolicy)) errors.push(required('spec.failurePolicy'));
  else if (!failurePolicies.includes(failurePolicy)) errors.push(notSupported('spec.failurePolicy', failurePolicy, failurePolicies));
  if (!isAbsent(paramKind)) {
    for (const part of ['apiVersion', 'kind'] as const) {
      if ((paramKind[part] ?? '') === '') errors.push(required(`spec.paramKind.${part}`));
    }
  }
  if (isAbsent(matchConstraints)) {
    errors.push(required('spec.matchConstraints'));
    return;
  }
  checkMatchResources(errors, 'spec.matchConstraints', matchConstraints);
  if ((matchConstraints.resourceRules ?? []).length === 0) errors.push(required('spec.matchConstraints.resourceRules'));
}

/** The part of a mutation that each type of patch is in. */
const patchParts = { ApplyConfiguration: 'applyConfiguration', JSONPatch: 'jsonPatch' } as const;

function checkMutation(errors: FieldError[], field: string, mutation: Mutation): void {
  const { patchType = '' } = mutation;
  if (patchType === '') {
    errors.push(required(`${field}.patchType`));
    return;
  }
  if (patchType !== 'ApplyConfiguration' && patchType !== 'JSONPatch') {
    errors.push(notSupported(`${field}.patchType`, patchType, Object.keys(patchParts)));
    return;
  }
  for (const [type, part] of Object.entries(patchParts)) {
    const given = mutation[part];
    if (type !== patchType) {
      if (!isAbsent(given)) errors.push(invalidValue(`${field}.${part}`, given, `must not be specified when patchType is ${patchType}`));
    } else if (isAbsent(given)) errors.push(required(`${field}.${part}`, `must be specified when patchType is ${patchType}`));
    else if ((given.expression ?? '').trim() === '') errors.push(required(`${field}.${part}.expression`, 'expression is not specified'));
  }
}

function checkBinding(errors: FieldError[], spec: BindingSpec | undefined): void {
  const { policyName = '', paramRef, matchResources } = spec ?? {};
  if (policyName === '') errors.push(required('spec.policyName'));
  if (!isAbsent(paramRef)) checkParamRef(errors, 'spec.paramRef', paramRef);
  if (!isAbsent(matchResources)) checkMatchResources(errors, 'spec.matchResources', matchResources);
}

export interface PolicySpec {
  readonly failurePolicy?: string;
  readonly paramKind?: { readonly apiVersion?: string; readonly kind?: string };
  readonly matchConstraints?: MatchResources;
  readonly matchConditions?: readonly { readonly name: string; readonly expression: string }[];
  readonly variables?: readonly { readonly name: string; readonly expression: string }[];
}

interface BindingSpec {
  readonly policyName?: string;
  readonly paramRef?: ParamRef;
  readonly matchResources?: MatchResources;
  /** For validating policies only. */
  readonly validationActions?: readonly string[];
}

export interface ValidatingAdmissionPolicy extends KubeObject {
  readonly spec?: PolicySpec & {
    readonly validations?: readonly {
      readonly expression: string;
      readonly message?: string;
      readonly messageExpression?: string;
      readonly reason?: string;
    }[];
    readonly auditAnnotations?: readonly { readonly key: string; readonly valueExpression: string }[];
  };
  readonly status?: {
    readonly observedGeneration?: number;
    readonly typeChecking?: { readonly expressionWarnings?: readonly ExpressionWarning[] };
  };
}

/** An expression that cannot be right for a kind that its policy is about. */
export interface ExpressionWarning {
  /** `spec.validations[0].expression` */
  readonly fieldRef: string;
  readonly warning: string;
}

export interface MutatingAdmissionPolicy extends KubeObject {
  readonly spec?: PolicySpec & {
    readonly mutations?: readonly Mutation[];
    readonly reinvocationPolicy?: string;
  };
}

export interface Mutation {
  readonly patchType: string;
  readonly applyConfiguration?: { readonly expression?: string };
  readonly jsonPatch?: { readonly expression?: string };
}

export interface AdmissionPolicyBinding extends KubeObject {
  readonly spec?: BindingSpec;
}
