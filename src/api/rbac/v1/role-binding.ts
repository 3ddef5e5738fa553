import type { RoleBinding as V1RoleBinding } from 'kubernetes-types/rbac/v1.d.ts';
import type { KindDefinition } from '../../../machinery/kind.ts';
import type { Kube } from '../../../machinery/object.ts';
import { allVerbs } from '../../columns.ts';
import { bindingColumns, bindingDefaults, validateBinding } from './binding-parts.ts';
import { rbacGroup } from './policy-rule.ts';

export const roleBindings: KindDefinition<RoleBinding> = {
  group: rbacGroup,
  version: 'v1',
  resource: 'rolebindings',
  kind: 'RoleBinding',
  namespaced: true,
  singular: 'rolebinding',
  shortNames: [],
  categories: [],
  schemaName: 'io.k8s.api.rbac.v1.RoleBinding',
  verbs: allVerbs,
  hasGeneration: false,
  nameRule: 'path-segment',
  createdByUpdate: true,
  subresources: [],
  columns: bindingColumns,
  selectableFields: {},
  deleteAnswer: 'status',
  defaults: bindingDefaults,
  validate: (binding, before) => validateBinding(binding, before, ['Role', 'ClusterRole']),
};

export type RoleBinding = Kube<V1RoleBinding>;
