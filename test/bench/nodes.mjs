// A server and an agent on machines of their own, as network namespaces with a cable to one bridge. Starts of pods alternate with the same
// calls to containerd made bare, since a machine is not equally fast all the time. Then the agent's memory, and a cable that is pulled.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { deployments } from '../../dist/api/apps/v1/deployment.js';
import { pods } from '../../dist/api/core/v1/pod.js';
import { runtimeClasses } from '../../dist/api/node/v1/runtime-class.js';
import { systemClock } from '../../dist/base/clock.js';
import { createHttpClient } from '../../dist/client/http-client.js';
import { loadKubeconfig } from '../../dist/client/kubeconfig.js';
import { createCriClient } from '../../dist/node-agent/containerd/cri-client.js';
import { imageArchive } from '../../dist/node-agent/containerd/image-archive.js';
import { programEnvironment } from '../../scripts/setup.mjs';
import { root, temporary, watchUntil } from './cluster.mjs';

const image = 'localhost/midship-bench-busybox:1';
const rounds = 20;
const atOnce = 20;
const crowd = 50;
const prefix = `msn${process.pid}`;
const address = (n) => `10.206.0.${n}`;
const machines = { server: 1, agent: 2 };

const tryRun = (program, ...args) => spawnSync(program, args, { encoding: 'utf8' });
function succeed(program, ...args) {
  const { status, stdout, stderr, error } = tryRun(program, ...args);
  if (status !== 0) throw new Error(`${program} ${args.join(' ')}: ${error?.message ?? stderr}`);
  return stdout;
}
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

function whyNot() {
  if (process.getuid?.() !== 0) return 'they need root';
  if (!existsSync('/bin/busybox')) return 'they need busybox-static';
  const missing = ['containerd', 'runc', 'ip', 'nft'].find((name) => tryRun('which', name).status !== 0);
  return missing === undefined ? undefined : `they need ${missing}`;
}

function connectMachines() {
  succeed('ip', 'link', 'add', `${prefix}b`, 'type', 'bridge');
  succeed('ip', 'addr', 'add', `${address(254)}/24`, 'dev', `${prefix}b`);
  succeed('ip', 'link', 'set', `${prefix}b`, 'up');
  for (const n of Object.values(machines)) {
    const name = `${prefix}-${n}`;
    succeed('ip', 'netns', 'add', name);
    succeed('ip', 'link', 'add', `${prefix}c${n}`, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', name);
    succeed('ip', 'link', 'set', `${prefix}c${n}`, 'master', `${prefix}b`, 'up');
    for (const command of [
      'link set lo up',
      'link set eth0 up',
      `addr add ${address(n)}/24 dev eth0`,
      `route add default via ${address(254)}`,
    ])
      succeed('ip', '-n', name, ...command.split(' '));
  }
}

/** `nsenter --net` keeps the control groups in sight, which `ip netns exec` would hide. */
const inside = (n, args) => ['nsenter', [`--net=/run/netns/${prefix}-${n}`, process.execPath, join(root, 'dist/main.js'), ...args]];

async function startMachine(command, args) {
  const directory = temporary(command);
  mkdirSync(join(directory, 'images'));
  const busybox = { name: 'bin/busybox', content: readFileSync('/bin/busybox'), mode: 0o755 };
  const applets = ['sh', 'sleep'].map((name) => ({ name: `bin/${name}`, content: Buffer.alloc(0), mode: 0o777, target: 'busybox' }));
  const architecture = process.arch === 'x64' ? 'amd64' : process.arch;
  const config = { Env: ['PATH=/bin'], Cmd: ['sh'] };
  writeFileSync(
    join(directory, 'images', 'busybox.tar'),
    imageArchive({ name: image, architecture, config, files: [busybox, ...applets] }),
  );
  const flags = ['--data-dir', directory, '--node-name', command, ...args];
  const child = spawn(...inside(machines[command], [command, ...flags]), {
    stdio: ['ignore', 'ignore', 'inherit'],
    env: { ...programEnvironment, NO_COLOR: '1' },
  });
  const file = join(directory, 'endpoints.json');
  const read = () => (existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : {});
  while (read().pid === undefined || read().isJoined === false) {
    if (child.exitCode !== null) throw new Error(`${command} ended with ${child.exitCode}`);
    await pause(20);
  }
  return {
    directory,
    pid: read().pid,
    down: () => spawnSync(...inside(machines[command], ['down', '--purge', '--yes', '--data-dir', directory])),
  };
}

const pod = (name, runtimeClassName) => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name, namespace: 'default' },
  spec: {
    nodeName: 'agent',
    terminationGracePeriodSeconds: 0,
    ...(runtimeClassName === undefined ? {} : { runtimeClassName }),
    containers: [{ name: 'main', image, imagePullPolicy: 'IfNotPresent', command: ['sleep', '1000000'] }],
  },
});

const isReady = ({ status }) => status?.conditions?.some(({ type, status: is }) => type === 'Ready' && is === 'True') === true;

async function startPod(client, name, runtimeClassName) {
  const startedAt = performance.now();
  const { metadata } = await client.create(pods, pod(name, runtimeClassName));
  const { resourceVersion } = metadata;
  return watchUntil(client, pods, { namespace: 'default', name, resourceVersion, startedAt, fits: isReady });
}

async function removePods(client, names) {
  for (const name of names) await client.delete(pods, { namespace: 'default', name });
  while ((await client.list(pods, { namespace: 'default' })).items.some(({ metadata }) => names.includes(metadata.name))) await pause(20);
}

/** The calls that a pod of one container needs, and nothing beside. */
async function startBare(cri, name, handler, logDirectory) {
  const namespaceOptions = { network: 'POD', pid: 'CONTAINER', ipc: 'POD' };
  const seccomp = { profileType: 'RuntimeDefault' };
  const sandbox = {
    metadata: { name, uid: name, namespace: 'bare', attempt: 0 },
    hostname: name,
    logDirectory,
    labels: {},
    annotations: {},
    portMappings: [],
    linux: { cgroupParent: `/midship-bench/${name}`, securityContext: { namespaceOptions, privileged: false, seccomp }, sysctls: {} },
  };
  const container = {
    metadata: { name: 'main', attempt: 0 },
    image: { image },
    command: ['sleep', '1000000'],
    args: [],
    workingDir: '',
    envs: [],
    mounts: [],
    labels: {},
    annotations: {},
    logPath: 'main.log',
    stdin: false,
    stdinOnce: false,
    tty: false,
    linux: {
      resources: { cpuPeriod: 0, cpuQuota: 0, cpuShares: 2, memoryLimitInBytes: 0, oomScoreAdj: 0 },
      securityContext: {
        capabilities: { addCapabilities: [], dropCapabilities: [] },
        privileged: false,
        namespaceOptions,
        readonlyRootfs: false,
        supplementalGroups: [],
        noNewPrivs: false,
        maskedPaths: [],
        readonlyPaths: [],
        seccomp,
      },
    },
  };
  const startedAt = performance.now();
  const sandboxId = await cri.runPodSandbox(sandbox, handler);
  const containerId = await cri.createContainer(sandboxId, container, sandbox);
  await cri.startContainer(containerId);
  const ms = performance.now() - startedAt;
  await cri.stopPodSandbox(sandboxId);
  await cri.removePodSandbox(sandboxId);
  return ms;
}

async function latencies(client, cri, logDirectory) {
  const rows = [];
  const hasCrun = tryRun('which', 'crun').status === 0;
  if (!hasCrun) process.stderr.write('  crun is left out: it is not installed\n');
  for (const handler of ['runc', ...(hasCrun ? ['crun'] : [])]) {
    await client.create(runtimeClasses, { apiVersion: 'node.k8s.io/v1', kind: 'RuntimeClass', metadata: { name: handler }, handler });
    const samples = { pod: [], bare: [] };
    // The first of each warms caches of disk and kernel.
    for (let round = -1; round < rounds; round += 1) {
      const name = `${handler}-${round + 1}`;
      const ms = { pod: await startPod(client, name, handler) };
      await removePods(client, [name]);
      ms.bare = await startBare(cri, name, handler, logDirectory);
      if (round >= 0) for (const way of Object.keys(samples)) samples[way].push(ms[way]);
    }
    rows.push(
      { name: `${handler}: a pod, created to Ready in the API`, unit: 'ms', samples: samples.pod },
      { name: `${handler}: the same calls to containerd, bare`, unit: 'ms', samples: samples.bare },
      { name: `${handler}: pod against bare`, unit: 'times', samples: samples.pod.map((ms, index) => ms / samples.bare[index]) },
    );
  }
  return rows;
}

async function parallel(client, cri, logDirectory) {
  const samples = { pods: [], bare: [] };
  for (let round = 0; round < 3; round += 1) {
    const names = Array.from({ length: atOnce }, (_, index) => `many-${round}-${index}`);
    let startedAt = performance.now();
    await Promise.all(names.map((name) => startPod(client, name)));
    samples.pods.push(atOnce / ((performance.now() - startedAt) / 1_000));
    await removePods(client, names);
    startedAt = performance.now();
    let next = 0;
    const line = async () => {
      while (next < names.length) {
        next += 1;
        await startBare(cri, names[next - 1], '', logDirectory);
      }
    };
    await Promise.all(Array.from({ length: 4 }, line));
    samples.bare.push(atOnce / ((performance.now() - startedAt) / 1_000));
  }
  return [
    { name: `${atOnce} pods at once, created to Ready`, unit: 'pods/s', samples: samples.pods },
    { name: `${atOnce} bare, 4 at a time, with their removal`, unit: 'pods/s', samples: samples.bare },
  ];
}

const residentMiB = (pid) => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))[1]) / 1024;

async function memory(client, pid) {
  const before = residentMiB(pid);
  const names = Array.from({ length: crowd }, (_, index) => `crowd-${index}`);
  await Promise.all(names.map((name) => startPod(client, name)));
  await pause(10_000);
  const samples = [residentMiB(pid)];
  await removePods(client, names);
  return [
    { name: 'resident memory of the agent after the starts above', unit: 'MiB', samples: [before] },
    { name: `resident memory of the agent, ${crowd} pods`, unit: 'MiB', samples },
  ];
}

/** With the times of upstream for a silent node, and a pod that leaves one at once. */
async function pulledCable(client) {
  const tolerations = ['unreachable', 'not-ready'].map((key) => ({
    key: `node.kubernetes.io/${key}`,
    operator: 'Exists',
    effect: 'NoExecute',
    tolerationSeconds: 0,
  }));
  const { nodeName, ...spec } = pod('mover').spec;
  const prefersAgent = {
    weight: 100,
    preference: { matchExpressions: [{ key: 'kubernetes.io/hostname', operator: 'In', values: [nodeName] }] },
  };
  const affinity = { nodeAffinity: { preferredDuringSchedulingIgnoredDuringExecution: [prefersAgent] } };
  const labels = { app: 'mover' };
  await client.create(deployments, {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name: 'mover', namespace: 'default' },
    spec: { replicas: 1, selector: { matchLabels: labels }, template: { metadata: { labels }, spec: { ...spec, tolerations, affinity } } },
  });
  const readyOn = async (node) => {
    while (!(await client.list(pods, { namespace: 'default' })).items.some((each) => each.spec.nodeName === node && isReady(each)))
      await pause(50);
  };
  await readyOn(nodeName);
  succeed('ip', 'link', 'set', `${prefix}c${machines.agent}`, 'down');
  const startedAt = performance.now();
  await readyOn('server');
  const samples = [performance.now() - startedAt];
  succeed('ip', 'link', 'set', `${prefix}c${machines.agent}`, 'up');
  return [{ name: 'cable pulled to the pod Ready elsewhere', unit: 'ms', samples }];
}

export async function nodes() {
  const why = whyNot();
  if (why !== undefined) {
    process.stderr.write(`  nodes are left out: ${why}\n`);
    return [];
  }
  const started = [];
  try {
    connectMachines();
    const server = await startMachine('server', ['--node-ip', address(machines.server), '--disable', 'ingress']);
    started.push(server);
    const url = `https://${address(machines.server)}:6443`;
    const agentFlags = ['--server', url, '--token-file', join(server.directory, 'token'), '--node-ip', address(machines.agent)];
    const agent = await startMachine('agent', [...agentFlags, '--disable', 'ingress']);
    started.push(agent);
    const client = createHttpClient({ ...(await loadKubeconfig(join(server.directory, 'kubeconfig'))), server: url, userAgent: 'bench/0' });
    const [, socketPath] = /address = "(.*)"/.exec(readFileSync(join(agent.directory, 'containerd/config.toml'), 'utf8'));
    const cri = createCriClient({ socketPath, clock: systemClock });
    const logDirectory = join(agent.directory, 'bare-logs');
    mkdirSync(logDirectory);
    const rows = [
      ...(await latencies(client, cri, logDirectory)),
      ...(await parallel(client, cri, logDirectory)),
      ...(await memory(client, agent.pid)),
      ...(await pulledCable(client)),
    ];
    cri.close();
    client.close();
    return rows;
  } finally {
    for (const { down, directory } of started.reverse()) {
      down();
      rmSync(directory, { recursive: true, force: true });
    }
    for (const n of Object.values(machines)) tryRun('ip', 'netns', 'delete', `${prefix}-${n}`);
    tryRun('ip', 'link', 'delete', `${prefix}b`);
  }
}
