import type { ComponentStatus as V1ComponentStatus } from 'kubernetes-types/core/v1.d.ts';
import type { KindDefinition } from '../../../machinery/kind.ts';
import type { Kube } from '../../../machinery/object.ts';
import { nameColumn } from '../../columns.ts';

/**
 * Health of the control plane's parts, computed at each request. The kind is deprecated, but many people still look at
 * it first.
 */
export const componentStatuses: KindDefinition<ComponentStatus> = {
  group: '',
  version: 'v1',
  resource: 'componentstatuses',
  kind: 'ComponentStatus',
  singular: 'componentstatus',
  namespaced: false,
  shortNames: ['cs'],
  categories: [],
  schemaName: 'io.k8s.api.core.v1.ComponentStatus',
  verbs: ['get', 'list'],
  transient: true,
  deprecation: 'v1 ComponentStatus is deprecated in v1.19+',
  hasGeneration: false,
  nameRule: 'path-segment',
  subresources: [],
  columns: [
    nameColumn,
    {
      name: 'Status',
      type: 'string',
      description: 'True when the component is healthy.',
      cell: ({ conditions = [] }) => (conditions.some(isHealthy) ? 'Healthy' : 'Unhealthy'),
    },
    {
      name: 'Message',
      type: 'string',
      description: 'What it said.',
      cell: ({ conditions = [] }) => conditions.find(({ type }) => type === 'Healthy')?.message ?? '',
    },
    {
      name: 'Error',
      type: 'string',
      description: 'Error of the health check.',
      cell: ({ conditions = [] }) => conditions.find(({ type }) => type === 'Healthy')?.error ?? '',
    },
  ],
  selectableFields: {},
  deleteAnswer: 'status',
};

const isHealthy = ({ type, status }: { readonly type: string; readonly status: string }): boolean =>
  type === 'Healthy' && status === 'True';

export type ComponentStatus = Kube<V1ComponentStatus>;
