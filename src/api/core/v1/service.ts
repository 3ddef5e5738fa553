import type { Service as V1Service, ServicePort as V1ServicePort, ServiceSpec as V1ServiceSpec } from 'kubernetes-types/core/v1.d.ts';
import type { KindDefinition } from '../../../machinery/kind.ts';
import type { DeepReadonly, Kube } from '../../../machinery/object.ts';
import { ageColumn, allVerbs, nameColumn } from '../../columns.ts';

export const services: KindDefinition<Service> = {
  group: '',
  version: 'v1',
  resource: 'services',
  kind: 'Service',
  namespaced: true,
  singular: 'service',
  shortNames: ['svc'],
  categories: ['all'],
  schemaName: 'io.k8s.api.core.v1.Service',
  verbs: allVerbs,
  hasGeneration: false,
  nameRule: 'label',
  subresources: [{ name: 'status', verbs: ['get', 'patch', 'update'] }],
  columns: [nameColumn, ageColumn],
  selectableFields: {
    'spec.clusterIP': (service) => service.spec.clusterIP ?? '',
    'spec.type': (service) => service.spec.type ?? '',
  },
  deleteAnswer: 'object',
  shortFieldLabelError: true,
};

export type Service = Kube<V1Service> & { readonly spec: ServiceSpec };
export type ServiceSpec = DeepReadonly<V1ServiceSpec>;
export type ServicePort = DeepReadonly<V1ServicePort>;
