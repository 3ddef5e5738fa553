import { generateKeyPairSync } from 'node:crypto';
import { SignJWT } from 'jose';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { namespaces } from '../../../src/api/core/v1/namespace.ts';
import { type Pod, pods } from '../../../src/api/core/v1/pod.ts';
import { serviceAccounts } from '../../../src/api/core/v1/service-account.ts';
import { clusterRoles } from '../../../src/api/rbac/v1/cluster-role.ts';
import { clusterRoleBindings } from '../../../src/api/rbac/v1/cluster-role-binding.ts';
import { roles } from '../../../src/api/rbac/v1/role.ts';
import { roleBindings } from '../../../src/api/rbac/v1/role-binding.ts';
import type { Client } from '../../../src/client/client.ts';
import { startTestApiServer, type TestApiServer } from '../../support/api-server.ts';

const issuer = 'https://kubernetes.default.svc.cluster.local';
const apiGroup = 'rbac.authorization.k8s.io';

let cluster: TestApiServer;
let admin: Client;

beforeAll(async () => {
  cluster = await startTestApiServer();
  admin = cluster.api.clientFor();
  await admin.create(namespaces, { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'shop' } });
  for (const name of ['default', 'robot']) {
    await admin.create(serviceAccounts, { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name, namespace: 'shop' } });
  }
});

afterAll(() => cluster.stop());

const post = (path: string, body: unknown, headers: Readonly<Record<string, string>> = {}) =>
  cluster.fetch(path, { method: 'POST', body, headers });
const bearer = (token: string) => ({ authorization: `Bearer ${token}` });
const tokenPath = (name: string) => `/api/v1/namespaces/shop/serviceaccounts/${name}/token`;
const accounts = '/api/v1/namespaces/shop/serviceaccounts';

async function tokenOf(name: string, spec: unknown = {}): Promise<string> {
  const answer = await post(tokenPath(name), { spec });
  expect(answer.status).toBe(201);
  return answer.json.status.token as string;
}

const claimsOf = (token: string) => JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString());
const review = async (token: string, audiences?: readonly string[]) =>
  (await post('/apis/authentication.k8s.io/v1/tokenreviews', { spec: { token, ...(audiences === undefined ? {} : { audiences }) } })).json;

it('reads the header of a bearer as the real server does', async () => {
  const whoIs = async (authorization: string) => {
    const { status, json } = await post('/apis/authentication.k8s.io/v1/selfsubjectreviews', {}, { authorization });
    return status === 401 ? '401' : (/User "([^"]*)"/.exec(json.message ?? '')?.[1] ?? json.status.userInfo.username);
  };
  const { aliceToken } = cluster;
  const headers = [
    `Bearer ${aliceToken}`,
    `bearer ${aliceToken} b`,
    'Bearer a b',
    'Bearer a',
    `Bearer  ${aliceToken}`,
    'Bearer',
    'Basic YTpi',
  ];
  expect(await Promise.all(headers.map(whoIs))).toEqual([
    'alice',
    'alice',
    '401',
    '401',
    'system:anonymous',
    'system:anonymous',
    'system:anonymous',
  ]);
});

describe('tokens of service accounts', () => {
  it('are issued with the claims that Kubernetes has, and tell who bears them', async () => {
    const answer = await post(tokenPath('robot'), { spec: { expirationSeconds: 600, audiences: ['x', issuer] } });
    expect(answer.status).toBe(201);
    const { uid } = (await admin.get(serviceAccounts, { namespace: 'shop', name: 'robot' })).metadata;
    expect(answer.json).toMatchObject({
      kind: 'TokenRequest',
      apiVersion: 'authentication.k8s.io/v1',
      metadata: { name: 'robot', namespace: 'shop', uid },
      spec: { audiences: ['x', issuer], expirationSeconds: 600, boundObjectRef: null },
    });
    const claims = claimsOf(answer.json.status.token);
    expect(claims).toMatchObject({
      aud: ['x', issuer],
      iss: issuer,
      sub: 'system:serviceaccount:shop:robot',
      'kubernetes.io': { namespace: 'shop', serviceaccount: { name: 'robot', uid } },
    });
    expect(claims.exp - claims.iat).toBe(600);
    const who = await post('/apis/authentication.k8s.io/v1/selfsubjectreviews', {}, bearer(answer.json.status.token));
    expect(who.json.status.userInfo).toEqual({
      username: 'system:serviceaccount:shop:robot',
      uid,
      groups: ['system:serviceaccounts', 'system:serviceaccounts:shop', 'system:authenticated'],
      extra: { 'authentication.kubernetes.io/credential-id': [`JTI=${claims.jti}`] },
    });
    expect((await review(answer.json.status.token, ['x'])).status).toMatchObject({ authenticated: true, audiences: ['x'] });
  });

  it('are refused for less than ten minutes, for accounts that are not there, and to whoever may not', async () => {
    const short = await post(tokenPath('robot'), { spec: { expirationSeconds: 5 } });
    expect(short).toMatchObject({ status: 422 });
    expect(short.json.message).toBe(
      'TokenRequest.authentication.k8s.io "" is invalid: spec.expirationSeconds: Invalid value: 5: may not specify a duration less than 10 minutes',
    );
    expect((await post(tokenPath('nobody'), { spec: {} })).status).toBe(404);
    expect((await post(tokenPath('robot'), { spec: {} }, bearer(cluster.aliceToken))).status).toBe(403);
    expect((await post(tokenPath('robot'), { spec: { expirationSeconds: 'long' } })).status).toBe(400);
  });

  it('can be verified by others with the published keys', async () => {
    const configuration = (await cluster.fetch('/.well-known/openid-configuration')).json;
    expect(configuration).toMatchObject({ issuer, id_token_signing_alg_values_supported: ['ES256'] });
    const { keys } = (await cluster.fetch('/openid/v1/jwks')).json;
    expect(keys).toHaveLength(1);
    expect(JSON.stringify(keys)).not.toContain('"d"');
    const { jwtVerify, createLocalJWKSet } = await import('jose');
    const { payload } = await jwtVerify(await tokenOf('robot'), createLocalJWKSet({ keys }), { issuer, audience: issuer });
    expect(payload.sub).toBe('system:serviceaccount:shop:robot');
    // Not for everyone, as on the real server.
    expect((await cluster.fetch('/openid/v1/jwks', { anonymous: true })).status).toBe(403);
    expect((await cluster.fetch('/openid/v1/jwks', { headers: bearer(await tokenOf('robot')) })).status).toBe(200);
  });

  describe('open nothing when they are', () => {
    const refused = async (token: string) => {
      expect((await cluster.fetch(accounts, { headers: bearer(token) })).status).toBe(401);
      expect((await review(token)).status).toEqual({ user: {}, error: 'invalid bearer token' });
    };

    it('changed, unsigned, or signed by another key', async () => {
      const token = await tokenOf('robot');
      const [head = '', body = '', signature = ''] = token.split('.');
      const forged = { ...claimsOf(token), sub: 'system:serviceaccount:shop:default' };
      const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');
      await refused(`${head}.${encode(forged)}.${signature}`);
      await refused(`${encode({ alg: 'none' })}.${body}.`);
      await refused(`${encode({ alg: 'HS256' })}.${body}.${signature}`);
      const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
      await refused(await new SignJWT(claimsOf(token)).setProtectedHeader({ alg: 'ES256' }).sign(privateKey));
      await refused('a.b.c');
      await refused('x'.repeat(10_000));
    });

    it('signed by our key and expired, not yet good, or about another account than they say', async () => {
      const { privateKey, id } = await cluster.pki.signingKey();
      const good = claimsOf(await tokenOf('robot'));
      const sign = (claims: Record<string, unknown>) =>
        new SignJWT({ ...good, ...claims }).setProtectedHeader({ alg: 'ES256', kid: id }).sign(privateKey);
      expect((await review(await sign({}))).status.authenticated).toBe(true);
      const now = Math.floor(Date.now() / 1_000);
      await refused(await sign({ exp: now - 1 }));
      await refused(await sign({ nbf: now + 600 }));
      await refused(await sign({ sub: 'system:serviceaccount:kube-system:default' }));
      await refused(await sign({ iss: 'https://elsewhere' }));
      await refused(await sign({ 'kubernetes.io': null }));
    });

    it('for another audience', async () => {
      await refused(await tokenOf('robot', { audiences: ['vault'] }));
    });

    it('from a deleted account, also when one of the same name is created', async () => {
      const metadata = { name: 'gone', namespace: 'shop' };
      await admin.create(serviceAccounts, { apiVersion: 'v1', kind: 'ServiceAccount', metadata });
      const token = await tokenOf('gone');
      expect((await review(token)).status.authenticated).toBe(true);
      await admin.delete(serviceAccounts, metadata);
      await refused(token);
      await admin.create(serviceAccounts, { apiVersion: 'v1', kind: 'ServiceAccount', metadata });
      await refused(token);
    });

    it('bound to a pod that is gone', async () => {
      const metadata = { name: 'bound', namespace: 'shop' };
      const pod = { apiVersion: 'v1', kind: 'Pod', metadata, spec: { containers: [{ name: 'c', image: 'host/x' }] } };
      await admin.create<Pod>(pods, pod as Pod);
      const boundObjectRef = { kind: 'Pod', apiVersion: 'v1', name: 'bound' };
      expect((await post(tokenPath('robot'), { spec: { boundObjectRef } })).status).toBe(400);
      expect((await post(tokenPath('default'), { spec: { boundObjectRef: { ...boundObjectRef, uid: 'x' } } })).status).toBe(409);
      expect((await post(tokenPath('default'), { spec: { boundObjectRef: { ...boundObjectRef, kind: 'Namespace' } } })).status).toBe(400);
      const token = await tokenOf('default', { boundObjectRef });
      expect((await review(token)).status.user.extra).toMatchObject({ 'authentication.kubernetes.io/pod-name': ['bound'] });
      await admin.delete(pods, metadata);
      await refused(token);
    });
  });

  it('go to a node only for its own pods', async () => {
    const make = (name: string, nodeName: string) =>
      admin.create<Pod>(pods, {
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name, namespace: 'shop' },
        spec: { nodeName, containers: [{ name: 'c', image: 'host/x' }] },
      } as Pod);
    const mine = await make('mine', 'n1');
    const theirs = await make('theirs', 'n2');
    const node = cluster.api.clientFor({ name: 'system:node:n1', groups: ['system:nodes', 'system:authenticated'] });
    const ask = (spec: unknown, name = 'default') =>
      node.createSubresource(serviceAccounts, { namespace: 'shop', name }, 'token', { kind: 'TokenRequest', spec } as never);
    const refTo = ({ metadata }: Pod) => ({ boundObjectRef: { kind: 'Pod', apiVersion: 'v1', name: metadata.name, uid: metadata.uid } });
    expect(await ask(refTo(mine))).toMatchObject({ status: { token: expect.stringContaining('.') } });
    await expect(ask(refTo(theirs))).rejects.toMatchObject({ code: 403 });
    await expect(ask({})).rejects.toMatchObject({ code: 403 });
    await expect(ask({}, 'robot')).rejects.toMatchObject({ code: 403 });
  });
});

describe('reviews', () => {
  const asAlice = () => bearer(cluster.aliceToken);

  it('answer who one is', async () => {
    const answer = await post('/apis/authentication.k8s.io/v1/selfsubjectreviews', {}, asAlice());
    expect(answer).toMatchObject({
      status: 201,
      json: { status: { userInfo: { username: 'alice', groups: ['devs', 'system:authenticated'] } } },
    });
    expect((await cluster.fetch('/apis/authentication.k8s.io/v1/selfsubjectreviews')).status).toBe(405);
    const path = '/apis/authentication.k8s.io/v1/selfsubjectreviews';
    expect((await cluster.fetch(path, { method: 'POST', body: {}, anonymous: true })).status).toBe(403);
  });

  it('answer what one may do, before and after a binding', async () => {
    const path = '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews';
    const spec = { resourceAttributes: { namespace: 'shop', verb: 'get', resource: 'pods', subresource: 'log' } };
    const before = await post(path, { spec }, asAlice());
    expect(before).toMatchObject({ status: 201 });
    expect(before.json).toEqual({
      kind: 'SelfSubjectAccessReview',
      apiVersion: 'authorization.k8s.io/v1',
      metadata: {},
      spec,
      status: { allowed: false },
    });
    const rules = [{ verbs: ['get', 'list', 'watch'], apiGroups: [''], resources: ['pods', 'pods/log'] }];
    await admin.create(roles, { apiVersion: `${apiGroup}/v1`, kind: 'Role', metadata: { name: 'r1', namespace: 'shop' }, rules });
    await admin.create(roleBindings, {
      apiVersion: `${apiGroup}/v1`,
      kind: 'RoleBinding',
      metadata: { name: 'rb1', namespace: 'shop' },
      roleRef: { apiGroup, kind: 'Role', name: 'r1' },
      subjects: [{ kind: 'User', name: 'alice' }],
    });
    expect((await post(path, { spec }, asAlice())).json.status).toEqual({
      allowed: true,
      reason: 'RBAC: allowed by RoleBinding "rb1/shop" of Role "r1" to User "alice"',
    });
    expect((await cluster.fetch('/api/v1/namespaces/shop/pods', { headers: asAlice() })).status).toBe(200);
    expect((await post(path, { spec: { nonResourceAttributes: { path: '/healthz', verb: 'get' } } })).json.status).toEqual({
      allowed: true,
    });
  });

  it('answer for others, to whoever may ask', async () => {
    const path = '/apis/authorization.k8s.io/v1/subjectaccessreviews';
    const spec = { user: 'alice', groups: ['devs'], resourceAttributes: { verb: 'get', resource: 'nodes' } };
    expect((await post(path, { spec })).json).toMatchObject({ spec, status: { allowed: false } });
    expect((await post(path, { spec }, asAlice())).status).toBe(403);
    const local = '/apis/authorization.k8s.io/v1/namespaces/shop/localsubjectaccessreviews';
    const question = { user: 'alice', resourceAttributes: { namespace: 'shop', verb: 'get', resource: 'pods' } };
    expect((await post(local, { metadata: { namespace: 'shop' }, spec: question })).json.status.allowed).toBe(true);
    const elsewhere = { ...question, resourceAttributes: { ...question.resourceAttributes, namespace: 'default' } };
    expect((await post(local, { spec: elsewhere })).status).toBe(422);
    const empty = await post(path, { spec: {} });
    expect(empty.json).toMatchObject({
      message:
        '.authorization.k8s.io "" is invalid: [spec.resourceAttributes: Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified, spec.user: Invalid value: "": at least one of user or group must be specified]',
      code: 422,
    });
    expect(empty.json.details.kind).toBeUndefined();
  });

  it('list what one may do', async () => {
    const path = '/apis/authorization.k8s.io/v1/selfsubjectrulesreviews';
    const answer = await post(path, { spec: { namespace: 'shop' } }, asAlice());
    expect(answer.json).toMatchObject({ spec: {}, status: { incomplete: false } });
    expect(answer.json.status.resourceRules).toContainEqual({
      verbs: ['create'],
      apiGroups: ['authentication.k8s.io'],
      resources: ['selfsubjectreviews'],
    });
    expect(answer.json.status.resourceRules).toContainEqual({
      verbs: ['get', 'list', 'watch'],
      apiGroups: [''],
      resources: ['pods', 'pods/log'],
    });
    expect(answer.json.status.nonResourceRules.flatMap((rule: { nonResourceURLs: string[] }) => rule.nonResourceURLs)).toContain('/apis/*');
    expect((await post(path, { spec: {} }, asAlice())).status).toBe(400);
  });

  it('leave nothing behind', async () => {
    const { revision } = cluster.api.kubeApi;
    await post('/apis/authorization.k8s.io/v1/selfsubjectaccessreviews', { spec: { nonResourceAttributes: { path: '/x', verb: 'get' } } });
    expect(cluster.api.kubeApi.revision).toBe(revision);
  });
});

describe('impersonation', () => {
  const configMapsPath = '/api/v1/namespaces/shop/configmaps';
  const as = (user: string, more: Readonly<Record<string, string>> = {}) => ({ 'impersonate-user': user, ...more });

  it('lets those who may do everything act with the rights of others', async () => {
    expect((await cluster.fetch(configMapsPath)).status).toBe(200);
    const refused = await cluster.fetch(configMapsPath, { headers: as('carol') });
    expect(refused.json).toMatchObject({
      code: 403,
      message: 'configmaps is forbidden: User "carol" cannot list resource "configmaps" in API group "" in the namespace "shop"',
    });
    const who = await post(
      '/apis/authentication.k8s.io/v1/selfsubjectreviews',
      {},
      as('carol', { 'impersonate-group': 'ops', 'impersonate-uid': '7' }),
    );
    expect(who.json.status.userInfo).toEqual({ username: 'carol', uid: '7', groups: ['ops', 'system:authenticated'] });
    const robot = await post('/apis/authentication.k8s.io/v1/selfsubjectreviews', {}, as('system:serviceaccount:shop:robot'));
    expect(robot.json.status.userInfo.groups).toEqual(['system:serviceaccounts', 'system:serviceaccounts:shop', 'system:authenticated']);
    const nobody = await cluster.fetch('/apis', { headers: as('system:anonymous') });
    expect(nobody.json.message).toBe('forbidden: User "system:anonymous" cannot get path "/apis"');
  });

  it('gives no more than its name says, even that of a component', async () => {
    for (const name of ['system:apiserver', 'system:kube-controller-manager', 'system:midship:gitops']) {
      const answer = await cluster.fetch('/api/v1/namespaces/shop/configmaps/x', { method: 'DELETE', headers: as(name) });
      expect(answer.status).toBe(403);
    }
  });

  it('is refused to whoever has no right to it', async () => {
    const alice = bearer(cluster.aliceToken);
    const refused = await cluster.fetch(configMapsPath, { headers: { ...alice, ...as('bob') } });
    expect(refused.json).toMatchObject({
      code: 403,
      message:
        'configmaps is forbidden: User "alice" cannot impersonate-on:user-info:list resource "configmaps" in API group "" in the namespace "shop"',
    });
    expect((await cluster.fetch(configMapsPath, { headers: as('bob'), anonymous: true })).status).toBe(403);
    expect((await cluster.fetch(configMapsPath, { headers: { 'impersonate-group': 'system:masters' } })).status).toBe(400);
    expect((await cluster.fetch('/healthz', { headers: { ...alice, ...as('bob') } })).status).toBe(403);
  });

  it('stays within what was granted: this user, and no group', async () => {
    const rules = [{ verbs: ['impersonate'], apiGroups: [''], resources: ['users'], resourceNames: ['reader'] }];
    const metadata = { name: 'as-reader' };
    await admin.create(clusterRoles, { apiVersion: `${apiGroup}/v1`, kind: 'ClusterRole', metadata, rules });
    await admin.create(clusterRoleBindings, {
      apiVersion: `${apiGroup}/v1`,
      kind: 'ClusterRoleBinding',
      metadata,
      roleRef: { apiGroup, kind: 'ClusterRole', name: 'as-reader' },
      subjects: [{ kind: 'User', name: 'alice' }],
    });
    const alice = bearer(cluster.aliceToken);
    const whoami = '/apis/authentication.k8s.io/v1/selfsubjectreviews';
    expect((await post(whoami, {}, { ...alice, ...as('reader') })).json.status.userInfo.username).toBe('reader');
    expect((await post(whoami, {}, { ...alice, ...as('admin') })).status).toBe(403);
    expect((await post(whoami, {}, { ...alice, ...as('reader', { 'impersonate-group': 'system:masters' }) })).status).toBe(403);
    expect((await post(whoami, {}, { ...alice, ...as('reader', { 'impersonate-extra-scopes': 'all' }) })).status).toBe(403);
    expect((await post(whoami, {}, { ...alice, ...as('system:serviceaccount:shop:robot') })).status).toBe(403);
  });

  it('can be granted for some requests alone', async () => {
    const rules = [
      { verbs: ['impersonate:user-info'], apiGroups: ['authentication.k8s.io'], resources: ['users'], resourceNames: ['bob'] },
      { verbs: ['impersonate-on:user-info:list'], apiGroups: [''], resources: ['configmaps'] },
    ];
    const metadata = { name: 'bob-lists' };
    await admin.create(clusterRoles, { apiVersion: `${apiGroup}/v1`, kind: 'ClusterRole', metadata, rules });
    await admin.create(clusterRoleBindings, {
      apiVersion: `${apiGroup}/v1`,
      kind: 'ClusterRoleBinding',
      metadata,
      roleRef: { apiGroup, kind: 'ClusterRole', name: 'bob-lists' },
      subjects: [{ kind: 'Group', name: 'devs' }],
    });
    const alice = bearer(cluster.aliceToken);
    const list = await cluster.fetch(configMapsPath, { headers: { ...alice, ...as('bob') } });
    expect(list.json.message).toContain('User "bob" cannot list resource "configmaps"');
    const get = await cluster.fetch(`${configMapsPath}/x`, { headers: { ...alice, ...as('bob') } });
    expect(get.json.message).toContain('User "alice" cannot impersonate-on:user-info:get resource "configmaps"');
  });
});

describe('paths that are written oddly', () => {
  it.each([
    '/api/v1/namespaces/kube-system/../shop/pods',
    '/api/v1/namespaces/shop%2F..%2Fkube-system/secrets',
    '/api/v1//namespaces/kube-system/secrets',
    '/api/v1/namespaces/kube-system/secrets/',
    '/apis/rbac.authorization.k8s.io/v1/namespaces/kube-system/roles/x/../y',
    '/API/v1/namespaces/kube-system/secrets',
    '/healthz/../metrics',
    '/api/v1/watch/namespaces/kube-system/secrets',
    '/version/../metrics',
  ])('%s open nothing to alice', async (path) => {
    expect((await cluster.fetch(path, { headers: bearer(cluster.aliceToken) })).status).toBeGreaterThanOrEqual(400);
  });
});
