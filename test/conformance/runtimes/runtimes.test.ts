import { chmod, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { afterAll, afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ContainerError, ImageError, UnsupportedError } from '../../../src/node-agent/container-runtime.ts';
import { eventually, RuntimeFixture } from '../../support/container-runtime.ts';
import { runtimes } from './runtimes.ts';

/** A program that runs until SIGTERM, at which it exits with 9. */
const untilTerm = 'trap "exit 9" TERM; echo ready; while :; do sleep 0.05; done';
const unknown = 'no-such-id';

describe.each(runtimes)('container runtime $name', (under) => {
  let fixture: RuntimeFixture;
  beforeEach(async (context) => {
    if (under.skip !== undefined) context.skip(under.skip);
    fixture = await RuntimeFixture.create(under);
  });
  afterEach(() => (under.skip === undefined ? fixture.end() : undefined));
  afterAll(() => under.close?.());

  /** The kinds of runtimes differ in what a container does, so each group says which it is for. */
  const { runsPrograms } = under;
  const programs = describe.skipIf(!runsPrograms);

  /** Ends as soon as the container has begun. */
  async function running(sandbox: string, changes: Parameters<RuntimeFixture['run']>[2] = {}): Promise<string> {
    const id = await fixture.run(sandbox, untilTerm, changes);
    if (runsPrograms) await fixture.printed(id, 'ready');
    return id;
  }

  describe('sandboxes', () => {
    it('have an address of their own, and say what pod they are of', async () => {
      const config = fixture.sandboxConfig({ gracePeriodMs: 5_000 });
      const first = await fixture.runtime.runPodSandbox(config);
      await fixture.sandbox();
      const before = Date.now();
      const found = await fixture.runtime.list();
      expect(found).toHaveLength(2);
      expect(new Set(found.map(({ ip }) => ip)).size).toBe(2);
      const { namespace, name, uid, attempt, gracePeriodMs } = config;
      const status = found.find(({ id }) => id === first);
      expect(status).toMatchObject({ namespace, name, uid, attempt, gracePeriodMs, ready: true, containers: [] });
      expect(status?.ip).toMatch(/^[\d.]+$/);
      expect(Math.abs((status?.createdAt ?? 0) - before)).toBeLessThan(60_000);
    });

    it('are listed by pod', async () => {
      const config = fixture.sandboxConfig();
      await fixture.runtime.runPodSandbox(config);
      await fixture.sandbox();
      expect((await fixture.runtime.list({ podUid: config.uid })).map(({ uid }) => uid)).toEqual([config.uid]);
      expect(await fixture.runtime.list({ podUid: unknown })).toEqual([]);
    });

    it('are made once an attempt, also by calls at the same time', async () => {
      const config = fixture.sandboxConfig();
      const ids = await Promise.all([1, 2, 3].map(() => fixture.runtime.runPodSandbox(config)));
      expect(new Set([...ids, await fixture.runtime.runPodSandbox(config)]).size).toBe(1);
      const next = await fixture.runtime.runPodSandbox({ ...config, attempt: 1 });
      expect((await fixture.runtime.list()).map(({ id, attempt }) => ({ id, attempt }))).toEqual([
        { id: ids[0], attempt: 0 },
        { id: next, attempt: 1 },
      ]);
    });

    it('are not ready once they are stopped, keep what ran in them, and start nothing', async () => {
      const sandbox = await fixture.sandbox();
      const id = await running(sandbox);
      await Promise.all([fixture.runtime.stopPodSandbox(sandbox), fixture.runtime.stopPodSandbox(sandbox)]);
      await fixture.runtime.stopPodSandbox(sandbox);
      const [status] = await fixture.runtime.list();
      expect(status).toMatchObject({ id: sandbox, ready: false, containers: [{ id, state: 'exited', exitCode: 137 }] });
      await expect(fixture.run(sandbox, 'true', { attempt: 1 })).rejects.toThrow('not ready');
    });

    it('are forgotten with their containers when they are removed, also twice and at the same time', async () => {
      const sandbox = await fixture.sandbox();
      const other = await fixture.sandbox();
      const id = await running(sandbox);
      await Promise.all([fixture.runtime.removePodSandbox(sandbox), fixture.runtime.removePodSandbox(sandbox)]);
      await fixture.runtime.removePodSandbox(sandbox);
      expect((await fixture.runtime.list()).map(({ id: each }) => each)).toEqual([other]);
      expect(fixture.runtime.logOf(id)).toBeUndefined();
    });

    it('leave no file of theirs behind', async () => {
      const config = fixture.sandboxConfig();
      const sandbox = await fixture.runtime.runPodSandbox(config);
      const id = await running(sandbox);
      await fixture.runtime.removePodSandbox(sandbox);
      const left = await readdir(fixture.directory, { recursive: true });
      expect(left.filter((path) => path.includes(config.uid) || path.includes(id))).toEqual([]);
    });
  });

  describe('containers', () => {
    it('are created, run and exit, with the time of each step', async () => {
      const sandbox = await fixture.sandbox();
      const id = await fixture.runtime.createContainer(sandbox, fixture.containerConfig(untilTerm, { configHash: 'abc' }));
      const created = await fixture.status(id);
      expect(created).toMatchObject({ name: 'main', attempt: 0, image: under.image, configHash: 'abc', state: 'created' });
      expect(created.startedAt).toBeUndefined();
      await fixture.runtime.startContainer(id);
      const { startedAt = 0, ...started } = await fixture.status(id);
      expect(started.state).toBe('running');
      expect(startedAt).toBeGreaterThanOrEqual(created.createdAt);
      expect(started.exitCode).toBeUndefined();
      await fixture.runtime.stopContainer(id, 5_000);
      const ended = await fixture.status(id);
      expect(ended).toMatchObject({ state: 'exited', startedAt, exitCode: expect.any(Number), reason: expect.any(String) });
      expect(ended.finishedAt).toBeGreaterThanOrEqual(startedAt);
    });

    it('are killed by a stop without grace', async () => {
      const id = await running(await fixture.sandbox());
      await fixture.runtime.stopContainer(id, 0);
      expect(await fixture.status(id)).toMatchObject({ state: 'exited', exitCode: 137, reason: 'Error' });
    });

    it('take several stops, and one that was never started takes none', async () => {
      const sandbox = await fixture.sandbox();
      const id = await running(sandbox);
      await Promise.all([fixture.runtime.stopContainer(id, 5_000), fixture.runtime.stopContainer(id, 5_000)]);
      const ended = await fixture.status(id);
      await fixture.runtime.stopContainer(id, 0);
      expect(await fixture.status(id)).toEqual(ended);
      const never = await fixture.runtime.createContainer(sandbox, fixture.containerConfig('true', { name: 'never' }));
      await fixture.runtime.stopContainer(never, 0);
      expect((await fixture.status(never)).state).toBe('created');
    });

    it('start once', async () => {
      const id = await running(await fixture.sandbox());
      const before = await fixture.status(id);
      await expect(fixture.runtime.startContainer(id)).rejects.toMatchObject({ reason: 'RunContainerError' });
      expect(await fixture.status(id)).toEqual(before);
      await fixture.runtime.stopContainer(id, 0);
      await expect(fixture.runtime.startContainer(id)).rejects.toMatchObject({ reason: 'RunContainerError' });
    });

    it('start once, also by calls at the same time', async () => {
      const sandbox = await fixture.sandbox();
      const id = await fixture.runtime.createContainer(sandbox, fixture.containerConfig(untilTerm));
      const outcomes = await Promise.allSettled([1, 2, 3].map(() => fixture.runtime.startContainer(id)));
      expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
      expect((await fixture.status(id)).state).toBe('running');
    });

    it('are stopped also while they start', async () => {
      const sandbox = await fixture.sandbox();
      const id = await fixture.runtime.createContainer(sandbox, fixture.containerConfig(untilTerm));
      const start = fixture.runtime.startContainer(id);
      await fixture.runtime.stopContainer(id, 0);
      await start;
      expect((await fixture.status(id)).state).toBe('exited');
    });

    it('have a name that no other of the attempt takes, also by calls at the same time', async () => {
      const sandbox = await fixture.sandbox();
      const config = fixture.containerConfig(untilTerm);
      const create = () => fixture.runtime.createContainer(sandbox, config);
      const outcomes = await Promise.allSettled([create(), create(), create()]);
      expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
      const error = await create().catch((err: unknown) => err);
      expect(error).toBeInstanceOf(ContainerError);
      expect(error).toMatchObject({ reason: 'CreateContainerError' });
      expect((await fixture.runtime.list())[0]?.containers).toHaveLength(1);
    });

    it('are one more for each restart, and those before stay until they are removed', async () => {
      const sandbox = await fixture.sandbox();
      const ids: string[] = [];
      for (const attempt of [0, 1, 2]) {
        const id = await running(sandbox, { attempt });
        ids.push(id);
        await fixture.runtime.stopContainer(id, 0);
      }
      const attempts = async () => (await fixture.runtime.list())[0]?.containers.map(({ id, attempt }) => [id, attempt]);
      expect(await attempts()).toEqual(ids.map((id, attempt) => [id, attempt]));
      await fixture.runtime.removeContainer(ids[0] ?? '');
      expect(await attempts()).toEqual([
        [ids[1], 1],
        [ids[2], 2],
      ]);
    });

    it('are killed when they are removed, and removed once', async () => {
      const sandbox = await fixture.sandbox();
      const id = await running(sandbox);
      await Promise.all([fixture.runtime.removeContainer(id), fixture.runtime.removeContainer(id)]);
      await fixture.runtime.removeContainer(id);
      expect((await fixture.runtime.list())[0]?.containers).toEqual([]);
      expect(fixture.runtime.logOf(id)).toBeUndefined();
      // The name is free again.
      await running(sandbox);
    });

    it('start, run and end side by side', async () => {
      const ids = await Promise.all(
        Array.from({ length: 8 }, async (_, index) => {
          const id = await running(await fixture.sandbox(), { name: `main-${index}` });
          await fixture.runtime.stopContainer(id, 10_000);
          return id;
        }),
      );
      for (const id of ids) expect((await fixture.status(id)).state).toBe('exited');
      expect(new Set(ids).size).toBe(8);
    });
  });

  describe('calls', () => {
    it('with ids that are not known are refused where something was to happen, and fine where it has happened', async () => {
      const { runtime } = fixture;
      const { signal } = new AbortController();
      await expect(runtime.createContainer(unknown, fixture.containerConfig('true'))).rejects.toThrow(unknown);
      await expect(runtime.startContainer(unknown)).rejects.toThrow(unknown);
      await expect(runtime.stopContainer(unknown, 0)).rejects.toThrow(unknown);
      await expect(runtime.exec(unknown, ['true'], { timeoutMs: 1_000, limitBytes: 10 })).rejects.toThrow(unknown);
      await expect(runtime.startExec(unknown, ['true'], { stdin: false, tty: false, signal })).rejects.toThrow();
      await expect(runtime.openStdin(unknown)).rejects.toThrow();
      await expect(runtime.connect(unknown, 80, signal)).rejects.toThrow();
      await runtime.stopPodSandbox(unknown);
      await runtime.removePodSandbox(unknown);
      await runtime.removeContainer(unknown);
      expect(runtime.logOf(unknown)).toBeUndefined();
      expect(runtime.takeProblems(unknown)).toEqual([]);
      expect(await runtime.listeners(unknown)).toEqual([]);
    });

    it('back say which pod has changed, until nobody listens', async () => {
      const config = fixture.sandboxConfig();
      const sandbox = await fixture.runtime.runPodSandbox(config);
      const [first, second] = [await running(sandbox, { name: 'first' }), await running(sandbox, { name: 'second' })];
      const seen: string[] = [];
      const others: string[] = [];
      const remove = fixture.runtime.onChange((uid) => seen.push(uid));
      fixture.runtime.onChange((uid) => others.push(uid));
      await fixture.runtime.stopContainer(first, 0);
      await eventually('first change', async () => others.length > 0 || undefined);
      expect(seen).toEqual(others);
      expect(new Set(seen)).toEqual(new Set([config.uid]));
      remove();
      const [count, before] = [seen.length, others.length];
      await fixture.runtime.stopContainer(second, 0);
      await eventually('second change', async () => others.length > before || undefined);
      expect(seen).toHaveLength(count);
    });

    it('name the runtime, as the node does', () => {
      expect(fixture.runtime.version).toMatch(/^[a-z]+:\/\/\S+$/);
      expect(fixture.runtime.runsPrograms).toBe(runsPrograms);
    });
  });

  describe('images', () => {
    it('that are there have a reference', async () => {
      expect((await fixture.runtime.findImage(under.image))?.reference).toMatch(/./);
    });

    it.skipIf(under.badImage === undefined)('without a name that can be read are refused (needs a runtime that reads names)', async () => {
      const error = await fixture.runtime.findImage(under.badImage ?? '').catch((err: unknown) => err);
      expect(error).toBeInstanceOf(ImageError);
      expect(error).toMatchObject({ reason: 'InvalidImageName' });
    });
  });

  describe('a restart of the agent', () => {
    it.skipIf(under.survivesRestart)('ends what lives in its process (skipped where pods survive it)', async () => {
      await running(await fixture.sandbox());
      await fixture.reopen();
      expect(await fixture.runtime.list()).toEqual([]);
    });

    describe.skipIf(!under.survivesRestart)('leaves pods alone (needs pods that survive a restart):', () => {
      it('those that run are adopted as they were, and are stopped as before', async () => {
        const sandbox = await fixture.sandbox();
        const id = await running(sandbox);
        const before = await fixture.runtime.list();
        await fixture.reopen();
        expect(await fixture.runtime.list()).toEqual(before);
        expect(await fixture.output(id)).toBe('ready\n');
        await fixture.runtime.stopContainer(id, 5_000);
        expect(await fixture.status(id)).toMatchObject({ state: 'exited', exitCode: 9 });
        await running(sandbox, { attempt: 1 });
      });

      it('a container that ended meanwhile has its exit code', async () => {
        const sandbox = await fixture.sandbox();
        const id = await fixture.run(sandbox, 'echo ready; read word; exit 5', { stdin: 'once' });
        await fixture.printed(id, 'ready');
        const stdin = await fixture.runtime.openStdin(id);
        await fixture.reopen(() => new Promise<void>((resolve) => stdin.end('go\n', resolve)));
        expect(await fixture.exited(id)).toMatchObject({ exitCode: 5, reason: 'Error' });
      });

      it('the end of an adopted one is seen', async () => {
        const id = await fixture.run(await fixture.sandbox(), 'echo ready; read word; exit 6', { stdin: 'open' });
        await fixture.printed(id, 'ready');
        await fixture.reopen();
        const changed = new Promise<string>((resolve) => fixture.runtime.onChange(resolve));
        (await fixture.runtime.openStdin(id)).end('go\n');
        await changed;
        expect(await fixture.exited(id)).toMatchObject({ exitCode: 6 });
      });

      it('addresses stay with their pods', async () => {
        await fixture.sandbox();
        await fixture.reopen();
        await fixture.sandbox();
        expect(new Set((await fixture.runtime.list()).map(({ ip }) => ip)).size).toBe(2);
      });

      it('a container that was created and never started is listed, and can be removed', async () => {
        const sandbox = await fixture.sandbox();
        const id = await fixture.runtime.createContainer(sandbox, fixture.containerConfig('true'));
        await fixture.reopen();
        expect((await fixture.status(id)).state).toBe('created');
        await fixture.runtime.removeContainer(id);
        expect(await fixture.find(id)).toBeUndefined();
      });
    });
  });

  programs('programs (needs a runtime that runs programs)', () => {
    it('leave what they printed to both streams, and their exit code', async () => {
      const id = await fixture.run(await fixture.sandbox(), 'echo out; echo err >&2; exit 7');
      expect(await fixture.exited(id)).toMatchObject({ exitCode: 7, reason: 'Error' });
      // A runtime with a pipe for each stream may read the later line first.
      expect((await fixture.output(id)).split('\n').sort()).toEqual(['', 'err', 'out']);
      const done = await fixture.run(await fixture.sandbox(), 'exit 0');
      expect(await fixture.exited(done)).toMatchObject({ exitCode: 0, reason: 'Completed' });
    });

    it('get their environment as it is written, and the name of their host', async () => {
      const env = [
        { name: 'GREETING', value: 'it\'s $HOME `id` \\ "x"' },
        { name: 'EMPTY', value: '' },
        { name: 'LINES', value: 'a\nb' },
      ];
      const id = await fixture.run(await fixture.sandbox({ hostname: 'of-this-pod' }), 'echo "$GREETING[$EMPTY]$LINES $HOSTNAME"', { env });
      await fixture.exited(id);
      expect(await fixture.output(id)).toBe('it\'s $HOME `id` \\ "x"[]a\nb of-this-pod\n');
    });

    it('get environment names that a shell cannot hold', async () => {
      const id = await fixture.run(await fixture.sandbox(), '', {
        command: ['/usr/bin/env'],
        args: [],
        env: [{ name: 'app.name', value: 'a b' }],
      });
      await fixture.exited(id);
      expect(await fixture.output(id)).toContain('app.name=a b\n');
    });

    it.skipIf(!under.hasVolumes)('leave a message about their end (needs volumes)', async () => {
      const id = await fixture.run(await fixture.sandbox(), 'echo "why it ended" >/dev/termination-log; exit 2');
      expect(await fixture.exited(id)).toMatchObject({ exitCode: 2, message: 'why it ended\n' });
    });

    it('begin in their working directory', async () => {
      const id = await fixture.run(await fixture.sandbox(), 'pwd', { workingDir: '/usr' });
      await fixture.exited(id);
      expect(await fixture.output(id)).toBe('/usr\n');
    });

    it('that are not there end their container, with the reason', async () => {
      const sandbox = await fixture.sandbox();
      const id = await fixture.runtime.createContainer(sandbox, fixture.containerConfig('', { command: ['no-such-program'], args: [] }));
      await fixture.runtime.startContainer(id).catch((err: unknown) => {
        if (!(err instanceof ContainerError)) throw err;
      });
      // At once: a pod without probes is ready as long as its container seems to run.
      expect((await fixture.status(id)).state).not.toBe('running');
      expect(await fixture.exited(id)).toMatchObject({
        exitCode: 128,
        reason: 'StartError',
        message: expect.stringContaining('exec: "no-such-program": executable file not found in $PATH'),
      });
    });

    it('choose their exit code at SIGTERM', async () => {
      const script = 'trap "sleep 0.2; exit 9" TERM; echo ready; while :; do sleep 0.05; done';
      const id = await fixture.run(await fixture.sandbox(), script);
      await fixture.printed(id, 'ready');
      await fixture.runtime.stopContainer(id, 5_000);
      expect(await fixture.status(id)).toMatchObject({ state: 'exited', exitCode: 9 });
    });

    it('are killed when their grace period is over, with all that they started', async () => {
      const sandbox = await fixture.sandbox();
      const id = await fixture.run(sandbox, 'trap "" TERM; (trap "" TERM; while :; do sleep 0.05; done) & echo ready; wait');
      await fixture.printed(id, 'ready');
      const begun = performance.now();
      await fixture.runtime.stopContainer(id, 300);
      expect(performance.now() - begun).toBeGreaterThanOrEqual(290);
      expect(await fixture.status(id)).toMatchObject({ state: 'exited', exitCode: 137 });
    });

    it('have less time when a second stop gives less', async () => {
      const id = await fixture.run(await fixture.sandbox(), 'trap "" TERM; echo ready; while :; do sleep 0.05; done');
      await fixture.printed(id, 'ready');
      const first = fixture.runtime.stopContainer(id, 300_000);
      await fixture.runtime.stopContainer(id, 100);
      await first;
      expect(await fixture.status(id)).toMatchObject({ exitCode: 137 });
    });

    it.skipIf(under.isFirstProcess)(
      'lose no signal at their start, also when many start (skipped where programs are process 1)',
      async () => {
        const codes = Array.from({ length: 12 }, async () => {
          const id = await fixture.run(await fixture.sandbox(), '', { command: ['sleep', '60'], args: [] });
          await fixture.runtime.stopContainer(id, 15_000);
          return (await fixture.status(id)).exitCode;
        });
        expect(new Set(await Promise.all(codes))).toEqual(new Set([143]));
      },
    );

    it('are measured while they run', async () => {
      const config = fixture.sandboxConfig();
      const sandbox = await fixture.runtime.runPodSandbox(config);
      const id = await running(sandbox);
      const found = await eventually('a first measurement', async () => (await fixture.runtime.stats())[0]);
      expect(found).toMatchObject({ podUid: config.uid, container: 'main' });
      expect(found.memoryRssBytes).toBeGreaterThan(0);
      expect(found.memoryWorkingSetBytes).toBeGreaterThan(0);
      expect(found.cpuUsageSeconds).toBeGreaterThanOrEqual(0);
      const { countProcesses } = fixture.runtime;
      if (countProcesses !== undefined) {
        expect(await countProcesses(config.uid)).toBeGreaterThan(0);
        expect(found.memoryUsageBytes).toBeGreaterThanOrEqual(found.memoryWorkingSetBytes ?? Number.POSITIVE_INFINITY);
        // The runtime measures the disk every 10 s.
        const written = async () => (await fixture.runtime.stats()).find(({ writableLayerBytes = 0 }) => writableLayerBytes > 0);
        expect((await eventually('the files of the container', written, 20_000)).writableLayerInodes).toBeGreaterThan(0);
      }
      await fixture.runtime.stopContainer(id, 0);
      expect(await fixture.runtime.stats()).toEqual([]);
    });

    it('are reached at a port of their pod, and seen to listen there', async () => {
      const config = fixture.sandboxConfig();
      const sandbox = await fixture.runtime.runPodSandbox(config);
      const [{ ip = '' } = {}] = await fixture.runtime.list();
      const port = 18_080;
      const id = await fixture.run(sandbox, '', { command: under.listener(ip, port), args: [] });
      await fixture.printed(id, 'listening');
      const { signal } = new AbortController();
      expect(await text(await fixture.runtime.connect(sandbox, port, signal))).toBe('hello');
      await expect(fixture.runtime.connect(sandbox, port + 1, signal)).rejects.toThrow();
      const listeners = await fixture.runtime.listeners(config.uid);
      for (const { address, port: listening } of listeners) {
        expect(listening).toBe(port);
        expect([ip, '0.0.0.0', '::']).toContain(address);
      }
    });
  });

  programs('commands in a container (needs a runtime that runs programs)', () => {
    const exec = (id: string, script: string, timeoutMs = 10_000) =>
      fixture.runtime.exec(id, ['/bin/sh', '-c', script], { timeoutMs, limitBytes: 1_000 });

    it('have its environment, and give both streams and the exit code', async () => {
      const id = await running(await fixture.sandbox(), { env: [{ name: 'A', value: '1' }] });
      const result = await exec(id, 'echo "out $A"; echo err >&2; exit 3');
      expect({ ...result, stdout: String(result.stdout), stderr: String(result.stderr) }).toEqual({
        exitCode: 3,
        timedOut: false,
        stdout: 'out 1\n',
        stderr: 'err\n',
      });
    });

    it('end at their deadline, and are cut at their size', async () => {
      const id = await running(await fixture.sandbox());
      expect((await exec(id, 'head -c 5000 /dev/zero')).stdout.length).toBe(1_000);
      expect(await exec(id, 'sleep 30', 200)).toMatchObject({ timedOut: true });
    });

    it.skipIf(!under.seesEndBehindChild)(
      'answer although a child holds their output (skipped where the runtime waits for it)',
      async () => {
        const id = await running(await fixture.sandbox());
        expect(await exec(id, 'sleep 7 & exit 0')).toMatchObject({ exitCode: 0, timedOut: false });
      },
    );

    it('run side by side', async () => {
      const id = await running(await fixture.sandbox());
      const results = await Promise.all(Array.from({ length: 8 }, (_, index) => exec(id, `echo ${index}; exit ${index}`)));
      expect(results.map(({ exitCode, stdout }) => [exitCode, String(stdout)])).toEqual(
        Array.from({ length: 8 }, (_, index) => [index, `${index}\n`]),
      );
    });

    it('are refused once it has exited', async () => {
      const id = await running(await fixture.sandbox());
      await fixture.runtime.stopContainer(id, 0);
      await expect(exec(id, 'true')).rejects.toThrow('not running');
    });

    it('take input to its end, and give streams apart', async () => {
      const id = await running(await fixture.sandbox());
      const { signal } = new AbortController();
      const session = await fixture.runtime.startExec(id, ['/bin/sh', '-c', 'cat; echo err >&2; exit 4'], {
        stdin: true,
        tty: false,
        signal,
      });
      session.stdin?.end('input\n');
      const [stdout, stderr, exitCode] = await Promise.all([text(session.stdout), text(session.stderr as never), session.exitCode]);
      expect({ stdout, stderr, exitCode }).toEqual({ stdout: 'input\n', stderr: 'err\n', exitCode: 4 });
    });

    it('have no input unless it is asked for, and are killed when the caller goes', async () => {
      const id = await running(await fixture.sandbox());
      const abort = new AbortController();
      const session = await fixture.runtime.startExec(id, ['/bin/sh', '-c', 'cat; echo begun; exec sleep 60'], {
        stdin: false,
        tty: false,
        signal: abort.signal,
      });
      expect(session.stdin).toBeUndefined();
      await new Promise((resolve) => session.stdout.once('data', resolve));
      abort.abort();
      session.stdout.resume();
      expect(await session.exitCode).toBe(137);
    });
  });

  programs('the input of a program (needs a runtime that runs programs)', () => {
    it('is what is attached to it, and ends with the first that lets go where it is open once', async () => {
      const id = await fixture.run(await fixture.sandbox(), 'cat; echo end', { stdin: 'once' });
      (await fixture.runtime.openStdin(id)).end('hello\n');
      expect(await fixture.exited(id)).toMatchObject({ exitCode: 0 });
      expect(await fixture.output(id)).toBe('hello\nend\n');
    });

    it('goes on for the next one where it stays open', async () => {
      const id = await fixture.run(await fixture.sandbox(), 'while read word; do echo "got $word"; done', { stdin: 'open' });
      for (const word of ['one', 'two']) {
        (await fixture.runtime.openStdin(id)).end(`${word}\n`);
        await fixture.printed(id, `got ${word}`);
      }
      expect((await fixture.status(id)).state).toBe('running');
    });

    it('is refused where the container reads nothing', async () => {
      const id = await running(await fixture.sandbox());
      await expect(fixture.runtime.openStdin(id)).rejects.toBeInstanceOf(UnsupportedError);
    });
  });

  describe.skipIf(!under.hasContainers)('a pod of containers (needs namespaces for each container)', () => {
    it('can be joined by a container that sees the processes of another', async () => {
      const sandbox = await fixture.sandbox();
      const target = await running(sandbox);
      const look = 'for each in /proc/[0-9]*; do tr "\\0" " " < $each/cmdline; echo; done';
      const joined = await fixture.run(sandbox, look, { name: 'spy', seesProcessesOf: target });
      const alone = await fixture.run(sandbox, look, { name: 'stranger' });
      await Promise.all([fixture.exited(joined), fixture.exited(alone)]);
      expect(await fixture.output(joined)).toContain('trap "exit 9" TERM');
      expect(await fixture.output(alone)).not.toContain('trap "exit 9" TERM');
    });

    it('gives a program its terminal, with its size and without a line end', async () => {
      const script = 'tty; printf "name? "; read name; stty size; echo "hello $name"; exit 3';
      const id = await fixture.run(await fixture.sandbox(), script, { stdin: 'once', tty: true });
      const terminal = await fixture.runtime.openTerminal?.(id, { stdin: true, signal: new AbortController().signal });
      terminal?.resize({ width: 81, height: 25 });
      const shown = text(terminal?.stdout ?? Readable.from([]));
      await fixture.printed(id, '/dev/');
      terminal?.stdin?.write('Ann\n');
      expect(await shown).toContain('25 81\r\nhello Ann\r\n');
      expect(await fixture.exited(id)).toMatchObject({ exitCode: 3 });
      expect(await fixture.output(id)).toContain('name? ');
    });
  });

  programs('volumes (needs a runtime that runs programs)', () => {
    it.skipIf(under.hasVolumes)('are refused where a container has no file system of its own (skipped where it has)', async () => {
      const mounts = [{ hostPath: '/tmp', containerPath: '/data', readOnly: true }];
      await expect(fixture.run(await fixture.sandbox(), 'true', { mounts })).rejects.toMatchObject({
        reason: 'CreateContainerConfigError',
      });
    });

    it.skipIf(!under.hasVolumes)('are at their paths: read-only ones, writable ones, parts and single files (needs volumes)', async () => {
      const volume = join(fixture.directory, 'volume');
      await mkdir(join(volume, 'part'), { recursive: true });
      // The pods of root may be another user.
      for (const path of [volume, join(volume, 'part')]) await chmod(path, 0o777);
      await writeFile(join(volume, 'key'), 'value\n');
      await writeFile(join(volume, 'part', 'key'), 'part\n');
      const script = [
        'cat /data/key /srv/part/key /etc/of-a-test/file',
        'echo x 2>/dev/null >/data/new || echo refused',
        'echo written >/out/new',
        'cat /data/new',
      ].join('; ');
      const mounts = [
        { hostPath: volume, containerPath: '/data', readOnly: true },
        { hostPath: volume, containerPath: '/out', readOnly: false },
        { hostPath: volume, subPath: 'part', subPathIsFile: false, containerPath: '/srv/part', readOnly: true },
        { hostPath: join(volume, 'key'), containerPath: '/etc/of-a-test/file', readOnly: true },
      ];
      const id = await fixture.run(await fixture.sandbox(), script, { mounts });
      await fixture.exited(id);
      expect(await fixture.output(id)).toBe('value\npart\nvalue\nrefused\nwritten\n');
      expect(await readFile(join(volume, 'new'), 'utf8')).toBe('written\n');
    });
  });

  describe.skipIf(runsPrograms)('without programs (skipped where programs run)', () => {
    it('answers probes and hooks, and says that there is nothing to attach to, to reach or to measure', async () => {
      const sandbox = await fixture.sandbox();
      const id = await running(sandbox);
      const { runtime } = fixture;
      const { signal } = new AbortController();
      expect(await runtime.exec(id, ['false'], { timeoutMs: 1_000, limitBytes: 10 })).toMatchObject({ exitCode: 0, timedOut: false });
      await expect(runtime.startExec(id, ['true'], { stdin: false, tty: false, signal })).rejects.toBeInstanceOf(UnsupportedError);
      await expect(runtime.openStdin(id)).rejects.toBeInstanceOf(UnsupportedError);
      await expect(runtime.connect(sandbox, 80, signal)).rejects.toBeInstanceOf(UnsupportedError);
      expect(runtime.logOf(id)).toBeUndefined();
      expect(await runtime.stats()).toEqual([]);
    });
  });
});
