import { setMaxListeners } from 'node:events';
import { type IncomingMessage, ServerResponse } from 'node:http';
import type { Server } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import type { Readable } from 'node:stream';
import { type FastifyInstance, fastify } from 'fastify';
import type { Clock } from '../base/clock.ts';
import type { Component } from '../base/component.ts';
import type { HttpMount } from '../base/contracts/http-mount.ts';
import type { Log } from '../base/log.ts';
import { type MemoryBudget, shareMemory } from '../base/memory-budget.ts';
import type { Metrics } from '../base/metrics.ts';
import type { LiveKeyPair } from '../base/pki.ts';
import { withoutSchemas } from '../base/without-schemas.ts';
import type { Aggregator } from './aggregation/aggregator.ts';
import type { AuditLog } from './audit.ts';
import type { FlowControl } from './flow-control/flow-control.ts';
import type { HandlerContext } from './http/api-request.ts';
import { type Authenticator, countAttempts } from './http/authentication.ts';
import { createDiscovery } from './http/discovery.ts';
import { createHealthRecord, type HealthCheck } from './http/health.ts';
import { createKubeletClient, type KubeletClientOptions } from './http/kubelet-client.ts';
import { createObjectEncoder } from './http/object-encoder.ts';
import type { OpenApiDocuments } from './http/openapi.ts';
import { maxBodyBytes } from './http/request-body.ts';
import { createRequestMetrics } from './http/request-metrics.ts';
import { createTurnQueue } from './http/turn-queue.ts';
import type { Upgrade } from './http/upgrade.ts';
import { WatchMemory } from './http/watch-memory.ts';
import type { KubeApi } from './kube-api.ts';
import { createAuditTrail } from './server/audit-trail.ts';
import { BackupPath } from './server/backup-path.ts';
import type { KeyActions } from './server/keys-path.ts';
import { createClientErrorListener } from './server/malformed-requests.ts';
import { MetricsPage } from './server/metrics-page.ts';
import { RequestLife } from './server/request-life.ts';
import { ResourceRequests } from './server/resource-requests.ts';
import { createRequestTurns } from './server/turns.ts';
import type { ServiceAccountTokens } from './service-account-tokens.ts';
import { startChecks } from './start-checks.ts';

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
  /** Issuer whose documents are served. */
  readonly serviceAccounts?: ServiceAccountTokens | undefined;
  /** Absent: logs of pods cannot be read. */
  readonly kubelet?: KubeletClientOptions;
  /** Absent: every group version is served here. */
  readonly aggregator?: Aggregator;
  /** Documents of `/openapi/v2` and `/openapi/v3`. */
  readonly openApi: OpenApiDocuments;
  /** Absent: nothing is recorded. */
  readonly audit?: AuditLog;
  /** Starts a copy of all data and keys of the cluster, and gives it as a stream. Absent: there is none. */
  readonly backup?: (signal: AbortSignal) => Promise<Readable>;
  /** Absent: the keys of the cluster cannot be asked for or changed. */
  readonly keys?: KeyActions;
  /** Machines join: `/cacerts` shows the authority to everybody. */
  readonly admitsMachines?: boolean;
  /** A part of another component below a path of its own, for users who may `get` and `post` there. It reads bodies itself. */
  readonly mount?: HttpMount | undefined;
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
  /** Version of the program: `0.1.0`. */
  readonly version: string;
}

const maxConnections = 10_000;
/** Until the last byte of a body; bounds clients that send slowly. */
const requestTimeoutMs = 60_000;
/** Until the last header, and of a handshake; upstream's time. It is longer than the 10 s that clients wait, so that they give up first. */
const headersTimeoutMs = 32_000;
const handshakeTimeoutMs = 32_000;
const keepAliveTimeoutMs = 120_000;
/**
 * Limit for the first line and all headers: kubectl sends selectors of 30 KB. Upstream takes 1 MiB, which thousands of
 * connections could not share.
 */
const maxHeaderBytes = 64 * 1024;
/** Share of a turn of the event loop for writing to watches. */
const streamSliceMs = 3;
/** Encoded objects that are kept for the next reader, as JSON and, where clients ask for it, as protobuf. */
const maxEncodedLength = 16 * 1024 * 1024;

export function createApiServer(options: ApiServerOptions): ApiServer {
  return new HttpApiServer(options);
}

/** Starts and stops the listener. `server/request-life.ts` has the life of a request. */
class HttpApiServer implements ApiServer {
  readonly name = 'apiserver';
  readonly #options: ApiServerOptions;
  readonly #stopping = new AbortController();
  readonly #kubelet: ReturnType<typeof createKubeletClient> | undefined;
  readonly #upgrades = new WeakMap<IncomingMessage, Upgrade>();
  readonly #life: RequestLife;
  readonly #onClientError: ReturnType<typeof createClientErrorListener>;
  #app: FastifyInstance<Server> | undefined;
  #url = '';

  constructor(options: ApiServerOptions) {
    this.#options = options;
    this.#onClientError = createClientErrorListener({ clock: options.clock, log: options.log });
    // Every watch listens.
    setMaxListeners(0, this.#stopping.signal);
    this.#kubelet = options.kubelet === undefined ? undefined : createKubeletClient(options.kubelet);
    this.#life = this.#createLife();
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
    await this.#life.drained();
    await app.close();
    await closed;
    this.#kubelet?.close();
  }

  /** Puts the stages of a request together. */
  #createLife(): RequestLife {
    const { kubeApi, clock, log, metrics, flowControl, aggregator } = this.#options;
    const { openApi, serviceAccounts, version, backup, keys } = this.#options;
    const stopping = this.#stopping.signal;
    const requestMetrics = createRequestMetrics(metrics, clock);
    const discovery = createDiscovery(kubeApi.kinds, aggregator);
    const audit = createAuditTrail(this.#options.audit);
    const turns = createRequestTurns({ flowControl, metrics: requestMetrics });
    const context = this.#handlerContext(requestMetrics);
    const resources = new ResourceRequests({ context, discovery, aggregator, kubelet: this.#kubelet, audit });
    return new RequestLife({
      kubeApi,
      authenticator: countAttempts(this.#options.authenticator, requestMetrics.authenticated),
      turns,
      audit,
      resources,
      paths: {
        kubeApi,
        discovery,
        aggregator,
        resources,
        turns,
        openApi,
        serviceAccounts,
        metrics: new MetricsPage({ metricsText: () => this.#options.metricsText(), clock, turns }),
        authority: this.#options.admitsMachines === true ? this.#options.tls.caCertificate : undefined,
        backup: backup === undefined ? undefined : new BackupPath({ backup, stopping, log }),
        keys,
        healthChecks: this.#healthChecks(),
        health: createHealthRecord(),
        clock,
        version,
        url: () => this.#url,
      },
      metrics: requestMetrics,
      upgrades: this.#upgrades,
      mount: this.#options.mount,
      stopping,
      clock,
      log,
    });
  }

  #handlerContext(metrics: HandlerContext['metrics']): HandlerContext {
    const { kubeApi, clock, random, log, flowControl, memory = shareMemory() } = this.#options;
    return {
      kubeApi,
      clock,
      random,
      log,
      encoder: createObjectEncoder({ maxCachedLength: Math.min(maxEncodedLength, memory.answerBytes / 8) }),
      metrics,
      turns: createTurnQueue({ clock, sliceMs: streamSliceMs }),
      slices: flowControl.slices,
      watchMemory: new WatchMemory(memory.watchBytes),
      isShortOfMemory: () => flowControl.isShortOfMemory,
      stopping: this.#stopping.signal,
    };
  }

  /** In the order of the real server. */
  #healthChecks(): readonly HealthCheck[] {
    const { kubeApi, healthChecks } = this.#options;
    const check = (): void => {
      if (this.#stopping.signal.aborted) throw new Error('the server is shutting down');
    };
    return [
      { name: 'ping', liveness: true, check: () => undefined },
      ...healthChecks,
      ...startChecks(kubeApi),
      { name: 'shutdown', liveness: false, check },
    ];
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
        maxHeaderSize: maxHeaderBytes,
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
      frameworkErrors: (err, request, reply) => this.#life.refuse(err, request, reply),
    });
    app.server.removeAllListeners('clientError');
    app.server.on('clientError', this.#onClientError);
    app.server.on('upgrade', (raw, socket, head) => this.#upgrade(app, raw, { socket, head }));
    app.server.headersTimeout = headersTimeoutMs;
    app.server.maxConnections = maxConnections;
    app.removeAllContentTypeParsers();
    app.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => done(null, body));
    this.#life.addTo(app);
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
      this.#onClientError(new Error('a request with a body cannot ask for an upgrade'), socket);
      return;
    }
    this.#upgrades.set(raw, upgrade);
    const response = new ServerResponse(raw);
    response.shouldKeepAlive = false;
    response.assignSocket(socket);
    response.once('finish', () => socket.destroySoon());
    app.routing(raw, response);
  }
}

/** Address at which a client on this machine reaches a server that listens on `address`. */
function urlHostOf(address: string): string {
  if (address === '0.0.0.0') return '127.0.0.1';
  if (address === '::') return '[::1]';
  return address.includes(':') ? `[${address}]` : address;
}
