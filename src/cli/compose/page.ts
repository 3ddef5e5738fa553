import { networkInterfaces } from 'node:os';
import { basename, join, resolve } from 'node:path';
import type { Clock } from '../../base/clock.ts';
import type { Component } from '../../base/component.ts';
import type { ActivityFeed } from '../../base/contracts/activity.ts';
import type { AppInspection } from '../../base/contracts/app-inspection.ts';
import type { HttpMount } from '../../base/contracts/http-mount.ts';
import type { Log } from '../../base/log.ts';
import { isLoopback } from '../../base/loopback.ts';
import type { Pki } from '../../base/pki.ts';
import type { Redactor } from '../../base/redactor.ts';
import type { TurnGate } from '../../base/turn-gate.ts';
import type { InformerSet } from '../../client/informer.ts';
import type { StepLog } from '../../reconcile/step-log.ts';
import type { GitOpsElection } from '../../web/gitops-leader.ts';
import { createWeb, type WebCertificate } from '../../web/server.ts';
import { createStateCollector } from '../../web/state-metrics.ts';
import { followCertificate } from '../certificate-files.ts';
import { type Configuration, filesOf } from '../configuration.ts';
import { type Endpoints, ensureToken } from '../data-directory.ts';
import type { MetricsPaths } from './metrics-paths.ts';
import { type Running, type Surroundings, startPart } from './part.ts';

export interface PageOptions extends Surroundings {
  readonly configuration: Configuration;
  readonly pki: Pki;
  /** Address of the API. */
  readonly api: string;
  readonly informers: InformerSet;
  readonly activity: ActivityFeed;
  readonly steps: StepLog;
  readonly metrics: MetricsPaths;
  readonly gate: TurnGate;
  readonly redactor: Redactor;
  /** Further handlers of the port: the Git remote and the webhooks. */
  readonly mounts: readonly HttpMount[];
  /** Undefined for a server that is alone. */
  readonly gitOpsElection: GitOpsElection | undefined;
  /** The engine's knowledge of apps; gives undefined before it starts. */
  inspection(): AppInspection | undefined;
}

/** The page, the metrics and what is mounted beside them, on one port. */
export interface Page extends Running {
  /** The address for clients on this machine. */
  readonly url: string;
  readonly endpoints: Pick<Endpoints, 'http' | 'page' | 'httpCertificateFile' | 'httpCaFile' | 'pageTokenFile' | 'pageOwnerTokenFile'>;
  /** Path of the page; where it asks for a login, one that logs in once. */
  newLink(): string;
}

export function startPage(options: PageOptions): Promise<Page> {
  const { configuration, pki, api, informers, activity, steps, metrics, gate, redactor, mounts } = options;
  const { gitOpsElection, inspection, clock, log, version } = options;
  const { httpAddress, tlsNames } = configuration;
  const files = filesOf(configuration.dataDirectory);
  return startPart(options, async ({ start }) => {
    const asksForLogin = configuration.requireLogin || !isLoopback(httpAddress);
    const pageToken = asksForLogin ? await ensureToken(files.pageToken) : undefined;
    const ownerToken = await ensureToken(files.pageOwnerToken);
    // The user of the kubeconfig, which is beside that file.
    const admin = await pki.clientCertificate({ name: 'admin', commonName: 'admin', organizations: ['system:masters'] });
    const httpTls = await openHttpCertificate(configuration, { pki, clock, log });
    const web = createWeb({
      address: httpAddress,
      port: configuration.httpPort,
      names: tlsNames,
      ...(httpTls === undefined ? {} : { tls: httpTls.pair }),
      ...(pageToken === undefined ? {} : { token: pageToken }),
      users: {
        api: { server: api, caCertificate: pki.caCertificate },
        owner: { name: 'admin', credentials: { clientCertificate: admin } },
        ownerToken,
      },
      inspection,
      gitOpsElection,
      grafanaUrl: configuration.grafanaUrl,
      informers,
      activity,
      steps,
      mounts,
      metrics: metrics.texts(),
      ready: () => true,
      gate,
      redact: (text) => redactor.text(text),
      clock,
      log: log.child({ component: 'web' }),
      clusterName: basename(resolve(configuration.dataDirectory, '..')),
      version,
    });
    metrics.state.addCollector(createStateCollector(informers));
    await start([...(httpTls?.parts ?? []), web]);
    const { protocol, port } = new URL(web.url);
    return {
      url: web.url,
      endpoints: {
        http: web.url,
        ...(isWildcard(httpAddress) ? { page: `${protocol}//${outsideHost(tlsNames)}:${port}` } : {}),
        ...(httpTls === undefined ? {} : { httpCertificateFile: httpTls.file }),
        ...(httpTls?.caFile === undefined ? {} : { httpCaFile: httpTls.caFile }),
        ...(pageToken === undefined ? {} : { pageTokenFile: files.pageToken }),
        pageOwnerTokenFile: files.pageOwnerToken,
      },
      newLink: () => (pageToken === undefined ? '' : web.newLink()),
    };
  });
}

interface HttpCertificate {
  readonly pair: WebCertificate;
  /** PEM, the server's certificate first. */
  readonly file: string;
  /** File of the cluster's authority, when that signed the certificate. */
  readonly caFile?: string;
  readonly parts: readonly Component[];
}

/** The certificate of page, metrics and Git remote; undefined when they speak plain HTTP. */
async function openHttpCertificate(
  { httpTls, dataDirectory, httpAddress, tlsNames }: Configuration,
  { pki, clock, log }: { readonly pki: Pki; readonly clock: Clock; readonly log: Log },
): Promise<HttpCertificate | undefined> {
  if (httpTls === undefined) return undefined;
  if (httpTls !== 'own') {
    const pair = await followCertificate(httpTls, { clock, log: log.child({ component: 'http-certificate' }) });
    return { pair, file: httpTls.certificateFile, parts: [pair] };
  }
  const own = Object.values(networkInterfaces()).flatMap((each) => (each ?? []).map(({ address }) => address));
  const hosts = ['localhost', '127.0.0.1', ...(isWildcard(httpAddress) ? own.filter((each) => !each.includes('%')) : [httpAddress])];
  const pair = await pki.serverCertificate({ name: 'http', commonName: 'midship', hosts: [...hosts, ...tlsNames] });
  const { pki: directory } = filesOf(dataDirectory);
  return { pair, file: join(directory, 'http.crt'), caFile: join(directory, 'ca.crt'), parts: [] };
}

const isWildcard = (address: string): boolean => address === '0.0.0.0' || address === '::';

/** Gives the address or name by which other machines reach this one. */
function outsideHost(names: readonly string[]): string {
  const addresses = Object.values(networkInterfaces()).flatMap((each) => each ?? []);
  const outside = addresses.find(({ internal, family }) => !internal && family === 'IPv4')?.address;
  const [name = outside ?? '127.0.0.1'] = names;
  return name.includes(':') ? `[${name}]` : name;
}
