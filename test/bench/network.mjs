// Connections from a client through a node to a pod, each in a network namespace. They go directly, by rules of the kernel, and through
// the proxy of this program. All three alternate in one run, since a machine is not equally fast all the time. Then questions to DNS.
import { spawn, spawnSync } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { systemClock } from '../../dist/base/clock.js';
import { createLog } from '../../dist/base/log.js';
import { createMetrics } from '../../dist/base/metrics.js';
import { createNftBackend } from '../../dist/proxy/nft-backend.js';

const peers = fileURLToPath(new URL('./network-peers.mjs', import.meta.url));
const prefix = `msbench${process.pid}`;
const pod = '10.207.16.2';
const addresses = { direct: pod, nft: '198.51.100.7', userspace: '192.0.2.1' };
/** A port of the pod for each way: the waits of closed connections would otherwise slow down the next way. */
const podPorts = { direct: 8_080, nft: 8_081, userspace: 8_082 };
const ports = { direct: podPorts.direct, nft: 80, userspace: 8_081 };
const rounds = 5;
const seconds = 2;

const netns = (name) => `/run/netns/${prefix}-${name}`;
function succeed(program, ...args) {
  const { status, stdout, stderr, error } = spawnSync(program, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${program} ${args.join(' ')}: ${error?.message ?? stderr}`);
  return stdout;
}
const inside = (name, program, ...args) => succeed('nsenter', `--net=${netns(name)}`, program, ...args);

function connect(name, address, { link, gateway }) {
  succeed('ip', 'netns', 'add', `${prefix}-${name}`);
  succeed('ip', 'link', 'add', link, 'netns', `${prefix}-node`, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', `${prefix}-${name}`);
  for (const command of [`addr add ${gateway}/32 dev ${link}`, `link set ${link} up`, `route add ${address} dev ${link} src ${gateway}`])
    inside('node', 'ip', ...command.split(' '));
  for (const command of [
    `addr add ${address}/32 dev eth0`,
    'link set lo up',
    'link set eth0 up',
    `route add ${gateway} dev eth0 scope link`,
    `route add default via ${gateway}`,
  ])
    inside(name, 'ip', ...command.split(' '));
}

/** Starts a program of the peers, and gives its first line. */
async function startPeer(children, name, ...args) {
  const [program, words] = name === undefined ? [process.execPath, []] : ['nsenter', [`--net=${netns(name)}`, process.execPath]];
  const child = spawn(program, [...words, peers, ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
  children.push(child);
  const [line] = await once(createInterface({ input: child.stdout }), 'line');
  return line;
}

async function proxies(children) {
  const runInNode = async (program, args, input = '') => {
    const { status, stdout, stderr } = spawnSync('nsenter', [`--net=${netns('node')}`, program, ...args], { input, encoding: 'utf8' });
    if (status !== 0) throw new Error(stderr);
    return stdout;
  };
  succeed('ip', 'netns', 'add', `${prefix}-node`);
  inside('node', 'ip', 'link', 'set', 'lo', 'up');
  inside('node', 'sh', '-c', 'echo 1 > /proc/sys/net/ipv4/ip_forward');
  connect('pod', pod, { link: 'pod', gateway: '10.207.16.1' });
  connect('client', '192.0.2.2', { link: 'lan', gateway: '192.0.2.1' });
  for (const port of Object.values(podPorts)) await startPeer(children, 'pod', 'server', String(port));
  await startPeer(children, 'node', 'proxy', addresses.userspace, String(ports.userspace), pod, String(podPorts.userspace));
  const table = { name: 'midship-proxy-207', podCidr: '10.207.16.0/24', clusterCidr: '10.207.0.0/16', serviceCidr: '10.207.0.0/20' };
  const log = createLog({ level: 'silent' });
  const backend = createNftBackend({ table, nodeName: 'node', run: runInNode, clock: systemClock, log, metrics: createMetrics() });
  const endpoints = [{ address: pod, port: podPorts.nft }];
  const forward = { address: addresses.nft, port: ports.nft, protocol: 'TCP', masquerade: 'always', portName: '', affinityMs: undefined };
  await backend.set('default/web', [{ ...forward, service: 'default/web', endpoints }]);
  const samples = new Map();
  for (let round = 0; round < rounds; round += 1) {
    for (const way of Object.keys(addresses)) {
      for (const mode of ['stream', 'connections']) {
        const value = Number(await startPeer([], 'client', 'client', mode, addresses[way], String(ports[way]), String(seconds)));
        samples.set(`${mode} ${way}`, [...(samples.get(`${mode} ${way}`) ?? []), value]);
      }
    }
  }
  await backend.stop();
  const row = (mode, way) => ({
    name: mode === 'stream' ? `one stream, ${way}` : `connections, 16 at a time, ${way}`,
    unit: mode === 'stream' ? 'Gbit/s' : 'conn/s',
    samples: samples.get(`${mode} ${way}`),
  });
  return ['stream', 'connections'].flatMap((mode) => Object.keys(addresses).map((way) => row(mode, way)));
}

/** The bytes of a question for an A record. */
function questionFor(id, name) {
  const labels = name.split('.').flatMap((label) => [Buffer.from([label.length]), Buffer.from(label)]);
  const head = Buffer.from([id >> 8, id & 255, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
  return Buffer.concat([head, ...labels, Buffer.from([0, 0, 1, 0, 1])]);
}

async function dns(children) {
  const host = '127.0.0.53';
  const port = Number(await startPeer(children, undefined, 'dns', host));
  const samples = [];
  for (let round = 0; round < rounds; round += 1) {
    const socket = createSocket('udp4');
    await new Promise((resolve) => socket.bind(0, '127.0.0.1', resolve));
    let sent = 0;
    let answered = 0;
    const ask = () => {
      sent += 1;
      socket.send(questionFor(sent & 0xffff, `web-${sent % 1_000}.default.svc.cluster.local`), port, host);
    };
    const startedAt = performance.now();
    const ended = new Promise((resolve) => {
      socket.on('message', (message) => {
        if (message.readUInt16BE(6) === 0) throw new Error('an answer without an address');
        answered += 1;
        if (performance.now() - startedAt > seconds * 1_000) resolve();
        else ask();
      });
    });
    for (let n = 0; n < 32; n += 1) ask();
    await ended;
    samples.push(answered / ((performance.now() - startedAt) / 1_000));
    socket.close();
  }
  return [{ name: 'names of 1,000 Services, 32 questions under way', unit: 'q/s', samples }];
}

export async function network() {
  const children = [];
  try {
    const hasRights = process.getuid?.() === 0 && spawnSync('nft', ['--version']).status === 0;
    if (!hasRights) process.stderr.write('  the proxies are left out: they need root and nft\n');
    return [...(hasRights ? await proxies(children) : []), ...(await dns(children))];
  } finally {
    for (const child of children) child.kill('SIGKILL');
    for (const name of ['client', 'pod', 'node']) spawnSync('ip', ['netns', 'delete', `${prefix}-${name}`]);
  }
}
