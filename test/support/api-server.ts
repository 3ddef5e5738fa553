import { rmSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import type { IncomingHttpHeaders } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { builtInKinds } from '../../src/api/kinds.ts';
import { loadSchemas } from '../../src/api/schemas.ts';
import { createAggregator } from '../../src/apiserver/aggregation/aggregator.ts';
import { anyOf, createStaticTokens } from '../../src/apiserver/authentication/token-authenticator.ts';
import { bootstrap, bootstrapAccess, frontProxyName } from '../../src/apiserver/bootstrap.ts';
import type { KubeApiOptions } from '../../src/apiserver/create-kube-api.ts';
import { createAuthenticator } from '../../src/apiserver/http/authentication.ts';
import { createOpenApi } from '../../src/apiserver/openapi.ts';
import { type ApiServer, type ApiServerOptions, createApiServer } from '../../src/apiserver/server.ts';
import { apiServerUser } from '../../src/apiserver/user.ts';
import { systemClock } from '../../src/base/clock.ts';
import { createLog } from '../../src/base/log.ts';
import { createMetrics, type Metrics } from '../../src/base/metrics.ts';
import type { KeyPair } from '../../src/base/pki/key-pair.ts';
import type { SigningKey } from '../../src/base/pki/signing-key.ts';
import { openPki, type Pki } from '../../src/base/pki.ts';
import { createHttpClient, type HttpClient } from '../../src/client/http-client.ts';
import { createInformerSet } from '../../src/client/informer-set.ts';
import { formatKubeconfig } from '../../src/client/kubeconfig.ts';
import { startTestApi, type TestApi, testServiceCidr } from './api.ts';
import { type CommandResult, run } from './cluster.ts';

/** An API server on a free port, with the certificates of a cluster of its own. */
export interface TestApiServer {
  readonly api: TestApi;
  readonly server: ApiServer;
  readonly serverOptions: ApiServerOptions;
  readonly metrics: Metrics;
  readonly pki: Pki;
  /** Signed the certificate with which requests are passed on to other servers. */
  readonly frontProxyCa: string;
  readonly adminCertificate: KeyPair;
  readonly kubeconfig: string;
  readonly directory: string;
  /** As the administrator, over HTTP. */
  readonly client: HttpClient;
  /** Bearer token of user `alice`, who may do nothing. */
  readonly aliceToken: string;
  kubectl(...args: string[]): Promise<CommandResult>;
  /** As the administrator, unless other credentials are given. */
  fetch(path: string, options?: FetchOptions): Promise<FetchResult>;
  stop(): Promise<void>;
}

interface FetchOptions {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Text and bytes as they are, anything else as JSON. */
  readonly body?: unknown;
  /** No credentials. */
  readonly anonymous?: boolean;
}

export interface FetchResult {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
  /** The text, parsed. */
  // biome-ignore lint/suspicious/noExplicitAny: tests look into answers of every shape
  readonly json: any;
}

const aliceToken = 'alice-token-of-tests';
export const adminToken = 'admin-token-of-tests';

let certificates: Promise<Certificates> | undefined;

interface Certificates {
  readonly pki: Pki;
  readonly signingKey: SigningKey;
  readonly serverCertificate: KeyPair;
  readonly admin: KeyPair;
  readonly kubelet: KeyPair;
  readonly frontProxy: { readonly caCertificate: string; readonly certificate: KeyPair };
}

/** One authority for all servers of a process: keys take longer to make than a server to start. */
async function makeCertificates(): Promise<Certificates> {
  const directory = await mkdtemp(join(tmpdir(), 'pki-'));
  process.once('exit', () => rmSync(directory, { recursive: true, force: true }));
  const pki = await openPki({ directory, clock: systemClock });
  const admin = await pki.clientCertificate({ name: 'admin', commonName: 'admin', organizations: ['system:masters'] });
  const kubelet = await pki.clientCertificate({ name: 'apiserver-kubelet-client', commonName: 'kube-apiserver-kubelet-client' });
  const frontProxyAuthority = await openPki({ directory: join(directory, 'front-proxy'), clock: systemClock });
  const frontProxy = {
    caCertificate: frontProxyAuthority.caCertificate,
    certificate: await frontProxyAuthority.clientCertificate({ name: frontProxyName, commonName: frontProxyName }),
  };
  // Made once: servers that start at the same time would write the same files.
  const signingKey = await pki.signingKey();
  const serverCertificate = await pki.serverCertificate({
    name: 'apiserver',
    commonName: 'kube-apiserver',
    hosts: ['localhost', '127.0.0.1'],
  });
  return { pki, signingKey, serverCertificate, admin, kubelet, frontProxy };
}

/** A server of an empty store, with what every cluster has from its start. */
export async function startTestApiServer(
  options: Partial<KubeApiOptions> = {},
  overrides: Partial<ApiServerOptions> = {},
): Promise<TestApiServer> {
  certificates ??= makeCertificates();
  const { pki, signingKey, frontProxy } = await certificates;
  const api = await startTestApi({ signingKey, ...options });
  await bootstrapAccess(api.clientFor(apiServerUser));
  const running = await serveTestApi(api, overrides);
  const apiPort = Number(new URL(running.server.url).port);
  const serviceCidr = options.serviceCidr ?? testServiceCidr;
  const authorities = { clientCa: pki.caCertificate, requestHeaderCa: frontProxy.caCertificate };
  await bootstrap({ client: api.clientFor(apiServerUser), serviceCidr, apiAddress: '127.64.0.1', apiPort, authorities });
  return running;
}

/** Puts `api` on the wire; stopping the server stops it, too. */
export async function serveTestApi(api: TestApi, overrides: Partial<ApiServerOptions> = {}): Promise<TestApiServer> {
  certificates ??= makeCertificates();
  const { pki, serverCertificate, admin: adminCertificate, kubelet: kubeletCertificate, frontProxy } = await certificates;
  const directory = await mkdtemp(join(tmpdir(), 'apiserver-'));
  const metrics = createMetrics();
  const schemas = loadSchemas(builtInKinds.map((kind) => kind.schemas));
  const log = createLog({ level: process.env.TEST_LOG_LEVEL ?? 'silent' });
  const abort = new AbortController();
  const own = api.clientFor(apiServerUser);
  const informers = createInformerSet({ client: own, clock: systemClock, log });
  const aggregator = createAggregator({
    client: own,
    informers,
    frontProxy: frontProxy.certificate,
    metrics,
    clock: systemClock,
    log,
    random: Math.random,
  });
  const serverOptions: ApiServerOptions = {
    kubeApi: api.kubeApi,
    tls: {
      caCertificate: pki.caCertificate,
      // Not renewed, and so not holding on to servers that have stopped.
      certificate: { certificate: serverCertificate.certificate, key: serverCertificate.key, onRenewed: () => undefined },
    },
    address: '127.0.0.1',
    port: 0,
    authenticator: createAuthenticator({
      tokens: anyOf([
        createStaticTokens({
          [aliceToken]: { name: 'alice', groups: ['devs'] },
          [adminToken]: { name: 'root', groups: ['system:masters'] },
        }),
        api.kubeApi.tokenAuthenticator,
      ]),
      clock: systemClock,
    }),
    flowControl: api.kubeApi.flowControl,
    serviceAccounts: api.kubeApi.tokens,
    kubelet: { caCertificate: pki.caCertificate, clientCertificate: kubeletCertificate },
    openApi: createOpenApi(api.kubeApi.kinds, () => schemas),
    healthChecks: [{ name: 'etcd', liveness: true, check: async () => void (await api.storage.range({ prefix: 'core/', limit: 1 })) }],
    metrics,
    metricsText: () => metrics.text(),
    clock: systemClock,
    random: Math.random,
    log,
    aggregator,
    version: '0.1.0',
    ...overrides,
  };
  const server = createApiServer(serverOptions);
  informers.start({ signal: abort.signal });
  await aggregator.start({ signal: abort.signal });
  await server.start({ signal: abort.signal });
  const kubeconfig = join(directory, 'kubeconfig');
  const connection = { server: server.url, caCertificate: pki.caCertificate, clientCertificate: adminCertificate };
  await writeFile(kubeconfig, formatKubeconfig({ name: 'test', ...connection }));
  const client = createHttpClient({ ...connection, userAgent: 'test/1' });

  return {
    api,
    server,
    serverOptions,
    metrics,
    pki,
    frontProxyCa: frontProxy.caCertificate,
    adminCertificate,
    kubeconfig,
    directory,
    client,
    aliceToken,
    kubectl: (...args) =>
      run('kubectl', ['--cache-dir', join(directory, 'cache'), ...args], { ...process.env, KUBECONFIG: kubeconfig, NO_COLOR: '1' }),
    fetch: (path, fetchOptions) => fetchFrom(server.url, pki.caCertificate, path, fetchOptions),
    async stop() {
      client.close();
      await server.stop();
      await aggregator.stop();
      abort.abort(new Error('server stops'));
      await api.stop();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

function fetchFrom(server: string, ca: string, path: string, options: FetchOptions = {}): Promise<FetchResult> {
  const { method = 'GET', headers = {}, body, anonymous = false } = options;
  const { hostname, port } = new URL(server);
  const credentials = anonymous ? {} : { authorization: `Bearer ${adminToken}` };
  const isJson = body !== undefined && typeof body !== 'string' && !Buffer.isBuffer(body);
  const bytes =
    body === undefined ? undefined : Buffer.isBuffer(body) ? body : Buffer.from(isJson ? JSON.stringify(body) : (body as string));
  return new Promise((resolve, reject) => {
    const request = httpsRequest(
      // `path` goes out as it is, so that odd paths reach the server.
      {
        hostname,
        port,
        path,
        method,
        ca,
        agent: false,
        headers: {
          ...credentials,
          ...(isJson ? { 'content-type': 'application/json' } : {}),
          ...(bytes === undefined ? {} : { 'content-length': bytes.length }),
          ...headers,
        },
      },
      (response) => {
        let text = '';
        response.setEncoding('utf8');
        response.on('data', (chunk: string) => {
          text += chunk;
        });
        response.on('end', () =>
          resolve({
            status: response.statusCode ?? 0,
            headers: response.headers,
            text,
            get json() {
              return JSON.parse(text);
            },
          }),
        );
        response.on('error', reject);
      },
    );
    request.on('error', reject);
    request.end(bytes);
  });
}
