import { rm } from 'node:fs/promises';
import { connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { namespaces } from '../../src/api/core/v1/namespace.ts';
import { secrets } from '../../src/api/core/v1/secret.ts';
import { builtInKinds } from '../../src/api/kinds.ts';
import { kustomizations } from '../../src/api/kustomize/v1/kustomization.ts';
import { gitRepositories } from '../../src/api/source/v1/git-repository.ts';
import type { ApiServerOptions } from '../../src/apiserver/server.ts';
import { createLog } from '../../src/base/log.ts';
import { createRedactor } from '../../src/base/redactor.ts';
import { type ForeignElection, type ForeignEngine, startForeignEngine } from '../../src/cli/compose/foreign-engine.ts';
import type { Client } from '../../src/client/client.ts';
import { loadKubeconfig } from '../../src/client/kubeconfig.ts';
import { startTestApiServer, type TestApiServer } from './api-server.ts';
import { temporaryDirectory, type WorkTree } from './git.ts';
import { serveRemote } from './git-remote.ts';
import { until } from './until.ts';

type Cleanup = (undo: () => Promise<unknown>) => void;

/** The engine's source on a cluster of others. */
const managed = { 'midship.dev/managed': 'true' };

/** A cluster that has none of Flux's kinds, as one fresh from its installer, with the namespace `apps`. */
export async function foreignCluster(cleanup: Cleanup, overrides: Partial<ApiServerOptions> = {}): Promise<TestApiServer> {
  const kinds = builtInKinds.filter(({ group }) => !group.endsWith('.toolkit.fluxcd.io'));
  const server = await startTestApiServer({ kinds }, overrides);
  cleanup(() => server.stop());
  await server.client.create(namespaces, { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'apps' } });
  return server;
}

export interface StartForeignOptions {
  readonly cleanup: Cleanup;
  readonly election?: ForeignElection;
  /** Ends up in the user agent. */
  readonly version?: string;
  /** Instead of the address in the kubeconfig. */
  readonly address?: string;
}

export async function startForeign(server: TestApiServer, options: StartForeignOptions): Promise<ForeignEngine> {
  const { cleanup, election, version = '0.0.0', address } = options;
  const { namespace: _, ...connection } = await loadKubeconfig(server.kubeconfig);
  const cacheDirectory = await temporaryDirectory('gitops-cache');
  cleanup(() => rm(cacheDirectory, { recursive: true, force: true }));
  return startForeignEngine({
    connection: { ...connection, ...(address === undefined ? {} : { server: address }) },
    clusterName: 'foreign',
    httpPort: 0,
    cacheDirectory,
    log: createLog({ level: process.env.MIDSHIP_TEST_LOG ?? 'silent' }),
    redactor: createRedactor(),
    version,
    election,
    signal: new AbortController().signal,
  });
}

/** Serves the repository to the cluster, as GitRepository `app` in namespace `apps`. */
export async function followRepository(client: Client, repository: WorkTree, cleanup: Cleanup): Promise<void> {
  const remote = await serveRemote({ repositories: { app: join(repository.directory, '.git') }, token: 'secret' });
  cleanup(() => remote.stop());
  await client.create(secrets, {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name: 'git', namespace: 'apps' },
    data: { username: Buffer.from('midship').toString('base64'), password: Buffer.from('secret').toString('base64') },
  });
  await client.create(gitRepositories, {
    apiVersion: 'source.toolkit.fluxcd.io/v1',
    kind: 'GitRepository',
    metadata: { name: 'app', namespace: 'apps', labels: managed },
    spec: { url: remote.url('app'), interval: '1s', ref: { branch: 'main' }, secretRef: { name: 'git' } },
  });
}

/** An app of the directory of its name. */
export async function createApp(client: Client, name: string, labels: Readonly<Record<string, string>> = managed): Promise<void> {
  await client.create(kustomizations, {
    apiVersion: 'kustomize.toolkit.fluxcd.io/v1',
    kind: 'Kustomization',
    metadata: { name, namespace: 'apps', labels },
    spec: { interval: '1m', prune: true, path: `./${name}`, targetNamespace: 'apps', sourceRef: { kind: 'GitRepository', name: 'app' } },
  });
}

/** Waits until the app is well at the commit. */
export async function appReadyAt(client: Client, name: string, sha: string): Promise<void> {
  const read = () => client.get(kustomizations, { namespace: 'apps', name });
  await until(
    async () => {
      const { status } = await read();
      return (
        status?.lastAppliedRevision === `main@sha1:${sha}` &&
        status.conditions?.some(({ type, status: is }) => type === 'Ready' && is === 'True')
      );
    },
    { what: async () => JSON.stringify(await read()) },
  );
}

/** A connection to a server that can be cut: running requests break off, and new ones fail until it is repaired. */
export interface Wire {
  /** `https://127.0.0.1:PORT` */
  readonly url: string;
  cut(): void;
  mend(): void;
  stop(): Promise<void>;
}

export async function openWire(server: string): Promise<Wire> {
  const { hostname, port } = new URL(server);
  const sockets = new Set<Socket>();
  let isCut = false;
  const relay = createServer((near) => {
    if (isCut) {
      near.destroy();
      return;
    }
    const far = connect(Number(port), hostname);
    for (const [one, other] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(one);
      one.on('error', () => other.destroy());
      one.on('close', () => {
        sockets.delete(one);
        other.destroy();
      });
      one.pipe(other);
    }
  });
  await new Promise<void>((resolve) => relay.listen(0, '127.0.0.1', resolve));
  const address = relay.address();
  if (address === null || typeof address === 'string') throw new Error('the relay has no port');
  const cut = (): void => {
    isCut = true;
    for (const socket of sockets) socket.destroy();
  };
  return {
    url: `https://127.0.0.1:${address.port}`,
    cut,
    mend() {
      isCut = false;
    },
    async stop() {
      cut();
      await new Promise((resolve) => relay.close(resolve));
    },
  };
}
