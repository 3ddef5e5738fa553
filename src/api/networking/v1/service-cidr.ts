import type { Condition as V1Condition } from 'kubernetes-types/meta/v1.d.ts';
import type { KindDefinition } from '../../../machinery/kind.ts';
import { type DeepReadonly, deepEqual, type KubeObject } from '../../../machinery/object.ts';
import type { FieldError } from '../../../machinery/status-error.ts';
import { ageColumn, allVerbs, nameColumn } from '../../columns.ts';
import { immutable, invalidValue, required } from '../../field-errors.ts';
import { check, cidrErrors } from '../../formats.ts';

export const serviceCidrs: KindDefinition<ServiceCIDR> = {
  group: 'networking.k8s.io',
  version: 'v1',
  resource: 'servicecidrs',
  kind: 'ServiceCIDR',
  namespaced: false,
  singular: 'servicecidr',
  shortNames: [],
  categories: [],
  schemaName: 'io.k8s.api.networking.v1.ServiceCIDR',
  verbs: allVerbs,
  hasGeneration: false,
  statusKeeps: 'metadata',
  nameRule: 'subdomain',
  subresources: [{ name: 'status', verbs: ['get', 'patch', 'update'] }],
  columns: [
    nameColumn,
    { name: 'CIDRs', type: 'string', description: 'Ranges of addresses.', cell: ({ spec }) => (spec?.cidrs ?? []).join(',') },
    ageColumn,
  ],
  selectableFields: {},
  deleteAnswer: 'status',
  prepareForCreate: (cidr) => ({ ...cidr, status: {} }),
  validate: ({ spec }, before) => {
    const errors: FieldError[] = [];
    const cidrs = spec?.cidrs ?? [];
    if (before !== undefined) {
      if (!deepEqual(cidrs, before.spec?.cidrs ?? [])) errors.push(immutable('spec.cidrs', cidrs));
      return errors;
    }
    if (cidrs.length === 0) errors.push(required('spec.cidrs', 'at least one CIDR required'));
    if (cidrs.length > 2) errors.push(invalidValue('spec', spec, 'may only hold up to 2 values'));
    for (const [index, cidr] of cidrs.entries()) check(errors, `spec.cidrs[${index}]`, cidr, cidrErrors(cidr));
    return errors;
  },
};

export interface ServiceCIDR extends KubeObject {
  readonly spec?: { readonly cidrs?: readonly string[] };
  readonly status?: { readonly conditions?: readonly DeepReadonly<V1Condition>[] };
}
