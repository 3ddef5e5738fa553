import { randomUUID, timingSafeEqual } from 'node:crypto';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type FastifyError, type FastifyInstance, type FastifyReply, type FastifyRequest, fastify } from 'fastify';
import type { ActivityFeed } from '../base/activity.ts';
import type { Clock } from '../base/clock.ts';
import type { Component } from '../base/component.ts';
import type { HttpMount } from '../base/http-mount.ts';
import type { Log } from '../base/log.ts';
import { withoutSchemas } from '../base/without-schemas.ts';
import type { InformerSet } from '../client/informer.ts';
import type { StepLog } from '../reconcile/step-log.ts';
import { contentTypes, pack, sendPacked, sendText } from './answers.ts';
import { type Assets, readAssets } from './assets.ts';
import { badgeOf } from './badge.ts';
import { boundConnections } from './connections.ts';
import { createLive, type Live } from './live.ts';
import { createPageModel, type PageModel } from './page-model.ts';
import { renderDocument, renderRegions, titleOf } from './pages/document.tsx';
import { viewOf } from './pages/router.ts';
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
  /** Whether the cluster does its work: `/readyz`. */
  ready(): boolean;
  readonly clock: Clock;
  readonly log: Log;
  readonly clusterName: string;
  /** Of the program: `0.1.0`. */
  readonly version: string;
  /** Needed to serve on anything but loopback: sent as a bearer token or as the password of basic authentication. */
  readonly token?: string;
}

/** The status page, its data, metrics and what other components mount, on plain HTTP. */
export interface Web extends Component {
  /** `http://HOST:PORT`; known once started. */
  readonly url: string;
}

const maxConnections = 1_000;
const maxConnectionsOfAddress = 256;
const headersTimeoutMs = 10_000;
/** How often connections are looked through for those whose headers do not come. */
const checkConnectionsMs = 5_000;
/** A push may be slow; its handler has a bound of its own. */
const requestTimeoutMs = 300_000;
const metricsMaxAgeMs = 1_000;
const drainMs = 5_000;

/** Of the path of a page; names of objects have at most 253 characters. */
const maxPathLength = 1_024;

const securityPolicy =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

export function createWeb(options: WebOptions): Web {
  return new HttpWeb(options);
}

class HttpWeb implements Web {
  readonly name = 'web';
  readonly #options: WebOptions;
  #app: FastifyInstance<Server> | undefined;
  #url = '';
  #live: Live | undefined;

  constructor(options: WebOptions) {
    this.#options = options;
  }

  get url(): string {
    return this.#url;
  }

  async start({ signal }: { readonly signal: AbortSignal }): Promise<void> {
    const { address, port, token } = this.#options;
    if (token === undefined && !isLoopback(address)) {
      throw Object.assign(new Error(`serve the status page on ${address} without a token`), {
        hint: 'Serve it on 127.0.0.1, or set a token.',
      });
    }
    const app = this.#createApp(await readAssets());
    this.#app = app;
    signal.throwIfAborted();
    await app.listen({ host: address, port });
    const { port: actualPort } = app.server.address() as AddressInfo;
    this.#url = `http://${address.includes(':') ? `[${address}]` : address}:${actualPort}`;
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
    const { informers, activity, steps, mounts, metrics, log, clock, token, ready } = this.#options;
    const model = createPageModel({ informers, activity, steps });
    const app = fastify({
      ...withoutSchemas,
      logger: false,
      requestTimeout: requestTimeoutMs,
      forceCloseConnections: 'idle',
      return503OnClosing: true,
      http: { headersTimeout: headersTimeoutMs, connectionsCheckingInterval: checkConnectionsMs, requireHostHeader: true },
    }) as unknown as FastifyInstance<Server>;
    boundConnections(app.server, {
      max: maxConnections,
      maxOfAddress: maxConnectionsOfAddress,
      isKept: ({ url = '' }) => mounts.some(({ prefix }) => url.startsWith(prefix)),
    });
    // Nothing here reads a body but the mounts, and those read the stream themselves.
    app.removeAllContentTypeParsers();
    app.addContentTypeParser('*', (_request, _payload, done) => done(null));

    app.addHook('onRequest', async (request, reply) => {
      setSecurityHeaders(reply);
      const acceptsAnyHost = mountOf(request.url, mounts)?.acceptsAnyHost === true;
      const refusal = acceptsAnyHost ? undefined : refusalOf({ headers: request.headers, localAddress: request.raw.socket.localAddress });
      if (refusal !== undefined) return refuse(request, reply, 403, refusal);
      if (token === undefined || isOpen(request.url, mounts) || hasToken(request, token)) return undefined;
      reply.header('WWW-Authenticate', 'Basic realm="midship"');
      return refuse(request, reply, 401, 'The status page needs its token.');
    });

    app.get('/healthz', (request, reply) => sendText(request, reply, contentTypes.text, 'ok'));
    app.get('/livez', (request, reply) => sendText(request, reply, contentTypes.text, 'ok'));
    app.get('/readyz', (request, reply) => {
      const isReady = ready();
      return sendText(request, reply.code(isReady ? 200 : 503), contentTypes.text, isReady ? 'ok' : 'starting');
    });
    app.get('/status.json', (request, reply) => sendText(request, reply, contentTypes.json, `${JSON.stringify(model.overview())}\n`));
    for (const [path, parts] of Object.entries(metrics)) {
      const cached = cachedFor(metricsMaxAgeMs, clock, parts);
      app.get(path, async (request, reply) => sendPacked(request, reply, contentTypes.metrics, await cached()));
    }
    this.#addPages(app, model, assets);
    for (const mount of mounts) {
      app.all(`${mount.prefix}*`, (request, reply) => {
        reply.hijack();
        return serveMount(mount, request, reply, log);
      });
    }
    app.setNotFoundHandler((request, reply) => sendText(request, reply.code(404), contentTypes.text, 'There is no such page.\n'));
    app.setErrorHandler((err: FastifyError, request, reply) => {
      const code = err.statusCode ?? 500;
      if (code >= 500) log.error({ err, path: pathOf(request.url) }, 'Could not answer request');
      return sendText(
        request,
        reply.code(code),
        contentTypes.text,
        code >= 500 ? 'The request failed; see the log.\n' : `${err.message}\n`,
      );
    });
    return app;
  }

  #addPages(app: FastifyInstance<Server>, model: PageModel, assets: Assets): void {
    const { clock, clusterName, version } = this.#options;
    const live = createLive({
      render(path) {
        const view = viewOf(model, path);
        return view === undefined ? undefined : { title: titleOf(view, clusterName), regions: renderRegions(view, model.source()) };
      },
      onChange: (listener) => model.onChange(listener),
      clock,
      bootId: randomUUID().slice(0, 8),
    });
    this.#live = live;
    for (const path of ['/', '/events', '/steps', '/apps/:namespace/:name', '/nodes/:name']) {
      app.get(path, (request, reply) => {
        const view = viewOf(model, request.url);
        if (view === undefined) return reply.callNotFound();
        const theme = themeOf(request.headers.cookie);
        const html = renderDocument({ view, source: model.source(), clusterName, version, now: clock.now(), theme, assets });
        return sendText(request, reply, contentTypes.html, html);
      });
    }
    // HEAD would hold a place and never be answered.
    app.get<{ Querystring: { path?: unknown } }>('/events/stream', { exposeHeadRoute: false }, (request, reply) => {
      const { path } = request.query;
      const lastEventId = request.headers['last-event-id'];
      const isConnected =
        typeof path === 'string' &&
        path.length <= maxPathLength &&
        live.connect({ path, lastEventId: typeof lastEventId === 'string' ? lastEventId : undefined, response: reply.raw });
      if (!isConnected) return refuse(request, reply, 404, 'There is no such page, or too many are open.');
      return reply.hijack();
    });
    app.get<{ Params: { namespace: string; file: string } }>('/badge/:namespace/:file', (request, reply) => {
      const { namespace, file } = request.params;
      const shown = file.endsWith('.svg') ? model.app(namespace, file.slice(0, -'.svg'.length)) : undefined;
      if (shown === undefined) return reply.callNotFound();
      // A README on another site may show it.
      reply.header('Cross-Origin-Resource-Policy', 'cross-origin');
      return sendText(request, reply, contentTypes.svg, badgeOf(shown.overview));
    });
    app.get('/assets/:file', (request, reply) => {
      const asset = assets.byPath.get(pathOf(request.url));
      if (asset === undefined) return reply.callNotFound();
      reply.header('Cache-Control', 'public, max-age=31536000, immutable');
      return sendText(request, reply, asset.type, asset.text);
    });
  }
}

const isLoopback = (address: string): boolean => address === 'localhost' || address === '::1' || /^127\.\d+\.\d+\.\d+$/.test(address);

/** Health, and mounts, which authenticate by themselves, need no token. */
function isOpen(url: string, mounts: readonly HttpMount[]): boolean {
  const path = pathOf(url);
  return path === '/healthz' || path === '/livez' || path === '/readyz' || mountOf(url, mounts) !== undefined;
}

const mountOf = (url: string, mounts: readonly HttpMount[]): HttpMount | undefined =>
  mounts.find(({ prefix }) => pathOf(url).startsWith(prefix));

const pathOf = (url: string): string => url.split('?', 1)[0] ?? '/';

function themeOf(cookie: string | undefined): 'light' | 'dark' | undefined {
  const value = /(?:^|;\s*)theme=(light|dark)(?:;|$)/.exec(cookie ?? '')?.[1];
  return value === 'light' || value === 'dark' ? value : undefined;
}

function hasToken({ headers }: FastifyRequest, token: string): boolean {
  const [scheme = '', value = ''] = (headers.authorization ?? '').split(' ');
  let given = '';
  if (/^bearer$/i.test(scheme)) given = value;
  if (/^basic$/i.test(scheme))
    given = Buffer.from(value, 'base64')
      .toString()
      .replace(/^[^:]*:/, '');
  const [a, b] = [Buffer.from(given), Buffer.from(token)];
  return a.length === b.length && timingSafeEqual(a, b);
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

/** Two Prometheus servers cost one. Kept compressed: the text of 5,000 pods is 18 MB, that of 1,000 apps 10 MB. */
function cachedFor(maxAgeMs: number, clock: Clock, parts: () => AsyncIterable<string>): () => Promise<Buffer> {
  let last: { readonly packed: Promise<Buffer>; readonly at: number } | undefined;
  return () => {
    const now = clock.monotonicMs();
    if (last === undefined || now - last.at > maxAgeMs) {
      const next = { packed: pack(parts()), at: now };
      const forget = (): void => {
        if (last === next) last = undefined;
      };
      // It goes when it is old, not when the next one is asked for. A failed collection is passed on to who asked, and not kept at all.
      next.packed.then(() => clock.after(maxAgeMs, forget), forget);
      last = next;
    }
    return last.packed;
  };
}
