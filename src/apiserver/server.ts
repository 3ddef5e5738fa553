import { randomUUID } from 'node:crypto';
import { setMaxListeners } from 'node:events';
import { type IncomingMessage, ServerResponse, STATUS_CODES } from 'node:http';
import type { Server } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import type { Duplex, Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import { type FastifyError, type FastifyInstance, type FastifyReply, type FastifyRequest, fastify } from 'fastify';
import { backupPath } from '../api/well-known.ts';
import type { Clock } from '../base/clock.ts';
import type { Component } from '../base/component.ts';
import type { Log } from '../base/log.ts';
import { type MemoryBudget, shareMemory } from '../base/memory-budget.ts';
import type { Metrics } from '../base/metrics.ts';
import type { LiveKeyPair } from '../base/pki.ts';
import { withoutSchemas } from '../base/without-schemas.ts';
import type { KindDefinition } from '../machinery/kind.ts';
import { badRequest, isStatusError, methodNotAllowed, StatusError } from '../machinery/status-error.ts';
import type { Aggregator } from './aggregation/aggregator.ts';
import { type AuditedBody, captureResponse } from './audit/bodies.ts';
import type { AuditDecision, AuditStage } from './audit/policy.ts';
import type { AuditEntry, AuditLog } from './audit.ts';
import type { Seat } from './flow-control/fair-queue.ts';
import { type FlowControl, tooManyRequests } from './flow-control/flow-control.ts';
import { type HandlerContext, resourceNotFound, wantsPretty } from './http/api-request.ts';
import { type Authenticator, countAttempts, isAnonymous } from './http/authentication.ts';
import { negotiate, parseAccept, type Representation } from './http/content-negotiation.ts';
import { createDiscovery, type Discovery } from './http/discovery.ts';
import { attributesOf, handlerOf, kindOf, labelsOf } from './http/dispatch.ts';
import { checksOf, createHealthRecord, type HealthCheck, healthEndpoints, isHealthEndpoint, reportHealth } from './http/health.ts';
import { impersonatedUser } from './http/impersonation.ts';
import { createKubeletClient, type KubeletClientOptions } from './http/kubelet-client.ts';
import { createObjectEncoder } from './http/object-encoder.ts';
import { type OpenApiDocuments, sendOpenApi, withRemoteDocuments } from './http/openapi.ts';
import { booleanOf } from './http/options.ts';
import { maxBodyBytes } from './http/request-body.ts';
import { createRequestMetrics } from './http/request-metrics.ts';
import { parseTarget, type RequestTarget, type ResourceTarget } from './http/request-target.ts';
import { limitRest, sendError, sendPageNotFound, sendPlain, sendText, sendValue, setWarnings, statusErrorOf } from './http/respond.ts';
import { createTurnQueue } from './http/turn-queue.ts';
import type { Upgrade } from './http/upgrade.ts';
import { WatchMemory } from './http/watch-memory.ts';
import type { KubeApi, RequestAttributes } from './kube-api.ts';
import type { ServiceAccountTokens } from './service-account-tokens.ts';
import type { UserInfo } from './user.ts';

/** The API on the wire: HTTP/1.1 over TLS, as kubectl and every other client of Kubernetes speaks it. */
export interface ApiServer extends Component {
  /** `https://HOST:PORT`; known once started. */
  readonly url: string;
}

export interface ApiServerOptions {
  readonly kubeApi: KubeApi;
  readonly tls: {
    readonly caCertificate: string;
    readonly certificate: LiveKeyPair;
  };
  readonly address: string;
  /** 0: any free one. */
  readonly port: number;
  readonly authenticator: Authenticator;
  readonly flowControl: FlowControl;
  /** Whose issuer documents are served. */
  readonly serviceAccounts?: ServiceAccountTokens | undefined;
  /** Absent: logs of pods cannot be read. */
  readonly kubelet?: KubeletClientOptions;
  /** Absent: every group version is served here. */
  readonly aggregator?: Aggregator;
  /** What `/openapi/v2` and `/openapi/v3` serve. */
  readonly openApi: OpenApiDocuments;
  /** Absent: nothing is recorded. */
  readonly audit?: AuditLog;
  /** Starts a copy of all data and keys of the cluster, and gives it as a stream. Absent: there is none. */
  readonly backup?: (signal: AbortSignal) => Promise<Readable>;
  readonly healthChecks: readonly HealthCheck[];
  /** Registers the `apiserver_*` families. */
  readonly metrics: Metrics;
  /** The text of `/metrics` and `/metrics/apiserver`. */
  metricsText(): Promise<string>;
  readonly clock: Clock;
  /** Absent: shares of what Node takes. */
  readonly memory?: MemoryBudget | undefined;
  /** [0, 1) */
  readonly random: () => number;
  readonly log: Log;
  /** Of the program: `0.1.0`. */
  readonly version: string;
}

/** The version of Kubernetes whose API is served. */
const kubernetesVersion = { major: '1', minor: '36', patch: '0' } as const;

/** Requests of those who wait for nobody that may be worked on at once, by kind; more are told to come back. Watches do not count. */
const maxInFlight = { readOnly: 1_000, mutating: 1_000 } as const;
const maxConnections = 10_000;
/** Until the last byte of a body; bounds clients that send slowly. */
const requestTimeoutMs = 60_000;
const headersTimeoutMs = 20_000;
const handshakeTimeoutMs = 10_000;
const keepAliveTimeoutMs = 120_000;
const drainMs = 10_000;
const metricsMaxAgeMs = 1_000;
/** Of a turn of the event loop, for writing to watches. */
const streamSliceMs = 3;
/** Encoded objects that are kept for the next reader. */
const maxEncodedLength = 16 * 1024 * 1024;

/** A body as bytes, text, object and text of the store; an answer as text, bytes and encrypted bytes. */
const copiesOfBody = 4;
const copiesOfAnswer = 3;
/** Assumed size of a body whose client does not say how long it will be. */
const unknownBodyBytes = 1024 * 1024;

const compress = promisify(gzip);

export function createApiServer(options: ApiServerOptions): ApiServer {
  return new HttpApiServer(options);
}

/** What is known of a request before its handler runs. */
interface RequestState {
  /** For whom the request is made. Absent until authentication has succeeded; no handler runs before. */
  user: UserInfo | undefined;
  /** Who made it; another than `user` when that one is impersonated. */
  authenticated: UserInfo | undefined;
  readonly method: string;
  readonly receivedAtMs: number;
  readonly sourceIp: string;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly target: RequestTarget;
  readonly kind: KindDefinition | undefined;
  readonly isWatch: boolean;
  finish(answer: { readonly code: number; readonly bytes: number }): void;
  readonly bytesBefore: number;
  audit: RequestAudit | undefined;
  /** Its place among the requests that are worked on; absent as long as it waits, and for streams. */
  seat: Seat | undefined;
  /** Memory for its body and its answers. */
  readonly memory: Seat[];
}

/** What the audit log will tell of the request beside its outcome. */
interface RequestAudit {
  readonly decision: AuditDecision;
  requestBody: AuditedBody | undefined;
  readonly responseBody: (() => AuditedBody) | undefined;
  /** What admission notes; made when it does. */
  annotations?: Map<string, string>;
}

type KnownRequest = RequestState & { readonly user: UserInfo };

class HttpApiServer implements ApiServer {
  readonly name = 'apiserver';
  readonly #options: ApiServerOptions;
  readonly #context: HandlerContext;
  readonly #stopping = new AbortController();
  readonly #discovery: Discovery;
  readonly #kubelet: ReturnType<typeof createKubeletClient> | undefined;
  readonly #states = new WeakMap<IncomingMessage, RequestState>();
  readonly #upgrades = new WeakMap<IncomingMessage, Upgrade>();
  #app: FastifyInstance<Server> | undefined;
  #url = '';
  #metricsText: { readonly text: Promise<string>; readonly at: number } | undefined;
  #isBackingUp = false;
  readonly #health = createHealthRecord();
  readonly #authenticator: Authenticator;
  #active = 0;
  #onIdle: () => void = () => undefined;

  constructor(options: ApiServerOptions) {
    this.#options = options;
    const { kubeApi, clock, random, log, metrics, kubelet, memory = shareMemory() } = options;
    // Every watch listens.
    setMaxListeners(0, this.#stopping.signal);
    const requestMetrics = createRequestMetrics(metrics, clock);
    this.#authenticator = countAttempts(options.authenticator, requestMetrics.authenticated);
    this.#context = {
      kubeApi,
      clock,
      random,
      log,
      encoder: createObjectEncoder({ maxCachedLength: Math.min(maxEncodedLength, memory.answerBytes / 4) }),
      metrics: requestMetrics,
      turns: createTurnQueue({ clock, sliceMs: streamSliceMs }),
      slices: options.flowControl.slices,
      watchMemory: new WatchMemory(memory.watchBytes),
      isShortOfMemory: () => options.flowControl.isShortOfMemory,
      stopping: this.#stopping.signal,
    };
    this.#discovery = createDiscovery(kubeApi.kinds, options.aggregator);
    this.#kubelet = kubelet === undefined ? undefined : createKubeletClient(kubelet);
  }

  get url(): string {
    return this.#url;
  }

  async start(): Promise<void> {
    const { address, port, log } = this.#options;
    const app = this.#createApp();
    this.#app = app;
    await app.listen({ host: address, port });
    const { port: actualPort } = app.server.address() as AddressInfo;
    this.#url = `https://${urlHostOf(address)}:${actualPort}`;
    this.#options.tls.certificate.onRenewed(() => this.#app?.server.setSecureContext(this.#secureContext()));
    log.info({ url: this.#url }, 'Started API server');
  }

  async stop(): Promise<void> {
    const app = this.#app;
    if (app === undefined) return;
    this.#app = undefined;
    // In this order: no new connections, readiness gone, watches ended, running requests answered, the rest cut.
    const closed = new Promise<void>((resolve) => app.server.close(() => resolve()));
    this.#stopping.abort();
    app.server.closeIdleConnections();
    await this.#drained();
    await app.close();
    await closed;
    this.#kubelet?.close();
  }

  #createApp(): FastifyInstance<Server> {
    const app = fastify({
      ...withoutSchemas,
      https: {
        ...this.#secureContext(),
        // A certificate is welcome and not needed; what it is worth is decided by the authenticator.
        requestCert: true,
        rejectUnauthorized: false,
        ALPNProtocols: ['http/1.1'],
        handshakeTimeout: handshakeTimeoutMs,
        keepAlive: true,
        keepAliveInitialDelay: 30_000,
      },
      logger: false,
      exposeHeadRoutes: false,
      bodyLimit: maxBodyBytes,
      requestTimeout: requestTimeoutMs,
      keepAliveTimeout: keepAliveTimeoutMs,
      forceCloseConnections: true,
      routerOptions: { maxParamLength: 512 },
      frameworkErrors: (err, request, reply) => this.#answerFrameworkError(err, request, reply),
    });
    app.server.removeAllListeners('clientError');
    app.server.on('clientError', answerClientError);
    app.server.on('upgrade', (raw, socket, head) => this.#upgrade(app, raw, { socket, head }));
    app.server.headersTimeout = headersTimeoutMs;
    app.server.maxConnections = maxConnections;
    app.removeAllContentTypeParsers();
    app.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => done(null, body));
    app.addHook('onRequest', (request, reply, done) => this.#arrive(request, reply, done));
    app.setErrorHandler<FastifyError>((err, request, reply) => this.#answerFrameworkError(err, request, reply));
    // Paths of the API are read by `parseTarget`, because names may hold what a router takes for its own syntax.
    app.all('*', (request, reply) => this.#handle(request, reply));
    return app;
  }

  #secureContext() {
    const { caCertificate, certificate } = this.#options.tls;
    return { cert: certificate.certificate, key: certificate.key, ca: caCertificate, minVersion: 'TLSv1.2' as const };
  }

  /** A request for another protocol goes the way of all requests, so that it is authenticated and refused as they are. */
  #upgrade(app: FastifyInstance<Server>, raw: IncomingMessage, upgrade: Upgrade): void {
    const socket = upgrade.socket as Socket;
    socket.on('error', () => socket.destroy());
    const { 'content-length': length = '0', 'transfer-encoding': encoding } = raw.headers;
    if (encoding !== undefined || length !== '0') {
      // The body would be read in the new protocol.
      answerClientError(new Error('a request with a body cannot ask for an upgrade'), socket);
      return;
    }
    this.#upgrades.set(raw, upgrade);
    const response = new ServerResponse(raw);
    response.shouldKeepAlive = false;
    response.assignSocket(socket);
    response.once('finish', () => socket.destroySoon());
    app.routing(raw, response);
  }

  /** First of all: who is it, and is there room. */
  #arrive(request: FastifyRequest, reply: FastifyReply, done: (err?: Error) => void): void {
    const { kubeApi, clock } = this.#options;
    const { raw } = request;
    this.#active += 1;
    // The framework's own hook knows only answers that were sent to the end.
    reply.raw.once('close', () => this.#leave(raw, reply.raw));
    reply.raw.setHeader('audit-id', auditIdOf(raw));
    reply.raw.setHeader('cache-control', 'no-cache, private');
    if (this.#stopping.signal.aborted) reply.raw.setHeader('connection', 'close');
    try {
      const [path = '', queryText = ''] = splitUrl(raw.url ?? '/');
      const query = new URLSearchParams(queryText);
      const target = parseTarget(path);
      const kind = target.type === 'resource' ? kindOf(kubeApi.kinds, target) : undefined;
      const method = raw.method ?? 'GET';
      const labels =
        target.type === 'resource'
          ? labelsOf(method, target, query, raw.headers['content-type'], kind)
          : {
              verb: method === 'GET' ? ('GET' as const) : ('OTHER' as const),
              dryRun: false,
              kind: undefined,
              subresource: '',
              scope: '' as const,
            };
      const state: RequestState = {
        user: undefined,
        authenticated: undefined,
        method,
        receivedAtMs: clock.now(),
        sourceIp: raw.socket.remoteAddress ?? '',
        path,
        query,
        target,
        kind,
        isWatch: labels.verb === 'WATCH',
        finish: this.#context.metrics.started(labels),
        bytesBefore: raw.socket.bytesWritten,
        audit: undefined,
        seat: undefined,
        memory: [],
      };
      this.#states.set(raw, state);
      // A change of protocol is long where another server makes it; here it is of those that are listed, or comes to nothing.
      const isPassedOn = this.#upgrades.has(raw) && target.type === 'resource' && this.#isRemote(target);
      const isLong = labels.verb === 'WATCH' || labels.verb === 'CONNECT' || isPassedOn;
      const admit = (user: UserInfo): Promise<void> | undefined => {
        state.authenticated = user;
        state.user = impersonatedUser({ request: raw, user, authorizer: kubeApi, attributes: () => attributesOfState(state) }) ?? user;
        this.#startAudit(state, raw, reply.raw, isLong);
        // Nobody's body is not even read.
        if (isAnonymous(user) && target.type === 'resource') kubeApi.authorize(user, attributesOf(method, target, query));
        // A watch of much that is there begins as a list does.
        return isLong && !state.isWatch ? undefined : this.#enter(state, raw, reply.raw);
      };
      const user = this.#authenticator.authenticate(raw);
      if (user instanceof Promise) {
        user.then(admit).then(() => done(), done);
        return;
      }
      const turn = admit(user);
      if (turn === undefined) done();
      else turn.then(() => done(), done);
    } catch (err) {
      done(err as Error);
    }
  }

  /** Waits until it is the request's turn; undefined when it is at once. */
  #enter(state: RequestState, raw: IncomingMessage, response: ServerResponse): Promise<void> | undefined {
    const { flowControl } = this.#options;
    const { user } = state;
    if (user === undefined) throw new Error('a request takes its turn before it is authenticated');
    let attributes: RequestAttributes | undefined;
    const flow = flowControl.classify(user, () => {
      attributes ??= attributesOfState(state);
      return attributes;
    });
    if (flow.schemaUid !== '') response.setHeader('x-kubernetes-pf-flowschema-uid', flow.schemaUid);
    if (flow.levelUid !== '') response.setHeader('x-kubernetes-pf-prioritylevel-uid', flow.levelUid);
    if (flow.isExempt) {
      const { inFlight } = this.#context.metrics;
      if (inFlight.readOnly > maxInFlight.readOnly || inFlight.mutating > maxInFlight.mutating) throw tooManyRequests();
    }
    const { seats, bytes } = this.#costOf(state, raw);
    const onGone = (giveUp: () => void): void => void response.once('close', giveUp);
    const takeSeat = (): Promise<void> | undefined => {
      const seat = flow.enter(seats, onGone);
      if (!(seat instanceof Promise)) {
        state.seat = seat;
        return undefined;
      }
      return seat.then((late) => {
        state.seat = late;
        // Gone between its turn and now.
        if (response.closed) late.leave();
      });
    };
    // Memory first: who waits for it must not keep a seat from others.
    const held = this.#holdMemory(state, response, bytes);
    return held === undefined ? takeSeat() : held.then(takeSeat);
  }

  /** Counts the seats of a request, and the memory for its body and its answer. */
  #costOf(
    { method, target, kind, query, isWatch }: RequestState,
    { headers }: IncomingMessage,
  ): { readonly seats: number; readonly bytes: number } {
    const { flowControl } = this.#options;
    if (target.type !== 'resource' || kind === undefined) return { seats: 1, bytes: 0 };
    if (method !== 'GET') {
      const { 'content-length': length, 'transfer-encoding': encoding } = headers;
      return { seats: 1, bytes: (encoding === undefined ? Number(length ?? 0) : unknownBodyBytes) * copiesOfBody };
    }
    if (target.name !== undefined) {
      const bytes = target.subresource === undefined ? flowControl.bytesOf(kind, target.namespace, target.name) : 0;
      return { seats: 1, bytes: bytes * copiesOfAnswer };
    }
    // A watch that goes on where another one broke off begins with nothing, and what waits for its client counts with the other watches.
    const isResuming = isWatch && !['', '0'].includes(query.get('resourceVersion') ?? '') && query.get('sendInitialEvents') !== 'true';
    if (isResuming) return { seats: 1, bytes: 0 };
    const cost = flowControl.costOfList(kind, target.namespace, Number(query.get('limit')) || 0);
    return isWatch ? { ...cost, bytes: 0 } : cost;
  }

  /** Undefined when there is memory at once. It is given back when the request has left. */
  #holdMemory(state: RequestState, response: ServerResponse, bytes: number): Promise<void> | undefined {
    if (state.user === undefined || bytes === 0) return undefined;
    const held = this.#options.flowControl.holdMemory(state.user, bytes, (giveUp) => response.once('close', giveUp));
    if (!(held instanceof Promise)) {
      if (held !== undefined) state.memory.push(held);
      return undefined;
    }
    return held.then((late) => {
      state.memory.push(late);
      if (response.closed) late.leave();
    });
  }

  #leave(raw: IncomingMessage, response: ServerResponse): void {
    const state = this.#states.get(raw);
    state?.seat?.leave();
    if (state !== undefined) {
      for (const held of state.memory) held.leave();
      state.finish({ code: response.statusCode, bytes: raw.socket.bytesWritten - state.bytesBefore });
      this.#audit(state, raw, response);
    }
    this.#active -= 1;
    if (this.#active === 0) this.#onIdle();
  }

  /** Decides what will be told of the request, and tells that it has come when that is wanted. */
  #startAudit(state: RequestState, raw: IncomingMessage, response: ServerResponse, isLong: boolean): void {
    const { audit } = this.#options;
    if (audit === undefined) return;
    const decision = audit.policy.decide(state.user, attributesOfState(state));
    const { level, omitStages } = decision;
    if (level === 'None') {
      state.audit = { decision, requestBody: undefined, responseBody: undefined };
      return;
    }
    const capturesResponse = level === 'RequestResponse' && !isLong && state.target.type === 'resource';
    state.audit = { decision, requestBody: undefined, responseBody: capturesResponse ? captureResponse(response) : undefined };
    if (!omitStages.includes('RequestReceived')) audit.record(entryOf(state, raw, response, 'RequestReceived', decision));
    if (!isLong || omitStages.includes('ResponseStarted')) return;
    const { writeHead } = response;
    response.writeHead = function (this: ServerResponse, ...args: Parameters<ServerResponse['writeHead']>) {
      const head = writeHead.apply(this, args);
      audit.record({ ...entryOf(state, raw, response, 'ResponseStarted', decision), code: response.statusCode });
      return head;
    } as ServerResponse['writeHead'];
  }

  #audit(state: RequestState, raw: IncomingMessage, response: ServerResponse): void {
    const { audit } = this.#options;
    if (audit === undefined) return;
    const decision = state.audit?.decision ?? audit.policy.decide(state.user, attributesOfState(state));
    if (decision.level === 'None' || decision.omitStages.includes('ResponseComplete')) return;
    if (decision.onlyFailures && response.statusCode < 400) return;
    audit.record({
      ...entryOf(state, raw, response, 'ResponseComplete', decision),
      code: response.statusCode,
      requestBody: state.audit?.requestBody,
      responseBody: state.audit?.responseBody?.(),
      annotations: state.audit?.annotations,
    });
  }

  /** Resolves when no request is being answered, or when it has taken too long. */
  #drained(): Promise<void> {
    if (this.#active === 0) return Promise.resolve();
    return new Promise((resolve) => {
      const cancel = this.#options.clock.after(drainMs, resolve);
      this.#onIdle = () => {
        cancel();
        resolve();
      };
    });
  }

  async #handle(request: FastifyRequest, reply: FastifyReply): Promise<void> {
    reply.hijack();
    const { raw } = request;
    const response = reply.raw;
    const state = this.#states.get(raw);
    try {
      const user = state?.user;
      if (state === undefined || user === undefined) throw new Error('handler of a request that was not authenticated');
      if (state.target.type === 'resource') await this.#handleResource(request, response, { ...state, user }, state.target);
      else await this.#handlePath(raw, response, { ...state, user });
      // Only the client has to read the rest, and nobody has to wait for that.
      state.seat?.leave();
      limitRest(response, this.#options.clock);
    } catch (err) {
      const error = statusErrorOf(err);
      if (!isStatusError(err)) {
        this.#options.log.error(
          { err, method: raw.method, path: state?.path, auditId: response.getHeader('audit-id') },
          'Could not answer request',
        );
      }
      sendError(response, error, errorEncodingOf(raw));
    }
  }

  async #handleResource(
    { raw, body }: FastifyRequest,
    response: ServerResponse,
    state: KnownRequest,
    target: ResourceTarget,
  ): Promise<void> {
    const { kubeApi } = this.#options;
    const { user, query, kind } = state;
    const method = raw.method ?? 'GET';
    const level = state.audit?.decision.level;
    if (state.audit !== undefined && body instanceof Buffer && (level === 'Request' || level === 'RequestResponse')) {
      state.audit.requestBody = { bytes: body, contentType: raw.headers['content-type'], isCut: false };
    }
    // Who may not use a resource is not told whether it exists. What a new object is called stands in its body, which the kubeApi reads.
    const attributes = attributesOf(method, target, query);
    if (attributes.verb !== 'create' || target.name !== undefined || kind === undefined) kubeApi.authorize(user, attributes);
    if (this.#isRemote(target)) {
      await this.#proxy(raw, response, state, target, body);
      return;
    }
    if (!this.#discovery.hasGroup(target.group)) {
      sendPageNotFound(response);
      return;
    }
    const found = handlerOf({ method, target, query, kind, kubelet: this.#kubelet });
    if (found.kind.deprecation !== undefined) setWarnings(response, [found.kind.deprecation]);
    const request = {
      method,
      raw,
      response,
      user,
      userAgent: raw.headers['user-agent'] ?? '',
      target,
      kind: found.kind,
      query,
      upgrade: this.#upgrades.get(raw),
      body: body instanceof Buffer ? body : undefined,
      seat: state.seat,
      signal: signalOf(response),
      annotate: (key: string, value: string) => {
        if (state.audit === undefined) return;
        state.audit.annotations ??= new Map();
        state.audit.annotations.set(key, value);
      },
    };
    await found.handler(request, this.#context);
  }

  /** Group versions that are served here are never somebody else's. */
  #isRemote({ group, version }: { readonly group: string; readonly version: string }): boolean {
    const { aggregator } = this.#options;
    return aggregator !== undefined && this.#discovery.resourceList(group, version) === undefined && aggregator.isRemote(group, version);
  }

  async #proxy(
    raw: IncomingMessage,
    response: ServerResponse,
    { user }: KnownRequest,
    { group, version }: { readonly group: string; readonly version: string },
    body?: unknown,
  ): Promise<void> {
    await this.#options.aggregator?.proxy(group, version, {
      raw,
      response,
      user,
      body: body instanceof Buffer ? body : undefined,
      upgrade: this.#upgrades.get(raw),
      signal: signalOf(response),
      stopping: this.#stopping.signal,
    });
  }

  /** Everything that is not a resource: discovery, health, version, metrics, schemas. */
  async #handlePath(raw: IncomingMessage, response: ServerResponse, state: KnownRequest): Promise<void> {
    const { kubeApi, version, clock } = this.#options;
    const { user, path, query, target } = state;
    kubeApi.authorize(user, attributesOfState(state));
    if (path === backupPath && this.#options.backup !== undefined) {
      await this.#sendBackup(raw, response, this.#options.backup);
      return;
    }
    if (raw.method !== 'GET') throw methodNotAllowed();
    const send = (value: unknown): void => sendValue(response, 200, value, this.#representationOf(raw, query));
    switch (target.type) {
      case 'versions':
      case 'groups':
        this.#sendDiscoveryRoot(raw, response, target.type, send);
        return;
      case 'group': {
        const group = this.#discovery.group(target.group);
        if (group === undefined) sendPageNotFound(response);
        else send(group);
        return;
      }
      case 'group-version': {
        const resources = this.#discovery.resourceList(target.group, target.version);
        if (this.#isRemote(target)) await this.#proxy(raw, response, state, target);
        else if (resources !== undefined) send(resources);
        else if (this.#discovery.hasGroup(target.group)) throw resourceNotFound();
        else sendPageNotFound(response);
        return;
      }
      case 'resource':
        throw new Error('a resource is no path');
      case 'other':
        break;
      default:
        target satisfies never;
    }
    const [first = '', second, ...rest] = path.replace(/^\/|\/$/g, '').split('/');
    if (isHealthEndpoint(first)) {
      const only = second === undefined ? undefined : [second, ...rest].join('/');
      const report = await reportHealth(
        this.#checks(),
        {
          endpoint: first,
          only,
          verbose: query.has('verbose') && booleanOf(query, 'verbose'),
          exclude: query.getAll('exclude'),
        },
        this.#health,
      );
      if (report === undefined) sendPageNotFound(response);
      else sendPlain(response, report.code, report.text);
      return;
    }
    switch (path) {
      case '/':
        send({
          paths: [...this.#discovery.paths(), ...this.#otherPaths()].sort(),
        });
        return;
      case '/version':
      case '/version/':
        send(versionOf(version));
        return;
      case '/.well-known/openid-configuration':
      case '/openid/v1/jwks':
        this.#sendIssuer(response, path);
        return;
      case '/metrics':
      case '/metrics/apiserver':
        await this.#sendMetrics(raw, response, state);
        return;
      case '/metrics/slis':
        // All checks at least once, so that a scrape finds them.
        await Promise.all(
          healthEndpoints.map((endpoint) => reportHealth(this.#checks(), { endpoint, verbose: false, exclude: [] }, this.#health)),
        );
        sendText(response, 200, 'text/plain; version=0.0.4; charset=utf-8', this.#health.text());
        return;
      default:
    }
    if (path === '/openapi/v2' || path === '/openapi/v3' || path.startsWith('/openapi/v3/')) {
      const remote = /^\/openapi\/v3\/apis\/([^/]+)\/([^/]+)\/?$/.exec(path);
      const [, group = '', documentVersion = ''] = remote ?? [];
      if (remote !== null && this.#isRemote({ group, version: documentVersion })) {
        await this.#proxy(raw, response, state, { group, version: documentVersion });
      } else {
        const holdMemory = (bytes: number): Promise<void> | undefined => this.#holdMemory(state, response, bytes * copiesOfAnswer);
        await sendOpenApi(this.#openApi(), { raw, response, path: path.replace(/\/$/, ''), query, clock, holdMemory });
      }
    } else sendPageNotFound(response);
  }

  /** The own documents, and in their index those of other servers. */
  #openApi(): OpenApiDocuments {
    const { openApi, aggregator } = this.#options;
    return aggregator === undefined ? openApi : { ...openApi, index: () => withRemoteDocuments(openApi.index(), aggregator.openApi()) };
  }

  /** For the index: what is served besides the API. */
  #otherPaths(): readonly string[] {
    const checks = this.#checks();
    return [
      ...(this.#options.serviceAccounts === undefined ? [] : ['/.well-known/openid-configuration', '/openid/v1/jwks']),
      ...healthEndpoints.flatMap((endpoint) => [`/${endpoint}`, ...checksOf(checks, endpoint).map(({ name }) => `/${endpoint}/${name}`)]),
      '/metrics',
      '/metrics/slis',
      '/openapi/v2',
      '/openapi/v3',
      '/openapi/v3/',
      '/version',
    ];
  }

  /** How others can verify the tokens of service accounts. */
  #sendIssuer(response: ServerResponse, path: string): void {
    const { serviceAccounts } = this.#options;
    if (serviceAccounts === undefined) {
      sendPageNotFound(response);
      return;
    }
    response.setHeader('cache-control', 'public, max-age=3600');
    if (path === '/openid/v1/jwks') sendText(response, 200, 'application/jwk-set+json', JSON.stringify(serviceAccounts.keys));
    else sendText(response, 200, 'application/json', JSON.stringify(serviceAccounts.configuration(this.#url)));
  }

  #representationOf({ headers }: IncomingMessage, query: URLSearchParams): Representation {
    // Browsers and scripts that ask for HTML get JSON here, as on the real server.
    const accept = headers.accept?.startsWith('text/') ? undefined : headers.accept;
    const { encoding, pretty } = negotiate(accept, 'object', wantsPretty(query, headers['user-agent'] ?? ''));
    return { encoding, pretty };
  }

  #sendDiscoveryRoot(raw: IncomingMessage, response: ServerResponse, root: 'versions' | 'groups', send: (value: unknown) => void): void {
    response.setHeader('vary', 'Accept');
    if (!asksForAggregated(raw.headers.accept)) {
      send(root === 'versions' ? this.#discovery.versions(raw.headers.host ?? new URL(this.#url).host) : this.#discovery.groupList());
      return;
    }
    const { json, etag } = this.#discovery.aggregated(root === 'versions' ? 'core' : 'groups');
    response.setHeader('etag', etag);
    if (matchesEtag(raw, etag)) response.writeHead(304).end();
    else sendText(response, 200, 'application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList', json);
  }

  async #sendMetrics(raw: IncomingMessage, response: ServerResponse, state: RequestState): Promise<void> {
    const text = await this.#freshMetrics();
    await this.#holdMemory(state, response, text.length * copiesOfAnswer);
    const contentType = 'text/plain; version=0.0.4; charset=utf-8; escaping=underscores';
    if (!/\bgzip\b/.test(String(raw.headers['accept-encoding'] ?? ''))) {
      sendText(response, 200, contentType, text);
      return;
    }
    const body = await compress(text, { level: 1 });
    response.writeHead(200, { 'content-type': contentType, 'content-encoding': 'gzip', 'content-length': body.length });
    response.end(body);
  }

  /**
   * Makes one at a time, since each needs as much disk as the store. It is POST, because people who only look are given rights to GET every path.
   */
  async #sendBackup(raw: IncomingMessage, response: ServerResponse, open: NonNullable<ApiServerOptions['backup']>): Promise<void> {
    if (raw.method !== 'POST') throw methodNotAllowed();
    if (this.#isBackingUp) {
      const message = 'a backup is being made already, please try again later';
      throw new StatusError({ code: 429, reason: 'TooManyRequests', message, details: { retryAfterSeconds: 10 } });
    }
    this.#isBackingUp = true;
    const signal = signalOf(response);
    try {
      const archive = await open(AbortSignal.any([signal, this.#stopping.signal]));
      response.writeHead(200, { 'content-type': 'application/x-tar', connection: 'close' });
      await pipeline(archive, response);
    } catch (err) {
      // A client that went away has nobody to answer to.
      if (signal.aborted) return;
      this.#options.log.error({ err }, 'Could not make backup');
      // A client that may have a backup may know what is wrong with the disk.
      const message = `no backup could be made: ${err instanceof Error ? err.message : String(err)}`;
      throw new StatusError({ code: 500, reason: 'InternalError', message, cause: err });
    } finally {
      this.#isBackingUp = false;
    }
  }

  /** Two scrapers at once cost one. */
  #freshMetrics(): Promise<string> {
    const now = this.#options.clock.monotonicMs();
    if (this.#metricsText === undefined || now - this.#metricsText.at > metricsMaxAgeMs) {
      this.#metricsText = { text: this.#options.metricsText(), at: now };
    }
    return this.#metricsText.text;
  }

  #checks(): readonly HealthCheck[] {
    return [
      { name: 'ping', liveness: true, check: () => undefined },
      {
        name: 'shutdown',
        liveness: false,
        check: () => {
          if (this.#stopping.signal.aborted) throw new Error('the server is shutting down');
        },
      },
      ...this.#options.healthChecks,
    ];
  }

  /** Errors that never reached a handler: of authentication, of the body, of the framework itself. */
  #answerFrameworkError(err: FastifyError | Error, { raw }: FastifyRequest, reply: FastifyReply): void {
    reply.hijack();
    const error = isStatusError(err) ? err : frameworkErrorOf(err);
    if (error === undefined) this.#options.log.error({ err, method: raw.method }, 'Could not answer request');
    // The rest of a body that is not read would be taken for the next request.
    if (error?.code === 413) reply.raw.setHeader('connection', 'close');
    sendError(reply.raw, error ?? err, errorEncodingOf(raw));
  }
}

/** What is not even HTTP, or came too slowly: there is no request to answer, only a socket. */
function answerClientError(err: NodeJS.ErrnoException, socket: Duplex): void {
  // An answer before the handshake would reach a client that is only slow, as what its request was worth.
  if (err.code === 'ECONNRESET' || err.code === 'ERR_TLS_HANDSHAKE_TIMEOUT' || !socket.writable) {
    socket.destroy();
    return;
  }
  const error =
    err.code === 'HPE_INVALID_METHOD' ? methodNotAllowed() : (clientErrors[err.code ?? ''] ?? badRequest('malformed HTTP request'));
  const body = JSON.stringify(error.toStatus());
  const head = [
    `HTTP/1.1 ${error.code} ${STATUS_CODES[error.code] ?? ''}`,
    'content-type: application/json',
    `content-length: ${body.length}`,
  ];
  socket.end(`${head.join('\r\n')}\r\nconnection: close\r\n\r\n${body}`);
}

const clientErrors: Readonly<Record<string, StatusError>> = {
  ERR_HTTP_REQUEST_TIMEOUT: new StatusError({ code: 408, reason: 'Timeout', message: 'the request took too long to arrive' }),
  HPE_HEADER_OVERFLOW: new StatusError({ code: 431, reason: 'BadRequest', message: 'the headers of the request are too large' }),
};

/** What the framework refuses is the client's fault; undefined when it is not. */
function frameworkErrorOf(err: FastifyError | Error): StatusError | undefined {
  const { code, statusCode } = err as Partial<FastifyError>;
  switch (code) {
    case 'FST_ERR_CTP_BODY_TOO_LARGE':
      return new StatusError({ code: 413, reason: 'RequestEntityTooLarge', message: `Request entity too large: limit is ${maxBodyBytes}` });
    case 'FST_ERR_CTP_INVALID_MEDIA_TYPE':
      return new StatusError({
        code: 415,
        reason: 'UnsupportedMediaType',
        message:
          'the body of the request was in an unknown format - accepted media types include: application/json, application/yaml, application/vnd.kubernetes.protobuf',
      });
    case 'FST_ERR_NOT_FOUND':
      return methodNotAllowed();
    default:
      return statusCode !== undefined && statusCode >= 400 && statusCode < 500 ? badRequest(err.message) : undefined;
  }
}

const entryOf = (
  state: RequestState,
  raw: IncomingMessage,
  response: ServerResponse,
  stage: AuditStage,
  decision: AuditDecision,
): AuditEntry => ({
  auditId: String(response.getHeader('audit-id') ?? ''),
  requestUri: raw.url ?? '',
  attributes: attributesOfState(state),
  user: state.authenticated,
  impersonatedUser: state.user === state.authenticated ? undefined : state.user,
  sourceIp: state.sourceIp,
  userAgent: raw.headers['user-agent'] ?? '',
  receivedAtMs: state.receivedAtMs,
  stage,
  decision,
});

const attributesOfState = ({ method, target, query, path }: RequestState): RequestAttributes =>
  target.type === 'resource' ? attributesOf(method, target, query) : { verb: method.toLowerCase(), path };

function errorEncodingOf({ headers }: IncomingMessage): Representation['encoding'] {
  try {
    return negotiate(headers.accept, 'object').encoding;
  } catch {
    // What cannot be served at all is answered in JSON.
    return 'json';
  }
}

const asksForAggregated = (accept: string | undefined): boolean =>
  parseAccept(accept ?? '').some(
    ({ type, parameters }) =>
      type === 'application/json' &&
      parameters.get('as') === 'APIGroupDiscoveryList' &&
      parameters.get('g') === 'apidiscovery.k8s.io' &&
      parameters.get('v') === 'v2',
  );

const matchesEtag = ({ headers }: IncomingMessage, etag: string): boolean => headers['if-none-match'] === etag;

/** A client's own id is kept, so that its log and ours can be matched. */
const auditIdOf = ({ headers }: IncomingMessage): string => {
  const given = headers['audit-id'];
  return typeof given === 'string' && /^[\w.-]{1,64}$/.test(given) ? given : randomUUID();
};

function splitUrl(url: string): readonly [path: string, query: string] {
  const mark = url.indexOf('?');
  return mark === -1 ? [url, ''] : [url.slice(0, mark), url.slice(mark + 1)];
}

/** Aborted when the client goes away before it has its answer. */
function signalOf(response: ServerResponse): AbortSignal {
  const gone = new AbortController();
  // An answer that was sent whole has nobody to tell; making the reason of an abort is not free.
  response.once('close', () => {
    if (!response.writableFinished) gone.abort();
  });
  return gone.signal;
}

const versionOf = (version: string): unknown => ({
  major: kubernetesVersion.major,
  minor: kubernetesVersion.minor,
  emulationMajor: kubernetesVersion.major,
  emulationMinor: kubernetesVersion.minor,
  minCompatibilityMajor: kubernetesVersion.major,
  minCompatibilityMinor: String(Number(kubernetesVersion.minor) - 1),
  gitVersion: `v${kubernetesVersion.major}.${kubernetesVersion.minor}.${kubernetesVersion.patch}+midship.${version}`,
  gitCommit: '',
  gitTreeState: '',
  buildDate: '1970-01-01T00:00:00Z',
  goVersion: '',
  compiler: 'node',
  platform: `linux/${process.arch === 'x64' ? 'amd64' : process.arch}`,
});

/** Where a client on this machine reaches a server that listens on `address`. */
function urlHostOf(address: string): string {
  if (address === '0.0.0.0') return '127.0.0.1';
  if (address === '::') return '[::1]';
  return address.includes(':') ? `[${address}]` : address;
}
