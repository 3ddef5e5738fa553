import { randomUUID } from 'node:crypto';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Server as TlsServer } from 'node:tls';
import { type FastifyError, type FastifyInstance, type FastifyReply, type FastifyRequest, fastify } from 'fastify';
import type { Clock } from '../base/clock.ts';
import type { Component } from '../base/component.ts';
import type { ActivityFeed } from '../base/contracts/activity.ts';
import type { HttpMount } from '../base/contracts/http-mount.ts';
import type { Log } from '../base/log.ts';
import type { TurnGate } from '../base/turn-gate.ts';
import { createTurns } from '../base/turns.ts';
import { withoutSchemas } from '../base/without-schemas.ts';
import type { InformerSet } from '../client/informer.ts';
import type { StepLog } from '../reconcile/step-log.ts';
import { type Access, cookieName, createAccess, sessionMs } from './access.ts';
import { contentTypes, pack, type SharedText, sendPacked, sendShared, sendText, sharedText } from './answers.ts';
import { type Assets, readAssets } from './assets.ts';
import { badgeOf } from './badge.ts';
import { boundConnections } from './connections.ts';
import { createLive, type Live, type Rendering } from './live.ts';
import { Busy, createPace, type Pace } from './pace.ts';
import { createPageModel, type PageModel } from './page-model.ts';
import { renderDocument, renderRegions, titleOf } from './pages/document.tsx';
import { targetOf, viewOf } from './pages/router.ts';
import { createRenderings } from './renderings.ts';
import { refusalOf } from './request-guard.ts';

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
  /** Speaks TLS alone, with this certificate. */
  readonly tls?: WebCertificate;
  /** Shared with everything else that runs long in this event loop. */
  readonly gate: TurnGate;
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
  /** Path of the page: with a login one that is good for logging in once. */
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

/** Longest path of a page; names of objects have at most 253 characters. */
const maxPathLength = 1_024;
const loginPath = '/login';
const streamPath = '/events/stream';
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
  readonly #access: Access | undefined;
  #url = '';
  #port = 0;
  #live: Live | undefined;

  constructor(options: WebOptions) {
    this.#options = options;
    const { token, clock } = options;
    this.#access = token === undefined ? undefined : createAccess({ token, clock, port: () => this.#port });
  }

  get #scheme(): 'http' | 'https' {
    return this.#options.tls === undefined ? 'http' : 'https';
  }

  get url(): string {
    return this.#url;
  }

  newLink(): string {
    return this.#access === undefined ? '/' : `${loginPath}?token=${this.#access.newLink()}`;
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
    this.#live?.close();
    const cancel = this.#options.clock.after(drainMs, () => app.server.closeAllConnections());
    try {
      await app.close();
    } finally {
      cancel();
    }
  }

  #createApp(assets: Assets): FastifyInstance<Server> {
    const { informers, activity, steps, mounts, metrics, log, clock, ready, address, names = [], gate, tls } = this.#options;
    const { redact = unchanged } = this.#options;
    const access = this.#access;
    const turns = createTurns({ gate, maxWaiting: 2 * maxConnections });
    const takeTurn = (flow: string): Promise<void> => turns.take(flow) ?? Promise.reject(new Busy());
    const model = createPageModel({ informers, activity, steps });
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
    boundConnections(app.server, {
      max: maxConnections,
      maxOfAddress: maxConnectionsOfAddress,
      isKept: ({ url = '' }) => mounts.some(({ prefix }) => url.startsWith(prefix)),
    });
    // Nothing here reads a body but the mounts, and those read the stream themselves.
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
      if (refusal !== undefined) return refuse(request, reply, 403, refusal);
      if (access !== undefined && !openRoutes.has(route)) {
        const { authorization, cookie } = request.headers;
        const isWelcome = access.hasToken(authorization) || access.sessionEnd(cookie, request.ip) !== undefined;
        if (!isWelcome) return refuseLogin(request, reply, access, { isAttempt: authorization !== undefined, log });
      }
      const isWaiting = !mountByRoute.has(route) && !healthRoutes.includes(route) && (turns.waiting > 0 || !gate.isOpen());
      if (isWaiting) await takeTurn(request.ip);
      if (!mountByRoute.has(route) && route !== streamPath) endUnread(reply, clock);
      return undefined;
    });

    const pace = createPace({ clock, takeTurn: () => takeTurn('pages') });
    const texts = createRenderings<SharedText | undefined>({ pace, clock });
    const send = async (
      request: FastifyRequest,
      reply: FastifyReply,
      { key, make }: { readonly key: string; readonly make: () => SharedText | undefined },
    ): Promise<unknown> => {
      const text = await texts.get(key, make);
      return text === undefined ? reply.callNotFound() : sendShared(request, reply, text);
    };

    app.get('/healthz', (request, reply) => sendText(request, reply, contentTypes.text, 'ok'));
    app.get('/livez', (request, reply) => sendText(request, reply, contentTypes.text, 'ok'));
    app.get('/readyz', (request, reply) => {
      const isReady = ready();
      return sendText(request, reply.code(isReady ? 200 : 503), contentTypes.text, isReady ? 'ok' : 'starting');
    });
    app.get('/status.json', (request, reply) =>
      send(request, reply, {
        key: '/status.json',
        make: () => sharedText(contentTypes.json, redact(`${JSON.stringify(model.overview())}\n`)),
      }),
    );
    for (const [path, parts] of Object.entries(metrics)) {
      const scrape = sharedScrape({ clock, takeTurn: () => takeTurn(path), parts: () => redactedParts(parts(), redact) });
      app.get(path, async (request, reply) => sendPacked(request, reply, contentTypes.metrics, await scrape()));
    }
    if (access !== undefined) this.#addLogin(app, access);
    this.#addPages({ app, model, assets, pace, send });
    for (const [route, mount] of mountByRoute) {
      app.all(route, (request, reply) => {
        reply.hijack();
        return serveMount(mount, request, reply, log);
      });
    }
    app.setNotFoundHandler((request, reply) => sendText(request, reply.code(404), contentTypes.text, 'There is no such page.\n'));
    app.setErrorHandler((err: FastifyError, request, reply) => {
      const code = err.statusCode ?? 500;
      if (err instanceof Busy) reply.header('Retry-After', String(err.retryAfterSeconds));
      else if (code >= 500) log.error({ err, path: pathOf(request.url) }, 'Could not answer request');
      const text = code >= 500 && !(err instanceof Busy) ? 'The request failed; see the log.' : err.message;
      return sendText(request, reply.code(code), contentTypes.text, `${text}\n`);
    });
    return app;
  }

  #addLogin(app: FastifyInstance<Server>, access: Access): void {
    const { log } = this.#options;
    // HEAD, which a preview may send, would use up the link.
    app.get<{ Querystring: { token?: unknown } }>(loginPath, { exposeHeadRoute: false }, (request, reply) => {
      const { token } = request.query;
      const session = typeof token === 'string' ? access.logIn(token, request.ip) : undefined;
      const isLoggedIn = session !== undefined || access.sessionEnd(request.headers.cookie, request.ip) !== undefined;
      if (!isLoggedIn) return refuseLogin(request, reply, access, { isAttempt: token !== undefined, log });
      if (session !== undefined) {
        const cookie = `${cookieName(this.#port)}=${session}; Path=/; Max-Age=${sessionMs / 1_000}; HttpOnly; SameSite=Strict${this.#scheme === 'https' ? '; Secure' : ''}`;
        reply.header('Set-Cookie', cookie);
      }
      // Away from the address that carries the secret, and nowhere else than here.
      return sendText(request, reply.code(303).header('Location', '/'), contentTypes.text, 'Logged in.\n');
    });
    app.post(`${loginPath}/links`, (request, reply) => {
      // A session must not make more sessions: it would never end.
      if (!access.hasToken(request.headers.authorization)) return refuse(request, reply, 403, 'Only the token of the page makes links.');
      return sendText(request, reply.code(201), contentTypes.json, `${JSON.stringify({ path: this.newLink() })}\n`);
    });
  }

  #addPages({ app, model, assets, pace, send }: PagesOptions): void {
    const { clock, clusterName, version, redact = unchanged } = this.#options;
    const regions = createRenderings<Rendering | undefined>({ pace, clock });
    const live = createLive({
      render: (path) =>
        regions.renew(path, () => {
          const view = viewOf(model, path);
          if (view === undefined) return undefined;
          const rendered = [...renderRegions(view, model.source())].map(([name, html]) => [name, redact(html)] as const);
          return { title: redact(titleOf(view, clusterName)), regions: new Map(rendered) };
        }),
      onChange: (listener) => model.onChange(listener),
      clock,
      bootId: randomUUID().slice(0, 8),
    });
    this.#live = live;
    for (const path of ['/', '/events', '/steps', '/apps/:namespace/:name', '/nodes/:name']) {
      app.get(path, (request, reply) => {
        const target = tryTarget(request.url);
        if (target === undefined) return reply.callNotFound();
        const theme = themeOf(request.headers.cookie);
        return send(request, reply, {
          key: `${theme} ${target}`,
          make() {
            const view = viewOf(model, target);
            if (view === undefined) return undefined;
            const html = renderDocument({ view, source: model.source(), clusterName, version, now: clock.now(), theme, assets });
            return sharedText(contentTypes.html, redact(html));
          },
        });
      });
    }
    // HEAD would hold a place and never be answered.
    app.get<{ Querystring: { path?: unknown } }>(streamPath, { exposeHeadRoute: false }, async (request, reply) => {
      const { path } = request.query;
      const lastEventId = request.headers['last-event-id'];
      const target = typeof path === 'string' ? tryTarget(path) : undefined;
      const isConnected =
        target !== undefined &&
        (await live.connect({
          path: target,
          lastEventId: typeof lastEventId === 'string' ? lastEventId : undefined,
          response: reply.raw,
          address: request.ip,
        }));
      if (!isConnected) return refuse(request, reply, 404, 'There is no such page.');
      this.#endWithSession(request, reply);
      return reply.hijack();
    });
    app.get<{ Params: { namespace: string; file: string } }>('/badge/:namespace/:file', (request, reply) => {
      const { namespace, file } = request.params;
      if (!file.endsWith('.svg') || file.length > maxPathLength) return reply.callNotFound();
      // A README on another site may show it.
      reply.header('Cross-Origin-Resource-Policy', 'cross-origin');
      return send(request, reply, {
        key: `/badge/${namespace}/${file}`,
        make() {
          const shown = model.app(namespace, file.slice(0, -'.svg'.length));
          return shown === undefined ? undefined : sharedText(contentTypes.svg, badgeOf(shown.overview));
        },
      });
    });
    app.get('/assets/:file', (request, reply) => {
      const asset = assets.byPath.get(pathOf(request.url));
      if (asset === undefined) return reply.callNotFound();
      reply.header('Cache-Control', 'public, max-age=31536000, immutable');
      return sendText(request, reply, asset.type, asset.text);
    });
  }

  /** A page that stays open is not read for longer than its session lasts. */
  #endWithSession(request: FastifyRequest, reply: FastifyReply): void {
    const { clock } = this.#options;
    const endsAt = this.#access?.sessionEnd(request.headers.cookie, request.ip);
    if (endsAt === undefined) return;
    const cancel = clock.after(endsAt - clock.monotonicMs(), () => reply.raw.end());
    reply.raw.once('close', cancel);
  }
}

const unchanged = (text: string): string => text;

async function* redactedParts(parts: AsyncIterable<string>, redact: (text: string) => string): AsyncIterable<string> {
  for await (const part of parts) yield redact(part);
}

interface PagesOptions {
  readonly app: FastifyInstance<Server>;
  readonly model: PageModel;
  readonly assets: Assets;
  readonly pace: Pace;
  send(
    request: FastifyRequest,
    reply: FastifyReply,
    text: { readonly key: string; readonly make: () => SharedText | undefined },
  ): Promise<unknown>;
}

const healthRoutes: readonly string[] = ['/healthz', '/livez', '/readyz'];

const secureContextOf = ({ certificate, key }: WebCertificate) => ({ cert: certificate, key, minVersion: 'TLSv1.2' as const });

const addressOf = (scheme: string, host: string, port: number): string => `${scheme}://${host.includes(':') ? `[${host}]` : host}:${port}`;

/** Gives the address at which this machine reaches a server that listens on `address`. */
function localAddressOf(address: string): string {
  if (address === '0.0.0.0') return '127.0.0.1';
  return address === '::' ? '::1' : address;
}

/** True when only this machine reaches a server that listens on `address`. */
export const isLoopback = (address: string): boolean =>
  address === 'localhost' || address === '::1' || /^127\.\d+\.\d+\.\d+$/.test(address);

const pathOf = (url: string): string => url.split('?', 1)[0] ?? '/';

function themeOf(cookie: string | undefined): 'light' | 'dark' | undefined {
  const value = /(?:^|;\s*)theme=(light|dark)(?:;|$)/.exec(cookie ?? '')?.[1];
  return value === 'light' || value === 'dark' ? value : undefined;
}

function setSecurityHeaders(reply: FastifyReply): void {
  reply.headers({
    'Content-Security-Policy': securityPolicy,
    'X-Content-Type-Options': 'nosniff',
    'X-Frame-Options': 'DENY',
    'Referrer-Policy': 'no-referrer',
    'Cross-Origin-Resource-Policy': 'same-origin',
    'Cross-Origin-Opener-Policy': 'same-origin',
  });
}

const tryTarget = (url: string): string | undefined => (url.length > maxPathLength ? undefined : targetOf(url));

const refuse = (request: FastifyRequest, reply: FastifyReply, code: number, text: string): Promise<FastifyReply> =>
  sendText(request, reply.code(code), contentTypes.text, `${text}\n`);

async function serveMount(mount: HttpMount, request: FastifyRequest, reply: FastifyReply, log: Log): Promise<void> {
  const { raw } = reply;
  try {
    await mount.handle(request.raw, raw);
  } catch (err) {
    log.error({ err, path: pathOf(request.url) }, 'Could not answer request');
    if (raw.headersSent) raw.destroy();
    else raw.writeHead(500, { 'Content-Type': contentTypes.text }).end('The request failed; see the log.\n');
  }
}

/**
 * Makes two Prometheus servers cost one. A text is shared while it is made, and for a second or as long as making it took, so that
 * scrapes take half of the time at most. Kept compressed: the text of 5,000 pods is 18 MB, that of 1,000 apps 10 MB.
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

/** Says how to log in; a wrong token or link is counted, and too many are too many. */
function refuseLogin(
  request: FastifyRequest,
  reply: FastifyReply,
  access: Access,
  { isAttempt, log }: { readonly isAttempt: boolean; readonly log: Log },
): Promise<FastifyReply> {
  if (isAttempt && access.failed(request.ip)) {
    return refuse(request, reply.header('Retry-After', '60'), 429, 'Too many wrong tokens and links; try again in a minute.');
  }
  if (isAttempt) log.warn({ address: request.ip }, 'Refused login');
  reply.header('WWW-Authenticate', 'Bearer realm="midship"');
  return refuse(
    request,
    reply,
    401,
    'The page asks for a login: run "midship page-url" on its machine, and open the link that it prints.\nPrograms send the token of the file page-token in its data directory as a bearer token.',
  );
}
