import { type ChildProcess, spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { connect } from 'node:net';
import type { EtcdEndpoint } from '../../src/storage/etcd/client.ts';
import { temporaryDirectory } from './git.ts';
import { until } from './until.ts';

const etcdPath = '/usr/bin/etcd';
const clientPort = 2379;
export const hasEtcd = existsSync(etcdPath);

/** Real etcd members on this machine, one cluster. */
export interface Etcd {
  readonly endpoints: readonly EtcdEndpoint[];
  /** Sends a signal to a member and, for SIGKILL, waits for its end. */
  signal(member: number, signal: NodeJS.Signals): Promise<void>;
  /** Starts a member that has ended, with its data. */
  restart(member: number): Promise<void>;
  stop(): Promise<void>;
}

export interface EtcdOptions {
  readonly members?: number;
  /** Further flags of each member. */
  readonly flags?: readonly string[];
  /** Files for TLS; clients need a certificate of the same authority. Members of a cluster speak plainly to each other. */
  readonly tls?: (host: string) => Promise<EtcdFiles>;
}

export interface EtcdFiles {
  readonly ca: string;
  readonly certificate: string;
  readonly key: string;
}

/** Writes are not synced to disk: a test that cuts the power has no use for these members. */
export async function startEtcd({ members = 1, flags = [], tls }: EtcdOptions = {}): Promise<Etcd> {
  const directory = await temporaryDirectory('etcd');
  // etcd has to know its ports in advance. An address of its own for each member leaves no other program that could take them.
  const hosts = Array.from({ length: members }, () => `127.33.${randomInt(1, 255)}.${randomInt(1, 255)}`);
  const peerOf = (host: string): string => `http://${host}:2380`;
  const cluster = hosts.map((host, at) => `m${at}=${peerOf(host)}`).join(',');
  const processes: ChildProcess[] = [];
  const files = await Promise.all(hosts.map((host) => tls?.(host)));
  const start = (at: number): void => {
    const host = hosts[at] as string;
    const own = files[at];
    const client = `${own === undefined ? 'http' : 'https'}://${host}:${clientPort}`;
    processes[at] = spawn(
      etcdPath,
      [
        ...['--name', `m${at}`, '--data-dir', `${directory}/m${at}`, '--log-level', 'error', '--unsafe-no-fsync'],
        ...['--listen-client-urls', client, '--advertise-client-urls', client],
        ...['--listen-peer-urls', peerOf(host), '--initial-advertise-peer-urls', peerOf(host), '--initial-cluster', cluster],
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
    async stop() {
      for (const child of processes) child.kill('SIGKILL');
      await Promise.all(processes.map(ended));
      await rm(directory, { recursive: true, force: true });
    },
  };
}
