import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { cp, mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { bootId, parseProcessStat, thisProcess } from '../../../src/base/process-identity.ts';
import { endSquatters } from '../../../src/cli/compose/leftovers.ts';
import { claimNetwork, directoryIdentity, readEndpoints, refuseRunning, tryEndpoints } from '../../../src/cli/data-directory.ts';
import { down } from '../../../src/cli/down.ts';
import { noteBackup } from '../../../src/cli/purge.ts';
import { ensureBareRepository, seedRepository } from '../../../src/gitops/sources/bare-repository.ts';
import { eventually, type RuntimeFixture } from '../../support/container-runtime.ts';
import { cloneRepository, temporaryDirectory } from '../../support/git.ts';
import { keepNetwork } from '../../support/network.ts';
import { commandLines, createProcessFixture, hosts, isolated, sleepLike } from '../../support/process-runtime.ts';

let cluster: RuntimeFixture;
let stranger: ChildProcess;
let printed = '';
let network = 0;
let giveUpNetwork = (): void => {};
let own: readonly string[] = [];
const output = new Writable({
  write(chunk, _, done) {
    printed += String(chunk);
    done();
  },
});

beforeEach(async () => {
  printed = '';
  cluster = await createProcessFixture(isolated ? hosts.namespaces : hosts.plain);
  await mkdir(join(cluster.directory, 'pki'));
  const claim = await claimNetwork(cluster.directory);
  network = claim.network.n;
  giveUpNetwork = await keepNetwork(network);
  await claim.release();
  stranger = spawn('sleep', [sleepLike(601)], { stdio: 'ignore' });
  await new Promise((resolve) => stranger.once('spawn', resolve));
});
afterEach(async () => {
  stranger.kill('SIGKILL');
  await cluster.reopen();
  await cluster.end();
  giveUpNetwork();
});

const runs = async (argument: string): Promise<boolean> => (await commandLines()).some((line) => line.includes(argument));
const ask = (purge: boolean, dataDirectory = cluster.directory) =>
  down({ dataDirectory, purge, isAgreed: false, ask: undefined, now: Date.now(), output });
const startTimeOf = async (pid: number): Promise<number> => parseProcessStat(await readFile(`/proc/${pid}/stat`, 'utf8')).startTime;
const noteEndpoints = (endpoints: object) =>
  writeFile(join(cluster.directory, 'endpoints.json'), JSON.stringify({ api: '', http: '', git: '', kubeconfig: '', ...endpoints }));

async function groupsOfThisTest(): Promise<readonly string[]> {
  const { cgroups } = isolated ? hosts.namespaces : hosts.plain;
  if (cgroups.version === undefined) return [];
  const roots = cgroups.version === 2 ? [cgroups.root] : Object.values(cgroups.roots);
  const names = await Promise.all(roots.map((root) => readdir(root, { recursive: true }).catch(() => [])));
  return names.flat().filter((name) => own.some((id) => name.endsWith(`/${id}`)));
}

/** Two pods whose agent is gone: one ends when it is asked, one only when it is killed. */
async function crash(): Promise<readonly [willing: string, stubborn: string, log: string]> {
  const [willing, stubborn] = [sleepLike(602), sleepLike(603)];
  const script = `trap 'echo asked; exit 0' TERM; echo ready; sleep ${willing} & wait`;
  const id = await cluster.run(await cluster.sandbox({ gracePeriodMs: 10_000 }), script);
  await cluster.printed(id, 'ready');
  await cluster.run(await cluster.sandbox({ gracePeriodMs: 300 }), `trap '' TERM; sleep ${stubborn}`);
  await eventually('start of the second pod', async () => ((await runs(stubborn)) ? true : undefined));
  const { path = '' } = cluster.runtime.logOf(id) ?? {};
  own = (await cluster.runtime.list()).map((sandbox) => sandbox.id);
  await cluster.runtime.close();
  return [willing, stubborn, path];
}

it('never signals a stranger that has the pid of a cluster which is gone', async () => {
  const pid = stranger.pid ?? 0;
  const known = { pid, startTime: await startTimeOf(pid), bootId: await bootId() };
  for (const gone of [{ pid }, { ...known, startTime: known.startTime - 1 }, { ...known, bootId: 'another boot' }]) {
    await noteEndpoints(gone);
    await expect(readEndpoints(cluster.directory)).rejects.toThrow('not running');
    await expect(ask(false)).rejects.toMatchObject({ message: 'Midship is not running', exitCode: 2 });
  }
  expect({ exitCode: stranger.exitCode, signal: stranger.signalCode }).toEqual({ exitCode: null, signal: null });
  await noteEndpoints(await thisProcess());
  await expect(readEndpoints(cluster.directory)).resolves.toMatchObject({ pid: process.pid });
});

it('leaves a running cluster alone in a copy of its directory', async () => {
  const pid = stranger.pid ?? 0;
  const directory = await directoryIdentity(cluster.directory);
  await noteEndpoints({ pid, startTime: await startTimeOf(pid), bootId: await bootId(), directory });
  const copy = await temporaryDirectory('copy');
  await cp(cluster.directory, copy, { recursive: true });
  await expect(ask(false, copy)).rejects.toMatchObject({ message: 'Midship is not running', why: expect.stringContaining('is a copy') });
  expect(stranger.signalCode).toBeNull();
  await expect(readEndpoints(cluster.directory)).resolves.toMatchObject({ pid });
});

it('leaves the pods of a killed cluster alone in a copy of its directory, and deletes the copy alone', async () => {
  const directory = await directoryIdentity(cluster.directory);
  await noteEndpoints({ pid: stranger.pid, startTime: 1, bootId: await bootId(), directory });
  const pods = (await crash()).slice(0, 2);
  const copy = await temporaryDirectory('copy');
  await cp(cluster.directory, copy, { recursive: true });
  await expect(ask(false, copy)).rejects.toMatchObject({ message: 'Midship is not running', why: expect.stringContaining('is a copy') });
  expect(await ask(true, copy)).toBe(0);
  expect(printed).toBe(`data deleted: ${copy}\n`);
  expect(await Promise.all(pods.map(runs))).toEqual([true, true]);
  expect(await ask(false)).toBe(0);
  expect(await Promise.all(pods.map(runs))).toEqual([false, false]);
});

it('refuses a start in a copy of the directory of a killed cluster while its pods run, and takes none over', async () => {
  const directory = await directoryIdentity(cluster.directory);
  const kubeconfig = join(cluster.directory, 'kubeconfig');
  await noteEndpoints({ pid: stranger.pid, startTime: 1, bootId: await bootId(), directory, kubeconfig });
  const pods = (await crash()).slice(0, 2);
  const copy = await temporaryDirectory('copy');
  await cp(cluster.directory, copy, { recursive: true });
  await expect(refuseRunning(copy)).rejects.toMatchObject({
    message: `pods of the cluster that ${copy} was copied from still run`,
    fix: expect.stringContaining(`midship down --data-dir ${cluster.directory}`),
  });
  await expect(refuseRunning(cluster.directory)).resolves.toBeUndefined();
  expect(await Promise.all(pods.map(runs))).toEqual([true, true]);
  expect(await ask(false)).toBe(0);
  await expect(refuseRunning(copy)).resolves.toBeUndefined();
});

it('stops the cluster that the file names, and waits for its end', async () => {
  const pid = stranger.pid ?? 0;
  await noteEndpoints({ pid, startTime: await startTimeOf(pid), bootId: await bootId() });
  expect(await ask(false)).toBe(0);
  expect(stranger.signalCode).toBe('SIGTERM');
  expect(printed).toBe('stopped\n');
});

it('waits for a cluster that stops already, which other commands refuse', async () => {
  const pid = stranger.pid ?? 0;
  await noteEndpoints({ pid, startTime: await startTimeOf(pid), bootId: await bootId(), isStopping: true });
  await expect(readEndpoints(cluster.directory)).rejects.toMatchObject({
    message: `the cluster of ${cluster.directory} is stopping`,
    fix: expect.stringContaining('midship down'),
  });
  expect(await tryEndpoints(cluster.directory)).toBeUndefined();
  expect(await ask(false)).toBe(0);
  expect(printed).toBe('stopped\n');
});

it('stops the pods that outlived a crash, each within its grace period, and says so', async () => {
  const [willing, stubborn, log] = await crash();
  expect(await ask(false)).toBe(0);
  expect(printed).toBe('stopped 2 pods that outlived a crash\n');
  expect([await runs(willing), await runs(stubborn)]).toEqual([false, false]);
  expect(await readFile(log, 'utf8')).toBe('ready\nasked\n');
  await expect(ask(false)).rejects.toThrow('not running');
});

it('deletes no data while a pod runs on', async () => {
  const [willing, stubborn] = await crash();
  expect(await ask(true)).toBe(0);
  expect(printed).toBe(`stopped 2 pods that outlived a crash\ndata deleted: ${cluster.directory}\n`);
  expect([await runs(willing), await runs(stubborn), existsSync(cluster.directory)]).toEqual([false, false, false]);
  // Control groups are not in the directory, and stay forever when nobody removes them.
  expect(await groupsOfThisTest()).toEqual([]);
});

it('ends also pods whose records are gone or damaged', async () => {
  const [willing, stubborn] = await crash();
  for (const { id } of await cluster.runtime.list()) {
    await writeFile(join(cluster.directory, 'pods/node-a/runtime/sandboxes', id, 'sandbox.json'), '{');
  }
  expect(await ask(true)).toBe(0);
  expect([await runs(willing), await runs(stubborn), existsSync(cluster.directory)]).toEqual([false, false, false]);
});

it('is not kept from it by a pod that took the addresses of the cluster, and neither is a start', async () => {
  const [willing, stubborn] = await crash();
  // Below the ports that the kernel gives to connections, one of which may have any other, and of its own beside other runs.
  const apiPort = 20_000 + (process.pid % 8_000);
  const squat = async (address: string, port: number): Promise<void> => {
    const script = `require('net').createServer().listen(${port}, '${address}', () => console.log('listens'))`;
    await cluster.reopen();
    const id = await cluster.run(await cluster.sandbox(), '', { command: ['node', '-e', script], args: [] });
    await cluster.printed(id, 'listens');
    await cluster.runtime.close();
  };
  await squat(`127.${network}.255.254`, 10_255);
  await expect(claimNetwork(cluster.directory)).rejects.toThrow('in use');
  const configuration = { dataDirectory: cluster.directory, bindAddress: '127.0.0.1', apiPort };
  expect(await endSquatters(configuration)).toEqual([{ address: `127.${network}.255.254`, port: 10_255 }]);
  await (await claimNetwork(cluster.directory)).release();
  await squat('0.0.0.0', apiPort);
  expect(await endSquatters(configuration)).toEqual([{ address: '0.0.0.0', port: apiPort }]);
  await squat(`127.${network}.255.254`, 10_255);
  expect([await runs(willing), await runs(stubborn)]).toEqual([true, true]);
  expect(await ask(false)).toBe(0);
  expect(printed).toBe('stopped 2 pods that outlived a crash\n');
});

it('touches nothing while another process has the addresses of the cluster', async () => {
  const [willing] = await crash();
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(10_255, `127.${network}.255.254`, resolve));
  await expect(ask(true)).rejects.toThrow('in use by another cluster');
  server.close();
  expect([await runs(willing), existsSync(cluster.directory)]).toEqual([true, true]);
  await ask(true);
});

it('deletes commits that were pushed only when it is allowed to, and says what would be lost', async () => {
  const repository = join(cluster.directory, 'git', 'cluster.git');
  await ensureBareRepository(repository);
  const now = Date.now();
  const purge = (answer: boolean | undefined, isAgreed = false): Promise<{ readonly code: number; readonly question: string }> => {
    let question = '';
    const asked = async (text: string): Promise<boolean> => {
      question = text;
      return answer === true;
    };
    return down({
      dataDirectory: cluster.directory,
      purge: true,
      isAgreed,
      ask: answer === undefined ? undefined : asked,
      now,
      output,
    }).then((code) => ({ code, question }));
  };
  const tree = await cloneRepository(repository, 'purge');
  await tree.git('checkout', '--quiet', '-b', 'main');
  await tree.commit('mine', { 'a.yaml': 'a: 1\n' });
  await tree.git('push', '--quiet', 'origin', 'main');

  await expect(purge(undefined)).rejects.toMatchObject({
    exitCode: 2,
    message: expect.stringContaining(cluster.directory),
    why: expect.stringMatching(/1 commit, the newest [0-9a-f]{7} on main, .* ago\. There is no backup\./),
    fix: expect.stringContaining('--yes'),
  });
  await noteBackup(cluster.directory, { file: '/nowhere/cluster.tar', at: new Date(now - 7_200_000).toISOString() });
  expect(await purge(false)).toMatchObject({
    code: 1,
    question: expect.stringContaining('last backup is /nowhere/cluster.tar, 2 h old, and not there any more'),
  });
  expect(existsSync(join(repository, 'HEAD'))).toBe(true);
  expect(await purge(undefined, true)).toMatchObject({ code: 0 });
  expect(existsSync(cluster.directory)).toBe(false);
});

it('asks nothing where the repository has the examples alone, and deletes what a link leads to', async () => {
  const gitdir = join(cluster.directory, 'git', 'cluster.git');
  await ensureBareRepository(gitdir);
  await seedRepository({ gitdir, directory: join(import.meta.dirname, '../../../examples-repo') });
  const link = join(await temporaryDirectory('link'), 'data');
  await symlink(cluster.directory, link);
  expect(await ask(true, link)).toBe(0);
  expect(await readdir(link)).toEqual([]);
});
