import { readFileSync } from 'node:fs';
import { connect as connectPlain } from 'node:net';
import type { Duplex } from 'node:stream';
import { connect as connectTls } from 'node:tls';
import { fileURLToPath } from 'node:url';
import protobuf from 'protobufjs';
import type { Clock } from '../../base/clock.ts';
import { createGrpcClient, type GrpcClient, GrpcError, type GrpcExchange, type GrpcMethod, grpcCodes } from '../../base/grpc.ts';

/**
 * The calls of etcd's version 3 API that the store makes, on whichever of several members answers. Revisions are numbers: they stay below
 * 2^53.
 *
 * @see https://etcd.io/docs/v3.5/learning/api/
 */
export interface EtcdClient {
  /** A quorum read, tried on other members until one answers or `readMs` have passed. */
  range(request: RangeRequest): Promise<RangeAnswer>;
  /**
   * Sends once, to one member.
   *
   * @throws GrpcError; `isOpen` says whether the transaction may have been applied nevertheless
   */
  txn(request: TxnRequest): Promise<TxnAnswer>;
  compact(revision: number, physical: boolean): Promise<void>;
  /** Size and leader of the member that answers. */
  status(): Promise<EtcdStatus>;
  /** The alarms that are raised by any member, each once. */
  alarms(): Promise<readonly Alarm[]>;
  /** Changes of a range, on a connection of the member that answers now. The first answer says that the watch was created. */
  watch(request: WatchRequest, signal: AbortSignal): WatchStream;
  /**
   * Changes since a revision of the past, for a reader that breaks off when it has them all. It is asked again and again up to where
   * nothing is missing, as etcd does not answer that while it still reads the past.
   */
  past(request: WatchRequest, signal: AbortSignal): AsyncIterable<WatchAnswer>;
  /** The member that answers now has failed: later calls go to the next one. */
  moveOn(): void;
  close(): void;
}

export interface EtcdStatus {
  readonly version: string;
  readonly sizeBytes: number;
  /** Without what a defragmentation would free. */
  readonly inUseBytes: number;
  /** 0 before etcd 3.6, which does not say it here. */
  readonly quotaBytes: number;
  readonly hasLeader: boolean;
}

export const alarmTypes = ['NOSPACE', 'CORRUPT'] as const;
/** While one is raised etcd refuses writes; a person disarms it. */
export type Alarm = (typeof alarmTypes)[number];

export interface EtcdClientOptions {
  readonly endpoints: readonly EtcdEndpoint[];
  readonly tls: EtcdTls | undefined;
  readonly login: { readonly user: string; readonly password: string } | undefined;
  readonly clock: Clock;
}

export interface EtcdEndpoint {
  readonly host: string;
  readonly port: number;
}

/** PEM texts. */
export interface EtcdTls {
  readonly ca: string | undefined;
  readonly certificate: string | undefined;
  readonly key: string | undefined;
}

export interface KeyValue {
  readonly key: string;
  readonly text: string;
  readonly createRevision: number;
  readonly modRevision: number;
}

export interface RangeRequest {
  readonly key: string;
  /** Absent: this key alone. */
  readonly rangeEnd?: string;
  readonly limit?: number;
  /** Absent: the newest. */
  readonly revision?: number;
}

export interface RangeAnswer {
  readonly revision: number;
  readonly entries: readonly KeyValue[];
  readonly more: boolean;
}

export interface TxnRequest {
  /** All must hold: the newest revision of each key, 0 for a key that is absent. */
  readonly compare: readonly { readonly key: string; readonly revision: number }[];
  readonly success: { readonly put: { readonly key: string; readonly text: string } } | { readonly delete: string };
  /** Read when a comparison fails. */
  readonly read: string;
}

export interface TxnAnswer {
  readonly revision: number;
  readonly succeeded: boolean;
  /** Undefined after a success, and when the key is absent. */
  readonly found: KeyValue | undefined;
}

export interface WatchRequest {
  readonly key: string;
  readonly rangeEnd?: string;
  readonly startRevision: number;
  /** Changes come with the value that they replaced. */
  readonly withBefore: boolean;
}

export interface WatchStream {
  readonly answers: AsyncIterable<WatchAnswer>;
  /** Asks for an answer without changes that says up to where nothing is missing. */
  askProgress(): void;
}

export interface WatchAnswer {
  /** Without changes: nothing up to here is missing, unless `created`. */
  readonly revision: number;
  readonly created: boolean;
  /** The watch ended; `compactRevision` says that its start lies before a compaction. */
  readonly canceled: string | undefined;
  readonly compactRevision: number;
  /** Changes of complete revisions. */
  readonly events: readonly EtcdEvent[];
}

export interface EtcdEvent {
  readonly type: 'put' | 'delete';
  readonly key: string;
  readonly revision: number;
  readonly created: boolean;
  /** Empty for deletions. */
  readonly text: string;
  readonly before: KeyValue | undefined;
}

/** A try of a call; the next one goes to another member. */
const triesMs = [1_000, 2_000, 4_000];
/** A member that refuses connections is asked again a moment later, not thousands of times. */
const retryMs = 100;
/** All tries of a read together. For changes of the past, the time without one. */
const readMs = 10_000;
/** A compaction of many revisions takes its time. */
const compactMs = 60_000;
/** etcd refuses pings that come more often than every 5 s. */
const pings = { everyMs: 6_000, timeoutMs: 2_000 };
/** Between two questions how far a watch of the past has come. The first one is asked when the watch was created. */
const askMs = 20;
const windowBytes = 8 * 1024 * 1024;
/** A page of a range, or what a watch sends at once, may be large. */
const maxMessageBytes = 256 * 1024 * 1024;

/** True when the outcome of a call is not known: it may have been done, or be done later. */
export const isOpen = (err: unknown): boolean =>
  err instanceof GrpcError &&
  (err.code === grpcCodes.unavailable ||
    err.code === grpcCodes.deadlineExceeded ||
    err.code === grpcCodes.unknown ||
    err.code === grpcCodes.internal ||
    err.code === grpcCodes.cancelled);

/** True when one side refuses the certificate of the other, which no later try changes. */
export const isOfCertificates = (err: unknown): boolean => err instanceof GrpcError && /certificate/i.test(err.message);

export function createEtcdClient({ endpoints, tls, login, clock }: EtcdClientOptions): EtcdClient {
  const calls = loadCalls();
  let token: string | undefined;
  const members = endpoints.map(({ host, port }) =>
    createGrpcClient({
      connect: () => dial({ host, port }, tls),
      clock,
      maxMessageBytes,
      pings,
      windowBytes,
      // A member without a leader says so at once, where it would wait for seconds.
      metadata: () => ({ hasleader: 'true', ...(token === undefined ? {} : { token }) }),
    }),
  );
  let current = 0;
  const member = (): GrpcClient => members[current] as GrpcClient;
  const moveOn = (): void => {
    current = (current + 1) % members.length;
  };

  async function logIn(): Promise<void> {
    if (login === undefined) return;
    token = undefined;
    const { user: name, password } = login;
    const answer = await member().call(calls.authenticate, { name, password }, { timeoutMs: readMs });
    token = answer.token;
  }

  async function call<Request, Response>(method: GrpcMethod<Request, Response>, request: Request, timeoutMs: number): Promise<Response> {
    if (login !== undefined && token === undefined) await logIn();
    try {
      return await member().call(method, request, { timeoutMs });
    } catch (err) {
      if (login === undefined || !(err instanceof GrpcError) || !isStaleToken(err)) throw err;
      await logIn();
      return await member().call(method, request, { timeoutMs });
    }
  }

  /** For calls that may be made twice. */
  async function persevere<Request, Response>(method: GrpcMethod<Request, Response>, request: Request): Promise<Response> {
    const deadline = clock.monotonicMs() + readMs;
    for (let attempt = 0; ; attempt += 1) {
      const used = current;
      try {
        return await call(method, request, triesMs[Math.min(attempt, triesMs.length - 1)] as number);
      } catch (err) {
        if (!isOpen(err) || isOfCertificates(err) || clock.monotonicMs() > deadline) throw err;
        if (current === used) moveOn();
        if ((attempt + 1) % members.length === 0) await new Promise<void>((resolve) => void clock.after(retryMs, resolve));
      }
    }
  }

  function watch(request: WatchRequest, signal: AbortSignal): WatchStream {
    const exchange: GrpcExchange<object, RawWatchAnswer> = member().open(calls.watch, { signal });
    exchange.send({
      createRequest: {
        key: Buffer.from(request.key),
        ...(request.rangeEnd === undefined ? {} : { rangeEnd: Buffer.from(request.rangeEnd) }),
        startRevision: request.startRevision,
        progressNotify: true,
        prevKv: request.withBefore,
        fragment: true,
      },
    });
    return {
      answers: watchAnswers(exchange.answers),
      askProgress: () => exchange.send({ progressRequest: {} }),
    };
  }

  async function* pastOnce(request: WatchRequest, signal: AbortSignal): AsyncGenerator<WatchAnswer> {
    const abort = new AbortController();
    const stream = watch(request, AbortSignal.any([signal, abort.signal]));
    let cancel: (() => void) | undefined;
    const ask = (): void => {
      stream.askProgress();
      cancel = clock.after(askMs, ask);
    };
    try {
      for await (const answer of stream.answers) {
        if (answer.canceled !== undefined && answer.compactRevision === 0) throw new GrpcError(grpcCodes.unavailable, answer.canceled);
        if (answer.created) ask();
        yield answer;
      }
      throw new GrpcError(grpcCodes.unavailable, 'etcd ended the watch');
    } finally {
      cancel?.();
      abort.abort();
    }
  }

  return {
    async range({ key, rangeEnd, limit, revision }) {
      const answer = await persevere(calls.range, {
        key: Buffer.from(key),
        ...(rangeEnd === undefined ? {} : { rangeEnd: Buffer.from(rangeEnd) }),
        limit: limit ?? 0,
        revision: revision ?? 0,
      });
      return { revision: answer.header.revision, entries: answer.kvs.map(entryOf), more: answer.more };
    },
    async txn({ compare, success, read }) {
      const answer = await call(
        calls.txn,
        {
          compare: compare.map(({ key, revision }) => ({ target: 'MOD', key: Buffer.from(key), modRevision: revision })),
          success: [
            'put' in success
              ? { requestPut: { key: Buffer.from(success.put.key), value: Buffer.from(success.put.text) } }
              : { requestDeleteRange: { key: Buffer.from(success.delete) } },
          ],
          failure: [{ requestRange: { key: Buffer.from(read) } }],
        },
        triesMs[1] as number,
      );
      const [found] = answer.responses[0]?.responseRange?.kvs ?? [];
      return { revision: answer.header.revision, succeeded: answer.succeeded, found: found === undefined ? undefined : entryOf(found) };
    },
    async compact(revision, physical) {
      await call(calls.compact, { revision, physical }, compactMs);
    },
    async status() {
      const { version, dbSize, dbSizeInUse, dbSizeQuota, leader } = await persevere(calls.status, {});
      // The id of the leader has 64 bits, of which a number keeps too few to name it.
      return { version, sizeBytes: dbSize, inUseBytes: dbSizeInUse, quotaBytes: dbSizeQuota, hasLeader: leader !== 0 };
    },
    async alarms() {
      const { alarms } = await persevere(calls.alarm, {});
      return alarmTypes.filter((type) => alarms.some(({ alarm }) => alarm === type));
    },
    watch,
    async *past(request, signal) {
      let startRevision = request.startRevision;
      for (let deadline = clock.monotonicMs() + readMs; ; ) {
        try {
          for await (const answer of pastOnce({ ...request, startRevision }, signal)) {
            deadline = clock.monotonicMs() + readMs;
            // All changes of a revision come in one answer.
            startRevision = Math.max(startRevision, (answer.events.at(-1)?.revision ?? 0) + 1);
            yield answer;
          }
          return;
        } catch (err) {
          if (signal.aborted || !isOpen(err) || isOfCertificates(err) || clock.monotonicMs() > deadline) throw err;
          moveOn();
          await new Promise<void>((resolve) => void clock.after(retryMs, resolve));
        }
      }
    },
    moveOn,
    close() {
      for (const each of members) each.close();
    },
  };
}

/** The token has run out, or the member was restarted and knows it no more. */
const isStaleToken = ({ code, message }: GrpcError): boolean =>
  code === grpcCodes.unauthenticated || (code === grpcCodes.invalidArgument && message.includes('auth'));

function dial({ host, port }: EtcdEndpoint, tls: EtcdTls | undefined): Duplex {
  if (tls === undefined) return connectPlain({ host, port, noDelay: true });
  const { ca, certificate, key } = tls;
  return connectTls({
    host,
    port,
    ALPNProtocols: ['h2'],
    ...(ca === undefined ? {} : { ca }),
    ...(certificate === undefined ? {} : { cert: certificate }),
    ...(key === undefined ? {} : { key }),
  });
}

interface RawKeyValue {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
  readonly createRevision: number;
  readonly modRevision: number;
}

interface RawRange {
  readonly header: { readonly revision: number };
  readonly kvs: readonly RawKeyValue[];
  readonly more: boolean;
}

interface RawWatchAnswer {
  readonly header: { readonly revision: number };
  readonly created: boolean;
  readonly canceled: boolean;
  readonly compactRevision: number;
  readonly cancelReason: string;
  readonly fragment: boolean;
  readonly events: readonly { readonly type: 'PUT' | 'DELETE'; readonly kv: RawKeyValue; readonly prevKv?: RawKeyValue | null }[];
}

function loadCalls() {
  const { root } = protobuf.parse(readFileSync(fileURLToPath(new URL('etcd.proto', import.meta.url)), 'utf8'), new protobuf.Root());
  function method<Response>(path: string, request: string, response: string): GrpcMethod<object, Response> {
    const requestType = root.lookupType(`etcdserverpb.${request}`);
    const responseType = root.lookupType(`etcdserverpb.${response}`);
    return {
      path: `/etcdserverpb.${path}`,
      encode: (message) => requestType.encode(requestType.fromObject(message)).finish(),
      decode: (bytes) =>
        responseType.toObject(responseType.decode(bytes), { longs: Number, enums: String, defaults: true }) as unknown as Response,
    };
  }
  return {
    range: method<RawRange>('KV/Range', 'RangeRequest', 'RangeResponse'),
    txn: method<{
      readonly header: { readonly revision: number };
      readonly succeeded: boolean;
      readonly responses: readonly { readonly responseRange?: RawRange | null }[];
    }>('KV/Txn', 'TxnRequest', 'TxnResponse'),
    compact: method<object>('KV/Compact', 'CompactionRequest', 'CompactionResponse'),
    watch: method<RawWatchAnswer>('Watch/Watch', 'WatchRequest', 'WatchResponse'),
    authenticate: method<{ readonly token: string }>('Auth/Authenticate', 'AuthenticateRequest', 'AuthenticateResponse'),
    status: method<{
      readonly version: string;
      readonly dbSize: number;
      readonly dbSizeInUse: number;
      readonly dbSizeQuota: number;
      readonly leader: number;
    }>('Maintenance/Status', 'StatusRequest', 'StatusResponse'),
    alarm: method<{ readonly alarms: readonly { readonly alarm: string }[] }>('Maintenance/Alarm', 'AlarmRequest', 'AlarmResponse'),
  };
}

const textOf = (bytes: Uint8Array): string => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8');

const entryOf = ({ key, value, createRevision, modRevision }: RawKeyValue): KeyValue => ({
  key: textOf(key),
  text: textOf(value),
  createRevision,
  modRevision,
});

/** Joins what etcd cut: a revision may be larger than an answer. */
async function* watchAnswers(answers: AsyncIterable<RawWatchAnswer>): AsyncGenerator<WatchAnswer> {
  let pieces: EtcdEvent[] = [];
  for await (const { header, created, canceled, compactRevision, cancelReason, fragment, events } of answers) {
    pieces.push(...events.map(eventOf));
    if (fragment) continue;
    yield {
      revision: header.revision,
      created,
      canceled: canceled ? cancelReason || 'the watch was canceled' : undefined,
      compactRevision,
      events: pieces,
    };
    pieces = [];
  }
}

const eventOf = ({ type, kv, prevKv }: RawWatchAnswer['events'][number]): EtcdEvent => ({
  type: type === 'DELETE' ? 'delete' : 'put',
  key: textOf(kv.key),
  revision: kv.modRevision,
  created: type === 'PUT' && kv.createRevision === kv.modRevision,
  text: type === 'DELETE' ? '' : textOf(kv.value),
  before: prevKv === undefined || prevKv === null ? undefined : entryOf(prevKv),
});
