import { randomInt } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { connect, isIPv6 } from 'node:net';
import { BoundedMap } from '../base/bounded-map.ts';
import type { Clock } from '../base/clock.ts';
import { joinCall } from '../base/concurrency.ts';
import { encodeForeignQuery, type ForeignReply, lowerCaseQuestion, rcodes, tcpLimit, tryReadForeign } from './wire.ts';

export interface ServerAddress {
  readonly address: string;
  readonly port: number;
}

export interface UpstreamOptions {
  /** The servers to ask, best first; asked for each question. */
  readonly servers: () => Promise<readonly ServerAddress[]>;
  readonly clock: Clock;
  /** Called for each question that is not asked because too many are under way. */
  onRejected(): void;
}

/** A reply, and the time since it came. */
export interface AgedReply {
  readonly reply: ForeignReply;
  readonly ageSeconds: number;
  readonly isFromCache: boolean;
}

/** Asks the resolvers of the machine, and remembers what they said. */
export interface Upstream {
  /** Undefined when no server gave an answer, or too many questions are under way. */
  ask(question: Buffer): Promise<AgedReply | undefined>;
  readonly cached: { readonly success: number; readonly denial: number };
}

const timeoutMs = 2_000;
/** Each server is asked this often before the question fails. */
const rounds = 2;
/** As kubeadm's configuration of CoreDNS. */
const maxInFlight = 1_000;
const maxAgeSeconds = 30;
/** Together with the size of a reply this bounds the memory: 16 MiB. */
const maxCached = 8_192;
const maxCachedBytes = 2_048;

interface CacheEntry {
  readonly reply: ForeignReply;
  readonly storedMs: number;
  readonly expiresMs: number;
}

/**
 * Each question goes out from a port of its own with an identifier by chance, to a connected socket. A stranger has to guess both to be
 * believed. Equal questions at the same time are one.
 *
 * @see RFC 5452
 */
export function createUpstream({ servers, clock, onRejected }: UpstreamOptions): Upstream {
  const success = new BoundedMap<string, CacheEntry>(maxCached / 2);
  const denial = new BoundedMap<string, CacheEntry>(maxCached / 2);
  const underWay = new Map<string, Promise<ForeignReply | undefined>>();

  function remembered(key: string): AgedReply | undefined {
    for (const cache of [success, denial]) {
      const entry = cache.use(key);
      if (entry === undefined) continue;
      const now = clock.monotonicMs();
      if (now < entry.expiresMs) return { reply: entry.reply, ageSeconds: Math.floor((now - entry.storedMs) / 1_000), isFromCache: true };
      cache.delete(key);
    }
    return undefined;
  }

  function remember(key: string, reply: ForeignReply): void {
    const seconds = Math.min(reply.ttlSeconds, maxAgeSeconds);
    if (seconds <= 0 || reply.isTruncated || reply.message.length > maxCachedBytes) return;
    if (reply.rcode !== rcodes.noError && reply.rcode !== rcodes.nameError) return;
    const hasAnswers = reply.records.some(({ section }) => section === 0);
    const storedMs = clock.monotonicMs();
    (hasAnswers ? success : denial).set(key, { reply, storedMs, expiresMs: storedMs + seconds * 1_000 });
  }

  async function askServers(question: Buffer): Promise<ForeignReply | undefined> {
    const known = await servers();
    let last: ForeignReply | undefined;
    for (let round = 0; round < rounds; round += 1) {
      for (const server of known) {
        const reply = await askServer(server, question);
        if (reply === undefined) continue;
        if (reply.rcode === rcodes.noError || reply.rcode === rcodes.nameError) return reply;
        last = reply;
      }
      // Every server has said something, so the same question again changes nothing.
      if (last !== undefined) break;
    }
    return last;
  }

  async function askServer(server: ServerAddress, question: Buffer): Promise<ForeignReply | undefined> {
    const reply = await askByUdp(server, question, clock);
    return reply?.isTruncated === true ? ((await askByTcp(server, question, clock)) ?? reply) : reply;
  }

  return {
    async ask(asked) {
      const question = lowerCaseQuestion(asked);
      const key = question.toString('latin1');
      const known = remembered(key);
      if (known !== undefined) return known;
      if (!underWay.has(key) && underWay.size >= maxInFlight) {
        onRejected();
        return undefined;
      }
      const reply = await joinCall(underWay, key, async () => {
        const answer = await askServers(question);
        if (answer !== undefined) remember(key, answer);
        return answer;
      });
      return reply === undefined ? undefined : { reply, ageSeconds: 0, isFromCache: false };
    },
    get cached() {
      return { success: success.size, denial: denial.size };
    },
  };
}

const newId = (): number => randomInt(0x10000);

function askByUdp({ address, port }: ServerAddress, question: Buffer, clock: Clock): Promise<ForeignReply | undefined> {
  const id = newId();
  return new Promise((resolve) => {
    const socket = createSocket(isIPv6(address) ? 'udp6' : 'udp4');
    const finish = (reply: ForeignReply | undefined): void => {
      cancel();
      socket.removeAllListeners();
      // Closing may report what came in the meantime.
      socket.on('error', () => undefined);
      socket.close();
      resolve(reply);
    };
    const cancel = clock.after(timeoutMs, () => finish(undefined));
    socket.once('error', () => finish(undefined));
    socket.on('message', (message) => {
      const reply = tryReadForeign(message, id, question);
      // A message that does not fit is a stranger's: the answer may still come.
      if (reply !== undefined) finish(reply);
    });
    socket.once('connect', () => socket.send(encodeForeignQuery(id, question), (err) => err && finish(undefined)));
    socket.connect(port, address);
  });
}

function askByTcp({ address, port }: ServerAddress, question: Buffer, clock: Clock): Promise<ForeignReply | undefined> {
  const id = newId();
  return new Promise((resolve) => {
    const socket = connect({ host: address, port });
    const parts: Buffer[] = [];
    let received = 0;
    const finish = (reply: ForeignReply | undefined): void => {
      cancel();
      socket.removeAllListeners();
      socket.on('error', () => undefined);
      socket.destroy();
      resolve(reply);
    };
    const cancel = clock.after(timeoutMs, () => finish(undefined));
    socket.once('error', () => finish(undefined));
    socket.once('close', () => finish(undefined));
    socket.once('connect', () => socket.write(withLength(encodeForeignQuery(id, question))));
    socket.on('data', (part) => {
      parts.push(part);
      received += part.length;
      if (received < 2) return;
      const all = parts.length === 1 ? part : Buffer.concat(parts);
      const length = all.readUInt16BE(0);
      if (received >= 2 + length) finish(tryReadForeign(all.subarray(2, 2 + length), id, question));
      else if (received > 2 + tcpLimit) finish(undefined);
    });
  });
}

/** A message as TCP carries it. */
export function withLength(message: Buffer): Buffer {
  const length = Buffer.alloc(2);
  length.writeUInt16BE(message.length, 0);
  return Buffer.concat([length, message]);
}
