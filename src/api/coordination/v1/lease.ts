import type { Lease as V1Lease } from 'kubernetes-types/coordination/v1.d.ts';
import type { KindDefinition } from '../../../machinery/kind.ts';
import type { Kube } from '../../../machinery/object.ts';
import type { FieldError } from '../../../machinery/status-error.ts';
import { ageColumn, allVerbs, nameColumn } from '../../columns.ts';
import { isAbsent } from '../../copy-on-write.ts';
import { invalidValue } from '../../field-errors.ts';
import { checkNonNegative } from '../../formats.ts';

export const leases: KindDefinition<Lease> = {
  group: 'coordination.k8s.io',
  version: 'v1',
  resource: 'leases',
  kind: 'Lease',
  namespaced: true,
  singular: 'lease',
  shortNames: [],
  categories: [],
  schemaName: 'io.k8s.api.coordination.v1.Lease',
  verbs: allVerbs,
  hasGeneration: false,
  nameRule: 'subdomain',
  createdByUpdate: true,
  subresources: [],
  columns: [
    nameColumn,
    { name: 'Holder', type: 'string', description: 'Holder of the lease.', cell: ({ spec }) => spec?.holderIdentity ?? '' },
    ageColumn,
  ],
  selectableFields: {},
  deleteAnswer: 'status',
  validate: ({ spec }) => {
    const errors: FieldError[] = [];
    const seconds = spec?.leaseDurationSeconds;
    if (!isAbsent(seconds) && seconds <= 0) errors.push(invalidValue('spec.leaseDurationSeconds', seconds, 'must be greater than 0'));
    checkNonNegative(errors, 'spec.leaseTransitions', spec?.leaseTransitions);
    return errors;
  },
};

export type Lease = Kube<V1Lease>;
