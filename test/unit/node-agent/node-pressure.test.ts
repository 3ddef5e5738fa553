import { expect, it } from 'vitest';
import type { Pod } from '../../../src/api/core/v1/pod.ts';
import { type EvictionFlagValues, parseEvictionFlags } from '../../../src/api/eviction-settings.ts';
import { createNodePressure, measureProcesses, memorySpaceOf } from '../../../src/node-agent/node-pressure.ts';
import { type Candidate, createPressureEviction, evictionMessage, rankForEviction } from '../../../src/node-agent/pressure-eviction.ts';
import { createManualClock } from '../../support/manual-clock.ts';

const mi = 1024 * 1024;

function podOf(name: string, memory?: string, priority = 0): Pod {
  const resources = memory === undefined ? {} : { requests: { memory } };
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace: 'default' },
    spec: { priority, containers: [{ name: 'main', image: 'a', resources }] },
  } as Pod;
}

function watched(flags: EvictionFlagValues = {}) {
  const clock = createManualClock();
  const left = { memory: 200 * mi, disk: 150, inodes: 50, images: 150, processes: 900 };
  let problem: Error | undefined;
  const pressure = createNodePressure({
    clock,
    settings: parseEvictionFlags(flags),
    measures: {
      memory: async () => ({ sizeBytes: 1_000 * mi, availableBytes: left.memory }),
      nodefs: async () => {
        if (problem !== undefined) throw problem;
        return { sizeBytes: 1_000, availableBytes: left.disk, inodes: { all: 1_000, free: left.inodes } };
      },
      imagefs: async () => ({ sizeBytes: 1_000, availableBytes: left.images }),
      pid: async () => ({ all: 1_000, available: left.processes }),
    },
    onProblem: () => undefined,
  });
  const pressed = () => pressure.conditions.filter(({ status }) => status === 'True').map(({ reason }) => reason);
  const failDisk = (err: Error | undefined): void => {
    problem = err;
  };
  return { clock, left, pressure, pressed, failDisk };
}

it('a disk with less than a tenth left presses until five minutes after it has more', async () => {
  const { clock, left, pressure, pressed, failDisk } = watched();
  expect(await pressure.look()).toEqual([]);
  left.disk = 99;
  expect(await pressure.look()).toMatchObject([{ type: 'DiskPressure', status: 'True', message: 'kubelet has disk pressure' }]);
  expect(pressed()).toEqual(['KubeletHasDiskPressure']);
  left.disk = 500;
  clock.advance(4 * 60_000);
  expect(await pressure.look()).toEqual([]);
  expect(pressure.shortages).toEqual([]);
  clock.advance(60_000);
  failDisk(new Error('no such device'));
  expect(await pressure.look()).toEqual([]);
  failDisk(undefined);
  expect(await pressure.look()).toMatchObject([{ type: 'DiskPressure', status: 'False' }]);
});

it.each([
  ['inodes', 49, { resource: 'inodes', threshold: 50, available: 49 }, 'KubeletHasDiskPressure'],
  ['images', 149, { resource: 'ephemeral-storage', threshold: 150, available: 149 }, 'KubeletHasDiskPressure'],
  ['processes', 99, { resource: 'pids', threshold: 100, available: 99 }, 'KubeletHasInsufficientPID'],
] as const)('a node short of %s has its condition, with or without a default', async (what, amount, shortage, reason) => {
  const { left, pressure, pressed } = watched(what === 'processes' ? { 'eviction-hard': ['pid.available<10%'] } : {});
  await pressure.look();
  expect(pressed()).toEqual([]);
  left[what] = amount;
  await pressure.look();
  expect(pressure.shortages).toEqual([{ ...shortage, isHard: true }]);
  expect(pressed()).toEqual([reason]);
});

it('a soft threshold waits for its grace period, and a shortage lasts until the minimum is reclaimed', async () => {
  const { clock, left, pressure, pressed } = watched({
    'eviction-hard': ['memory.available<100Mi'],
    'eviction-soft': ['memory.available<20%'],
    'eviction-soft-grace-period': ['memory.available=1m30s'],
    'eviction-minimum-reclaim': ['memory.available=50Mi'],
    'eviction-pressure-transition-period': ['0s'],
  });
  const soft = (mib: number) => [{ resource: 'memory', threshold: 200 * mi, available: mib * mi, isHard: false }];
  left.memory = 199 * mi;
  await pressure.look();
  expect(pressed()).toEqual(['KubeletHasInsufficientMemory']);
  clock.advance(89_999);
  await pressure.look();
  expect(pressure.shortages).toEqual([]);
  clock.advance(1);
  await pressure.look();
  expect(pressure.shortages).toEqual(soft(199));
  left.memory = 249 * mi;
  await pressure.look();
  expect(pressure.shortages).toEqual(soft(249));
  left.memory = 250 * mi;
  await pressure.look();
  expect([pressure.shortages, pressed()]).toEqual([[], []]);
  left.memory = 99 * mi;
  await pressure.look();
  expect(pressure.shortages).toEqual([{ resource: 'memory', threshold: 100 * mi, available: 99 * mi, isHard: true }]);
});

it('under memory pressure pods without requests are refused, under any other all but critical ones', async () => {
  const { left, pressure, pressed } = watched({ 'eviction-hard': ['memory.available<100Mi,pid.available<100'] });
  const [bestEffort, burstable, critical] = [podOf('a'), podOf('b', '1Mi'), podOf('c', undefined, 2_000_000_000)];
  const refused = () => [bestEffort, burstable, critical].map((pod) => pressure.refusalOf(pod)?.message);
  left.memory = 100 * mi - 1;
  await pressure.look();
  expect(pressed()).toEqual(['KubeletHasInsufficientMemory']);
  expect(refused()).toEqual(['The node had condition: [MemoryPressure]. ', undefined, undefined]);
  left.processes = 1;
  await pressure.look();
  const both = 'The node had condition: [MemoryPressure PIDPressure]. ';
  expect(refused()).toEqual([both, both, undefined]);
});

it('the machine says how many process ids are left', async () => {
  const { all, available } = await measureProcesses();
  expect(available).toBeGreaterThan(0);
  expect(available).toBeLessThan(all);
});

it('pods beyond their requests go first, then those of low priority, then the largest excess', () => {
  const candidate = (pod: Pod, used: number): Candidate => ({ pod, used, containers: [{ name: 'main', used }] });
  const all = [
    candidate(podOf('within', '500Mi', -5), 400 * mi),
    candidate(podOf('important', '1Mi', 10), 900 * mi),
    candidate(podOf('small', '100Mi'), 150 * mi),
    candidate(podOf('large', '100Mi'), 300 * mi),
  ];
  const ranked = rankForEviction(all, 'memory');
  expect(ranked.map(({ pod }) => pod.metadata.name)).toEqual(['large', 'small', 'important', 'within']);
  const shortage = { resource: 'memory', threshold: 100 * mi, available: 50 * mi, isHard: true } as const;
  expect(evictionMessage(ranked[0] as Candidate, shortage)).toBe(
    'The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. ' +
      'Container main was using 300Mi, request is 100Mi, has larger consumption of memory. ',
  );
  // Nobody requests processes, so the priority decides.
  const byProcesses = rankForEviction([candidate(podOf('many', undefined, 1), 50), candidate(podOf('few'), 2)], 'pids');
  expect(byProcesses.map(({ pod }) => pod.metadata.name)).toEqual(['few', 'many']);
  const message = evictionMessage({ ...byProcesses[0], containers: [] } as Candidate, {
    ...shortage,
    resource: 'pids',
    threshold: 2048,
    available: 7,
  });
  expect(message).toBe('The node was low on resource: pids. Threshold quantity: 2048, available: 7. ');
});

it('memory is available as control groups of either version count it, or as the kernel estimates it', () => {
  const meminfo = 'MemTotal:       1000 kB\nMemFree:         300 kB\nMemAvailable:    450 kB\n';
  const kib = (files: { usage?: string; stat?: string }) =>
    memorySpaceOf({ meminfo, usage: undefined, stat: undefined, ...files }).availableBytes / 1024;
  expect(kib({ usage: `${600 * 1024}\n`, stat: `inactive_file 1\ntotal_inactive_file ${100 * 1024}\n` })).toBe(500);
  expect(kib({ stat: `inactive_file ${100 * 1024}\n` })).toBe(400);
  expect(kib({})).toBe(450);
});

it('pods are evicted one at a time: the next waits for the end of the one before, for 30 s at most', async () => {
  const clock = createManualClock();
  const evicted: string[] = [];
  const workerOf = (pod: Pod) => ({
    pod,
    uid: pod.metadata.name,
    logs: '',
    hasEnded: false,
    evict: (message: string, seconds: number) => evicted.push(`${pod.metadata.name} in ${seconds} s: ${message.slice(0, 38)}`),
  });
  const isStatic = podOf('static');
  const workers = [
    workerOf({ ...isStatic, metadata: { ...isStatic.metadata, annotations: { 'kubernetes.io/config.source': 'file' } } }),
    ...['a', 'b', 'c'].map((name) => workerOf(podOf(name))),
  ];
  const usage: Readonly<Record<string, number>> = { static: 900, a: 10, b: 30, c: 20 };
  const runtime = {
    stats: async () => Object.entries(usage).map(([podUid, used]) => ({ podUid, container: 'main', memoryWorkingSetBytes: used * mi })),
  };
  const shortage = { resource: 'memory', threshold: 100 * mi, available: 50 * mi, isHard: true };
  const pressure = { shortages: [shortage] as object[] };
  const log = { warn: (_: object, text: string) => evicted.push(text) };
  const eviction = createPressureEviction({ clock, log, runtime, volumes: {} } as never, {
    pressure: pressure as never,
    maxPodGraceSeconds: 20,
  });
  const relieve = async (): Promise<string[]> => {
    await eviction.relieve(workers as never);
    return evicted.splice(0);
  };
  expect(await relieve()).toEqual(['b in 1 s: The node was low on resource: memory. ']);
  expect(await relieve()).toEqual([]);
  workers[2]!.hasEnded = true;
  expect(await relieve()).toEqual(['c in 1 s: The node was low on resource: memory. ']);
  clock.advance(29_999);
  expect(await relieve()).toEqual([]);
  clock.advance(1);
  // This one does not end in time, and the node still lacks memory.
  pressure.shortages = [{ ...shortage, isHard: false }];
  expect(await relieve()).toEqual(['a in 20 s: The node was low on resource: memory. ']);
  for (const worker of workers.slice(1)) worker.hasEnded = true;
  expect(await relieve()).toEqual(['Found no pod to evict']);
  pressure.shortages = [];
  expect(await relieve()).toEqual([]);
});
