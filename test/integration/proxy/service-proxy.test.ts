import { connect, createServer, type Server, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { events } from '../../../src/api/core/v1/event.ts';
import { services } from '../../../src/api/core/v1/service.ts';
import { type EndpointSlice, endpointSlices } from '../../../src/api/discovery/v1/endpoint-slice.ts';
import { systemClock } from '../../../src/base/clock.ts';
import { createLog } from '../../../src/base/log.ts';
import { createMetrics } from '../../../src/base/metrics.ts';
import type { Client } from '../../../src/client/client.ts';
import { createInformerSet } from '../../../src/client/informer-set.ts';
import { createServiceProxy, type ServiceProxy } from '../../../src/proxy/service-proxy.ts';
import { createEventQueue } from '../../../src/reconcile/event-recorder.ts';
import { startSeededApi } from '../../support/api.ts';
import { until } from '../../support/until.ts';

const log = createLog({ level: 'silent' });
let client: Client;
let proxy: ServiceProxy;
let stop: () => Promise<void>;
const servers: Server[] = [];
const nodeAddresses = [{ address: '127.64.31.1', nodeName: 'a' }, { address: '127.64.32.1' }];

beforeEach(async () => {
  const api = await startSeededApi(['default']);
  client = api.clientFor();
  const abort = new AbortController();
  const metrics = createMetrics();
  const informers = createInformerSet({ client, clock: systemClock, log });
  const queue = createEventQueue({ client, clock: systemClock, log, metrics });
  const ownAddresses = ['127.64.31.1'];
  const recorder = queue.recorder('kube-proxy');
  proxy = createServiceProxy({ informers, nodeAddresses, ownAddresses, clock: systemClock, log, recorder, metrics });
  informers.start({ signal: abort.signal });
  await queue.start({ signal: abort.signal });
  await proxy.start({ signal: abort.signal });
  stop = async () => {
    await proxy.stop();
    await queue.stop();
    abort.abort(new Error('test ends'));
    await api.stop();
  };
});
afterEach(async () => {
  await stop();
  for (const server of servers.splice(0)) server.close();
});

/** A server on a free port of `address` that answers each connection by `handle`. */
async function serve(address: string, handle: (socket: Socket) => void): Promise<number> {
  const server = createServer({ allowHalfOpen: true }, handle);
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, address, resolve));
  const bound = server.address();
  return typeof bound === 'object' && bound !== null ? bound.port : 0;
}

const port = 28_080;
async function createService(changes: Record<string, unknown> = {}): Promise<string> {
  const service = {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'web', namespace: 'default' },
    spec: { ports: [{ port }], ...changes },
  };
  const created = await client.create(services, service);
  return created.spec.clusterIP ?? '';
}

async function setEndpoints(endpointPort: number, endpoints: EndpointSlice['endpoints']): Promise<void> {
  const slice: EndpointSlice = {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: { name: `web-${endpointPort}`, namespace: 'default', labels: { 'kubernetes.io/service-name': 'web' } },
    addressType: 'IPv4',
    endpoints,
    ports: [{ name: '', port: endpointPort, protocol: 'TCP' }],
  };
  try {
    await client.create(endpointSlices, slice);
  } catch {
    await client.update(endpointSlices, slice);
  }
}

/** Sends `text`, ends, and gives what came back; rejects when the connection broke. */
function ask(address: string, text: string, to = port): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: address, port: to, allowHalfOpen: true });
    let answer = '';
    socket.on('data', (chunk) => {
      answer += String(chunk);
    });
    socket.on('end', () => resolve(answer));
    socket.on('error', reject);
    socket.end(text);
  });
}

const listening = (address: string) => until(() => proxy.listening.includes(`${address}:${port}`), { what: 'listener', intervalMs: 5 });
const named = (name: string) => (socket: Socket) => {
  socket.resume();
  socket.on('end', () => socket.end(name));
  socket.on('error', () => undefined);
};

describe('a Service', () => {
  it('passes connections on to its endpoints in turn, each end of a connection by itself', async () => {
    const address = await createService();
    const a = await serve('127.64.16.10', named('a'));
    await listening(address);
    await setEndpoints(a, [{ addresses: ['127.64.16.10'], conditions: { ready: true } }]);
    await until(async () => (await ask(address, 'x').catch(() => '')) === 'a', { what: 'answer', intervalMs: 5 });
    // The second endpoint has the port of the first, as pods of one Service do.
    const server = createServer({ allowHalfOpen: true }, named('b'));
    servers.push(server);
    await new Promise<void>((resolve) => server.listen(a, '127.64.16.11', resolve));
    await setEndpoints(a, [
      { addresses: ['127.64.16.10'], conditions: { ready: true } },
      { addresses: ['127.64.16.11'], conditions: { ready: true } },
    ]);
    await until(async () => (await ask(address, 'x')) === 'b', { what: 'second endpoint', intervalMs: 5 });
    const answers = await Promise.all(Array.from({ length: 10 }, () => ask(address, 'x')));
    expect(answers.filter((answer) => answer === 'a')).toHaveLength(5);
  });

  it('carries megabytes both ways, and waits for the slower side', async () => {
    const address = await createService();
    const echo = await serve('127.64.16.10', (socket) => socket.pipe(socket));
    await listening(address);
    await setEndpoints(echo, [{ addresses: ['127.64.16.10'], conditions: { ready: true } }]);
    await until(async () => (await ask(address, 'x').catch(() => '')) === 'x', { what: 'echo', intervalMs: 5 });
    const text = 'midship '.repeat(1_000_000);
    expect((await ask(address, text)).length).toBe(text.length);
  });

  it('goes to the next endpoint when one refuses, and resets when there is none', async () => {
    const address = await createService();
    await listening(address);
    await expect(ask(address, 'x')).rejects.toMatchObject({ code: 'ECONNRESET' });
    const a = await serve('127.64.16.10', named('a'));
    await setEndpoints(a, [
      { addresses: ['127.64.16.10'], conditions: { ready: true } },
      { addresses: ['127.64.16.99'], conditions: { ready: true } },
    ]);
    await until(async () => (await ask(address, 'x').catch(() => '')) === 'a', { what: 'answer', intervalMs: 5 });
    const answers = await Promise.all(Array.from({ length: 20 }, () => ask(address, 'x')));
    expect(new Set(answers)).toEqual(new Set(['a']));
  });

  it('keeps open connections when their endpoint goes, and is not listened on once it is deleted', async () => {
    const address = await createService();
    const held: Socket[] = [];
    const a = await serve('127.64.16.10', (socket) => {
      held.push(socket);
      socket.write('hello');
      socket.on('error', () => undefined);
    });
    await listening(address);
    await setEndpoints(a, [{ addresses: ['127.64.16.10'], conditions: { ready: true } }]);
    let received = '';
    const socket = await until(
      () =>
        new Promise<Socket | undefined>((resolve) => {
          const tried = connect({ host: address, port });
          tried.on('data', (chunk) => {
            received += String(chunk);
            resolve(tried);
          });
          tried.on('error', () => resolve(undefined));
        }),
      { what: 'connection', intervalMs: 5 },
    );
    await setEndpoints(a, []);
    await client.delete(services, { namespace: 'default', name: 'web' });
    await until(() => proxy.listening.length === 0, { what: 'end of the listener', intervalMs: 5 });
    await expect(ask(address, 'x')).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    held.at(-1)?.write(' still');
    await until(() => received === 'hello still', { what: 'data on the open connection', intervalMs: 5 });
    socket.destroy();
  });

  it('tells what it cannot do', async () => {
    await createService({
      ports: [
        { name: 'dns', port: 28_053, protocol: 'UDP' },
        { name: 'web', port },
      ],
    });
    await until(
      async () => (await client.list(events, { namespace: 'default' })).items.some(({ reason }) => reason === 'ProtocolNotSupported'),
      { what: 'event', intervalMs: 5 },
    );
  });

  it('tells when its port cannot be bound', async () => {
    const blocker = createServer();
    servers.push(blocker);
    await new Promise<void>((resolve) => blocker.listen(port, '0.0.0.0', resolve));
    const address = await createService();
    const event = await until(
      async () => (await client.list(events, { namespace: 'default' })).items.find(({ reason }) => reason === 'PortNotBindable'),
      { what: 'event', intervalMs: 5 },
    );
    expect(event.message).toBe(`Port ${port} of ${address} cannot be bound: another program of this host listens there`);
  });
});

describe('a node port', () => {
  it('is open on every address of a node, moves with the Service and closes with it', async () => {
    const own = await serve('127.64.16.10', named('a'));
    await setEndpoints(own, [{ addresses: ['127.64.16.10'], conditions: { ready: true } }]);
    await createService({ type: 'NodePort', ports: [{ port, nodePort: 30_411 }] });
    for (const { address } of nodeAddresses) {
      await until(async () => (await ask(address, 'x', 30_411).catch(() => '')) === 'a', { what: `answer of ${address}`, intervalMs: 5 });
      for (let n = 0; n < 5; n += 1) expect(await ask(address, 'x', 30_411)).toBe('a');
    }
    const ref = { namespace: 'default', name: 'web' };
    await client.patch(services, ref, { type: 'merge', body: { spec: { ports: [{ port, nodePort: 30_412 }] } } });
    await until(async () => (await ask('127.64.31.1', 'x', 30_412).catch(() => '')) === 'a', {
      what: 'answer at the new port',
      intervalMs: 5,
    });
    await expect(ask('127.64.31.1', 'x', 30_411)).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    await client.patch(services, ref, { type: 'merge', body: { spec: { type: 'ClusterIP' } } });
    await until(() => proxy.listening.every((key) => !key.endsWith(':30412')), { what: 'closed node port', intervalMs: 5 });
  });
});

describe('a load balancer with the address of a node', () => {
  const setAddress = (ip: string) =>
    client.patch(
      services,
      { namespace: 'default', name: 'web' },
      { type: 'merge', body: { status: { loadBalancer: { ingress: [{ ip }] } } } },
      { subresource: 'status' },
    );
  const answers = (wanted: string, host = '127.64.31.1') =>
    until(async () => (await ask(host, 'x').catch((err: NodeJS.ErrnoException) => err.code)) === wanted, {
      what: `the answer ${wanted}`,
      intervalMs: 5,
    });

  it('opens the port of the Service there, to clients of its source ranges alone', async () => {
    const own = await serve('127.64.16.10', named('a'));
    await setEndpoints(own, [{ addresses: ['127.64.16.10'], conditions: { ready: true } }]);
    await createService({ type: 'LoadBalancer' });
    await setAddress('127.64.31.1');
    await answers('a');
    await answers('ECONNREFUSED', '127.64.32.1');
    const ranges = (loadBalancerSourceRanges: readonly string[]) =>
      client.patch(services, { namespace: 'default', name: 'web' }, { type: 'merge', body: { spec: { loadBalancerSourceRanges } } });
    await ranges(['192.0.2.0/24']);
    await answers('ECONNRESET');
    await ranges(['192.0.2.0/24', '127.0.0.0/8']);
    await answers('a');
    await setAddress('192.0.2.9');
    await answers('ECONNREFUSED');
  });

  it('says at its health check port whether the node has an endpoint', async () => {
    await createService({ type: 'LoadBalancer', externalTrafficPolicy: 'Local', healthCheckNodePort: 30_413 });
    const check = () => fetch('http://127.64.31.1:30413/healthz').catch(() => undefined);
    const says = (status: number) => until(async () => (await check())?.status === status, { what: `status ${status}`, intervalMs: 5 });
    await says(503);
    await setEndpoints(80, [
      { addresses: ['127.64.16.10'], nodeName: 'a', conditions: { ready: true } },
      { addresses: ['127.64.16.11'], nodeName: 'a', conditions: { ready: false } },
      { addresses: ['127.64.16.12'], nodeName: 'b', conditions: { ready: true } },
    ]);
    await says(200);
    const answer = await check();
    expect(answer?.headers.get('x-load-balancing-endpoint-weight')).toBe('1');
    expect(await answer?.json()).toEqual({
      service: { namespace: 'default', name: 'web' },
      localEndpoints: 1,
      serviceProxyHealthy: true,
    });
    await client.delete(services, { namespace: 'default', name: 'web' });
    await until(async () => (await check()) === undefined, { what: 'the port closes', intervalMs: 5 });
  });
});
