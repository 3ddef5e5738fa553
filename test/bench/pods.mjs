// A Deployment of 1,000 replicas on 100 simulated nodes, created to all Ready; then 5,000 pods in 50 Deployments.
import { deployments } from '../../dist/api/apps/v1/deployment.js';
import { startCluster, watchUntil } from './cluster.mjs';

const deployment = (name, replicas) => ({
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: { name, namespace: 'default' },
  spec: {
    replicas,
    selector: { matchLabels: { app: name } },
    template: {
      metadata: { labels: { app: name } },
      spec: {
        tolerations: [{ key: 'midship.dev/simulated', operator: 'Exists' }],
        containers: [{ name: 'web', image: 'host/none', resources: { requests: { cpu: '10m', memory: '16Mi' } } }],
      },
    },
  },
});

const lagOf = (text, name) => Number(new RegExp(`^nodejs_eventloop_lag_${name}_seconds (\\S+)`, 'm').exec(text)?.[1] ?? Number.NaN) * 1_000;

async function rollOut(client, name, replicas) {
  const startedAt = performance.now();
  const created = await client.create(deployments, deployment(name, replicas));
  const { resourceVersion } = created.metadata;
  return watchUntil(client, deployments, {
    namespace: 'default',
    name,
    resourceVersion,
    startedAt,
    fits: ({ status }) => status?.readyReplicas === replicas,
  });
}

async function removeAll(client, names) {
  for (const name of names) await client.delete(deployments, { namespace: 'default', name });
  const { pods } = await import('../../dist/api/core/v1/pod.js');
  for (;;) {
    const { items } = await client.list(pods, { namespace: 'default', limit: 1 });
    if (items.length === 0) return;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

export async function pods() {
  const cold = [];
  const warm = [];
  const lagP99 = [];
  const lagMax = [];
  const capacity = ['--runtime', 'simulated', '--simulate-nodes', '100'];
  for (let process = 0; process < 2; process += 1) {
    const cluster = await startCluster('up', capacity);
    await cluster.metrics();
    for (let round = 0; round < 4; round += 1) {
      const ms = await rollOut(cluster.client, `web-${round}`, 1_000);
      (round === 0 ? cold : warm).push(1_000 / (ms / 1_000));
      const text = await cluster.metrics();
      lagP99.push(lagOf(text, 'p99'));
      lagMax.push(lagOf(text, 'max'));
      await removeAll(cluster.client, [`web-${round}`]);
    }
    await cluster.stop();
  }
  const many = [];
  const loaded = [];
  for (let run = 0; run < 3; run += 1) {
    const cluster = await startCluster('up', capacity);
    const startedAt = performance.now();
    await Promise.all(Array.from({ length: 50 }, (_, index) => rollOut(cluster.client, `many-${index}`, 100)));
    many.push(performance.now() - startedAt);
    await new Promise((resolve) => setTimeout(resolve, 5_000));
    loaded.push(cluster.rssMiB());
    await cluster.stop();
  }
  return [
    { name: '1,000 replicas on 100 simulated nodes, first round', unit: 'pods/s', samples: cold },
    { name: '1,000 replicas on 100 simulated nodes, warm', unit: 'pods/s', samples: warm },
    { name: 'event loop lag p99 (process so far)', unit: 'ms', samples: lagP99 },
    { name: 'event loop lag, longest', unit: 'ms', samples: lagMax },
    { name: '5,000 pods in 50 Deployments, created to Ready', unit: 'ms', samples: many },
    { name: 'resident memory, 5,000 pods', unit: 'MiB', samples: loaded },
  ];
}
