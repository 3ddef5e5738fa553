import type { ClusterRoleBinding as V1ClusterRoleBinding } from 'kubernetes-types/rbac/v1.d.ts';
import type { KindDefinition } from '../../../machinery/kind.ts';
import type { Kube } from '../../../machinery/object.ts';
import { allVerbs } from '../../columns.ts';
import { bindingColumns, bindingDefaults, validateBinding } from './binding-parts.ts';
import { rbacGroup } from './policy-rule.ts';

export const clusterRoleBindings: KindDefinition<ClusterRoleBinding> = {
  group: rbacGroup,
  version: 'v1',
  resource: 'clusterrolebindings',
  kind: 'ClusterRoleBinding',
  namespaced: false,
  singular: 'clusterrolebinding',
  shortNames: [],
  categories: [],
  schemaName: 'io.k8s.api.rbac.v1.ClusterRoleBinding',
  verbs: allVerbs,
  hasGeneration: false,
  nameRule: 'path-segment',
  createdByUpdate: true,
  subresources: [],
  columns: bindingColumns,
  selectableFields: {},
  deleteAnswer: 'status',
  defaults: bindingDefaults,
  validate: (binding, before) => validateBinding(binding, before, ['ClusterRole']),
};

export type ClusterRoleBinding = Kube<V1ClusterRoleBinding>;
