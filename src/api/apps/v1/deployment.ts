import type {
  Deployment as V1Deployment,
  DeploymentCondition as V1DeploymentCondition,
  DeploymentSpec as V1DeploymentSpec,
  DeploymentStatus as V1DeploymentStatus,
} from 'kubernetes-types/apps/v1.d.ts';
import type { KindDefinition } from '../../../machinery/kind.ts';
import type { DeepReadonly, Kube } from '../../../machinery/object.ts';
import { ageColumn, allVerbs, nameColumn } from '../../columns.ts';

export const deployments: KindDefinition<Deployment> = {
  group: 'apps',
  version: 'v1',
  resource: 'deployments',
  kind: 'Deployment',
  namespaced: true,
  singular: 'deployment',
  shortNames: ['deploy'],
  categories: ['all'],
  schemaName: 'io.k8s.api.apps.v1.Deployment',
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

export type Deployment = Kube<V1Deployment> & { readonly spec: DeploymentSpec };
export type DeploymentSpec = DeepReadonly<V1DeploymentSpec>;
export type DeploymentStatus = DeepReadonly<V1DeploymentStatus>;
export type DeploymentCondition = DeepReadonly<V1DeploymentCondition>;
