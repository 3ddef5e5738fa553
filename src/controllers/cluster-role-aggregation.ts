import { type ClusterRole, clusterRoles } from '../api/rbac/v1/cluster-role.ts';
import { deepEqual } from '../machinery/object.ts';
import { compileLabelSelector, type LabelSelectorObject } from '../machinery/selector.ts';
import { isNotFound } from '../machinery/status-error.ts';
import type { Controller, ReconcileContext } from '../reconcile/controller.ts';
import type { ControllerDependencies } from '../reconcile/dependencies.ts';
import { createInformedController } from '../reconcile/informed-controller.ts';

/** Writes into each ClusterRole with an aggregation rule the rules of the roles it selects. Roles are few: every change looks at all. */
export function createClusterRoleAggregationController(dependencies: ControllerDependencies): Controller {
  const { client, informers } = dependencies;
  const informer = informers.get(clusterRoles);

  const controller = createInformedController(dependencies, {
    name: 'clusterrole-aggregation-controller',
    reconcile,
  });
  informer.addHandler(() => {
    for (const { metadata, aggregationRule } of informer.list()) if (aggregationRule !== undefined) controller.enqueue(metadata.name);
  });
  return controller;

  async function reconcile(name: string, { signal }: ReconcileContext): Promise<undefined> {
    const role = informer.get({ name });
    if (role?.aggregationRule === undefined) return;
    const rules = aggregatedRules(role, [...informer.list()]);
    if (deepEqual(rules, role.rules ?? [])) return;
    try {
      await client.update(clusterRoles, { ...role, rules }, { signal });
    } catch (err) {
      if (!isNotFound(err)) throw err;
    }
  }
}

/** By the order of selectors, then of names; each rule once. */
function aggregatedRules({ metadata, aggregationRule }: ClusterRole, roles: readonly ClusterRole[]): NonNullable<ClusterRole['rules']> {
  const sorted = [...roles].sort((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1));
  const rules: NonNullable<ClusterRole['rules']>[number][] = [];
  for (const selector of aggregationRule?.clusterRoleSelectors ?? []) {
    const compiled = compileLabelSelector(selector as LabelSelectorObject);
    for (const role of sorted) {
      if (role.metadata.name === metadata.name || !compiled.matches(role.metadata.labels ?? {})) continue;
      for (const rule of role.rules ?? []) if (!rules.some((known) => deepEqual(known, rule))) rules.push(rule);
    }
  }
  return rules;
}
