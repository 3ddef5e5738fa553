import { authorityPath, backupPath, keysPath } from '../../api/well-known.ts';
import type { Clock } from '../../base/clock.ts';
import { methodNotAllowed } from '../../machinery/status-error.ts';
import type { Aggregator } from '../aggregation/aggregator.ts';
import { resourceNotFound, wantsPretty } from '../http/api-request.ts';
import { negotiate, parseAccept } from '../http/content-negotiation.ts';
import type { Discovery } from '../http/discovery.ts';
import { checksOf, type createHealthRecord, type HealthCheck, healthEndpoints, reportHealth, tryHealthPath } from '../http/health.ts';
import { type OpenApiDocuments, sendOpenApi, withRemoteDocuments } from '../http/openapi.ts';
import type { RequestTarget } from '../http/request-target.ts';
import { sendPageNotFound, sendPlain, sendText, sendValue } from '../http/respond.ts';
import type { KubeApi } from '../kube-api.ts';
import type { ServiceAccountTokens } from '../service-account-tokens.ts';
import type { BackupPath } from './backup-path.ts';
import { attributesOfExchange, type KnownExchange } from './exchange.ts';
import { answerKeys, type KeyActions } from './keys-path.ts';
import type { MetricsPage } from './metrics-page.ts';
import type { ResourceRequests } from './resource-requests.ts';
import type { RequestTurns } from './turns.ts';
import { versionOf } from './version.ts';

type PathHandler = (exchange: KnownExchange, parts: PathParts) => Promise<void> | void;

/** Paths that are no resources, and are served under one name. Discovery, health and schemas have paths below theirs. */
const paths: ReadonlyMap<string, PathHandler> = new Map<string, PathHandler>([
  ['/', sendIndex],
  ['/version', sendVersion],
  ['/version/', sendVersion],
  ['/.well-known/openid-configuration', sendIssuer],
  ['/openid/v1/jwks', sendIssuer],
  ['/metrics', (exchange, { metrics }) => metrics.send(exchange)],
  ['/metrics/apiserver', (exchange, { metrics }) => metrics.send(exchange)],
  ['/metrics/slis', sendHealthMetrics],
  ['/openapi/v2', sendSchemas],
  ['/openapi/v3', sendSchemas],
]);

/** Handlers by the beginning of the path. */
const below: readonly (readonly [start: string, handler: PathHandler])[] = [['/openapi/v3/', sendSchemas]];

/** Groups and versions, by what the path was read as. */
const discoveryPaths = {
  versions: sendDiscoveryRoot,
  groups: sendDiscoveryRoot,
  group: sendGroup,
  'group-version': sendResourceList,
} as const satisfies Record<Exclude<RequestTarget['type'], 'resource' | 'other'>, PathHandler>;

export interface PathParts {
  readonly kubeApi: KubeApi;
  readonly discovery: Discovery;
  readonly aggregator: Aggregator | undefined;
  readonly resources: ResourceRequests;
  readonly turns: RequestTurns;
  readonly openApi: OpenApiDocuments;
  /** Absent: there are no issuer documents. */
  readonly serviceAccounts: ServiceAccountTokens | undefined;
  readonly metrics: MetricsPage;
  /** PEM: the authority of the cluster, shown to everybody who asks. Absent: no machine can join. */
  readonly authority: string | undefined;
  /** Absent: there are no backups. */
  readonly backup: BackupPath | undefined;
  /** Absent: the keys of the cluster are not this server's to change. */
  readonly keys: KeyActions | undefined;
  readonly healthChecks: readonly HealthCheck[];
  readonly health: ReturnType<typeof createHealthRecord>;
  readonly clock: Clock;
  /** Version of the program: `0.1.0`. */
  readonly version: string;
  /** `https://HOST:PORT` */
  url(): string;
}

/** Answers a request for a path that is no resource: authorized by its path, then served by the table. */
export async function answerPath(exchange: KnownExchange, parts: PathParts, body: Buffer | undefined): Promise<void> {
  const { path, target, method, response } = exchange;
  // Nobody has an identity before joining, and the authority's certificate is no secret.
  if (path === authorityPath && parts.authority !== undefined) {
    if (method !== 'GET') throw methodNotAllowed();
    sendPlain(response, 200, parts.authority);
    return;
  }
  parts.kubeApi.authorize(exchange.user, attributesOfExchange(exchange));
  if (path === backupPath && parts.backup !== undefined) {
    await parts.backup.send(exchange);
    return;
  }
  if (path.startsWith(keysPath) && parts.keys !== undefined) {
    await answerKeys(exchange, parts.keys, body);
    return;
  }
  if (target.type === 'resource') throw new Error('a resource is no path');
  const handler = target.type === 'other' ? handlerOf(path) : discoveryPaths[target.type];
  if (handler === undefined) sendPageNotFound(response);
  // The real server reports its health by any method.
  else if (method !== 'GET' && handler !== sendHealth) throw methodNotAllowed();
  else {
    if (target.type !== 'other' || path.startsWith('/openapi/')) await parts.kubeApi.newest?.();
    await handler(exchange, parts);
  }
}

function handlerOf(path: string): PathHandler | undefined {
  if (tryHealthPath(path) !== undefined) return sendHealth;
  return paths.get(path) ?? below.find(([start]) => path.startsWith(start))?.[1];
}

// ---------------------------------------------------------------------------------------------------------------------------- discovery

function sendDiscoveryRoot(exchange: KnownExchange, { discovery, url }: PathParts): void {
  const { raw, response, target } = exchange;
  const isCore = target.type === 'versions';
  response.setHeader('vary', 'Accept');
  if (!asksForAggregated(raw.headers.accept)) {
    send(exchange, isCore ? discovery.versions(raw.headers.host ?? new URL(url()).host) : discovery.groupList());
    return;
  }
  const { json, etag } = discovery.aggregated(isCore ? 'core' : 'groups');
  response.setHeader('etag', etag);
  if (raw.headers['if-none-match'] === etag) response.writeHead(304).end();
  else sendText(response, { code: 200, contentType: 'application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList', text: json });
}

function sendGroup(exchange: KnownExchange, { discovery }: PathParts): void {
  const { target, response } = exchange;
  const group = target.type === 'group' ? discovery.group(target.group) : undefined;
  if (group === undefined) sendPageNotFound(response);
  else send(exchange, group);
}

async function sendResourceList(exchange: KnownExchange, { discovery, resources }: PathParts): Promise<void> {
  const { target, response } = exchange;
  if (target.type !== 'group-version') return;
  const list = discovery.resourceList(target.group, target.version);
  if (resources.isRemote(target)) await resources.passOn(exchange, target);
  else if (list !== undefined) send(exchange, list);
  else if (discovery.hasGroup(target.group)) throw resourceNotFound();
  else sendPageNotFound(response);
}

const asksForAggregated = (accept: string | undefined): boolean =>
  parseAccept(accept ?? '').some(
    ({ type, parameters }) =>
      type === 'application/json' &&
      parameters.get('as') === 'APIGroupDiscoveryList' &&
      parameters.get('g') === 'apidiscovery.k8s.io' &&
      parameters.get('v') === 'v2',
  );

// ------------------------------------------------------------------------------------------------------------------------------- health

async function sendHealth({ path, query, response }: KnownExchange, { healthChecks, health }: PathParts): Promise<void> {
  const asked = tryHealthPath(path);
  const options = { verbose: query.has('verbose'), exclude: query.getAll('exclude') };
  const report = asked === undefined ? undefined : await reportHealth(healthChecks, { ...asked, ...options }, health);
  if (report === undefined) sendPageNotFound(response);
  else if (asked?.only !== undefined && report.code === 200)
    sendText(response, { code: 200, contentType: 'text/plain; charset=utf-8', text: report.text });
  else sendPlain(response, report.code, report.text);
}

async function sendHealthMetrics({ response }: KnownExchange, { healthChecks, health }: PathParts): Promise<void> {
  // All checks at least once, so that a scrape finds them.
  await Promise.all(healthEndpoints.map((endpoint) => reportHealth(healthChecks, { endpoint, verbose: false, exclude: [] }, health)));
  sendText(response, { code: 200, contentType: 'text/plain; version=0.0.4; charset=utf-8', text: health.text() });
}

// ------------------------------------------------------------------------------------------------------------------------------ schemas

async function sendSchemas(exchange: KnownExchange, parts: PathParts): Promise<void> {
  const { raw, response, path, query } = exchange;
  const { resources, turns, clock } = parts;
  const [, group = '', version = ''] = /^\/openapi\/v3\/apis\/([^/]+)\/([^/]+)\/?$/.exec(path) ?? [];
  if (group !== '' && resources.isRemote({ group, version })) {
    await resources.passOn(exchange, { group, version });
    return;
  }
  const holdMemory = (bytes: number): Promise<void> | undefined => turns.holdAnswer(exchange, bytes);
  await sendOpenApi(documentsOf(parts), { raw, response, path: path.replace(/\/$/, ''), query, clock, holdMemory });
}

/** The own documents, and in their index those of other servers. */
const documentsOf = ({ openApi, aggregator }: PathParts): OpenApiDocuments =>
  aggregator === undefined ? openApi : { ...openApi, index: () => withRemoteDocuments(openApi.index(), aggregator.openApi()) };

// ------------------------------------------------------------------------------------------------------------------------ single pages

function sendIndex(exchange: KnownExchange, { discovery, serviceAccounts, healthChecks }: PathParts): void {
  const others = [
    ...(serviceAccounts === undefined ? [] : ['/.well-known/openid-configuration', '/openid/v1/jwks']),
    ...healthEndpoints.flatMap((endpoint) => [
      `/${endpoint}`,
      ...checksOf(healthChecks, endpoint).map(({ name }) => `/${endpoint}/${name}`),
    ]),
    '/metrics',
    '/metrics/slis',
    '/openapi/v2',
    '/openapi/v3',
    '/openapi/v3/',
    '/version',
  ];
  send(exchange, { paths: [...discovery.paths(), ...others].sort() });
}

function sendVersion(exchange: KnownExchange, { version }: PathParts): void {
  send(exchange, versionOf(version));
}

/** The documents by which others verify the tokens of service accounts. */
function sendIssuer({ response, path }: KnownExchange, { serviceAccounts, url }: PathParts): void {
  if (serviceAccounts === undefined) {
    sendPageNotFound(response);
    return;
  }
  response.setHeader('cache-control', 'public, max-age=3600');
  if (path === '/openid/v1/jwks')
    sendText(response, { code: 200, contentType: 'application/jwk-set+json', text: JSON.stringify(serviceAccounts.keys) });
  else sendText(response, { code: 200, contentType: 'application/json', text: JSON.stringify(serviceAccounts.configuration(url())) });
}

/** Sends a value in the form that the client takes. */
function send({ raw, response, query }: KnownExchange, value: unknown): void {
  const { headers } = raw;
  // Browsers and scripts that ask for HTML get JSON here, as on the real server.
  const accept = headers.accept?.startsWith('text/') ? undefined : headers.accept;
  const { encoding, pretty } = negotiate(accept, 'object', { pretty: wantsPretty(query, headers['user-agent'] ?? '') });
  sendValue(response, { code: 200, value }, { encoding, pretty });
}
