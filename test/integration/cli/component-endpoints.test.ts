import { request } from 'node:https';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { serviceAccounts } from '../../../src/api/core/v1/service-account.ts';
import { clusterRoleBindings } from '../../../src/api/rbac/v1/cluster-role-binding.ts';
import { systemClock } from '../../../src/base/clock.ts';
import { createLog } from '../../../src/base/log.ts';
import { createMetrics } from '../../../src/base/metrics.ts';
import { type ComponentEndpoints, createComponentEndpoints } from '../../../src/cli/compose/component-endpoints.ts';
import { startTestApiServer, type TestApiServer } from '../../support/api-server.ts';

let server: TestApiServer;
let endpoints: ComponentEndpoints;
let isLost = false;
let token: string;
const namespace = 'default';
const name = 'prometheus';

beforeAll(async () => {
  server = await startTestApiServer();
  await server.client.create(serviceAccounts, { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { namespace, name } });
  const { json } = await server.fetch(`/api/v1/namespaces/${namespace}/serviceaccounts/${name}/token`, {
    method: 'POST',
    body: { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec: {} },
  });
  token = json.status.token;
  const metrics = createMetrics();
  metrics.counter({ name: 'leader_election_slowpath_total', help: 'Of the test.', labelNames: [] }).inc({});
  const check = (): void => {
    if (isLost) throw new Error('another one leads');
  };
  endpoints = createComponentEndpoints({
    ...{ address: '127.0.0.1', port: 0, metrics, clock: systemClock },
    checks: [{ name: 'leaderElection', liveness: true, check }],
    // The rights of the component alone, not those of an administrator.
    client: server.api.clientFor({ name: 'system:kube-scheduler', groups: ['system:authenticated'] }),
    log: createLog({ level: 'silent' }),
  });
  await endpoints.start({ signal: new AbortController().signal });
});
afterAll(async () => {
  await endpoints.stop();
  await server.stop();
});

function get(path: string, bearer?: string, method = 'GET'): Promise<{ readonly status: number; readonly text: string }> {
  const headers = bearer === undefined ? {} : { authorization: `Bearer ${bearer}` };
  return new Promise((resolve, reject) => {
    const sent = request(`${endpoints.url}${path}`, { method, headers, rejectUnauthorized: false, agent: false }, (answer) => {
      let text = '';
      answer.setEncoding('utf8').on('data', (part: string) => (text += part));
      answer.once('end', () => resolve({ status: answer.statusCode ?? 0, text }));
    });
    sent.once('error', reject);
    sent.end();
  });
}

it('says to everybody whether it is well, and that it lost its lease', async () => {
  for (const path of ['/healthz', '/livez', '/readyz']) expect(await get(path)).toEqual({ status: 200, text: 'ok' });
  expect((await get('/livez?verbose')).text).toBe('[+]leaderElection ok\nlivez check passed\n');
  expect((await get('/livez/nothing')).status).toBe(404);
  isLost = true;
  expect(await get('/healthz')).toMatchObject({ status: 500, text: expect.stringContaining('[-]leaderElection failed') });
  isLost = false;
});

it('shows metrics to those alone whom the cluster lets read them', async () => {
  expect(await get('/metrics')).toEqual({ status: 401, text: 'Unauthorized' });
  expect(await get('/metrics', 'made-up')).toEqual({ status: 401, text: 'Unauthorized' });
  expect(await get('/metrics', token)).toEqual({
    status: 403,
    text: 'Forbidden: User "system:serviceaccount:default:prometheus" cannot get path "/metrics"',
  });
  await server.client.create(clusterRoleBindings, {
    ...{ apiVersion: 'rbac.authorization.k8s.io/v1', kind: 'ClusterRoleBinding', metadata: { name: 'reads-metrics' } },
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'system:monitoring' },
    subjects: [{ kind: 'ServiceAccount', namespace, name }],
  });
  const { status, text } = await get('/metrics', token);
  expect(status).toBe(200);
  for (const line of ['leader_election_slowpath_total 1', 'process_cpu_seconds_total', 'kubernetes_healthchecks_total']) {
    expect(text).toContain(line);
  }
  expect((await get('/debug/pprof', token)).status).toBe(403);
});

it('takes no writes', async () => {
  expect((await get('/metrics', token, 'POST')).status).toBe(405);
});
