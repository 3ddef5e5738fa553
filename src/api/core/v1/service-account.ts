import type { ServiceAccount as V1ServiceAccount } from 'kubernetes-types/core/v1.d.ts';
import type { KindDefinition } from '../../../machinery/kind.ts';
import type { Kube } from '../../../machinery/object.ts';
import { ageColumn, allVerbs, nameColumn } from '../../columns.ts';

export const serviceAccounts: KindDefinition<ServiceAccount> = {
  group: '',
  version: 'v1',
  resource: 'serviceaccounts',
  kind: 'ServiceAccount',
  namespaced: true,
  singular: 'serviceaccount',
  shortNames: ['sa'],
  categories: [],
  schemaName: 'io.k8s.api.core.v1.ServiceAccount',
  verbs: allVerbs,
  hasGeneration: false,
  nameRule: 'subdomain',
  subresources: [{ name: 'token', verbs: ['create'], body: { group: 'authentication.k8s.io', version: 'v1', kind: 'TokenRequest' } }],
  columns: [nameColumn, ageColumn],
  selectableFields: {},
  deleteAnswer: 'object',
};

export type ServiceAccount = Kube<V1ServiceAccount>;
