// Measures the wait of a client that reads and writes ten times a second. It is measured in pairs: quiet, and while another one floods the
// server with 200 connections. The two are different accounts. Aim: p99 under 200 ms.
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { deployments } from '../../dist/api/apps/v1/deployment.js';
import { configMaps } from '../../dist/api/core/v1/config-map.js';
import { namespaces } from '../../dist/api/core/v1/namespace.js';
import { serviceAccounts } from '../../dist/api/core/v1/service-account.js';
import { clusterRoleBindings } from '../../dist/api/rbac/v1/cluster-role-binding.js';
import { loadKubeconfig } from '../../dist/client/kubeconfig.js';
import { root, startCluster } from './cluster.mjs';

const namespace = 'bench';
const defaultConnections = 200;
const durationMs = 6_000;
/** The flood has begun when the other client is measured. */
const warmUpMs = 1_500;
const objects = 5_000;
const deploymentsOf100 = 50;
const collection = `/api/v1/namespaces/${namespace}/configmaps`;

/**
 * `by`: whose connections; `page` is the port of page and metrics, without an account. `reads: false`: no byte of an answer is read.
 */
const table = [
  { name: 'lists of 5,000 by the administrator', by: 'admin', path: collection },
  { name: 'lists of 5,000 by another account', by: 'flooder', path: collection },
  { name: 'lists of 5,000 that are not read', by: 'flooder', path: collection, reads: false },
  { name: 'watches from the start that are not read', by: 'flooder', path: `${collection}?watch=1`, reads: false },
  { name: 'gets by the administrator', by: 'admin', path: `${collection}/c0` },
  {
    name: 'creates that a costly policy looks at',
    by: 'flooder',
    method: 'POST',
    path: `${collection}?dryRun=All`,
    body: {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { generateName: 'costly-', labels: { costly: 'true' } },
      data: Object.fromEntries(Array.from({ length: 200 }, (_, index) => [`key-${index}`, 'value'])),
    },
  },
  { name: 'the OpenAPI document of all kinds', by: 'flooder', path: '/openapi/v2' },
  { name: 'scrapes of the API port', by: 'admin', path: '/metrics' },
  { name: 'the page', by: 'page', path: '/' },
  { name: 'pages that differ', by: 'page', path: '/?q={n}' },
  { name: 'scrapes of the page port', by: 'page', path: '/metrics' },
  { name: 'open pages', by: 'page', path: '/events/stream?path=%2F' },
  { name: 'idle connections to the page port', by: 'page', kind: 'hold', connections: 1_100 },
];

const policy = {
  apiVersion: 'admissionregistration.k8s.io/v1',
  kind: 'ValidatingAdmissionPolicy',
  metadata: { name: 'costly' },
  spec: {
    matchConstraints: {
      objectSelector: { matchLabels: { costly: 'true' } },
      resourceRules: [{ apiGroups: [''], apiVersions: ['v1'], operations: ['CREATE'], resources: ['configmaps'] }],
    },
    validations: [{ expression: 'object.data.all(a, object.data.all(b, a != "" && b != ""))' }],
  },
};
const policyBinding = {
  apiVersion: 'admissionregistration.k8s.io/v1',
  kind: 'ValidatingAdmissionPolicyBinding',
  metadata: { name: 'costly' },
  spec: { policyName: 'costly', validationActions: ['Deny'] },
};

/** Gives what the clients of another process measured. They have a bound of their own; this one is for when they break it. */
function load(task) {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [join(root, 'test/bench/flood-load.mjs'), JSON.stringify(task)], {
      stdio: ['ignore', 'pipe', 'inherit'],
      timeout: task.durationMs + 60_000,
    });
    let text = '';
    child.stdout.setEncoding('utf8').on('data', (chunk) => {
      text += chunk;
    });
    child.on('error', reject);
    child.on('exit', (code) => (code === 0 ? resolve(JSON.parse(text)) : reject(new Error(`flood-load ended with ${code}`))));
  });
}

const quantile = (samples, q) => [...samples].sort((a, b) => a - b)[Math.floor(q * samples.length)] ?? Number.NaN;

/** Objects, the policy, and the accounts `normal` and `flooder` with what reaches the server as each of them. */
async function prepare({ client, endpoints }) {
  const { server, caCertificate: ca, clientCertificate } = await loadKubeconfig(endpoints.kubeconfig);
  await client.create(namespaces, { apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } });
  const configMap = (name) => ({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name, namespace }, data: { value: 'x'.repeat(2_000) } });
  await client.create(configMaps, configMap('normal'));
  for (let from = 0; from < objects; from += 100) {
    await Promise.all(Array.from({ length: 100 }, (_, index) => client.create(configMaps, configMap(`c${from + index}`))));
  }
  await rollOut(client);
  const connectionOf = { page: { server: endpoints.http }, admin: { server, ca, ...pemOf(clientCertificate) } };
  for (const name of ['normal', 'flooder']) {
    await client.create(serviceAccounts, { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name, namespace } });
    await client.create(clusterRoleBindings, {
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'ClusterRoleBinding',
      metadata: { name: `bench-${name}` },
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'cluster-admin' },
      subjects: [{ kind: 'ServiceAccount', name, namespace }],
    });
    const body = { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', metadata: {}, spec: {} };
    const { status } = await client.createSubresource(serviceAccounts, { name, namespace }, 'token', body);
    connectionOf[name] = { server, ca, token: status.token };
  }
  const registration = { group: 'admissionregistration.k8s.io', version: 'v1' };
  await client.create({ ...registration, resource: 'validatingadmissionpolicies', kind: policy.kind, namespaced: false }, policy);
  const bindings = { ...registration, resource: 'validatingadmissionpolicybindings', kind: policyBinding.kind, namespaced: false };
  await client.create(bindings, policyBinding);
  return connectionOf;
}

/** 5,000 pods on simulated nodes, which the page shows and the metrics count. */
async function rollOut(client) {
  const labelsOf = (index) => ({ app: `many-${index}` });
  for (let index = 0; index < deploymentsOf100; index += 1) {
    await client.create(deployments, {
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: { name: `many-${index}`, namespace },
      spec: {
        replicas: 100,
        selector: { matchLabels: labelsOf(index) },
        template: {
          metadata: { labels: labelsOf(index) },
          spec: { tolerations: [{ key: 'midship.dev/simulated', operator: 'Exists' }], containers: [{ name: 'web', image: 'host/none' }] },
        },
      },
    });
  }
  for (;;) {
    const { items } = await client.list(deployments, { namespace });
    if (items.filter(({ status }) => status?.readyReplicas === 100).length === deploymentsOf100) return;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

const pemOf = ({ certificate, key }) => ({ cert: certificate, key });

export async function floods() {
  const cluster = await startCluster('up', ['--runtime', 'simulated', '--simulate-nodes', '100']);
  const rows = [];
  try {
    const connectionOf = await prepare(cluster);
    const measure = () => load({ kind: 'normal', connection: connectionOf.normal, namespace, durationMs });
    // The compiler has its turn before the samples.
    await measure();
    for (const { name, by, reads, kind = 'flood', connections = defaultConnections, ...request } of table) {
      if (!name.includes(process.env.FLOOD ?? '')) continue;
      const quiet = await measure();
      const flooding = load({
        kind,
        connection: connectionOf[by],
        connections,
        durationMs: warmUpMs + durationMs,
        reads,
        request,
      });
      await new Promise((resolve) => setTimeout(resolve, warmUpMs));
      const flooded = await measure();
      const { statuses } = await flooding;
      const of = ({ latencies }, q) => [quantile([...latencies.get, ...latencies.patch], q)];
      rows.push(
        { name: `${name}: get and patch of another, quiet, p50`, unit: 'ms', samples: of(quiet, 0.5) },
        { name: `${name}: quiet, p99`, unit: 'ms', samples: of(quiet, 0.99) },
        { name: `${name}: flooded, p50`, unit: 'ms', samples: of(flooded, 0.5) },
        { name: `${name}: flooded, p99`, unit: 'ms', samples: of(flooded, 0.99) },
        { name: `${name}: resident memory`, unit: 'MiB', samples: [cluster.rssMiB()] },
      );
      process.stderr.write(
        `  ${name}: answers by status ${JSON.stringify(statuses)}; failures of the other ${JSON.stringify(flooded.failures)}; p99 ${of(quiet, 0.99)[0].toFixed(1)} -> ${of(flooded, 0.99)[0].toFixed(1)} ms\n`,
      );
    }
  } finally {
    await cluster.stop();
  }
  return rows;
}
