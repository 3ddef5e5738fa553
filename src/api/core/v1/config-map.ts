import type { ConfigMap as V1ConfigMap } from 'kubernetes-types/core/v1.d.ts';
import type { KindDefinition } from '../../../machinery/kind.ts';
import type { Kube } from '../../../machinery/object.ts';
import { ageColumn, allVerbs, nameColumn } from '../../columns.ts';

export const configMaps: KindDefinition<ConfigMap> = {
  group: '',
  version: 'v1',
  resource: 'configmaps',
  kind: 'ConfigMap',
  namespaced: true,
  singular: 'configmap',
  shortNames: ['cm'],
  categories: [],
  schemaName: 'io.k8s.api.core.v1.ConfigMap',
  verbs: allVerbs,
  hasGeneration: false,
  nameRule: 'subdomain',
  subresources: [],
  columns: [nameColumn, ageColumn],
  selectableFields: {},
  deleteAnswer: 'status',
};

export type ConfigMap = Kube<V1ConfigMap>;
