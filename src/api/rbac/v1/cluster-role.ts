import type { ClusterRole as V1ClusterRole } from 'kubernetes-types/rbac/v1.d.ts';
import type { KindDefinition } from '../../../machinery/kind.ts';
import type { Kube } from '../../../machinery/object.ts';
import { compileLabelSelector, type LabelSelectorObject } from '../../../machinery/selector.ts';
import type { FieldError } from '../../../machinery/status-error.ts';
import { allVerbs, nameColumn } from '../../columns.ts';
import { isAbsent } from '../../copy-on-write.ts';
import { invalidValue, required } from '../../field-errors.ts';
import { rbacGroup, validateRules, withRulesOrNull } from './policy-rule.ts';
import { createdAtColumn } from './role.ts';

export const clusterRoles: KindDefinition<ClusterRole> = {
  group: rbacGroup,
  version: 'v1',
  resource: 'clusterroles',
  kind: 'ClusterRole',
  namespaced: false,
  singular: 'clusterrole',
  shortNames: [],
  categories: [],
  schemaName: 'io.k8s.api.rbac.v1.ClusterRole',
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
  validate({ rules, aggregationRule }, before) {
    return [
      ...(before !== undefined && rules === before.rules ? [] : validateRules(rules, false)),
      ...(before !== undefined && aggregationRule === before.aggregationRule ? [] : aggregationErrors(aggregationRule)),
    ];
  },
};

export type ClusterRole = Kube<V1ClusterRole>;

function aggregationErrors(rule: ClusterRole['aggregationRule'] | null): readonly FieldError[] {
  if (isAbsent(rule)) return [];
  const field = 'aggregationRule.clusterRoleSelectors';
  const selectors = rule.clusterRoleSelectors ?? [];
  if (selectors.length === 0) return [required(field, 'at least one clusterRoleSelector required if aggregationRule is non-nil')];
  return selectors.flatMap((selector, index) => {
    try {
      compileLabelSelector(selector as LabelSelectorObject);
      return [];
    } catch (err) {
      return [invalidValue(`${field}[${index}]`, selector, err instanceof Error ? err.message : String(err))];
    }
  });
}
