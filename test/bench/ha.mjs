// SQLite, etcd with one and with three members, one and three API servers: pods, writes, starts and fail-overs side by side in one run.
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { deployments } from '../../dist/api/apps/v1/deployment.js';
import { leases } from '../../dist/api/coordination/v1/lease.js';
import { configMaps } from '../../dist/api/core/v1/config-map.js';
import { pods } from '../../dist/api/core/v1/pod.js';
import { startCluster, temporary, untilNone, watchUntil } from './cluster.mjs';
import { hasEtcd, startEtcd } from './etcd.mjs';

const namespace = 'default';
const replicas = Number(process.env.HA_REPLICAS ?? 1_000);
const rounds = 3;
const writes = 400;
/** As in the aim for starts: what no node takes, so that only the start is measured. */
const waitingPods = 10_000;
const objects = 50_000;
const inFlight = 256;
const simulated = ['--runtime', 'simulated', '--simulate-nodes', '100'];

const tolerations = [{ key: 'midship.dev/simulated', operator: 'Exists' }];
const containers = [{ name: 'web', image: 'host/none' }];

/** Each gives its rows; `--only TEXT` runs those with the text in their names. */
const workloads = [
  { name: 'sqlite, 1 server', run: (name) => measure(name, { members: 0, servers: 1 }) },
  { name: 'etcd x1, 1 server', run: (name) => measure(name, { members: 1, servers: 1 }) },
  { name: 'etcd x3, 1 server', run: (name) => measure(name, { members: 3, servers: 1 }) },
  { name: 'etcd x1, 3 servers', run: (name) => measure(name, { members: 1, servers: 3 }) },
  { name: 'etcd x3, 3 servers', run: (name) => measure(name, { members: 3, servers: 3 }) },
  { name: `start with ${waitingPods} pods, sqlite`, run: (name) => startFull(name, { members: 0, count: waitingPods, create: createPod }) },
  { name: `start with ${waitingPods} pods, etcd`, run: (name) => startFull(name, { members: 1, count: waitingPods, create: createPod }) },
  { name: `start with ${objects} objects, sqlite`, run: (name) => startFull(name, { members: 0, count: objects, create: createObject }) },
  { name: `start with ${objects} objects, etcd`, run: (name) => startFull(name, { members: 1, count: objects, create: createObject }) },
];

export async function ha({ only }) {
  const rows = [];
  for (const { name, run } of workloads) {
    if (only !== undefined && !name.includes(only)) continue;
    if (!hasEtcd && !name.includes('sqlite')) continue;
    rows.push(...(await run(name)));
  }
  return rows;
}

/** @param at  the first one has the simulated nodes */
function startServer(etcd, at, dataDirectory) {
  if (etcd === undefined) return startCluster('up', simulated, dataDirectory);
  return startCluster(
    'server',
    [
      ...['--store', etcd.url, '--token', 'correct-horse-battery', '--bind-address', '127.0.0.1', '--node-ip', '127.0.0.1'],
      ...['--node-name', `server-${at}`, '--disable', 'node,ingress,servicelb', '--simulate-nodes', at === 0 ? '100' : '0'],
    ],
    dataDirectory,
  );
}

async function measure(name, { members, servers }) {
  const etcd = members === 0 ? undefined : await startEtcd(members);
  const clusters = [];
  try {
    for (let at = 0; at < servers; at += 1) clusters.push(await startServer(etcd, at));
    const [{ client }] = clusters;
    const ready = clusters.map(({ apiReadyMs }) => apiReadyMs());
    const perSecond = [];
    for (let round = 0; round < rounds; round += 1) perSecond.push(await rollOut(client, `r${round}`));
    const rows = [
      { name: `${name}: process start to API ready`, unit: 'ms', samples: ready },
      // The first round is the compiler's.
      { name: `${name}: ${replicas} pods created to Ready`, unit: '1/s', samples: perSecond.slice(1) },
      { name: `${name}: one write at a time over HTTP`, unit: 'ms', samples: await writeSerially(client) },
      { name: `${name}: one read at a time, added by the barrier`, unit: 'ms', samples: await readSerially(client) },
      { name: `${name}: resident memory of the first server`, unit: 'MiB', samples: [clusters[0].rssMiB()] },
    ];
    if (servers > 1) rows.push(...(await failOver(name, clusters)));
    const last = clusters.at(-1).client;
    if (members > 1)
      rows.push({ name: `${name}: leader of etcd killed to the next write`, unit: 'ms', samples: [await loseLeader(etcd, last)] });
    return rows;
  } finally {
    await Promise.all(clusters.filter(isRunning).map((cluster) => cluster.stop()));
    await etcd?.end();
  }
}

async function rollOut(client, name) {
  const startedAt = performance.now();
  await client.create(deployments, {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name, namespace },
    spec: {
      replicas,
      selector: { matchLabels: { app: name } },
      template: { metadata: { labels: { app: name } }, spec: { tolerations, containers } },
    },
  });
  const ms = await watchUntil(client, deployments, {
    namespace,
    name,
    startedAt,
    fits: ({ status }) => status?.readyReplicas === replicas,
  });
  await client.delete(deployments, { namespace, name });
  // The next figure is taken on a quiet cluster: until then its pods end, and the last of their Events are written.
  await untilNone(client, pods, namespace);
  await new Promise((resolve) => setTimeout(resolve, 2_000));
  return (replicas * 1_000) / ms;
}

const configMap = (name) => ({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name, namespace }, data: { value: 'x'.repeat(1_024) } });

async function writeSerially(client) {
  const samples = [];
  for (let n = 0; n < writes; n += 1) {
    const startedAt = performance.now();
    await client.create(configMaps, configMap(`serial-${n}`));
    samples.push(performance.now() - startedAt);
  }
  return samples;
}

/** Each sample is a list of few objects at the newest state without the time of one from memory, which waits for nothing. */
async function readSerially(client) {
  const timeOf = async (options) => {
    const startedAt = performance.now();
    await client.list(configMaps, { namespace: 'kube-public', ...options });
    return performance.now() - startedAt;
  };
  const samples = [];
  for (let n = 0; n < writes; n += 1) {
    const fromMemory = await timeOf({ resourceVersion: '0' });
    samples.push((await timeOf({})) - fromMemory);
  }
  return samples;
}

const holderOf = async (client) =>
  (await client.get(leases, { namespace: 'kube-system', name: 'kube-controller-manager' })).spec?.holderIdentity ?? '';

/** Kills servers until the one was among them that leads the controllers; the last one is left. */
async function failOver(name, clusters) {
  const survivor = clusters.at(-1);
  for (const cluster of clusters.slice(0, -1)) {
    const before = await holderOf(survivor.client);
    const killedAt = performance.now();
    cluster.child.kill('SIGKILL');
    for (;;) {
      const holder = await holderOf(survivor.client);
      if (holder !== '' && holder !== before) break;
      // A Lease that is held for 15 s after a kill is not that of the killed one.
      if (performance.now() - killedAt > 15_000) break;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    const ms = performance.now() - killedAt;
    if (ms < 15_000) return [{ name: `${name}: leading server killed to the next leader`, unit: 'ms', samples: [ms] }];
  }
  return [];
}

const isRunning = ({ child }) => child.exitCode === null && child.signalCode === null;

async function loseLeader(etcd, client) {
  const leader = etcd.leader();
  const startedAt = performance.now();
  etcd.kill(leader);
  for (let n = 0; ; n += 1) {
    try {
      await client.create(configMaps, configMap(`lost-${n}`));
      return performance.now() - startedAt;
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }
}

const createObject = (client, n) => client.create(configMaps, configMap(`full-${n}`));

const createPod = (client, n) =>
  client.create(pods, {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: `full-${n}`, namespace },
    spec: { schedulerName: 'none', containers },
  });

async function startFull(name, { members, count, create }) {
  const etcd = members === 0 ? undefined : await startEtcd(members);
  const dataDirectory = temporary('full');
  let cluster = await startServer(etcd, 0, dataDirectory);
  try {
    let next = 0;
    const worker = async () => {
      while (next < count) {
        next += 1;
        await create(cluster.client, next);
      }
    };
    await Promise.all(Array.from({ length: inFlight }, worker));
    const ended = new Promise((resolve) => cluster.child.once('exit', resolve));
    cluster.child.kill('SIGKILL');
    await ended;
    // A killed server leaves it, and its end would be taken for the next one's start.
    rmSync(join(dataDirectory, 'endpoints.json'));
    cluster = await startServer(etcd, 0, dataDirectory);
    return [
      { name, unit: 'ms', samples: [cluster.apiReadyMs()] },
      { name: `${name}: processor time`, unit: 'ms', samples: [cluster.cpuMs()] },
    ];
  } finally {
    if (isRunning(cluster)) await cluster.stop();
    await etcd?.end();
  }
}
