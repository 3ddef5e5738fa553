import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Server as TlsServer } from 'node:tls';
import { type FastifyError, type FastifyInstance, type FastifyReply, fastify } from 'fastify';
import type { Clock } from '../base/clock.ts';
import type { Component } from '../base/component.ts';
import type { ActivityFeed } from '../base/contracts/activity.ts';
import type { AppInspection } from '../base/contracts/app-inspection.ts';
import type { HttpMount } from '../base/contracts/http-mount.ts';
import type { Log } from '../base/log.ts';
import { isLoopback } from '../base/loopback.ts';
import type { TurnGate } from '../base/turn-gate.ts';
import { createTurns } from '../base/turns.ts';
import { withoutSchemas } from '../base/without-schemas.ts';
import type { HttpClientOptions } from '../client/http-client.ts';
import type { InformerSet } from '../client/informer.ts';
import type { StepLog } from '../reconcile/step-log.ts';
import { type Access, createAccess, type Identity } from './access.ts';
import { addActions } from './actions.ts';
import { contentTypes, pack, refuse, type SharedText, sendPacked, sendShared, sendText, sharedText } from './answers.ts';
import { type Assets, readAssets } from './assets.ts';
import { type BoundConnections, boundConnections } from './connections.ts';
import { followGitOpsLeader, type GitOpsElection } from './gitops-leader.ts';
import { addLogin, loginPath, refuseLogin } from './login.ts';
import { Busy, createPace } from './pace.ts';
import { createPageModel } from './page-model.ts';
import { addPages, logStreamPath, type Pages, type SendShared, streamPath } from './page-routes.ts';
import { createRenderings } from './renderings.ts';
import { formRefusalOf, refusalOf } from './request-guard.ts';
import { createUserApi, type UserApi } from './user-api.ts';

export interface WebOptions {
  readonly address: string;
  /** 0: any free one. */
  readonly port: number;
  readonly informers: InformerSet;
  readonly activity: ActivityFeed;
  /** Steps of lifecycle machines, for the page that lists them. */
  readonly steps?: Pick<StepLog, 'recent'>;
  /** Parts of other components on this port; each looks after its own authentication. */
  readonly mounts: readonly HttpMount[];
  /** Path to the text of the metrics served there: `/metrics`, `/metrics/state`, … */
  readonly metrics: Readonly<Record<string, () => AsyncIterable<string>>>;
  /** True when the cluster works: `/readyz`. */
  ready(): boolean;
  readonly clock: Clock;
  readonly log: Log;
  readonly clusterName: string;
  /** Takes values of Secrets out of what is shown: names of objects may be made of them, too. */
  readonly redact?: (text: string) => string;
  /** Version of the program: `0.1.0`. */
  readonly version: string;
  /** Further names that clients may call this server by. */
  readonly names?: readonly string[];
  /** Asks for a login, or for this as a bearer token. Needed to serve on anything but loopback. */
  readonly token?: string;
  /** Lets users of the API log in, read objects and logs, and act. Absent: the page shows what everybody may see, and no more. */
  readonly users?: WebUsers;
  /** The engine's knowledge of apps; gives undefined before it starts. */
  inspection?(): AppInspection | undefined;
  /** Among several servers on one store: which of them has GitOps. Absent: this server does what is done. */
  readonly gitOpsElection?: GitOpsElection | undefined;
  /** Address of Grafana with the dashboards of this program; absent: no links. */
  readonly grafanaUrl?: string | undefined;
  /** Speaks TLS alone, with this certificate. */
  readonly tls?: WebCertificate;
  /** Shared with everything else that runs long in this event loop. */
  readonly gate: TurnGate;
}

export interface WebUsers {
  /** The API server that users are asked about, and that they read and act through. */
  readonly api: Pick<HttpClientOptions, 'server' | 'caCertificate' | 'serverName'>;
  /** Links log in as this user; absent: they log in a reader of the page. */
  readonly owner?: Identity;
  /** The bearer token of programs that make links of the owner. */
  readonly ownerToken?: string;
}

/** A key pair (PEM) that may be replaced while it is in use; its fields give the newest one. */
export interface WebCertificate {
  readonly certificate: string;
  readonly key: string;
  onRenewed(apply: () => void): void;
}

/** The status page, its data, metrics and what other components mount, on HTTP or HTTPS. */
export interface Web extends Component {
  /** `http://HOST:PORT` or `https://HOST:PORT`, reachable on this machine; known once started. */
  readonly url: string;
  /** Path of a link that is good for logging in once, as the owner where there is one; `/` where nobody can log in. */
  newLink(): string;
}

const maxConnections = 1_000;
const maxConnectionsOfAddress = 256;
const headersTimeoutMs = 10_000;
/** Interval between two searches for connections whose headers do not arrive. */
const checkConnectionsMs = 5_000;
/** A push may be slow; its handler has a bound of its own. */
const requestTimeoutMs = 300_000;
const metricsMaxAgeMs = 1_000;
const drainMs = 5_000;

const linksPath = `${loginPath}/links`;
/** For a whole answer. Clients that do not read hold the text of their time in memory. */
const maxAnswerMs = 20_000;

const securityPolicy =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

export function createWeb(options: WebOptions): Web {
  return new HttpWeb(options);
}

class HttpWeb implements Web {
  readonly name = 'web';
  readonly #options: WebOptions;
  #app: FastifyInstance<Server> | undefined;
  readonly #access: Access;
  readonly #userApi: UserApi | undefined;
  #url = '';
  #port = 0;
  #pages: Pages | undefined;
  #connections: BoundConnections | undefined;

  constructor(options: WebOptions) {
    this.#options = options;
    const { token, users, clock, version } = options;
    this.#access = createAccess({ token, ownerToken: users?.ownerToken, clock, port: () => this.#port });
    this.#userApi = users === undefined ? undefined : createUserApi({ ...users.api, clock, userAgent: `midship-page/${version}` });
  }

  get #scheme(): 'http' | 'https' {
    return this.#options.tls === undefined ? 'http' : 'https';
  }

  get url(): string {
    return this.#url;
  }

  newLink(): string {
    const { token, users } = this.#options;
    if (token === undefined && users === undefined) return '/';
    return `${loginPath}?token=${this.#access.newLink(users?.owner)}`;
  }

  async start({ signal }: { readonly signal: AbortSignal }): Promise<void> {
    const { address, port, token, tls } = this.#options;
    if (token === undefined && !isLoopback(address)) {
      throw Object.assign(new Error(`serve the status page on ${address} without a login`), { hint: 'Serve it on 127.0.0.1.' });
    }
    const app = this.#createApp(await readAssets());
    this.#app = app;
    signal.throwIfAborted();
    await app.listen({ host: address, port });
    this.#port = (app.server.address() as AddressInfo).port;
    this.#url = addressOf(this.#scheme, localAddressOf(address), this.#port);
    tls?.onRenewed(() => (this.#app?.server as TlsServer | undefined)?.setSecureContext(secureContextOf(tls)));
    this.#options.log.info({ url: this.#url }, 'Serving status page');
  }

  async stop(): Promise<void> {
    const app = this.#app;
    if (app === undefined) return;
    this.#app = undefined;
    this.#connections?.end();
    this.#pages?.close();
    const cancel = this.#options.clock.after(drainMs, () => app.server.closeAllConnections());
    try {
      await app.close();
    } finally {
      cancel();
    }
  }

  #createApp(assets: Assets): FastifyInstance<Server> {
    const { informers, activity, steps, mounts, metrics, log, clock, ready, address, names = [], gate, tls, token } = this.#options;
    const { redact = unchanged, inspection, gitOpsElection } = this.#options;
    const access = this.#access;
    const userApi = this.#userApi;
    const turns = createTurns({ gate, maxWaiting: 2 * maxConnections });
    const takeTurn = (flow: string): Promise<void> => turns.take(flow) ?? Promise.reject(new Busy());
    const gitOpsLeader = gitOpsElection === undefined ? undefined : followGitOpsLeader(informers, gitOpsElection, clock);
    const model = createPageModel({ informers, activity, steps, gitOpsLeader, ...(inspection === undefined ? {} : { inspection }) });
    const http = { headersTimeout: headersTimeoutMs, connectionsCheckingInterval: checkConnectionsMs, requireHostHeader: true };
    const scheme = this.#scheme;
    const app = fastify({
      ...withoutSchemas,
      logger: false,
      requestTimeout: requestTimeoutMs,
      forceCloseConnections: 'idle',
      return503OnClosing: true,
      ...(tls === undefined ? { http } : { https: { ...http, ...secureContextOf(tls), handshakeTimeout: headersTimeoutMs } }),
    }) as unknown as FastifyInstance<Server>;
    this.#connections = boundConnections(app.server, {
      max: maxConnections,
      maxOfAddress: maxConnectionsOfAddress,
      isKept: ({ url = '' }) => mounts.some(({ prefix }) => url.startsWith(prefix)),
    });
    // Mounts and forms read the stream themselves; nothing else has a body.
    app.removeAllContentTypeParsers();
    app.addContentTypeParser('*', (_request, _payload, done) => done(null));

    const ownNames = [address, ...names].filter((name) => name !== '0.0.0.0' && name !== '::').map((name) => name.toLowerCase());
    const mountByRoute = new Map(mounts.map((mount) => [`${mount.prefix}*`, mount]));
    // The route that answers decides, so no spelling of an address gets past. Every route that is not listed asks for a login.
    const openRoutes = new Set([...healthRoutes, loginPath, '/assets/:file', ...mountByRoute.keys()]);
    app.addHook('onRequest', async (request, reply) => {
      setSecurityHeaders(reply);
      const route = request.routeOptions.url ?? '';
      const refusal =
        mountByRoute.get(route)?.acceptsAnyHost === true
          ? undefined
          : refusalOf({ headers: request.headers, localAddress: request.raw.socket.localAddress, scheme, names: ownNames });
      if (refusal !== undefined) return refuse(reply, 403, refusal);
      const isForm = request.method === 'POST' && !request.is404 && !mountByRoute.has(route) && route !== linksPath;
      const formRefusal = isForm ? formRefusalOf(request.headers) : undefined;
      if (token !== undefined && !openRoutes.has(route)) {
        const { authorization, cookie } = request.headers;
        const isWelcome =
          access.hasToken(authorization) || access.hasOwnerToken(authorization) || access.session(cookie, request.ip) !== undefined;
        if (!isWelcome) return refuseLogin(reply, { access, isAttempt: authorization !== undefined, log });
      }
      if (formRefusal !== undefined) return refuse(reply, 403, formRefusal);
      const isWaiting = !mountByRoute.has(route) && !healthRoutes.includes(route) && (turns.waiting > 0 || !gate.isOpen());
      if (isWaiting) await takeTurn(request.ip);
      if (!mountByRoute.has(route) && route !== streamPath && route !== logStreamPath) endUnread(reply, clock);
      return undefined;
    });

    const pace = createPace({ clock, takeTurn: () => takeTurn('pages') });
    const texts = createRenderings<SharedText | undefined>({ pace, clock });
    const send: SendShared = async (reply, { key, make }) => {
      const text = await texts.get(key, make);
      return text === undefined ? reply.callNotFound() : sendShared(reply, text);
    };

    app.get('/healthz', (_request, reply) => sendText(reply, contentTypes.text, 'ok'));
    app.get('/livez', (_request, reply) => sendText(reply, contentTypes.text, 'ok'));
    app.get('/readyz', (_request, reply) => {
      const isReady = ready();
      return sendText(reply.code(isReady ? 200 : 503), contentTypes.text, isReady ? 'ok' : 'starting');
    });
    app.get('/status.json', (request, reply) => {
      const isOwner = access.hasOwnerToken(request.headers.authorization);
      return send(reply, {
        key: isOwner ? '/status.json of the owner' : '/status.json',
        make: () => sharedText(contentTypes.json, redact(`${JSON.stringify(isOwner ? model.overviewOfOwner() : model.overview())}\n`)),
      });
    });
    for (const [path, parts] of Object.entries(metrics)) {
      const scrape = sharedScrape({ clock, takeTurn: () => takeTurn(path), parts: () => redactedParts(parts(), redact) });
      app.get(path, async (_request, reply) => sendPacked(reply, contentTypes.metrics, await scrape()));
    }
    const pages = addPages(app, { ...this.#options, redact, model, assets, pace, send, access, userApi });
    this.#pages = pages;
    if (token !== undefined || userApi !== undefined) {
      addLogin(app, {
        access,
        log,
        scheme,
        userApi,
        isClosed: token !== undefined,
        port: () => this.#port,
        newOwnerLink: () => this.newLink(),
        newReaderLink: () => `${loginPath}?token=${access.newLink()}`,
        renderForm: pages.renderLogin,
      });
    }
    if (userApi !== undefined) addActions(app, { access, userApi, log, redact });
    for (const [route, mount] of mountByRoute) {
      app.all(route, (_request, reply) => {
        reply.hijack();
        return serveMount(mount, reply, log);
      });
    }
    app.setNotFoundHandler((_request, reply) => sendText(reply.code(404), contentTypes.text, 'There is no such page.\n'));
    app.setErrorHandler((err: FastifyError, request, reply) => {
      const code = err.statusCode ?? 500;
      if (err instanceof Busy) reply.header('Retry-After', String(err.retryAfterSeconds));
      else if (code >= 500) log.error({ err, path: pathOf(request.url) }, 'Could not answer request');
      const text = code >= 500 && !(err instanceof Busy) ? 'The request failed; see the log.' : err.message;
      return sendText(reply.code(code), contentTypes.text, `${text}\n`);
    });
    return app;
  }
}

const unchanged = (text: string): string => text;

async function* redactedParts(parts: AsyncIterable<string>, redact: (text: string) => string): AsyncIterable<string> {
  for await (const part of parts) yield redact(part);
}

const healthRoutes: readonly string[] = ['/healthz', '/livez', '/readyz'];

const secureContextOf = ({ certificate, key }: WebCertificate) => ({ cert: certificate, key, minVersion: 'TLSv1.2' as const });

const addressOf = (scheme: string, host: string, port: number): string => `${scheme}://${host.includes(':') ? `[${host}]` : host}:${port}`;

/** Gives the address at which this machine reaches a server that listens on `address`. */
function localAddressOf(address: string): string {
  if (address === '0.0.0.0') return '127.0.0.1';
  return address === '::' ? '::1' : address;
}

const pathOf = (url: string): string => url.split('?', 1)[0] ?? '/';

function setSecurityHeaders(reply: FastifyReply): void {
  reply.headers({
    'Content-Security-Policy': securityPolicy,
    'X-Content-Type-Options': 'nosniff',
    'X-Frame-Options': 'DENY',
    // Without a referrer browsers hide the origin of forms, which is compared.
    'Referrer-Policy': 'same-origin',
    'Cross-Origin-Resource-Policy': 'same-origin',
    'Cross-Origin-Opener-Policy': 'same-origin',
  });
}

async function serveMount(mount: HttpMount, reply: FastifyReply, log: Log): Promise<void> {
  const { raw, request } = reply;
  try {
    await mount.handle(request.raw, raw);
  } catch (err) {
    log.error({ err, path: pathOf(request.url) }, 'Could not answer request');
    if (raw.headersSent) raw.destroy();
    else raw.writeHead(500, { 'Content-Type': contentTypes.text }).end('The request failed; see the log.\n');
  }
}

/**
 * Makes two Prometheus servers cost one. A text is shared while it is made, and for a second or as long as making it took. So scrapes take
 * half of the time at most. Kept compressed: the text of 5,000 pods is 18 MB, that of 1,000 apps 10 MB.
 */
function sharedScrape({ clock, takeTurn, parts }: ScrapeOptions): () => Promise<Buffer> {
  let last: Promise<Buffer> | undefined;
  return () => {
    if (last !== undefined) return last;
    const startedAt = clock.monotonicMs();
    const next = pack(inTurns(parts(), takeTurn));
    const forget = (): void => {
      last = undefined;
    };
    // A failed collection is passed on to the client that asked, and not kept.
    next.then(() => clock.after(Math.max(metricsMaxAgeMs, clock.monotonicMs() - startedAt), forget), forget);
    last = next;
    return next;
  };
}

interface ScrapeOptions {
  readonly clock: Clock;
  takeTurn(): Promise<void>;
  parts(): AsyncIterable<string>;
}

/** Each part is made in a turn of its own. */
async function* inTurns(parts: AsyncIterable<string>, takeTurn: () => Promise<void>): AsyncIterable<string> {
  await takeTurn();
  for await (const part of parts) {
    yield part;
    await takeTurn();
  }
}

function endUnread({ raw }: FastifyReply, clock: Clock): void {
  raw.once(
    'close',
    clock.after(maxAnswerMs, () => raw.destroy()),
  );
}
