import { createServer, type Server } from 'node:http';
import type { Clock } from '../base/clock.ts';
import type { HealthCheck } from './table.ts';

/** The address at which a node answers for its endpoints. */
export interface HealthCheckAddress {
  readonly host: string;
  readonly nodeName: string;
}

export interface HealthChecksOptions {
  readonly addresses: readonly HealthCheckAddress[];
  /** Ready endpoints of the Service on the node. */
  countEndpoints(service: string, nodeName: string): number;
  /** A port that cannot be opened. */
  report(check: HealthCheck, err: NodeJS.ErrnoException): void;
  readonly clock: Clock;
}

/** Answers load balancers outside, which ask each node whether it has endpoints of a Service. */
export interface HealthChecks {
  /** @param check  undefined: the Service has none any more */
  set(service: string, check: HealthCheck | undefined): Promise<void>;
  stop(): Promise<void>;
}

const retryMs = 30_000;
const requestTimeoutMs = 5_000;
const maxConnections = 64;

/**
 * 200 with at least one endpoint, 503 without. The answer is that of kube-proxy, which clouds look at.
 *
 * @see Kubernetes, pkg/proxy/healthcheck/service_health.go
 */
export function createHealthChecks({ addresses, countEndpoints, report, clock }: HealthChecksOptions): HealthChecks {
  const open = new Map<string, { readonly port: number; readonly servers: Server[]; cancelRetry: () => void }>();

  function serve(check: HealthCheck, nodeName: string): Server {
    const server = createServer((_, response) => {
      const localEndpoints = countEndpoints(check.service, nodeName);
      const [namespace, name] = check.service.split('/');
      response
        .writeHead(localEndpoints > 0 ? 200 : 503, {
          'Content-Type': 'application/json',
          'X-Content-Type-Options': 'nosniff',
          'X-Load-Balancing-Endpoint-Weight': String(localEndpoints),
          Connection: 'close',
        })
        .end(JSON.stringify({ service: { namespace, name }, localEndpoints, serviceProxyHealthy: true }));
    });
    server.maxConnections = maxConnections;
    server.requestTimeout = requestTimeoutMs;
    server.headersTimeout = requestTimeoutMs;
    return server;
  }

  async function listen(check: HealthCheck, entry: { readonly servers: Server[]; cancelRetry: () => void }): Promise<void> {
    for (const { host, nodeName } of addresses) {
      const server = serve(check, nodeName);
      try {
        await new Promise<void>((resolve, reject) => {
          server.once('error', reject);
          server.listen({ host, port: check.port }, () => resolve());
        });
      } catch (err) {
        if (open.get(check.service) !== entry) return;
        report(check, err as NodeJS.ErrnoException);
        entry.cancelRetry = clock.after(retryMs, () => void reopen(check));
        return;
      }
      if (open.get(check.service) === entry) entry.servers.push(server);
      else server.close();
    }
  }

  async function reopen(check: HealthCheck): Promise<void> {
    close(check.service);
    const entry = { port: check.port, servers: [], cancelRetry: () => undefined };
    open.set(check.service, entry);
    await listen(check, entry);
  }

  function close(service: string): void {
    const entry = open.get(service);
    entry?.cancelRetry();
    for (const server of entry?.servers ?? []) server.close();
    open.delete(service);
  }

  return {
    async set(service, check) {
      if (open.get(service)?.port === check?.port) return;
      if (check === undefined) close(service);
      else await reopen(check);
    },
    async stop() {
      for (const service of [...open.keys()]) close(service);
    },
  };
}
