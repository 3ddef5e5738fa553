// Real etcd members for benchmarks. Writes are synced to disk, as those of SQLite are.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { temporary } from './cluster.mjs';

const etcdPath = '/usr/bin/etcd';
export const hasEtcd = existsSync(etcdPath);
/** On addresses that no other program has: etcd has to know its ports in advance. */
const port = 2379;

/** Resolves when all members serve, so that no start of a server has theirs in it. */
export async function startEtcd(members = 1) {
  const directory = temporary('etcd');
  const hosts = Array.from({ length: members }, (_, at) => `127.33.0.${at + 1}`);
  const peerOf = (host) => `http://${host}:2380`;
  const cluster = hosts.map((host, at) => `m${at}=${peerOf(host)}`).join(',');
  const children = hosts.map((host, at) => {
    const client = `http://${host}:${port}`;
    return spawn(
      etcdPath,
      [
        ...['--name', `m${at}`, '--data-dir', join(directory, `m${at}`), '--log-level', 'error', '--initial-cluster', cluster],
        ...['--listen-client-urls', client, '--advertise-client-urls', client],
        ...['--listen-peer-urls', peerOf(host), '--initial-advertise-peer-urls', peerOf(host)],
      ],
      { stdio: 'ignore' },
    );
  });
  await Promise.all(hosts.map((host, at) => untilHealthy(host, children[at])));
  return {
    endpoints: hosts.map((host) => ({ host, port })),
    url: `etcd://${hosts.map((host) => `${host}:${port}`).join(',')}`,
    /** Position of the member that leads. Ids have 64 bits, so they are compared as texts. */
    leader: () =>
      hosts.findIndex((host) => {
        const { stdout } = spawnSync(`${etcdPath}ctl`, ['--endpoints', `${host}:${port}`, 'endpoint', 'status', '-w', 'fields'], {
          encoding: 'utf8',
        });
        const fieldOf = (field) => new RegExp(`^"${field}" : (\\d+)$`, 'm').exec(stdout)?.[1];
        return fieldOf('MemberID') !== undefined && fieldOf('MemberID') === fieldOf('Leader');
      }),
    kill: (at) => children[at].kill('SIGKILL'),
    /** Waits for the ends, since the next ones have the same addresses. */
    async end() {
      const ends = children.map((child) => child.exitCode ?? child.signalCode ?? new Promise((resolve) => child.once('exit', resolve)));
      for (const child of children) child.kill('SIGKILL');
      await Promise.all(ends);
    },
  };
}

/** A member that an earlier run left has the address, and would be measured with what is in it. */
async function untilHealthy(host, child) {
  const isHealthy = () =>
    fetch(`http://${host}:${port}/health`).then(
      ({ ok }) => ok,
      () => false,
    );
  do {
    await new Promise((resolve) => setTimeout(resolve, 20));
    if (child.exitCode !== null) throw new Error(`etcd ended with ${child.exitCode}; is another one at ${host}:${port}?`);
  } while (!(await isHealthy()));
}
