import type { Role as V1Role } from 'kubernetes-types/rbac/v1.d.ts';
import type { Column, KindDefinition } from '../../../machinery/kind.ts';
import type { Kube, KubeObject } from '../../../machinery/object.ts';
import { allVerbs, nameColumn } from '../../columns.ts';
import { rbacGroup, validateRules, withRulesOrNull } from './policy-rule.ts';

export const createdAtColumn: Column<KubeObject> = {
  name: 'Created At',
  type: 'date',
  description: 'When the object was created.',
  cell: ({ metadata }) => metadata.creationTimestamp ?? null,
};

export const roles: KindDefinition<Role> = {
  group: rbacGroup,
  version: 'v1',
  resource: 'roles',
  kind: 'Role',
  namespaced: true,
  singular: 'role',
  shortNames: [],
  categories: [],
  schemaName: 'io.k8s.api.rbac.v1.Role',
  verbs: allVerbs,
  hasGeneration: false,
  nameRule: 'path-segment',
  createdByUpdate: true,
  subresources: [],
  columns: [nameColumn, createdAtColumn],
  selectableFields: {},
  deleteAnswer: 'status',
  prepareForCreate: withRulesOrNull,
  prepareForUpdate: withRulesOrNull,
  validate: ({ rules }, before) => (before !== undefined && rules === before.rules ? [] : validateRules(rules, true)),
};

export type Role = Kube<V1Role>;
