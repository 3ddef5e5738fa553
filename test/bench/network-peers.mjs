// The programs of the network benchmark that run in namespaces of their own: `server`, `client`, `proxy` and `dns`. The first argument says
// which one this process is.
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { systemClock } from '../../dist/base/clock.js';
import { createLog } from '../../dist/base/log.js';
import { createMetrics } from '../../dist/base/metrics.js';

const [, , role, ...args] = process.argv;
const log = createLog({ level: 'silent' });
const roles = { server, client, proxy, dns };
await roles[role](...args);

/** Answers a byte and ends, or takes everything that comes. */
async function server(port) {
  const listener = createServer({ noDelay: true }, (socket) => {
    socket.on('error', () => undefined);
    socket.once('data', (first) => {
      if (first[0] === 0x63) socket.end('x');
      else socket.resume();
    });
  }).listen({ host: '0.0.0.0', port: Number(port), backlog: 1024 });
  await once(listener, 'listening');
  console.log('up');
}

/** Prints Gbit/s of one stream, or connections a second, sixteen at a time. */
async function client(mode, host, port, seconds) {
  const until = performance.now() + Number(seconds) * 1_000;
  const open = () => connect({ host, port: Number(port), noDelay: true });
  if (mode === 'stream') {
    const socket = open();
    await once(socket, 'connect');
    const chunk = Buffer.alloc(256 * 1024, 's');
    const startedAt = performance.now();
    let bytes = 0;
    while (performance.now() < until) {
      bytes += chunk.length;
      if (!socket.write(chunk)) await once(socket, 'drain');
    }
    console.log((bytes * 8) / 1e9 / ((performance.now() - startedAt) / 1_000));
    process.exit(0);
  }
  let count = 0;
  const startedAt = performance.now();
  const work = async () => {
    while (performance.now() < until) {
      const socket = open();
      socket.write('c');
      socket.resume();
      await once(socket, 'close');
      count += 1;
    }
  };
  await Promise.all(Array.from({ length: 16 }, work));
  console.log(count / ((performance.now() - startedAt) / 1_000));
  process.exit(0);
}

/** The userspace proxy of one Service. */
async function proxy(address, port, target, targetPort) {
  const { createUserspaceBackend } = await import('../../dist/proxy/userspace-backend.js');
  const backend = createUserspaceBackend({
    clock: systemClock,
    metrics: createMetrics(),
    report: (_, err) => {
      throw err;
    },
  });
  const endpoints = [{ address: target, port: Number(targetPort) }];
  const forward = {
    address,
    port: Number(port),
    protocol: 'TCP',
    masquerade: 'always',
    service: 'default/web',
    portName: '',
    affinityMs: undefined,
    endpoints,
  };
  await backend.set('default/web', [forward]);
  console.log('up');
}

/** The DNS server with 1,000 Services of three endpoints. */
async function dns(address) {
  const { createDnsServer } = await import('../../dist/dns/dns-server.js');
  const services = new Map(
    Array.from({ length: 1_000 }, (_, n) => {
      const name = `web-${n}`;
      const metadata = { name, namespace: 'default' };
      return [
        name,
        {
          apiVersion: 'v1',
          kind: 'Service',
          metadata,
          spec: { clusterIP: `10.43.${n >> 8}.${n & 255}`, ports: [{ name: 'http', port: 80 }] },
        },
      ];
    }),
  );
  const server = createDnsServer({
    addresses: [address],
    port: 0,
    domain: 'cluster.local',
    ranges: ['127.0.0.0/8'],
    source: {
      hasNamespace: (name) => name === 'default',
      service: (namespace, name) => (namespace === 'default' ? services.get(name) : undefined),
      slices: () => [],
      servicesAt: () => [],
      slicesAt: () => [],
      serviceOf: () => undefined,
    },
    upstreams: async () => [],
    synced: async () => undefined,
    clock: systemClock,
    random: Math.random,
    log,
    metrics: createMetrics(),
  });
  await server.start({ signal: new AbortController().signal });
  console.log(server.port);
}
