import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { promisify } from 'node:util';
import type { EtcdEndpoint } from '../../src/storage/etcd/client.ts';
import { temporaryDirectory } from './git.ts';
import { until } from './until.ts';

const etcdPath = '/usr/bin/etcd';
const execFileAsync = promisify(execFile);
const ctlOptions = { timeout: 10_000, env: { ...process.env, ETCDCTL_API: '3' } };
const clientPort = 2379;
export const hasEtcd = existsSync(etcdPath);

/** Real etcd members on this machine, one cluster. */
export interface Etcd {
  readonly endpoints: readonly EtcdEndpoint[];
  /** Sends a signal to a member and, for SIGKILL, waits for its end. */
  signal(member: number, signal: NodeJS.Signals): Promise<void>;
  /** Starts a member that has ended, with its data. */
  restart(member: number): Promise<void>;
  /** Removes a member, and adds an empty one of the same name and address in its place. The others need a majority. */
  replace(member: number): Promise<void>;
  /** The output of `etcdctl`, asked of a member. */
  ctl(member: number, ...args: string[]): Promise<string>;
  stop(): Promise<void>;
}

export interface EtcdOptions {
  readonly members?: number;
  /** Further flags of each member. */
  readonly flags?: readonly string[];
  /** For the data; a temporary one when absent. */
  readonly directory?: string;
  /** Files for TLS; clients need a certificate of the same authority. Members of a cluster speak plainly to each other. */
  readonly tls?: (host: string) => Promise<EtcdFiles>;
}

export interface EtcdFiles {
  readonly ca: string;
  readonly certificate: string;
  readonly key: string;
}

/** Writes are not synced to disk: a test that cuts the power has no use for these members. */
export async function startEtcd({ members = 1, flags = [], tls, directory: given }: EtcdOptions = {}): Promise<Etcd> {
  const directory = given ?? (await temporaryDirectory('etcd'));
  // etcd has to know its ports in advance. An address of its own for each member leaves no other program that could take them.
  const hosts = Array.from({ length: members }, () => `127.33.${randomInt(1, 255)}.${randomInt(1, 255)}`);
  const peerOf = (host: string): string => `http://${host}:2380`;
  const cluster = hosts.map((host, at) => `m${at}=${peerOf(host)}`).join(',');
  const processes: ChildProcess[] = [];
  const files = await Promise.all(hosts.map((host) => tls?.(host)));
  const start = (at: number, isNew = true): void => {
    const host = hosts[at] as string;
    const own = files[at];
    const client = `${own === undefined ? 'http' : 'https'}://${host}:${clientPort}`;
    processes[at] = spawn(
      etcdPath,
      [
        ...['--name', `m${at}`, '--data-dir', `${directory}/m${at}`, '--log-level', 'error', '--unsafe-no-fsync'],
        ...['--listen-client-urls', client, '--advertise-client-urls', client],
        ...['--listen-peer-urls', peerOf(host), '--initial-advertise-peer-urls', peerOf(host), '--initial-cluster', cluster],
        ...['--initial-cluster-state', isNew ? 'new' : 'existing'],
        ...(own === undefined
          ? []
          : ['--cert-file', own.certificate, '--key-file', own.key, '--trusted-ca-file', own.ca, '--client-cert-auth']),
        ...flags,
      ],
      { stdio: 'ignore' },
    );
  };
  const ended = (child: ChildProcess): Promise<void> =>
    new Promise((resolve) => {
      if (child.exitCode !== null || child.signalCode !== null) resolve();
      else child.once('exit', () => resolve());
    });
  const accepts = (at: number): Promise<boolean> =>
    new Promise((resolve) => {
      const socket = connect(clientPort, hosts[at] as string, () => {
        socket.destroy();
        resolve(true);
      });
      socket.on('error', () => resolve(false));
    });
  const ready = (at: number): Promise<unknown> => until(() => accepts(at), { what: `member ${at} of etcd accepts connections` });

  const ctl = async (member: number, ...args: string[]): Promise<string> => {
    const { stdout } = await execFileAsync(`${etcdPath}ctl`, ['--endpoints', `${hosts[member]}:${clientPort}`, ...args], ctlOptions);
    return stdout;
  };

  for (let at = 0; at < members; at += 1) start(at);
  await Promise.all(hosts.map((_, at) => ready(at)));
  return {
    endpoints: hosts.map((host) => ({ host, port: clientPort })),
    async signal(member, signal) {
      const child = processes[member] as ChildProcess;
      child.kill(signal);
      if (signal === 'SIGKILL') await ended(child);
    },
    async restart(member) {
      start(member);
      await ready(member);
    },
    ctl,
    async replace(member) {
      const asked = (member + 1) % members;
      const line = (await ctl(asked, 'member', 'list')).split('\n').find((each) => each.includes(` m${member},`)) ?? '';
      await ctl(asked, 'member', 'remove', line.split(',')[0] as string);
      const child = processes[member] as ChildProcess;
      child.kill('SIGKILL');
      await ended(child);
      await rm(`${directory}/m${member}`, { recursive: true, force: true });
      await ctl(asked, 'member', 'add', `m${member}`, '--peer-urls', peerOf(hosts[member] as string));
      start(member, false);
      await ready(member);
    },
    async stop() {
      for (const child of processes) child.kill('SIGKILL');
      await Promise.all(processes.map(ended));
      await rm(directory, { recursive: true, force: true });
    },
  };
}
