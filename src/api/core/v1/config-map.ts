import type { ConfigMap as V1ConfigMap } from 'kubernetes-types/core/v1.d.ts';
import type { KindDefinition } from '../../../machinery/kind.ts';
import type { Kube } from '../../../machinery/object.ts';
import { ageColumn, allVerbs, nameColumn } from '../../columns.ts';
import { validateConfigData } from './config-data.ts';

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
  columns: [
    nameColumn,
    {
      name: 'Data',
      type: 'string',
      description: 'Number of keys.',
      cell: ({ data, binaryData }) => Object.keys(data ?? {}).length + Object.keys(binaryData ?? {}).length,
    },
    ageColumn,
  ],
  selectableFields: {},
  deleteAnswer: 'status',
  validate: (configMap, before) =>
    validateConfigData({ data: configMap.data, binaryData: configMap.binaryData, immutable: configMap.immutable }, before),
};

export type ConfigMap = Kube<V1ConfigMap>;
