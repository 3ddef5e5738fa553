import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { configMaps } from '../../../../src/api/core/v1/config-map.ts';
import { pods } from '../../../../src/api/core/v1/pod.ts';
import { clusterRoles } from '../../../../src/api/rbac/v1/cluster-role.ts';
import { clusterRoleBindings } from '../../../../src/api/rbac/v1/cluster-role-binding.ts';
import type { PolicyRule } from '../../../../src/api/rbac/v1/policy-rule.ts';
import { roles } from '../../../../src/api/rbac/v1/role.ts';
import { roleBindings } from '../../../../src/api/rbac/v1/role-binding.ts';
import { bootstrapAccess } from '../../../../src/apiserver/bootstrap.ts';
import type { RequestAttributes } from '../../../../src/apiserver/kube-api.ts';
import { apiServerUser, type UserInfo } from '../../../../src/apiserver/user.ts';
import type { Client } from '../../../../src/client/client.ts';
import { isForbidden, isNotFound } from '../../../../src/machinery/status-error.ts';
import { startSeededApi, type TestApi } from '../../../support/api.ts';

const apiVersion = 'rbac.authorization.k8s.io/v1';
const apiGroup = 'rbac.authorization.k8s.io';
const userOf = (name: string, ...groups: string[]): UserInfo => ({ name, groups: [...groups, 'system:authenticated'] });

let api: TestApi;
let admin: Client;

beforeAll(async () => {
  api = await startSeededApi(['shop', 'other']);
  admin = api.clientFor();
  await bootstrapAccess(api.clientFor(apiServerUser));
});

afterAll(() => api.stop());

function may(user: UserInfo, attributes: RequestAttributes): boolean {
  try {
    api.kubeApi.authorize(user, attributes);
    return true;
  } catch (err) {
    if (!isForbidden(err)) throw err;
    return false;
  }
}

const role = (name: string, rules: readonly PolicyRule[], namespace = 'shop') =>
  admin.create(roles, { apiVersion, kind: 'Role', metadata: { name, namespace }, rules });

const bind = (name: string, user: string, ref: { kind: string; name: string }, namespace = 'shop') =>
  admin.create(roleBindings, {
    apiVersion,
    kind: 'RoleBinding',
    metadata: { name, namespace },
    roleRef: { apiGroup, ...ref },
    subjects: [{ kind: 'User', name: user, apiGroup }],
  });

const readPods: PolicyRule = { verbs: ['get', 'list'], apiGroups: [''], resources: ['pods', 'pods/log'] };

describe('a role', () => {
  test('counts from its binding to its deletion, in its namespace only', async () => {
    const user = userOf('alice');
    const list = { verb: 'list', resource: 'pods', version: 'v1', namespace: 'shop' };
    await role('reader', [readPods]);
    expect(may(user, list)).toBe(false);
    await bind('alice-reads', 'alice', { kind: 'Role', name: 'reader' });
    expect(may(user, list)).toBe(true);
    expect(may(user, { ...list, verb: 'get', name: 'x', subresource: 'log' })).toBe(true);
    expect(may(user, { ...list, verb: 'delete', name: 'x' })).toBe(false);
    expect(may(user, { ...list, namespace: 'other' })).toBe(false);
    expect(may(user, { ...list, namespace: undefined })).toBe(false);
    expect(may(userOf('bob'), list)).toBe(false);
    await admin.delete(roleBindings, { namespace: 'shop', name: 'alice-reads' });
    expect(may(user, list)).toBe(false);
  });

  test('follows changes of its rules', async () => {
    const user = userOf('carol');
    const list = { verb: 'list', resource: 'configmaps', version: 'v1', namespace: 'shop' };
    const stored = await role('changing', [readPods]);
    await bind('carol-changing', 'carol', { kind: 'Role', name: 'changing' });
    expect(may(user, list)).toBe(false);
    await admin.update(roles, { ...stored, rules: [{ verbs: ['list'], apiGroups: [''], resources: ['configmaps'] }] });
    expect(may(user, list)).toBe(true);
    await admin.delete(roles, { namespace: 'shop', name: 'changing' });
    expect(() => api.kubeApi.authorize(user, list)).toThrow(
      'cannot list resource "configmaps" in API group "" in the namespace "shop": RBAC: role.rbac.authorization.k8s.io "changing" not found',
    );
  });

  test('with resource names covers these, also when they are listed by name', async () => {
    const user = userOf('dave');
    await role('one', [{ verbs: ['get', 'list'], apiGroups: [''], resources: ['configmaps'], resourceNames: ['conf'] }]);
    await bind('dave-one', 'dave', { kind: 'Role', name: 'one' });
    const base = { resource: 'configmaps', version: 'v1', namespace: 'shop' };
    expect(may(user, { verb: 'get', ...base, name: 'conf' })).toBe(true);
    expect(may(user, { verb: 'get', ...base, name: 'other' })).toBe(false);
    expect(may(user, { verb: 'list', ...base, fieldSelector: 'metadata.name=conf' })).toBe(true);
    expect(may(user, { verb: 'list', ...base, fieldSelector: 'metadata.name!=conf' })).toBe(false);
    expect(may(user, { verb: 'list', ...base })).toBe(false);
  });

  test('can be granted to groups and service accounts, everywhere', async () => {
    await admin.create(clusterRoles, {
      apiVersion,
      kind: 'ClusterRole',
      metadata: { name: 'scaler' },
      rules: [{ verbs: ['update'], apiGroups: ['*'], resources: ['*/scale'] }],
    });
    await admin.create(clusterRoleBindings, {
      apiVersion,
      kind: 'ClusterRoleBinding',
      metadata: { name: 'scalers' },
      roleRef: { apiGroup, kind: 'ClusterRole', name: 'scaler' },
      subjects: [
        { kind: 'Group', name: 'ops', apiGroup },
        { kind: 'ServiceAccount', name: 'robot', namespace: 'shop' },
      ],
    });
    const scale = {
      verb: 'update',
      group: 'apps',
      version: 'v1',
      resource: 'deployments',
      subresource: 'scale',
      namespace: 'other',
      name: 'x',
    };
    expect(may(userOf('erin', 'ops'), scale)).toBe(true);
    expect(may(userOf('system:serviceaccount:shop:robot'), scale)).toBe(true);
    expect(may(userOf('system:serviceaccount:other:robot'), scale)).toBe(false);
    expect(may(userOf('erin', 'ops'), { ...scale, subresource: undefined })).toBe(false);
  });
});

describe('nobody gives more than they have', { shuffle: false }, () => {
  let mallory: Client;

  beforeAll(async () => {
    // May write roles and bindings, and read pods.
    await role('author', [{ verbs: ['*'], apiGroups: [apiGroup], resources: ['roles', 'rolebindings'] }, readPods], 'other');
    // `*` on roles would hold escalate and bind, so the verbs are named.
    const stored = await admin.get(roles, { namespace: 'other', name: 'author' });
    await admin.update(roles, {
      ...stored,
      rules: [
        { verbs: ['get', 'list', 'create', 'update', 'patch'], apiGroups: [apiGroup], resources: ['roles', 'rolebindings'] },
        readPods,
      ],
    });
    await bind('mallory-author', 'mallory', { kind: 'Role', name: 'author' }, 'other');
    mallory = api.clientFor(userOf('mallory', 'devs'));
  });

  const metadata = { namespace: 'other' };
  const secretRule: PolicyRule = { verbs: ['get', 'list'], apiGroups: [''], resources: ['secrets'] };

  test('in a new role', async () => {
    await expect(
      mallory.create(roles, { apiVersion, kind: 'Role', metadata: { ...metadata, name: 'bad' }, rules: [secretRule] }),
    ).rejects.toThrow(
      'roles.rbac.authorization.k8s.io "bad" is forbidden: user "mallory" (groups=["devs" "system:authenticated"]) is attempting to grant RBAC permissions not currently held:\n{APIGroups:[""], Resources:["secrets"], Verbs:["get" "list"]}',
    );
    await mallory.create(roles, {
      apiVersion,
      kind: 'Role',
      metadata: { ...metadata, name: 'good' },
      rules: [{ verbs: ['get'], apiGroups: [''], resources: ['pods'], resourceNames: ['a'] }],
    });
  });

  test('by an edit of the role they have, by a patch, or by an apply', async () => {
    const own = await mallory.get(roles, { ...metadata, name: 'author' });
    const rules = [...(own.rules ?? []), secretRule];
    await expect(mallory.update(roles, { ...own, rules })).rejects.toThrow('not currently held');
    const ref = { ...metadata, name: 'author' };
    await expect(mallory.patch(roles, ref, { type: 'merge', body: { rules } })).rejects.toThrow('not currently held');
    const body = { apiVersion, kind: 'Role', metadata: ref, rules };
    await expect(mallory.patch(roles, ref, { type: 'apply', body }, { fieldManager: 'm', force: true })).rejects.toThrow(
      'not currently held',
    );
    // A write that leaves the rules unchanged needs no rights.
    await mallory.patch(roles, ref, { type: 'merge', body: { metadata: { labels: { a: 'b' } } } });
  });

  test('by wildcards that look like less', async () => {
    for (const rule of [
      { verbs: ['*'], apiGroups: [''], resources: ['pods'] },
      { verbs: ['get'], apiGroups: ['*'], resources: ['pods'] },
      { verbs: ['get'], apiGroups: [''], resources: ['*'] },
      { verbs: ['get'], apiGroups: [''], resources: ['*/log'] },
      { verbs: ['escalate'], apiGroups: [apiGroup], resources: ['roles'] },
    ]) {
      await expect(
        mallory.create(roles, { apiVersion, kind: 'Role', metadata: { ...metadata, name: 'wild' }, rules: [rule] }),
      ).rejects.toThrow('not currently held');
    }
  });

  test('by rules too many to compare', async () => {
    const many = (prefix: string) => Array.from({ length: 300 }, (_, index) => `${prefix}${index}`);
    const rules = [{ verbs: many('v'), apiGroups: many('g'), resources: many('r') }];
    await expect(mallory.create(roles, { apiVersion, kind: 'Role', metadata: { ...metadata, name: 'big' }, rules })).rejects.toThrow(
      'too many to be compared',
    );
  });

  const selfBinding = (kind: string, name: string) => ({
    apiVersion,
    kind: 'RoleBinding',
    metadata: { ...metadata, name: `self-${name}` },
    roleRef: { apiGroup, kind, name },
    subjects: [{ kind: 'User', name: 'mallory', apiGroup }],
  });

  test('by a binding to a stronger role', async () => {
    await expect(mallory.create(roleBindings, selfBinding('ClusterRole', 'cluster-admin'))).rejects.toThrow('not currently held');
    const missing = await mallory.create(roleBindings, selfBinding('Role', 'nowhere')).catch((err: unknown) => err);
    expect(isNotFound(missing)).toBe(true);
    await mallory.create(roleBindings, selfBinding('Role', 'good'));
  });

  test('unless the verb bind is theirs', async () => {
    await role('binder', [{ verbs: ['bind'], apiGroups: [apiGroup], resources: ['clusterroles'], resourceNames: ['view'] }], 'other');
    await bind('mallory-binder', 'mallory', { kind: 'Role', name: 'binder' }, 'other');
    await mallory.create(roleBindings, selfBinding('ClusterRole', 'view'));
    await expect(mallory.create(roleBindings, selfBinding('ClusterRole', 'system:kube-scheduler'))).rejects.toThrow('not currently held');
  });

  test('and invalid roles are refused with their errors', async () => {
    const broken = { apiVersion, kind: 'Role', metadata: { ...metadata, name: 'broken' }, rules: [{ resources: ['x'] }] };
    await expect(mallory.create(roles, broken as never)).rejects.toThrow('verbs must contain at least one value');
  });
});

describe('bootstrap roles', () => {
  test('get back what they lack, and keep what was added', async () => {
    const stored = await admin.get(clusterRoles, { name: 'system:basic-user' });
    const extra: PolicyRule = { verbs: ['get'], apiGroups: ['example.com'], resources: ['things'] };
    await admin.update(clusterRoles, { ...stored, rules: [extra] });
    const binding = await admin.get(clusterRoleBindings, { name: 'system:basic-user' });
    await admin.update(clusterRoleBindings, { ...binding, subjects: [] });
    await bootstrapAccess(api.clientFor(apiServerUser));
    const healed = await admin.get(clusterRoles, { name: 'system:basic-user' });
    expect(healed.rules).toContainEqual(extra);
    expect(may(userOf('x'), { verb: 'create', group: 'authentication.k8s.io', version: 'v1', resource: 'selfsubjectreviews' })).toBe(true);
    await admin.update(clusterRoles, stored.rules === undefined ? healed : { ...healed, rules: stored.rules });
  });

  test('stay as they are when a person says so', async () => {
    const stored = await admin.get(clusterRoles, { name: 'system:node-bootstrapper' });
    const annotations = { 'rbac.authorization.kubernetes.io/autoupdate': 'false' };
    await admin.update(clusterRoles, { ...stored, metadata: { ...stored.metadata, annotations }, rules: [] });
    await bootstrapAccess(api.clientFor(apiServerUser));
    expect((await admin.get(clusterRoles, { name: 'system:node-bootstrapper' })).rules).toBeNull();
  });

  test('let the accounts of controllers do their work', () => {
    const account = userOf('system:serviceaccount:kube-system:deployment-controller');
    const attributes = { group: 'apps', version: 'v1', namespace: 'shop' };
    expect(may(account, { verb: 'create', resource: 'replicasets', ...attributes })).toBe(true);
    expect(may(account, { verb: 'create', resource: 'deployments', ...attributes })).toBe(false);
  });
});

test('reads and writes through the API are decided by roles', async () => {
  const frank = api.clientFor(userOf('frank'));
  await expect(frank.list(pods, { namespace: 'shop' })).rejects.toThrow('cannot list resource "pods"');
  await role('viewer-of-frank', [readPods]);
  await bind('frank-views', 'frank', { kind: 'Role', name: 'viewer-of-frank' });
  expect((await frank.list(pods, { namespace: 'shop' })).items).toEqual([]);
  await expect(
    frank.create(configMaps, { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'x', namespace: 'shop' } }),
  ).rejects.toThrow('cannot create resource "configmaps"');
});

describe('the roles that every cluster has', () => {
  // The rules of upstream from 1.36.
  test.each([
    ['system:kube-scheduler', 'update', '', 'pods/finalizers'],
    ['system:kube-scheduler', 'create', 'resource.k8s.io', 'resourceclaims'],
    ['system:kube-scheduler', 'delete', 'resource.k8s.io', 'resourceclaims'],
    ['system:kube-scheduler', 'update', 'resource.k8s.io', 'resourceclaims/binding'],
    ['system:kube-scheduler', 'create', 'coordination.k8s.io', 'leasecandidates'],
    ['system:serviceaccount:kube-system:statefulset-controller', 'update', '', 'pods/finalizers'],
    ['system:serviceaccount:kube-system:cronjob-controller', 'watch', '', 'pods'],
    ['system:serviceaccount:kube-system:token-cleaner', 'delete', '', 'secrets'],
    ['system:serviceaccount:kube-system:bootstrap-signer', 'list', '', 'secrets'],
    ['system:serviceaccount:kube-system:cloud-provider', 'create', '', 'configmaps'],
  ])('let %s %s %s/%s', (user, verb, group, path) => {
    const [resource = '', subresource = ''] = path.split('/');
    const attributes = { verb, group, version: 'v1', resource, subresource, namespace: 'kube-system' };
    expect(may(userOf(user), attributes)).toBe(true);
    expect(may(userOf('system:serviceaccount:kube-system:other'), attributes)).toBe(false);
  });

  test('let the signer write what everybody may read of the cluster, and monitoring read the metrics of nodes', () => {
    const info = { verb: 'update', group: '', version: 'v1', resource: 'configmaps', namespace: 'kube-public', name: 'cluster-info' };
    expect(may(userOf('system:serviceaccount:kube-system:bootstrap-signer'), info)).toBe(true);
    expect(may(userOf('system:serviceaccount:kube-system:bootstrap-signer'), { ...info, name: 'other' })).toBe(false);
    const metrics = { verb: 'get', group: '', version: 'v1', resource: 'nodes', subresource: 'metrics', name: 'n1' };
    expect(may(userOf('prometheus', 'system:monitoring'), metrics)).toBe(true);
  });

  test.each([
    ['system:aggregate-to-edit', 'create'],
    ['system:aggregate-to-view', 'list'],
  ])('%s: %s events of events.k8s.io', async (name, verb) => {
    const { rules = [] } = await admin.get(clusterRoles, { name });
    const granting = rules.filter(
      ({ apiGroups = [], resources = [] }) => apiGroups.includes('events.k8s.io') && resources.includes('events'),
    );
    expect(granting.flatMap(({ verbs }) => verbs)).toContain(verb);
  });
});
