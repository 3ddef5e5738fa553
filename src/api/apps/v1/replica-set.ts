import type {
  ReplicaSet as V1ReplicaSet,
  ReplicaSetCondition as V1ReplicaSetCondition,
  ReplicaSetSpec as V1ReplicaSetSpec,
  ReplicaSetStatus as V1ReplicaSetStatus,
} from 'kubernetes-types/apps/v1.d.ts';
import type { KindDefinition } from '../../../machinery/kind.ts';
import type { DeepReadonly, Kube } from '../../../machinery/object.ts';
import { ageColumn, allVerbs, nameColumn } from '../../columns.ts';

export const replicaSets: KindDefinition<ReplicaSet> = {
  group: 'apps',
  version: 'v1',
  resource: 'replicasets',
  kind: 'ReplicaSet',
  namespaced: true,
  singular: 'replicaset',
  shortNames: ['rs'],
  categories: ['all'],
  schemaName: 'io.k8s.api.apps.v1.ReplicaSet',
  verbs: allVerbs,
  hasGeneration: true,
  nameRule: 'subdomain',
  subresources: [
    { name: 'status', verbs: ['get', 'patch', 'update'] },
    {
      name: 'scale',
      verbs: ['get', 'patch', 'update'],
      body: { group: 'autoscaling', version: 'v1', kind: 'Scale' },
      scale: { specReplicasPath: '.spec.replicas', statusReplicasPath: '.status.replicas', selectorPath: '.spec.selector' },
    },
  ],
  columns: [nameColumn, ageColumn],
  selectableFields: {},
  deleteAnswer: 'status',
};

export type ReplicaSet = Kube<V1ReplicaSet> & { readonly spec: ReplicaSetSpec };
export type ReplicaSetSpec = DeepReadonly<V1ReplicaSetSpec>;
export type ReplicaSetStatus = DeepReadonly<V1ReplicaSetStatus>;
export type ReplicaSetCondition = DeepReadonly<V1ReplicaSetCondition>;
