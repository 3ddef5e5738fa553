// The API over HTTPS: get, list of 500, durable create and update with 1 and with 64 clients, 1,000 watchers, 10,000 custom resources.
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { namespaces } from '../../dist/api/core/v1/namespace.js';
import { root, startCluster } from './cluster.mjs';

/** Clients that people have ask now and then; as fast as they can is what the throughput rows measure. */
const intervalMs = 200;
const durationMs = 5_000;

const customResources = {
  apiVersion: 'apiextensions.k8s.io/v1',
  kind: 'CustomResourceDefinition',
  metadata: { name: 'widgets.bench.example' },
  spec: {
    group: 'bench.example',
    scope: 'Namespaced',
    names: { plural: 'widgets', singular: 'widget', kind: 'Widget', listKind: 'WidgetList' },
    versions: [
      {
        name: 'v1',
        served: true,
        storage: true,
        schema: {
          openAPIV3Schema: {
            type: 'object',
            properties: {
              spec: {
                type: 'object',
                properties: { size: { type: 'integer', minimum: 0, default: 1 }, text: { type: 'string', maxLength: 100 } },
              },
            },
          },
        },
      },
    ],
  },
};

/** Measurements of the clients of another process. */
function load(cluster, task) {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [join(root, 'test/bench/api-load.mjs'), cluster.endpoints.kubeconfig, JSON.stringify(task)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let text = '';
    child.stdout.setEncoding('utf8').on('data', (chunk) => {
      text += chunk;
    });
    child.on('error', reject);
    child.on('exit', (code) => (code === 0 ? resolve(JSON.parse(text)) : reject(new Error(`api-load ended with ${code}`))));
  });
}

const p99 = (samples) => [...samples].sort((a, b) => a - b)[Math.floor(0.99 * samples.length)] ?? Number.NaN;

export async function api() {
  const cluster = await startCluster('up', ['--runtime', 'simulated']);
  const rows = [];
  try {
    await cluster.client.create(namespaces, { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'bench' } });
    await load(cluster, { operation: 'seed', clients: 16, total: 500 });
    // The compiler has its turn before the samples.
    for (const operation of ['get', 'list', 'update']) await load(cluster, { operation, clients: 8, durationMs: 2_000 });
    for (const operation of ['get', 'list', 'update', 'create']) {
      const single = await load(cluster, { operation, clients: 1, durationMs, prefix: 's' });
      rows.push({ name: `${operation}, 1 client`, unit: 'ms', samples: single.latencies });
      const paced = await load(cluster, {
        operation,
        clients: 64,
        durationMs,
        intervalMs: operation === 'list' ? 5 * intervalMs : intervalMs,
        prefix: 'p',
      });
      rows.push({ name: `${operation}, 64 clients, ${operation === 'list' ? 64 : 320} requests/s`, unit: 'ms', samples: paced.latencies });
      rows.push({ name: `${operation}, 64 clients, p99`, unit: 'ms', samples: [p99(paced.latencies)] });
      const busy = await load(cluster, { operation, clients: 64, durationMs, prefix: 'b' });
      rows.push({ name: `${operation}, 64 clients as fast as they can`, unit: '1/s', samples: [busy.latencies.length / busy.seconds] });
    }
    const { lags, missed } = await load(cluster, { kind: 'watchers', watchers: 1_000, writes: 50, perSecond: 5 });
    rows.push({ name: '1,000 watchers of one busy resource, lag', unit: 'ms', samples: lags });
    rows.push({ name: '1,000 watchers of one busy resource, lag p99', unit: 'ms', samples: [p99(lags)] });
    rows.push({ name: '1,000 watchers of one busy resource, events missed', unit: 'events', samples: [missed] });
    rows.push(...(await custom(cluster)));
  } finally {
    await cluster.stop();
  }
  return rows;
}

async function custom(cluster) {
  const { client } = cluster;
  const crds = {
    group: 'apiextensions.k8s.io',
    version: 'v1',
    resource: 'customresourcedefinitions',
    kind: 'CustomResourceDefinition',
    namespaced: false,
  };
  const startedAt = performance.now();
  await client.create(crds, customResources);
  const widgetResource = { group: 'bench.example', version: 'v1', resource: 'widgets', kind: 'Widget', namespaced: true };
  for (;;) {
    const isServed = await client.list(widgetResource, { namespace: 'bench' }).then(
      () => true,
      () => false,
    );
    if (isServed) break;
    if (performance.now() - startedAt > 10_000) throw new Error('the custom resource is not served');
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  const servedMs = performance.now() - startedAt;
  const created = await load(cluster, { operation: 'widget', clients: 64, total: 10_000 });
  const listed = await load(cluster, { operation: 'widgets', clients: 1, total: 20 });
  return [
    { name: 'custom resources, from definition to served', unit: 'ms', samples: [servedMs] },
    { name: '10,000 custom resources, created by 64 clients', unit: '1/s', samples: [10_000 / created.seconds] },
    { name: '10,000 custom resources, one create of 64 clients', unit: 'ms', samples: created.latencies },
    { name: '10,000 custom resources, list of all', unit: 'ms', samples: listed.latencies },
  ];
}
