import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { getPriority, tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../../src/base/clock.ts';
import { createPodCgroups, openCgroups } from '../../../src/node-agent/process/cgroups.ts';
import { eventually, type RuntimeFixture } from '../../support/container-runtime.ts';
import { commandLines, createProcessFixture, hosts, isolated, sleepLike } from '../../support/process-runtime.ts';

const { cgroups } = hosts.namespaces;
const mebibyte = 1024 * 1024;
/** Takes memory 8 MiB at a time and says so, up to 400 MiB. */
const greedy = `const kept = []; const take = () => { kept.push(Buffer.alloc(${8 * mebibyte}, 1)); if (kept.length < 50) setTimeout(take, 2); else console.log('took all'); }; take();`;

let fixture: RuntimeFixture;
const groupOf = async (id: string): Promise<string> =>
  String((await fixture.runtime.exec(id, ['cat', '/proc/self/cgroup'], { timeoutMs: 5_000, limitBytes: 10_000 })).stdout);

/** Forks until the kernel refuses; nothing of it may be left when the pod is removed. */
async function forkWithoutEnd(): Promise<void> {
  const length = sleepLike(662);
  const sandbox = await fixture.sandbox();
  const bomb = `(while :; do sleep ${length} & done) 2>/dev/null; echo full; exec sleep 60`;
  const id = await fixture.run(sandbox, bomb);
  await eventually('the pod is full', async () => ((await fixture.output(id)).includes('full') ? true : undefined), 50_000);
  const forked = (await commandLines()).filter((line) => line.includes(`sleep\0${length}\0`)).length;
  expect(forked).toBeGreaterThan(500);
  expect(forked).toBeLessThan(1_024);
  await fixture.runtime.removePodSandbox(sandbox);
  expect((await commandLines()).filter((line) => line.includes(length))).toEqual([]);
}

describe.skipIf(!isolated || cgroups.version === undefined)('limits by control groups (needs control groups that are ours)', () => {
  beforeEach(async () => {
    fixture = await createProcessFixture(hosts.namespaces);
  });
  afterEach(() => fixture.end());

  it('end a container that takes more memory than it may, and no other', async () => {
    const length = sleepLike(661);
    const other = await fixture.run(await fixture.sandbox(), `exec sleep ${length}`);
    const id = await fixture.run(await fixture.sandbox(), '', {
      command: ['node', '-e', greedy],
      args: [],
      limits: { memoryBytes: 128 * mebibyte, oomScoreAdjust: 1_000 },
    });
    expect(await fixture.exited(id)).toMatchObject({ exitCode: 137, reason: 'OOMKilled' });
    expect(await fixture.output(id)).not.toContain('took all');
    expect(await fixture.status(other)).toMatchObject({ state: 'running' });
    // The next agent says the same of it.
    await fixture.reopen();
    expect(await fixture.status(id)).toMatchObject({ exitCode: 137, reason: 'OOMKilled' });
  });

  it('hold for commands that join the container', async () => {
    const id = await fixture.run(await fixture.sandbox(), 'cat /proc/self/cgroup; echo ready; exec sleep 60', {
      limits: { memoryBytes: 128 * mebibyte, oomScoreAdjust: 950 },
    });
    const printed = await fixture.printed(id, 'ready');
    expect(`${await groupOf(id)}ready\n`).toBe(printed);
    const result = await fixture.runtime.exec(id, ['node', '-e', greedy], { timeoutMs: 20_000, limitBytes: 10_000 });
    expect(result.exitCode).not.toBe(0);
    expect(String(result.stdout)).not.toContain('took all');
  });

  it('change while the container runs, up and down, and hold from then on', async () => {
    const sandbox = await fixture.sandbox();
    const limitsOf = (mebibytes: number) => ({ memoryBytes: mebibytes * mebibyte, cpuRequestMilli: 100, oomScoreAdjust: 950 });
    const id = await fixture.run(sandbox, 'echo ready; exec sleep 60', { limits: limitsOf(64) });
    await fixture.printed(id, 'ready');
    const pod = { qosClass: 'Burstable', cpuRequestMilli: 100 } as const;
    const takes = async (): Promise<boolean> => {
      const { stdout } = await fixture.runtime.exec(id, ['node', '-e', greedy], { timeoutMs: 20_000, limitBytes: 10_000 });
      return String(stdout).includes('took all');
    };
    await fixture.runtime.resize?.(sandbox, pod, [{ id, limits: limitsOf(1_024) }]);
    expect(await takes()).toBe(true);
    await fixture.runtime.resize?.(sandbox, pod, [{ id, limits: limitsOf(128) }]);
    expect(await takes()).toBe(false);
  });

  it('bound the processes of a pod that forks without end', { timeout: 60_000 }, forkWithoutEnd);

  it('leave no group behind', async () => {
    const before = await groups();
    const sandbox = await fixture.sandbox();
    const id = await fixture.run(sandbox, 'exit 0');
    await fixture.exited(id);
    expect((await groups()).length).toBeGreaterThan(before.length);
    await fixture.runtime.removePodSandbox(sandbox);
    expect(await groups()).toEqual(before);
  });

  it('are gone when the agent stops, but for pods that run and containers that were out of memory', async () => {
    const own = [await fixture.sandbox(), await fixture.sandbox(), await fixture.sandbox()];
    const [ended = '', running = '', greedyOne = ''] = own;
    const ofPods = async () => (await groups()).filter((path) => own.some((id) => path.endsWith(`/${id}`))).map((path) => basename(path));
    await fixture.exited(await fixture.run(ended, 'exit 0'));
    const id = await fixture.run(running, 'echo ready; exec sleep 60');
    await fixture.printed(id, 'ready');
    const limits = { memoryBytes: 128 * mebibyte, oomScoreAdjust: 1_000 };
    const killed = await fixture.run(greedyOne, '', { command: ['node', '-e', greedy], args: [], limits });
    expect(await fixture.exited(killed)).toMatchObject({ reason: 'OOMKilled' });
    expect(new Set(await ofPods())).toEqual(new Set(own));
    await fixture.reopen();
    expect(new Set(await ofPods())).toEqual(new Set([running, greedyOne]));
    expect(await fixture.status(killed)).toMatchObject({ reason: 'OOMKilled' });
    expect((await fixture.status(id)).state).toBe('running');
    // A start after that is bounded as before.
    await fixture.exited(await fixture.run(ended, 'exit 0', { attempt: 1 }));
    expect(await ofPods()).toContain(ended);
  });

  /** Lists the groups of this fixture, which have its pod's name. */
  async function groups(): Promise<readonly string[]> {
    if (cgroups.version === undefined) return [];
    const roots = cgroups.version === 2 ? [cgroups.root] : Object.values(cgroups.roots);
    const names = (await Promise.all(roots.map(groupsBelow))).flat();
    return names.filter((path) => basename(path).startsWith(`uid-${process.pid}-`));
  }

  /** Groups of other tests go meanwhile: a recursive read of the root would fail as a whole. */
  async function groupsBelow(directory: string): Promise<readonly string[]> {
    const entries = await readdir(directory, { withFileTypes: true }).catch(() => []);
    const own = entries.filter((entry) => entry.isDirectory()).map((entry) => join(directory, entry.name));
    return [...own, ...(await Promise.all(own.map(groupsBelow))).flat()];
  }
});

describe.skipIf(!isolated)('every container (needs user namespaces)', () => {
  beforeEach(async () => {
    fixture = await createProcessFixture(hosts.namespaces);
  });
  afterEach(() => fixture.end());

  it('is ended by the kernel before the control plane, leaves no core and cannot open files without end', async () => {
    const own = Number(await readFile('/proc/self/oom_score_adj', 'utf8'));
    const limits = { oomScoreAdjust: 950 };
    const id = await fixture.run(
      await fixture.sandbox(),
      'cat /proc/self/oom_score_adj /proc/1/oom_score_adj; ulimit -c; ulimit -n; exec sleep 60',
      { limits },
    );
    await eventually('four lines', async () => ((await fixture.output(id)).split('\n').length > 4 ? true : undefined));
    const [score, first, core, files] = (await fixture.output(id)).split('\n').map(Number);
    expect([score, first, core]).toEqual([950, 950, 0]);
    expect(files).toBeLessThanOrEqual(65_536);
    expect(own).toBeLessThan(950);
    const { stdout } = await fixture.runtime.exec(id, ['cat', '/proc/self/oom_score_adj'], { timeoutMs: 5_000, limitBytes: 100 });
    expect(String(stdout)).toBe('950\n');
  });
});

describe.skipIf(!isolated)('limits without control groups (needs user namespaces)', () => {
  beforeEach(async () => {
    fixture = await createProcessFixture(hosts.withoutCgroups);
  });
  afterEach(() => fixture.end());

  it('keep a process from taking more memory than its container may, and give it a lower priority', async () => {
    expect(fixture.runtime.conditions).toMatchObject([{ type: 'midship.dev/PodLimits', status: 'False', reason: 'ProcessLimits' }]);
    const id = await fixture.run(await fixture.sandbox(), `nice; ulimit -d; node -e "${greedy}"; echo "ended with $?"`, {
      limits: { memoryBytes: 256 * mebibyte, oomScoreAdjust: 1_000 },
    });
    await fixture.exited(id);
    const output = await fixture.output(id);
    const lowest = 19;
    expect(output.split('\n').slice(0, 2)).toEqual([String(Math.min(getPriority() + 5, lowest)), '262144']);
    expect(output).not.toContain('took all');
    expect(output).toMatch(/ended with [1-9]/);
  });

  it('bound the processes of a container that forks without end', { timeout: 60_000 }, forkWithoutEnd);
});

describe('control groups of version 2', () => {
  let root: string;
  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), 'midship-cgroup-'));
    await writeFile(join(root, 'cgroup.controllers'), 'cpuset cpu io memory pids\n');
    await writeFile(join(root, 'cgroup.subtree_control'), '');
  });
  afterEach(() => rm(root, { recursive: true, force: true }));

  it('get the limits in the words of the kernel', async () => {
    const access = await openCgroups({ root, ownGroups: '0::/\n', isRoot: true });
    if (access.version === undefined) throw new Error(access.why);
    expect(access).toEqual({ version: 2, root: join(root, 'midship'), controllers: ['memory', 'pids', 'cpu'] });
    const groups = createPodCgroups({ access, node: 'n', maxProcesses: 1_024, clock: systemClock });
    await groups.prepare('pod', 'c', { memoryBytes: 1_000, cpuMilli: 250, cpuRequestMilli: 100, oomScoreAdjust: 1_000 });
    const read = (path: string): Promise<string> => readFile(join(root, 'midship', path), 'utf8');
    for (const path of ['', 'n/', 'n/pod/']) expect(await read(`${path}cgroup.subtree_control`)).toBe('+memory +pids +cpu');
    expect(await read('n/pod/pids.max')).toBe('1024');
    expect(await read('n/pod/c/memory.max')).toBe('1000');
    expect(await read('n/pod/c/memory.swap.max')).toBe('0');
    expect(await read('n/pod/c/memory.oom.group')).toBe('1');
    expect(await read('n/pod/c/cpu.max')).toBe('25000 100000');
    expect(await read('n/pod/c/cpu.weight')).toBe('4');
    expect(groups.entrances('pod', 'c')).toEqual([join(root, 'midship/n/pod/c/cgroup.procs')]);
    expect(await groups.ranOutOfMemory('pod', 'c')).toBe(false);
    await writeFile(join(root, 'midship/n/pod/c/memory.events'), 'low 0\noom 1\noom_kill 1\noom_group_kill 1\n');
    expect(await groups.ranOutOfMemory('pod', 'c')).toBe(true);
    expect(await groups.pods()).toEqual(['pod']);
  });

  it('are those below the group that was delegated to an ordinary user, also after a restart from within', async () => {
    const own = join(root, 'user.slice/midship.scope');
    await mkdir(join(own, 'midship-agent'), { recursive: true });
    await writeFile(join(own, 'cgroup.controllers'), 'memory pids\n');
    await writeFile(join(own, 'cgroup.subtree_control'), '');
    for (const ownGroups of ['0::/user.slice/midship.scope\n', '0::/user.slice/midship.scope/midship-agent\n']) {
      const expected = { version: 2, root: join(own, 'midship'), controllers: ['memory', 'pids'] };
      expect(await openCgroups({ root, ownGroups, isRoot: false })).toEqual(expected);
    }
  });

  it('are not used where the controllers that count are missing, and the reason is said', async () => {
    await writeFile(join(root, 'cgroup.controllers'), 'cpu io\n');
    expect(await openCgroups({ root, ownGroups: '0::/\n', isRoot: true })).toEqual({
      version: undefined,
      why: `${root} has no controller memory, pids`,
    });
  });
});
