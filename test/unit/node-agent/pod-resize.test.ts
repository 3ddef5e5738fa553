import { describe, expect, it } from 'vitest';
import type { Pod, ResourceRequirements } from '../../../src/api/core/v1/pod.ts';
import { sumAmounts } from '../../../src/api/core/v1/pod-resources.ts';
import { createLog } from '../../../src/base/log.ts';
import { parseQuantity } from '../../../src/machinery/quantity.ts';
import type { AgentContext } from '../../../src/node-agent/agent-context.ts';
import type { ContainerRuntime, SandboxStatus } from '../../../src/node-agent/container-runtime.ts';
import type { PodEvent } from '../../../src/node-agent/pod-events.ts';
import { createPodResize } from '../../../src/node-agent/pod-resize.ts';
import { createManualClock } from '../../support/manual-clock.ts';

const amounts = (cpu: string, memory: string): ResourceRequirements => ({ requests: { cpu, memory }, limits: { cpu, memory } });
const podOf = (resources: ResourceRequirements, more: object = {}, status: object = {}): Pod =>
  ({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'web', namespace: 'shop', uid: 'u' },
    spec: { containers: [{ name: 'main', image: 'i', resources, ...more }] },
    status,
  }) as unknown as Pod;
const sandboxWith = (id: string): SandboxStatus =>
  ({ id: 's', containers: [{ id, name: 'main', state: 'running' }] }) as unknown as SandboxStatus;

/** A node of 2 CPUs and 1 GiB, whose runtime keeps what it was asked for. */
function nodeWith({ used = '0', fails = false, pod = podOf(amounts('500m', '100Mi')) } = {}) {
  const asked: { readonly memory?: number | undefined; readonly containers: readonly string[] }[] = [];
  const state = { fails, used, usage: 0 };
  const clock = createManualClock();
  const resize: NonNullable<ContainerRuntime['resize']> = async (_sandbox, { memoryLimitBytes }, containers) => {
    if (state.fails) throw new Error('device or resource busy');
    asked.push({
      memory: memoryLimitBytes,
      containers: containers.map(({ id, limits }) => `${id} ${limits.cpuMilli} ${limits.memoryBytes}`),
    });
  };
  const context = {
    runtime: {
      runsPrograms: true,
      resize,
      stats: async () => [
        { podUid: 'u', container: 'main', memoryUsageBytes: state.usage, memoryWorkingSetBytes: 1 },
        { podUid: 'other', container: 'main', memoryUsageBytes: 900 * mebi },
      ],
    },
    allocatable: { cpu: '2', memory: '1Gi' },
    clock,
    log: createLog({ level: 'silent' }),
  } as unknown as AgentContext;
  const events: string[] = [];
  const record = ({ type, reason, message }: PodEvent) => void events.push(`${type} ${reason}: ${message}`);
  const usedByOthers = () => sumAmounts([new Map([['cpu', parseQuantity(state.used)]])]);
  return { asked, state, clock, events, resize: createPodResize({ context, pod, usedByOthers, record }) };
}

const mebi = 1024 * 1024;

describe('the resize of a pod', () => {
  it('is given when there is room, and reaches the runtime once', async () => {
    const { resize, asked, events } = nodeWith();
    const wanted = podOf(amounts('1', '200Mi'));
    await resize.apply(podOf(amounts('500m', '100Mi')), sandboxWith('c'));
    expect(asked).toEqual([]);
    resize.decide(wanted);
    expect(resize.conditions(wanted)).toEqual([{ type: 'PodResizeInProgress', status: 'True' }]);
    expect(resize.statusOf(wanted.spec.containers[0] as never)).toEqual({
      allocatedResources: { cpu: '1', memory: '200Mi' },
      resources: amounts('500m', '100Mi'),
    });
    await resize.apply(wanted, sandboxWith('c'));
    await resize.apply(wanted, sandboxWith('c'));
    expect(asked).toEqual([{ memory: 200 * mebi, containers: [`c 1000 ${200 * mebi}`] }]);
    expect(resize.conditions(wanted)).toEqual([]);
    expect(resize.statusOf(wanted.spec.containers[0] as never).resources).toEqual(amounts('1', '200Mi'));
    const shown =
      '{"containers":[{"name":"main","resources":{"limits":{"cpu":"1","memory":"200Mi"},"requests":{"cpu":"1","memory":"200Mi"}}}],"generation":0}';
    expect(events).toEqual([
      `Normal ResizeStarted: Pod resize started: ${shown}`,
      `Normal ResizeCompleted: Pod resize completed: ${shown}`,
    ]);
  });

  it('waits for other pods, or for another wish, in the words of the kubelet', async () => {
    const { resize, state, asked, events } = nodeWith({ used: '1500m' });
    const more = podOf(amounts('1', '100Mi'));
    resize.decide(more);
    resize.decide(more);
    expect(resize.conditions(more)).toEqual([
      {
        type: 'PodResizePending',
        status: 'True',
        reason: 'Deferred',
        message: "Node didn't have enough resource: cpu, requested: 1000, used: 1500, capacity: 2000",
      },
    ]);
    // A container that starts now starts with what the pod has.
    expect(resize.given(more).spec.containers[0]?.resources).toEqual(amounts('500m', '100Mi'));
    expect(resize.nextAt()).toBeLessThan(Number.POSITIVE_INFINITY);
    state.used = '1';
    resize.decide(more);
    expect([resize.conditions(more).map(({ type }) => type), resize.given(more)]).toEqual([[], more]);
    const tooMuch = podOf(amounts('1', '2Gi'));
    resize.decide(tooMuch);
    expect(resize.conditions(tooMuch)[0]).toMatchObject({
      reason: 'Infeasible',
      message: "Node didn't have enough capacity: memory, requested: 2147483648, capacity: 1073741824",
    });
    await resize.apply(tooMuch, sandboxWith('c'));
    expect(asked).toEqual([{ memory: 100 * mebi, containers: [] }]);
    expect(events.map((text) => text.replace(/: \{.*(?:"error"|"generation"):/, ' '))).toEqual([
      'Warning ResizeDeferred: Pod resize Deferred "Node didn\'t have enough resource: cpu, requested: 1000, used: 1500, capacity: 2000"}',
      'Normal ResizeStarted: Pod resize started 0}',
      expect.stringMatching(/^Warning ResizeInfeasible: Pod resize Infeasible "Node didn't have enough capacity: memory/),
      expect.stringMatching(/^Normal ResizeCompleted: /),
    ]);
  });

  it('that the kernel refuses is an error of the pod, and is tried again later', async () => {
    const { resize, state, clock, asked, events } = nodeWith();
    await resize.apply(podOf(amounts('500m', '100Mi')), sandboxWith('c'));
    const less = podOf(amounts('500m', '1Mi'));
    state.fails = true;
    resize.decide(less);
    await resize.apply(less, sandboxWith('c'));
    expect(resize.conditions(less)).toEqual([
      { type: 'PodResizeInProgress', status: 'True', reason: 'Error', message: 'device or resource busy' },
    ]);
    state.fails = false;
    await resize.apply(less, sandboxWith('c'));
    expect(asked).toEqual([]);
    clock.advance(10_000);
    await resize.apply(less, sandboxWith('c'));
    expect([asked.length, resize.conditions(less)]).toEqual([1, []]);
    expect(events.map((text) => text.slice(0, text.indexOf(':')))).toEqual([
      'Normal ResizeStarted',
      'Warning ResizeError',
      'Normal ResizeCompleted',
    ]);
    expect(events[1]).toContain('"error":"device or resource busy"}');
  });

  it('leaves a limit below the usage in progress with its error, until there is room', async () => {
    const { resize, state, clock, asked, events } = nodeWith();
    await resize.apply(podOf(amounts('500m', '100Mi')), sandboxWith('c'));
    state.usage = 80 * mebi;
    const less = podOf(amounts('1', '64Mi'));
    resize.decide(less);
    await resize.apply(less, sandboxWith('c'));
    const message = `cannot decrease memory limits: [attempting to set pod memory limit (67108864) below current usage (83886080), attempting to set container "main" memory limit (67108864) below current usage (83886080)]`;
    expect(resize.conditions(less)).toEqual([{ type: 'PodResizeInProgress', status: 'True', reason: 'Error', message }]);
    // The CPU waits with it, as under the kubelet.
    expect([asked, resize.statusOf(less.spec.containers[0] as never).resources]).toEqual([[], amounts('500m', '100Mi')]);
    expect(events.at(-1)).toContain(`"error":${JSON.stringify(message)}}`);
    state.usage = 64 * mebi;
    clock.advance(10_000);
    await resize.apply(less, sandboxWith('c'));
    expect([asked, resize.conditions(less)]).toEqual([[{ memory: 64 * mebi, containers: [`c 1000 ${64 * mebi}`] }], []]);
    // More memory needs no look at the usage.
    state.usage = 900 * mebi;
    const more = podOf(amounts('1', '200Mi'));
    resize.decide(more);
    await resize.apply(more, sandboxWith('c'));
    expect(asked.length).toBe(2);
  });

  it('restarts a container that wants that for the amount that changes, and no other', async () => {
    const resizePolicy = [{ resourceName: 'memory', restartPolicy: 'RestartContainer' }];
    const before = podOf(amounts('500m', '100Mi'), { resizePolicy });
    const { resize, asked } = nodeWith({ pod: before });
    await resize.apply(before, sandboxWith('c'));
    const moreCpu = podOf(amounts('1', '100Mi'), { resizePolicy });
    resize.decide(moreCpu);
    expect(resize.needsRestart(moreCpu, 'main')).toBe(false);
    await resize.apply(moreCpu, sandboxWith('c'));
    const moreMemory = podOf(amounts('1', '200Mi'), { resizePolicy });
    resize.decide(moreMemory);
    await resize.apply(moreMemory, sandboxWith('c'));
    expect(resize.needsRestart(moreMemory, 'main')).toBe(true);
    // The pod grows first; the container itself is made again.
    expect(asked.map(({ containers }) => containers.length)).toEqual([1, 0]);
    await resize.apply(moreMemory, sandboxWith('c2'));
    expect([resize.needsRestart(moreMemory, 'main'), resize.conditions(moreMemory)]).toEqual([false, []]);
  });

  it('goes on after a restart of the agent, which finds in the status what the pod was given', async () => {
    const containerStatuses = [
      {
        name: 'main',
        containerID: 'containerd://c',
        resources: amounts('500m', '100Mi'),
        allocatedResources: { cpu: '500m', memory: '100Mi' },
      },
    ];
    const wanted = podOf(amounts('1', '100Mi'), {}, { containerStatuses });
    const { resize, asked } = nodeWith({ pod: wanted });
    expect(resize.given(wanted).spec.containers[0]?.resources).toEqual(amounts('500m', '100Mi'));
    resize.decide(wanted);
    await resize.apply(wanted, sandboxWith('c'));
    expect(asked).toEqual([{ memory: 100 * mebi, containers: [`c 1000 ${100 * mebi}`] }]);
  });
});
