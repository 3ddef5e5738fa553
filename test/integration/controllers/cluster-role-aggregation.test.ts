import { afterAll, beforeAll, it } from 'vitest';
import { clusterRoles } from '../../../src/api/rbac/v1/cluster-role.ts';
import { createClusterRoleAggregationController } from '../../../src/controllers/cluster-role-aggregation.ts';
import { type ControlPlane, startControlPlane } from '../../support/control-plane.ts';
import { until } from '../../support/until.ts';

let plane: ControlPlane;
beforeAll(async () => {
  plane = await startControlPlane({ controllers: [createClusterRoleAggregationController] });
});
afterAll(() => plane.stop());

const base = { apiVersion: 'rbac.authorization.k8s.io/v1', kind: 'ClusterRole' };
const part = (name: string, verb: string, to: string) => ({
  ...base,
  metadata: { name, labels: { [`to-${to}`]: 'true' } },
  rules: [{ verbs: [verb], apiGroups: [''], resources: ['pods'] }],
});
const whole = (name: string, from: string, labels: Readonly<Record<string, string>> = {}) => ({
  ...base,
  metadata: { name, labels },
  rules: [],
  aggregationRule: { clusterRoleSelectors: [{ matchLabels: { [`to-${from}`]: 'true' } }] },
});
const verbsOf = async (name: string) =>
  ((await plane.client.get(clusterRoles, { name })).rules ?? []).flatMap(({ verbs }) => verbs).join(' ');
const becomes = (name: string, verbs: string) => until(async () => (await verbsOf(name)) === verbs, { what: `${name} to allow ${verbs}` });

it('gives a role the rules of those it selects, through other aggregated roles and back', async () => {
  const { client } = plane;
  await client.create(clusterRoles, part('b-write', 'update', 'edit'));
  await client.create(clusterRoles, part('a-read', 'get', 'view'));
  await client.create(clusterRoles, whole('view', 'view', { 'to-edit': 'true' }));
  await client.create(clusterRoles, whole('edit', 'edit'));
  await becomes('view', 'get');
  await becomes('edit', 'update get');

  const edit = await client.get(clusterRoles, { name: 'edit' });
  await client.update(clusterRoles, { ...edit, rules: [] });
  await becomes('edit', 'update get');

  await client.create(clusterRoles, part('c-list', 'list', 'view'));
  await becomes('edit', 'update get list');
  await client.delete(clusterRoles, { name: 'a-read' });
  await becomes('edit', 'update list');
});
