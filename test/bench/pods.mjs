// Pods through the whole program, on simulated nodes: created to Ready, updated, scaled to 0, coming and going, and lost with their node.
import { deployments } from '../../dist/api/apps/v1/deployment.js';
import { leases } from '../../dist/api/coordination/v1/lease.js';
import { nodes } from '../../dist/api/core/v1/node.js';
import { pods as podKind } from '../../dist/api/core/v1/pod.js';
import { startCluster, untilNone, watchUntil } from './cluster.mjs';

const namespace = 'default';
const inFlight = 256;
const churnPerSecond = 500;
const churnSeconds = 60;
/** Pods of the churn live for so long. */
const churnLifeMs = 2_000;
const lostPods = 1_000;
const lostNode = 'lost';

/** Each gives its rows, and takes less than two minutes on a machine of two cores. */
const workloads = [
  { name: 'RollOut/100Nodes/1000Pods', run: rollOutOften },
  { name: 'RollOut/100Nodes/5000Pods', run: () => createMany(100, 5_000, 3) },
  { name: 'RollOut/1000Nodes/5000Pods', run: () => createMany(1_000, 5_000, 2) },
  { name: 'RollOut/5000Nodes/20000Pods', run: () => createMany(5_000, 20_000, 1) },
  { name: 'RollingUpdate/100Nodes/1000Pods', run: updateRolling },
  { name: 'ScaleToZero/100Nodes/5000Pods', run: scaleToZero },
  { name: 'Churn/100Nodes/500PodsPerSecond', run: churn },
  { name: 'NodeLost/100Nodes/1000Pods', run: loseNode },
];

const podSpec = (spec = {}) => ({
  tolerations: [
    { key: 'midship.dev/simulated', operator: 'Exists' },
    { key: 'node.kubernetes.io/unreachable', operator: 'Exists', effect: 'NoExecute', tolerationSeconds: 0 },
  ],
  containers: [{ name: 'web', image: 'host/none', resources: { requests: { cpu: '10m', memory: '16Mi' } } }],
  ...spec,
});

const deployment = (name, replicas, spec) => ({
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: { name, namespace },
  spec: {
    replicas,
    selector: { matchLabels: { app: name } },
    template: { metadata: { labels: { app: name } }, spec: podSpec(spec) },
  },
});

const simulated = (count) => startCluster('up', ['--runtime', 'simulated', '--simulate-nodes', String(count)]);
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const lagOf = (text, name) => Number(new RegExp(`^nodejs_eventloop_lag_${name}_seconds (\\S+)`, 'm').exec(text)?.[1] ?? Number.NaN) * 1_000;

/** Wall clock and processor time of the program for some work. */
async function timed(cluster, work) {
  const startedAt = performance.now();
  const cpuBefore = cluster.cpuMs();
  await work();
  return { ms: performance.now() - startedAt, cpuMs: cluster.cpuMs() - cpuBefore };
}

async function rollOut(client, name, replicas, spec) {
  const startedAt = performance.now();
  const created = await client.create(deployments, deployment(name, replicas, spec));
  const { resourceVersion } = created.metadata;
  const fits = ({ status }) => status?.readyReplicas === replicas;
  return watchUntil(client, deployments, { namespace, name, resourceVersion, startedAt, fits });
}

async function inParallel(items, work) {
  const left = [...items];
  const worker = async () => {
    for (let item = left.shift(); item !== undefined; item = left.shift()) await work(item);
  };
  await Promise.all(Array.from({ length: Math.min(left.length, inFlight) }, worker));
}

async function rollOutOften() {
  const cold = [];
  const warm = [];
  const cpu = [];
  const lagP99 = [];
  const lagMax = [];
  for (let process = 0; process < 2; process += 1) {
    const cluster = await simulated(100);
    await cluster.metrics();
    for (let round = 0; round < 4; round += 1) {
      const name = `web-${round}`;
      const { ms, cpuMs } = await timed(cluster, () => rollOut(cluster.client, name, 1_000));
      (round === 0 ? cold : warm).push(1_000 / (ms / 1_000));
      cpu.push(cpuMs / 1_000);
      const text = await cluster.metrics();
      lagP99.push(lagOf(text, 'p99'));
      lagMax.push(lagOf(text, 'max'));
      await cluster.client.delete(deployments, { namespace, name });
      await untilNone(cluster.client, podKind, namespace);
    }
    await cluster.stop();
  }
  return [
    { name: '1,000 replicas on 100 simulated nodes, first round', unit: 'pods/s', samples: cold },
    { name: '1,000 replicas on 100 simulated nodes, warm', unit: 'pods/s', samples: warm },
    { name: '1,000 replicas on 100 simulated nodes, processor time a pod', unit: 'ms', samples: cpu },
    { name: 'event loop lag p99 (process so far)', unit: 'ms', samples: lagP99 },
    { name: 'event loop lag, longest', unit: 'ms', samples: lagMax },
  ];
}

const createDeployments = (client, pods) =>
  Promise.all(Array.from({ length: pods / 100 }, (_, index) => rollOut(client, `many-${index}`, 100)));

async function createMany(nodeCount, pods, runs) {
  const many = [];
  const cpu = [];
  const loaded = [];
  for (let run = 0; run < runs; run += 1) {
    const cluster = await simulated(nodeCount);
    await untilNodesReady(cluster.client, nodeCount);
    const { ms, cpuMs } = await timed(cluster, () => createDeployments(cluster.client, pods));
    many.push(pods / (ms / 1_000));
    cpu.push(cpuMs / pods);
    await pause(5_000);
    loaded.push(cluster.rssMiB());
    await cluster.stop();
  }
  const what = `${pods.toLocaleString('en')} pods on ${nodeCount.toLocaleString('en')} nodes`;
  return [
    { name: `${what}, created to Ready`, unit: 'pods/s', samples: many },
    { name: `${what}, processor time a pod`, unit: 'ms', samples: cpu },
    { name: `${what}, resident memory`, unit: 'MiB', samples: loaded },
  ];
}

async function untilNodesReady(client, count) {
  for (;;) {
    const { items } = await client.list(nodes, {});
    const ready = items.filter(({ status }) => status?.conditions?.some(({ type, status: is }) => type === 'Ready' && is === 'True'));
    if (ready.length >= count) return;
    await pause(100);
  }
}

async function updateRolling() {
  const times = [];
  const cpu = [];
  const cluster = await simulated(100);
  const { client } = cluster;
  await rollOut(client, 'web', 1_000);
  for (let round = 0; round < 3; round += 1) {
    const measured = await timed(cluster, async () => {
      const annotations = { round: String(round) };
      const changed = await client.patch(
        deployments,
        { namespace, name: 'web' },
        { type: 'strategic', body: { spec: { template: { metadata: { annotations } } } } },
      );
      const { resourceVersion, generation } = changed.metadata;
      const fits = ({ status }) =>
        status?.observedGeneration >= generation &&
        status.updatedReplicas === 1_000 &&
        status.readyReplicas === 1_000 &&
        status.replicas === 1_000;
      await watchUntil(client, deployments, { namespace, name: 'web', resourceVersion, fits });
    });
    times.push(measured.ms);
    cpu.push(measured.cpuMs);
  }
  await cluster.stop();
  return [
    { name: 'rolling update of 1,000 pods', unit: 'ms', samples: times },
    { name: 'rolling update of 1,000 pods, processor time', unit: 'ms', samples: cpu },
  ];
}

async function scaleToZero() {
  const created = [];
  const ended = [];
  const cpu = [];
  for (let run = 0; run < 2; run += 1) {
    const cluster = await simulated(100);
    const { client } = cluster;
    await untilNodesReady(client, 100);
    created.push(5_000 / ((await timed(cluster, () => createDeployments(client, 5_000))).ms / 1_000));
    await pause(2_000);
    const { ms, cpuMs } = await timed(cluster, async () => {
      const names = Array.from({ length: 50 }, (_, index) => `many-${index}`);
      await Promise.all(
        names.map((name) => client.patch(deployments, { namespace, name }, { type: 'merge', body: { spec: { replicas: 0 } } })),
      );
      await untilNone(client, podKind, namespace);
    });
    ended.push(5_000 / (ms / 1_000));
    cpu.push(cpuMs / 5_000);
    await cluster.stop();
  }
  return [
    { name: '5,000 pods before they are scaled to 0, created to Ready', unit: 'pods/s', samples: created },
    { name: '5,000 pods scaled to 0, until the last is gone', unit: 'pods/s', samples: ended },
    { name: '5,000 pods scaled to 0, processor time a pod', unit: 'ms', samples: cpu },
  ];
}

async function churn() {
  const cluster = await simulated(100);
  const { client } = cluster;
  await untilNodesReady(client, 100);
  await pause(5_000);
  const before = cluster.rssMiB();
  const total = churnPerSecond * churnSeconds;
  const underWay = new Set();
  let failed = 0;
  const live = async (index) => {
    const ref = { namespace, name: `churn-${index}` };
    try {
      await client.create(podKind, { apiVersion: 'v1', kind: 'Pod', metadata: ref, spec: podSpec() });
      await pause(churnLifeMs);
      await client.delete(podKind, ref);
    } catch {
      failed += 1;
    }
  };
  let highest = before;
  const { ms, cpuMs } = await timed(cluster, async () => {
    const startedAt = performance.now();
    for (let begun = 0; begun < total; ) {
      // Behind the pace, more of them begin at once; a bound keeps a slow program from piling them up here.
      const due = Math.min(total, Math.floor(((performance.now() - startedAt) / 1_000) * churnPerSecond));
      for (; begun < due && underWay.size < 10 * churnPerSecond; begun += 1) {
        const one = live(begun).finally(() => underWay.delete(one));
        underWay.add(one);
      }
      if (begun % 1_000 < 10) highest = Math.max(highest, cluster.rssMiB());
      await pause(10);
    }
    await Promise.all(underWay);
    await untilNone(client, podKind, namespace);
  });
  await pause(10_000);
  const after = cluster.rssMiB();
  await cluster.stop();
  return [
    {
      name: `churn of ${churnPerSecond} pods/s for ${churnSeconds} s: created, run and deleted`,
      unit: 'pods/s',
      samples: [total / (ms / 1_000)],
    },
    { name: 'churn, pods that a request failed for', unit: 'pods', samples: [failed] },
    { name: 'churn, processor time a pod', unit: 'ms', samples: [cpuMs / total] },
    { name: 'churn, resident memory before', unit: 'MiB', samples: [before] },
    { name: 'churn, resident memory at the highest', unit: 'MiB', samples: [highest] },
    { name: 'churn, resident memory 10 s after', unit: 'MiB', samples: [after] },
  ];
}

/** A node without an agent. The bench reports it as ready, and does so until it is to be lost. */
async function addLostNode(client) {
  const labels = { pool: 'lost', 'kubernetes.io/hostname': lostNode };
  await client.create(nodes, { apiVersion: 'v1', kind: 'Node', metadata: { name: lostNode, labels } });
  const allocatable = { cpu: '64', memory: '256Gi', pods: String(lostPods + 100) };
  const renew = async () => {
    const now = new Date().toISOString();
    const condition = { type: 'Ready', status: 'True', reason: 'KubeletReady', lastHeartbeatTime: now, lastTransitionTime: now };
    const status = { capacity: allocatable, allocatable, conditions: [condition] };
    await client.patch(nodes, { name: lostNode }, { type: 'strategic', body: { status } }, { subresource: 'status' });
  };
  await renew();
  await client.create(leases, {
    apiVersion: 'coordination.k8s.io/v1',
    kind: 'Lease',
    metadata: { name: lostNode, namespace: 'kube-node-lease' },
    spec: { holderIdentity: lostNode, leaseDurationSeconds: 40, renewTime: new Date().toISOString().replace('Z', '000Z') },
  });
  const timer = setInterval(() => void renew(), 5_000);
  return () => clearInterval(timer);
}

async function reportPodsReady(client) {
  const { items } = await client.list(podKind, { namespace, fieldSelector: `spec.nodeName=${lostNode}` });
  const now = new Date().toISOString();
  const conditions = [{ type: 'Ready', status: 'True', lastTransitionTime: now }];
  await inParallel(items, ({ metadata: { name } }) =>
    client.patch(
      podKind,
      { namespace, name },
      { type: 'strategic', body: { status: { phase: 'Running', conditions } } },
      { subresource: 'status' },
    ),
  );
  return items.length;
}

async function loseNode() {
  const cluster = await simulated(100);
  const { client } = cluster;
  await untilNodesReady(client, 100);
  const lose = await addLostNode(client);
  const ready = rollOut(client, 'web', lostPods, { nodeSelector: { pool: 'lost' } });
  for (let reported = 0; reported < lostPods; ) {
    await pause(500);
    reported = await reportPodsReady(client);
  }
  await ready;
  const { items } = await client.list(nodes, {});
  const body = { metadata: { labels: { pool: 'lost' } } };
  await inParallel(items, ({ metadata: { name } }) => client.patch(nodes, { name }, { type: 'merge', body }));
  lose();
  const isUnknown = ({ status }) => status?.conditions?.some(({ type, status: is }) => type === 'Ready' && is === 'Unknown') === true;
  await watchUntil(client, nodes, { name: lostNode, fits: isUnknown });
  const { ms, cpuMs } = await timed(cluster, async () => {
    const isReadyElsewhere = async () => {
      const { items: all } = await client.list(podKind, { namespace });
      const there = all.filter(
        ({ spec, status }) =>
          spec.nodeName !== lostNode && status?.conditions?.some(({ type, status: is }) => type === 'Ready' && is === 'True'),
      );
      return there.length >= lostPods;
    };
    while (!(await isReadyElsewhere())) await pause(200);
  });
  await cluster.stop();
  return [
    { name: 'node with 1,000 pods lost: unreachable to all of them Ready elsewhere', unit: 'ms', samples: [ms] },
    { name: 'node with 1,000 pods lost, processor time', unit: 'ms', samples: [cpuMs] },
  ];
}

export async function pods({ only }) {
  const rows = [];
  for (const { name, run } of workloads) if (only === undefined || name.includes(only)) rows.push(...(await run()));
  return rows;
}
