import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import sqlite3 from 'sqlite3';
import { afterEach, describe, expect, it } from 'vitest';
import { type CommandResult, program, type RunningCluster, run, startCluster } from '../support/cluster.ts';
import { newRepository, temporaryDirectory } from '../support/git.ts';
import { until } from '../support/until.ts';

const midship = (...args: string[]): Promise<CommandResult> => run(process.execPath, [program, ...args], { ...process.env, NO_COLOR: '1' });
const up = async (...args: string[]): Promise<CommandResult> =>
  midship('up', '--runtime', 'simulated', '--data-dir', await temporaryDirectory('bad'), '--api-port', '0', '--http-port', '0', ...args);

/** Checks the three lines of an error (what, why, fix) and its exit code. */
function expectThreeLines({ code, stderr }: CommandResult, what: RegExp, fix: RegExp): void {
  expect(code).toBe(2);
  const lines = stderr.trimEnd().split('\n');
  expect(lines, stderr).toHaveLength(3);
  expect(lines[0]).toMatch(/^✗ /);
  expect(lines[0]).toMatch(what);
  expect(lines[2]).toMatch(fix);
}

/** Runs a program in a network of its own, which has loopback with ::1 alone. */
const ofNetwork = [
  '--user',
  '--map-root-user',
  '--net',
  'sh',
  '-c',
  'ip link set lo up && ip addr del 127.0.0.1/8 dev lo && exec "$@"',
  'sh',
];
const noNamespace = spawnSync('unshare', [...ofNetwork, 'true']).status !== 0;

const manifest = 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: default}\n';

let running: RunningCluster | undefined;
let server: Server | undefined;
afterEach(async () => {
  await running?.stop();
  running = undefined;
  server?.close();
});

describe('the program', () => {
  it('has lines, of which Node prints the one that an error was not caught in', async () => {
    const lines = (await readFile(program, 'utf8')).split('\n');
    expect(Math.max(...lines.map(({ length }) => length))).toBeLessThan(20_000);
  });
});

describe('mistakes of a person', () => {
  it('a port that is taken: names the holder and the flag', async () => {
    server = createServer();
    await new Promise<void>((resolve) => server?.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    for (const flag of ['--api-port', '--http-port']) {
      const result = await up(flag, String(port));
      expectThreeLines(result, new RegExp(`port ${port} is taken`), new RegExp(flag));
      expect(result.stderr).toMatch(new RegExp(`\\(${process.pid}\\)`));
      expect(result.stdout).not.toContain('✓');
    }
  });

  it.skipIf(noNamespace)('no loopback addresses of IPv4: says so, and not that all are taken (needs network namespaces)', async () => {
    const inside = (...args: string[]): Promise<CommandResult> => run('unshare', [...ofNetwork, process.execPath, program, ...args]);
    const dataDirectory = await temporaryDirectory('no-loopback');
    const started = await inside('up', '--data-dir', dataDirectory, '--api-port', '0', '--http-port', '0');
    expectThreeLines(started, /this machine has no loopback addresses of IPv4/, /ip link set lo up/);
    const { stdout } = await inside('doctor', '--data-dir', dataDirectory);
    expect(stdout).toMatch(/✗ port +127\.0\.0\.1 is not an address of this machine\n/);
    expect(stdout).not.toContain('is taken');
  });

  it('a directory that is no repository, or not there', async () => {
    const plain = await temporaryDirectory('plain');
    expectThreeLines(await up('--repo', plain), /is not a Git repository/, /git -C .* init/);
    expectThreeLines(await up('--repo', join(plain, 'gone')), /is not a directory/, /--repo/);
  });

  it('a branch that does not exist: lists those that do', async () => {
    const repository = await newRepository('branch', { 'a.yaml': manifest });
    expectThreeLines(await up('--repo', repository.directory, '--branch', 'release'), /release does not exist/, /main/);
  });

  it('a remote that cannot be reached, or refuses: a condition and a line in the terminal, and the cluster runs', async () => {
    running = await startCluster({ command: 'up', args: ['--runtime', 'simulated', '--repo', 'http://127.0.0.1:1/site.git'] });
    await until(() => running?.output().includes('cannot be reached'), { what: () => running?.output() ?? '' });
    const status = await running.midship('status', '--exit-code');
    expect(status.stdout).toMatch(/Cannot read the Git repository flux-system/);
    expect((await running.midship('status')).code).toBe(0);
    await running.stop();

    const owner = await startCluster({ command: 'up', args: ['--runtime', 'simulated'] });
    try {
      const address = new URL(owner.endpoints.git);
      address.password = 'wrong';
      running = await startCluster({ command: 'up', args: ['--runtime', 'simulated', '--repo', address.href] });
      await until(() => running?.output().includes('refused the credentials'), { what: () => running?.output() ?? '' });
      expect(running.output()).not.toContain('wrong');
    } finally {
      await owner.stop();
    }
  });

  it('a local directory is followed without polling, and its bad files are named by place', async () => {
    const repository = await newRepository('local', {
      'a.yaml': manifest,
      'clusters/home/h.yaml': 'apiVersion: v1\nkind: ConfigMap\nmetadata: { name: h, namespace: default }\n',
    });
    running = await startCluster({ command: 'up', args: ['--runtime', 'simulated', '--repo', repository.directory] });
    await until(async () => (await running?.midship('status', '--exit-code'))?.code === 0, { what: () => running?.output() ?? '' });
    expect(running.output()).toMatch(/no --path was given\. It has clusters\/home: .* start with --path clusters\/home/);
    await repository.commit('bad', {
      'b.yaml': 'apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: [b\n',
      'c.yaml': manifest,
      'd.yaml': 'apiVersion: example.com/v1\nkind: Gone\nmetadata: {name: d}\n',
    });
    await until(() => running?.output().includes('✗ flux-system'), { what: () => running?.output() ?? '' });
    expect(running.output()).toMatch(/b\.yaml:\d+:\d+ /);
    expect(running.output()).toMatch(/c\.yaml:1 defines ConfigMap default\/a, which a\.yaml:1 defines too/);
    const status = await running.midship('status', '--exit-code');
    expect(status.code).toBe(1);
    await repository.git('revert', '--no-edit', 'HEAD');
    await until(async () => (await running?.midship('status', '--exit-code'))?.code === 0, { what: () => running?.output() ?? '' });
  });

  it('a start without the flags of the one before', async () => {
    const dataDirectory = await temporaryDirectory('again');
    const spec = async (): Promise<string> =>
      (
        await running?.kubectl(
          'get',
          'kustomizations,gitrepositories',
          '-A',
          '-o',
          'jsonpath={.items[*].spec.path} {.items[*].spec.ref.branch}',
        )
      )?.stdout ?? '';
    const start = async (...args: string[]): Promise<string> => {
      running = await startCluster({ command: 'up', dataDirectory, args: ['--runtime', 'simulated', ...args] });
      const found = await spec();
      await running.stop();
      running = undefined;
      return found;
    };
    expect(await start('--path', './clusters/home', '--branch', 'live')).toBe('./clusters/home live');
    expect(await start()).toBe('./clusters/home live');
    expect(await start('--path', './')).toBe('./ live');
    // The other repository has no status.
    expect(await start('--repo', 'http://127.0.0.1:1/site.git')).toBe('./ main');
  });

  it('a data directory of a newer version', async () => {
    const dataDirectory = await temporaryDirectory('newer');
    running = await startCluster({ command: 'up', dataDirectory, args: ['--runtime', 'simulated'] });
    await running.stop();
    running = undefined;
    const database = new sqlite3.Database(join(dataDirectory, 'state.db'));
    await new Promise<void>((resolve, reject) =>
      database.exec('PRAGMA user_version = 9999', (err) => (err === null ? resolve() : reject(err))),
    );
    await new Promise<void>((resolve) => database.close(() => resolve()));
    expectThreeLines(
      await midship('up', '--data-dir', dataDirectory, '--api-port', '0', '--http-port', '0'),
      /data of version 9999; this program reads up to version 2/,
      /./,
    );
  });

  it('an agent whose server does not answer waits, saying so, and down stops it', async () => {
    const dataDirectory = await temporaryDirectory('waiting');
    const token = `K10${'0'.repeat(64)}::abcdef.0123456789abcdef`;
    const flags = ['--server', 'https://127.0.0.1:1', '--token', token, '--node-ip', `127.0.${process.pid % 250}.9`];
    const agent = spawn(process.execPath, [program, 'agent', ...flags, '--data-dir', dataDirectory], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let printed = '';
    agent.stdout.setEncoding('utf8').on('data', (text: string) => (printed += text));
    const ended = once(agent, 'exit');
    await until(() => printed.includes('https://127.0.0.1:1 does not answer'), { what: () => printed });
    expectThreeLines(await midship('agent', ...flags, '--data-dir', dataDirectory), /is running/, /midship down/);
    expect(await midship('down', '--purge', '--yes', '--data-dir', dataDirectory)).toMatchObject({
      code: 0,
      stderr: `stopped\ndata deleted: ${dataDirectory}\n`,
    });
    expect(await ended).toEqual([0, null]);
    expect(existsSync(dataDirectory)).toBe(false);
  });

  it('commands without a cluster, and unknown ones', async () => {
    const nothing = await temporaryDirectory('nothing');
    for (const command of ['status', 'git-url', 'down'])
      expectThreeLines(await midship(command, '--data-dir', nothing), /not running/, /npm start/);
    expectThreeLines(await midship('kubeconfig', '--data-dir', nothing), /no kubeconfig/, /npm start/);
    expectThreeLines(await midship('stats'), /unknown command/, /--help/);
    expectThreeLines(await midship('up', '--api-port', '99999'), /api-port/, /--help/);
    expectThreeLines(await midship('down', '--purge', '--data-dir', nothing), /not a data directory/, /--data-dir/);
  });
});
