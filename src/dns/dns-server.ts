import { createSocket, type RemoteInfo, type Socket as UdpSocket } from 'node:dgram';
import { once } from 'node:events';
import { BlockList, createServer, type Server, type Socket } from 'node:net';
import type { Answer } from 'dns-packet';
import type { Clock } from '../base/clock.ts';
import type { Component } from '../base/component.ts';
import type { Log } from '../base/log.ts';
import type { Metrics } from '../base/metrics.ts';
import { createDnsMetrics } from './dns-metrics.ts';
import { createUpstream, type ServerAddress, withLength } from './upstream.ts';
import {
  answersOf,
  encodeForeignReply,
  encodeReply,
  isBadMessage,
  maxQueryBytes,
  parseQuery,
  type Query,
  type Rcode,
  rcodes,
  tcpLimit,
  udpLimit,
} from './wire.ts';
import { answerQuestion, type ServiceSource, type ZoneAnswer } from './zone.ts';

export interface DnsServerOptions {
  /** Listened on, by UDP and TCP; the first is that of the Service. */
  readonly addresses: readonly string[];
  /** 53, or 0 for any free port, which is then the same for all addresses of a test. */
  readonly port: number;
  /** `cluster.local` */
  readonly domain: string;
  /**
   * The cluster's addresses, such as `10.42.0.0/16`, but for those of ServiceCIDRs that were added. Only these are served: a resolver for
   * everybody would amplify attacks.
   */
  readonly ranges: readonly string[];
  readonly source: ServiceSource;
  /** Servers for names of other zones. */
  readonly upstreams: () => Promise<readonly ServerAddress[]>;
  /** Resolves when `source` is complete. */
  readonly synced: (options: { readonly signal: AbortSignal }) => Promise<void>;
  readonly clock: Clock;
  /** From 0 to below 1; spreads the order of addresses. */
  readonly random: () => number;
  readonly log: Log;
  readonly metrics: Metrics;
}

export interface DnsServer extends Component {
  /** The port it listens on after `start`. */
  readonly port: number;
}

/** For all addresses together. */
const maxConnections = 128;
const maxConnectionsOfClient = 16;
/** Between two questions of a connection, and for one to arrive. */
const idleMs = 10_000;
/** Steps along aliases for one question. */
const maxAliases = 8;

/**
 * The cluster's name server: Services from the caches of this process, other names from the machine's resolvers.
 *
 * @throws Error from `start`: `EADDRINUSE` when another program has the port
 */
export function createDnsServer(options: DnsServerOptions): DnsServer {
  const { addresses, domain, ranges, source, clock, random, log } = options;
  const upstream = createUpstream({ servers: options.upstreams, clock, onRejected: () => metrics.rejected() });
  const metrics = createDnsMetrics(options.metrics, () => upstream.cached);
  const cluster = blockListOf(ranges);
  const udpSockets: UdpSocket[] = [];
  const tcpServers: Server[] = [];
  const connections = new Map<Socket, string>();
  let port = options.port;

  const zone = {
    domain,
    address: addresses[0] ?? '',
    owns: (address: string) => cluster.check(address) || source.isServiceAddress(address),
    get serial() {
      return Math.floor(clock.now() / 1_000);
    },
  };

  /** The reply to a message; undefined for what deserves none. Never rejects. */
  async function answer(message: Buffer, client: string, protocol: 'udp' | 'tcp'): Promise<Buffer | undefined> {
    const startedMs = clock.monotonicMs();
    const query = parseQuery(message);
    if (isBadMessage(query)) {
      if (query.rcode !== undefined)
        metrics.answered({ type: 'other', zone: 'dropped', rcode: query.rcode, protocol, startedMs, endedMs: startedMs });
      return query.reply;
    }
    const limit = protocol === 'udp' ? udpLimit(query) : tcpLimit;
    let outcome: Outcome;
    try {
      outcome = cluster.check(client) ? await resolve(query, limit) : failure(query, rcodes.refused, limit);
    } catch (err) {
      log.warn({ err, name: query.name, type: query.type }, 'Could not answer a DNS question');
      outcome = failure(query, rcodes.serverFailure, limit);
    }
    metrics.answered({ type: query.type, zone: outcome.zone, rcode: outcome.rcode, protocol, startedMs, endedMs: clock.monotonicMs() });
    return outcome.reply;
  }

  async function resolve(query: Query, limit: number): Promise<Outcome> {
    if (!query.isInternet || query.type === 'AXFR' || query.type === 'IXFR') return failure(query, rcodes.refused, limit);
    if (query.type === 'ANY') return failure(query, rcodes.notImplemented, limit);
    const found = answerQuestion(query, source, zone);
    if (found !== undefined) return own(query, await followAliases(query, found), limit);
    if (!query.recursionDesired) return failure(query, rcodes.refused, limit);
    const reply = await upstream.ask(query.question);
    metrics.asked(reply);
    if (reply === undefined) return failure(query, rcodes.serverFailure, limit);
    return { zone: '.', rcode: reply.reply.rcode, reply: encodeForeignReply(query, reply.reply, { ageSeconds: reply.ageSeconds, limit }) };
  }

  /** Adds the records that the name of an ExternalName Service leads to: libraries follow aliases only within one answer. */
  async function followAliases(query: Query, first: ZoneAnswer): Promise<OwnAnswer> {
    let found = first;
    const answers = [...first.answers];
    const seen = new Set([query.name]);
    for (;;) {
      const target = query.type === 'CNAME' ? undefined : aliasIn(found.answers);
      if (target === undefined) return { ...found, answers };
      if (seen.has(target) || seen.size > maxAliases) return { ...found, answers, rcode: rcodes.serverFailure };
      seen.add(target);
      const next = answerQuestion({ name: target, type: query.type }, source, zone);
      if (next === undefined) return { ...found, ...(await askForeign(query, target, answers)) };
      answers.push(...next.answers);
      found = next;
    }
  }

  async function askForeign(
    query: Query,
    name: string,
    answers: readonly Answer[],
  ): Promise<{ readonly answers: readonly Answer[]; readonly rcode?: Rcode }> {
    if (!query.recursionDesired) return { answers };
    const reply = await upstream.ask(questionFor(name, query));
    metrics.asked(reply);
    if (reply === undefined || (reply.reply.rcode !== rcodes.noError && reply.reply.rcode !== rcodes.nameError))
      return { answers, rcode: rcodes.serverFailure };
    return { answers: [...answers, ...answersOf(reply.reply)], rcode: reply.reply.rcode };
  }

  function own(
    query: Query,
    { exists, answers, authorities, additionals, rcode = exists ? rcodes.noError : rcodes.nameError }: OwnAnswer,
    limit: number,
  ): Outcome {
    const reply = encodeReply(query, { rcode, answers: shuffle(answers, random), authorities, additionals, authoritative: true }, limit);
    return { zone: `${domain}.`, rcode, reply };
  }

  const failure = (query: Query, rcode: Rcode, limit: number): Outcome => ({
    zone: '.',
    rcode,
    reply: encodeReply(query, { rcode, answers: [] }, limit),
  });

  async function listenUdp(address: string): Promise<void> {
    const socket = createSocket('udp4');
    udpSockets.push(socket);
    socket.bind({ address, port, exclusive: true });
    await once(socket, 'listening');
    if (port === 0) ({ port } = socket.address());
    socket.on('error', (err) => log.warn({ err, address }, 'Lost a DNS message'));
    socket.on('message', (message, from) => void answerUdp(socket, message, from));
  }

  async function answerUdp(socket: UdpSocket, message: Buffer, from: RemoteInfo): Promise<void> {
    // A port of an amplifier's victim; no client asks from there.
    if (from.port === 0) return;
    const reply = await answer(message, from.address, 'udp');
    if (reply !== undefined && udpSockets.includes(socket)) socket.send(reply, from.port, from.address, () => undefined);
  }

  async function listenTcp(address: string): Promise<void> {
    const server = createServer({ noDelay: true }, (socket) => {
      socket.on('error', () => undefined);
      const client = socket.remoteAddress ?? '';
      const ofClient = [...connections.values()].filter((each) => each === client).length;
      if (!cluster.check(client) || connections.size >= maxConnections || ofClient >= maxConnectionsOfClient) {
        socket.destroy();
        return;
      }
      connections.set(socket, client);
      socket.once('close', () => connections.delete(socket));
      serveConnection(socket, client).catch(() => socket.destroy());
    });
    tcpServers.push(server);
    server.listen({ host: address, port, exclusive: true });
    await once(server, 'listening');
  }

  /** Answers one question after the other: a client that sends faster waits for the kernel's buffers. */
  async function serveConnection(socket: Socket, client: string): Promise<void> {
    const expire = (): (() => void) => clock.after(idleMs, () => socket.destroy());
    let cancel = expire();
    try {
      let pending = Buffer.alloc(0);
      for await (const part of socket as AsyncIterable<Buffer>) {
        pending = Buffer.concat([pending, part]);
        while (pending.length >= 2 && pending.length >= 2 + pending.readUInt16BE(0)) {
          const length = pending.readUInt16BE(0);
          cancel();
          const reply = await answer(pending.subarray(2, 2 + length), client, 'tcp');
          cancel = expire();
          pending = pending.subarray(2 + length);
          if (reply === undefined) return;
          if (!socket.write(withLength(reply))) await once(socket, 'drain');
        }
        if (pending.length >= 2 && pending.readUInt16BE(0) > maxQueryBytes) return;
      }
    } finally {
      cancel();
      socket.destroySoon();
    }
  }

  return {
    name: 'cluster-dns',
    get port() {
      return port;
    },
    async start({ signal }) {
      await options.synced({ signal });
      for (const address of addresses) {
        await listenUdp(address);
        await listenTcp(address);
      }
      log.info({ addresses, port, domain }, 'Started cluster DNS');
    },
    async stop() {
      for (const socket of udpSockets.splice(0)) socket.close();
      for (const server of tcpServers.splice(0)) server.close();
      for (const socket of connections.keys()) socket.destroy();
    },
  };
}

/** `rcode` says what the records alone do not. */
interface OwnAnswer extends ZoneAnswer {
  readonly rcode?: Rcode;
}

function aliasIn(answers: readonly Answer[]): string | undefined {
  const alias = answers.find(({ type }) => type === 'CNAME');
  return alias !== undefined && 'data' in alias && typeof alias.data === 'string' ? alias.data : undefined;
}

interface Outcome {
  readonly zone: string;
  readonly rcode: number;
  readonly reply: Buffer;
}

function blockListOf(ranges: readonly string[]): BlockList {
  const list = new BlockList();
  for (const cidr of ranges) {
    const [address = '', bits] = cidr.split('/');
    list.addSubnet(address, Number(bits));
  }
  return list;
}

/** The question for another name of the same type and class. */
function questionFor(name: string, { question }: Query): Buffer {
  const labels = name.split('.').map((label) => Buffer.from(label));
  return Buffer.concat([...labels.flatMap((label) => [Buffer.from([label.length]), label]), Buffer.from([0]), question.subarray(-4)]);
}

/** Addresses in another order each time, so that clients which take the first are spread; other records keep theirs. */
function shuffle(answers: readonly Answer[], random: () => number): readonly Answer[] {
  const isAddress = ({ type }: Answer): boolean => type === 'A' || type === 'AAAA';
  const addresses = answers.filter(isAddress);
  for (let last = addresses.length - 1; last > 0; last -= 1) {
    const other = Math.floor(random() * (last + 1));
    const moved = addresses[last] as Answer;
    addresses[last] = addresses[other] as Answer;
    addresses[other] = moved;
  }
  return [...answers.filter((answer) => !isAddress(answer)), ...addresses];
}
