import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { secrets } from '../../../src/api/core/v1/secret.ts';
import { startTestApiServer, type TestApiServer } from '../../support/api-server.ts';

let cluster: TestApiServer;
beforeAll(async () => {
  cluster = await startTestApiServer();
});
afterAll(() => cluster.stop());

const good = {
  'token-id': 'abcdef',
  'token-secret': '0123456789abcdef',
  'usage-bootstrap-authentication': 'true',
};

async function keep(
  id: string,
  stringData: Readonly<Record<string, string>>,
  type = 'bootstrap.kubernetes.io/token',
  namespace = 'kube-system',
) {
  const metadata = { name: `bootstrap-token-${id}`, namespace };
  await cluster.client.create(secrets, { apiVersion: 'v1', kind: 'Secret', metadata, type, stringData: { ...stringData, 'token-id': id } });
}

const whoIs = async (
  token: string,
): Promise<{ readonly code: number; readonly user?: { readonly username: string; readonly groups: readonly string[] } }> => {
  const { status, json } = await cluster.fetch('/apis/authentication.k8s.io/v1/selfsubjectreviews', {
    method: 'POST',
    headers: { authorization: `Bearer ${token}` },
    body: { apiVersion: 'authentication.k8s.io/v1', kind: 'SelfSubjectReview' },
  });
  return status === 201 ? { code: status, user: json.status.userInfo } : { code: status };
};

describe('a bootstrap token', () => {
  it('makes its bearer a bootstrapper, in the groups that its Secret names, until it is deleted', async () => {
    await keep('abcdef', {
      ...good,
      expiration: new Date(Date.now() + 600_000).toISOString(),
      'auth-extra-groups': 'system:bootstrappers:workers',
    });
    expect(await whoIs('abcdef.0123456789abcdef')).toEqual({
      code: 201,
      user: {
        username: 'system:bootstrap:abcdef',
        groups: ['system:bootstrappers', 'system:bootstrappers:workers', 'system:authenticated'],
      },
    });
    await cluster.client.delete(secrets, { namespace: 'kube-system', name: 'bootstrap-token-abcdef' });
    expect(await whoIs('abcdef.0123456789abcdef')).toEqual({ code: 401 });
  });

  it.each([
    ['expire', { expiration: '2020-01-01T00:00:00Z' }],
    ['expirf', { expiration: 'soon' }],
    ['unused', { 'usage-bootstrap-authentication': 'false' }],
    ['groupz', { 'auth-extra-groups': 'system:masters' }],
    ['group0', { 'auth-extra-groups': 'system:bootstrappers:a,system:bootstrappers:b\nsystem:masters' }],
    ['other0', { 'token-secret': 'fedcba9876543210' }],
    ['empty0', { 'token-secret': '' }],
  ])('%s is refused with %j', async (id, data) => {
    await keep(id, { ...good, ...data });
    expect(await whoIs(`${id}.0123456789abcdef`)).toEqual({ code: 401 });
  });

  it('is refused when its Secret is of another type, in another namespace, or called otherwise', async () => {
    await keep('opaque', good, 'Opaque');
    await keep('public', good, 'bootstrap.kubernetes.io/token', 'kube-public');
    for (const id of ['opaque', 'public', 'nobody']) expect(await whoIs(`${id}.0123456789abcdef`)).toEqual({ code: 401 });
    await cluster.client.create(secrets, {
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: { name: 'bootstrap-token-nameid', namespace: 'kube-system' },
      type: 'bootstrap.kubernetes.io/token',
      stringData: good,
    });
    expect(await whoIs('nameid.0123456789abcdef')).toEqual({ code: 401 });
  });
});
