import type { ResourceQuota as V1ResourceQuota, ResourceQuotaSpec as V1ResourceQuotaSpec } from 'kubernetes-types/core/v1.d.ts';
import type { KindDefinition } from '../../../machinery/kind.ts';
import { qualifiedNameErrors } from '../../../machinery/label-syntax.ts';
import { type DeepReadonly, deepEqual, type Kube } from '../../../machinery/object.ts';
import { tryQuantity } from '../../../machinery/quantity.ts';
import type { FieldError } from '../../../machinery/status-error.ts';
import { ageColumn, allVerbs, nameColumn } from '../../columns.ts';
import { withField } from '../../copy-on-write.ts';
import { immutable, invalidValue } from '../../field-errors.ts';
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
      description: 'What is asked for and what may be.',
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

function checkScopes(errors: FieldError[], spec: ResourceQuotaSpec): void {
  const named = spec.scopes ?? [];
  const field = 'spec.scopes';
  for (const scope of named) if (!scopes.includes(scope)) errors.push(invalidValue(field, named, 'unsupported scope'));
  for (const [one, other] of [
    ['BestEffort', 'NotBestEffort'],
    ['Terminating', 'NotTerminating'],
  ] as const) {
    if (named.includes(one) && named.includes(other)) errors.push(invalidValue(field, named, 'conflicting scopes'));
  }
}

export type ResourceQuota = Kube<V1ResourceQuota>;
export type ResourceQuotaSpec = DeepReadonly<V1ResourceQuotaSpec>;
