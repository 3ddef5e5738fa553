import { expect, it } from 'vitest';
import type { Pod } from '../../../src/api/core/v1/pod.ts';
import { createNodePressure, memorySpaceOf } from '../../../src/node-agent/node-pressure.ts';
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

function watched() {
  const clock = createManualClock();
  const left = { memory: 200 * mi, disk: 100 };
  const pressure = createNodePressure({
    clock,
    measureMemory: async () => ({ sizeBytes: 1_000 * mi, availableBytes: left.memory }),
    measureDisk: async () => ({ sizeBytes: 1_000, availableBytes: left.disk }),
    onProblem: () => undefined,
  });
  const pressed = () => pressure.conditions.filter(({ status }) => status === 'True').map(({ reason }) => reason);
  return { clock, left, pressure, pressed };
}

it('a disk with less than a tenth left presses until five minutes after it has more', async () => {
  const { clock, left, pressure, pressed } = watched();
  expect(await pressure.look()).toEqual([]);
  left.disk = 99;
  expect(await pressure.look()).toMatchObject([{ type: 'DiskPressure', status: 'True', message: 'kubelet has disk pressure' }]);
  expect(pressed()).toEqual(['KubeletHasDiskPressure']);
  left.disk = 500;
  clock.advance(4 * 60_000);
  expect(await pressure.look()).toEqual([]);
  expect(pressure.shortages).toEqual([]);
  clock.advance(60_000);
  expect(await pressure.look()).toMatchObject([{ type: 'DiskPressure', status: 'False' }]);
});

it('under memory pressure pods without requests are refused, under disk pressure all but critical ones', async () => {
  const { left, pressure, pressed } = watched();
  const [bestEffort, burstable, critical] = [podOf('a'), podOf('b', '1Mi'), podOf('c', undefined, 2_000_000_000)];
  const refused = () => [bestEffort, burstable, critical].map((pod) => pressure.refusalOf(pod)?.message);
  left.memory = 100 * mi - 1;
  await pressure.look();
  expect(pressed()).toEqual(['KubeletHasInsufficientMemory']);
  expect(refused()).toEqual(['The node had condition: [MemoryPressure]. ', undefined, undefined]);
  left.disk = 1;
  await pressure.look();
  const both = 'The node had condition: [MemoryPressure DiskPressure]. ';
  expect(refused()).toEqual([both, both, undefined]);
});

it('pods beyond their requests go first, then those of low priority, then the largest excess', () => {
  const used = (pod: Pod, bytes: number): Candidate => ({ pod, bytes, containers: [{ name: 'main', bytes }] });
  const all = [
    used(podOf('within', '500Mi', -5), 400 * mi),
    used(podOf('important', '1Mi', 10), 900 * mi),
    used(podOf('small', '100Mi'), 150 * mi),
    used(podOf('large', '100Mi'), 300 * mi),
  ];
  const ranked = rankForEviction(all, 'memory');
  expect(ranked.map(({ pod }) => pod.metadata.name)).toEqual(['large', 'small', 'important', 'within']);
  expect(evictionMessage(ranked[0] as Candidate, { resource: 'memory', thresholdBytes: 100 * mi, availableBytes: 50 * mi })).toBe(
    'The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. ' +
      'Container main was using 300Mi, request is 100Mi, has larger consumption of memory. ',
  );
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
    evict: (message: string) => evicted.push(`${pod.metadata.name}: ${message.slice(0, 38)}`),
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
  const shortage = { resource: 'memory', thresholdBytes: 100 * mi, availableBytes: 50 * mi };
  const pressure = { shortages: [shortage] as object[] };
  const log = { warn: (_: object, text: string) => evicted.push(text) };
  const eviction = createPressureEviction({ clock, log, runtime, volumes: {} } as never, pressure as never);
  const relieve = async (): Promise<string[]> => {
    await eviction.relieve(workers as never);
    return evicted.splice(0);
  };
  expect(await relieve()).toEqual(['b: The node was low on resource: memory. ']);
  expect(await relieve()).toEqual([]);
  workers[2]!.hasEnded = true;
  expect(await relieve()).toEqual(['c: The node was low on resource: memory. ']);
  clock.advance(29_999);
  expect(await relieve()).toEqual([]);
  clock.advance(1);
  // This one does not end in time, and the node still lacks memory.
  expect(await relieve()).toEqual(['a: The node was low on resource: memory. ']);
  for (const worker of workers.slice(1)) worker.hasEnded = true;
  expect(await relieve()).toEqual(['Found no pod to evict']);
  pressure.shortages = [];
  expect(await relieve()).toEqual([]);
});
