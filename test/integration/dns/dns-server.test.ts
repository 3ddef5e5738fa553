import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { once } from 'node:events';
import { connect, createServer, type Server } from 'node:net';
import { type Answer, decode, encode, type DecodedPacket as TypedPacket } from 'dns-packet';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { services } from '../../../src/api/core/v1/service.ts';
import { endpointSlices } from '../../../src/api/discovery/v1/endpoint-slice.ts';
import { serviceCidrs } from '../../../src/api/networking/v1/service-cidr.ts';
import { systemClock } from '../../../src/base/clock.ts';
import { createLog } from '../../../src/base/log.ts';
import { createMetrics, type Metrics } from '../../../src/base/metrics.ts';
import type { Client } from '../../../src/client/client.ts';
import { createInformerSet } from '../../../src/client/informer-set.ts';
import { createDnsServer, type DnsServer } from '../../../src/dns/dns-server.ts';
import { createServiceSource } from '../../../src/dns/service-source.ts';
import { startSeededApi } from '../../support/api.ts';
import { until } from '../../support/until.ts';

/** The package's types leave the code out. */
type DecodedPacket = TypedPacket & { readonly rcode?: string };

const log = createLog({ level: 'silent' });
const address = '127.64.40.1';
const upstreamAddress = '127.64.40.2';
/** In the range that is served; 127.0.0.1 is not. */
const clientAddress = '127.64.50.1';
const clusterCidr = '127.64.0.0/16';
let client: Client;
let server: DnsServer;
let metrics: Metrics;
let upstream: Upstream;
let stop: () => Promise<void>;

/** Another name server: `reply` decides, and `asked` has the names in order. */
interface Upstream {
  readonly port: number;
  readonly asked: string[];
  reply: (name: string) => UpstreamReply | Promise<UpstreamReply>;
  close(): void;
}

interface UpstreamReply {
  readonly rcode?: number;
  readonly answers?: Answer[];
  readonly truncated?: boolean;
}

async function startUpstream(): Promise<Upstream> {
  const udp: UdpSocket = createSocket('udp4');
  udp.bind(0, upstreamAddress);
  await once(udp, 'listening');
  const { port } = udp.address();
  const tcp: Server = createServer();
  tcp.listen(port, upstreamAddress);
  await once(tcp, 'listening');
  const close = (): void => {
    udp.close();
    tcp.close();
  };
  const state: Upstream = { port, asked: [], reply: () => ({ answers: [] }), close };
  const answer = async (message: Buffer, byTcp: boolean): Promise<Buffer> => {
    const query = decode(message);
    const [question] = query.questions ?? [];
    if (question === undefined) throw new Error('no question');
    state.asked.push(`${byTcp ? 'tcp ' : ''}${question.name}`);
    const reply = await state.reply(question.name);
    const truncated = reply.truncated === true && !byTcp;
    return encode({
      type: 'response',
      id: query.id,
      flags: 0x0180 | (reply.rcode ?? 0) | (truncated ? 0x0200 : 0),
      questions: [question],
      answers: truncated ? [] : (reply.answers ?? []),
    });
  };
  udp.on('message', async (message, from) => udp.send(await answer(message, false), from.port, from.address));
  tcp.on('connection', (socket) => {
    socket.on('data', async (data) => {
      const reply = await answer(data.subarray(2), true);
      const length = Buffer.alloc(2);
      length.writeUInt16BE(reply.length);
      socket.end(Buffer.concat([length, reply]));
    });
  });
  return state;
}

beforeAll(async () => {
  const api = await startSeededApi(['default']);
  client = api.clientFor();
  const create = (name: string, spec: object) =>
    client.create(services, { apiVersion: 'v1', kind: 'Service', metadata: { name, namespace: 'default' }, spec });
  await create('web', { ports: [{ name: 'http', port: 80 }] });
  await create('hl', { clusterIP: 'None', ports: [{ name: 'http', port: 80 }] });
  await create('away', { type: 'ExternalName', externalName: 'www.example.com' });
  await create('alias', { type: 'ExternalName', externalName: 'web.default.svc.cluster.local' });
  await create('loop', { type: 'ExternalName', externalName: 'loop.default.svc.cluster.local' });
  await client.create(endpointSlices, {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: { name: 'hl-1', namespace: 'default', labels: { 'kubernetes.io/service-name': 'hl' } },
    addressType: 'IPv4',
    endpoints: Array.from({ length: 120 }, (_, index) => ({ addresses: [`10.9.9.${index}`], hostname: `hl-${index}` })),
    ports: [{ name: 'http', port: 8_080, protocol: 'TCP' }],
  });
  stop = () => api.stop();
});
afterAll(() => stop());

let stopServer: () => Promise<void>;
beforeEach(async () => {
  upstream = await startUpstream();
  const abort = new AbortController();
  metrics = createMetrics();
  const informers = createInformerSet({ client, clock: systemClock, log });
  const source = createServiceSource(informers);
  informers.start({ signal: abort.signal });
  server = createDnsServer({
    addresses: [address],
    port: 0,
    domain: 'cluster.local',
    ranges: [clusterCidr],
    source,
    upstreams: async () => [
      // Nothing listens there: the next server is asked at once.
      { address: '127.64.40.9', port: 9 },
      { address: upstreamAddress, port: upstream.port },
    ],
    synced: (options) => informers.waitForSync(options),
    clock: systemClock,
    random: Math.random,
    log,
    metrics,
  });
  await server.start({ signal: abort.signal });
  stopServer = async () => {
    await server.stop();
    upstream.close();
    abort.abort(new Error('test ends'));
  };
});
afterEach(() => stopServer());

const queryFor = (name: string, type: 'A' | 'SRV' | 'AXFR' | 'AAAA' | 'PTR', edns: boolean): Buffer =>
  encode({
    type: 'query',
    id: Math.floor(Math.random() * 65_536),
    flags: 0x0100,
    questions: [{ name, type, class: 'IN' }],
    additionals: edns
      ? [{ type: 'OPT', name: '.', udpPayloadSize: 4_096, extendedRcode: 0, ednsVersion: 0, flags: 0, flag_do: false, options: [] }]
      : [],
  });

async function askUdp(
  name: string,
  {
    type = 'A' as const,
    edns = false,
    from = clientAddress,
  }: { type?: 'A' | 'SRV' | 'AXFR' | 'AAAA' | 'PTR'; edns?: boolean; from?: string } = {},
): Promise<DecodedPacket> {
  const socket = createSocket('udp4');
  socket.bind(0, from);
  await once(socket, 'listening');
  socket.send(queryFor(name, type, edns), server.port, address);
  const [message] = (await once(socket, 'message', { signal: AbortSignal.timeout(8_000) })) as [Buffer];
  socket.close();
  expect(message.length).toBeLessThanOrEqual(edns ? 1_232 : 512);
  return decode(message);
}

async function askTcp(...names: string[]): Promise<DecodedPacket[]> {
  const socket = connect({ port: server.port, host: address, localAddress: clientAddress });
  for (const name of names) {
    const query = queryFor(name, 'A', false);
    const length = Buffer.alloc(2);
    length.writeUInt16BE(query.length);
    // In pieces, since TCP may cut anywhere.
    socket.write(length);
    socket.write(query);
  }
  const replies: DecodedPacket[] = [];
  let pending = Buffer.alloc(0);
  for await (const part of socket as AsyncIterable<Buffer>) {
    pending = Buffer.concat([pending, part]);
    while (pending.length >= 2 && pending.length >= 2 + pending.readUInt16BE(0)) {
      replies.push(decode(pending.subarray(2, 2 + pending.readUInt16BE(0))));
      pending = pending.subarray(2 + pending.readUInt16BE(0));
    }
    if (replies.length === names.length) break;
  }
  return replies;
}

const dataOf = ({ answers = [] }: DecodedPacket): unknown[] => answers.map((answer) => ('data' in answer ? answer.data : undefined));
const clusterIP = async (): Promise<string> => (await client.get(services, { namespace: 'default', name: 'web' })).spec.clusterIP ?? '';

describe('names of the cluster', () => {
  it('have the addresses of Services, which change with them', async () => {
    const reply = await askUdp('Web.default.svc.cluster.local');
    expect(reply).toMatchObject({ rcode: 'NOERROR', flag_aa: true, questions: [{ name: 'Web.default.svc.cluster.local' }] });
    expect(dataOf(reply)).toEqual([await clusterIP()]);
    const metadata = { name: 'late', namespace: 'default' };
    const { spec } = await client.create(services, { apiVersion: 'v1', kind: 'Service', metadata, spec: { ports: [{ port: 1 }] } });
    await until(async () => dataOf(await askUdp('late.default.svc.cluster.local'))[0] === spec.clusterIP, { what: 'the new Service' });
    await client.delete(services, metadata);
    await until(async () => (await askUdp('late.default.svc.cluster.local')).rcode === 'NXDOMAIN', { what: 'the end of the Service' });
  });

  it('fit into a datagram as far as they can, and wholly into TCP', async () => {
    const name = 'hl.default.svc.cluster.local';
    const cut = await askUdp(name);
    expect(cut.flag_tc).toBe(true);
    expect(cut.answers?.length).toBeGreaterThan(20);
    const larger = await askUdp(name, { edns: true });
    expect(larger.answers?.length).toBeGreaterThan(cut.answers?.length ?? 0);
    const [whole, other] = await askTcp(name, 'web.default.svc.cluster.local');
    expect(whole).toMatchObject({ flag_tc: false });
    expect(new Set(dataOf(whole as DecodedPacket)).size).toBe(120);
    expect(dataOf(other as DecodedPacket)).toEqual([await clusterIP()]);
  });

  it('spread over the endpoints', async () => {
    const firsts = await Promise.all(
      Array.from({ length: 20 }, async () => dataOf(await askUdp('hl.default.svc.cluster.local', { edns: true }))[0]),
    );
    expect(new Set(firsts).size).toBeGreaterThan(1);
  });

  it('are followed through aliases, within the cluster and out of it', async () => {
    expect(dataOf(await askUdp('alias.default.svc.cluster.local'))).toEqual(['web.default.svc.cluster.local', await clusterIP()]);
    upstream.reply = (name) => ({ answers: [{ name, type: 'A', ttl: 60, data: '192.0.2.7' }] });
    expect(dataOf(await askUdp('away.default.svc.cluster.local'))).toEqual(['www.example.com', '192.0.2.7']);
    expect((await askUdp('loop.default.svc.cluster.local')).rcode).toBe('SERVFAIL');
    expect(await askUdp('alias.default.svc.cluster.local', { type: 'AAAA' })).toMatchObject({
      rcode: 'NOERROR',
      authorities: [{ type: 'SOA' }],
    });
  });

  it('belong to the addresses of every ServiceCIDR, also of one that was added, and no other server is asked for them', async () => {
    const name = '9.0.99.10.in-addr.arpa';
    upstream.reply = () => ({ answers: [{ name, type: 'PTR', ttl: 0, data: 'elsewhere.example.com' }] });
    expect(dataOf(await askUdp(name, { type: 'PTR' }))).toEqual(['elsewhere.example.com']);
    const metadata = { name: 'added' };
    await client.create(serviceCidrs, {
      apiVersion: 'networking.k8s.io/v1',
      kind: 'ServiceCIDR',
      metadata,
      spec: { cidrs: ['fd00::/112', '10.99.0.0/28'] },
    });
    await until(async () => (await askUdp(name, { type: 'PTR' })).rcode === 'NXDOMAIN', { what: 'the new range' });
    await client.delete(serviceCidrs, metadata);
  });

  it('are not given away as a whole', async () => {
    expect((await askUdp('cluster.local', { type: 'AXFR' })).rcode).toBe('REFUSED');
  });
});

describe('other names', () => {
  it('are asked once, and remembered', async () => {
    upstream.reply = (name) => ({ answers: [{ name, type: 'A', ttl: 60, data: '192.0.2.7' }] });
    for (const name of ['Www.example.com', 'www.EXAMPLE.com']) {
      const reply = await askUdp(name);
      expect(reply).toMatchObject({ rcode: 'NOERROR', flag_aa: false, questions: [{ name }] });
      expect(dataOf(reply)).toEqual(['192.0.2.7']);
    }
    expect(upstream.asked).toEqual(['www.example.com']);
    const text = await metrics.text();
    expect(text).toContain('coredns_cache_hits_total{type="success"} 1');
    expect(text).toContain('coredns_cache_entries{type="success"} 1');
    expect(text).toContain('coredns_dns_responses_total{zone=".",rcode="NOERROR"} 2');
  });

  it('that are not there are remembered for as long as their zone says', async () => {
    const soa: Answer = { type: 'SOA', name: 'com', ttl: 60, data: { mname: 'a', rname: 'b', serial: 1, minimum: 60 } };
    upstream.reply = () => ({ rcode: 3, answers: [soa] });
    expect((await askUdp('nowhere.example.com')).rcode).toBe('NXDOMAIN');
    expect((await askUdp('nowhere.example.com')).rcode).toBe('NXDOMAIN');
    expect(upstream.asked).toHaveLength(1);
  });

  it('are asked again by TCP when the answer was cut', async () => {
    const answers = Array.from(
      { length: 100 },
      (_, index): Answer => ({ name: 'big.example.com', type: 'A', ttl: 9, data: `192.0.2.${index}` }),
    );
    upstream.reply = () => ({ truncated: true, answers });
    expect((await askUdp('big.example.com')).flag_tc).toBe(true);
    const [whole] = await askTcp('big.example.com');
    expect(whole?.answers).toHaveLength(100);
    expect(upstream.asked).toContain('tcp big.example.com');
  });

  it('fail when their servers do, and the failure is not kept', async () => {
    upstream.reply = () => ({ rcode: 2 });
    expect((await askUdp('www.example.com')).rcode).toBe('SERVFAIL');
    upstream.reply = () => ({ answers: [] });
    expect((await askUdp('www.example.com')).rcode).toBe('NOERROR');
  });

  it('that many clients ask at once are one question', async () => {
    let release = (): void => undefined;
    const released = new Promise<void>((resolve) => {
      release = resolve;
    });
    upstream.reply = async (name) => {
      await released;
      return { answers: [{ name, type: 'A', ttl: 0, data: '192.0.2.1' }] };
    };
    const all = Array.from({ length: 20 }, () => askUdp('slow.example.com'));
    const hasAll = async (): Promise<true | undefined> =>
      (await metrics.text()).includes('coredns_dns_requests_total{proto="udp",zone="cluster.local.",type="A"} 1') || undefined;
    // The Service is answered after the questions that came before it.
    await askUdp('web.default.svc.cluster.local');
    await until(hasAll, { what: 'all questions' });
    release();
    for (const reply of await Promise.all(all)) expect(dataOf(reply)).toEqual(['192.0.2.1']);
    expect(upstream.asked).toEqual(['slow.example.com']);
  });
});

describe('strangers', () => {
  it('are refused, and cannot connect', async () => {
    for (const name of ['www.example.com', 'web.default.svc.cluster.local'])
      expect(await askUdp(name, { from: '127.0.0.1' })).toMatchObject({ rcode: 'REFUSED', answers: [] });
    expect(upstream.asked).toEqual([]);
    const socket = connect({ port: server.port, host: address, localAddress: '127.0.0.1' });
    socket.on('error', () => undefined).resume();
    await once(socket, 'close');
  });

  it('in the cluster have no more connections than their share', async () => {
    const many = Array.from({ length: 20 }, () => connect({ port: server.port, host: address, localAddress: clientAddress }));
    let closed = 0;
    for (const socket of many) {
      socket.on('error', () => undefined).resume();
      socket.once('close', () => {
        closed += 1;
      });
    }
    await until(() => closed === 4 || undefined, { what: 'four connections to be refused' });
    for (const socket of many) socket.destroy();
  });

  it('that send noise get an error, and the next client its answer', async () => {
    const socket = createSocket('udp4');
    socket.bind(0, clientAddress);
    socket.send(Buffer.from('0000'.repeat(40)), server.port, address);
    socket.send(Buffer.alloc(0), server.port, address);
    const tcp = connect({ port: server.port, host: address, localAddress: clientAddress });
    tcp.on('error', () => undefined).resume();
    tcp.write(Buffer.alloc(70_000, 0xff));
    await new Promise((resolve) => tcp.once('close', resolve));
    socket.close();
    expect(dataOf(await askUdp('web.default.svc.cluster.local'))).toEqual([await clusterIP()]);
  });
});
