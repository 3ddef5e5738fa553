import type { Lease as V1Lease, LeaseSpec as V1LeaseSpec } from 'kubernetes-types/coordination/v1.d.ts';
import type { KindDefinition } from '../../../machinery/kind.ts';
import type { DeepReadonly, Kube } from '../../../machinery/object.ts';
import { ageColumn, allVerbs, nameColumn } from '../../columns.ts';

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
  subresources: [],
  columns: [nameColumn, ageColumn],
  selectableFields: {},
  deleteAnswer: 'status',
};

export type Lease = Kube<V1Lease>;
export type LeaseSpec = DeepReadonly<V1LeaseSpec>;
