import type { Namespace as V1Namespace } from 'kubernetes-types/core/v1.d.ts';
import type { KindDefinition } from '../../../machinery/kind.ts';
import type { Kube } from '../../../machinery/object.ts';
import { ageColumn, nameColumn } from '../../columns.ts';

export const namespaces: KindDefinition<Namespace> = {
  group: '',
  version: 'v1',
  resource: 'namespaces',
  kind: 'Namespace',
  namespaced: false,
  singular: 'namespace',
  shortNames: ['ns'],
  categories: [],
  schemaName: 'io.k8s.api.core.v1.Namespace',
  verbs: ['create', 'delete', 'get', 'list', 'patch', 'update', 'watch'],
  hasGeneration: false,
  nameRule: 'label',
  subresources: [
    { name: 'status', verbs: ['get', 'patch', 'update'] },
    { name: 'finalize', verbs: ['update'] },
  ],
  columns: [nameColumn, ageColumn],
  selectableFields: { 'status.phase': (namespace) => namespace.status?.phase ?? '' },
  deleteAnswer: 'object',
  shortFieldLabelError: true,
};

export type Namespace = Kube<V1Namespace>;
