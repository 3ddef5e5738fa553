import { connect as connectPlain, isIPv6, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import type { Clock } from '../../base/clock.ts';
import { createGrpcClient, type GrpcClient, GrpcError, type GrpcExchange, type GrpcMethod, grpcCodes } from '../../base/grpc.ts';
import {
  type Alarm,
  calls,
  type EtcdEvent,
  type EtcdStatus,
  type RangeAnswer,
  type RangeRequest,
  type TxnAnswer,
  type TxnRequest,
  type WatchPiece,
  type WatchRequest,
} from './messages.ts';

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
  /** Asks each endpoint once, at the same time; takes 1 s at most, and never fails. */
  members(): Promise<readonly MemberState[]>;
  /** Changes of a range, on a connection of the member that answers now. The first answer says that the watch was created. */
  watch(request: WatchRequest, signal: AbortSignal): WatchStream;
  /**
   * Changes since a revision of the past, for a reader that breaks off when it has them all. It is asked again and again up to where
   * nothing is missing, as etcd does not answer that while it still reads the past.
   */
  past(request: WatchRequest, signal: AbortSignal): AsyncIterable<WatchAnswer>;
  /** The member that answers now has failed: later calls go to the next one. */
  moveOn(): void;
  /**
   * Lets later calls go to the member that leads. Another one passes each write on, and knows its end later: one write took 2.6 ms
   * instead of 1.7 with three members. Gives true when calls go to another member than before.
   */
  preferLeader(): Promise<boolean>;
  close(): void;
}

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

/** The answer of one endpoint about itself. */
export interface MemberState {
  readonly endpoint: EtcdEndpoint;
  /** Also true when it refuses the question. */
  readonly answers: boolean;
  /** Undefined when it does not say. */
  readonly hasLeader: boolean | undefined;
  readonly version: string | undefined;
  readonly clusterId: string | undefined;
}

/** PEM texts. */
export interface EtcdTls {
  readonly ca: string | undefined;
  readonly certificate: string | undefined;
  readonly key: string | undefined;
}

export interface WatchStream {
  /** In order; what arrived together comes together. */
  readonly batches: AsyncIterable<readonly WatchAnswer[]>;
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

/** A try of a call; the next one goes to another member. */
const triesMs = [1_000, 2_000, 4_000];
/** A member that refuses connections is asked again a moment later, not thousands of times. */
const retryMs = 100;
/** All tries of a read together. For changes of the past, the time without one. */
const readMs = 10_000;
/** A member that does not say within this time whether it leads is not waited for. */
const statusMs = 500;
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

/** etcd has the same code for a lost leader as gRPC for a lost connection. */
const noLeaderText = 'etcdserver: no leader';
const isOfEtcd = (text: string): boolean => text.startsWith('etcdserver: ');

/** True when one side refuses the certificate of the other, which no later try changes. */
export const isOfCertificates = (err: unknown): boolean => err instanceof GrpcError && /certificate|alert unknown ca/i.test(err.message);

export function createEtcdClient({ endpoints, tls, login, clock }: EtcdClientOptions): EtcdClient {
  let token: string | undefined;
  const members = endpoints.map(({ host, port }) =>
    createGrpcClient({
      connect: () => dial({ host, port }, tls),
      authority: `${isIPv6(host) ? `[${host}]` : host}:${port}`,
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
    token = await member().call(calls.authenticate, login, { timeoutMs: readMs });
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

  async function memberState(each: GrpcClient, endpoint: EtcdEndpoint): Promise<MemberState> {
    try {
      const { hasLeader, version, clusterId } = await each.call(calls.status, undefined, { timeoutMs: triesMs[0] as number });
      return { endpoint, answers: true, hasLeader, version, clusterId };
    } catch (err) {
      const text = err instanceof GrpcError ? err.message : '';
      const hasLeader = text === noLeaderText ? false : undefined;
      return { endpoint, answers: isOfEtcd(text), hasLeader, version: undefined, clusterId: undefined };
    }
  }

  function watch(request: WatchRequest, signal: AbortSignal): WatchStream {
    const exchange: GrpcExchange<WatchRequest | 'progress', WatchPiece> = member().open(calls.watch, { signal });
    exchange.send(request);
    return {
      batches: watchAnswers(exchange.batches),
      askProgress: () => exchange.send('progress'),
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
      for await (const batch of stream.batches) {
        for (const answer of batch) {
          if (answer.canceled !== undefined && answer.compactRevision === 0) throw new GrpcError(grpcCodes.unavailable, answer.canceled);
          if (answer.created) ask();
          yield answer;
        }
      }
      throw new GrpcError(grpcCodes.unavailable, 'etcd ended the watch');
    } finally {
      cancel?.();
      abort.abort();
    }
  }

  return {
    range: (request) => persevere(calls.range, request),
    txn: (request) => call(calls.txn, request, triesMs[1] as number),
    compact: (revision, physical) => call(calls.compact, { revision, physical }, compactMs),
    status: () => persevere(calls.status, undefined),
    alarms: () => persevere(calls.alarms, undefined),
    members: () => Promise.all(members.map((each, at) => memberState(each, endpoints[at] as EtcdEndpoint))),
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
    async preferLeader() {
      if (members.length === 1) return false;
      const before = current;
      const leader = await Promise.any(
        members.map(async (each, at) => {
          if (login !== undefined && token === undefined) await logIn();
          const { isLeader } = await each.call(calls.status, undefined, { timeoutMs: statusMs });
          return isLeader ? at : Promise.reject(new Error('it follows'));
        }),
      ).catch(() => before);
      // A member that has failed meanwhile was left for a reason.
      if (current === before) current = leader;
      return current !== before;
    },
    close() {
      for (const each of members) each.close();
    },
  };
}

/** The token has run out, or the member was restarted and knows it no more. */
const isStaleToken = ({ code, message }: GrpcError): boolean =>
  code === grpcCodes.unauthenticated || (code === grpcCodes.invalidArgument && message.includes('auth'));

function dial({ host, port }: EtcdEndpoint, tls: EtcdTls | undefined): Socket {
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

/** Joins what etcd cut: a revision may be larger than an answer. */
async function* watchAnswers(batches: AsyncIterable<readonly WatchPiece[]>): AsyncGenerator<readonly WatchAnswer[]> {
  let pieces: EtcdEvent[] = [];
  for await (const batch of batches) {
    const answers: WatchAnswer[] = [];
    for (const { revision, created, canceled, compactRevision, cancelReason, fragment, events } of batch) {
      const all = pieces.length === 0 ? events : [...pieces, ...events];
      pieces = fragment ? [...all] : [];
      const reason = canceled ? cancelReason || 'the watch was canceled' : undefined;
      if (!fragment) answers.push({ revision, created, canceled: reason, compactRevision, events: all });
    }
    if (answers.length > 0) yield answers;
  }
}
