import type {
  Endpoint as V1Endpoint,
  EndpointPort as V1EndpointPort,
  EndpointSlice as V1EndpointSlice,
} from 'kubernetes-types/discovery/v1.d.ts';
import type { KindDefinition } from '../../../machinery/kind.ts';
import type { DeepReadonly, Kube } from '../../../machinery/object.ts';
import { ageColumn, allVerbs, nameColumn } from '../../columns.ts';

export const endpointSlices: KindDefinition<EndpointSlice> = {
  group: 'discovery.k8s.io',
  version: 'v1',
  resource: 'endpointslices',
  kind: 'EndpointSlice',
  namespaced: true,
  singular: 'endpointslice',
  shortNames: [],
  categories: [],
  schemaName: 'io.k8s.api.discovery.v1.EndpointSlice',
  verbs: allVerbs,
  hasGeneration: true,
  nameRule: 'subdomain',
  subresources: [],
  columns: [nameColumn, ageColumn],
  selectableFields: {},
  deleteAnswer: 'status',
};

export type EndpointSlice = Kube<V1EndpointSlice>;
export type Endpoint = DeepReadonly<V1Endpoint>;
export type EndpointPort = DeepReadonly<V1EndpointPort>;
