import { afterEach, beforeEach, expect, it } from 'vitest';
import { configMaps } from '../../../src/api/core/v1/config-map.ts';
import { namespaces } from '../../../src/api/core/v1/namespace.ts';
import { createAdmissionMetrics } from '../../../src/apiserver/admission/admission-metrics.ts';
import { createMetrics, type Metrics } from '../../../src/base/metrics.ts';
import { startTestApi, type TestApi } from '../../support/api.ts';

let metrics: Metrics;
let api: TestApi;

beforeEach(async () => {
  metrics = createMetrics();
  api = await startTestApi({ metrics });
  await api.clientFor().create(namespaces, { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'shop' } });
});
afterEach(() => api.stop());

const linesOf = async (start: string): Promise<readonly string[]> =>
  (await metrics.text()).split('\n').filter((line) => line.startsWith(start));

const map = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'a', namespace: 'shop' } };

it('requests to the store are counted by operation and resource, and a lost race is no error', async () => {
  const client = api.clientFor();
  const made = await client.create(configMaps, map);
  await client.update(configMaps, { ...made, data: { k: 'v' } });
  await expect(client.update(configMaps, { ...made, data: { k: 'w' } })).rejects.toThrow('modified');
  await client.delete(configMaps, { namespace: 'shop', name: 'a' });
  expect(await linesOf('etcd_requests_total')).toEqual(
    expect.arrayContaining([
      'etcd_requests_total{operation="create",group="",resource="configmaps"} 1',
      'etcd_requests_total{operation="update",group="",resource="configmaps"} 1',
      'etcd_requests_total{operation="delete",group="",resource="configmaps"} 1',
    ]),
  );
  expect(await linesOf('etcd_request_duration_seconds_count{operation="create",group="",resource="configmaps"}')).toEqual([
    'etcd_request_duration_seconds_count{operation="create",group="",resource="configmaps"} 1',
  ]);
  expect((await linesOf('etcd_request_errors_total{')).filter((line) => !line.endsWith(' 0'))).toEqual([]);
});

it('admission steps are timed by name, and what one refuses counts apart', async () => {
  const client = api.clientFor();
  await client.create(configMaps, map);
  await expect(client.create(configMaps, { ...map, metadata: { name: 'a', namespace: 'nowhere' } })).rejects.toThrow('not found');
  const family = 'apiserver_admission_controller_admission_duration_seconds_count';
  expect(await linesOf(`${family}{name="NamespaceLifecycle",operation="CREATE"`)).toEqual([
    `${family}{name="NamespaceLifecycle",operation="CREATE",type="admit",rejected="false"} 1`,
    `${family}{name="NamespaceLifecycle",operation="CREATE",type="admit",rejected="true"} 1`,
  ]);
});

it('webhooks beyond a bound share one series, since users choose their names', async () => {
  const own = createMetrics();
  const webhooks = createAdmissionMetrics(own, { monotonicMs: () => 0 });
  for (let at = 0; at < 500; at += 1) {
    webhooks.called({ webhook: `w${at}`, mutating: true, operation: 'create', startedAtMs: 0, outcome: { type: 'allowed' } });
  }
  const lines = (await own.text()).split('\n').filter((line) => line.startsWith('apiserver_admission_webhook_request_total{'));
  expect(lines).toHaveLength(201);
  expect(lines.at(-1)).toBe(
    'apiserver_admission_webhook_request_total{name="",type="admit",operation="CREATE",code="200",rejected="false"} 300',
  );
});

it('feature gates say what the API does', async () => {
  expect(await linesOf('kubernetes_feature_enabled')).toContain('kubernetes_feature_enabled{name="MutatingAdmissionPolicy",stage=""} 1');
});
