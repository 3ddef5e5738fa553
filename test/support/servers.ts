import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { type Lease, leases } from '../../src/api/coordination/v1/lease.ts';
import { createHttpClient, type HttpClient } from '../../src/client/http-client.ts';
import { loadKubeconfig } from '../../src/client/kubeconfig.ts';
import { program } from './cluster.ts';
import { type Etcd, startEtcd } from './etcd.ts';
import { temporaryDirectory } from './git.ts';
import { until } from './until.ts';

/** One of several `midship server` processes on one etcd. */
export interface ServerProcess {
  readonly dataDirectory: string;
  readonly endpoints: { readonly api: string; readonly git: string; readonly kubeconfig: string };
  readonly output: string;
  signal(signal: NodeJS.Signals): void;
  /** Waits for the end of the process. */
  readonly ended: Promise<void>;
}

/** Servers, and a balancer in front of their APIs that knows nothing of Kubernetes. */
export interface Servers {
  readonly all: readonly ServerProcess[];
  /** `https://127.0.0.1:PORT` of the balancer. */
  readonly url: string;
  /** The value of `--store`. */
  readonly store: string;
  readonly etcd: Etcd;
  /** A client of the balancer with the rights of the kubeconfig. */
  client(): Promise<HttpClient>;
  /** Starts a server that has ended, with its data. */
  restart(index: number): Promise<void>;
  holderOf(client: HttpClient, lease: string): Promise<Lease>;
  stop(): Promise<void>;
}

/** A server that has no token in its data directory starts with it. */
export const firstToken = 'correct-horse-battery';

export interface ServerOptions {
  /** Empty, or that of an earlier start. */
  readonly dataDirectory: string;
  /** Flags beside the addresses, which are of this machine and on free ports. */
  readonly args: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  readonly timeoutMs?: number;
}

/** Starts `midship server` and waits until it has written its addresses. */
export async function startServer({ dataDirectory, args, environment = {}, timeoutMs = 60_000 }: ServerOptions): Promise<ServerProcess> {
  const file = join(dataDirectory, 'endpoints.json');
  await rm(file, { force: true });
  const child = spawn(
    process.execPath,
    [
      ...[program, 'server', '--data-dir', dataDirectory, '--bind-address', '127.0.0.1', '--node-ip', '127.0.0.1'],
      ...['--api-port', '0', '--http-port', '0', ...args],
    ],
    { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...environment, NO_COLOR: '1' } },
  );
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream?.setEncoding('utf8').on('data', (chunk: string) => (output += chunk));
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  await until(
    () => {
      if (child.exitCode !== null || child.signalCode !== null) throw new Error(`a server ended with ${child.exitCode}:\n${output}`);
      return existsSync(file);
    },
    { timeoutMs, what: () => `a server runs; it printed:\n${output}` },
  ).catch((err: unknown) => {
    killed(child, 'SIGKILL');
    throw err;
  });
  const endpoints = JSON.parse(readFileSync(file, 'utf8')) as ServerProcess['endpoints'];
  return {
    dataDirectory,
    endpoints,
    ended,
    signal: (signal) => void killed(child, signal),
    get output() {
      return output;
    },
  };
}

/** Starts all of them at the same moment, on an empty etcd. The last one has simulated nodes. */
export async function startServers(count: number): Promise<Servers> {
  const etcd: Etcd = await startEtcd();
  const [{ host, port }] = etcd.endpoints as [{ host: string; port: number }];
  const directories = await Promise.all(Array.from({ length: count }, (_, at) => temporaryDirectory(`server-${at}`)));
  const start = (at: number): Promise<ServerProcess> =>
    startServer({
      dataDirectory: directories[at] as string,
      args: [
        ...['--store', `etcd://${host}:${port}`, '--node-name', `server-${at}`],
        ...(existsSync(join(directories[at] as string, 'server-token')) ? [] : ['--token', firstToken]),
        ...['--disable', 'node,ingress,servicelb', '--simulate-nodes', at === count - 1 ? '2' : '0'],
      ],
    });
  const all = await Promise.all(directories.map((_, at) => start(at)));
  const balancer = await startBalancer(() => all.map(({ endpoints }) => Number(new URL(endpoints.api).port)));
  const clients: HttpClient[] = [];
  return {
    all,
    url: balancer.url,
    store: `etcd://${host}:${port}`,
    etcd,
    async client() {
      const { namespace: _, ...connection } = await loadKubeconfig(all[0]?.endpoints.kubeconfig ?? '', undefined);
      const client = createHttpClient({ ...connection, server: balancer.url, userAgent: 'test' });
      clients.push(client);
      return client;
    },
    async restart(index) {
      all[index] = await start(index);
    },
    holderOf: (client, lease) => client.get(leases, { namespace: 'kube-system', name: lease }),
    async stop() {
      for (const client of clients) client.close();
      for (const server of all) server.signal('SIGKILL');
      await Promise.all(all.map(({ ended }) => ended));
      balancer.stop();
      await etcd.stop();
    },
  };
}

function killed(child: ChildProcess, signal: NodeJS.Signals): boolean {
  return child.exitCode === null && child.signalCode === null && child.kill(signal);
}

/** Gives each connection to the next port that accepts one. */
async function startBalancer(ports: () => readonly number[]): Promise<{ readonly url: string; stop(): void }> {
  let turn = 0;
  const sockets = new Set<Socket>();
  const server = createServer((client) => {
    sockets.add(client);
    client.once('close', () => sockets.delete(client));
    client.on('error', () => client.destroy());
    const all = ports();
    const attempt = (tries: number): void => {
      if (tries === all.length) {
        client.destroy();
        return;
      }
      turn += 1;
      const upstream = connect(all[turn % all.length] as number, '127.0.0.1');
      const refused = (): void => attempt(tries + 1);
      upstream.once('error', refused);
      upstream.once('connect', () => {
        upstream.off('error', refused).on('error', () => client.destroy());
        client.pipe(upstream).pipe(client);
        client.once('close', () => upstream.destroy());
        upstream.once('close', () => client.destroy());
      });
    };
    attempt(0);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `https://127.0.0.1:${(server.address() as AddressInfo).port}`,
    stop() {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}
