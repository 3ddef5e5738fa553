import { Agent } from 'node:http';
import type { EndpointAddress } from '../api/discovery/v1/serving-endpoints.ts';
import { BoundedMap } from '../base/bounded-map.ts';
import type { Clock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import type { ResolvedBackend } from './backend-endpoints.ts';
import type { Exchange } from './exchange.ts';
import { forward, sayFailure, type Upstream } from './forward.ts';
import type { EntryPoint, IngressMetrics } from './ingress-metrics.ts';
import type { Limits } from './limits.ts';
import type { Handlers } from './proxy-server.ts';
import { type Arrival, forwardedHeaders, mayUpgradeTo, type RequestHead, readRequestHead } from './request-head.ts';
import { type Backend, findRoute, hasTls, type RoutingTable } from './routing-table.ts';
import { forwardUpgrade } from './upgrade.ts';

export interface RequestHandlerOptions {
  /** The table in force now. */
  table(): RoutingTable;
  resolve(backend: Backend): ResolvedBackend;
  /** The port for redirects; undefined while none is open. */
  tlsPort(): number | undefined;
  readonly limits: Limits;
  readonly metrics: IngressMetrics;
  readonly clock: Clock;
  readonly log: Log;
}

export interface RequestHandler {
  /** The handlers of one port. @param port  as clients reach it */
  handlersOf(entrypoint: EntryPoint, port: () => number): Handlers;
  /** Ends the connections to endpoints. */
  close(): void;
}

/** Backends whose turn is remembered; a forgotten one begins at its first endpoint. */
const maxTurns = 4_096;
/** Certificate authorities ask here by plain HTTP whether a host is its owner's, as ingress-nginx allows. */
const challengePath = '/.well-known/acme-challenge/';

/** Finds the endpoint of each request and passes it on: a redirect to TLS first where the host has it. */
export function createRequestHandler({ table, resolve, tlsPort, limits, metrics, clock, log }: RequestHandlerOptions): RequestHandler {
  const agent = new Agent({
    keepAlive: true,
    maxSockets: limits.connectionsPerEndpoint,
    maxTotalSockets: limits.endpointConnections,
    maxFreeSockets: limits.connectionsPerEndpoint,
    timeout: limits.pooledMs,
    noDelay: true,
  });
  const turns = new BoundedMap<string, number>(maxTurns);
  let underWay = 0;

  /** The ready endpoints in turn, as they are at this moment. */
  function choose(backend: Backend, tried: ReadonlySet<string>): EndpointAddress | undefined {
    const resolved = resolve(backend);
    if (!('endpoints' in resolved)) return undefined;
    const { endpoints } = resolved;
    const key = `${backend.service}:${backend.port}`;
    const start = turns.get(key) ?? 0;
    for (let step = 0; step < endpoints.length; step += 1) {
      const index = (start + step) % endpoints.length;
      const endpoint = endpoints[index];
      if (endpoint === undefined || tried.has(`${endpoint.address}:${endpoint.port}`)) continue;
      turns.set(key, index + 1);
      return endpoint;
    }
    return undefined;
  }

  interface Routed {
    readonly head: RequestHead;
    readonly headers: readonly string[];
    readonly upstream: Upstream;
  }

  /** Undefined: the exchange has its answer already. */
  function route(exchange: Exchange, arrival: Arrival): Routed | undefined {
    const head = readRequestHead(exchange.received);
    if ('why' in head) {
      sayFailure(exchange, head.status, head.why);
      return undefined;
    }
    const found = findRoute(table(), head.host, head.path);
    if (found === undefined) {
      sayFailure(exchange, 404, 'no Ingress has a rule for it');
      return undefined;
    }
    const redirectPort = arrival.protocol === 'http' && found.redirectsToTls && hasTls(table(), head.host) ? tlsPort() : undefined;
    if (redirectPort !== undefined && !head.path.startsWith(challengePath)) {
      redirect(exchange, head, redirectPort);
      return undefined;
    }
    const upstream: Upstream = { agent, limits, choose: (tried) => choose(found.backend, tried) };
    return { head, headers: forwardedHeaders(head, arrival), upstream };
  }

  function handlersOf(entrypoint: EntryPoint, port: () => number): Handlers {
    const arrivalOf = ({ clientAddress }: Exchange): Arrival => ({
      clientAddress,
      protocol: entrypoint === 'web' ? 'http' : 'https',
      port: port(),
    });

    /** Counts the request and bounds how many there are. */
    async function serve(exchange: Exchange, protocol: 'http' | 'websocket', answer: (routed: Routed) => Promise<void>): Promise<void> {
      const startedMs = clock.monotonicMs();
      if (underWay >= limits.requests) sayFailure(exchange, 503, 'too many requests are under way');
      else {
        underWay += 1;
        try {
          const routed = route(exchange, arrivalOf(exchange));
          if (routed !== undefined) await answer(routed);
        } catch (err) {
          log.error({ err }, 'Could not serve request');
          exchange.abort();
        } finally {
          underWay -= 1;
        }
      }
      const { method, target } = exchange.received;
      const code = exchange.isGone && exchange.status < 400 ? 499 : exchange.status;
      const durationMs = clock.monotonicMs() - startedMs;
      metrics.served({ entrypoint, method, protocol, code, durationMs });
      // The access log. Queries are left out, since they may hold tokens.
      if (log.isLevelEnabled('debug'))
        log.debug(
          { entrypoint, client: exchange.clientAddress, method, path: target.split('?', 1)[0], code, durationMs },
          'Served request',
        );
    }

    return {
      request: (exchange) => void serve(exchange, 'http', ({ head, headers, upstream }) => forward(exchange, head, { headers, upstream })),
      upgrade: (exchange, client, early) =>
        void serve(exchange, 'websocket', async ({ head, headers, upstream }) => {
          // Bytes behind the head could be the body or the new protocol.
          if (head.hasBody) sayFailure(exchange, 400, 'a request that changes the protocol has no body');
          else if (head.upgrade === undefined || !mayUpgradeTo(head.upgrade)) await forward(exchange, head, { headers, upstream });
          else await forwardUpgrade({ exchange, head, client, early, headers, upstream });
        }),
    };
  }

  return { handlersOf, close: () => agent.destroy() };
}

function redirect(exchange: Exchange, { host, target }: RequestHead, port: number): void {
  const place = `https://${host}${port === 443 ? '' : `:${port}`}${target === '*' ? '/' : target}`;
  const headers = ['Location', place, 'Content-Length', '0'];
  if (!exchange.body.readableEnded && exchange.received.version !== '2.0') headers.push('Connection', 'close');
  exchange.answer(308, headers).end();
}
