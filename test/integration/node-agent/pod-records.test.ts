import { execFileSync, spawn } from 'node:child_process';
import { chmod, mkdir, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { isSameProcess, parseProcessStat } from '../../../src/base/process-identity.ts';
import { eventually, type RuntimeFixture } from '../../support/container-runtime.ts';
import { commandLines, createProcessFixture, hosts, isolated, sleepLike } from '../../support/process-runtime.ts';
import { createRandom } from '../../support/random.ts';

let fixture: RuntimeFixture;
afterEach(() => fixture.end());

const containerDirectoryOf = async (id: string): Promise<string> => {
  const names = await readdir(fixture.directory, { recursive: true });
  return join(fixture.directory, names.find((name) => name.endsWith(`containers/${id}`)) ?? 'missing');
};

describe.skipIf(!isolated)('a pod that spoils what it can reach (needs user namespaces)', () => {
  beforeEach(async () => {
    fixture = await createProcessFixture(hosts.namespaces);
  });

  it('writes to every descriptor of the first process, and its exit code is still the one of its program', async () => {
    const script = 'for fd in 3 4 5 6 7 8 9 10 11 12; do echo garbage >/proc/1/fd/$fd; done 2>/dev/null; ls -l /proc/1/fd; exit 7';
    const id = await fixture.run(await fixture.sandbox(), script);
    expect(await fixture.exited(id)).toMatchObject({ exitCode: 7, reason: 'Error' });
    expect(await fixture.output(id)).not.toMatch(/start\.sh|exit|failure|\/pid/);
    await fixture.reopen();
    expect(await fixture.status(id)).toMatchObject({ state: 'exited', exitCode: 7 });
  });

  it('leaves no more than 4 KiB of its termination log, from the end, and costs no memory', async () => {
    const before = process.memoryUsage().rss;
    const id = await fixture.run(
      await fixture.sandbox(),
      'truncate -s 1900M /dev/termination-log; printf "%5000s the end" x >>/dev/termination-log; exit 3',
    );
    const { exitCode, message = '' } = await fixture.exited(id);
    expect({ exitCode, length: message.length, end: message.slice(-10) }).toEqual({ exitCode: 3, length: 4096, end: ' x the end' });
    expect(process.memoryUsage().rss - before).toBeLessThan(100 * 1024 * 1024);
  });

  it('makes a termination log of 3 GB: the container ends as it ended, also for the next agent', async () => {
    const id = await fixture.run(await fixture.sandbox(), 'truncate -s 3G /dev/termination-log; exit 4');
    expect(await fixture.exited(id)).toMatchObject({ exitCode: 4 });
    await fixture.reopen();
    expect(await fixture.status(id)).toMatchObject({ state: 'exited', exitCode: 4 });
  });

  it('keeps its log, and what is noted of it, from being read by nobody but itself', async () => {
    const id = await fixture.run(await fixture.sandbox(), 'echo before; chmod 000 /proc/self/fd/1 /dev/termination-log; exit 6');
    expect(await fixture.exited(id)).toMatchObject({ exitCode: 6 });
  });

  it('has no variable that changes the programs that set its container up or enter it', async () => {
    // A dynamic loader that finds no such library says so on standard error, which is the log of the container.
    const env = [{ name: 'LD_PRELOAD', value: '/nowhere/library.so' }];
    const id = await fixture.run(await fixture.sandbox(), 'echo ready; exec sleep 60', { env });
    await fixture.printed(id, 'ready');
    const complaints = (await fixture.output(id)).split('\n').filter((line) => line.includes('/nowhere/library.so'));
    expect(complaints.filter((line) => !/'\/nowhere\/library\.so' from LD_PRELOAD/.test(line))).toEqual([]);
    // The program itself and the sleep it becomes; not unshare, mount, mkdir and the others.
    expect(complaints.length).toBeLessThanOrEqual(2);
    const result = await fixture.runtime.exec(id, ['sh', '-c', 'echo "$LD_PRELOAD"'], { timeoutMs: 5_000, limitBytes: 10_000 });
    expect(String(result.stdout)).toBe('/nowhere/library.so\n');
    expect(String(result.stderr).split('\n').length).toBeLessThanOrEqual(2);
  });

  it('gets every variable as it is, whatever the shell thinks of it, and so does a command in it', async () => {
    const env = [
      { name: 'LINES', value: "a 'quoted'\n$HOME `date` \\n\n\nend" },
      { name: 'UID', value: '77' },
      { name: 'OPTIND', value: 'text' },
      { name: 'IFS', value: 'x' },
      { name: 'a.b', value: 'dotted' },
    ];
    const id = await fixture.run(await fixture.sandbox(), '', {
      command: ['node', '-e', 'console.log(JSON.stringify(process.env)); setTimeout(() => undefined, 60_000)'],
      args: [],
      env,
    });
    const printed = JSON.parse(await fixture.printed(id, '\n')) as Record<string, string>;
    for (const { name, value } of env) expect(printed[name]).toBe(value);
    const { stdout } = await fixture.runtime.exec(id, ['printenv', 'LINES'], { timeoutMs: 5_000, limitBytes: 1_000 });
    expect(String(stdout)).toBe(`${env[0]?.value}\n`);
  });
});

describe.skipIf(!isolated)('a waiter (needs user namespaces)', () => {
  beforeEach(async () => {
    fixture = await createProcessFixture(hosts.namespaces);
  });

  it('that is killed takes its container with it', async () => {
    const length = sleepLike(611);
    const id = await fixture.run(await fixture.sandbox(), `exec sleep ${length}`);
    const { pid } = parseProcessStat(await readFile(join(await containerDirectoryOf(id), 'waiter'), 'utf8'));
    process.kill(pid, 'SIGKILL');
    expect(await fixture.exited(id)).toMatchObject({ exitCode: 137 });
    expect((await commandLines()).filter((line) => line.includes(length))).toEqual([]);
  });

  it('that is killed while no agent runs leaves a container that the next agent ends', async () => {
    const length = sleepLike(612);
    const id = await fixture.run(await fixture.sandbox(), `exec sleep ${length}`);
    const { pid } = parseProcessStat(await readFile(join(await containerDirectoryOf(id), 'waiter'), 'utf8'));
    await fixture.runtime.close();
    process.kill(pid, 'SIGKILL');
    await fixture.reopen();
    expect(await fixture.exited(id)).toMatchObject({ exitCode: 137 });
    expect((await commandLines()).filter((line) => line.includes(length))).toEqual([]);
  });
});

/** Damage that a power cut, a full disk or a hand may do to a file. */
const damages: Readonly<Record<string, (path: string) => Promise<void>>> = {
  empty: (path) => truncate(path, 0),
  half: async (path) => truncate(path, Math.floor((await readFile(path)).length / 2)),
  'wrong types': (path) => writeFile(path, '{"id": 7, "config": [], "ready": "yes", "createdAt": null, "sandbox": {}}'),
  'another value': (path) => writeFile(path, 'null'),
  zeros: async (path) => writeFile(path, Buffer.alloc((await readFile(path)).length)),
  garbage: (path) => writeFile(path, 'garbage\n'),
  huge: (path) => truncate(path, 3 * 1024 ** 3),
  'a directory': async (path) => {
    await rm(path);
    await mkdir(path);
  },
  'a pipe': async (path) => {
    await rm(path);
    execFileSync('/usr/bin/mkfifo', [path]);
  },
  'not there': (path) => rm(path),
  unreadable: (path) => chmod(path, 0o000),
};

describe.each(['namespaces', 'plain'] as const)('damaged records, %s', (mode) => {
  beforeEach(async (context) => {
    if (mode === 'namespaces' && !isolated) context.skip('this machine gives no namespaces');
    fixture = await createProcessFixture(hosts[mode]);
  });

  it('are the trouble of their own pod: the next start goes on, ends what nobody can name, and adopts the others', async () => {
    const random = createRandom(20_261);
    const pick = <T>(items: readonly T[]): T => items[Math.floor(random() * items.length)] as T;
    const healthy = await fixture.run(await fixture.sandbox(), `exec sleep ${sleepLike(700)}`);
    for (let round = 0; round < 8; round += 1) {
      const length = sleepLike(710 + round);
      const sandbox = await fixture.sandbox();
      const running = round % 2 === 0;
      const id = await fixture.run(sandbox, running ? `exec sleep ${length}` : 'exit 5');
      if (!running) await fixture.exited(id);
      const [{ uid } = { uid: '' }] = (await fixture.runtime.list()).filter((status) => status.id === sandbox);
      const container = await containerDirectoryOf(id);
      const files = ['pid', 'waiter', 'container.json', '../../sandbox.json', ...(running ? [] : ['exit'])];
      const file = pick(files);
      const kind = pick(Object.keys(damages));
      await fixture.runtime.close();
      await damages[kind]?.(join(container, file));
      await fixture.reopen();
      const what = `${file} ${kind}`;
      const other = await fixture.status(healthy);
      expect(other, `${what}, ${JSON.stringify(other)}`).toMatchObject({ state: 'running' });
      const found = (await fixture.runtime.list()).find((status) => status.uid === uid);
      const state = found?.containers.find((status) => status.id === id)?.state;
      const problems = fixture.runtime.takeProblems(uid);
      // Root reads also what is closed to all.
      const harmless = (kind === 'unreadable' && process.getuid?.() === 0) || (file === 'waiter' && kind === 'not there');
      if (state === 'running') {
        expect(harmless, `${what} left the container running`).toBe(true);
        continue;
      }
      // Without its pid a container counts as one that was not started yet, and without its exit code as one that was killed.
      if (!harmless && (file.endsWith('.json') || !['not there', 'empty'].includes(kind))) expect(problems, what).toHaveLength(1);
      await eventually(`end of the program after ${what}`, async () =>
        (await commandLines()).some((line) => line.includes(`sleep\0${length}\0`)) ? undefined : true,
      );
      if (found !== undefined) await fixture.runtime.removePodSandbox(found.id);
    }
  });

  it.each(['sandbox.json', 'container.json', 'pid', 'exit'])('%s as a directory, or empty, fails no start', async (file) => {
    for (const kind of ['a directory', 'empty', 'garbage']) {
      const id = await fixture.run(await fixture.sandbox(), 'exit 9');
      await fixture.exited(id);
      const container = await containerDirectoryOf(id);
      await fixture.runtime.close();
      await damages[kind]?.(file === 'sandbox.json' ? join(container, '../../sandbox.json') : join(container, file));
      await fixture.reopen();
      const statuses = (await fixture.runtime.list()).flatMap(({ containers }) => containers).filter((status) => status.id === id);
      if (file === 'exit') expect(statuses[0]).toMatchObject(kind === 'empty' ? { exitCode: 137 } : { exitCode: 255, reason: 'Unknown' });
      else if (file.endsWith('.json')) expect(statuses).toEqual([]);
    }
  });

  it('from another boot belong to ended pods: no process with an old pid is touched', async () => {
    const sandbox = await fixture.sandbox();
    const id = await fixture.run(sandbox, 'exit 0');
    await fixture.exited(id);
    const container = await containerDirectoryOf(id);
    const stranger = spawn('sleep', [sleepLike(744)], { stdio: 'ignore' });
    await new Promise((resolve) => stranger.once('spawn', resolve));
    await fixture.runtime.close();
    const stat = await readFile(`/proc/${stranger.pid}/stat`, 'utf8');
    for (const file of ['pid', 'waiter']) await writeFile(join(container, file), stat);
    await writeFile(join(container, 'exit'), '');
    for (const path of [join(container, 'container.json'), join(container, '../../sandbox.json')]) {
      const record = JSON.parse(await readFile(path, 'utf8')) as object;
      await writeFile(path, JSON.stringify({ ...record, bootId: 'another boot' }));
    }
    await fixture.reopen();
    const [found] = await fixture.runtime.list();
    expect(found).toMatchObject({ ready: false, containers: [{ state: 'exited', exitCode: 137 }] });
    await fixture.runtime.removePodSandbox(sandbox);
    const { pid, startTime } = parseProcessStat(stat);
    expect(await isSameProcess(pid, startTime)).toBe(true);
    stranger.kill('SIGKILL');
  });
});
