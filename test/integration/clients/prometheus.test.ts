import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { nodes } from '../../../src/api/core/v1/node.ts';
import { pods } from '../../../src/api/core/v1/pod.ts';
import { services } from '../../../src/api/core/v1/service.ts';
import { endpointSlices } from '../../../src/api/discovery/v1/endpoint-slice.ts';
import { ingresses } from '../../../src/api/networking/v1/ingress.ts';
import type { Client } from '../../../src/client/client.ts';
import { startSeededApi } from '../../support/api.ts';
import { serveTestApi, type TestApiServer } from '../../support/api-server.ts';
import { hasPrometheus, type PrometheusProcess, startPrometheusProcess } from '../../support/prometheus.ts';
import { until } from '../../support/until.ts';

/** Service discovery of a real Prometheus. */
describe.skipIf(!hasPrometheus)('kubernetes_sd_configs (needs prometheus)', () => {
  let cluster: TestApiServer;
  let prometheus: PrometheusProcess;
  let client: Client;
  beforeAll(async () => {
    cluster = await serveTestApi(await startSeededApi(['shop']));
    client = cluster.api.clientFor();
    await makeNode('node-a', '10.0.0.1');
    await makePod('web-1', 'node-a', '10.1.0.1');
    await client.create(services, {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'web', namespace: 'shop' },
      spec: { selector: { app: 'web' }, ports: [{ name: 'http', port: 80, targetPort: 8080 }] },
    });
    await client.create(endpointSlices, {
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: { name: 'web-x', namespace: 'shop', labels: { 'kubernetes.io/service-name': 'web' } },
      addressType: 'IPv4',
      endpoints: [{ addresses: ['10.1.0.1'], conditions: { ready: true }, targetRef: { kind: 'Pod', name: 'web-1', namespace: 'shop' } }],
      ports: [{ name: 'http', port: 8080, protocol: 'TCP' }],
    });
    await client.create(ingresses, {
      apiVersion: 'networking.k8s.io/v1',
      kind: 'Ingress',
      metadata: { name: 'web', namespace: 'shop' },
      spec: {
        rules: [
          {
            host: 'web.example',
            http: { paths: [{ path: '/', pathType: 'Prefix', backend: { service: { name: 'web', port: { number: 80 } } } }] },
          },
        ],
      },
    });
    const roles = ['node', 'pod', 'service', 'endpointslice', 'ingress'];
    const job = (role: string) =>
      `- job_name: ${role}\n  scrape_interval: 1h\n  kubernetes_sd_configs:\n  - role: ${role}\n    kubeconfig_file: ${cluster.kubeconfig}\n`;
    const config = join(cluster.directory, 'prometheus.yml');
    await writeFile(config, `scrape_configs:\n${roles.map(job).join('')}`);
    prometheus = await startPrometheusProcess(config);
  }, 60_000);
  afterAll(async () => {
    await prometheus?.stop();
    await cluster?.stop();
  });

  async function makeNode(name: string, address: string): Promise<void> {
    await client.create(nodes, { apiVersion: 'v1', kind: 'Node', metadata: { name, labels: { zone: 'z1' } } });
    await client.patch(
      nodes,
      { name },
      {
        type: 'merge',
        body: { status: { addresses: [{ type: 'InternalIP', address }], daemonEndpoints: { kubeletEndpoint: { Port: 10_250 } } } },
      },
      { subresource: 'status' },
    );
  }
  async function makePod(name: string, nodeName: string, podIP: string): Promise<void> {
    await client.create(pods, {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name, namespace: 'shop', labels: { app: 'web' } },
      spec: { nodeName, containers: [{ name: 'main', image: 'x', ports: [{ name: 'http', containerPort: 8080 }] }] },
    });
    await client.patch(
      pods,
      { namespace: 'shop', name },
      {
        type: 'merge',
        body: { status: { phase: 'Running', podIP, podIPs: [{ ip: podIP }], conditions: [{ type: 'Ready', status: 'True' }] } },
      },
      { subresource: 'status' },
    );
  }

  /** Addresses and some labels of what a role found. */
  const targets = async (role: string, ...labels: readonly string[]): Promise<readonly string[]> => {
    const found = await prometheus.targets();
    return found
      .filter(({ job }) => job === role)
      .map(({ discovered }) => [discovered.__address__, ...labels.map((label) => discovered[`__meta_kubernetes_${label}`])].join(' '))
      .sort();
  };
  const becomes = (role: string, labels: readonly string[], wanted: readonly string[]) =>
    until(async () => (await targets(role, ...labels)).join() === wanted.join(), {
      what: `${role} finds ${wanted.join()}`,
    });

  it('finds nodes, pods, services, endpoint slices and ingresses with what it says of them', async () => {
    await becomes('node', ['node_name', 'node_label_zone'], ['10.0.0.1:10250 node-a z1']);
    await becomes(
      'pod',
      ['pod_name', 'pod_node_name', 'pod_phase', 'pod_ready', 'pod_label_app'],
      ['10.1.0.1:8080 web-1 node-a Running true web'],
    );
    await becomes('service', ['service_name', 'service_port_name', 'namespace'], ['web.shop.svc:80 web http shop']);
    await becomes('endpointslice', ['endpointslice_name', 'pod_name', 'service_name'], ['10.1.0.1:8080 web-x web-1 web']);
    await becomes('ingress', ['ingress_name', 'ingress_path'], ['web.example web /']);
  });

  it('follows what comes and goes', async () => {
    // Prometheus takes over what it found every five seconds.
    await makeNode('node-b', '10.0.0.2');
    await makePod('web-2', 'node-b', '10.1.0.2');
    await client.delete(pods, { namespace: 'shop', name: 'web-1' }, { gracePeriodSeconds: 0 });
    await becomes('node', [], ['10.0.0.1:10250', '10.0.0.2:10250']);
    await becomes('pod', ['pod_name'], ['10.1.0.2:8080 web-2']);
  });
});
