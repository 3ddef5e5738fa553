import { execFileSync } from 'node:child_process';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type BreakingProxy, startBreakingProxy } from '../../support/breaking-proxy.ts';
import { type Etcd, startEtcd } from '../../support/etcd.ts';
import { createFakeTime, type FakeTime, hasFakeTime } from '../../support/fake-time.ts';
import { temporaryDirectory } from '../../support/git.ts';
import { firstToken, type ServerProcess, startServer } from '../../support/servers.ts';
import { type Api, openApi } from './api.ts';
import type { History } from './history.ts';

export type StoreName = 'sqlite' | 'etcd';

/** Servers and members of a run. */
export interface Topology {
  readonly store: StoreName;
  readonly servers: number;
  /** Members of etcd; 0 for SQLite. */
  readonly members: number;
  /** Servers have a clock that the harness steps; their start takes longer for it. */
  readonly hasClock: boolean;
}

/** A server with what lies between it and others. */
export interface StageServer {
  readonly index: number;
  /** Connections of clients. */
  readonly front: BreakingProxy;
  /** Connections to each member of etcd. */
  readonly back: readonly BreakingProxy[];
  readonly api: Api;
  readonly time: FakeTime | undefined;
  signal(signal: NodeJS.Signals): void;
  /** kill -9, and waits for the end. */
  kill(): Promise<void>;
  /** Starts it again, with its data. */
  restart(): Promise<void>;
}

export interface Stage {
  readonly topology: Topology;
  readonly servers: readonly StageServer[];
  readonly etcd: Etcd | undefined;
  /** A small file system with the data of SQLite, or of etcd with one member; undefined where this user may not mount. */
  readonly disk: string | undefined;
  readonly history: History;
  /** Waits until every server answers for itself that it is ready. */
  ready(): Promise<void>;
  stop(): Promise<void>;
}

const canMount = process.getuid?.() === 0;
const sqliteDiskMiB = 64;
/** The log of etcd alone takes two files of 64 MB. */
const etcdDiskMiB = 256;
/** Bounds of waits, for a machine with much other work. */
const startMs = 120_000;
const readyMs = 60_000;
const maxStarts = 20;
const allDisabled = 'controllers,scheduler,gitops,node,ingress,servicelb';

export async function startStage(topology: Topology, history: History): Promise<Stage> {
  const directory = await temporaryDirectory('fault-store');
  const { store, members, hasClock } = topology;
  const disk = canMount && members < 2 ? join(directory, 'disk') : undefined;
  if (disk !== undefined) {
    await mkdir(disk);
    const size = store === 'sqlite' ? sqliteDiskMiB : etcdDiskMiB;
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${size}m`, 'midship-fault', disk]);
  }
  const data = disk ?? directory;
  const etcd = members === 0 ? undefined : await startEtcd({ members, directory: join(data, 'etcd') });
  let isStopping = false;
  const parts = Array.from({ length: topology.servers }, (_, index) => ({
    index,
    directory: join(store === 'sqlite' ? data : directory, `server-${index}`),
    // The harness must be able to write it when the disk is full.
    clockDirectory: hasClock ? join(directory, `clock-${index}`) : undefined,
    etcd,
    history,
    isStopping: () => isStopping,
  }));
  // All are waited for, so that none is left behind when another one does not start.
  const starts = await Promise.allSettled(parts.map(createServer));
  const servers = starts.flatMap((start) => (start.status === 'fulfilled' ? [start.value] : []));
  async function stop(): Promise<void> {
    isStopping = true;
    for (const { api, front, back } of servers) {
      api.close();
      front.stop();
      for (const proxy of back) proxy.stop();
    }
    await Promise.all(servers.map((server) => server.kill()));
    await etcd?.stop();
    if (disk !== undefined) execFileSync('umount', ['--lazy', disk]);
    await rm(directory, { recursive: true, force: true });
  }
  const failure = starts.find((start) => start.status === 'rejected');
  if (failure !== undefined) {
    await stop();
    throw failure.reason;
  }
  return {
    ...{ topology, servers, etcd, disk, history },
    async ready() {
      await Promise.all(servers.map(({ api, index }) => untilReady(api, index)));
    },
    stop,
  };
}

async function untilReady(api: Api, index: number): Promise<void> {
  const deadline = performance.now() + readyMs;
  for (let last = ''; ; await sleep(100)) {
    const answer = await api.request({ method: 'GET', path: '/api/v1/namespaces/default' }).catch((err: Error) => err);
    if (!(answer instanceof Error) && answer.code === 200) return;
    last = answer instanceof Error ? answer.message : JSON.stringify(answer);
    if (performance.now() > deadline) throw new Error(`server ${index} is not ready ${readyMs / 1_000} s after the faults: ${last}`);
  }
}

/** Both ways in which a start says that the disk is full. */
const noRoom = /The disk is full|The disk of the data directory has no room/;

/** A start on a full disk may be refused, as a service manager sees it: it is tried again until there is room. */
async function untilRoom(start: () => Promise<ServerProcess>): Promise<ServerProcess> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await start();
    } catch (err) {
      if (tries === maxStarts || !noRoom.test((err as Error).message)) throw err;
    }
  }
}

/** Another cluster on this machine would take the default ones while a server is away. */
const clusterCidr = `10.${100 + (process.pid % 100)}.0.0/16`;

interface ServerParts {
  readonly index: number;
  readonly directory: string;
  readonly clockDirectory: string | undefined;
  readonly etcd: Etcd | undefined;
  readonly history: History;
  readonly isStopping: () => boolean;
}

async function createServer({ index, directory, clockDirectory, etcd, history, isStopping }: ServerParts): Promise<StageServer> {
  await mkdir(directory);
  const back = await Promise.all((etcd?.endpoints ?? []).map((endpoint) => startBreakingProxy(endpoint)));
  if (clockDirectory !== undefined) await mkdir(clockDirectory);
  const time = clockDirectory !== undefined && hasFakeTime ? createFakeTime(clockDirectory, 0) : undefined;
  const store = etcd === undefined ? 'sqlite' : `etcd://${back.map(({ host, port }) => `${host}:${port}`).join(',')}`;
  const flags = ['--store', store, '--node-name', `server-${index}`, '--disable', allDisabled, '--cluster-cidr', clusterCidr];
  const args = etcd === undefined ? flags : [...flags, '--token', firstToken];
  const start = async (): Promise<ServerProcess> => {
    const started = await startServer({ dataDirectory: directory, args, environment: time?.environment ?? {}, timeoutMs: startMs });
    void started.ended.then(() => {
      if (isKilled || isStopping()) return;
      history.append({ type: 'exit', server: index, output: started.output.slice(-2_000), at: performance.now() });
    });
    return started;
  };
  let isKilled = false;
  const target = { host: '127.0.0.1', port: 0 };
  let process = await start();
  const follow = (): void => {
    target.port = Number(new URL(process.endpoints.api).port);
  };
  follow();
  const front = await startBreakingProxy(target);
  const api = await openApi(process.endpoints.kubeconfig, () => front.port);
  return {
    ...{ index, front, back, api, time },
    signal: (signal) => process.signal(signal),
    async kill() {
      isKilled = true;
      process.signal('SIGKILL');
      await process.ended;
    },
    async restart() {
      isKilled = false;
      process = await untilRoom(start);
      follow();
    },
  };
}
