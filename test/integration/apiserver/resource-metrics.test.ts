import { request as httpsRequest } from 'node:https';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { apiServices } from '../../../src/api/apiregistration/v1/api-service.ts';
import { nodes } from '../../../src/api/core/v1/node.ts';
import { pods } from '../../../src/api/core/v1/pod.ts';
import { serviceAccounts } from '../../../src/api/core/v1/service-account.ts';
import { frontProxyName } from '../../../src/apiserver/bootstrap.ts';
import type { NodeUsage } from '../../../src/apiserver/resource-metrics/collector.ts';
import { createMetricsApi, type MetricsApi } from '../../../src/apiserver/resource-metrics/metrics-api.ts';
import { metricsServerName, metricsServiceKey, registerMetricsApi } from '../../../src/apiserver/resource-metrics/registration.ts';
import type { ContainerUsage } from '../../../src/apiserver/resource-metrics/usage.ts';
import { systemClock } from '../../../src/base/clock.ts';
import { createLog } from '../../../src/base/log.ts';
import { createInformerSet } from '../../../src/client/informer-set.ts';
import { isConditionTrue } from '../../../src/machinery/conditions.ts';
import { startTestApiServer, type TestApiServer } from '../../support/api-server.ts';
import { hasKubectl } from '../../support/kubectl.ts';
import { until } from '../../support/until.ts';

const address = '127.64.42.1';
const base = '/apis/metrics.k8s.io/v1beta1';
const at = Date.parse('2026-01-01T00:00:00Z');
const usage = (pod: string, container: string, nanocores: number): ContainerUsage => ({
  namespace: 'default',
  pod,
  container,
  nanocores,
  memoryBytes: 10 * 1024 * 1024,
  at,
  windowMs: 15_000,
});

describe('metrics.k8s.io, through the aggregator', { shuffle: false }, () => {
  let cluster: TestApiServer;
  let metricsApi: MetricsApi;
  const abort = new AbortController();
  const containers = [usage('web', 'main', 5_000_000), usage('web', 'side', 1_000_000), usage('gone', 'main', 1)];
  const measured: ReadonlyMap<string, NodeUsage> = new Map([
    ['n1', { containers, machine: undefined, at, windowMs: 15_000 }],
    ['n2', { containers: [], machine: { nanocores: 250_000_000, memoryBytes: 2 ** 30 }, at, windowMs: 15_000 }],
  ]);

  beforeAll(async () => {
    cluster = await startTestApiServer();
    const { client } = cluster;
    await client.create(serviceAccounts, { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'default', namespace: 'default' } });
    for (const name of ['n1', 'n2']) await client.create(nodes, { apiVersion: 'v1', kind: 'Node', metadata: { name } });
    for (const name of ['web', 'idle']) {
      await client.create(pods, {
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name, namespace: 'default', labels: { app: name } },
        spec: { containers: [{ name: 'main', image: 'host/sh' }] },
      });
    }
    const informers = createInformerSet({ client, clock: systemClock, log: createLog({ level: 'silent' }) });
    metricsApi = createMetricsApi({
      collector: { usage: () => measured },
      informers,
      address,
      tls: await cluster.pki.serverCertificate({ name: 'metrics', commonName: 'metrics', hosts: [metricsServerName] }),
      frontProxyCa: cluster.frontProxyCa,
      frontProxyName,
      clock: systemClock,
    });
    informers.start({ signal: abort.signal });
    await informers.waitForSync({ signal: abort.signal });
    await metricsApi.start({ signal: abort.signal });
    await registerMetricsApi({ client, address, port: metricsApi.port, caCertificate: cluster.pki.caCertificate });
    await until(
      async () => isConditionTrue((await client.get(apiServices, { name: 'v1beta1.metrics.k8s.io' })).status?.conditions, 'Available'),
      { what: 'metrics.k8s.io is available' },
    );
  });
  afterAll(async () => {
    await cluster?.stop();
    await metricsApi?.stop();
    abort.abort(new Error('test ends'));
  });

  it('tells of pods that are there and were measured, container by container', async () => {
    const { json } = await cluster.fetch(`${base}/namespaces/default/pods`);
    expect(json).toEqual({
      kind: 'PodMetricsList',
      apiVersion: 'metrics.k8s.io/v1beta1',
      metadata: {},
      items: [
        {
          kind: 'PodMetrics',
          apiVersion: 'metrics.k8s.io/v1beta1',
          metadata: { name: 'web', namespace: 'default', creationTimestamp: expect.any(String), labels: { app: 'web' } },
          timestamp: '2026-01-01T00:00:00Z',
          window: '15s',
          containers: [
            { name: 'main', usage: { cpu: '5000000n', memory: '10240Ki' } },
            { name: 'side', usage: { cpu: '1000000n', memory: '10240Ki' } },
          ],
        },
      ],
    });
    expect((await cluster.fetch(`${base}/pods?labelSelector=app%3Didle`)).json.items).toEqual([]);
    expect((await cluster.fetch(`${base}/namespaces/other/pods`)).json.items).toEqual([]);
    expect((await cluster.fetch(`${base}/namespaces/default/pods/web`)).json.metadata.name).toBe('web');
  });

  it('says of a node what its machine uses, or else its pods', async () => {
    const { json } = await cluster.fetch(`${base}/nodes/n1`);
    expect(json).toMatchObject({ kind: 'NodeMetrics', metadata: { name: 'n1' }, usage: { cpu: '6000001n', memory: '30720Ki' } });
    expect((await cluster.fetch(`${base}/nodes/n2`)).json).toMatchObject({
      usage: { cpu: '250000000n', memory: '1048576Ki' },
      window: '15s',
    });
  });

  it('refuses what it does not have', async () => {
    expect((await cluster.fetch(`${base}/namespaces/default/pods/idle`)).json).toMatchObject({
      code: 404,
      message: 'pods.metrics.k8s.io "idle" not found',
    });
    expect((await cluster.fetch(`${base}/nodes`, { method: 'DELETE' })).status).toBe(405);
    expect((await cluster.fetch(`${base}/pods?fieldSelector=spec.nodeName%3Dn1`)).status).toBe(400);
    expect((await cluster.fetch(`${base}/pods?labelSelector=%28`)).status).toBe(400);
    expect((await cluster.fetch(`${base}/secrets`)).status).toBe(404);
  });

  it('is not for those who come without the front proxy', async () => {
    const ask = (identity: object) =>
      new Promise((resolve) => {
        const request = httpsRequest(
          { host: address, port: metricsApi.port, path: `${base}/pods`, rejectUnauthorized: false, agent: false, ...identity },
          (response) => {
            response.resume();
            response.once('end', () => resolve(response.statusCode));
          },
        );
        request.once('error', () => resolve('refused'));
        request.end();
      });
    expect(await ask({})).toBe('refused');
    // An administrator of the cluster is not who may say for whom others ask.
    const { certificate: cert, key } = cluster.adminCertificate;
    expect(await ask({ cert, key, headers: { 'x-remote-user': 'admin' } })).toBe('refused');
  });

  it.skipIf(!hasKubectl)('is what kubectl top shows (needs kubectl)', async () => {
    const { stdout } = await cluster.kubectl('top', 'pods', '--no-headers');
    expect(stdout.trim().split(/\s+/)).toEqual(['web', '6m', '20Mi']);
    const containers = await cluster.kubectl('top', 'pods', '--containers', '--no-headers');
    expect(containers.stdout).toContain('side');
  });

  it('comes from this server itself when the endpoints name that of another server, which is gone', async () => {
    const { aggregator } = cluster.serverOptions;
    await registerMetricsApi({ client: cluster.client, address: '127.64.42.2', port: 1, caCertificate: cluster.pki.caCertificate });
    await until(async () => (await cluster.fetch(`${base}/nodes`)).status === 503, { what: 'the other server is found to be gone' });
    aggregator?.serveHere(metricsServiceKey, { address, port: metricsApi.port });
    await until(async () => (await cluster.fetch(`${base}/nodes`)).status === 200, { what: 'this server is asked' });
    await registerMetricsApi({ client: cluster.client, address, port: metricsApi.port, caCertificate: cluster.pki.caCertificate });
  });

  it('leaves the APIService to a metrics server that somebody installs', async () => {
    const body = { spec: { service: { name: 'metrics-server', namespace: 'kube-system' }, caBundle: null, insecureSkipTLSVerify: true } };
    await cluster.client.patch(apiServices, { name: 'v1beta1.metrics.k8s.io' }, { type: 'merge', body });
    await registerMetricsApi({ client: cluster.client, address, port: metricsApi.port, caCertificate: 'another' });
    const { spec } = await cluster.client.get(apiServices, { name: 'v1beta1.metrics.k8s.io' });
    expect(spec).toMatchObject({ service: { name: 'metrics-server' }, insecureSkipTLSVerify: true });
  });
});
