import { randomUUID } from 'node:crypto';
import { type IncomingMessage, METHODS } from 'node:http';
import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { Clock } from '../../base/clock.ts';
import type { HttpMount } from '../../base/contracts/http-mount.ts';
import type { Log } from '../../base/log.ts';
import { isStatusError } from '../../machinery/status-error.ts';
import { type Authenticator, isAnonymous } from '../http/authentication.ts';
import { negotiate, type Representation } from '../http/content-negotiation.ts';
import { startDeadline } from '../http/deadline.ts';
import { kindOf, labelsOf } from '../http/dispatch.ts';
import { impersonatedUser } from '../http/impersonation.ts';
import type { RequestMetrics } from '../http/request-metrics.ts';
import { parseTarget } from '../http/request-target.ts';
import { limitRest, sendError, statusErrorOf } from '../http/respond.ts';
import type { Upgrade } from '../http/upgrade.ts';
import type { KubeApi } from '../kube-api.ts';
import type { UserInfo } from '../user.ts';
import type { AuditTrail } from './audit-trail.ts';
import { attributesOfExchange, type Exchange, isKnown } from './exchange.ts';
import { frameworkErrorOf } from './malformed-requests.ts';
import { answerPath, type PathParts } from './paths.ts';
import type { ResourceRequests } from './resource-requests.ts';
import type { RequestTurns } from './turns.ts';

export interface RequestLifeOptions {
  readonly kubeApi: KubeApi;
  readonly authenticator: Authenticator;
  readonly turns: RequestTurns;
  readonly audit: AuditTrail;
  readonly resources: ResourceRequests;
  readonly paths: PathParts;
  readonly metrics: RequestMetrics;
  readonly upgrades: WeakMap<IncomingMessage, Upgrade>;
  readonly mount: HttpMount | undefined;
  readonly stopping: AbortSignal;
  readonly clock: Clock;
  readonly log: Log;
}

/** A request of the framework, with the exchange that its first hook made. */
type Request = FastifyRequest & { exchange: Exchange | undefined };

/** For running requests when the server stops. */
const drainMs = 10_000;

/**
 * The life of a request: `receive`, `authenticate`, `takeTurn`, then the body is read, `answer`, and `leave` when its connection is done
 * with it. An error of any stage is answered by `refuse`.
 */
export class RequestLife {
  readonly #options: RequestLifeOptions;
  #active = 0;
  #onIdle: () => void = () => undefined;

  constructor(options: RequestLifeOptions) {
    this.#options = options;
  }

  addTo(app: FastifyInstance): void {
    app.decorateRequest('exchange', undefined);
    app.addHook('onRequest', (request, reply, done) => {
      this.#receive(request as Request, reply);
      done();
    });
    app.addHook(
      'onRequest',
      hookOf((exchange) => this.#authenticate(exchange)),
    );
    app.addHook(
      'onRequest',
      hookOf((exchange) => this.#takeTurn(exchange)),
    );
    app.setErrorHandler<FastifyError>((err, request, reply) => this.refuse(err, request, reply));
    // The framework would answer methods that it does not know by itself, with 404.
    for (const method of METHODS) if (!app.supportedMethods.includes(method)) app.addHttpMethod(method);
    // Paths of the API are read by `parseTarget`: a router would decode them, and what is authorized must be what is served.
    app.all('*', (request, reply) => this.#answer(request as Request, reply));
    const { mount } = this.#options;
    if (mount === undefined) return;
    app.register((scope, _options, done) => {
      // It reads the body as it comes: a push is larger than any object.
      scope.removeAllContentTypeParsers();
      scope.addContentTypeParser('*', (_request, _payload, isRead) => isRead(null));
      scope.all(`${mount.prefix}*`, (request, reply) => this.#answerBy(mount, request as Request, reply));
      done();
    });
  }

  /** Reads what is asked for from the path alone. */
  #receive(request: Request, { raw: response }: FastifyReply): void {
    const { kubeApi, clock, metrics, upgrades, resources, mount, stopping } = this.#options;
    const { raw } = request;
    this.#active += 1;
    // The framework's own hook knows only answers that were sent to the end.
    response.once('close', () => this.#leave(request.exchange));
    response.setHeader('audit-id', auditIdOf(raw));
    response.setHeader('cache-control', 'no-cache, private');
    if (stopping.aborted) response.setHeader('connection', 'close');
    const [path, queryText] = splitUrl(raw.url ?? '/');
    const query = new URLSearchParams(queryText);
    const target = parseTarget(path);
    const kind = target.type === 'resource' ? kindOf(kubeApi.kinds, target) : undefined;
    const method = raw.method ?? 'GET';
    const labels = labelsOf({ method, target, query, kind, contentType: raw.headers['content-type'] });
    const upgrade = upgrades.get(raw);
    // A change of protocol is long where another server makes it. Here only the listed ones are upgraded; others fail.
    const isPassedOn = upgrade !== undefined && target.type === 'resource' && resources.isRemote(target);
    request.exchange = {
      raw,
      response,
      user: undefined,
      authenticated: undefined,
      method,
      receivedAtMs: clock.now(),
      sourceIp: raw.socket.remoteAddress ?? '',
      path,
      query,
      target,
      kind,
      upgrade,
      isWatch: labels.verb === 'WATCH',
      isLong: labels.verb === 'WATCH' || labels.verb === 'CONNECT' || isPassedOn || (mount !== undefined && path.startsWith(mount.prefix)),
      deadline: undefined,
      finish: metrics.started(labels),
      bytesBefore: raw.socket.bytesWritten,
      audit: undefined,
      seat: undefined,
      memory: [],
    };
  }

  #authenticate(exchange: Exchange): Promise<void> | undefined {
    const user = this.#options.authenticator.authenticate(exchange.raw);
    if (user instanceof Promise) return user.then((known) => this.#admit(exchange, known));
    this.#admit(exchange, user);
    return undefined;
  }

  #admit(exchange: Exchange, user: UserInfo): void {
    const { kubeApi, audit } = this.#options;
    exchange.authenticated = user;
    const attributes = () => attributesOfExchange(exchange);
    exchange.user = impersonatedUser({ request: exchange.raw, user, authorizer: kubeApi, attributes }) ?? user;
    audit.open(exchange);
    // The body of a request that nobody signed is not even read.
    if (isAnonymous(user) && exchange.target.type === 'resource') kubeApi.authorize(user, attributes());
  }

  #takeTurn(exchange: Exchange): Promise<void> | undefined {
    if (!isKnown(exchange)) throw new Error('a request takes its turn before it is authenticated');
    // A watch of much that is there begins as a list does.
    return exchange.isLong && !exchange.isWatch ? undefined : this.#options.turns.take(exchange);
  }

  async #answer({ exchange, raw, body }: Request, reply: FastifyReply): Promise<void> {
    reply.hijack();
    const { raw: response } = reply;
    const { resources, paths, clock, log } = this.#options;
    try {
      if (exchange === undefined || !isKnown(exchange)) throw new Error('handler of a request that was not authenticated');
      const { target, isLong, query } = exchange;
      if (!isLong) exchange.deadline = startDeadline(response, query, clock);
      if (target.type === 'resource') await resources.answer(exchange, target, body instanceof Buffer ? body : undefined);
      else await answerPath(exchange, paths, body instanceof Buffer ? body : undefined);
      // Only the client has to read the rest, and no other request has to wait for that.
      exchange.seat?.leave();
      limitRest(response, clock);
    } catch (err) {
      if (exchange?.deadline?.hasPassed === true) return;
      if (!isStatusError(err)) {
        log.error({ err, method: raw.method, path: exchange?.path, auditId: response.getHeader('audit-id') }, 'Could not answer request');
      }
      sendError(response, statusErrorOf(err), errorEncodingOf(raw));
    }
  }

  async #answerBy(mount: HttpMount, { exchange, raw }: Request, reply: FastifyReply): Promise<void> {
    reply.hijack();
    const { raw: response } = reply;
    try {
      if (exchange === undefined || !isKnown(exchange)) throw new Error('mount of a request that was not authenticated');
      this.#options.kubeApi.authorize(exchange.user, attributesOfExchange(exchange));
      await mount.handle(raw, response);
    } catch (err) {
      if (!isStatusError(err)) this.#options.log.error({ err, method: raw.method, path: exchange?.path }, 'Could not answer request');
      if (response.headersSent) response.destroy();
      else sendError(response, statusErrorOf(err), errorEncodingOf(raw));
    }
  }

  /**
   * Answers an error that no handler saw: of authentication, of the body, of the framework itself. Node then reads the rest of the
   * body and drops it, for as long as a request may take. Many clients send all of a body before they read. To close at once would
   * reset their connection, and they would never see the answer.
   */
  refuse(err: FastifyError | Error, { raw }: FastifyRequest, reply: FastifyReply): void {
    reply.hijack();
    const error = isStatusError(err) ? err : frameworkErrorOf(err);
    if (error === undefined) this.#options.log.error({ err, method: raw.method }, 'Could not answer request');
    sendError(reply.raw, error ?? err, errorEncodingOf(raw));
  }

  #leave(exchange: Exchange | undefined): void {
    const { turns, audit } = this.#options;
    if (exchange !== undefined) {
      const { raw, response, bytesBefore } = exchange;
      turns.leave(exchange);
      exchange.finish({ code: response.statusCode, bytes: raw.socket.bytesWritten - bytesBefore });
      audit.close(exchange);
    }
    this.#active -= 1;
    if (this.#active === 0) this.#onIdle();
  }

  /** Resolves when no request is being answered, or when that has taken too long. */
  drained(): Promise<void> {
    if (this.#active === 0) return Promise.resolve();
    return new Promise((resolve) => {
      const cancel = this.#options.clock.after(drainMs, resolve);
      this.#onIdle = () => {
        cancel();
        resolve();
      };
    });
  }
}

/** A hook that ends in the same turn unless its stage has to wait. An error that a stage throws is the framework's to pass on. */
const hookOf =
  (stage: (exchange: Exchange) => Promise<void> | undefined) =>
  (request: FastifyRequest, _reply: FastifyReply, done: (err?: Error) => void): void => {
    const { exchange } = request as Request;
    if (exchange === undefined) throw new Error('a stage of a request that was not received');
    const waiting = stage(exchange);
    if (waiting === undefined) done();
    else waiting.then(() => done(), done);
  };

function errorEncodingOf({ headers }: IncomingMessage): Representation['encoding'] {
  try {
    return negotiate(headers.accept, 'object', { protobuf: 'objects' }).encoding;
  } catch {
    // Errors before any handler are answered in JSON.
    return 'json';
  }
}

/** A client's own id is kept, so that its log and ours can be matched. */
const auditIdOf = ({ headers }: IncomingMessage): string => {
  const given = headers['audit-id'];
  return typeof given === 'string' && /^[\w.-]{1,64}$/.test(given) ? given : randomUUID();
};

function splitUrl(url: string): readonly [path: string, query: string] {
  const mark = url.indexOf('?');
  return mark === -1 ? [url, ''] : [url.slice(0, mark), url.slice(mark + 1)];
}
