import { randomUUID } from 'node:crypto';
import type { Server } from 'node:http';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { Clock } from '../base/clock.ts';
import type { AppInspection } from '../base/contracts/app-inspection.ts';
import type { Log } from '../base/log.ts';
import type { Access, Session } from './access.ts';
import { contentTypes, refuse, type SharedText, sendShared, sendText, sharedText } from './answers.ts';
import type { Assets } from './assets.ts';
import { badgeOf } from './badge.ts';
import { createLive, type Rendering } from './live.ts';
import { createLogStreams } from './log-streams.ts';
import type { Pace } from './pace.ts';
import type { PageModel } from './page-model.ts';
import { renderDocument, renderRegions, titleOf } from './pages/document.tsx';
import { loginView } from './pages/login.tsx';
import { anyone, type Viewer, type ViewOptions } from './pages/parts.tsx';
import { placeOf, targetOf, viewOf } from './pages/router.ts';
import { createRenderings } from './renderings.ts';
import { createUserAnswers } from './user-answers.ts';
import type { UserApi } from './user-api.ts';

export const streamPath = '/events/stream';
export const logStreamPath = '/logs/:namespace/:pod/stream';

/** Sends a text that is made once for all who ask for it; 404 when there is none. */
export type SendShared = (
  reply: FastifyReply,
  text: { readonly key: string; readonly make: () => SharedText | undefined },
) => Promise<unknown>;

export interface PagesOptions {
  readonly model: PageModel;
  readonly assets: Assets;
  readonly pace: Pace;
  readonly send: SendShared;
  readonly access: Access;
  readonly userApi: UserApi | undefined;
  readonly clock: Clock;
  readonly log: Log;
  readonly clusterName: string;
  readonly version: string;
  readonly grafanaUrl?: string | undefined;
  redact(text: string): string;
  inspection?(): AppInspection | undefined;
}

export interface Pages {
  /** The page by which users log in; `problem` is empty at first. */
  renderLogin(request: FastifyRequest, problem: string): string;
  close(): void;
}

/** Longest path of a page; names of objects have at most 253 characters. */
const maxPathLength = 1_024;
const pagePaths = ['/', '/objects', '/find', '/events', '/steps', '/apps/:namespace/:name', '/nodes/:name', '/logs/:namespace/:pod'];

/** Pages as people see them, the stream that keeps them up to date, and what they are made of. */
export function addPages(app: FastifyInstance<Server>, options: PagesOptions): Pages {
  const { model, assets, pace, send, access, userApi, clock, log, clusterName, version, grafanaUrl, redact } = options;
  const inspection = options.inspection ?? (() => undefined);
  const answerOf = userApi === undefined ? undefined : createUserAnswers({ model, userApi, inspection, clock });
  const logStreams = userApi === undefined ? undefined : createLogStreams({ userApi, clock, log, redact });
  const stranger: Viewer = { ...anyone, canLogIn: userApi !== undefined };
  /** Regions are the same for all users: they have no name and no secret. */
  const someUser: Viewer = { ...stranger, isUser: true };

  const sessionOf = ({ headers, ip }: FastifyRequest): Session | undefined => access.session(headers.cookie, ip);
  const viewerOf = (session: Session | undefined): Viewer =>
    session?.identity === undefined ? stranger : { ...someUser, name: session.identity.name, formToken: session.formToken };

  interface Wanted extends ViewOptions {
    readonly target: string;
    readonly theme: 'light' | 'dark' | undefined;
  }
  const renderPage = ({ target, theme, ...view }: Wanted): string | undefined => {
    const shown = viewOf(model, target, { ...view, grafanaUrl });
    if (shown === undefined) return undefined;
    const common = { source: model.source(), clusterName, version, now: clock.now(), theme, assets };
    return redact(renderDocument({ ...common, view: shown, viewer: view.viewer }));
  };

  const regions = createRenderings<Rendering | undefined>({ pace, clock });
  const live = createLive({
    render: (channel) =>
      regions.renew(channel, () => {
        const { viewer, target } = channelParts(channel, { stranger, someUser });
        const view = viewOf(model, target, { viewer, grafanaUrl });
        if (view === undefined) return undefined;
        const rendered = [...renderRegions(view, model.source())].map(([name, html]) => [name, redact(html)] as const);
        return { title: redact(titleOf(view, clusterName)), regions: new Map(rendered) };
      }),
    onChange: (listener) => model.onChange(listener),
    clock,
    bootId: randomUUID().slice(0, 8),
  });

  for (const path of pagePaths) {
    app.get(path, async (request, reply) => {
      const target = tryTarget(request.url);
      if (target === undefined) return reply.callNotFound();
      const theme = themeOf(request.headers.cookie);
      const session = sessionOf(request);
      const viewer = viewerOf(session);
      if (session?.identity === undefined) {
        const make = (): SharedText | undefined => htmlOf(renderPage({ target, theme, viewer }));
        return send(reply, { key: `${theme} ${target}`, make });
      }
      // Made for this user alone: it has the user's name, the secret of the forms, and what the API let the user read.
      const answer = await answerOf?.(target, session.identity);
      const html = htmlOf(await pace.run(() => renderPage({ target, theme, viewer, answer })));
      return html === undefined ? reply.callNotFound() : sendShared(reply, html);
    });
  }
  // HEAD would hold a place and never be answered.
  app.get<{ Querystring: { path?: unknown } }>(streamPath, { exposeHeadRoute: false }, async (request, reply) => {
    const { path } = request.query;
    const lastEventId = request.headers['last-event-id'];
    const target = typeof path === 'string' ? tryTarget(path) : undefined;
    const session = sessionOf(request);
    const isConnected =
      target !== undefined &&
      (await live.connect({
        path: channelOf(session, target),
        lastEventId: typeof lastEventId === 'string' ? lastEventId : undefined,
        response: reply.raw,
        address: request.ip,
      }));
    if (!isConnected) return refuse(reply, 404, 'There is no such page.');
    endWithSession(session, reply);
    return reply.hijack();
  });
  app.get(logStreamPath, { exposeHeadRoute: false }, (request, reply) => {
    const { identity, endsAt } = sessionOf(request) ?? {};
    if (logStreams === undefined || identity === undefined || endsAt === undefined) {
      return refuse(reply, 401, 'Log in as a user of the API first: /login');
    }
    const place = placeOf(tryTarget(request.url.replace('/stream', '')) ?? '');
    const pod = place?.page === 'log' ? model.pod(place.namespace, place.pod) : undefined;
    if (place?.page !== 'log' || pod === undefined) return reply.callNotFound();
    const { container, tailLines, previous } = place;
    const wanted = { pod, container: container === '' ? (pod.containers[0]?.name ?? '') : container, tailLines, previous };
    logStreams.follow({ identity, endsAt, log: wanted, response: reply.raw });
    return reply.hijack();
  });
  app.get<{ Params: { namespace: string; file: string } }>('/badge/:namespace/:file', (request, reply) => {
    const { namespace, file } = request.params;
    if (!file.endsWith('.svg') || file.length > maxPathLength) return reply.callNotFound();
    // A README on another site may show it.
    reply.header('Cross-Origin-Resource-Policy', 'cross-origin');
    return send(reply, {
      key: `/badge/${namespace}/${file}`,
      make() {
        const shown = model.app(namespace, file.slice(0, -'.svg'.length));
        return shown === undefined ? undefined : sharedText(contentTypes.svg, badgeOf(shown.overview));
      },
    });
  });
  app.get('/assets/:file', (request, reply) => {
    const asset = assets.byPath.get(request.url.split('?', 1)[0] ?? '');
    if (asset === undefined) return reply.callNotFound();
    reply.header('Cache-Control', 'public, max-age=31536000, immutable');
    return sendText(reply, asset.type, asset.text);
  });

  /** A page that stays open is not read for longer than its session lasts. */
  function endWithSession(session: Session | undefined, reply: FastifyReply): void {
    // A client that has left meanwhile closes no more: its timer would keep the process from ending.
    if (session === undefined || reply.raw.destroyed) return;
    const cancel = clock.after(session.endsAt - clock.monotonicMs(), () => reply.raw.end());
    reply.raw.once('close', cancel);
  }

  return {
    renderLogin(request, problem) {
      const viewer = viewerOf(sessionOf(request));
      const common = { source: model.source(), clusterName, version, now: clock.now(), theme: themeOf(request.headers.cookie), assets };
      return redact(renderDocument({ ...common, view: loginView(viewer, problem), viewer }));
    },
    close() {
      live.close();
      logStreams?.close();
    },
  };
}

const htmlOf = (html: string | undefined): SharedText | undefined => (html === undefined ? undefined : sharedText(contentTypes.html, html));

/** All users share the regions of a page, and so do all others. */
const channelOf = (session: Session | undefined, target: string): string =>
  `${session?.identity === undefined ? 'anyone' : 'user'} ${target}`;

function channelParts(channel: string, viewers: { readonly stranger: Viewer; readonly someUser: Viewer }) {
  const space = channel.indexOf(' ');
  return { viewer: channel.slice(0, space) === 'user' ? viewers.someUser : viewers.stranger, target: channel.slice(space + 1) };
}

const tryTarget = (url: string): string | undefined => (url.length > maxPathLength ? undefined : targetOf(url));

function themeOf(cookie: string | undefined): 'light' | 'dark' | undefined {
  const value = /(?:^|;\s*)theme=(light|dark)(?:;|$)/.exec(cookie ?? '')?.[1];
  return value === 'light' || value === 'dark' ? value : undefined;
}
