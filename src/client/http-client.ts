import { setMaxListeners } from 'node:events';
import type { ClientRequest, IncomingHttpHeaders, IncomingMessage } from 'node:http';
import { Agent, request as httpsRequest } from 'node:https';
import { createSecureContext } from 'node:tls';
import { type Clock, sleep, systemClock } from '../base/clock.ts';
import { readAnswer } from '../base/http-answer.ts';
import { deepFreeze, type KubeObject, type List, type ObjectMeta, type ObjectRef } from '../machinery/object.ts';
import { apiVersionOf, type Resource } from '../machinery/resource.ts';
import { badRequest, type Status, StatusError, type StatusErrorOptions } from '../machinery/status-error.ts';
import type {
  Client,
  DeleteOptions,
  DiscoveredResource,
  ListOptions,
  New,
  PatchType,
  WatchEvent,
  WatchOptions,
  WriteOptions,
} from './client.ts';
import { discoverResources } from './http-discovery.ts';

/** Address of a Kubernetes API server and the credentials for it, as PEM texts. */
export interface HttpClientOptions {
  /** `https://HOST:PORT`, with a path in front of the API's when there is one. */
  readonly server: string;
  /**
   * All addresses of the cluster, in the order in which to try them; looked at for each request. A server that does not answer is left for
   * the next one. Empty: `server` alone.
   */
  readonly servers?: () => readonly string[];
  /** Absent: the authorities this machine trusts. */
  readonly caCertificate?: string;
  /** The name the server's certificate must be for, when it is not that of the URL. */
  readonly serverName?: string;
  /** A certificate that is renewed calls back, and later connections use the new one. */
  readonly clientCertificate?: {
    readonly certificate: string;
    readonly key: string;
    onRenewed?(apply: () => void): void;
  };
  /** Or where to look for it at each request: tokens of service accounts are renewed every hour. */
  readonly token?: string | (() => string);
  readonly userAgent: string;
  readonly clock?: Clock;
  readonly random?: () => number;
}

export interface HttpClient extends Client {
  /** The last line of the newest run of a container, cut after 1 KiB. */
  readLastLine(pod: KubeObject, container: string): Promise<string>;
  /**
   * The log of a container as it is written; with `follow` it goes on until the container ends, or the signal.
   *
   * @throws StatusError as the server says it, for example when there is no such container
   */
  openLog(pod: ObjectRef, options: LogOptions): Promise<AsyncIterable<Buffer>>;
  /** The answer at any path of the server, such as those of metrics APIs, which no kind describes. */
  readJson(path: string, options?: { readonly query?: URLSearchParams; readonly signal?: AbortSignal }): Promise<unknown>;
  /** The version that the server reports at `/version`. */
  serverVersion(): Promise<{ readonly gitVersion: string }>;
  /** Ends what is under way and releases the connections. */
  close(): void;
}

/** A choice of lines of a log, as `kubectl logs` has it. */
export interface LogOptions {
  readonly container: string;
  readonly follow: boolean;
  /** The run before the newest one. */
  readonly previous: boolean;
  /** The newest lines; undefined: all. */
  readonly tailLines?: number | undefined;
  readonly sinceSeconds?: number | undefined;
  /** Bound of the whole answer; undefined: all of it comes. */
  readonly limitBytes?: number | undefined;
  readonly signal: AbortSignal;
}

/** An answer beyond this is an error; 5,000 pods take 40 MB. */
const maxAnswerBytes = 256 * 1024 * 1024;
const maxEventLength = 16 * 1024 * 1024;
const maxConnections = 64;
const maxWatches = 1_024;
/** Without a byte for so long a request has failed; the server's own limit for an answer is 60 s. */
const idleTimeoutMs = 90_000;
/** The same when another server may answer: one that is halted takes connections and says nothing. */
const idleAmongSeveralMs = 15_000;
/**
 * When a server dies, each of its clients takes its watches to the next one at a moment of its own within this time. A thousand agents
 * would else come at once. Requests go there without a wait.
 */
const spreadMs = 3_000;
/** After so long the first of several servers may be back. */
const returnAfterMs = 60_000;
/** Without a connection nothing was sent, so the request may be repeated whatever it is. */
const unsent: ReadonlySet<string | undefined> = new Set([
  'ECONNREFUSED',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'EHOSTDOWN',
  'ENOTFOUND',
  'EAI_AGAIN',
]);
/** Limits for one line of a log, which is a hint and not worth a long wait. */
const maxLineBytes = 1_024;
const lineTimeoutMs = 5_000;
/** A watch is asked to end after 5 to 10 minutes, as client-go does, and is given up when it does not. */
const watchTimeoutSeconds = 300;
const watchGraceMs = 30_000;
const maxTries = 5;
const maxRetryAfterSeconds = 10;

const patchContentTypes: Readonly<Record<PatchType, string>> = {
  json: 'application/json-patch+json',
  merge: 'application/merge-patch+json',
  strategic: 'application/strategic-merge-patch+json',
  apply: 'application/apply-patch+yaml',
};

/**
 * The `Client` over the wire. Connections are kept and bounded; a server that says "too many requests" is asked again when it says so.
 *
 * Failures to reach the server are `StatusError` `ServiceUnavailable` with the cause attached; an aborted signal rejects with its reason.
 */
export function createHttpClient(options: HttpClientOptions): HttpClient {
  const { clock = systemClock } = options;
  const connection = new Connection(options);

  const call = async (request: CallOptions): Promise<Answer> => {
    for (let tries = 1; ; tries += 1) {
      const answer = await connection.call(request);
      if (answer.code >= 200 && answer.code < 300) return answer;
      const error = statusErrorOf(answer);
      const after = Number(answer.headers['retry-after'] ?? Number.NaN);
      // Only a refusal to begin is safe to repeat whatever the request is.
      if (answer.code !== 429 || tries === maxTries || !(after >= 0)) throw error;
      await sleep(clock, Math.min(after, maxRetryAfterSeconds) * 1_000, request.signal ?? new AbortController().signal);
    }
  };

  const callForObject = async <T extends KubeObject>(request: CallOptions): Promise<T> => {
    const { text, headers } = await call(request);
    if (request.onWarning !== undefined) for (const warning of warningsOf(headers)) request.onWarning(warning);
    return deepFreeze(parse(text)) as T;
  };

  return {
    get: (resource, ref, { signal, subresource } = {}) =>
      callForObject({ method: 'GET', path: pathOf(resource, ref.namespace, ref.name, subresource), signal }),

    async list<T extends KubeObject>(resource: Resource<T>, listOptions: ListOptions = {}): Promise<List<T>> {
      const { signal, namespace } = listOptions;
      const query = listQuery(listOptions);
      const { text } = await call({ method: 'GET', path: pathOf(resource, namespace), query, signal });
      const list = parse(text) as unknown as List<T>;
      const items = list.items ?? [];
      const kind = { kind: resource.kind, apiVersion: apiVersionOf(resource) };
      // Items of a typed list do not repeat their kind.
      return deepFreeze({ ...list, items: items.map((item) => (item.kind === undefined ? { ...kind, ...item } : item)) });
    },

    watch: (resource, watchOptions) => connection.watch(resource, watchOptions),

    create<T extends KubeObject>(resource: Resource<T>, object: New<T>, writeOptions: WriteOptions = {}): Promise<T> {
      const { namespace } = object.metadata as ObjectMeta;
      if (resource.namespaced && namespace === undefined) {
        return Promise.reject(badRequest(`metadata.namespace is needed to create an object of ${resource.resource}`));
      }
      return callForObject({ method: 'POST', path: pathOf(resource, namespace), body: object, ...write(writeOptions) });
    },

    update(resource, object, updateOptions = {}) {
      const { namespace, name } = object.metadata;
      const path = pathOf(resource, namespace, name, updateOptions.subresource);
      return callForObject({ method: 'PUT', path, body: object, ...write(updateOptions) });
    },

    patch(resource, ref, patch, patchOptions = {}) {
      const { query, ...rest } = write(patchOptions);
      if (patchOptions.force !== undefined && patch.type === 'apply') query.set('force', String(patchOptions.force));
      const path = pathOf(resource, ref.namespace, ref.name, patchOptions.subresource);
      return callForObject({ method: 'PATCH', path, query, body: patch.body, contentType: patchContentTypes[patch.type], ...rest });
    },

    async delete(resource, ref, deleteOptions = {}) {
      const path = pathOf(resource, ref.namespace, ref.name);
      await call({ method: 'DELETE', path, body: deleteBody(deleteOptions), signal: deleteOptions.signal });
    },

    async deleteCollection(resource, collectionOptions) {
      const { namespace, signal } = collectionOptions;
      const query = listQuery(collectionOptions);
      await call({ method: 'DELETE', path: pathOf(resource, namespace), query, body: deleteBody(collectionOptions), signal });
    },

    createSubresource: (resource, ref, subresource, body, writeOptions = {}) =>
      callForObject({ method: 'POST', path: pathOf(resource, ref.namespace, ref.name, subresource), body, ...write(writeOptions) }),

    discover: (): Promise<readonly DiscoveredResource[]> =>
      discoverResources(async (path, accept) => {
        const { text, headers } = await call({ method: 'GET', path, accept });
        return { document: parse(text), contentType: headers['content-type'] ?? '' };
      }),

    async readLastLine({ metadata: { namespace, name } }, container) {
      const path = pathOf(podPath, namespace, name, 'log');
      const query = new URLSearchParams({ container, tailLines: '1', limitBytes: String(maxLineBytes) });
      return (await call({ method: 'GET', path, query, signal: AbortSignal.timeout(lineTimeoutMs) })).text;
    },

    openLog({ namespace, name }, { container, follow, previous, tailLines, sinceSeconds, limitBytes, signal }) {
      const query = new URLSearchParams({ container });
      if (follow) query.set('follow', 'true');
      if (previous) query.set('previous', 'true');
      if (tailLines !== undefined) query.set('tailLines', String(tailLines));
      if (sinceSeconds !== undefined) query.set('sinceSeconds', String(sinceSeconds));
      if (limitBytes !== undefined) query.set('limitBytes', String(limitBytes));
      return connection.stream({ method: 'GET', path: pathOf(podPath, namespace, name, 'log'), query, signal });
    },

    async readJson(path, { query, signal } = {}) {
      return parse((await call({ method: 'GET', path, ...(query === undefined ? {} : { query }), signal })).text);
    },

    async serverVersion() {
      const { text } = await call({ method: 'GET', path: '/version' });
      return parse(text) as unknown as { readonly gitVersion: string };
    },

    close: () => connection.close(),
  };
}

interface CallOptions {
  readonly method: string;
  readonly path: string;
  readonly query?: URLSearchParams;
  readonly body?: unknown;
  readonly contentType?: string;
  readonly accept?: string;
  readonly signal?: AbortSignal | undefined;
  readonly onWarning?: ((text: string) => void) | undefined;
}

interface Answer {
  readonly code: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
}

/** Owns the sockets. Watches have a pool of their own, so that they cannot starve requests. */
interface Agents {
  readonly requests: Agent;
  readonly watches: Agent;
}

class Connection {
  readonly #server: URL;
  readonly #servers: () => readonly string[];
  readonly #clock: Clock;
  readonly #random: () => number;
  /** No watch begins before. */
  #watchesFromMs = 0;
  /** The server that answers, since it was not the first choice any more. */
  #chosen: { readonly base: URL; readonly sinceMs: number } | undefined;
  readonly #userAgent: string;
  readonly #token: () => string | undefined;
  readonly #newAgents: () => Agents;
  #current: Agents | undefined;

  constructor({
    server,
    servers = () => [],
    caCertificate,
    serverName,
    clientCertificate,
    token,
    userAgent,
    clock = systemClock,
    random = Math.random,
  }: HttpClientOptions) {
    this.#server = new URL(server);
    this.#servers = servers;
    this.#clock = clock;
    this.#random = random;
    // Credentials must not cross a network in the clear.
    if (this.#server.protocol !== 'https:') throw new Error(`API server address ${server} does not start with https://`);
    this.#newAgents = () => {
      // Certificates are read once and not for each connection, which took as long as its handshake.
      const secureContext = createSecureContext({
        ...(caCertificate === undefined ? {} : { ca: caCertificate }),
        ...(clientCertificate === undefined ? {} : { cert: clientCertificate.certificate, key: clientCertificate.key }),
      });
      const tls = { secureContext, ...(serverName === undefined ? {} : { servername: serverName }) };
      return {
        requests: new Agent({ ...tls, keepAlive: true, maxSockets: maxConnections, maxFreeSockets: maxConnections, scheduling: 'lifo' }),
        watches: new Agent({ ...tls, keepAlive: true, maxSockets: maxWatches, maxFreeSockets: 0 }),
      };
    };
    // Requests that are under way end on their connections, which the server closes once they are idle.
    clientCertificate?.onRenewed?.(() => {
      this.#current = undefined;
    });
    this.#userAgent = userAgent;
    this.#token = typeof token === 'function' ? token : () => token;
  }

  close(): void {
    this.#current?.requests.destroy();
    this.#current?.watches.destroy();
  }

  /** Made by the first request, which then fails when a certificate cannot be read. */
  get #agents(): Agents {
    this.#current ??= this.#newAgents();
    return this.#current;
  }

  /** Asks the server of the last answer, then each of the others once. */
  async call(options: CallOptions): Promise<Answer> {
    const isRead = options.method === 'GET';
    const others = Math.max(0, this.#bases().length - 1);
    for (let left = others; ; left -= 1) {
      const base = this.#base;
      try {
        const answer = await this.#sendTwice(options, base);
        // It loses its store, or stops: whatever was asked may be asked elsewhere from now on.
        if (answer.code !== 503 || others === 0) return answer;
        this.#moveOn(base);
        if (!isRead || left === 0) return answer;
      } catch (err) {
        if (!(err instanceof StatusError) || options.signal?.aborted || others === 0) throw err;
        this.#moveOn(base);
        const isUnsent = unsent.has((err.cause as NodeJS.ErrnoException | undefined)?.code);
        // A write without an answer may have been done: its caller has to look.
        if (left === 0 || !(isRead || isUnsent)) throw err;
      }
    }
  }

  async #sendTwice(options: CallOptions, base: URL): Promise<Answer> {
    try {
      return await this.#send(options, base);
    } catch (err) {
      // The server closed a kept connection just as it was used; reading again is safe whatever it had seen.
      if (options.method === 'GET' && err instanceof KeptConnectionLost) return this.#send(options, base);
      throw err;
    }
  }

  #bases(): readonly URL[] {
    const several = this.#servers();
    return several.length === 0 ? [this.#server] : several.map((each) => new URL(each));
  }

  /** The one that answered last; after a while the first choice again. */
  get #base(): URL {
    const chosen = this.#chosen;
    const isRecent = chosen !== undefined && this.#clock.monotonicMs() < chosen.sinceMs + returnAfterMs;
    return (isRecent ? chosen.base : this.#bases()[0]) ?? this.#server;
  }

  /** Leaves a server that does not answer. Its watches resume at the next one; they would stay silent where it is halted. */
  #moveOn(base: URL): void {
    if (this.#base.origin !== base.origin) return;
    const all = this.#bases();
    const next = all[(all.findIndex(({ origin }) => origin === base.origin) + 1) % all.length];
    if (next === undefined || next.origin === base.origin) return;
    const now = this.#clock.monotonicMs();
    this.#chosen = { base: next, sinceMs: now };
    this.#watchesFromMs = now + this.#random() * spreadMs;
    this.#current?.watches.destroy();
  }

  get #idleMs(): number {
    return this.#bases().length > 1 ? idleAmongSeveralMs : idleTimeoutMs;
  }

  #send(options: CallOptions, base: URL): Promise<Answer> {
    const { signal } = options;
    const body = options.body === undefined ? undefined : Buffer.from(JSON.stringify(options.body));
    return new Promise((resolve, reject) => {
      if (signal?.aborted) {
        reject(signal.reason);
        return;
      }
      const request = this.#open({ ...options, base }, this.#agents.requests, body);
      const fail = (err: NodeJS.ErrnoException): void => {
        if (signal?.aborted) reject(signal.reason);
        else if (request.reusedSocket && err.code === 'ECONNRESET') reject(new KeptConnectionLost(failureOf(options, base, err)));
        else reject(new StatusError(failureOf(options, base, err)));
      };
      const idleMs = this.#idleMs;
      request.setTimeout(idleMs, () => request.destroy(new Error(`no answer within ${idleMs / 1_000} s`)));
      request.once('error', fail);
      request.once('response', (response) => {
        response.once('error', fail);
        readAnswer(response, { maxBytes: maxAnswerBytes }).then(
          (text) => resolve({ code: response.statusCode ?? 0, headers: response.headers, text }),
          fail,
        );
      });
      request.end(body);
    });
  }

  /** An answer that is read while it is written. */
  stream(call: CallOptions): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      const base = this.#base;
      const request = this.#open({ ...call, base }, this.#agents.watches);
      request.once('error', (err) => {
        if (!call.signal?.aborted) this.#moveOn(base);
        reject(call.signal?.aborted ? call.signal.reason : new StatusError(failureOf(call, base, err)));
      });
      request.once('response', (response) => {
        if (response.statusCode === 200) resolve(response);
        else
          readAnswer(response, { maxBytes: maxAnswerBytes }).then(
            (text) => reject(statusErrorOf({ code: response.statusCode ?? 0, headers: response.headers, text })),
            reject,
          );
      });
      request.end();
    });
  }

  async watch<T extends KubeObject>(resource: Resource<T>, options: WatchOptions<T>): Promise<void> {
    const { signal } = options;
    const waitMs = this.#watchesFromMs - this.#clock.monotonicMs();
    // Only the signal ends this wait early, and then the watch has ended.
    if (waitMs > 0) await sleep(this.#clock, waitMs, signal).catch(() => undefined);
    if (!signal.aborted) await this.#openWatch(resource, options);
  }

  #openWatch<T extends KubeObject>(resource: Resource<T>, options: WatchOptions<T>): Promise<void> {
    const { namespace, resourceVersion, labelSelector, fieldSelector, signal, onEvents } = options;
    const timeoutSeconds = Math.round(watchTimeoutSeconds * (1 + this.#random()));
    const query = listQuery({ labelSelector, fieldSelector, resourceVersion });
    query.set('allowWatchBookmarks', 'true');
    query.set('timeoutSeconds', String(timeoutSeconds));
    query.set('watch', 'true');
    const call: CallOptions = { method: 'GET', path: pathOf(resource, namespace), query, signal };
    return new Promise((resolve, reject) => {
      const base = this.#base;
      const request = this.#open({ ...call, base }, this.#agents.watches);
      const cancel = this.#clock.after(timeoutSeconds * 1_000 + watchGraceMs, () => request.destroy());
      const settle = (err?: unknown): void => {
        cancel();
        request.destroy();
        if (err === undefined || signal.aborted) resolve();
        else reject(err);
      };
      request.once('error', (err) => {
        if (!signal.aborted) this.#moveOn(base);
        settle(new StatusError(failureOf(call, base, err)));
      });
      request.once('response', (response) => {
        // A stream that breaks has ended: what was seen is good, and the watch goes on from there.
        response.once('error', () => settle());
        response.once('close', () => settle());
        if (response.statusCode !== 200) {
          if (response.statusCode === 503) this.#moveOn(base);
          readAnswer(response, { maxBytes: maxAnswerBytes }).then(
            (text) => settle(statusErrorOf({ code: response.statusCode ?? 0, headers: response.headers, text })),
            settle,
          );
          return;
        }
        response.setEncoding('utf8');
        const lines = createLineReader((batch) => {
          const { events, error } = eventsOf<T>(batch);
          if (events.length > 0) onEvents(events);
          if (error !== undefined) settle(error);
        });
        response.on('data', (chunk: string) => {
          try {
            lines(chunk);
          } catch (err) {
            settle(err);
          }
        });
      });
      request.end();
    });
  }

  #open(
    {
      base,
      method,
      path,
      query,
      contentType = 'application/json',
      accept = 'application/json',
      signal,
    }: CallOptions & { readonly base: URL },
    agent: Agent,
    body?: Buffer,
  ): ClientRequest {
    const search = query === undefined || query.size === 0 ? '' : `?${query}`;
    const token = this.#token();
    // Many requests may be under way for one caller; each takes its listener away when it ends.
    if (signal !== undefined) setMaxListeners(0, signal);
    return httpsRequest({
      protocol: base.protocol,
      // Brackets of an IPv6 address belong to the URL, not to the address.
      host: base.hostname.replace(/^\[|\]$/g, ''),
      port: base.port === '' ? 443 : base.port,
      path: `${base.pathname.replace(/\/$/, '')}${path}${search}`,
      method,
      agent,
      // Node frames the body of a DELETE only when its length is set.
      headers: {
        'user-agent': this.#userAgent,
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
        accept,
        ...(body === undefined ? {} : { 'content-type': contentType, 'content-length': body.length }),
      },
      ...(signal === undefined ? {} : { signal }),
    });
  }
}

/** Cuts a stream into lines; whole lines of one chunk are delivered together. */
function createLineReader(deliver: (lines: readonly string[]) => void): (chunk: string) => void {
  let rest = '';
  return (chunk) => {
    const lines = (rest + chunk).split('\n');
    rest = lines.pop() ?? '';
    if (rest.length > maxEventLength) throw new Error(`watch event is longer than ${maxEventLength} characters`);
    const complete = lines.filter((line) => line !== '');
    if (complete.length > 0) deliver(complete);
  };
}

function eventsOf<T extends KubeObject>(
  lines: readonly string[],
): { readonly events: readonly WatchEvent<T>[]; readonly error?: StatusError } {
  const events: WatchEvent<T>[] = [];
  for (const line of lines) {
    const { type, object } = parse(line) as unknown as { readonly type: string; readonly object: unknown };
    switch (type) {
      case 'ADDED':
      case 'MODIFIED':
      case 'DELETED':
      case 'BOOKMARK':
        events.push(deepFreeze({ type, object: object as T }));
        break;
      case 'ERROR':
        return { events, error: StatusError.fromStatus(object as Status) };
      default:
        // Newer servers may send what older clients do not know; events they must understand have the types above.
        break;
    }
  }
  return { events };
}

function parse(text: string): KubeObject {
  try {
    return JSON.parse(text) as KubeObject;
  } catch (cause) {
    throw new StatusError({ code: 500, reason: 'InternalError', message: `answer is not JSON: ${text.slice(0, 200)}`, cause });
  }
}

/** A Status when the server sent one; proxies in between send other things. */
function statusErrorOf({ code, text }: Answer): StatusError {
  try {
    const status = JSON.parse(text) as Partial<Status>;
    if (status.kind === 'Status') return StatusError.fromStatus({ ...status, code: status.code ?? code } as Status);
  } catch {
    // An answer that is no JSON is passed on unchanged, below.
  }
  const reason =
    code === 404 ? 'NotFound' : code === 401 ? 'Unauthorized' : code === 403 ? 'Forbidden' : code === 429 ? 'TooManyRequests' : '';
  return new StatusError({ code, reason, message: `the server answered ${code}: ${text.slice(0, 500).trim()}` });
}

const failureOf = ({ method, path }: CallOptions, base: URL, cause: Error): StatusErrorOptions => ({
  code: 503,
  reason: 'ServiceUnavailable',
  message: `${method} ${base.origin}${path}: ${cause.message}`,
  cause,
});

class KeptConnectionLost extends StatusError {}

type PathOfResource = Pick<Resource, 'group' | 'version' | 'namespaced' | 'resource'>;

/** Written out: the kind brings its validation, which every command would load for one path. */
const podPath: PathOfResource = { group: '', version: 'v1', namespaced: true, resource: 'pods' };

/** `/api/v1/namespaces/NS/pods/NAME/status`, with names encoded. */
function pathOf(resource: PathOfResource, namespace: ObjectRef['namespace'], name?: string, subresource?: string): string {
  const root = resource.group === '' ? `/api/${resource.version}` : `/apis/${resource.group}/${resource.version}`;
  const scope = resource.namespaced && namespace !== undefined ? `/namespaces/${encodeURIComponent(namespace)}` : '';
  const object = name === undefined ? '' : `/${encodeURIComponent(name)}`;
  return `${root}${scope}/${resource.resource}${object}${subresource === undefined ? '' : `/${subresource}`}`;
}

function listQuery(options: Omit<ListOptions, 'signal' | 'namespace'>): URLSearchParams {
  const query = new URLSearchParams();
  const { labelSelector, fieldSelector, limit, continue: token, resourceVersion } = options;
  if (labelSelector !== undefined) query.set('labelSelector', labelSelector);
  if (fieldSelector !== undefined) query.set('fieldSelector', fieldSelector);
  if (limit !== undefined) query.set('limit', String(limit));
  if (token !== undefined) query.set('continue', token);
  if (resourceVersion !== undefined) query.set('resourceVersion', resourceVersion);
  return query;
}

function write({ fieldManager, dryRun, fieldValidation, signal, onWarning }: WriteOptions) {
  const query = new URLSearchParams();
  if (fieldManager !== undefined) query.set('fieldManager', fieldManager);
  if (dryRun === true) query.set('dryRun', 'All');
  if (fieldValidation !== undefined) query.set('fieldValidation', fieldValidation);
  return { query, signal, onWarning };
}

const deleteBody = ({ gracePeriodSeconds, propagationPolicy, preconditions, dryRun }: DeleteOptions): unknown => ({
  kind: 'DeleteOptions',
  apiVersion: 'v1',
  ...(gracePeriodSeconds === undefined ? {} : { gracePeriodSeconds }),
  ...(propagationPolicy === undefined ? {} : { propagationPolicy }),
  ...(preconditions === undefined ? {} : { preconditions }),
  ...(dryRun === true ? { dryRun: ['All'] } : {}),
});

/** The texts of `Warning: 299 - "text"` headers; one header may have several. */
function warningsOf({ warning }: IncomingHttpHeaders): readonly string[] {
  if (warning === undefined) return [];
  const text = Buffer.from(String(warning), 'latin1').toString('utf8');
  return [...text.matchAll(/\d{3} \S+ "((?:[^"\\]|\\.)*)"/g)].map(([, quoted = '']) => quoted.replace(/\\(.)/g, '$1'));
}
