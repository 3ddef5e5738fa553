import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import { isIPv6 } from 'node:net';
import { tokenReviews } from '../../api/authentication/v1/token-review.ts';
import { subjectAccessReviews } from '../../api/authorization/v1/subject-access-review.ts';
import { createHealthRecord, type HealthCheck, reportHealth, tryHealthPath } from '../../apiserver/http/health.ts';
import type { Clock } from '../../base/clock.ts';
import type { Component } from '../../base/component.ts';
import { closeAtOnce, listen } from '../../base/listening.ts';
import type { Log } from '../../base/log.ts';
import { addProcessMetrics, type Metrics, partsOf } from '../../base/metrics.ts';
import { makeSelfSigned } from '../../base/pki/self-signed.ts';
import type { Client } from '../../client/client.ts';

export interface ComponentEndpointsOptions {
  readonly address: string;
  /** 0 takes a free one. */
  readonly port: number;
  /** Asks the cluster whose a token is, and what its user may read. */
  readonly client: Client;
  readonly metrics: Metrics;
  /** Failures say that a restart would help. */
  readonly checks: readonly HealthCheck[];
  readonly clock: Clock;
  readonly log: Log;
}

/** The HTTPS server of a component that runs by itself. */
export interface ComponentEndpoints extends Component {
  /** `https://ADDRESS:PORT`, once started. */
  readonly url: string;
}

const maxConnections = 32;
const maxHeaderBytes = 16 * 1024;
const headersTimeoutMs = 10_000;
/** The cluster has to say by then whether a caller may read. */
const reviewMs = 10_000;
const textType = 'text/plain; charset=utf-8';
const metricsType = 'text/plain; version=0.0.4; charset=utf-8';

/**
 * `/healthz`, `/livez` and `/readyz` for everybody, and `/metrics` for those whom the cluster lets read it, as kube-controller-manager
 * and kube-scheduler serve them. The certificate is made at each start, as theirs is without `--tls-cert-file`.
 */
export function createComponentEndpoints(options: ComponentEndpointsOptions): ComponentEndpoints {
  const { address, port, client, metrics, checks, clock, log: parent } = options;
  const log = parent.child({ component: 'component-endpoints' });
  const health = createHealthRecord();
  const processMetrics = addProcessMetrics();
  let server: Server | undefined;
  let url = '';

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (request.method !== 'GET' && request.method !== 'HEAD') return answer(response, 405, 'Method Not Allowed');
    const { pathname, searchParams } = new URL(request.url ?? '/', 'https://component');
    const asked = tryHealthPath(pathname);
    if (asked !== undefined) {
      const query = { ...asked, verbose: searchParams.has('verbose'), exclude: searchParams.getAll('exclude') };
      const report = await reportHealth(checks, query, health);
      return report === undefined ? answer(response, 404, '404 page not found') : answer(response, report.code, report.text);
    }
    const refusal = await refusalOf(request, pathname);
    if (refusal !== undefined) return answer(response, refusal.status, refusal.text);
    if (pathname !== '/metrics') return answer(response, 404, '404 page not found');
    response.writeHead(200, { 'content-type': metricsType });
    for await (const part of partsOf(metrics, processMetrics)) response.write(part);
    response.end(health.text());
  }

  /** Undefined for a user who may read the path. Reviews are made with the rights of the component. */
  async function refusalOf({ headers }: IncomingMessage, path: string) {
    const token = /^Bearer +(\S+)$/i.exec(headers.authorization ?? '')?.[1];
    const signal = AbortSignal.timeout(reviewMs);
    if (token === undefined) return { status: 401, text: 'Unauthorized' };
    const { status: whose } = await client.create(
      tokenReviews,
      { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenReview', metadata: {}, spec: { token } },
      { signal },
    );
    if (whose?.authenticated !== true) return { status: 401, text: 'Unauthorized' };
    const { username = '', uid, groups = [], extra } = whose.user ?? {};
    const { status: right } = await client.create(
      subjectAccessReviews,
      {
        ...{ apiVersion: 'authorization.k8s.io/v1', kind: 'SubjectAccessReview', metadata: {} },
        spec: {
          ...{ user: username, groups },
          ...(uid === undefined ? {} : { uid }),
          ...(extra === undefined ? {} : { extra }),
          nonResourceAttributes: { path, verb: 'get' },
        },
      },
      { signal },
    );
    return right?.allowed === true ? undefined : { status: 403, text: `Forbidden: User "${username}" cannot get path "${path}"` };
  }

  return {
    name: 'component-endpoints',
    get url() {
      return url;
    },
    async start() {
      const { key, certificate: cert } = await makeSelfSigned(address, clock.now());
      const limits = { maxHeaderSize: maxHeaderBytes, headersTimeout: headersTimeoutMs };
      const created = createServer({ key, cert, minVersion: 'TLSv1.2', ...limits }, (request, response) => {
        handle(request, response).catch((err: unknown) => {
          log.warn({ err }, 'Could not answer request');
          if (response.headersSent) response.destroy();
          else answer(response, 500, 'Internal Server Error');
        });
      });
      created.maxConnections = maxConnections;
      const opened = await listen(created, port, address);
      created.on('error', (err) => log.error({ err }, 'Could not accept connection'));
      server = created;
      url = `https://${isIPv6(address) ? `[${address}]` : address}:${opened}`;
    },
    async stop() {
      const stopping = server;
      server = undefined;
      if (stopping !== undefined) await closeAtOnce(stopping);
    },
  };
}

function answer(response: ServerResponse, status: number, text: string): void {
  response.writeHead(status, { 'content-type': textType, 'x-content-type-options': 'nosniff' });
  response.end(text);
}
