import { afterAll, beforeAll, expect, test } from 'vitest';
import { pods } from '../../../src/api/core/v1/pod.ts';
import { type Secret, secrets } from '../../../src/api/core/v1/secret.ts';
import { serviceAccounts } from '../../../src/api/core/v1/service-account.ts';
import { createTokenSecretController } from '../../../src/controllers/token-secrets.ts';
import { isNotFound } from '../../../src/machinery/status-error.ts';
import { startTestApiServer, type TestApiServer } from '../../support/api-server.ts';
import { startControllers } from '../../support/control-plane.ts';
import { until } from '../../support/until.ts';

const namespace = 'default';
const caCertificate = 'the authority';
let server: TestApiServer;
let controllers: { stop(): Promise<void> };
beforeAll(async () => {
  server = await startTestApiServer();
  const { tokens } = server.api.kubeApi;
  if (tokens === undefined) throw new Error('the server issues no tokens');
  controllers = await startControllers(server.api.clientFor(), [
    (dependencies) =>
      createTokenSecretController({
        ...dependencies,
        caCertificate,
        issueToken: (account, secretName) => tokens.issueForSecret(account, secretName),
      }),
  ]);
});
afterAll(async () => {
  await controllers.stop();
  await server.stop();
});

const accountOf = (name: string) =>
  server.client.create(serviceAccounts, { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name, namespace } });
const tokenSecretOf = (name: string, account: string) =>
  server.client.create(secrets, {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name, namespace, annotations: { 'kubernetes.io/service-account.name': account } },
    type: 'kubernetes.io/service-account-token',
  });
const textOf = (secret: Secret, key: string): string => Buffer.from(secret.data?.[key] ?? '', 'base64').toString();
const filled = (name: string): Promise<Secret> =>
  until(
    async () => {
      const secret = await server.client.get(secrets, { namespace, name });
      return secret.data?.token !== undefined && secret;
    },
    { what: `a token in ${name}` },
  );
const isGone = (name: string) =>
  until(() => server.client.get(secrets, { namespace, name }).then(() => false, isNotFound), { what: `no Secret ${name}` });
async function whoIs(token: string): Promise<{ readonly status: number; readonly username?: string }> {
  const { status, json } = await server.fetch('/apis/authentication.k8s.io/v1/selfsubjectreviews', {
    method: 'POST',
    anonymous: true,
    headers: { authorization: `Bearer ${token}` },
    body: { apiVersion: 'authentication.k8s.io/v1', kind: 'SelfSubjectReview' },
  });
  return status === 201 ? { status, username: json.status.userInfo.username } : { status };
}

test('a Secret for the token of an account is filled, and its token is good as long as the Secret is there', async () => {
  const account = await accountOf('robot');
  await tokenSecretOf('robot-token', 'robot');
  const secret = await filled('robot-token');
  expect(secret.metadata.annotations).toEqual({
    'kubernetes.io/service-account.name': 'robot',
    'kubernetes.io/service-account.uid': account.metadata.uid,
  });
  expect([textOf(secret, 'ca.crt'), textOf(secret, 'namespace')]).toEqual([caCertificate, namespace]);
  const token = textOf(secret, 'token');
  const robot = { status: 201, username: 'system:serviceaccount:default:robot' };
  expect(await whoIs(token)).toEqual(robot);
  await server.client.delete(secrets, { namespace, name: 'robot-token' });
  expect(await whoIs(token)).toEqual({ status: 401 });
  // Another token of the account in a Secret of that name does not bring the old one back.
  await tokenSecretOf('robot-token', 'robot');
  await server.client.patch(secrets, { namespace, name: 'robot-token' }, { type: 'merge', body: { stringData: { token: 'mine' } } });
  expect(await whoIs(token)).toEqual({ status: 401 });
});

test('a Secret goes with its account, and one for an account that is not there is deleted', async () => {
  await accountOf('short');
  await tokenSecretOf('short-token', 'short');
  const token = textOf(await filled('short-token'), 'token');
  await server.client.delete(serviceAccounts, { namespace, name: 'short' });
  await isGone('short-token');
  expect(await whoIs(token)).toEqual({ status: 401 });
  await tokenSecretOf('stray', 'nobody');
  await isGone('stray');
});

test("pods pull their images with the account's Secrets, unless they name their own", async () => {
  await server.client.create(serviceAccounts, {
    apiVersion: 'v1',
    kind: 'ServiceAccount',
    metadata: { name: 'puller', namespace },
    imagePullSecrets: [{ name: 'registry' }],
  });
  const pullSecretsOf = async (name: string, own?: readonly { readonly name: string }[]) => {
    const { spec } = await server.client.create(pods, {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name, namespace },
      spec: {
        serviceAccountName: 'puller',
        containers: [{ name: 'c', image: 'i' }],
        ...(own === undefined ? {} : { imagePullSecrets: own }),
      },
    });
    return spec.imagePullSecrets;
  };
  expect(await pullSecretsOf('plain')).toEqual([{ name: 'registry' }]);
  expect(await pullSecretsOf('own', [{ name: 'mine' }])).toEqual([{ name: 'mine' }]);
  await server.client.patch(serviceAccounts, { namespace, name: 'puller' }, { type: 'merge', body: { imagePullSecrets: null } });
  expect(await pullSecretsOf('later')).toBeUndefined();
});
