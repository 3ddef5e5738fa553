import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { TLSSocket } from 'node:tls';
import type { Clock } from '../base/clock.ts';
import type { Component } from '../base/component.ts';
import { closeAtOnce, listen } from '../base/listening.ts';
import type { Log } from '../base/log.ts';
import type { LiveKeyPair } from '../base/pki.ts';
import type { NodeAgent } from './agent.ts';
import { type LogOptions, readLog } from './container-log.ts';
import { containerHeader, containerLines, countsOf, type Measurement, nodeCountLines, resourceLines } from './container-metrics.ts';
import type { ContainerRuntime, ContainerStatus, SandboxStatus } from './container-runtime.ts';
import { HttpError } from './http-error.ts';
import type { KubeletMetrics } from './kubelet-metrics.ts';
import { allContainers } from './pod-references.ts';
import { summaryOf } from './stats-summary.ts';
import { createStreamingServer, streamingPath } from './streaming/streaming-server.ts';

export interface KubeletApiOptions {
  readonly agent: NodeAgent;
  readonly runtime: ContainerRuntime;
  /** The node's InternalIP. */
  readonly address: string;
  /** 10250 as everywhere; 0 takes a free one. */
  readonly port: number;
  /** For `address`. */
  readonly tls: LiveKeyPair;
  /** PEM: who calls must have a certificate of this authority that names `system:masters`. */
  readonly caCertificate: string;
  /** `/metrics` beyond what is known here, and `/metrics/probes`. */
  readonly metrics?: KubeletMetrics;
  readonly metricsText?: () => Promise<string>;
  readonly clock: Clock;
  readonly log: Log;
}

/** The kubelet's own HTTPS API of one node, by which the API server gets logs and Prometheus gets measurements. */
export interface KubeletApi extends Component {
  /** `https://ADDRESS:PORT`, once started. */
  readonly url: string;
}

const metricsType = 'text/plain; version=0.0.4; charset=utf-8';
const textType = 'text/plain; charset=utf-8';
const maxHeaderBytes = 16 * 1024;
const headersTimeoutMs = 10_000;
/** Callers may read everything of this node and its pods. */
const requiredGroup = 'system:masters';

export function createKubeletApi(options: KubeletApiOptions): KubeletApi {
  const { agent, runtime, address, tls, caCertificate, clock, log: parent } = options;
  const log = parent.child({ component: 'kubelet-api', node: agent.nodeName });
  const abort = new AbortController();
  let server: Server | undefined;
  let url = '';
  const secureContext = () => ({ key: tls.key, cert: tls.certificate, ca: caCertificate, minVersion: 'TLSv1.2' as const });
  const streaming = createStreamingServer({ agent, runtime, clock, log, authorize });

  const routes: readonly (readonly [RegExp, (request: Request) => Promise<void>])[] = [
    [/^\/healthz(?:\/.*)?$/, ({ response }) => send(response, 'ok')],
    [/^\/(?:pods|runningpods)\/?$/, sendPods],
    [/^\/containerLogs\/([^/]+)\/([^/]+)\/([^/]+)$/, sendLog],
    [/^\/metrics$/, sendMetrics],
    [/^\/metrics\/cadvisor$/, sendContainerMetrics],
    [/^\/metrics\/resource$/, sendResourceMetrics],
    [/^\/stats\/summary$/, sendSummary],
    [
      /^\/metrics\/probes$/,
      ({ response }) => send(response, [...(options.metrics?.probeLines(agent.nodeName) ?? [])].join(''), metricsType),
    ],
    [streamingPath, () => Promise.reject(new HttpError(400, 'Upgrade request required'))],
    [
      /^\/(?:exec|attach|portForward|run|cri|stats|checkpoint|logs|configz|debug)(?:\/.*)?$/,
      () => Promise.reject(new HttpError(501, 'not supported by this node agent')),
    ],
  ];

  interface Request {
    readonly request: IncomingMessage;
    readonly response: ServerResponse;
    readonly parameters: readonly string[];
    readonly query: URLSearchParams;
  }

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      authorize(request);
      if (request.method !== 'GET') throw new HttpError(405, 'Method Not Allowed');
      const { pathname, searchParams } = new URL(request.url ?? '/', 'https://kubelet');
      for (const [pattern, route] of routes) {
        const match = pattern.exec(pathname);
        if (match === null) continue;
        await route({ request, response, parameters: match.slice(1).map(decoded), query: searchParams });
        return;
      }
      throw new HttpError(404, '404 page not found');
    } catch (err) {
      fail(request, response, err);
    }
  }

  function fail(request: IncomingMessage, response: ServerResponse, err: unknown): void {
    if (response.destroyed || request.destroyed) return;
    if (!(err instanceof HttpError)) log.error({ err, path: request.url?.split('?')[0] }, 'Could not answer request');
    if (response.headersSent) {
      response.destroy();
      return;
    }
    const message = err instanceof Error ? err.message : String(err);
    response.writeHead(err instanceof HttpError ? err.status : 500, { 'content-type': textType });
    response.end(message);
  }

  async function sendPods({ response }: Request): Promise<void> {
    const items = [...agent.pods()].map(({ pod: { metadata, spec, status } }) => ({ metadata, spec, status }));
    await send(response, JSON.stringify({ kind: 'PodList', apiVersion: 'v1', metadata: {}, items }), 'application/json');
  }

  async function sendLog({ response, parameters, query }: Request): Promise<void> {
    const [namespace = '', name = '', container = ''] = parameters;
    const found = agent.podNamed(namespace, name);
    if (found === undefined) throw new HttpError(404, `pod "${name}" not found`);
    if (!allContainers(found.pod).some((candidate) => candidate.name === container)) {
      throw new HttpError(404, `container "${container}" not found in pod "${name}"`);
    }
    const logOptions = parseLogOptions(query, clock.now());
    if (!runtime.runsPrograms) throw new HttpError(400, `container "${container}" in pod "${name}" is simulated and has no output`);
    const status = runOf(found.sandbox, container, query.get('previous') === 'true', name);
    const containerLog = runtime.logOf(status.id);
    if (containerLog === undefined) throw new HttpError(400, `container "${container}" in pod "${name}" has no output`);
    response.writeHead(200, { 'content-type': 'text/plain', 'transfer-encoding': 'chunked' });
    response.flushHeaders();
    const closed = new AbortController();
    const stop = (): void => closed.abort();
    response.once('close', stop);
    abort.signal.addEventListener('abort', stop, { once: true });
    const isRunning = (): boolean => currentOf(namespace, name, status.id)?.state === 'running';
    try {
      // Back-pressure reaches the reading of the file; an abandoned answer ends it.
      await pipeline(Readable.from(readLog({ log: containerLog, options: logOptions, isRunning, clock, signal: closed.signal })), response);
    } catch (err) {
      if (!closed.signal.aborted) throw err;
    } finally {
      abort.signal.removeEventListener('abort', stop);
    }
  }

  function currentOf(namespace: string, name: string, id: string): ContainerStatus | undefined {
    return agent.podNamed(namespace, name)?.sandbox?.containers.find((status) => status.id === id);
  }

  async function sendMetrics({ response }: Request): Promise<void> {
    const counts = [...nodeCountLines([{ name: agent.nodeName, ...countsOf(agent.pods()) }])].join('');
    await send(response, options.metricsText === undefined ? counts : await options.metricsText(), metricsType);
  }

  async function sendContainerMetrics({ response }: Request): Promise<void> {
    const measurement = { stats: await runtime.stats(), at: clock.now() };
    await send(response, containerHeader + [...containerLines(agent.nodeName, agent.pods(), measurement)].join(''), metricsType);
  }

  async function measureNode(): Promise<Measurement> {
    const [stats, machine] = await Promise.all([runtime.stats(), runtime.machineUsage?.()]);
    return { stats, machine, at: clock.now() };
  }

  async function sendSummary({ response }: Request): Promise<void> {
    const [measurement, volumes] = await Promise.all([measureNode(), agent.volumeStats()]);
    const summary = summaryOf(agent.nodeName, agent.pods(), measurement, volumes);
    await send(response, JSON.stringify(summary), 'application/json');
  }

  async function sendResourceMetrics({ response }: Request): Promise<void> {
    await send(response, [...resourceLines(agent.pods(), await measureNode())].join(''), metricsType);
  }

  return {
    name: `kubelet-api ${agent.nodeName}`,
    get url() {
      return url;
    },

    async start() {
      const created = createServer(
        {
          ...secureContext(),
          requestCert: true,
          rejectUnauthorized: true,
          maxHeaderSize: maxHeaderBytes,
          headersTimeout: headersTimeoutMs,
        },
        (request, response) => void handle(request, response),
      );
      server = created;
      tls.onRenewed(() => server?.setSecureContext(secureContext()));
      created.on('upgrade', streaming.handleUpgrade);
      // A caller without our certificate, or one that hangs up: its own matter.
      created.on('tlsClientError', (err) => log.debug({ err }, 'Refused connection'));
      const port = await listen(created, options.port, address);
      created.on('error', (err) => log.error({ err }, 'Could not accept connection'));
      url = `https://${address}:${port}`;
    },

    async stop() {
      abort.abort(new Error('kubelet API stops'));
      const stopping = server;
      server = undefined;
      if (stopping === undefined) return;
      const closed = closeAtOnce(stopping);
      streaming.close();
      await closed;
    },
  };
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch (err) {
    throw new HttpError(400, `malformed path segment ${part}`, { cause: err });
  }
}

function authorize(request: IncomingMessage): void {
  const { subject } = (request.socket as TLSSocket).getPeerCertificate();
  const organizations: readonly string[] = [subject?.O ?? []].flat();
  if (organizations.includes(requiredGroup)) return;
  throw new HttpError(403, `Forbidden (user=${subject?.CN ?? ''}, verb=get, resource=nodes, subresource(s)=[proxy])`);
}

async function send(response: ServerResponse, text: string, type = textType): Promise<void> {
  response.writeHead(200, { 'content-type': type });
  response.end(text);
}

/** The run whose output is asked for. */
function runOf(sandbox: SandboxStatus | undefined, container: string, previous: boolean, pod: string): ContainerStatus {
  const runs = (sandbox?.containers ?? [])
    .filter(({ name, state }) => name === container && state !== 'created')
    .sort((a, b) => b.attempt - a.attempt);
  const run = runs[previous ? 1 : 0];
  if (run !== undefined) return run;
  if (previous) throw new HttpError(400, `previous terminated container "${container}" in pod "${pod}" not found`);
  throw new HttpError(400, `container "${container}" in pod "${pod}" is waiting to start: ContainerCreating`);
}

function parseLogOptions(query: URLSearchParams, now: number): LogOptions {
  const number = (name: string): number | undefined => {
    const text = query.get(name);
    if (text === null || text === '') return undefined;
    const value = Number(text);
    if (!Number.isInteger(value) || value < 0) throw new HttpError(400, `invalid ${name}: ${text}`);
    return value;
  };
  const sinceSeconds = number('sinceSeconds');
  const sinceTime = query.get('sinceTime');
  const since = sinceSeconds === undefined ? (sinceTime === null ? undefined : Date.parse(sinceTime)) : now - sinceSeconds * 1_000;
  if (since !== undefined && Number.isNaN(since)) throw new HttpError(400, `invalid sinceTime: ${sinceTime}`);
  return {
    follow: query.get('follow') === 'true',
    tailLines: number('tailLines'),
    since,
    timestamps: query.get('timestamps') === 'true',
    limitBytes: number('limitBytes'),
  };
}
