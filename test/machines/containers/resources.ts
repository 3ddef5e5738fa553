import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { expect, it } from 'vitest';
import { busyboxImage } from '../../support/containerd.ts';
import { until } from '../../support/until.ts';
import { type ContainerWorld, hasCrun, socketOf } from './world.ts';

/** Amounts of CPU and memory, and runtimes of classes. */
export function resourceTests(world: ContainerWorld): void {
  const { kubectl, apply, outputsOf, fieldOf, eventsOf } = world;

  it('are bounded as a whole, by their class, and report an end for want of memory', async () => {
    const amounts = (memory: string) => ({ resources: { requests: { cpu: '100m', memory: '8Mi' }, limits: { cpu: '500m', memory } } });
    const beside = {
      name: 'beside',
      image: busyboxImage,
      command: ['sh', '-c', 'trap "exit 0" TERM; sleep 600 & wait'],
      ...amounts('32Mi'),
    };
    await outputsOf({
      name: 'bounded',
      script: 'dd if=/dev/zero of=/dev/null bs=64M count=1',
      container: amounts('16Mi'),
      others: [beside],
    });
    expect(await fieldOf('bounded', '.status.containerStatuses[?(@.name=="main")].state.terminated.reason')).toBe('OOMKilled');
    const uid = await fieldOf('bounded', '.metadata.uid');
    const read = (controller: string, ...files: readonly string[]) => world.readGroup(uid, controller, ...files);
    expect(await read('memory', 'memory.limit_in_bytes', 'memory.max')).toBe(String(48 * 1024 * 1024));
    expect(await read('cpu', 'cpu.cfs_quota_us', 'cpu.max')).toMatch(/^100000(?: 100000)?$/);
    expect(await read('cpu', 'cpu.shares', 'cpu.weight')).toMatch(/^(?:204|8)$/);
    await kubectl('delete', 'pod', 'bounded');
    await until(async () => (await read('memory', 'memory.limit_in_bytes', 'memory.max')) === undefined, {
      what: 'the end of its group',
    });
  });

  it.skipIf(!hasCrun)('run in the runtime of their class, and are given its overhead (needs crun)', async () => {
    const classOf = (name: string, handler: string, more: object = {}) => ({
      apiVersion: 'node.k8s.io/v1',
      kind: 'RuntimeClass',
      metadata: { name },
      handler,
      ...more,
    });
    await apply(classOf('small', 'crun', { overhead: { podFixed: { memory: '16Mi' } } }), classOf('unknown', 'no-such-handler'));
    const podOf = (name: string, runtimeClassName: string) => ({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name },
      spec: {
        runtimeClassName,
        terminationGracePeriodSeconds: 1,
        containers: [
          {
            name: 'main',
            image: busyboxImage,
            command: ['sh', '-c', 'trap "exit 0" TERM; echo begun; sleep 600 & wait'],
            resources: { limits: { memory: '32Mi', cpu: '500m' }, requests: { memory: '8Mi', cpu: '10m' } },
          },
        ],
      },
    });
    await apply(podOf('by-crun', 'small'), podOf('by-nobody', 'unknown'));
    await kubectl('wait', 'pod/by-crun', '--for=condition=Ready', '--timeout=30s');
    expect(await kubectl('exec', 'by-crun', '--', 'sh', '-c', 'echo in; cat /proc/1/comm')).toBe('in\nsh\n');
    expect(await kubectl('logs', 'by-crun')).toBe('begun\n');
    const id = (await fieldOf('by-crun', '.status.containerStatuses[0].containerID')).replace('containerd://', '');
    const records = join(dirname(await socketOf(world.cluster.dataDirectory)), 'crun', 'k8s.io', id);
    expect(JSON.parse(await readFile(join(records, 'status'), 'utf8'))).toMatchObject({ pid: expect.any(Number) });
    const uid = await fieldOf('by-crun', '.metadata.uid');
    expect(await world.readGroup(uid, 'memory', 'memory.limit_in_bytes', 'memory.max')).toBe(String(48 * 1024 * 1024));
    await until(async () => (await eventsOf('by-nobody')).includes('no runtime for "no-such-handler" is configured'), {
      what: 'the refusal of the handler',
    });
    await kubectl('delete', 'pod', 'by-crun', 'by-nobody', '--wait=false');
  });

  it('get other amounts of CPU and memory while they run, or by a restart where they ask for that', async () => {
    const resources = { requests: { cpu: '50m', memory: '16Mi' }, limits: { cpu: '200m', memory: '32Mi' } };
    const command = ['sh', '-c', 'trap "exit 0" TERM; sleep 600 & wait'];
    const resizePolicy = [{ resourceName: 'memory', restartPolicy: 'RestartContainer' }];
    await apply({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'resized' },
      spec: {
        terminationGracePeriodSeconds: 1,
        containers: [
          { name: 'main', image: busyboxImage, command, resources },
          { name: 'beside', image: busyboxImage, command, resources, resizePolicy },
        ],
      },
    });
    await kubectl('wait', 'pod/resized', '--for=condition=Ready', '--timeout=30s');
    const resize = (name: string, memory: string, cpu: string): Promise<string> => {
      const containers = [{ name, resources: { requests: { cpu: '50m', memory: '16Mi' }, limits: { cpu, memory } } }];
      return kubectl('patch', 'pod', 'resized', '--subresource=resize', '-p', JSON.stringify({ spec: { containers } }));
    };
    const see = (container: string): Promise<string> => {
      const version1 = 'cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes cpu/cpu.cfs_quota_us 2>/dev/null';
      return kubectl('exec', 'resized', '-c', container, '--', 'sh', '-c', `${version1} || cat memory.max cpu.max`);
    };
    const restarts = (): Promise<string> => fieldOf('resized', '.status.containerStatuses[*].restartCount');
    const uid = await fieldOf('resized', '.metadata.uid');
    await resize('main', '64Mi', '400m');
    await until(async () => /^67108864\n40000\b/.test(await see('main')), { what: 'more for the container' });
    expect(await world.readGroup(uid, 'memory', 'memory.limit_in_bytes', 'memory.max')).toBe(String(96 * 1024 * 1024));
    await until(async () => (await fieldOf('resized', '.status.containerStatuses[1].resources.limits.memory')) === '64Mi', {
      what: 'the report of it',
    });
    await resize('main', '48Mi', '100m');
    await until(async () => /^50331648\n10000\b/.test(await see('main')), { what: 'less for the container' });
    await until(async () => (await world.readGroup(uid, 'memory', 'memory.limit_in_bytes', 'memory.max')) === String(80 * 1024 * 1024), {
      what: 'less for the pod',
    });
    expect(await restarts()).toBe('0 0');

    await resize('beside', '40Mi', '200m');
    await until(async () => (await restarts()) === '1 0', { what: 'the restart' });
    await until(async () => /^41943040\n20000\b/.test(await see('beside').catch(() => '')), { what: 'its memory' });

    const tooMuch = [{ name: 'main', resources: { requests: { cpu: '900' }, limits: { cpu: '900' } } }];
    await kubectl('patch', 'pod', 'resized', '--subresource=resize', '-p', JSON.stringify({ spec: { containers: tooMuch } }));
    const pending = '.status.conditions[?(@.type=="PodResizePending")]';
    await until(async () => (await fieldOf('resized', `${pending}.reason`)) === 'Infeasible', { what: 'the refusal' });
    expect(await fieldOf('resized', `${pending}.message`)).toContain("Node didn't have enough capacity: cpu, requested: 900");
    const events = await eventsOf('resized');
    expect(events).toMatch(/^ResizeStarted: Pod resize started: \{"containers":\[.*"memory":"64Mi".*"generation":2\}$/m);
    expect(events).toMatch(/^ResizeCompleted: Pod resize completed: /m);
    expect(events).toMatch(/^ResizeInfeasible: Pod resize Infeasible: .*"error":"Node didn't have enough capacity: cpu/m);
    await kubectl('delete', 'pod', 'resized', '--wait=false');
  });
}
