import type { ResourceQuota as V1ResourceQuota, ResourceQuotaSpec as V1ResourceQuotaSpec } from 'kubernetes-types/core/v1.d.ts';
import type { KindDefinition } from '../../../machinery/kind.ts';
import { qualifiedNameErrors } from '../../../machinery/label-syntax.ts';
import { type DeepReadonly, deepEqual, type Kube } from '../../../machinery/object.ts';
import { tryQuantity } from '../../../machinery/quantity.ts';
import type { FieldError } from '../../../machinery/status-error.ts';
import { ageColumn, allVerbs, nameColumn } from '../../columns.ts';
import { withField } from '../../copy-on-write.ts';
import { immutable, invalidValue, required } from '../../field-errors.ts';
import { check } from '../../formats.ts';
import { isStandardResource } from './resource-validation.ts';

export const resourceQuotas: KindDefinition<ResourceQuota> = {
  group: '',
  version: 'v1',
  resource: 'resourcequotas',
  kind: 'ResourceQuota',
  namespaced: true,
  singular: 'resourcequota',
  shortNames: ['quota'],
  categories: [],
  schemaName: 'io.k8s.api.core.v1.ResourceQuota',
  verbs: allVerbs,
  hasGeneration: false,
  nameRule: 'subdomain',
  subresources: [{ name: 'status', verbs: ['get', 'patch', 'update'] }],
  columns: [
    nameColumn,
    {
      name: 'Request',
      type: 'string',
      description: 'Requested and allowed amounts.',
      cell: (quota) => usageOf(quota, (name) => !name.startsWith('limits')),
    },
    {
      name: 'Limit',
      type: 'string',
      description: 'Sum of limits and what it may be.',
      cell: (quota) => usageOf(quota, (name) => name.startsWith('limits')),
    },
    ageColumn,
  ],
  selectableFields: {},
  deleteAnswer: 'object',
  defaults: (quota) => (quota.spec === undefined ? withField(quota, 'spec', {}) : quota),
  prepareForCreate: (quota) => ({ ...quota, status: {} }),
  validate: (quota, before) => {
    const errors: FieldError[] = [];
    const { spec = {} } = quota;
    if (before !== undefined && spec === before.spec) return errors;
    for (const [name, amount] of Object.entries(spec.hard ?? {})) checkHard(errors, `spec.hard[${name}]`, name, amount);
    checkScopes(errors, spec);
    checkScopeSelector(errors, spec);
    if (before !== undefined && !deepEqual(spec.scopes ?? [], before.spec?.scopes ?? [])) {
      errors.push(immutable('spec.scopes', spec.scopes));
    }
    return errors;
  },
};

function usageOf({ status }: ResourceQuota, isShown: (name: string) => boolean): string {
  const hard = status?.hard ?? {};
  return Object.keys(hard)
    .filter(isShown)
    .sort()
    .map((name) => `${name}: ${status?.used?.[name] ?? '0'}/${hard[name]}`)
    .join(', ');
}

const objectCounts = [
  ...['pods', 'resourcequotas', 'services', 'replicationcontrollers', 'secrets', 'configmaps', 'persistentvolumeclaims'],
  ...['services.nodeports', 'services.loadbalancers'],
];
const integers: ReadonlySet<string> = new Set(objectCounts);
const quotaNames: ReadonlySet<string> = new Set([
  ...objectCounts,
  ...['cpu', 'memory', 'ephemeral-storage', 'requests.cpu', 'requests.memory', 'requests.storage', 'requests.ephemeral-storage'],
  ...['limits.cpu', 'limits.memory', 'limits.ephemeral-storage'],
]);

function checkHard(errors: FieldError[], field: string, name: string, amount: string | number): void {
  const malformed = qualifiedNameErrors(name);
  check(errors, field, name, malformed);
  if (!name.includes('/')) {
    if (malformed.length === 0 && !isStandardResource(name) && !quotaNames.has(name)) {
      errors.push(invalidValue(field, name, 'must be a standard resource type or fully qualified'));
    }
    if (!quotaNames.has(name) && !/^(requests\.)?hugepages-/.test(name)) {
      errors.push(invalidValue(field, name, 'must be a standard resource for quota'));
    }
  }
  const nanos = tryQuantity(amount)?.nanos ?? 0n;
  if (nanos < 0n) errors.push(invalidValue(field, String(amount), 'must be greater than or equal to 0'));
  if (integers.has(name) && nanos % 1_000_000_000n !== 0n) errors.push(invalidValue(field, amount, 'must be an integer'));
}

const scopes: readonly string[] = [
  ...['Terminating', 'NotTerminating', 'BestEffort', 'NotBestEffort', 'PriorityClass', 'CrossNamespacePodAffinity'],
  'VolumeAttributesClass',
];

/** Standard resources that a scope can count. */
const podCompute = ['cpu', 'memory', 'limits.cpu', 'limits.memory', 'requests.cpu', 'requests.memory'];
const podResources: ReadonlySet<string> = new Set(['pods', ...podCompute]);
const countedBy: ReadonlyMap<string, ReadonlySet<string>> = new Map([
  ['Terminating', podResources],
  ['NotTerminating', podResources],
  ['NotBestEffort', podResources],
  ['PriorityClass', podResources],
  ['CrossNamespacePodAffinity', podResources],
  ['BestEffort', new Set(['pods'])],
  ['VolumeAttributesClass', new Set(['persistentvolumeclaims', 'requests.storage'])],
]);

/** Scopes that are there or not, so that there is nothing to compare them with. */
const plainScopes: ReadonlySet<string> = new Set(
  'BestEffort NotBestEffort Terminating NotTerminating CrossNamespacePodAffinity'.split(' '),
);

const opposites = [
  ['BestEffort', 'NotBestEffort'],
  ['Terminating', 'NotTerminating'],
] as const;

const countsNothing = 'unsupported scope applied to resource';

/** Standard resources of the quota that the scope has nothing to do with. */
const foreignTo = (scope: string, { hard = {} }: ResourceQuotaSpec): readonly string[] =>
  Object.keys(hard).filter((name) => quotaNames.has(name) && countedBy.get(scope)?.has(name) === false);

function checkScopes(errors: FieldError[], spec: ResourceQuotaSpec): void {
  const named = spec.scopes ?? [];
  const field = 'spec.scopes';
  for (const scope of named) {
    if (!scopes.includes(scope)) errors.push(invalidValue(field, named, 'unsupported scope'));
    for (const _ of foreignTo(scope, spec)) errors.push(invalidValue(field, named, countsNothing));
  }
  for (const [one, other] of opposites) {
    if (named.includes(one) && named.includes(other)) errors.push(invalidValue(field, named, 'conflicting scopes'));
  }
}

function checkScopeSelector(errors: FieldError[], spec: ResourceQuotaSpec): void {
  const expressions = spec.scopeSelector?.matchExpressions ?? [];
  const field = 'spec.scopeSelector.matchExpressions';
  // As the server holds it, which it shows.
  const selector = {
    MatchExpressions: expressions.map(({ scopeName, operator, values }) => ({
      ScopeName: scopeName,
      Operator: operator,
      Values: values ?? null,
    })),
  };
  for (const { scopeName, operator, values = [] } of expressions) {
    if (!scopes.includes(scopeName)) errors.push(invalidValue(`${field}.scopeName`, scopeName, 'unsupported scope'));
    for (const _ of foreignTo(scopeName, spec)) errors.push(invalidValue(field, selector, countsNothing));
    if (plainScopes.has(scopeName) && operator !== 'Exists') {
      const why =
        "must be 'Exist' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity";
      errors.push(invalidValue(`${field}.operator`, operator, why));
    }
    if (operator === 'In' || operator === 'NotIn') {
      const why = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
      if (values.length === 0) errors.push(required(`${field}.values`, why));
    } else if (operator === 'Exists' || operator === 'DoesNotExist') {
      const why = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
      if (values.length > 0) errors.push(invalidValue(`${field}.values`, values, why));
    } else errors.push(invalidValue(`${field}.operator`, operator, 'not a valid selector operator'));
  }
  const named = expressions.map(({ scopeName }) => scopeName);
  for (const [one, other] of opposites) {
    if (named.includes(one) && named.includes(other)) errors.push(invalidValue(field, spec.scopes ?? null, 'conflicting scopes'));
  }
}

export type ResourceQuota = Kube<V1ResourceQuota>;
export type ResourceQuotaSpec = DeepReadonly<V1ResourceQuotaSpec>;
