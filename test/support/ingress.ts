import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import type { EndpointAddress } from '../../src/api/discovery/v1/serving-endpoints.ts';
import type { Ingress, IngressSpec } from '../../src/api/networking/v1/ingress.ts';
import { systemClock } from '../../src/base/clock.ts';
import { createLog } from '../../src/base/log.ts';
import { createMetrics, type Metrics } from '../../src/base/metrics.ts';
import { makeSelfSigned } from '../../src/base/pki/self-signed.ts';
import { createIngressMetrics } from '../../src/ingress/ingress-metrics.ts';
import { defaultLimits, type Limits } from '../../src/ingress/limits.ts';
import { openPort, type PortTls, type ProxyPort } from '../../src/ingress/proxy-server.ts';
import { createRequestHandler } from '../../src/ingress/request-handler.ts';
import { buildRoutingTable } from '../../src/ingress/routing-table.ts';

/** The proxy on two ports of 127.0.0.1, with a table and endpoints that the test sets. */
export interface TestProxy {
  readonly port: number;
  readonly tlsPort: number;
  readonly metrics: Metrics;
  readonly web: ProxyPort;
  /** Endpoints by Service, `default/NAME`. */
  readonly endpoints: Map<string, readonly EndpointAddress[]>;
  close(): Promise<void>;
}

const ownClass = {
  apiVersion: 'networking.k8s.io/v1',
  kind: 'IngressClass',
  metadata: { name: 'midship' },
  spec: { controller: 'midship.dev/ingress' },
};

export const testIngress = (name: string, spec: IngressSpec): Ingress => ({
  apiVersion: 'networking.k8s.io/v1',
  kind: 'Ingress',
  metadata: { name, namespace: 'default', creationTimestamp: '2026-01-01T00:00:00Z' },
  spec: { ingressClassName: 'midship', ...spec },
});

/** A rule that leads all paths of a host to port 80 of a Service. */
export const hostRule = (host: string, service: string) => ({
  host,
  http: { paths: [{ path: '/', pathType: 'Prefix', backend: { service: { name: service, port: { number: 80 } } } }] },
});

export interface TestProxyOptions {
  readonly ingresses: readonly Ingress[];
  readonly limits?: Partial<Limits>;
  readonly contextFor?: PortTls['contextFor'];
}

export async function startTestProxy({
  ingresses,
  limits: given = {},
  contextFor = () => undefined,
}: TestProxyOptions): Promise<TestProxy> {
  const limits = { ...defaultLimits, drainMs: 500, ...given };
  const { table } = buildRoutingTable(ingresses, [ownClass]);
  const endpoints = new Map<string, readonly EndpointAddress[]>();
  const metrics = createMetrics();
  const handler = createRequestHandler({
    table: () => table,
    resolve: ({ service }) => ({ endpoints: endpoints.get(service) ?? [] }),
    tlsPort: () => secure.port,
    limits,
    metrics: createIngressMetrics(metrics, () => new Map([['web', web.openConnections]])),
    clock: systemClock,
    log: createLog({ level: 'silent' }),
  });
  const shared = { addresses: ['127.0.0.1'], port: 0, limits };
  const web: ProxyPort = await openPort({ ...shared, handlers: handler.handlersOf('web', () => web.port) });
  const fallback = await makeSelfSigned('test', Date.now());
  const secure: ProxyPort = await openPort({
    ...shared,
    handlers: handler.handlersOf('websecure', () => secure.port),
    tls: { fallback, contextFor },
  });
  return {
    port: web.port,
    tlsPort: secure.port,
    metrics,
    web,
    endpoints,
    async close() {
      await Promise.all([web.close(), secure.close()]);
      handler.close();
    },
  };
}

export interface Backend {
  readonly server: Server;
  readonly address: EndpointAddress;
  close(): Promise<void>;
}

export async function startBackend(listener: Parameters<typeof createServer>[1]): Promise<Backend> {
  const server = createServer({ keepAliveTimeout: 60_000 }, listener);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    server,
    address: { address: '127.0.0.1', port },
    async close() {
      server.close();
      server.closeAllConnections();
      await once(server, 'close');
    },
  };
}

/** Sends bytes as they are and gives all that comes back before the connection ends, or before `until` is in it. */
export async function exchangeBytes(port: number, bytes: string | Buffer, until?: string): Promise<string> {
  const socket: Socket = connect({ host: '127.0.0.1', port });
  let answer = '';
  socket.setEncoding('latin1');
  await once(socket, 'connect');
  socket.write(bytes);
  const ended = new Promise<void>((resolve) => {
    socket.on('data', (part: string) => {
      answer += part;
      if (until !== undefined && answer.includes(until)) resolve();
    });
    socket.once('close', () => resolve());
    socket.on('error', () => resolve());
  });
  await ended;
  socket.destroy();
  return answer;
}
